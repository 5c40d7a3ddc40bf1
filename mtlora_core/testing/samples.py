"""What the suites run on: small shapes, sites, batches, and parts built from descriptions."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..component import Component, Kind, Per, load
from ..context import TaskContext
from ..hookspecs import manager
from ..interfaces import Experts, Router, Routing, TaskGradients
from ..sites import BackboneShape, Block, Layer, Projection, Site
from ..taskaxis import TaskAxis, shared_parameters

M = TypeVar("M", bound=nn.Module)

TASKS = ("first", "second", "third")
"""The tasks that parts are built for."""
BATCH, TOKENS = 4, 5
GROUPS = 2
"""Of output dimensions, where weights are per group."""
MANY_TASKS = ("first", "second", "third", "fourth", "fifth")
"""The tasks that parts which remember steps are built for."""
STEPS = ((0, 1, 2, 3, 4), (1, 3), (0, 1, 2, 3, 4), (2,), (0, 2, 3, 4), (0, 1, 2, 3, 4))
"""The tasks of the steps that they are taken through."""


def components_of(plugin: ModuleType) -> list[Component]:
    """Return what a plugin describes, asked as the registry asks."""
    asking = manager()
    asking.register(plugin)
    return [each for answer in asking.hook.mtlora_components() for each in answer]


def described(plugin: ModuleType, kind: Kind, name: str) -> Component:
    """Return the plugin's component of that kind and name."""
    components = components_of(plugin)
    for each in components:
        if (each.kind, each.name) == (kind, name):
            return each
    there = ", ".join(f"{each.kind} {each.name}" for each in components) or "nothing"
    raise AssertionError(f"{plugin.__name__} describes no {kind} {name!r}, but {there}")


def options_of(component: Component, values: Mapping[str, Any] | None) -> Any:
    """Return the component's options, read from ``values`` as a recipe writes them."""
    return load(component.options).model_validate(dict(values or {}))


def device() -> torch.device:
    """Return the device to test on: ``MTLORA_TEST_DEVICE``, or the CPU."""
    return torch.device(os.environ.get("MTLORA_TEST_DEVICE", "cpu"))


def tiny_shape(
    layers: int = 3, width: int = 12, roles: Sequence[str] = ("q", "k", "v", "o", "up", "down")
) -> BackboneShape:
    """Return the shape of a small encoder; its FFN is twice as wide as its residual stream."""
    return BackboneShape(
        "tiny", width, tuple(_layer(i, width, roles) for i in range(layers)), False
    )


def _layer(number: int, width: int, roles: Sequence[str]) -> Layer:
    path = f"layers.{number}"
    widths = {"gate": (width, 2 * width), "up": (width, 2 * width), "down": (2 * width, width)}
    return Layer(
        attention=Block(f"{path}.attention", f"{path}.attention.o"),
        ffn=Block(f"{path}.ffn", f"{path}.ffn"),
        projections={
            role: Projection(f"{path}.{role}", *widths.get(role, (width, width))) for role in roles
        },
    )


def tiny_site(d: int = 12, o: int = 16) -> Site:
    """Return a projection from ``d`` to ``o``; by default 1, 2, 4, 8 and 16 groups divide it."""
    return Site("layer0_q", "projection", 0, "layers.0.q", "layers.0.q", d, o)


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Run what is inside from ``seed`` and leave torch's own random state as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def randomized(module: M) -> M:
    """Return ``module`` with random parameters, as if it had been trained."""
    with torch.no_grad(), seeded(1):
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape) / 2)
    return module


def batch_hidden(site: Site, seed: int = 2) -> Tensor:
    """Return random hidden states ``[b, t, d]`` for ``site``."""
    with seeded(seed):
        return torch.randn(BATCH, TOKENS, site.d).to(device())


def batch_task_ids() -> Tensor:
    """Return the task of each row, ``[b]``; one task has two rows."""
    return torch.tensor([0, 2, 1, 0], device=device())


def batch_mask() -> Tensor:
    """Return ``[b, t]`` with padding behind the texts of two rows."""
    mask = torch.ones(BATCH, TOKENS, dtype=torch.bool, device=device())
    mask[0, 3:] = False
    mask[2, 4:] = False
    return mask


def constant_routing(per: Per, weights: Tensor, groups: int = GROUPS) -> Routing:
    """Return a routing per ``per`` that has the same ``weights`` ``[e]`` everywhere."""
    return varied_routing(per, weights[None], groups)


def varied_routing(per: Per, rows: Tensor, groups: int = GROUPS) -> Routing:
    """Return a routing per ``per`` whose units have the ``rows`` ``[k, e]`` in turn."""
    leading = {
        "model": (),
        "task": (len(TASKS),),
        "sequence": (BATCH,),
        "token": (BATCH, TOKENS, 1),
        "group": (BATCH, TOKENS, groups),
    }[per]
    units = torch.arange(math.prod(leading), device=rows.device)
    return Routing(rows[units % len(rows)].view(*leading, -1), per)


def task_gradients(
    groups: Sequence[Sequence[Tensor]],
    task_ids: Sequence[int] | None = None,
    *,
    seed: int = 0,
    losses: Tensor | None = None,
) -> TaskGradients:
    """Return rows as a transform gets them.

    Args:
        groups: All groups of a scope; a group's parameters, each as ``[T, p]``.
        task_ids: The tasks of the T rows; None: the first ones.
        seed: Of the step.
        losses: ``[T]``, the tasks' mean losses; None: 1 each.
    """
    count = len(groups[0][0])
    ids = tuple(range(count) if task_ids is None else task_ids)
    known = torch.ones(count, dtype=torch.float64) if losses is None else losses
    return TaskGradients(groups, ids, seed, known, range(len(groups)))


def memory_of(part: object) -> dict[str, Tensor]:
    """Return a copy of what a part remembers of earlier steps; nothing of one without state."""
    state = part.state_dict() if isinstance(part, nn.Module) else {}
    loose = [name for name, value in state.items() if not isinstance(value, Tensor)]
    assert not loose, f"remembers {loose[0]!r} as something else than a tensor"
    return {name: value.clone() for name, value in state.items()}


def assert_same_shapes(part: object, memory: Mapping[str, Tensor]) -> None:
    """Assert that what a part remembers has the shapes that it had in ``memory``."""
    before, now = ({n: [*t.shape] for n, t in each.items()} for each in (memory, memory_of(part)))
    assert now == before, f"what is remembered changes its shapes, from {before} to {now}"


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of everything a module keeps, buffers that are not saved among it."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in tensors}


def assert_moves_only_its_own(part: Experts | Router, task: int) -> None:
    """Assert that what a part declares ``task_indexed`` has a gradient for ``task`` alone."""
    for name in sorted(part.task_indexed):
        owned = getattr(part, name, None)
        assert isinstance(owned, nn.Parameter | nn.ParameterList), (
            f"task_indexed names {name!r}, which is neither Parameter nor ParameterList"
        )
        assert len(owned) >= len(TASKS), f"task_indexed {name!r} has {len(owned)} entries, too few"
        moved = [i for i, grad in enumerate(_entry_gradients(owned)) if grad.any()]
        assert moved == [task], f"examples of task {task} move {name!r} of the tasks {moved}"


def assert_has_rows(part: Experts | Router, run: Callable[[TaskContext], Tensor]) -> None:
    """Assert that a part that says it is ``segmented`` gives each shared parameter a row a task.

    Args:
        part: Experts or a router.
        run: Runs the part in a context, on rows that are ordered by task.
    """
    context, shared = TaskContext(TASKS), shared_parameters(part, part.task_indexed)
    run(context).square().sum().backward()
    joint = {name: torch.as_tensor(parameter.grad) for name, parameter in shared.items()}
    part.zero_grad(set_to_none=True)
    axis = TaskAxis(context, range(len(TASKS)), {part: shared})
    with axis.carried():
        run(context).square().sum().backward()
    for name, parameter in shared.items():
        rows = axis.leaves[parameter].tensor.grad
        assert parameter.grad is None, (
            f"says it is segmented, and parameter {name} enters otherwise than through "
            "mtlora_core.lowrank: part of its gradient belongs to no task"
        )
        assert rows is not None, f"says it is segmented, and parameter {name} has no rows"
        message = f"the rows of parameter {name} do not add up to its gradient"
        assert_close(rows.sum(0), joint[name], message)


def _entry_gradients(owned: nn.Parameter | nn.ParameterList) -> list[Tensor]:
    if isinstance(owned, nn.Parameter):
        return [] if owned.grad is None else [*owned.grad]
    return [torch.zeros(1) if p.grad is None else p.grad for p in owned]


def assert_close(actual: Tensor, expected: Tensor, message: str, atol: float = 1e-5) -> None:
    """Assert that two tensors are equal to rounding in float32.

    Small entries are sums of large ones, so rounding is that of the largest: ``atol`` is what it
    comes to where that is 1 or less.
    """
    largest = max(1.0, expected.detach().abs().max().item())
    torch.testing.assert_close(
        actual, expected, rtol=1e-4, atol=atol * largest, msg=lambda m: f"{message}: {m}"
    )


def assert_made_of_its_seed(make: Callable[..., nn.Module]) -> None:
    """Assert that a part is the same twice, and has the same shapes on the meta device.

    Args:
        make: Makes the part from one seed, on the device it is given.
    """
    first = make()
    assert_same_state(make(), state_of(first), "the same seed makes another part")
    meta = {name: tensor.shape for name, tensor in make("meta").state_dict().items()}
    assert meta == {name: tensor.shape for name, tensor in first.state_dict().items()}, (
        "built on the meta device, it has other shapes"
    )


def assert_same_state(actual: nn.Module, expected: Mapping[str, Tensor], message: str) -> None:
    """Assert that a module keeps exactly what :func:`state_of` had returned."""
    state = state_of(actual)
    assert state.keys() == expected.keys(), message
    for name, tensor in state.items():
        assert torch.equal(tensor, expected[name]), f"{message}: {name} differs"
