"""Adapters at their sites, attached to a backbone by forward hooks.

The backbone is never rewritten: its class, state dict and quantization stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from . import bytask
from .context import TaskContext
from .errors import CompositionError
from .interfaces import Experts, Router, Routing, SiteInput, StepRouting
from .regularizers import ScopedTransform, TimedWeighting, WeightedPenalty
from .sites import Site
from .taskaxis import TaskAxis


class Adapter(nn.Module):
    """The experts of one site and, where the recipe has one, their router."""

    def __init__(
        self, site: Site, experts: Experts, router: Router | None, *, needs_base: bool = False
    ) -> None:
        super().__init__()
        self.site = site
        self.experts = experts
        self.router = router
        self.needs_base = needs_base

    def forward(
        self, hidden: Tensor, base_output: Tensor, module: nn.Module, context: TaskContext
    ) -> Tensor:
        """Return ``base_output`` ``[b, t, o]`` with the update for ``hidden`` ``[b, t, d]`` added.

        ``module`` is the frozen module whose output it is.
        """
        if not torch.is_autocast_enabled(hidden.device.type):
            # A backbone in bfloat16 keeps its dtype, the adapters keep float32.
            hidden = hidden.to(next(self.experts.parameters()).dtype)
        weight = _weight(module, self.site) if self.needs_base else None
        seen = SiteInput(hidden, base_output, weight, context)
        axis = context.axis
        update = self._update(seen) if axis is None else self._update_by_task(seen, axis)
        return base_output + update.to(base_output.dtype)

    def _update(self, seen: SiteInput) -> Tensor:
        routing = None
        if self.router is not None:
            mask = seen.context.mask_for(seen.hidden)
            routing = replace(self.router(seen.hidden, seen.context), mask=mask)
            seen.context.record(self.site.name, routing)
        update: Tensor = self.experts(seen, routing)
        return update

    def _update_by_task(self, seen: SiteInput, axis: TaskAxis) -> Tensor:
        """Return the update, its gradient a row a task; see :mod:`mtlora_core.bytask`.

        What penalties read is the routing of the real router for the input cut off from its
        graph: a penalty has no task, so it must not flow into the rows of earlier sites.
        """
        if self.router is None:
            return bytask.update(self.experts, seen, None, axis)
        routed = bytask.route(self.router, seen, axis)
        if axis.penalized:
            apart = replace(seen, hidden=seen.hidden.detach())
            read = bytask.route_jointly(self.router, apart, axis)
        else:
            read = bytask.joined(routed, seen, axis)
        seen.context.record(self.site.name, read)
        return bytask.update(self.experts, seen, routed, axis)


class Adapters(nn.Module):
    """The adapters of a model, by site; attached to a backbone by forward hooks.

    Args:
        adapters: One for each site.
        tasks: The names of the tasks, in the order of their ids.
        penalties: The recipe's penalties.
        transform: The recipe's gradient transform, for the training loop.
        weighting: The recipe's loss weighting, for the training loop.
    """

    def __init__(
        self,
        adapters: Sequence[Adapter],
        tasks: Sequence[str] = (),
        penalties: Sequence[WeightedPenalty] = (),
        transform: ScopedTransform | None = None,
        weighting: TimedWeighting | None = None,
    ) -> None:
        super().__init__()
        self.sites = nn.ModuleDict({adapter.site.name: adapter for adapter in adapters})
        self.context = TaskContext(tuple(tasks))
        self.penalties = tuple(penalties)
        self.transform = transform
        self.weighting = weighting
        self._handles: list[Any] = []

    def __iter__(self) -> Iterator[Adapter]:
        """Yield the adapters in the order of their sites."""
        for adapter in self.sites.values():
            assert isinstance(adapter, Adapter)
            yield adapter

    def attach(self, module: nn.Module, *, follow: bool = False) -> None:
        """Put the adapters on ``module``.

        Args:
            module: What has the sites' modules.
            follow: Whether each adapter goes where its site's module is, and takes the mode of
                that module at each of its forwards. A model that has both sees to that itself.

        Raises:
            CompositionError: it has adapters already, is compiled, or lacks a site's module; or
                adapters that follow would follow to the meta device.
        """
        _refuse_unfit(module)
        missing = [
            f"site {a.site.name}: the model has no module {name!r}"
            for a in self
            for name in dict.fromkeys((a.site.reads, a.site.adds))
            if not _has(module, name)
        ]
        if missing:
            raise CompositionError(missing)
        if follow:
            self._place(module)
        hooks = [_SiteHooks(adapter, self.context, follow=follow) for adapter in self]
        self._handles = _Forward(self.context, hooks).register(module)
        for each in hooks:
            self._handles += each.register(module)

    def _place(self, module: nn.Module) -> None:
        """Move each adapter to where its site's module is; large models lie on several devices."""
        places = [_device(module, adapter.site) for adapter in self]
        absent = [
            f"site {adapter.site.name}: the weights of {adapter.site.adds!r} are on the meta "
            "device, which holds no values: load the model's weights, without offloading"
            for adapter, place in zip(self, places, strict=True)
            if place.type == "meta"
        ]
        if absent:
            raise CompositionError(absent)
        for adapter, place in zip(self, places, strict=True):
            adapter.to(place)

    def detach(self) -> None:
        """Take the adapters off; the module is again what it was, bit for bit."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def serving(
        self, tasks: Sequence[str] | None = None, mask: Tensor | None = None
    ) -> AbstractContextManager[None]:
        """Say which task each row of the forwards inside belongs to, and which tokens are real.

        Args:
            tasks: The name of each example's task; None where no part asks for it.
            mask: ``[b, t]``, true or 1 for real tokens, such as an attention mask.

        Raises:
            CompositionError: a name is not one of the model's tasks.
        """
        here = next(self.parameters()).device
        real = None if mask is None else mask.to(here)
        if tasks is None:
            return self.context.serving(None, real)
        unknown = sorted(set(tasks) - set(self.context.tasks))
        if unknown:
            known = ", ".join(self.context.tasks) or "none"
            raise CompositionError(f"unknown task {unknown[0]!r}; the model's tasks: {known}")
        ids = torch.tensor([self.context.tasks.index(name) for name in tasks], device=here)
        return self.context.serving(ids, real)

    def learners(self) -> Iterator[tuple[Adapter, Router]]:
        """Yield the adapters whose routers learn from what a step's routing came to."""
        for adapter in self:
            router = adapter.router
            if router is not None and type(router).after_step is not Router.after_step:
                yield adapter, router

    @torch.no_grad()
    def after_step(self) -> None:
        """Let routers learn from the last forward's routing, in a training loop of your own.

        Call it behind the optimizer's step, before another forward. Some routers learn by it alone,
        such as those that balance their load by a bias; to others it does nothing.
        :func:`mtlora_core.fit` tells routers by itself, of all forwards and processes of a step.
        """
        found = self.context.records
        learners = [(router, found.get(adapter.site.name)) for adapter, router in self.learners()]
        seen = [(router, routing) for router, routing in learners if routing is not None]
        if not seen:
            return
        # Read once, for all sites.
        entropies = _stacked([routing.entropy() for _, routing in seen]).tolist()
        for (router, routing), entropy in zip(seen, entropies, strict=True):
            router.after_step(StepRouting(routing.load(), routing.kept(), entropy))

    def penalty_terms(self) -> dict[str, Tensor]:
        """Return each penalty for the last forward: its weight times its mean over sites.

        Raises:
            CompositionError: in training, the last forward kept no graph of a learned routing, so
                that a penalty of it would be a constant.
            PluginError: a penalty fails, is no scalar, or a constant that trains nothing.
        """
        self._refuse_constants()
        return {
            p.name: p.weight * _stacked([self._penalized(p, adapter) for adapter in self]).mean()
            for p in self.penalties
        }

    def _penalized(self, penalty: WeightedPenalty, adapter: Adapter) -> Tensor:
        """Return a penalty for one site, held to its contract."""
        routing = self.context.records.get(adapter.site.name)
        with penalty.origin.calling(f"at site {adapter.site.name} it"):
            found = penalty.penalty(adapter.experts, routing)
        fault = _fault(penalty, adapter, routing, found)
        if fault:
            raise penalty.origin.broken(f"at site {adapter.site.name} it gave {fault}")
        return found

    def _refuse_constants(self) -> None:
        reading = [repr(p.name) for p in self.penalties if p.reads_routing]
        if not (reading and torch.is_grad_enabled()):
            return
        for adapter in self:
            routing = self.context.records.get(adapter.site.name)
            if routing is not None and not routing.weights.requires_grad and _learns(adapter):
                raise CompositionError(
                    f"site {adapter.site.name}: the last forward kept no graph of the routing, so "
                    f"{', '.join(reading)} would train nothing. Checkpoint activations with "
                    "use_reentrant=False, context_fn=adapters.context.checkpoint_contexts; after "
                    "a forward without gradients, ask under torch.no_grad() too"
                )


class _Forward:
    """Marks where a forward of the whole backbone begins and ends; the first must use all sites."""

    def __init__(self, context: TaskContext, sites: Sequence[_SiteHooks]) -> None:
        self.context = context
        self.unused = sites

    def register(self, module: nn.Module) -> list[Any]:
        return [
            module.register_forward_pre_hook(self.begin),
            module.register_forward_hook(self.end, always_call=True),
        ]

    def begin(self, module: nn.Module, args: Any) -> None:
        self.context.begin()

    def end(self, module: nn.Module, args: Any, output: Any) -> None:
        self.context.end()
        if self.unused and output is not None:  # there is none where the forward failed
            self.unused = [site for site in self.unused if not site.used]
            self.refuse_unused()

    def refuse_unused(self) -> None:
        """Raise where an adapter would learn nothing, in silence.

        A module may be there only for its weights, as the output projection of
        :class:`torch.nn.MultiheadAttention` is, or belong to a layer that was dropped.
        """
        sites = [each.adapter.site for each in self.unused]
        if sites:
            raise CompositionError(
                f"site {site.name}: the model's first forward has not called {site.adds!r}, and an "
                "adapter there would change nothing; leave the site out, and drop no layers"
                for site in sites
            )


class _SiteHooks:
    """The hooks of one site: bound methods of this object, so copies and pickles keep their own."""

    def __init__(self, adapter: Adapter, context: TaskContext, *, follow: bool) -> None:
        self.adapter = adapter
        self.context = context
        self.follow = follow
        self.used = False

    def register(self, module: nn.Module) -> list[Any]:
        site = self.adapter.site
        reads, adds = module.get_submodule(site.reads), module.get_submodule(site.adds)
        if reads is adds:
            return [adds.register_forward_hook(self.through, with_kwargs=True)]
        return [
            reads.register_forward_pre_hook(self.before, with_kwargs=True),
            adds.register_forward_hook(self.after),
        ]

    def through(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        return self._added(module, hidden_of(args, kwargs), output)

    def before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self.context.hold(self.adapter.site.name, hidden_of(args, kwargs))

    def after(self, module: nn.Module, args: Any, output: Any) -> Any:
        return self._added(module, self.context.release(self.adapter.site.name), output)

    def _added(self, module: nn.Module, hidden: Tensor, output: Any) -> Any:
        if isinstance(output, tuple):  # attention returns its weights beside its output
            return (self._added(module, hidden, output[0]), *output[1:])
        self.used = True
        if self.follow and self.adapter.training != module.training:
            self.adapter.train(module.training)
        site = self.adapter.site
        if site.start is None:
            return self.adapter(hidden, output, module, self.context)
        before, own, behind = output.tensor_split((site.start, site.start + site.o), dim=-1)
        return torch.cat([before, self.adapter(hidden, own, module, self.context), behind], dim=-1)


def _device(module: nn.Module, site: Site) -> torch.device:
    """Return where the module is whose output a site adds to; its input's, if it has no weights."""
    parts = (module.get_submodule(site.adds), module.get_submodule(site.reads), module)
    tensors = (tensor for part in parts for tensor in (*part.parameters(), *part.buffers()))
    return next(tensors).device


def _stacked(values: Sequence[Tensor]) -> Tensor:
    """Return what sites say as one tensor, though they may be on several devices."""
    return torch.stack([value.to(values[0].device) for value in values])


def _fault(
    penalty: WeightedPenalty, adapter: Adapter, routing: Routing | None, found: Any
) -> str | None:
    """Return what breaks the contract in a penalty for one site."""
    if not isinstance(found, Tensor):
        return f"{found!r}, and a scalar tensor is expected"
    if found.shape != ():
        return f"a tensor of shape {[*found.shape]}, and a scalar is expected"
    trains = adapter.training and torch.is_grad_enabled() and not found.requires_grad
    if trains and _in_graph(penalty, adapter, routing) and found != 0:
        return f"{found.item():.3g} without a graph, which trains nothing"
    return None


def _in_graph(penalty: WeightedPenalty, adapter: Adapter, routing: Routing | None) -> bool:
    """Whether what a penalty is about is in the graph, so that the penalty should be."""
    if not penalty.reads_routing:
        return adapter.experts.up_factors.requires_grad
    read = () if routing is None else (routing.weights, routing.dense)
    return any(each is not None and each.requires_grad for each in read)


def _learns(adapter: Adapter) -> bool:
    """Whether an adapter's routing is being trained."""
    router = adapter.router
    learned = router is not None and any(p.requires_grad for p in router.parameters())
    return adapter.training and learned


def hidden_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return the hidden states that a module is called with, which a site there reads.

    They are the first positional argument, or the first tensor.
    """
    if args:
        first = args[0]
    elif "hidden_states" in kwargs:
        first = kwargs["hidden_states"]
    else:
        first = next((value for value in kwargs.values() if isinstance(value, Tensor)), None)
    assert isinstance(first, Tensor), "a site's module is called with hidden states"
    return first


def frozen_weight(module: nn.Module) -> Tensor:
    """Return a view of a projection's weight as ``[o, d]``."""
    weight: Tensor = module.get_parameter("weight")
    return weight.T if is_transposed(module) else weight


def is_transposed(module: nn.Module) -> bool:
    """Whether a projection keeps its weight as ``[d, o]``, as GPT-2's Conv1D does."""
    return type(module).__name__ == "Conv1D"  # of a square weight only the class can tell


def _weight(module: nn.Module, site: Site) -> Tensor:
    weight = frozen_weight(module)
    return weight if site.slice is None else weight[site.slice]


def _has(module: nn.Module, name: str) -> bool:
    try:
        module.get_submodule(name)
    except AttributeError:
        return False
    return True


def _refuse_unfit(module: nn.Module) -> None:
    """Raise where hooks would be doubled, or ignored in silence."""
    for name, each in module.named_modules():
        if hasattr(each, "_orig_mod") or getattr(each, "_compiled_call_impl", None) is not None:
            raise CompositionError(
                f"the model is compiled{f' at {name!r}' if name else ''}, and compiled code would "
                "ignore adapters: attach first, compile afterwards"
            )
        for hook in (*each._forward_hooks.values(), *each._forward_pre_hooks.values()):
            if isinstance(getattr(hook, "__self__", None), _SiteHooks | _Forward):
                raise CompositionError(
                    "the model has adapters already: detach them first, or attach to a copy"
                )
