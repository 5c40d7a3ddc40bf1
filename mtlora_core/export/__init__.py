"""Taking a trained model elsewhere: ordinary LoRA adapters, or a backbone with one merged in."""

from .write import FORMATS, export

__all__ = ["FORMATS", "export"]
