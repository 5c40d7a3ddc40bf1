"""Every key of an ablation's file, as a page."""

from __future__ import annotations

from collections.abc import Iterator

from ..reference import describe, kind_section, table
from ..registry import Registry
from .definition import AblationOptions


def ablation_page(registry: Registry) -> Iterator[str]:
    """Yield the lines of a page of Markdown: an ablation's keys, and the installed executors.

    Raises:
        PluginError: an executor's options cannot be loaded.
    """
    yield from ("# Ablations, key by key", "", _OF_ABLATIONS, "")
    yield from table(describe(AblationOptions))
    yield from kind_section("executor", registry)


_OF_ABLATIONS = """\
What a file for `mtlora ablate` may say; `rows[].set` is `set` of one row. The values that `tune`
chooses from stand beside its own two keys, under the dotted key of what is chosen:
`tune: {train.learning_rate: [1.0e-4, 1.0e-3], seeds: [100]}`."""
