"""How a recipe is trained: the options under ``train:``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from .section import Section

SamplingWord = Literal["proportional", "uniform", "temperature"]


class SamplingOptions(Section):
    """Which task's examples a step draws."""

    by: SamplingWord = "proportional"
    """A task's share of an epoch: as its size, the same for all, or size ** (1 / temperature)."""

    temperature: PositiveFloat = 2.0
    """With ``by: temperature``: 1 is proportional, large is uniform."""

    @model_validator(mode="after")
    def _temperature_is_used(self) -> SamplingOptions:
        if "temperature" in self.model_fields_set and self.by != "temperature":
            raise ValueError(
                f"temperature: {self.temperature:g} does nothing with by: {self.by}; "
                "leave it out, or write by: temperature"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_unused(self, inner: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = inner(self)
        if self.by != "temperature":
            del written["temperature"]
        return written


def _from_word(value: Any) -> Any:
    return {"by": value} if isinstance(value, str) else value


Average = Literal["examples", "tasks", "tokens"]


class LossOptions(Section):
    """How the losses of a step's examples become one."""

    average: Average = "examples"
    """The mean over the step's examples, or over its ``tasks``, each the mean of its own examples;
    or over ``tokens`` to say, of which a causal example has as many as its answer and any other
    has one."""


class TrainOptions(Section):
    """How long, how fast and in what order to train, and what to keep."""

    epochs: PositiveFloat | None = 3
    """Passes over the training examples; give this or ``steps``."""

    steps: PositiveInt | None = None
    """Optimizer steps, in place of ``epochs``."""

    batch_size: PositiveInt = 32
    """Examples of one optimizer step, over all processes and accumulated forwards."""

    accumulate: PositiveInt = 1
    """Forwards that a step's batch is split into, to save memory."""

    learning_rate: PositiveFloat = 2e-4
    """Of AdamW, for adapters and routers."""

    head_learning_rate: PositiveFloat | None = None
    """Of AdamW, for the tasks' heads; null: the same as ``learning_rate``."""

    weight_decay: NonNegativeFloat = 0.0
    """Of AdamW, decoupled."""

    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """The learning rate after the warm-up: falling to zero in a line or a half cosine, or level."""

    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the steps over which the learning rate rises from zero."""

    clip: PositiveFloat | None = 1.0
    """Largest norm of all gradients together; null: no clipping."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the forward and backward pass; parameters and optimizer stay in fp32."""

    checkpointing: bool = False
    """Recompute the backbone's activations in backward rather than keep them: slower, smaller."""

    sampling: Annotated[
        SamplingOptions,
        BeforeValidator(_from_word, json_schema_input_type=SamplingWord | SamplingOptions),
    ] = SamplingOptions()
    """Which task's examples a step draws; a bare word is ``by``."""

    loss: LossOptions = LossOptions()
    """How the losses of a step's examples become one."""

    evaluate_every: PositiveInt | None = None
    """Steps between evaluations on validation data; null: once an epoch."""

    patience: PositiveInt | None = None
    """Evaluations without improvement after which training stops; null: it goes to the end."""

    keep: Literal["best", "last"] = "best"
    """Which step's parameters the finished model has; the best by the mean over tasks."""

    save_every: PositiveInt | None = None
    """Steps between checkpoints; null: at each evaluation."""

    @model_validator(mode="before")
    @classmethod
    def _epochs_or_steps(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        epochs, steps = value.get("epochs"), value.get("steps")
        if epochs is not None and steps is not None:
            raise ValueError(f"give epochs or steps, not both (epochs: {epochs}, steps: {steps})")
        if steps is not None:
            return {**value, "epochs": None}
        if "epochs" in value and epochs is None:
            raise ValueError("has neither epochs nor steps; give one of the two")
        return value

    @model_validator(mode="after")
    def _batch_can_be_split(self) -> TrainOptions:
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate: {self.accumulate} splits a batch_size of {self.batch_size} "
                "into forwards without examples; it can be at most batch_size"
            )
        return self
