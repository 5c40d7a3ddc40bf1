"""The note beside exported files: what they are, and how they are loaded."""

from __future__ import annotations

from collections.abc import Sequence

from ..model import MultiTaskModel
from ..plan import Plan

PEFT = """```python
from peft import PeftModel

model = PeftModel.from_pretrained(base, "FOLDER")  # base: {source}, loaded as usual
```"""
MERGED = """Load this folder as you would load {source}."""
HEADS = """
`heads.safetensors` holds a linear head for each task with classes or numbers, `TASK.weight` and
`TASK.bias`. It reads the pooled features: the last hidden states, pooled as the run's recipe says
(`backbone.pooling`), in float32.
"""


def card(plan: Plan, model: MultiTaskModel, tasks: Sequence[int], format: str) -> str:
    """Return a short note in Markdown."""
    names = ", ".join(model.tasks[t].name for t in tasks)
    load = (PEFT if format == "peft" else MERGED).format(source=model.backbone.source)
    heads = HEADS if any(model.tasks[t].objective != "causal" for t in tasks) else ""
    what = "A LoRA adapter" if format == "peft" else "A backbone with its adapter merged"
    return (
        f"# {plan.recipe.name}\n\n{what} for {names}, exported by mtlora from the recipe "
        f"`{plan.recipe.name}`.\n\n{load}\n{heads}"
    )
