"""Takes a library's docstrings, and what its code says of them. Parses; imports nothing."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator

from .corpus import Corpus, Default, Documented, Kind, Raised
from .sources import Source

VERSION = 1
"""Of what is taken and how; a cache of another version is made anew."""

WORDS = range(3, 65)
"""Words of a text that is kept."""

BLANK = "_"
"""Stands in a message for a value that is only known when the code runs."""

PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[-+#0-9.]*[a-zA-Z]|\{[^{}]*\}")
"""What ``%`` and ``str.format`` put a value for."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = Function | ast.ClassDef
Statement = ast.stmt | ast.excepthandler | ast.match_case


def extract(sources: Iterable[Source]) -> Corpus:
    """Return the documented objects and raised messages of source files, in their order."""
    documented: list[Documented] = []
    raised: list[Raised] = []
    for source in sources:
        tree = _parsed(source)
        if tree is not None:
            documented += _documented(tree, source.module)
            raised += _raised(tree, source.module)
    return Corpus(tuple(documented), tuple(raised))


def _parsed(source: Source) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old escapes in the library's strings
            return ast.parse(source.path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None  # a template or a file made to be wrong; the others still have their texts


def _documented(tree: ast.Module, module: str) -> Iterator[Documented]:
    if text := _paragraph(tree):
        yield Documented(module, module, "module", text)
    yield from _members(tree, module, "", inside_class=False)


def _members(
    node: ast.AST, module: str, prefix: str, *, inside_class: bool
) -> Iterator[Documented]:
    for child in _statements(node):
        if not isinstance(child, Scope):
            yield from _members(child, module, prefix, inside_class=inside_class)
            continue
        name = prefix + child.name
        if text := _paragraph(child):
            yield _described(child, module, name, text, inside_class=inside_class)
        is_class = isinstance(child, ast.ClassDef)
        yield from _members(child, module, f"{name}.", inside_class=is_class)


def _described(node: Scope, module: str, name: str, text: str, *, inside_class: bool) -> Documented:
    if isinstance(node, ast.ClassDef):
        return Documented(module, name, "class", text)
    kind: Kind = "method" if inside_class else "function"
    defaults = tuple(_defaults(node.args))
    starred = bool(node.args.vararg or node.args.kwarg)
    optional = bool(defaults) or starred
    return Documented(module, name, kind, text, _returns(node), optional, defaults)


def _paragraph(node: ast.Module | Scope) -> str | None:
    """Return the first paragraph of a docstring, if it has the length of a text we keep."""
    docstring = (ast.get_docstring(node) or "").strip()
    return _kept(docstring.partition("\n\n")[0])


def _kept(text: str) -> str | None:
    words = text.split()
    return " ".join(words) if len(words) in WORDS else None


def _returns(node: Function) -> bool | None:
    """Whether a function returns a value; None for a generator and for a body left open."""
    if _is_open(node):
        return None
    own = list(_own_nodes(node))
    if any(isinstance(n, ast.Yield | ast.YieldFrom) for n in own):
        return None
    return any(isinstance(n, ast.Return) and not _is_none(n.value) for n in own)


def _is_open(node: Function) -> bool:
    """Whether the body is only a docstring, ``pass``, ``...`` or a raise: subclasses fill it."""
    return all(
        isinstance(statement, ast.Pass | ast.Raise)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in node.body
    )


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body, without those of functions and classes inside."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Scope | ast.Lambda):
            yield child
            yield from _own_nodes(child)


def _is_none(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def _defaults(arguments: ast.arguments) -> Iterator[tuple[str, Default]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    # Defaults belong to the last parameters; a keyword's is None where it has none.
    late = positional[len(positional) - len(arguments.defaults) :]
    yield from ((a.arg, _kind_of(v)) for a, v in zip(late, arguments.defaults, strict=True))
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    yield from ((a.arg, _kind_of(v)) for a, v in keywords if v is not None)


def _kind_of(value: ast.expr) -> Default:
    if isinstance(value, ast.UnaryOp):
        return _kind_of(value.operand)  # -1 is an operator and its operand
    match value:
        case ast.Constant(value=None):
            return "None"
        case ast.Constant(value=bool()):
            return "bool"
        case ast.Constant(value=int()):
            return "int"
        case ast.Constant(value=str()):
            return "str"
    return "other"


def _raised(tree: ast.Module, module: str) -> Iterator[Raised]:
    for node in _nested(tree):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[message, *_])):
                if text := _kept(_message(message)):
                    yield Raised(module, text, name)


def _nested(node: ast.AST) -> Iterator[ast.AST]:
    for child in _statements(node):
        yield child
        yield from _nested(child)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what can hold definitions and raises; most nodes are expressions, which cannot."""
    return (child for child in ast.iter_child_nodes(node) if isinstance(child, Statement))


def _message(node: ast.expr) -> str:
    """Return the words of a message, with a blank for each value put in; empty if it has none."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_message(part) for part in parts)
        case ast.FormattedValue():
            return BLANK
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (_message(left) or BLANK) + (_message(right) or BLANK)
        case ast.BinOp(left=left, op=ast.Mod()):
            return PLACEHOLDER.sub(BLANK, _message(left))
        case ast.Call(func=ast.Attribute(value=template, attr="format")):
            return PLACEHOLDER.sub(BLANK, _message(template))
    return ""
