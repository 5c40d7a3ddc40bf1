"""Run folders become a page that says which row is better, by how much, and how sure that is."""

from .ablation import is_ablation, read_ablation
from .compare import compare
from .write import write_report

__all__ = ["compare", "is_ablation", "read_ablation", "write_report"]
