"""A task axis for the parameters that tasks share, so that one backward pass gives a row a task.

For the time of an optimizer step every shared parameter has a leaf ``[T, …]``, T the tasks that
are present: the parameter repeated, which takes no memory. Whatever a task's examples read is the
task's own slice of it, so the gradient of the leaf has a row a task, and the rows add up to the
gradient of joint training. The batch is ordered by task: a task's examples are one segment of
rows, and nothing is gathered or padded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor, nn

from .context import Served, TaskContext
from .errors import CompositionError

_ATTRIBUTE = "task_leaf"
"""Where a parameter keeps its leaf; a plain attribute, since a checkpointed layer's recomputation
on CUDA runs in a thread of its own and must find the same leaf."""


@dataclass(frozen=True)
class TaskLeaf:
    """The task axis of one parameter during one step."""

    axis: TaskAxis
    tensor: Tensor
    """``[T, *shape]``, the leaf."""

    @cached_property
    def slices(self) -> tuple[Tensor, ...]:
        """The leaf's slices, one for each task, made together: their gradients are stacked once.

        Made when they are first read, which parts that run once on all rows never do.
        """
        # Whoever reads them first: a later reader may want their gradients.
        with torch.enable_grad():
            return self.tensor.unbind()

    @property
    def counts(self) -> tuple[int, ...]:
        """How many rows of this forward each task has."""
        return self.axis.counts()


class TaskAxis:
    """The tasks of one step, and the leaves of the parameters that they share.

    Args:
        context: The model's, which says whose rows a forward has.
        tasks: The ids of the tasks that are present in the step, ascending: row by row.
        modules: Parts of the model, each with its shared parameters by name.
        penalized: Whether penalties read the routing of this step.
    """

    def __init__(
        self,
        context: TaskContext,
        tasks: Sequence[int],
        modules: Mapping[nn.Module, Mapping[str, nn.Parameter]],
        *,
        penalized: bool = False,
    ) -> None:
        self.context = context
        self.tasks = tuple(tasks)
        self.penalized = penalized
        self._modules = modules
        self._counted: tuple[Served | None, tuple[int, ...]] = None, ()
        shared = (p for parameters in modules.values() for p in parameters.values())
        self.leaves = {parameter: self._leaf(parameter) for parameter in dict.fromkeys(shared)}

    def _leaf(self, parameter: nn.Parameter) -> TaskLeaf:
        repeated = parameter.detach().expand(len(self.tasks), *parameter.shape).requires_grad_()
        return TaskLeaf(self, repeated)

    @contextmanager
    def carried(self) -> Iterator[None]:
        """Let every forward inside, and its backward, find the leaves."""
        self.context.axis = self
        for parameter, leaf in self.leaves.items():
            setattr(parameter, _ATTRIBUTE, leaf)
        try:
            yield
        finally:
            self.context.axis = None
            for parameter in self.leaves:
                delattr(parameter, _ATTRIBUTE)

    def counts(self) -> tuple[int, ...]:
        """Return how many rows of this forward each task has; some may have none.

        Raises:
            CompositionError: the rows are not ordered by task, or of a task that is not present.
        """
        served, (counted, counts) = self.context.served, self._counted
        # Every site asks, several times; the answer is the forward's.
        if counted is not served:
            counts = self._count(served.tasks)
            self._counted = served, counts
        return counts

    def _count(self, ids: Sequence[int]) -> tuple[int, ...]:
        rows = Counter(ids)
        counts = tuple(rows[task] for task in self.tasks)
        if ids != [t for t, n in zip(self.tasks, counts, strict=True) for _ in range(n)]:
            raise CompositionError(
                f"task gradients need the rows ordered by task, of the tasks {[*self.tasks]}; "
                f"the forward has rows of {ids}"
            )
        return counts

    def runs(self) -> list[tuple[int, slice]]:
        """Return the tasks that have rows in this forward: each one's place on the axis, its rows.

        Raises:
            CompositionError: as for :meth:`counts`.
        """
        counts = self.counts()
        ends = [*accumulate(counts)]
        return [(i, slice(ends[i] - n, ends[i])) for i, n in enumerate(counts) if n]

    def shared(self, module: nn.Module) -> Mapping[str, nn.Parameter]:
        """Return a part's shared parameters by name; none where it has only tasks' own."""
        return self._modules.get(module, {})

    def slices(self, module: nn.Module, place: int) -> dict[str, Tensor]:
        """Return what the task at ``place`` on the axis reads for a part's shared parameters."""
        return {name: self.leaves[p].slices[place] for name, p in self.shared(module).items()}


def leaf_of(parameter: Tensor) -> TaskLeaf | None:
    """Return the leaf that a parameter has in this step, or None where none is wanted."""
    leaf: TaskLeaf | None = getattr(parameter, _ATTRIBUTE, None)
    return leaf


def shared_parameters(
    module: nn.Module, task_indexed: Iterable[str] = ()
) -> dict[str, nn.Parameter]:
    """Return the trained parameters of a part that belong to no task of their own, by name.

    Args:
        module: Experts or a router.
        task_indexed: What the part declares; see
            :attr:`mtlora_core.interfaces.Experts.task_indexed`.
    """
    own = frozenset(task_indexed)
    return {
        name: parameter
        for name, parameter in module.named_parameters()
        # A ParameterList's members are named after it: `up.3`.
        if parameter.requires_grad and name not in own and name.rpartition(".")[0] not in own
    }
