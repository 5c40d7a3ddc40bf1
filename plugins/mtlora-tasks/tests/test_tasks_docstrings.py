from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mtlora_core.errors import DataError
from mtlora_core.tasks import SPLITS, Example, Split, TaskData
from mtlora_tasks.docstrings.areas import AREAS, area_of
from mtlora_tasks.docstrings.balance import shares
from mtlora_tasks.docstrings.build import build_docstrings, build_suite
from mtlora_tasks.docstrings.cache import cache_folder, cached_corpus
from mtlora_tasks.docstrings.candidates import QUESTIONS
from mtlora_tasks.docstrings.corpus import Corpus, Documented, Raised
from mtlora_tasks.docstrings.duplicates import letters, without_duplicates
from mtlora_tasks.docstrings.extract import extract
from mtlora_tasks.docstrings.options import TASK_NAMES, DocstringsOptions
from mtlora_tasks.docstrings.sources import sources, stdlib
from mtlora_tasks.docstrings.split import split_of
from mtlora_tasks.docstrings.verbs import VERBS, group_of

MODULES = [f"{sorted(words)[0]}.part{number}" for number in range(12) for words in AREAS.values()]

MODULE = '''
"""The module of {key} things."""

class Box{n}:
    """A class for {key} boxes."""

    def is_open(self):
        """Tell of {key} lids."""
        return True

def read_thing(a, b=None, *, c=1):
    """Take {key} bytes from a box."""
    return a

def write_thing(a):
    """Write {key} bytes by write_thing."""
    a.b = 1

def close_thing(a=False, b="x", c=()):
    """Let {key} go at last."""
    raise {error}("the {key} value was wrong")

def to_thing(): return "{key} twice"

def make_thing():
    """The same in every module."""
    return 1

def handle_thing():
    """Take care of {key} calls."""
    return to_thing()

def start_thing():
    """Begin with {key} calls."""

def convert_thing():
    """Turn {key} into others."""
    return to_thing
'''


def word(number: int) -> str:
    """Return a word for a number: digits apart, duplicates are told by letters alone."""
    return "".join("abcdefghij"[int(digit)] for digit in str(number)) + "ish"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small library of many modules in every area."""
    root = tmp_path_factory.mktemp("stdlib")
    errors = ("ValueError", "TypeError", "RuntimeError", "OSError")
    for n, module in enumerate(MODULES):
        path = root / f"{module.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(MODULE.format(n=n, key=word(n), error=errors[n % 4]))
    return root


@pytest.fixture(scope="module")
def corpus(library: Path) -> Corpus:
    return without_duplicates(extract(sources(library)))


@pytest.fixture(scope="module")
def suite(corpus: Corpus) -> list[TaskData]:
    return build_suite(corpus, DocstringsOptions())


def parts_of(example: Example) -> Iterator[str]:
    assert isinstance(example.input, str | tuple)
    yield from (example.input,) if isinstance(example.input, str) else example.input


def text_of(task: str, example: Example) -> str:
    """Return the text that an example is about, without the name or parameter beside it."""
    if isinstance(example.input, str):
        return example.input
    assert isinstance(example.input, tuple)
    return example.input[1 if task == "name" else 0]


def texts_of(data: Sequence[TaskData], split: Split) -> set[str]:
    return {
        letters(text_of(each.task.name, example))
        for each in data
        for example in dict(each.splits())[split]
    }


def assert_no_text_is_in_two_splits(data: Sequence[TaskData]) -> None:
    found = [texts_of(data, split) for split in SPLITS]

    assert all(found)
    assert sum(map(len, found)) == len(set().union(*found))


def test_the_suite_has_eight_tasks_with_every_split(suite: list[TaskData]) -> None:
    assert [data.task.name for data in suite] == list(TASK_NAMES)
    assert all(examples for data in suite for _, examples in data.splits())


def test_no_text_is_in_two_splits_over_all_tasks(suite: list[TaskData]) -> None:
    assert_no_text_is_in_two_splits(suite)


def test_no_document_is_in_two_splits_whatever_masks_hide_of_it(
    corpus: Corpus, suite: list[TaskData]
) -> None:
    # The made-up word of a module is in all its texts, and no mask hides it.
    for key in (word(n) for n in range(len(MODULES))):
        by_module = [
            split
            for data in suite
            if data.task.name not in ("area", "name")
            for split, examples in data.splits()
            for example in examples
            if key in " ".join(parts_of(example)).split()
        ]
        assert len(set(by_module)) <= 1


def test_a_text_of_several_objects_is_kept_once(corpus: Corpus) -> None:
    texts = [letters(item.text) for item in corpus.documented]
    texts += [letters(item.text) for item in corpus.raised]

    assert Counter(texts).most_common(1)[0][1] == 1
    assert letters("The same in every module.") in texts


def test_texts_that_are_the_same_but_for_the_masked_name_are_duplicates() -> None:
    items = [Documented("m", name, "function", f"Open {name} now.") for name in ("a", "b")]

    assert len(without_duplicates(Corpus(tuple(items), ())).documented) == 1


def test_texts_that_are_the_same_but_for_the_masked_verb_are_duplicates() -> None:
    items = [Documented("m", f"{v}_it", "function", f"{v} the file now.") for v in ("read", "load")]

    assert len(without_duplicates(Corpus(tuple(items), ())).documented) == 1


def test_case_and_punctuation_do_not_tell_texts_apart() -> None:
    raised = [Raised("m", text, "ValueError") for text in ("Not a file!", "not a 'file'")]

    assert without_duplicates(Corpus((), tuple(raised))).raised == (raised[0],)


def test_labels_come_from_the_code(suite: list[TaskData]) -> None:
    tasks = {data.task.name: data for data in suite}

    def label_of(name: str, words: str) -> set[str]:
        data = tasks[name]
        return {
            data.task.labels[int(example.label)]
            for _, examples in data.splits()
            for example in examples
            if words in " ".join(parts_of(example))
        }

    assert label_of("returns", "from a box") == {"value"}
    assert label_of("returns", "bytes by") == {"nothing"}
    assert label_of("kind", "The module of") == {"module"}
    assert label_of("kind", "A class for") == {"class"}
    assert label_of("kind", "lids") == {"method"}
    assert label_of("kind", "go at last") == {"function"}
    assert label_of("verb", "go at last") == {"end"}
    assert label_of("verb", "lids") == {"test"}
    assert label_of("optional", "go at last") == {"optional"}
    assert label_of("optional", "bytes by") == {"required"}
    assert label_of("default", "from a box. c") == {"int"}
    assert label_of("default", "go at last. a") == {"bool"}
    assert label_of("exception", "value was wrong") == set(tasks["exception"].task.labels)
    assert label_of("area", "boxes") == set(AREAS)
    assert label_of("name", "boxes") == {"right", "other"}


def test_a_right_name_is_the_object_s_own_and_another_is_of_its_module(
    suite: list[TaskData],
) -> None:
    [data] = [data for data in suite if data.task.name == "name"]
    names = {"read thing", "write thing", "close thing", "make thing", "handle thing", "is open"}

    for example in data.train:
        shown, text = parts_of(example)
        right = data.task.labels[int(example.label)] == "right"
        if "go at last" in text:
            assert (shown == "close thing") is right
        assert shown in names | {"start thing", "convert thing"} or shown.startswith("box")


def test_objects_mask_their_own_name_and_a_verb_task_its_verb(suite: list[TaskData]) -> None:
    tasks = {data.task.name: data for data in suite}

    def written(name: str) -> list[str]:
        inputs = [str(example.input) for example in tasks[name].train]
        return [text for text in inputs if "bytes by" in text]

    assert written("returns")
    assert all(re.fullmatch("Write [a-j]+ish bytes by ….", text) for text in written("returns"))
    assert written("verb")
    assert all(re.fullmatch("… [a-j]+ish bytes by ….", text) for text in written("verb"))


def test_only_chooses_the_tasks_and_their_order(corpus: Corpus) -> None:
    chosen = build_suite(corpus, DocstringsOptions(only=("area", "kind")))

    assert [data.task.name for data in chosen] == ["area", "kind"]


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"only": []}, "at least 1 item"),
        ({"only": ["kind", "kind"]}, "kind is named twice"),
        ({"only": ["kinds"]}, "'returns', 'kind', 'verb'"),
        ({"limit": 0}, "greater than 0"),
    ],
)
def test_options_that_cannot_work_are_errors(options: dict[str, Any], advice: str) -> None:
    with pytest.raises(ValidationError, match=advice):
        DocstringsOptions.model_validate(options)


def test_limit_caps_training_and_leaves_the_other_splits(
    corpus: Corpus, suite: list[TaskData]
) -> None:
    limited = build_suite(corpus, DocstringsOptions(limit=8))

    for few, all_of_them in zip(limited, suite, strict=True):
        assert len(few.train) == 8
        assert set(few.train) < set(all_of_them.train)
        assert (few.validation, few.test) == (all_of_them.validation, all_of_them.test)


def test_one_task_s_examples_do_not_depend_on_the_others(
    corpus: Corpus, suite: list[TaskData]
) -> None:
    assert build_suite(corpus, DocstringsOptions(only=("verb",))) == [suite[2]]


@pytest.mark.parametrize(
    ("counts", "most", "expected"),
    [
        ({"a": 10, "b": 100, "c": 100}, 90, {"a": 10, "b": 40, "c": 40}),
        ({"a": 10, "b": 10}, 90, {"a": 10, "b": 10}),
        ({"a": 5, "b": 50}, 9, {"a": 4, "b": 5}),
    ],
)
def test_small_classes_are_taken_whole_and_large_ones_share_the_rest(
    counts: dict[str, int], most: int, expected: dict[str, int]
) -> None:
    assert shares(counts, most) == expected


def test_too_few_sources_are_an_error_that_names_the_tasks() -> None:
    corpus = Corpus((Documented("os", "os", "module", "A module of three."),), ())

    with pytest.raises(DataError) as caught:
        build_suite(corpus, DocstringsOptions(only=("kind", "area")))

    assert len(caught.value.problems) == 5
    assert all("leave it out with `only`" in problem for problem in caught.value.problems)


def test_no_word_and_no_module_is_in_two_groups() -> None:
    for groups in (VERBS, AREAS):
        assert sum(map(len, groups.values())) == len(frozenset().union(*groups.values()))
        assert len(groups) == 7
    assert (group_of("fetch"), group_of("blink")) == ("read", None)
    assert (area_of("asyncio.events"), area_of("this")) == ("concurrency", None)


def test_shares_of_the_split_are_near_what_they_should_be() -> None:
    counts = Counter(split_of("module", n) for n in range(4000))

    assert counts["validation"] / 4000 == pytest.approx(0.13, abs=0.02)
    assert counts["test"] / 4000 == pytest.approx(0.22, abs=0.02)


def test_a_corpus_is_the_same_from_the_cache(library: Path, corpus: Corpus, tmp_path: Path) -> None:
    assert cached_corpus(library, tmp_path) == corpus
    [file] = tmp_path.iterdir()
    file_before = file.stat().st_mtime_ns

    assert cached_corpus(library, tmp_path) == corpus
    assert file.stat().st_mtime_ns == file_before


def test_a_library_is_parsed_once(
    library: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_corpus(library, tmp_path)
    monkeypatch.setattr("mtlora_tasks.docstrings.cache.extract", None)

    assert cached_corpus(library, tmp_path) == corpus


@pytest.mark.parametrize("damage", ["", "half", "flipped", "{}", "foreign"])
def test_a_damaged_cache_is_made_anew(
    library: Path, corpus: Corpus, tmp_path: Path, damage: str
) -> None:
    cached_corpus(library, tmp_path)
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    flipped = whole.replace(b"lids", b"lods", 1)
    file.write_bytes(
        {"half": whole[: len(whole) // 2], "flipped": flipped, "foreign": b"\xff\0"}.get(
            damage, damage.encode()
        )
    )

    assert cached_corpus(library, tmp_path) == corpus
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [whole]


def test_a_cache_that_cannot_be_written_costs_only_time(
    library: Path, corpus: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    assert cached_corpus(library, tmp_path / "file" / "cache") == corpus


def test_each_library_has_its_own_cache(library: Path, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.py").write_text('"""Another library altogether."""')
    cached_corpus(library, tmp_path / "cache")

    [item] = cached_corpus(tmp_path / "lib", tmp_path / "cache").documented

    assert item.text == "Another library altogether."


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("MTLORA_CACHE", "/own")

    assert cache_folder() == Path("/own")
    monkeypatch.delenv("MTLORA_CACHE")
    assert cache_folder() == Path("/x/mtlora")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "mtlora"


def test_the_library_is_the_running_python_s() -> None:
    assert (stdlib() / "os.py").samefile(os.__file__)


def test_the_running_python_gives_eight_tasks_that_leak_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTLORA_CACHE", str(tmp_path))

    data = build_docstrings(DocstringsOptions(), seed=0)

    assert [each.task.name for each in data] == list(TASK_NAMES)
    assert_no_text_is_in_two_splits(data)
    assert build_docstrings(DocstringsOptions(), seed=1) == data
    for each in data:
        for _, examples in each.splits():
            assert {example.label for example in examples} == set(range(each.task.outputs))


def test_every_task_asks_its_own_question() -> None:
    assert tuple(QUESTIONS) == TASK_NAMES
    assert all(question.candidates.__doc__ for question in QUESTIONS.values())
