"""The recipe itself: frozen, its shape checked, its names not looked up yet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    PrivateAttr,
)

from .evaluate import EvaluateOptions
from .measure import MeasureOptions
from .merge import PARTS
from .node import Keys, Places
from .subset import SubsetOptions
from .train import TrainOptions


@dataclass(frozen=True)
class PartSpec:
    """What a recipe says of one part: its name and its options, unchecked."""

    use: str
    options: Mapping[str, Any] = field(default_factory=dict)
    carried: frozenset[str] = frozenset()
    """Options that an earlier layer wrote for another part; those that do not fit are dropped."""

    def to_json(self) -> dict[str, Any]:
        """Return the part as a recipe writes it; a relative path stays as it was written."""
        return {"use": str(self.use), **_plain(self.options)}


def part_of(value: Any) -> Any:
    """Return the :class:`PartSpec` of what a recipe writes for a part.

    Raises:
        ValueError: it does not name a part.
    """
    if isinstance(value, str):
        value = {"use": value}
    if not isinstance(value, Mapping):
        return value if isinstance(value, PartSpec) else _refuse(f"is {value!r}")
    use = value.get("use")
    if not isinstance(use, str) or not use:
        return _refuse(f"has use: {use!r}" if "use" in value else "does not say which")
    return PartSpec(use, {key: entry for key, entry in value.items() if key != "use"})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, str) else value


def _refuse(found: str) -> Any:
    raise ValueError(f"{found}; write a part's name, or a mapping with `use: NAME` and its options")


def folder_name(name: str) -> str:
    """Return a recipe's name, after which a folder will be called, though a stranger wrote it.

    Raises:
        ValueError: it would be no sensible name of a folder.
    """
    if not re.fullmatch(r"\w[\w.+ -]{0,99}", name):
        raise ValueError(
            f"should begin with a letter or digit and go on with letters, digits, spaces and "
            f". _ + -, at most 100 in all, not {name!r}"
        )
    return str(name)


Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]
"""An experiment tracker; its package has its name."""

Part = Annotated[InstanceOf[PartSpec], BeforeValidator(part_of)]


class Recipe(BaseModel):
    """Parts and their options, how to train them, and what else to record."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, AfterValidator(folder_name)]
    """What the recipe is called; runs are named after it."""

    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    """Where every random choice starts."""

    backbone: Part
    """The frozen pretrained model."""

    placement: Part
    """Where adapters read and add."""

    experts: Part
    """The low-rank factors of a site."""

    router: Part | None = None
    """How much of each expert, for which unit; left out where the experts need none."""

    regularizers: tuple[Part, ...] = ()
    """What keeps tasks from hurting each other."""

    tasks: Part
    """The tasks, their examples and labels."""

    subset: SubsetOptions | None = None
    """Only some of the tasks; left out: all."""

    train: TrainOptions = TrainOptions()
    """How to train."""

    evaluate: EvaluateOptions = EvaluateOptions()
    """What a finished run is scored on, and how causal tasks are."""

    measure: MeasureOptions = MeasureOptions()
    """What else is recorded of training."""

    requires: tuple[str, ...] = ()
    """Packages and versions that the recipe needs, such as ``mtlora-routers>=0.1,<1``."""

    observe: tuple[str, ...] = ()
    """Plugins that observe the run."""

    track: tuple[Tracker, ...] = ()
    """Experiment trackers that get the run's numbers beside ``metrics.jsonl``."""

    _places: Places = PrivateAttr(default_factory=Places)

    def where(self, *keys: str | int) -> str:
        """Return the start of a problem's line: ``recipe.yaml:7:14: router.groups``."""
        return self._places.where(*keys)

    def parts(self) -> Iterator[tuple[Keys, PartSpec]]:
        """Yield each part and where it stands, ``("regularizers", 0)``, in the recipe's order."""
        for kind in ("backbone", "placement", "experts", "router"):
            spec = getattr(self, kind)
            if spec is not None:
                yield (kind,), spec
        for index, spec in enumerate(self.regularizers):
            yield ("regularizers", index), spec
        yield ("tasks",), self.tasks

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain data that :func:`load_recipe` takes back."""
        router = None if self.router is None else self.router.to_json()
        return {
            "name": self.name,
            "seed": self.seed,
            **{kind: getattr(self, kind).to_json() for kind in PARTS[:3]},
            "router": router,
            "regularizers": [spec.to_json() for spec in self.regularizers],
            "tasks": self.tasks.to_json(),
            "subset": None if self.subset is None else self.subset.model_dump(mode="json"),
            "train": self.train.model_dump(mode="json"),
            "evaluate": self.evaluate.model_dump(mode="json"),
            "measure": self.measure.model_dump(mode="json"),
            "requires": list(self.requires),
            "observe": list(self.observe),
            "track": list(self.track),
        }
