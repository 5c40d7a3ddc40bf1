"""What a recipe says of a task: the keys of an entry, and which of them go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mtlora_core.prompts import Asking, spelt
from mtlora_core.tasks import METRICS, SPLITS, Metric, Objective, Split

from .template import Template

SHARE = 0.1
"""Of the training rows, for a split of which nothing is said and nothing is there."""


def _label_names(values: Any) -> Any:
    if not isinstance(values, list | tuple):
        return values
    return tuple(v if (name := spelt(v)) is None else name for v in values)


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)} is there twice; name each once")
    return names


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _names_or_share(value: Any) -> Any:
    if isinstance(value, str | list | tuple):
        return _listed(value)
    if isinstance(value, int | float) and 0 < value < 1:
        return value
    raise ValueError(f"{value!r} is neither a name nor a share of the training rows, such as 0.1")


def _column_or_pair(value: Any) -> Any:
    if isinstance(value, list | tuple):
        if len(value) == 2 and all(isinstance(column, str) for column in value):
            return tuple(value)
    elif isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is neither a column nor two columns, such as [premise, claim]")


def _column_or_answers(value: Any) -> Any:
    if isinstance(value, str | list | tuple):
        return _label_names(value)
    raise ValueError(f"{value!r} is neither a list of answers nor the column that holds one")


def _several(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if isinstance(value, tuple) and len(_distinct(value)) < 2:
        raise ValueError("there is nothing to choose from; write two answers or more")
    return value


def _weights(value: Any) -> Any:
    if isinstance(value, str) and value != "balanced":
        raise ValueError(f"{value!r} is neither 'balanced' nor a list with a weight for each class")
    return value


Names = Annotated[
    tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...])
]
NamesOrShare = Annotated[
    tuple[str, ...] | float,
    BeforeValidator(_names_or_share, json_schema_input_type=str | tuple[str, ...] | float),
]
Columns = Annotated[str | tuple[str, str], BeforeValidator(_column_or_pair)]
Labels = Annotated[
    tuple[str, ...],
    Field(min_length=2),
    BeforeValidator(_label_names, json_schema_input_type=tuple[str | int | bool, ...]),
    AfterValidator(_distinct),
]
Choices = Annotated[
    str | tuple[str, ...],
    BeforeValidator(_column_or_answers, json_schema_input_type=str | tuple[str | int | bool, ...]),
    AfterValidator(_several),
]
ClassWeights = Annotated[Literal["balanced"] | tuple[PositiveFloat, ...], BeforeValidator(_weights)]


class TaskKeys(BaseModel):
    """What may be said of a task, wherever its rows are; an entry says it, or ``defaults`` do."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    train: Names = ()
    """Where the training rows are."""
    validation: NamesOrShare | None = None
    """Where the rows are that are chosen by, or the share of the training rows that is set aside
    for it; null: where the data says so, or a tenth."""
    test: NamesOrShare | None = None
    """Where the rows are that are scored by, once, or the share of the training rows that is set
    aside for it; null: where the data says so, or a tenth."""
    text: Columns = "text"
    """The column of the text, or a list of two whose texts make a pair."""
    image: str | None = None
    """The column of the picture, instead of a text: a path relative to its file, or the picture."""
    label: str = "label"
    """The column of the label."""
    labels: Labels | None = None
    """The classes in the order of their indices; null: those of the training rows, sorted.

    A column that holds none of these names may hold their indices, from 0.
    """
    objective: Objective = "classification"
    """``classification``, ``regression`` on labels that are numbers, or ``causal``: a language
    model learns to say the answer."""
    template: Template | None = None
    """Of a causal task: ``prompt`` and ``answer``, with ``{column}`` for what a row has there.
    null: the texts of ``text`` and of ``label``, as they stand."""
    chat: bool = False
    """Whether a causal task's rows hold chats, written by the model's own chat template."""
    messages: str = "messages"
    """The column of a chat: a list of ``{role, content}``. What follows the user's last turn is
    the answer."""
    options: Choices | None = None
    """Of a causal task: the answers to choose from, as they stand in the answer's column, or the
    column that holds each row's own; null: the answers of the training rows, where they are 64 at
    most and no other row has another."""
    split_by: Literal["seed", "hash"] = "seed"
    """What draws shares and ``limit``: the recipe's seed, or a hash of each row, so that every
    seed has the same splits."""
    metric: Metric | None = None
    """The primary metric; null: accuracy, for regression spearman. Of causal tasks the recipe's
    ``evaluate:`` says."""
    weight: PositiveFloat = 1.0
    """Factor of the task's loss."""
    limit: PositiveInt | None = None
    """Most training examples, drawn with the seed in proportion to the classes; null: all."""
    class_weights: ClassWeights | None = None
    """Factor of each class in the loss; ``balanced``: inverse to its training examples."""
    max_length: PositiveInt | None = None
    """Tokens of an input that are kept; null: as many as the backbone takes."""
    task_column: str | None = None
    """The column that says which task a row belongs to.

    An entry with a name takes the rows that bear it; one without is a task for each value.
    """


class TaskEntry(TaskKeys):
    """One task, or with ``task_column`` and no name, one for each value of the column."""

    name: Annotated[str, Field(min_length=1)] | None = None
    """What the task is called; left out with ``task_column``: a task for each of its values."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe both spellings: a mapping, and a name alone."""
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}

    def over(self, defaults: TaskKeys) -> Self:
        """Return the entry with ``defaults`` for what it does not say itself."""
        said = defaults.model_dump(exclude_unset=True) | self.model_dump(exclude_unset=True)
        return self.model_validate(said)

    @property
    def metric_or_default(self) -> Metric:
        """The primary metric."""
        return self.metric or METRICS[self.objective][0]

    @property
    def template_or_default(self) -> Template:
        """How a row of a causal task becomes a prompt and its answer."""
        return self.template or Template(prompt=f"{{{self.text}}}", answer=f"{{{self.label}}}")

    @property
    def asking(self) -> Asking:
        """How a row of a causal task is read."""
        options = self.options if isinstance(self.options, str) else None
        if self.chat:
            return Asking(None, messages=self.messages, options=options)
        template = self.template_or_default
        answer = template.answer if template.answer_column else Asking.answer
        return Asking(template.prompt, answer, messages=None, options=options)

    @property
    def task_columns(self) -> tuple[str, ...]:
        """The task column, where there is one."""
        return () if self.task_column is None else (self.task_column,)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of what is read: of a text, of each text of a pair, or of a picture."""
        if self.image is not None:
            return (self.image,)
        return (self.text,) if isinstance(self.text, str) else self.text

    def sources(self, split: Split) -> tuple[str, ...]:
        """Return where a split's rows are; empty where that is not said."""
        source = getattr(self, split)
        if not isinstance(source, tuple):
            return ()
        return tuple(map(self.named, source))

    def named(self, text: str) -> str:
        """Return a text with the entry's name filled in."""
        return text.replace("{name}", self.name or "")

    def share(self, split: Split) -> float | None:
        """Return the share of the training rows that a split is, or None where it is said."""
        source = getattr(self, split)
        if isinstance(source, tuple):
            return None
        return SHARE if source is None else float(source)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield ``(key, reason)`` for keys that do not go together."""
        if not self.train:
            yield "train", "no training rows are named; write where they are"
        yield from self._naming()
        yield from self._shares()
        yield from self._pictures()
        yield from self._scoring()

    def _naming(self) -> Iterator[tuple[str, str]]:
        if self.name is not None:
            return
        if self.task_column is None:
            yield "name", "a task needs a name, or a task_column to take its names from"
        for split in SPLITS:
            source = getattr(self, split)
            if isinstance(source, tuple) and any("{name}" in file for file in source):
                yield split, "{name} stands for the entry's name, and this entry has none"

    def _pictures(self) -> Iterator[tuple[str, str]]:
        if self.image is None:
            return
        if self.text != TaskKeys.model_fields["text"].default:
            yield "image", "an entry reads a text or a picture; leave `text` or `image` out"
        if self.objective == "causal":
            yield "image", "a causal task reads texts; leave it out, or write another objective"

    def _shares(self) -> Iterator[tuple[str, str]]:
        cuts: tuple[Split, ...] = ("validation", "test")
        shares = [share for split in cuts if (share := self.share(split)) is not None]
        if sum(shares) >= 1:
            yield "validation", f"with the test split, {sum(shares):g} of the rows: none is left"

    def _scoring(self) -> Iterator[tuple[str, str]]:
        if self.objective == "causal":
            yield from self._answering()
            return
        for key in ("template", "chat", "options"):
            if getattr(self, key):
                yield key, f"belongs to causal tasks; write `objective: causal`, or leave {key} out"
        known = METRICS[self.objective]
        if self.metric_or_default not in known:
            yield (
                "metric",
                f"{self.metric} does not score {self.objective}; write {' or '.join(known)}",
            )
        yield from self._classes() if self.objective == "classification" else self._no_classes()

    def _classes(self) -> Iterator[tuple[str, str]]:
        if self.labels and isinstance(self.class_weights, tuple):
            found, right = len(self.class_weights), len(self.labels)
            if found != right:
                yield "class_weights", f"has {found} weights for {right} classes; write one each"

    def _answering(self) -> Iterator[tuple[str, str]]:
        if self.metric is not None:
            yield (
                "metric",
                "the recipe's `evaluate:` says how causal tasks are scored; leave it out",
            )
        for key in ("labels", "class_weights"):
            if getattr(self, key) is not None:
                yield key, "a causal task has answers, not classes; `options` names them"
        if self.chat:
            if self.template is not None:
                yield "template", "a chat is written by the model's own template; leave one out"
        elif self.template is not None:
            if self.template.answer_column is None and self.options is not None:
                yield "options", "an option stands for one column, and the answer has several"
        elif isinstance(self.text, tuple):
            yield "text", "a causal task reads one text; write a `template` to join the columns"

    def _no_classes(self) -> Iterator[tuple[str, str]]:
        for key in ("labels", "class_weights"):
            if getattr(self, key) is not None:
                yield key, "regression has no classes; leave it out, or write classification"
