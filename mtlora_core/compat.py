"""Cures for libraries that do not get along with one another.

A build of torch for the CPU beside the package index's torchvision, whose operators are compiled
against CUDA, fails at ``import torchvision``::

    RuntimeError: operator torchvision::nms does not exist

torchvision gives up loading its compiled operators in silence, and then registers shape functions
for two of them. transformers and timm import torchvision where it is installed, so a text model
cannot be loaded either, although nothing needs these operators. Declaring the two schemas, without
an implementation, lets the import succeed; calling them still fails, as it should.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.util import find_spec

_OPERATORS = ("torchvision::nms", "torchvision::qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def mend_torchvision() -> None:
    """Make ``import torchvision`` succeed beside a torch that its operators do not fit.

    Call it before importing a library that imports torchvision. Does nothing where torchvision
    is not installed, is imported already, or loads by itself; may be called any number of times.
    An import that fails for another reason is left to fail where it is needed.
    """
    if "torchvision" in sys.modules or find_spec("torchvision") is None:
        return
    with warnings.catch_warnings():
        # Without its operators torchvision also warns that it cannot decode images.
        warnings.simplefilter("ignore")
        if _lacks_operators():
            _declare_operators()
            _lacks_operators()


def _lacks_operators() -> bool:
    """Import torchvision; return whether that failed for want of its operators.

    Only trying can tell: where they load, declaring them first would be an error in its turn.
    """
    try:
        import_module("torchvision")
    except RuntimeError as error:
        return "operator torchvision::" in str(error)
    except Exception:  # whatever it is, whoever needs torchvision will meet it and say so
        return False
    return False


def _declare_operators() -> None:
    from torch.library import define

    for name in _OPERATORS:
        define(name, _SCHEMA)
