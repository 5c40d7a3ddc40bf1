"""What adapters share during a forward: the task of each example and which tokens are real.

A pretrained backbone hands on hidden states and nothing else, so the task of a row reaches an
adapter beside the backbone. One context per model, a plain attribute: CUDA's backward pass runs
in another thread and must see the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from threading import get_ident
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .errors import CompositionError

if TYPE_CHECKING:
    from .interfaces import Routing
    from .taskaxis import TaskAxis


class _Claim(int):
    """The id of the thread that is using the model; distinct from any other claim by identity."""


Contexts = tuple[AbstractContextManager[None], AbstractContextManager[None]]
"""Of a checkpointed layer: one for its forward, one for its recomputation."""


@dataclass(frozen=True)
class Served:
    """The examples of one forward."""

    task_ids: Tensor | None
    """``[b]``, indices into the model's tasks; None where nothing asks for the task."""
    mask: Tensor | None
    """``[b, t]``, true for real tokens; None where all are."""

    @cached_property
    def present(self) -> tuple[tuple[int, ...], Tensor]:
        """The tasks of the examples, ascending, and the place of each example's among them."""
        assert self.task_ids is not None
        tasks, places = self.task_ids.unique(return_inverse=True)
        return tuple(tasks.tolist()), places

    @cached_property
    def tasks(self) -> list[int]:
        """The task of each example, read from the device once a forward."""
        return [] if self.task_ids is None else self.task_ids.tolist()

    def rows(self, rows: slice) -> Served:
        """Return what is served to some of the rows."""
        ids, mask = self.task_ids, self.mask
        return Served(
            None if ids is None else ids[rows],
            None if mask is None else mask[rows],
        )


class TaskContext:
    """The only mutable thing that parts of one model share.

    Args:
        tasks: The model's tasks; a task's id is its index here.
    """

    def __init__(self, tasks: tuple[str, ...] = ()) -> None:
        self.tasks = tasks
        self.records: dict[str, Routing] = {}
        """This forward's routing by site, in the graph; a recomputation records nothing."""
        self.axis: TaskAxis | None = None
        """Set for the time of a step in which every task's gradient is wanted apart."""
        self._served = Served(None, None)
        self._held: dict[str, Tensor] = {}

    @contextmanager
    def serving(self, task_ids: Tensor | None, mask: Tensor | None = None) -> Iterator[None]:
        """Say whose examples the forwards inside are.

        Args:
            task_ids: ``[b]``, indices into ``tasks``.
            mask: ``[b, t]``, true for real tokens, false for padding.

        Raises:
            CompositionError: another thread, or an outer ``with``, is serving already.
        """
        self._claim("_server", "two batches at once on one model")
        # What is served stays after the forward: a checkpointed layer asks again in backward.
        self._served = Served(task_ids, None if mask is None else mask.bool())
        try:
            yield
        finally:
            self.__dict__.pop("_server")

    def task_ids_for(self, hidden: Tensor) -> Tensor:
        """Return the task of each row of ``hidden`` as ``[b]``; beams repeat their example's.

        Raises:
            CompositionError: no tasks were given, or the rows are no multiple of the examples.
        """
        return _repeated(self._given(), hidden)

    def present_tasks_for(self, hidden: Tensor) -> tuple[tuple[int, ...], Tensor]:
        """Return which tasks are present, ascending, and each row's place among them as ``[b]``.

        For parts that must leave the parameters of an absent task out of the graph. Asks the
        device once for all sites.

        Raises:
            CompositionError: as :meth:`task_ids_for`.
        """
        self._given()
        tasks, places = self._served.present
        return tasks, _repeated(places, hidden)

    def mask_for(self, hidden: Tensor) -> Tensor | None:
        """Return ``[b, t]``, true where ``hidden`` is a real token, or None where all are.

        In generation a forward sees only the newest positions; the mask is cut to them.
        """
        if self._served.mask is None or hidden.shape[1] > self._served.mask.shape[1]:
            return None
        return _repeated(self._served.mask, hidden)[:, -hidden.shape[1] :]

    @property
    def served(self) -> Served:
        """The examples of this forward: the same object for as long as they are served."""
        return self._served

    def narrowed(self, rows: slice) -> AbstractContextManager[None]:
        """Serve only some of this forward's examples, to a part that runs on their rows alone."""
        return _Replay(self, self._served.rows(rows))

    def record(self, site: str, routing: Routing) -> None:
        """Keep a site's routing for penalties and statistics, once a forward."""
        if not in_backward():
            self.records[site] = routing

    def hold(self, site: str, hidden: Tensor) -> None:
        """Keep the input of a site whose output comes from another module."""
        self._held[site] = hidden

    def release(self, site: str) -> Tensor:
        """Return what :meth:`hold` kept, and forget it.

        Raises:
            CompositionError: nothing was held: the module that the site reads has not been called.
        """
        if site not in self._held:
            raise CompositionError(f"site {site}: its output is there before its input")
        return self._held.pop(site)

    def begin(self) -> None:
        """Enter a forward of the backbone.

        Raises:
            CompositionError: another forward of this model is under way.
        """
        self._claim("_forward", "two forwards at once on one model")
        self.records = {}
        self._held.clear()

    def end(self) -> None:
        """Leave a forward, whether it succeeded or failed; a refused one leaves nothing."""
        if self.__dict__.get("_forward") == get_ident():
            del self.__dict__["_forward"]
            self._held.clear()

    def checkpoint_contexts(self) -> Contexts:
        """Return the contexts of a checkpointed layer's forward and of its recomputation.

        The recomputation sees the examples of its own forward, even after another forward.
        Pass this method as ``context_fn`` of :func:`torch.utils.checkpoint.checkpoint`.
        """
        return nullcontext(), _Replay(self, self._served)

    def _given(self) -> Tensor:
        if self._served.task_ids is None:
            raise CompositionError(
                "a part asks for the task of each example, and none was given: call the model "
                "inside `with context.serving(task_ids):`"
            )
        return self._served.task_ids

    def _claim(self, name: str, fault: str) -> None:
        # setdefault is atomic, and unlike a lock a plain attribute survives copies and pickles.
        claim = _Claim(get_ident())
        if self.__dict__.setdefault(name, claim) is not claim:
            raise CompositionError(f"{fault}; use one copy of the model for each thread")

    def __getstate__(self) -> dict[str, object]:
        """Leave a forward's own state behind: a copy starts idle."""
        idle = {"records": {}, "_served": Served(None, None), "_held": {}, "axis": None}
        return {"tasks": self.tasks, **idle}


class _Replay(AbstractContextManager[None]):
    """Serves other examples for a while, such as an earlier forward's in its backward pass."""

    def __init__(self, context: TaskContext, served: Served) -> None:
        self.context = context
        self.served = served
        self.before = served

    def __enter__(self) -> None:
        self.before, self.context._served = self.context._served, self.served

    def __exit__(self, *raised: object) -> None:
        self.context._served = self.before


def in_backward() -> bool:
    """Whether this thread is inside a backward pass, as in a checkpointed layer's recomputation."""
    # The id that torch's own checkpointing asks for; -1 outside of backward.
    return torch._C._current_graph_task_id() != -1


def _repeated(rows: Tensor, hidden: Tensor) -> Tensor:
    """Return what is served to each row of ``hidden``, where that is: sites may be far apart."""
    beams, rest = divmod(hidden.shape[0], rows.shape[0])
    if rest or not beams:
        raise CompositionError(
            f"the model sees {hidden.shape[0]} rows, the context serves {rows.shape[0]} examples"
        )
    rows = rows.to(hidden.device)
    return rows if beams == 1 else rows.repeat_interleave(beams, dim=0)
