"""The library transformers, imported only after what keeps it from loading has been mended."""

from __future__ import annotations

from mtlora_core.compat import mend_torchvision

mend_torchvision()

import transformers  # noqa: E402  # it imports torchvision where that is installed

__all__ = ["transformers"]
