"""What a finished run is scored on, and how causal tasks are: the options under ``evaluate:``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import Field, PositiveInt, field_validator

from ..tasks import Metric
from .section import Section

By = Literal["options", "generate"]
T = TypeVar("T")
Listed = Annotated[tuple[T, ...], Field(strict=False)]
"""A list of a recipe, which a strict model would not take for a tuple."""


class EvaluateOptions(Section):
    """What is scored at the end, and how the answers of causal tasks are."""

    test: bool = True
    """Whether a finished run is scored on the test split, beside its baselines. False while
    something is being chosen: validation decides that, and what nobody saw misleads nobody."""

    batch_size: PositiveInt = 64
    """Examples of one forward without gradients: of validation, the test, baselines and
    predictions. Fewer where a GPU runs out of memory, which is found by trying."""

    by: Listed[By] = ("generate",)
    """How causal tasks are scored. ``options``: whether the right one of the answers to choose from
    is the likeliest; ``generate``: whether the text written greedily is the answer. The first is
    the task's primary score, and the one that validation computes."""

    select: Literal["score", "loss"] = "score"
    """What validation of causal tasks looks at to select a step: the primary score, or the loss of
    the right answers, which costs a forward and nothing is written for."""

    max_new_tokens: PositiveInt = 32
    """The most tokens of a written answer."""

    stop: Listed[str] = ("\n",)
    """Strings that end a written answer and are no part of it."""

    match: Literal["exact", "contains"] = "exact"
    """When a written answer is right: the same as the right one, spaces around them apart, or
    ``contains``: the right one is somewhere in it, whatever the case, which an answer that lists
    everything passes. Both are reported; this one is primary."""

    @field_validator("by")
    @classmethod
    def _ways_are_told_once(cls, by: tuple[By, ...]) -> tuple[By, ...]:
        if not by or len(set(by)) < len(by):
            raise ValueError(f"should name options, generate or both, each once, not {list(by)}")
        return by

    @field_validator("stop")
    @classmethod
    def _stops_are_not_empty(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if "" in stop:
            raise ValueError("has an empty string, which would end every answer at once")
        return stop

    @property
    def metric(self) -> Metric:
        """The primary metric of a causal task."""
        if self.by[0] == "options":
            return "option-accuracy"
        return "exact-match" if self.match == "exact" else "contains"
