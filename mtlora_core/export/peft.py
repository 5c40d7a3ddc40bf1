"""Ordinary LoRA adapters in the format of Hugging Face PEFT."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ..adapters import is_transposed
from ..model import MultiTaskModel
from .matrices import ModuleFactors

WRAPPED = "base_model.model."
"""What PEFT puts before the names of the model that it wraps."""


def write_peft(model: MultiTaskModel, found: Sequence[ModuleFactors], folder: Path) -> None:
    """Write an adapter that PEFT loads on the backbone.

    The scale is in B, so that ``lora_alpha`` is the rank.

    Args:
        model: Whose backbone the adapter is for.
        found: The update of each module.
        folder: Made already.
    """
    prefix = model.backbone.prefix
    tensors = dict(_tensors(found, prefix))
    packed = {name: value.detach().cpu().float().contiguous() for name, value in tensors.items()}
    save_file(packed, folder / "adapter_model.safetensors", {"format": "pt"})
    config = json.dumps(_config(model, found, prefix), indent=2)
    (folder / "adapter_config.json").write_text(config + "\n", "utf-8")


def _tensors(found: Sequence[ModuleFactors], prefix: str) -> Iterator[tuple[str, Tensor]]:
    for each in found:
        name = f"{WRAPPED}{prefix}{each.name}"
        yield f"{name}.lora_A.weight", each.factors.down
        yield f"{name}.lora_B.weight", each.factors.up
        if each.factors.magnitude is not None:
            yield f"{name}.lora_magnitude_vector", each.factors.magnitude


def _config(model: MultiTaskModel, found: Sequence[ModuleFactors], prefix: str) -> dict[str, Any]:
    ranks = {prefix + each.name: each.factors.down.shape[0] for each in found}
    rank, _ = Counter(ranks.values()).most_common(1)[0]
    # PEFT reads the keys as regular expressions.
    others = {re.escape(name): own for name, own in ranks.items() if own != rank}
    causal = any(task.objective == "causal" for task in model.tasks)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if causal else None,
        "base_model_name_or_path": model.backbone.source,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": others,
        "alpha_pattern": others,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(ranks),
        "fan_in_fan_out": is_transposed(found[0].module),
        "use_dora": found[0].factors.magnitude is not None,
    }
