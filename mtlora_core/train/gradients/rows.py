"""The task gradients of one step, what is measured of them, and the one gradient they become."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...adapters import Adapters
from ...errors import CompositionError
from ...faults import gradients_fault
from ...groups import Group, grouped, shared_modules
from ...interfaces import TaskGradients
from ...origin import Origin
from ...regularizers import ScopedTransform
from ...taskaxis import TaskAxis
from ..engine import Engine
from .processes import sum_gradients

CHUNK = 2**24
"""Numbers in rows that are gathered before they are combined: a transform has a sequential part,
which then runs a few times a step rather than once a matrix, in bounded memory."""


class TaskRows:
    """Collects the task gradients of a step and turns them into gradients of the parameters.

    With one forward, on one process, for a scope under the whole model, rows are combined and
    freed while the backward pass goes on; otherwise they are kept until every forward and process
    has added its own.

    Without a transform the one gradient is their sum, that of joint training.

    Args:
        adapters: The model's, with or without a transform.
        tasks: The ids of the tasks with examples in the step, over all processes.
        seed: What the transform's random choices in this step come from.
        forwards: How many forwards share the step.
        losses: Returns the mean loss of each of these tasks, ``[T]``, over all forwards and
            processes; called after the last forward, by all processes alike.
        engine: Says which processes there are.
        scale: What the loss is multiplied by, which rows are freed of for the transform.
    """

    def __init__(
        self,
        adapters: Adapters,
        tasks: Sequence[int],
        *,
        seed: int,
        forwards: int,
        losses: Callable[[], Tensor],
        engine: Engine,
        scale: float = 1.0,
    ) -> None:
        scoped = adapters.transform or JOINT
        self.adapters, self.transform, self.origin = adapters, scoped.transform, scoped.origin
        self.seed, self.scale, self.engine = seed, scale, engine
        self.losses = losses
        self.gramians: dict[nn.Parameter, Tensor] = {}
        self.axis = TaskAxis(
            adapters.context,
            sorted(tasks),
            shared_modules(adapters),
            penalized=bool(adapters.penalties) and adapters.transform is not None,
        )
        self._groups = grouped(adapters, scoped.scope)
        alone = forwards == 1 and engine.processes == 1
        self._streams = alone and scoped.scope != "global"
        self._missing = [{*group} for group in self._groups]
        self._ready: list[int] = []
        self._combined: dict[nn.Parameter, Tensor] = {}
        self._given: list[Tensor] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Collect rows from the forwards and backward passes inside.

        Raises:
            CompositionError: a part that says it is ``segmented`` uses a parameter in another
                way, so that a gradient has no rows.
        """
        handles = self._follow() if self._streams else []
        try:
            with self.axis.carried():
                yield
        finally:
            for handle in handles:
                handle.remove()
        self._refuse_unsegmented()

    def add_untasked(self, loss: Tensor) -> None:
        """Add the gradient of a loss that is no task's to the parameters', and keep its graph.

        Where it flows through what tasks share, it would otherwise be in their rows.
        """
        leaves = {leaf.tensor: parameter for parameter, leaf in self.axis.leaves.items()}
        wanted = [*leaves, *(p for p in self.adapters.parameters() if p.requires_grad)]
        found = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True)
        for each, gradient in zip(wanted, found, strict=True):
            if gradient is None:
                continue
            parameter = leaves.get(each, each)
            gradient = gradient.sum(0) if each in leaves else gradient
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def finish(self) -> None:
        """Add to the gradients, which are those of penalties, what the transform makes of rows.

        A parameter that no forward used gets no gradient, as in joint training.
        """
        for number, missing in enumerate(self._missing):
            if missing:
                self._add(number)
        self._combine()
        for parameter, gradient in self._combined.items():
            if parameter.grad is not None:
                gradient += parameter.grad
            parameter.grad = gradient

    def weights(self) -> list[float] | None:
        """Return each task's mean weight over all groups, of a transform that makes weights.

        None for one that does not, and where nothing had a finite gradient.
        """
        return torch.cat(self._given).mean(0).tolist() if self._given else None

    def _follow(self) -> list[Any]:
        """Combine each group as soon as the backward pass has all its rows."""
        return [
            self.axis.leaves[parameter].tensor.register_post_accumulate_grad_hook(
                partial(self._arrived, number, parameter)
            )
            for number, group in enumerate(self._groups)
            for parameter in group
        ]

    def _arrived(self, number: int, parameter: nn.Parameter, leaf: Tensor) -> None:
        self._missing[number].discard(parameter)
        if not self._missing[number]:
            self._add(number)

    def _add(self, number: int) -> None:
        self._ready.append(number)
        numbers = sum(p.numel() for each in self._ready for p in self._groups[each])
        if numbers * len(self.axis.tasks) >= CHUNK:
            self._combine()

    @torch.no_grad()
    def _combine(self) -> None:
        """Transform the groups that are ready, and free their rows."""
        leaves = [self.axis.leaves[p].tensor for each in self._ready for p in self._groups[each]]
        sum_gradients(leaves, self.engine)
        used = {each: group for each in self._ready if (group := self._used(self._groups[each]))}
        self._ready = []
        if not used:
            return
        groups = [*used.values()]
        rows = [[self._taken(parameter) for parameter in group] for group in groups]
        gradients = TaskGradients(rows, self.axis.tasks, self.seed, self.losses(), [*used])
        for group, products in zip(groups, gradients.products, strict=True):
            self.gramians.update(zip(group, products, strict=True))
        for group, vector in zip(groups, self._transformed(gradients), strict=True):
            parts = vector.split([p.numel() for p in group])
            for parameter, part in zip(group, parts, strict=True):
                self._combined[parameter] = (part * self.scale).view_as(parameter)

    def _used(self, group: Group) -> Group:
        return tuple(p for p in group if self.axis.leaves[p].tensor.grad is not None)

    def _taken(self, parameter: nn.Parameter) -> Tensor:
        """Return a parameter's rows as ``[T, p]``, and forget them."""
        leaf = self.axis.leaves[parameter].tensor
        rows, leaf.grad = leaf.grad, None
        assert rows is not None, "unused parameters are left out"
        return rows.flatten(1) / self.scale if self.scale != 1 else rows.flatten(1)

    def _transformed(self, gradients: TaskGradients) -> Sequence[Tensor]:
        gramians = gradients.gramians
        if not gramians.isfinite().all():
            # Left to the loop, which skips such a step or ends the run: no transform means
            # anything there, and a solver might fail in its own words.
            return summed(gradients)
        with self.origin.calling("it"):
            transformed = self.transform(gradients)
        fault = gradients_fault(transformed, gradients)
        if fault:
            raise self.origin.broken(f"it gave {fault}")
        self._given += gradients.given
        return transformed

    def _refuse_unsegmented(self) -> None:
        # With penalties, which read the parameters themselves, it cannot be told from outside.
        if self.adapters.penalties:
            return
        for adapter in self.adapters:
            for name, parameter in adapter.named_parameters():
                if parameter in self.axis.leaves and parameter.grad is not None:
                    raise CompositionError(
                        f"site {adapter.site.name}: {name} has a gradient without task rows: a "
                        "part that says it is `segmented` uses its shared parameters through "
                        "mtlora_core.lowrank only"
                    )


def summed(gradients: TaskGradients) -> Sequence[Tensor]:
    """Return the gradient of joint training."""
    return [matrix.sum(0) for matrix in gradients.matrices()]


JOINT = ScopedTransform(Origin("mtlora", "regularizer", "sum"), "per-matrix", summed)
"""What stands for a transform where the recipe has none."""
