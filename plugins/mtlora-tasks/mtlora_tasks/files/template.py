"""What a recipe says of how rows become prompts: ``{name}`` stands for a column, no more."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from mtlora_core.prompts import columns_in, lone_brace


def _sound(text: str) -> str:
    if lone_brace(text):
        raise ValueError(
            f"{text!r} has a brace that closes or opens nothing; write {{column}} for a column, "
            "and a brace itself twice"
        )
    return text


def _varied(text: str) -> str:
    if not columns_in(text):
        raise ValueError(f"{text!r} names no column, so every answer would be the same")
    return text


class Template(BaseModel):
    """How a row becomes a prompt and its answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prompt: Annotated[str, AfterValidator(_sound)]
    """What is read, such as ``"{question}\\nAnswer:"``."""
    answer: Annotated[str, AfterValidator(_sound), AfterValidator(_varied)]
    """What is to be said, such as ``" {target}"``."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(dict.fromkeys((*columns_in(self.prompt), *columns_in(self.answer))))

    @property
    def answer_column(self) -> str | None:
        """The answer's one column; None where it has several."""
        names = columns_in(self.answer)
        return names[0] if len(names) == 1 else None
