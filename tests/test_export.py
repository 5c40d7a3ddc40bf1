"""Runs taken elsewhere: adapters that PEFT loads, and backbones with one merged in."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from toys import toy_recipe, toy_registry

import mtlora_tasks
import mtlora_transformers
from mtlora_core import load, load_recipe, resolve, run
from mtlora_core.errors import CompositionError, MtloraError, RunFolderError
from mtlora_core.export import export
from mtlora_core.export.matrices import matrices
from mtlora_core.interfaces import Factors
from mtlora_core.model import MultiTaskModel
from mtlora_transformers.library import transformers
from mtlora_transformers.testing import save_tiny

REGISTRY = toy_registry(transformers=mtlora_transformers, tasks=mtlora_tasks)
Q_AND_V = {"use": "component", "at": ["q", "v"]}
MOE = {"use": "moe", "count": 2, "rank": 4}

LORA: Mapping[str, Any] = {"experts": {"use": "lora", "rank": 4}}

MERGEABLE: Mapping[str, Mapping[str, Any]] = {
    "lora": LORA,
    "dora": {"experts": {"use": "dora", "rank": 4}},
    "multilora": {"experts": {"use": "multilora", "rank": 2}},
    "per-task": {"experts": {"use": "per-task", "rank": 2}},
    "moelora": {"experts": MOE, "router": {"use": "task-embedding", "width": 4}},
    "mtl-lora": {"experts": {"use": "mtl", "rank": 4}, "router": "task"},
    "uniform": {"experts": {"use": "hydra", "count": 2, "rank": 4}, "router": "uniform"},
    "pool": {"experts": {"use": "rank-one", "count": 4}, "router": "task"},
}
"""The fields of recipes whose updates are matrices."""

TEXTS = ["a b c mark1", "d e f", "g h mark0 a b"]


def trained(folder: Path, family: str = "bert", **changes: Any) -> Path:
    """Return a short run on a tiny model of a family."""
    model = save_tiny(folder / "model", family)
    values: dict[str, Any] = {
        "backbone": {"use": "transformers", "model": str(model), "max_length": 16},
        "placement": Q_AND_V,
        "router": None,
        "regularizers": [],
        "train": {"steps": 4, "batch_size": 8, "learning_rate": 0.1, "schedule": "constant"},
        **changes,
    }
    plan = resolve(load_recipe(toy_recipe(**values)), REGISTRY)
    for _ in run(plan, folder / "run", device="cpu"):
        pass
    return folder / "run"


def exported(run: Path, out: Path, **how: Any) -> list[dict[str, Any]]:
    events = export(run, out, registry=REGISTRY, **how)
    return [event for event in events if event["event"] == "exported"]


def logits(model: MultiTaskModel, task: str) -> Tensor:
    """Return what the run's own model answers."""
    index = [each.name for each in model.tasks].index(task)
    rows = model.backbone.encode(TEXTS)
    return torch.stack(model.outputs(rows, [index] * len(rows)))


@torch.no_grad()
def logits_elsewhere(model: MultiTaskModel, base: Any, folder: Path, task: str) -> Tensor:
    """Return what a plain model with the exported head answers to the same tokens."""
    inputs = model.backbone.collate(model.backbone.encode(TEXTS))
    output = base.eval()(**inputs.tensors, attention_mask=inputs.mask.long())
    heads = load_file(folder / "heads.safetensors")
    features = model.backbone.pool(output.last_hidden_state, inputs.mask)
    return features @ heads[f"{task}.weight"].T + heads[f"{task}.bias"]


def with_peft(base: Any, folder: Path) -> Any:
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    with warnings.catch_warnings():
        # It asks transformers by a name that goes in transformers 6.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return peft.PeftModel.from_pretrained(base, str(folder))


def plain(run: Path) -> Any:
    return transformers.AutoModel.from_pretrained(run.parent / "model")


@pytest.mark.parametrize("method", MERGEABLE)
def test_peft_gives_the_models_logits(method: str, tmp_path: Path) -> None:
    run = trained(tmp_path, **MERGEABLE[method])

    events = exported(run, tmp_path / "out")

    model = load(run, device="cpu", registry=REGISTRY)
    assert sorted(task for event in events for task in event["tasks"]) == ["toy0", "toy1", "toy2"]
    for event in events:
        folder = Path(event["folder"])
        for task in event["tasks"]:
            elsewhere = logits_elsewhere(model, with_peft(plain(run), folder), folder, task)
            untouched = logits_elsewhere(model, plain(run), folder, task)
            torch.testing.assert_close(elsewhere, logits(model, task), rtol=1e-4, atol=1e-4)
            assert not torch.allclose(untouched, elsewhere, atol=1e-2)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "roberta"])
@pytest.mark.parametrize("method", ["dora", "mtl-lora"])
def test_peft_gives_the_logits_of_other_families(family: str, method: str, tmp_path: Path) -> None:
    run = trained(tmp_path, family, **MERGEABLE[method])

    folder = Path(exported(run, tmp_path / "out", task="toy1")[0]["folder"])

    model = load(run, device="cpu", registry=REGISTRY)
    elsewhere = logits_elsewhere(model, with_peft(plain(run), folder), folder, "toy1")
    torch.testing.assert_close(elsewhere, logits(model, "toy1"), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("method", ["lora", "dora", "mtl-lora"])
def test_a_merged_backbone_gives_the_models_logits(
    family: str, method: str, tmp_path: Path
) -> None:
    run = trained(tmp_path, family, **MERGEABLE[method])

    event = exported(run, tmp_path / "out", format="merged", task="toy2")[0]

    model, folder = load(run, device="cpu", registry=REGISTRY), Path(event["folder"])
    base = transformers.AutoModel.from_pretrained(folder)
    elsewhere = logits_elsewhere(model, base, folder, "toy2")
    torch.testing.assert_close(elsewhere, logits(model, "toy2"), rtol=1e-4, atol=1e-4)
    assert event["rounding"] < 1e-5
    assert not event["lossy"]
    transformers.AutoTokenizer.from_pretrained(folder)


def test_projections_of_different_rank_are_all_there(tmp_path: Path) -> None:
    place = {"use": "component", "at": ["q", "v", "o"]}
    run = trained(tmp_path, "gpt2", **LORA, placement=place)

    folder = Path(exported(run, tmp_path / "out")[0]["folder"])

    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    assert sorted({config["r"], *config["rank_pattern"].values()}) == [4, 8]
    model = load(run, device="cpu", registry=REGISTRY)
    elsewhere = logits_elsewhere(model, with_peft(plain(run), folder), folder, "toy0")
    torch.testing.assert_close(elsewhere, logits(model, "toy0"), rtol=1e-3, atol=1e-3)


def test_rounding_that_loses_the_update_is_told(tmp_path: Path) -> None:
    small = {"steps": 1, "batch_size": 8, "learning_rate": 1e-4}
    run = trained(tmp_path, **LORA, train=small)

    fine = exported(run, tmp_path / "fine", format="merged")[0]
    coarse = exported(run, tmp_path / "coarse", format="merged", dtype="bfloat16")[0]

    assert coarse["lossy"]
    assert not fine["lossy"]
    assert coarse["rounding"] > 0.1 > fine["rounding"]
    saved = load_file(Path(coarse["folder"]) / "model.safetensors")
    assert {value.dtype for value in saved.values()} == {torch.bfloat16}


def test_rounding_is_what_the_saved_weights_lost(tmp_path: Path) -> None:
    run = trained(tmp_path, **LORA)
    event = exported(run, tmp_path / "out", format="merged", dtype="bfloat16")[0]

    model = load(run, device="cpu", registry=REGISTRY)
    saved = load_file(Path(event["folder"]) / "model.safetensors")
    lost, update = [], []
    for adapter in model.adapters:
        weight = model.backbone.module.get_parameter(f"{adapter.site.adds}.weight")
        change = adapter.experts.factors(None, 0, weight)
        exact = weight + change.up @ change.down
        lost.append(saved[f"{adapter.site.adds}.weight"].float() - exact)
        update.append(exact - weight)
    expected = torch.cat(lost).norm() / torch.cat(update).norm()
    assert event["rounding"] == pytest.approx(expected.item(), rel=1e-4)


def test_the_run_and_its_backbone_are_left_as_they_were(tmp_path: Path) -> None:
    run = trained(tmp_path, **LORA)
    before = {path: path.read_bytes() for path in files(tmp_path)}

    exported(run, tmp_path / "peft")
    exported(run, tmp_path / "merged", format="merged")

    assert {path: path.read_bytes() for path in before} == before


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_tasks_that_share_one_update_share_one_folder(tmp_path: Path) -> None:
    run = trained(tmp_path, **LORA)

    events = exported(run, tmp_path / "out")

    assert [event["tasks"] for event in events] == [["toy0", "toy1", "toy2"]]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "adapter_config.json", "adapter_model.safetensors", "heads.safetensors", "README.md"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["../../outside", "..", "/"], ["..%2F..%2Foutside", "%2E%2E", "%2F"]),
        (["a/b", "a", "a%2Fb"], ["a%2Fb", "a", "a%252Fb"]),
        (["sst-2 (en).v1", "año", "x_y, z"], ["sst-2 (en).v1", "año", "x_y, z"]),
    ],
)
def test_every_task_has_a_folder_of_its_own_below_out(
    names: list[str], folders: list[str], tmp_path: Path
) -> None:
    rows = [{"text": "a b", "label": "yes"}, {"text": "c d", "label": "no"}] * 10
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    entries = [{"name": name, "train": "rows.jsonl"} for name in names]
    tasks = {"use": "files", "root": str(tmp_path), "entries": entries}
    run = trained(tmp_path, **MERGEABLE["per-task"], tasks=tasks)
    (tmp_path / "sub").mkdir()

    events = exported(run, tmp_path / "sub" / "out")

    out = tmp_path / "sub" / "out"
    assert [event["folder"] for event in events] == [str(out / folder) for folder in folders]
    assert [event["tasks"] for event in events] == [[name] for name in names]
    written = {path.parent for path in tmp_path.rglob("adapter_config.json")}
    assert written == {out / folder for folder in folders}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"router": "token", "experts": MOE}, "'token' weighs experts per token, from the input"),
        (
            {"placement": {"use": "block", "at": ["ffn"]}, **LORA},
            "the path around a block bypasses what is not linear",
        ),
    ],
)
def test_what_is_no_matrix_is_refused_with_the_reason(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    run = trained(tmp_path, **changes)

    with pytest.raises(CompositionError, match=reason):
        exported(run, tmp_path / "out")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("how", "kind", "reason"),
    [
        ({"task": "toy7"}, CompositionError, "unknown task 'toy7'; the tasks: toy0, toy1, toy2"),
        ({"format": "merged"}, CompositionError, "say which by --task"),
        ({"out": "model"}, RunFolderError, "exists already"),
        ({"out": "no/where"}, MtloraError, "there is no folder"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_written(
    how: dict[str, Any], kind: type[MtloraError], reason: str, tmp_path: Path
) -> None:
    run = trained(tmp_path, **MERGEABLE["mtl-lora"])
    before = set(files(tmp_path))

    with pytest.raises(kind, match=reason):
        exported(run, tmp_path / how.pop("out", "out"), **how)

    assert set(files(tmp_path)) == before


def test_a_failure_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(tmp_path, **MERGEABLE["mtl-lora"])

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mtlora_core.export.write._write_heads", full)

    with pytest.raises(MtloraError, match="No space left"):
        exported(run, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "run"}


class Packed(torch.nn.Module):
    """A projection whose weight is kept as bitsandbytes keeps 4 bits: two numbers a byte."""

    def __init__(self, given: int, outputs: int) -> None:
        super().__init__()
        self.in_features, self.out_features = given, outputs
        packed = torch.zeros(given * outputs // 2, 1, dtype=torch.uint8)
        self.weight = torch.nn.Parameter(packed, requires_grad=False)


def test_an_update_of_a_packed_weight_is_as_wide_as_the_output(tmp_path: Path) -> None:
    model = load(trained(tmp_path, "gpt2", **LORA), device="cpu", registry=REGISTRY)
    plain = [each.factors for each in matrices(model, 0)]
    blocks: Any = model.backbone.module.get_submodule("h")
    for block in blocks:
        block.attn.c_attn = Packed(32, 96)

    packed = [each.factors for each in matrices(model, 0)]

    assert [factors.up.shape for factors in packed] == [(96, 8)] * len(blocks)
    for one, other in zip(packed, plain, strict=True):
        assert torch.equal(one.up @ one.down, other.up @ other.down)


def test_a_quantized_weight_is_not_merged_into(tmp_path: Path) -> None:
    from mtlora_core.export.matrices import ModuleFactors
    from mtlora_core.export.merged import require_weights

    module = torch.nn.Linear(4, 4)
    module.weight = torch.nn.Parameter(torch.zeros(4, 4, dtype=torch.int8), requires_grad=False)
    factors = Factors(torch.zeros(4, 1), torch.zeros(1, 4))

    with pytest.raises(CompositionError, match=r"layer\.q: its weight is quantized \(torch.int8\)"):
        require_weights([ModuleFactors("layer.q", module, factors)])


def spoken(folder: Path, family: str) -> Path:
    """Return a short run of a causal task on a tiny model of a family."""
    rows = [{"text": "a b", "answer": "c"}, {"text": "d e", "answer": "f"}] * 8
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    entry = {
        "name": "say",
        "objective": "causal",
        "train": "rows.jsonl",
        "validation": 0.25,
        "test": 0.25,
        "template": {"prompt": "{text}", "answer": "{answer}"},
    }
    tasks = {"use": "files", "root": str(folder), "entries": [entry]}
    return trained(folder, family, **LORA, tasks=tasks, evaluate={"max_new_tokens": 2})


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("format", ["peft", "merged"])
def test_a_causal_run_is_exported_with_its_output_head(
    family: str, format: str, tmp_path: Path
) -> None:
    run = spoken(tmp_path, family)

    folder = Path(exported(run, tmp_path / "out", format=format)[0]["folder"])

    auto = transformers.AutoModelForCausalLM
    if format == "peft":
        elsewhere = with_peft(auto.from_pretrained(run.parent / "model"), folder)
    else:
        elsewhere = auto.from_pretrained(folder)
    assert not (folder / "heads.safetensors").exists()
    model = load(run, device="cpu", registry=REGISTRY)
    rows = model.language.encode_answers(["a b", "d e"], ["c", "f"])
    own = torch.cat(model.outputs(rows, [0, 0]))
    inputs = model.backbone.collate(rows)
    assert inputs.targets is not None
    ids = inputs.tensors["input_ids"]
    with torch.no_grad():
        shares = elsewhere.eval()(input_ids=ids, attention_mask=inputs.mask.long()).logits
    each = shares.log_softmax(-1).gather(-1, inputs.targets.clamp(min=0)[..., None])[..., 0]
    said = each.masked_fill(inputs.targets < 0, 0).sum(1)
    torch.testing.assert_close(said, own, rtol=1e-4, atol=1e-4)
