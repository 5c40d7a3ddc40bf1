"""Our parts, put together as composition does, against numbers of reference implementations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from mtlora_core.adapters import Adapter, Adapters
from mtlora_core.interfaces import Penalty, Router
from mtlora_core.sites import Site
from mtlora_core.testing import task_gradients
from mtlora_experts.dora import Dora
from mtlora_experts.hydra import Hydra
from mtlora_experts.lora import Lora
from mtlora_experts.moe import Moe
from mtlora_experts.mtl import Mtl
from mtlora_experts.multilora import MultiLora
from mtlora_experts.options import (
    DoraOptions,
    HydraOptions,
    LoraOptions,
    MoeOptions,
    MtlOptions,
    MultiLoraOptions,
)
from mtlora_regularizers.balance import Balance
from mtlora_regularizers.options import (
    BalanceOptions,
    SpectralAwareOptions,
    UniformOrthogonalityOptions,
)
from mtlora_regularizers.orthogonal_gradient import coefficients
from mtlora_regularizers.spectral_aware import SpectralAware
from mtlora_regularizers.uniform_orthogonality import UniformOrthogonality
from mtlora_routers.fine_grained import FineGrained
from mtlora_routers.options import (
    FineGrainedOptions,
    TaskEmbeddingOptions,
    TaskOptions,
    TokenOptions,
)
from mtlora_routers.task import Task
from mtlora_routers.task_embedding import TaskEmbedding
from mtlora_routers.token import Token

FIXTURES = Path(__file__).parent / "fixtures"
NAME = "layer0_place"
Transform = Literal["full", "diagonal"]
EXPERTS, ROUTER = f"sites.{NAME}.experts.", f"sites.{NAME}.router."


def names(pattern: str) -> Sequence[str]:
    return sorted(path.stem for path in FIXTURES.glob(f"{pattern}.safetensors"))


def numbers(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(FIXTURES / f"{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        return tensors, json.loads(file.metadata()["meta"])


def assert_agrees(actual: Tensor | None, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


class Host(nn.Module):
    """A model that is one module, for an adapter to sit at."""

    def __init__(self, place: nn.Module) -> None:
        super().__init__()
        self.place = place

    def forward(self, hidden: Tensor) -> Tensor:
        output = self.place(hidden)
        assert isinstance(output, Tensor)
        return output


class Silent(nn.Module):
    """A block that adds nothing, so what comes out is the adapter's update."""

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.zeros_like(hidden)


def host_of(tensors: dict[str, Tensor]) -> Host:
    if "base_weight" not in tensors:
        return Host(Silent())
    o, d = tensors["base_weight"].shape
    base = nn.Linear(d, o)
    base.load_state_dict({"weight": tensors["base_weight"], "bias": tensors["base_bias"]})
    return Host(base)


def site_of(tensors: dict[str, Tensor]) -> Site:
    d, o = tensors["A"].shape[-1], tensors["B"].shape[-2]
    kind = "projection" if "base_weight" in tensors else "block"
    return Site(NAME, kind, 0, "place", "place", d, o)  # type: ignore[arg-type]  # one of the two


def hydra_adapters(tensors: dict[str, Tensor], meta: dict[str, Any], router: str) -> Adapters:
    site, count = site_of(tensors), meta["experts"]
    options = HydraOptions(count=count, rank=meta["rank"], alpha=meta["alpha"], dropout=0)
    made: Router = (
        Token(TokenOptions(), site, count, ())
        if router == "token"
        else FineGrained(FineGrainedOptions(groups=meta["groups"]), site, count, ())
    )
    adapters = Adapters([Adapter(site, Hydra(options, site, ()), made)])
    adapters.load_state_dict(
        {
            f"{EXPERTS}down": tensors["A"],
            f"{EXPERTS}up": tensors["B"].movedim(0, 1),
            f"{ROUTER}weight": tensors["router_weight"],
        }
    )
    return adapters


def run(adapters: Adapters, tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the output, after its backward pass, and the input with its gradient."""
    host, hidden = host_of(tensors), tensors["x"].clone().requires_grad_()
    adapters.attach(host)
    with adapters.context.serving(tensors.get("task_ids")):
        output = host(hidden)
    (output * tensors["cotangent"]).sum().backward()
    return output, hidden


ROUTED = [(name, "fine-grained") for name in names("hydra_*")] + [
    (name, "token") for name in names("hydra_*_g1_*")
]


@pytest.mark.parametrize(("name", "router"), ROUTED)
def test_hydra_agrees_in_output_and_gradients(name: str, router: str) -> None:
    tensors, meta = numbers(name)
    adapters = hydra_adapters(tensors, meta, router)

    output, hidden = run(adapters, tensors)

    assert_agrees(output, tensors["y" if "y" in tensors else "delta"])
    assert_agrees(hidden.grad, tensors["grad_x"])
    gradients = {key: parameter.grad for key, parameter in adapters.named_parameters()}
    assert_agrees(gradients[f"{EXPERTS}down"], tensors["grad_A"])
    assert_agrees(gradients[f"{EXPERTS}up"], tensors["grad_B"].movedim(0, 1))
    assert_agrees(gradients[f"{ROUTER}weight"], tensors["grad_router_weight"])


@pytest.mark.parametrize(("name", "router"), ROUTED)
def test_balance_agrees(name: str, router: str) -> None:
    tensors, meta = numbers(name)
    adapters = hydra_adapters(tensors, meta, router)
    run(adapters, tensors)

    (adapter,) = adapters
    value = Balance(BalanceOptions())(adapter.experts, adapters.context.records[NAME])

    assert_agrees(value, tensors["balance_cv_squared"][0])


@pytest.mark.parametrize("name", names("lora_*"))
def test_lora_agrees_in_output_and_gradients(name: str) -> None:
    tensors, meta = numbers(name)
    site = site_of(tensors)
    lora = Lora(LoraOptions(rank=meta["rank"], alpha=meta["alpha"]), site, ())
    adapters = Adapters([Adapter(site, lora, None)])
    adapters.load_state_dict({f"{EXPERTS}down": tensors["A"], f"{EXPERTS}up": tensors["B"]})

    output, hidden = run(adapters, tensors)

    assert_agrees(output, tensors["y"])
    assert_agrees(hidden.grad, tensors["grad_x"])
    assert_agrees(lora.down.grad, tensors["grad_A"])
    assert_agrees(lora.up.grad, tensors["grad_B"])


@pytest.mark.parametrize("name", names("dora_*"))
def test_dora_agrees_in_output_and_gradients(name: str) -> None:
    tensors, meta = numbers(name)
    site, norms = site_of(tensors), tensors["base_weight"].norm(dim=1)
    dora = Dora(DoraOptions(rank=meta["rank"], alpha=meta["alpha"]), site, ())
    adapters = Adapters([Adapter(site, dora, None, needs_base=True)])
    values = {
        "down": tensors["A"],
        "up": tensors["B"],
        "magnitude_change": tensors["magnitude"] - norms,  # ours is kept as a difference
    }
    dora.load_state_dict(values)

    output, hidden = run(adapters, tensors)

    assert_agrees(output, tensors["y"])
    assert_agrees(hidden.grad, tensors["grad_x"])
    assert_agrees(dora.down.grad, tensors["grad_A"])
    assert_agrees(dora.up.grad, tensors["grad_B"])
    assert_agrees(dora.magnitude_change.grad, tensors["grad_magnitude"])


@pytest.mark.parametrize("name", names("multilora_*"))
def test_multilora_agrees_in_output_and_gradients(name: str) -> None:
    tensors, meta = numbers(name)
    site = site_of(tensors)
    options = MultiLoraOptions(count=meta["modules"], rank=meta["rank"], alpha=meta["alpha"])
    multilora = MultiLora(options, site, ())
    values = {
        "down": tensors["A"],
        "up": tensors["B"].movedim(0, 1),
        "output_scale": tensors["output_scale"].T,
    }
    multilora.load_state_dict(values)

    output, hidden = run(Adapters([Adapter(site, multilora, None)]), tensors)

    assert_agrees(output, tensors["y"])
    assert_agrees(hidden.grad, tensors["grad_x"])
    assert_agrees(multilora.down.grad, tensors["grad_A"])
    assert_agrees(multilora.up.grad, tensors["grad_B"].movedim(0, 1))
    assert_agrees(multilora.output_scale.grad, tensors["grad_output_scale"].T)


@pytest.mark.parametrize("name", names("moelora_*"))
def test_moe_under_task_embedding_agrees_in_output_and_gradients(name: str) -> None:
    tensors, meta = numbers(name)
    site, tasks, count = site_of(tensors), [*map(str, range(meta["tasks"]))], meta["experts"]
    options = MoeOptions(count=count, rank=meta["rank_total"], alpha=meta["alpha"], dropout=0)
    moe = Moe(options, site, tasks)
    moe.load_state_dict({"down": tensors["A"], "up": tensors["B"].movedim(0, 1)})
    width = tensors["task_embedding"].shape[1]
    router = TaskEmbedding(TaskEmbeddingOptions(width=width), site, count, tasks)
    values = {"embedding": tensors["task_embedding"], "weight": tensors["gate_weight"]}
    router.load_state_dict(values)

    output, hidden = run(Adapters([Adapter(site, moe, router)]), tensors)

    assert_agrees(output, tensors["y"])
    assert_agrees(hidden.grad, tensors["grad_x"])
    assert_agrees(moe.down.grad, tensors["grad_A"])
    assert_agrees(moe.up.grad, tensors["grad_B"].movedim(0, 1))
    assert_agrees(router.embedding.grad, tensors["grad_task_embedding"])
    assert_agrees(router.weight.grad, tensors["grad_gate_weight"])


@pytest.mark.parametrize("name", names("mtl_lora_*"))
def test_mtl_under_a_task_table_agrees_in_output_and_gradients(name: str) -> None:
    tensors, meta = numbers(name)
    site, tasks, count = site_of(tensors), [*map(str, range(meta["tasks"]))], meta["experts"]
    transform: Transform = "full" if tensors["task_transform"].dim() == 3 else "diagonal"
    options = MtlOptions(
        count=count, rank=meta["rank"], alpha=meta["alpha"], dropout=0, transform=transform
    )
    mtl = Mtl(options, site, tasks)
    values = {"down": tensors["A"], "transform": tensors["task_transform"]}
    mtl.load_state_dict(values | {"up": tensors["B"].movedim(0, 1)})
    router = Task(TaskOptions(temperature=meta["temperature"]), site, count, tasks)
    router.load_state_dict({"logits": tensors["mixing_logits"]})

    output, hidden = run(Adapters([Adapter(site, mtl, router)]), tensors)

    assert_agrees(output, tensors["y"])
    assert_agrees(hidden.grad, tensors["grad_x"])
    assert_agrees(mtl.down.grad, tensors["grad_A"])
    assert_agrees(mtl.transform.grad, tensors["grad_task_transform"])
    assert_agrees(mtl.up.grad, tensors["grad_B"].movedim(0, 1))
    assert_agrees(router.logits.grad, tensors["grad_mixing_logits"])


PENALTIES: dict[str, Penalty] = {
    "spectral": SpectralAware(SpectralAwareOptions()),
    "uniform": UniformOrthogonality(UniformOrthogonalityOptions()),
    "released_code": SpectralAware(SpectralAwareOptions(variant="released-code")),
}


@pytest.mark.parametrize("which", PENALTIES)
@pytest.mark.parametrize("name", names("orthogonality_penalties_*"))
def test_penalties_between_experts_agree_in_value_and_gradient(name: str, which: str) -> None:
    tensors, _ = numbers(name)
    count, o, rank = tensors["B"].shape
    site = Site(NAME, "projection", 0, "place", "place", 12, o)
    experts = Hydra(HydraOptions(count=count, rank=rank), site, ()).double()
    experts.load_state_dict({"down": experts.down, "up": tensors["B"].movedim(0, 1)})

    value = PENALTIES[which](experts, None)
    value.backward()

    assert_agrees(value, tensors[f"loss_{which}"][0])
    assert_agrees(experts.up.grad, tensors[f"grad_{which}"].movedim(0, 1))


@pytest.mark.parametrize("name", names("pcgrad_*"))
def test_the_orthogonal_gradient_agrees_for_a_given_order(name: str) -> None:
    tensors, _ = numbers(name)
    rows = tensors["task_gradients"]
    weights = coefficients((rows @ rows.T)[None], tensors["order"])
    gradients = task_gradients([[rows]])

    assert_agrees(gradients.weighted(weights)[0], tensors["combined_sum"])


def test_there_are_numbers_for_every_method() -> None:
    assert [len(names(p)) for p in ("hydra_component_*", "hydra_block_*", "lora_*")] == [8, 6, 2]
    assert [len(names(p)) for p in ("dora_*", "multilora_*", "moelora_*")] == [2, 2, 2]
    assert [len(names(p)) for p in ("mtl_lora_full_*", "mtl_lora_diagonal_*")] == [2, 2]
    assert len(names("orthogonality_penalties_*")) == 2
    assert len(names("pcgrad_*")) == 4
