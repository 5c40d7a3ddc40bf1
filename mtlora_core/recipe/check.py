"""Data is held against a model; what does not fit becomes one line each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ..errors import RecipeError
from .node import Keys

M = TypeVar("M", bound=BaseModel)
Where = Callable[..., str]
"""Makes the start of a line, ``recipe.yaml:7:14: router.groups``, of keys."""


def validated(model: type[M], data: Mapping[str, Any], where: Where) -> M:
    """Return ``data`` as a ``model``.

    ``null`` where the model takes no None means that the key is left out: a recipe deletes with
    it what the one it extends has written.

    Raises:
        RecipeError: every problem, a line each.
    """
    try:
        value = model.model_validate(data)
    except ValidationError as error:
        nulls = set(_nulls(error, data))
        if nulls:
            return validated(model, _without(data, nulls), where)
        raise RecipeError(_lines(error, model, data, where)) from None
    misread = [f"{where(*keys)}: {reason}" for keys, reason in _misread(data, value, ())]
    if misread:
        raise RecipeError(misread)
    return value


def nearest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Return ``did you mean 'x'?``, or what there is where nothing is near."""
    close = get_close_matches(name, list(known), n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}" if known else "there are none here"


def _nulls(error: ValidationError, data: Mapping[str, Any]) -> Iterator[Keys]:
    for detail in error.errors(include_url=False):
        keys = _keys(detail["loc"], data)
        if detail["input"] is None and keys and isinstance(keys[-1], str):
            yield keys


def _without(data: Any, nulls: set[Keys], keys: Keys = ()) -> Any:
    if isinstance(data, Mapping):
        return {
            key: _without(entry, nulls, (*keys, key))
            for key, entry in data.items()
            if (*keys, key) not in nulls
        }
    if isinstance(data, list):
        return [_without(entry, nulls, (*keys, index)) for index, entry in enumerate(data)]
    return data


def _keys(loc: tuple[str | int, ...], data: Any) -> Keys:
    # pydantic's path also names the member of a union it tried, which no recipe writes.
    keys: Keys = ()
    for step in loc:
        if step in _keys_of(data):
            data, keys = data[step], (*keys, step)
    return keys


def _keys_of(data: Any) -> Collection[Any]:
    if isinstance(data, list):
        return range(len(data))
    return data if isinstance(data, Mapping) else ()


def _lines(
    error: ValidationError, model: type[BaseModel], data: Mapping[str, Any], where: Where
) -> list[str]:
    reasons: dict[Keys, list[str]] = {}
    for detail in _causes(error):
        keys = _keys(detail["loc"], data)
        if detail["type"] == "missing":
            keys = (*keys, detail["loc"][-1])
        reason = _reason(detail, model, keys)
        if reason not in reasons.setdefault(keys, []):
            reasons[keys].append(reason)
    return [f"{where(*keys)}: {', or '.join(found)}" for keys, found in reasons.items()]


def _causes(error: ValidationError) -> list[ErrorDetails]:
    # pydantic counts only the entries that are right: a wrong one makes a list too short as well.
    details = error.errors(include_url=False)
    return [
        each
        for each in details
        if each["type"] != "too_short"
        or not any(other["loc"][:-1] == each["loc"] for other in details)
    ]


def _reason(detail: ErrorDetails, model: type[BaseModel], keys: Keys) -> str:
    match detail["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return f"no such key; {nearest(str(keys[-1]), _names(model, keys[:-1]))}"
        case "value_error" | "assertion_error":
            return str(detail["ctx"]["error"])
    advice = _literal_advice(detail)
    found = repr(detail["input"])
    shown = found if len(found) <= 60 else f"{found[:57]}..."
    message = detail["msg"].replace("Input should", "should")
    return f"{message[:1].lower()}{message[1:]}, not {shown}{advice}"


def _literal_advice(detail: ErrorDetails) -> str:
    if detail["type"] != "literal_error":
        return ""
    words = detail["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
    close = get_close_matches(str(detail["input"]), words, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _names(model: type[BaseModel], keys: Keys) -> list[str]:
    models = [model]
    for key in keys:
        fields = [m.model_fields[key] for m in models if key in m.model_fields]
        models = [found for f in fields for found in _models(f.annotation)] or models
    return [name for each in models for name in each.model_fields]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models(inner)]


def _misread(written: Any, read: Any, keys: Keys) -> Iterator[tuple[Keys, str]]:
    # pydantic takes '16' and true for numbers; in YAML, where quotes mean text, that is a slip.
    if isinstance(written, Mapping) and isinstance(read, BaseModel):
        for key, entry in written.items():
            yield from _misread(entry, getattr(read, key, None), (*keys, key))
    elif isinstance(written, list) and isinstance(read, (list, tuple)):
        for index, pair in enumerate(zip(written, read, strict=False)):
            yield from _misread(*pair, (*keys, index))
    elif isinstance(written, (str, bool)) and type(read) in (int, float):
        yield keys, f"should be a number, not {written!r}"
    elif isinstance(read, bool) and not isinstance(written, bool):
        yield keys, f"should be true or false, not {written!r}"
