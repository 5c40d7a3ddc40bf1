"""The library timm, imported only after what keeps it from loading has been mended."""

from __future__ import annotations

from mtlora_core.compat import mend_torchvision

mend_torchvision()

import timm  # noqa: E402  # it imports torchvision

__all__ = ["timm"]
