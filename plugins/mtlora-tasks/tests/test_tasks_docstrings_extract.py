from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from mtlora_core.errors import DataError
from mtlora_tasks.docstrings.candidates import QUESTIONS
from mtlora_tasks.docstrings.corpus import Corpus, Documented
from mtlora_tasks.docstrings.extract import extract
from mtlora_tasks.docstrings.masks import MASK, masked, name_words, verb_masked
from mtlora_tasks.docstrings.sources import sources


def corpus_of(folder: Path, code: str) -> Corpus:
    (folder / "mod.py").write_text(dedent(code))
    return extract(sources(folder))


def documented(folder: Path, code: str) -> Documented:
    [item] = corpus_of(folder, code).documented
    return item


def make_documented(name: str, text: str) -> Documented:
    return Documented("mod", name, "function", text)


def _in_module(items: list[Documented], module: str) -> list[Documented]:
    return [replace(item, module=module) for item in items]


def test_modules_are_named_as_they_are_imported(tmp_path: Path) -> None:
    for name in ("a.py", "pkg/__init__.py", "pkg/b.py", "test/c.py", "pkg/tests/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("turtle.py", "turtledemo/e.py", "site-packages/f.py", "idlelib/g.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert [source.module for source in sources(tmp_path)] == ["a", "pkg", "pkg.b"]


def test_a_library_without_sources_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "os.pyc").touch()

    with pytest.raises(DataError, match=r"no Python source files.*or your own data with `use: fi"):
        sources(tmp_path)


def test_nothing_is_imported_and_what_does_not_parse_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "nul.py").write_bytes(b"\0")

    item = documented(tmp_path, '"""Fails when it is imported."""\nraise SystemExit')

    assert (item.module, item.kind) == ("mod", "module")


def test_the_first_paragraph_is_taken_with_its_white_space_collapsed(tmp_path: Path) -> None:
    code = '''
        def f():
            """
            The first   paragraph,
            of two lines.

            Another paragraph.
            """
    '''

    assert documented(tmp_path, code).text == "The first paragraph, of two lines."


@pytest.mark.parametrize(("words", "kept"), [(2, False), (3, True), (64, True), (65, False)])
def test_texts_of_3_to_64_words_are_kept(tmp_path: Path, words: int, kept: bool) -> None:
    corpus = corpus_of(tmp_path, f'"""{"word " * words}"""')

    assert bool(corpus.documented) is kept


def test_every_kind_of_object_is_told_apart(tmp_path: Path) -> None:
    code = '''
        """A module of three."""
        if True:
            class C:
                """A class of three."""
                def m(self):
                    """A method of three."""
                    def inner():
                        """A function inside it."""
        async def f():
            """A function of three."""
    '''

    found = [(item.name, item.kind) for item in corpus_of(tmp_path, code).documented]

    assert found == [
        ("mod", "module"),
        ("C", "class"),
        ("C.m", "method"),
        ("C.m.inner", "function"),
        ("f", "function"),
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return 1", True),
        ("if x:\n        return None\n    return x", True),
        ("x = 1", False),
        ("return", False),
        ("return None", False),
        ("def inner():\n        return 1\n    x = inner", False),
        ("x = lambda: 1", False),
        ("yield 1", None),
        ("return (yield)", None),
        ("pass", None),
        ("...", None),
        ("raise NotImplementedError", None),
    ],
)
def test_returns_is_read_from_the_code(tmp_path: Path, body: str, expected: bool | None) -> None:
    code = f'def f(x):\n    """Return what it likes."""\n    {body}\n'

    assert documented(tmp_path, code).returns is expected


@pytest.mark.parametrize(
    ("signature", "optional", "defaults"),
    [
        ("a, b", False, ()),
        ("*a", True, ()),
        ("**a", True, ()),
        ("a, *, b", False, ()),
        ("a, b=None", True, (("b", "None"),)),
        ("a=True, /, b=-1, *, c, d='x'", True, (("a", "bool"), ("b", "int"), ("d", "str"))),
        ("a=1.5, b=(), c=b'', d=X, e=-1.5", True, tuple((n, "other") for n in "abcde")),
    ],
)
def test_defaults_are_read_from_the_signature(
    tmp_path: Path, signature: str, optional: bool, defaults: tuple[tuple[str, str], ...]
) -> None:
    item = documented(tmp_path, f'def f({signature}):\n    """Do what it likes."""\n')

    assert (item.optional, item.defaults) == (optional, defaults)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("'not a good value'", "not a good value"),
        ("'not a %s value: %(name)r' % x", "not a _ value: _"),
        ("'not a {} value: {name!r}'.format(x)", "not a _ value: _"),
        ("f'not a {x} value'", "not a _ value"),
        ("'not a good ' + x", "not a good _"),
        ("'not a value', 3", "not a value"),
        ("x", None),
        ("'too short'", None),
    ],
)
def test_messages_stand_with_a_blank_for_each_value(
    tmp_path: Path, message: str, expected: str | None
) -> None:
    corpus = corpus_of(
        tmp_path, f"def f():\n    try: pass\n    except: raise ValueError({message})"
    )

    found = [(item.text, item.type) for item in corpus.raised]

    assert found == ([] if expected is None else [(expected, "ValueError")])


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "read",
            "Read and reread; to read() is to READ.",
            f"{MASK} and reread; to {MASK}() is to {MASK}.",
        ),
        ("_spawn_", "Spawn a _spawn_ here.", f"{MASK} a {MASK} here."),
        ("Box.Open", "Box.Open is open.", f"{MASK} is {MASK}."),
        ("a.b", "a.b and axb and b.", f"{MASK} and axb and {MASK}."),
    ],
)
def test_an_object_s_own_name_is_masked_as_a_word(name: str, text: str, expected: str) -> None:
    assert masked(make_documented(name, text)) == expected


def test_another_name_is_masked_like_the_own_where_both_may_be_asked_for() -> None:
    item = make_documented("read", "To read and to write.")

    assert masked(item, "write") == f"To {MASK} and to {MASK}."


def test_an_offered_name_does_not_stand_in_the_text() -> None:
    items = [
        Documented(
            "m", f"fn{word}", "function", f"{word}: fn{word}, fnsolo, fnduo, fntrio, fnquad."
        )
        for word in ("solo", "duo", "trio", "quad")
    ]
    corpus = Corpus(tuple(i for n in range(20) for i in _in_module(items, f"m{n}")), ())

    asked = list(QUESTIONS["name"].candidates(corpus))

    assert {candidate.label for candidate in asked} == {"right", "other"}
    for candidate in asked:
        assert isinstance(candidate.input, tuple)
        assert candidate.input[0] not in candidate.input[1]


@pytest.mark.parametrize(
    ("verb", "forms", "others"),
    [
        ("make", "make makes making", "maker remake"),
        ("stop", "stop stops stopped stopping", "stopper"),
        ("copy", "copy copies copied copying", "copyist"),
        ("close", "close closes closed closing", "closet"),
    ],
)
def test_the_verb_is_masked_in_every_plain_form(verb: str, forms: str, others: str) -> None:
    item = make_documented(f"{verb}_it", f"{forms} {verb}_it {others}")

    expected = " ".join([MASK] * (len(forms.split()) + 1))
    assert verb_masked(item) == f"{expected} {others}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("read_header", ["read", "header"]),
        ("readHTTPHeader", ["read", "http", "header"]),
        ("assertEqual", ["assert", "equal"]),
        ("HTTPServer2", ["http", "server", "2"]),
        ("__init__", ["init"]),
        ("_", []),
    ],
)
def test_names_are_read_as_words(name: str, words: list[str]) -> None:
    assert name_words(name) == words
