"""Keeping the libraries' progress bars, load reports and warnings off the screen.

What matters of a load report, weights that are missing, is read from its data instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Silence huggingface_hub, and put back what was set before."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    with warnings.catch_warnings():
        # Setting what HF_HUB_DISABLE_PROGRESS_BARS has set already is answered with a warning.
        warnings.simplefilter("ignore")
        shown = not are_progress_bars_disabled()
        disable_progress_bars()
        try:
            yield
        finally:
            (enable_progress_bars if shown else disable_progress_bars)()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers below an error, and put back what was set before."""
    from transformers.utils import logging

    verbosity, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with quiet_hub():
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if shown:
                logging.enable_progress_bar()  # and the hub's, which quiet_hub then puts back


@contextmanager
def quiet_bars() -> Iterator[None]:
    """Silence progress bars that ask nobody, such as those over the tensors of a GGUF file."""
    with redirect_stderr(StringIO()):
        yield
