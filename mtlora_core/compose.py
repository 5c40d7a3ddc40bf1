"""A plan becomes a model: parts are loaded, built, and attached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .adapters import Adapter, Adapters
from .errors import CompositionError, DataError
from .groups import grouped
from .interfaces import (
    Backbone,
    Experts,
    GradientTransform,
    LanguageModel,
    LossWeighting,
    Penalty,
    Router,
    Routing,
)
from .labelling import task_problems
from .model import MultiTaskModel
from .options import PenaltyOptions, TransformOptions
from .origin import Origin
from .recipe import EvaluateOptions, Recipe, SubsetOptions, load_recipe
from .registry import Registry
from .regularizers import ScopedTransform, TimedWeighting, WeightedPenalty
from .resolve import Bound, Plan, resolve
from .seeds import derive
from .sites import Site
from .tasks import Task, TaskData


def load_tasks(plan: Plan) -> list[TaskData]:
    """Read the tasks of a plan: all, or the recipe's ``subset``.

    Raises:
        DataError: the data cannot be used, with every problem found.
    """
    read = plan.tasks.build_list(TaskData, seed=plan.recipe.seed)
    data = [_scored_as(plan.recipe.evaluate, each) for each in _drawn(plan.recipe.subset, read)]
    counts = Counter(each.task.name for each in data)
    problems = [f"tasks: {count} tasks are named {n!r}" for n, count in counts.items() if count > 1]
    problems += [
        f"task {each.task.name!r}: the {split} split has no examples"
        for each in data
        for split, examples in each.splits()
        if not examples
    ]
    problems += [problem for each in data for problem in task_problems(each)]
    if not data:
        problems.append("tasks: the recipe's tasks are empty")
    if problems:
        raise DataError(problems)
    if "options" in plan.recipe.evaluate.by:
        _require_choices(data)
    return data


def _drawn(subset: SubsetOptions | None, data: Sequence[TaskData]) -> Sequence[TaskData]:
    """Return the tasks of a subset in their own order.

    Each task has a place in line of its own, whatever the others are called, and the first ones
    are taken: so four tasks are among the eight that the same seed draws.
    """
    if subset is None:
        return data
    if subset.count > len(data):
        raise DataError(
            f"subset.count: {subset.count} is more than the {len(data)} tasks there are"
        )
    line = sorted(data, key=lambda each: derive(subset.seed, "subset", each.task.name))
    chosen = {each.task.name for each in line[: subset.count]}
    return [each for each in data if each.task.name in chosen]


def _require_choices(data: Sequence[TaskData]) -> None:
    problems = [
        f"task {each.task.name!r}: evaluate.by names options, and {split}[{i}] has no answers to "
        "choose from; give the task its options, or write by: [generate]"
        for each in data
        if each.task.objective == "causal"
        for split, examples in each.splits()
        for i in [i for i, e in enumerate(examples) if not each.task.choices(e)][:1]
    ]
    if problems:
        raise DataError(problems)


def _scored_as(how: EvaluateOptions, data: TaskData) -> TaskData:
    """Give a causal task the metric that the recipe scores by."""
    if data.task.objective != "causal":
        return data
    return replace(data, task=replace(data.task, metric=how.metric))


def compose(
    plan: Plan,
    tasks: Sequence[TaskData | Task] | None = None,
    *,
    device: torch.device | str = "cpu",
    meta: bool = False,
) -> MultiTaskModel:
    """Assemble the model of a plan.

    Args:
        plan: What ``resolve`` made of a recipe.
        tasks: The tasks, with or without their examples; None reads the plan's.
        device: Where the model goes. Parameters are drawn on the CPU, the same for every device.
        meta: Build shapes without weights on the meta device, to count parameters.

    Raises:
        CompositionError: the built backbone does not fit the parts.
        DataError: the tasks cannot be read.
    """
    given = load_tasks(plan) if tasks is None else tasks
    specs = [each.task if isinstance(each, TaskData) else each for each in given]
    with torch.device("meta") if meta else nullcontext():
        backbone = _backbone(plan, specs, meta=meta)
        adapters = build_adapters(plan, [task.name for task in specs])
        heads = [_head(plan, task, backbone.width) for task in specs]
        with named("the backbone and the placement", plan.backbone, plan.placement):
            how = plan.recipe.evaluate
            model = MultiTaskModel(backbone, adapters, specs, heads, answering=how)
    if plan.recipe.train.checkpointing:
        backbone.checkpoint(adapters.context.checkpoint_contexts)
    return model if meta else model.to(device)


def attach(
    module: nn.Module,
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    tasks: Sequence[str] = (),
    registry: Registry | None = None,
) -> Adapters:
    """Put a recipe's adapters on a model of your own, for a training loop of your own.

    The recipe's placement, experts, router, regularizers and seed are used; of its backbone only
    the part's name, which says how to read the model's shape; of its tasks nothing.

    Args:
        module: A pretrained model. Freezing it is up to you.
        recipe: A recipe, its path, or a mapping.
        tasks: The names of your tasks, where a part needs them.
        registry: The parts; None discovers those installed.

    Returns:
        The adapters, each on the device of the layer that it adapts, as a ``device_map`` has it.
        Train ``adapters.parameters()``, wrap forwards in ``adapters.serving(...)``, add
        ``adapters.penalty_terms()`` to the loss, and call ``adapters.after_step()`` behind the
        optimizer's step; ``detach()`` ends. At each forward an adapter takes the mode of the layer
        that it adapts, as if it were a part of it: ``module.train()`` before training
        (``from_pretrained`` gives a model in eval mode), ``module.eval()`` before validation.
        Checkpoint activations with ``use_reentrant=False`` and
        ``context_fn=adapters.context.checkpoint_contexts``.

    Raises:
        RecipeError: the recipe cannot be used as written.
        CompositionError: the model cannot take the adapters, or has weights that are offloaded.
    """
    read = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    plan = resolve(read, registry or Registry.discover(), module)
    _refuse_needing_the_loop(plan)
    if not tasks:
        _refuse_needing_tasks(plan)
    adapters = build_adapters(plan, tasks)
    with named("the model and the placement", plan.backbone, plan.placement):
        adapters.attach(module, follow=True)
    return adapters


def _refuse_needing_the_loop(plan: Plan) -> None:
    does = {"transforms the gradients": plan.transform, "weighs the losses": plan.weighting}
    needing = [
        f"{bound.component.name!r} {what} of a step, which is the training loop's: "
        "leave it out, or train with mtlora_core.fit"
        for what, bound in does.items()
        if bound is not None
    ]
    if needing:
        raise CompositionError(needing)


def _refuse_needing_tasks(plan: Plan) -> None:
    needing = [
        f"{bound.component.kind} {bound.component.name!r} asks for the task of each example: "
        "attach(model, recipe, tasks=[…]) with the names of your tasks"
        for _, bound in plan.parts()
        if bound.component.capabilities.get("needs_task")
    ]
    if needing:
        raise CompositionError(needing)


def build_adapters(plan: Plan, tasks: Sequence[str]) -> Adapters:
    """Build the adapters of a plan for every site, attached to nothing yet."""
    penalties = [
        WeightedPenalty(
            b.origin,
            _weight(b),
            b.build(Penalty),
            reads_routing=b.component.capabilities["penalizes"] != "weights",
        )
        for b in plan.penalties
    ]
    adapters = [_adapter(plan, site, tasks) for site in plan.sites]
    return Adapters(
        adapters, tasks, penalties, _transform(plan, adapters, tasks), _weighting(plan, tasks)
    )


def _transform(
    plan: Plan, adapters: Sequence[Adapter], tasks: Sequence[str]
) -> ScopedTransform | None:
    bound = plan.transform
    if bound is None:
        return None
    assert isinstance(bound.options, TransformOptions), "a transform's options say its scope"
    scope = bound.options.scope
    groups = len(grouped(adapters, scope))
    return ScopedTransform(bound.origin, scope, bound.build(GradientTransform, tasks, groups))


def _weighting(plan: Plan, tasks: Sequence[str]) -> TimedWeighting | None:
    bound = plan.weighting
    if bound is None:
        return None
    current = bound.component.capabilities["weighs_losses"] == "current"
    return TimedWeighting(bound.origin, current, bound.build(LossWeighting, tasks))


def adapter_parameters(plan: Plan, tasks: Sequence[str]) -> int:
    """Return how many parameters the adapters of a plan have; nothing is allocated."""
    with torch.device("meta"):
        adapters = build_adapters(plan, tasks)
    return sum(each.numel() for each in adapters.parameters())


def _adapter(plan: Plan, site: Site, tasks: Sequence[str]) -> Adapter:
    with _seeded(plan, site.name, "experts"):
        experts: Experts = plan.experts.build(Experts, site, tasks)
        experts.register_forward_hook(partial(_held, plan.experts.origin, torch.Tensor))
    needs_base = plan.experts.component.capabilities.get("needs_base", False)
    return Adapter(site, experts, _router(plan, site, experts.count, tasks), needs_base=needs_base)


def _router(plan: Plan, site: Site, experts: int, tasks: Sequence[str]) -> Router | None:
    if plan.router is None:
        return None
    with _seeded(plan, site.name, "router"):
        router: Router = plan.router.build(Router, site, experts, tasks)
        router.register_forward_hook(partial(_held, plan.router.origin, Routing))
        return router


def _held(origin: Origin, contract: type, module: nn.Module, given: Any, output: Any) -> None:
    """Hold what a part's forward gave to its contract; a hook, for whoever calls the part."""
    origin.gave("forward()", output, contract)


def _backbone(plan: Plan, tasks: Sequence[Task], *, meta: bool) -> Backbone:
    """Build the backbone, with its language-modelling head where a task is causal."""
    component = plan.backbone.component
    causal = [task.name for task in tasks if task.objective == "causal"]
    backbone: Backbone
    if not causal:
        backbone = plan.backbone.build(Backbone, meta=meta)
        return backbone
    if not (component.capabilities.get("language") and plan.shape.causal):
        raise CompositionError(
            f"task {causal[0]!r} is causal, and backbone {component.name!r} "
            f"({plan.shape.family}) is no causal language model; take one, such as LLaMA, or give "
            "the task another objective"
        )
    backbone = plan.backbone.build(LanguageModel, meta=meta, language=True)
    return backbone


def _head(plan: Plan, task: Task, width: int) -> nn.Module:
    if task.objective == "causal":
        return nn.Identity()  # the backbone's own head answers
    with _seeded(plan, "head", task.name):
        return nn.Linear(width, task.outputs)


def _weight(bound: Bound) -> float:
    assert isinstance(bound.options, PenaltyOptions), "a penalty's options are PenaltyOptions"
    return bound.options.weight


@contextmanager
def _seeded(plan: Plan, *names: str) -> Iterator[None]:
    """Draw from the named stream inside, and leave torch's own where it was."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(derive(plan.recipe.seed, *names))
    try:
        yield
    finally:
        torch.set_rng_state(before)


@contextmanager
def named(what: str, *bounds: Bound) -> Iterator[None]:
    """Say which parts met where they turn out not to fit."""
    try:
        yield
    except CompositionError as error:
        parts = " and ".join(f"{b.component.kind} {b.component.name!r}" for b in bounds)
        raise CompositionError(
            [f"{what} do not fit ({parts}): {problem}" for problem in error.problems]
        ) from error
