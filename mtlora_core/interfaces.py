"""The contracts of the parts that own weights.

One alphabet of shapes, here and everywhere: ``b`` batch, ``t`` tokens, ``d`` width an adapter
reads, ``o`` width it adds to, ``e`` experts, ``r`` rank, ``g`` groups of output dimensions,
``T`` tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from .component import Per
from .context import Contexts, TaskContext
from .errors import CompositionError
from .inputs import Input
from .options import BackboneOptions, Options
from .sites import BackboneShape, Site
from .tasks import TaskData


@dataclass(frozen=True)
class Routing:
    """How much of each expert, for which unit.

    ``weights`` is ``[e]`` per model, ``[T, e]`` per task, ``[b, e]`` per sequence,
    ``[b, t, 1, e]`` per token and ``[b, t, g, e]`` per group of output dimensions; output
    coordinate ``c`` of ``o`` belongs to group ``c * g // o``.
    """

    weights: Tensor
    per: Per
    mask: Tensor | None = None
    """``[b, t]``, true for real tokens; filled in by the model, None where all are real."""
    dense: Tensor | None = None
    """What a sparse router chose from: the weights, of the same shape and summing to one, that it
    would give if it kept every expert. None where ``weights`` keep them all."""

    def load(self) -> Tensor:
        """Return the mean weight of each expert over real tokens (and groups) as ``[e]``.

        Stays in the graph. Per task, every task counts once.
        """
        if self.per in ("token", "group"):
            per_token = self.weights.float().mean(2)  # [b, t, e]
            if self.mask is None:
                return per_token.mean((0, 1))
            real = self.mask.to(per_token.dtype)
            return torch.einsum("bte,bt->e", per_token, real) / real.sum().clamp(min=1)
        return self.weights.float().reshape(-1, self.weights.shape[-1]).mean(0)

    def kept(self) -> Tensor:
        """Return the share of real tokens (and groups) that keep each expert, as ``[e]``.

        All ones unless the router is sparse. No gradient.
        """
        kept = (self.weights.detach() != 0).float()
        return Routing(kept, self.per, self.mask).load()


@dataclass(frozen=True)
class StepRouting:
    """What the routing of one site came to in one optimizer step, over all processes."""

    load: Tensor
    """``[e]``, mean weight of each expert over the step's real tokens."""
    kept: Tensor
    """``[e]``, share of the step's real tokens that keep each expert; see :meth:`Routing.kept`."""
    entropy: float
    """Mean entropy of a unit's weights over ``ln e``."""


@dataclass(frozen=True)
class SiteInput:
    """What an adapter sees at its site."""

    hidden: Tensor
    """``[b, t, d]``: the input of the module that the site reads, without adapter dropout; in the
    adapter's dtype, or under autocast in the backbone's."""
    base_output: Tensor
    """``[b, t, o]``: what the frozen module gave, and the update is added to."""
    base_weight: Tensor | None
    """``[o, d]``: a view of a projection's frozen weight; None at a block."""
    context: TaskContext


class Router(nn.Module, ABC):
    """Weighs the experts of one site."""

    task_indexed: ClassVar[frozenset[str]] = frozenset()
    """Names of own parameters, or of ParameterLists of them, that belong to one task each: indexed
    by the task on their first axis, so that a task's examples move its own entries only. Entries
    behind those of the tasks belong to none."""

    segmented: ClassVar[bool] = False
    """Whether parameters that tasks share enter ``forward`` only through
    :mod:`mtlora_core.lowrank`, ``linear`` and ``mix``, as the parameters themselves. A gradient
    transform then has the gradient of every task at the price of the joint one. What does not
    say so runs once for each task instead, on the task's rows: exact for whatever treats the
    rows of a batch apart, at the price of small products."""

    @abstractmethod
    def forward(self, hidden: Tensor, context: TaskContext) -> Routing:
        """Return the experts' weights for ``hidden`` ``[b, t, d]``, per the declared unit.

        Must not change buffers: under activation checkpointing it runs twice.
        """

    def after_step(self, routing: StepRouting) -> None:
        """Learn from a finished optimizer step: the only place where buffers may change."""


@dataclass(frozen=True)
class Factors:
    """The matrix of an update that does not depend on its input."""

    up: Tensor
    """``[o, r]``, scaled."""
    down: Tensor
    """``[r, d]``."""
    magnitude: Tensor | None = None
    """``[o]``, the norms that the rows of the sum are scaled to; None: they stay as they are."""

    def merged(self, weight: Tensor) -> Tensor:
        """Return a projection's weight ``[o, d]`` with the update in it, in its own dtype."""
        total = weight + (self.up @ self.down).to(weight.dtype)
        if self.magnitude is None:
            return total
        norms = torch.linalg.vector_norm(total, dim=1)
        # A row of zeros has no direction and stays as it is.
        scale = torch.where(norms > 0, self.magnitude.to(total.dtype) / norms, 1.0)
        return total * scale[:, None]


class Experts(nn.Module, ABC):
    """The low-rank factors of one site."""

    task_indexed: ClassVar[frozenset[str]] = frozenset()
    """Names of own parameters, or of ParameterLists of them, that belong to one task each: indexed
    by the task on their first axis, so that a task's examples move its own entries only. Entries
    behind those of the tasks belong to none."""

    segmented: ClassVar[bool] = False
    """Whether parameters that tasks share enter ``forward`` only through
    :mod:`mtlora_core.lowrank`, ``linear`` and ``mix``, as the parameters themselves. A gradient
    transform then has the gradient of every task at the price of the joint one. What does not
    say so runs once for each task instead, on the task's rows: exact for whatever treats the
    rows of a batch apart, at the price of small products."""

    count: int
    """``e``, how many experts a router weighs."""

    @abstractmethod
    def forward(self, site: SiteInput, routing: Routing | None) -> Tensor:
        """Return the update ``[b, t, o]``, exactly 0 for freshly made experts.

        ``routing`` is None where the recipe has no router. The dtype is the experts' own affair:
        the model casts the update to that of the output it is added to.
        """

    def factors(
        self, weights: Tensor | None, task: int | None, base_weight: Tensor | None
    ) -> Factors:
        """Return the update as a matrix, which experts that declare ``mergeable`` can.

        In eval mode it is what :meth:`forward` adds, for every input.

        Args:
            weights: ``[e]``, the router's, which depend on no input; None without a router.
            task: Whose update, an index; None where neither experts nor router ask for it.
            base_weight: ``[o, d]``, the projection's frozen weight.
        """
        raise NotImplementedError(f"{type(self).__name__} declares mergeable without factors")

    @property
    @abstractmethod
    def up_factors(self) -> Tensor:
        """The up-projections B as ``[o, e, r]``, in the graph, as penalties read them."""


class Penalty(Protocol):
    """Turns the experts of one site and this step's routing into a penalty. A function will do."""

    def __call__(self, experts: Experts, routing: Routing | None) -> Tensor:
        """Return a scalar in the graph, 0 where there is nothing to penalize."""
        ...


@dataclass(frozen=True)
class TaskGradients:
    """The task gradients of one step, for some of the groups of parameters that a scope makes.

    Row t is the gradient of task t's share of the loss; the rows add up to the joint gradient.
    """

    groups: Sequence[Sequence[Tensor]]
    """M groups; a group's parameters in order, each as ``[T, p]``."""
    task_ids: tuple[int, ...]
    """The T tasks that have examples in the step, row by row."""
    seed: int
    """The same for all groups and processes, another every step: seed generators with this."""
    losses: Tensor
    """``[T]``, the mean loss of each of these tasks in the step, over forwards and processes."""
    indices: Sequence[int]
    """Which of all groups of the scope each of these M is, for what is remembered of it."""

    @cached_property
    def products(self) -> Sequence[Tensor]:
        """The products of every two rows of each parameter: for n in a group ``[n, T, T]``."""
        return [torch.stack([g @ g.T for g in group]) for group in self.groups]

    @cached_property
    def gramians(self) -> Tensor:
        """The products of every two rows of each group, as ``[M, T, T]``."""
        return torch.stack([own.sum(0) for own in self.products])

    def matrices(self) -> list[Tensor]:
        """Return each group's rows as ``[T, P]``."""
        return [group[0] if len(group) == 1 else torch.cat([*group], 1) for group in self.groups]

    def weighted(self, weights: Tensor) -> list[Tensor]:
        """Return each group's weighted sum of rows as ``[P]``; ``weights`` is ``[M, T]``."""
        return [
            torch.cat([own.to(g.dtype) @ g for g in group])
            for own, group in zip(weights, self.groups, strict=True)
        ]


class GradientTransform(Protocol):
    """Makes one gradient of the tasks' gradients. A function will do.

    A function of its input alone, so that a resumed run and every process do the same. One that
    remembers earlier steps is an :class:`torch.nn.Module` too, whose ``state_dict`` holds all that
    it remembers, by group and by task, in tensors on the CPU whose shapes never change; a step
    teaches nothing of groups and tasks that it does not have. The state is saved with a checkpoint,
    not with the adapters. A step that is not taken, since its gradient is not finite, is undone.
    """

    def __call__(self, gradients: TaskGradients) -> Sequence[Tensor]:
        """Return the gradient of each group as ``[P]``, without changing the rows.

        Called several times a step where that saves memory, each time with other groups.
        """
        ...


@dataclass(frozen=True)
class StepLosses:
    """The tasks of one step and their losses, as a weighting sees them."""

    task_ids: tuple[int, ...]
    """The n tasks that have examples in the step, ascending."""
    losses: Tensor
    """``[n]`` in float64 on the CPU, each one's mean loss in the step, unweighted, over forwards
    and processes. NaN where the forward is still to come: in :meth:`LossWeighting.weights`, unless
    the component declares ``weighs_losses: current``."""
    epoch: int
    """How many times the examples have been passed through before this step."""
    seed: int
    """The same on all processes, another every step: seed generators with this."""


class LossWeighting(nn.Module, ABC):
    """Weighs the tasks' losses before the one backward pass of a step.

    All that it remembers is in its ``state_dict``, by task, in tensors on the CPU whose shapes
    never change; a step teaches nothing of tasks that it does not have. The state is saved with a
    checkpoint, not with the adapters. A step that is not taken, since its gradient is not finite,
    is undone.
    """

    @abstractmethod
    def weights(self, step: StepLosses) -> Tensor:
        """Return what each task's part of the step's loss is multiplied by, ``[n]``; called once.

        1 leaves a task as in joint training, so weights of a mean are multiplied by n. The parts
        are those that ``loss.average`` and the tasks' own ``weight`` make.
        """

    def after_step(self, step: StepLosses) -> None:
        """Learn from a step that was taken, whose losses are known now."""


@dataclass(frozen=True)
class Encoded:
    """One input, ready to be put in a batch."""

    features: Mapping[str, Any]
    """By the name of the model's argument; for text, lists of token ids."""
    length: int
    """Its cost, by which batches of similar inputs are made: tokens."""
    truncated: bool = False
    """Whether something was cut off to keep ``max_length``."""
    targets: int = 0
    """How many of the tokens are an answer that a causal task learns to say."""


@dataclass(frozen=True)
class Inputs:
    """A batch as the backbone takes it."""

    tensors: Mapping[str, Tensor]
    mask: Tensor
    """``[b, t]``, true for real tokens."""
    targets: Tensor | None = None
    """``[b, t]``, the token that each position is to say next, -100 where nothing is asked of it;
    None where no row has an answer."""

    def to(self, device: torch.device) -> Inputs:
        """Return the batch on ``device``."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        targets = None if self.targets is None else self.targets.to(device)
        return Inputs(moved, self.mask.to(device), targets)


class Backbone(nn.Module, ABC):
    """A frozen pretrained model and what turns inputs into its batches.

    Its own dropout is off, in training too: a frozen model's features need none, and activation
    checkpointing, for which transformers wants train mode, then changes nothing.
    """

    module: nn.Module
    """The pretrained model; adapters attach to its modules by the names of its shape."""
    width: int
    """Width of the features that heads read."""
    source: str = ""
    """Where the pretrained model is from, as its users name it, such as a name of the hub."""
    prefix: str = ""
    """Path of ``module`` in the model as users load it, with a dot behind it; empty where that
    is ``module`` itself."""

    @abstractmethod
    def encode(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Encoded]:
        """Encode inputs, at most ``max_length`` tokens each; None: the backbone's own limit.

        Raises:
            DataError: an input is of a kind that this model does not read, or cannot be read.
        """

    @abstractmethod
    def collate(self, rows: Sequence[Encoded]) -> Inputs:
        """Pad encodings to one length and make tensors of them, on the CPU."""

    @abstractmethod
    def forward(self, inputs: Inputs) -> Tensor:
        """Return the last hidden states ``[b, t, width]``."""

    @abstractmethod
    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the features ``[b, width]`` that heads read, in float32.

        Args:
            hidden: ``[b, t, width]``, what :meth:`forward` returned.
            mask: ``[b, t]``, true for real tokens; every row has one.
        """

    def features(self, inputs: Inputs) -> Tensor:
        """Return the features ``[b, width]`` of a batch."""
        return self.pool(self(inputs), inputs.mask)

    @abstractmethod
    def checkpoint(
        self,
        context_fn: Callable[[], Contexts],
    ) -> None:
        """Recompute activations in backward instead of keeping them, non-re-entrant.

        Args:
            context_fn: Passed to :func:`torch.utils.checkpoint.checkpoint`.

        Raises:
            CompositionError: the model cannot.
        """

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write a changed copy of ``module`` as the model's own library reads it.

        Args:
            module: Of the class of :attr:`module`, with other weights.
            folder: Made already, and empty.

        Raises:
            CompositionError: this kind of backbone cannot be written.
        """
        raise CompositionError(f"{type(self).__name__} does not write models")


class LanguageModel(Backbone):
    """A causal backbone with its language-modelling head: what causal tasks are learnt with."""

    @abstractmethod
    def encode_answers(
        self, prompts: Sequence[Input], answers: Sequence[str], max_length: int | None = None
    ) -> list[Encoded]:
        """Encode prompts, each followed by its answer and the token that ends it.

        The tokens are those of the prompt as :meth:`encode` has them and those of the answer on
        its own, so training sees what generation will. Only the answer and its end are targets.
        A prompt that is too long loses its beginning, never its end, and an answer nothing.

        Raises:
            DataError: an input is no text or chat, or an answer alone is longer than
                ``max_length``.
        """

    @abstractmethod
    def log_likelihood(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return the log-probability of each row's targets, summed over tokens.

        Args:
            hidden: ``[b, t, width]``, what :meth:`forward` returned.
            targets: ``[b, t]``, as :class:`Inputs` has them.

        Returns:
            ``[b]`` in float32, in the graph; 0 for a row without targets.
        """

    @abstractmethod
    def collate_prompts(self, rows: Sequence[Encoded]) -> Inputs:
        """Pad encodings on the left, as generation needs them."""

    @abstractmethod
    def generate(self, inputs: Inputs, max_new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """Return what the model says next, greedily, without special tokens.

        A row ends at its end token, before the first of the ``stop`` strings, or after
        ``max_new_tokens``.

        Args:
            inputs: What :meth:`collate_prompts` made.
            max_new_tokens: The most tokens that are said.
            stop: Strings, the first of which ends a row and is left out.
        """


# What the ``build`` of a component is, by kind. Each takes its own options first.


class BuildBackbone(Protocol):
    """Builds a backbone: frozen, on the CPU, or without weights on the meta device."""

    def __call__(self, options: Any, *, meta: bool = False) -> Backbone:
        """Return the backbone; ``meta`` asks for shapes only, which needs no weights on disk.

        A component that declares ``language`` also takes ``language=True``, which asks for a
        :class:`LanguageModel`; it is passed only where a task is causal.
        """
        ...


class BuildPlacement(Protocol):
    """Chooses the sites. Light: called by ``resolve``, so its module imports no torch."""

    def __call__(self, options: Any, shape: BackboneShape) -> Sequence[Site]:
        """Return the sites.

        Raises:
            CompositionError: the backbone has no such role or layer.
        """
        ...


class BuildExperts(Protocol):
    """Makes the experts of one site. The caller has seeded torch for this site."""

    def __call__(self, options: Any, site: Site, tasks: Sequence[str]) -> Experts:
        """Return freshly initialised experts, whose update is exactly 0."""
        ...


class BuildRouter(Protocol):
    """Makes the router of one site. The caller has seeded torch for this site."""

    def __call__(self, options: Any, site: Site, experts: int, tasks: Sequence[str]) -> Router:
        """Return a freshly initialised router over ``experts`` experts."""
        ...


class BuildPenalty(Protocol):
    """Makes a penalty. Its weight is applied by the model, not by the penalty."""

    def __call__(self, options: Any) -> Penalty:
        """Return the penalty."""
        ...


class BuildTransform(Protocol):
    """Makes a gradient transform. Its scope is applied by the training loop."""

    def __call__(self, options: Any, tasks: Sequence[str], groups: int) -> GradientTransform:
        """Return the transform.

        Args:
            options: The recipe's.
            tasks: The names of all tasks, in the order of their ids.
            groups: How many groups of parameters the scope makes.
        """
        ...


class BuildWeighting(Protocol):
    """Makes a loss weighting."""

    def __call__(self, options: Any, tasks: Sequence[str]) -> LossWeighting:
        """Return the weighting; ``tasks`` are the names of all, in the order of their ids."""
        ...


class BuildTasks(Protocol):
    """Reads the tasks."""

    def __call__(self, options: Any, *, seed: int) -> Sequence[TaskData]:
        """Return the tasks with their examples; the same seed gives the same splits.

        Raises:
            DataError: every problem of the data, with file and line where there is one.
        """
        ...


__all__ = [
    "Backbone",
    "BackboneOptions",
    "BuildBackbone",
    "BuildExperts",
    "BuildPenalty",
    "BuildPlacement",
    "BuildRouter",
    "BuildTasks",
    "BuildTransform",
    "BuildWeighting",
    "Encoded",
    "Experts",
    "Factors",
    "GradientTransform",
    "Inputs",
    "LanguageModel",
    "LossWeighting",
    "Options",
    "Penalty",
    "Router",
    "Routing",
    "SiteInput",
    "StepLosses",
    "StepRouting",
    "TaskGradients",
]
