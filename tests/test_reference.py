"""The pages of every key, and the rows they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from parts import plugin, registry_of, router
from pydantic import BaseModel, ConfigDict, Field

from mtlora_core.ablate.reference import ablation_page
from mtlora_core.reference import describe, recipe_page, table
from mtlora_core.registry import Registry

DOCS = Path(__file__).parents[1] / "docs"


class Inner(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    width: int = 3
    """In ``pixels``, all
    of them."""


class Entry(Inner):
    start: str | None = Field(None, alias="from")


class Outer(BaseModel):
    word: Literal["wide", "deep"] | None = None
    folder: Path
    empty: str = ""
    defaults: Inner = Inner()
    entries: tuple[Entry, ...] = ()
    maybe: Inner | None = None


@pytest.mark.parametrize(
    ("page", "of"), [("recipes.md", recipe_page), ("ablations.md", ablation_page)]
)
def test_a_page_of_the_documentation_has_every_key_of_today(
    page: str, of: Callable[[Registry], Iterator[str]]
) -> None:
    today = "\n".join(of(Registry.discover(external=False))) + "\n"

    assert (DOCS / page).read_text() == today, "`make docs` writes it anew"


def test_types_and_defaults_are_as_a_recipe_writes_them() -> None:
    rows = describe(Outer)

    assert rows["word"][:2] == ("wide | deep | null", "null")
    assert rows["folder"][:2] == ("path", None)
    assert rows["empty"][:2] == ("str", '""')
    assert rows["defaults.width"] == ("int", "3", "In `pixels`, all of them.")


def test_a_nested_mapping_s_keys_follow_it_and_a_list_s_members_add_theirs() -> None:
    assert [*describe(Outer)] == [
        *("word", "folder", "empty", "defaults", "defaults.width"),
        *("entries", "entries[].from", "maybe", "maybe.width"),
    ]


def test_a_table_keeps_its_columns_where_a_cell_has_a_bar() -> None:
    lines = [*table(describe(Outer))]

    assert lines[2] == "| `word` | wide \\| deep \\| null | `null` |  |"
    assert all(line.replace("\\|", "").count("|") == 5 for line in lines)


def test_a_page_has_the_parts_that_are_installed() -> None:
    page = [*recipe_page(registry_of(mine=plugin(router("own", "token"))))]

    assert "### `own`" in page
    assert "### `token`" not in page
