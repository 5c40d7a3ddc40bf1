"""Whose part it is: what a part does wrong is told with its plugin, its kind and its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from traceback import walk_tb
from typing import Any

from .component import Component, load
from .errors import MtloraError, PluginError
from .shortage import is_shortage


@dataclass(frozen=True)
class Origin:
    """The part that is called, in plain words: models keep it, and are copied and pickled."""

    package: str
    kind: str
    name: str
    module: str = ""
    """The package of its code, whose lines its author wants to see."""

    @classmethod
    def of(cls, component: Component, package: str) -> Origin:
        """Return the origin of what ``component`` describes."""
        module = component.build.partition(":")[0].partition(".")[0]
        return cls(package, component.kind, component.name, module)

    def broken(self, reason: str) -> PluginError:
        """Return the error that says what the part did, and what is expected."""
        return PluginError(
            f"the plugin {self.package!r} is broken: {self.kind} {self.name!r}: {reason}"
        )

    def load(self, text: str) -> Any:
        """Import what one of the component's import strings names.

        Raises:
            PluginError: it cannot be imported.
        """
        try:
            return load(text)
        except PluginError as error:
            raise self.broken(str(error)) from error

    def build(self, text: str, contract: type, *given: Any, **how: Any) -> Any:
        """Build the part, and hold it to the class that its kind asks for.

        Args:
            text: The component's ``build``.
            contract: What the part must be an instance of.
            given: What it is called with.
            how: What it is called with by name.

        Raises:
            PluginError: it cannot be imported, fails in another way than errors of ours, or gives
                something else.
        """
        make = self.load(text)
        with self.calling("its build"):
            part = make(*given, **how)
        return self.gave("its build", part, contract)

    @contextmanager
    def calling(self, what: str) -> Iterator[None]:
        """Take what the part raises inside for its fault.

        What it says in errors of ours passes, and so does what the machine is short of: memory,
        disk, open files, a network.

        Args:
            what: What is called.

        Raises:
            PluginError: the part raised something else.
        """
        try:
            yield
        except MtloraError:
            raise
        except Exception as error:  # a plugin's code may fail in any way
            if is_shortage(error):
                raise
            told = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
            raise self.broken(f"{what} raised {told}{self._place(error)}") from error

    def gave(self, what: str, value: Any, contract: type, expected: str = "") -> Any:
        """Return what the part gave.

        Args:
            what: What was called.
            value: What it returned.
            contract: What that must be an instance of.
            expected: The same in words; empty for the name of ``contract``.

        Raises:
            PluginError: it is no such thing.
        """
        if not isinstance(value, contract):
            expected = expected or contract.__name__
            raise self.broken(f"{what} gave {_shown(value)}, and {expected} is expected")
        return value

    def _place(self, error: Exception) -> str:
        """Return the last line of the part's own code that the error came through."""
        places = [
            f" ({frame.f_code.co_filename}:{line})"
            for frame, line in walk_tb(error.__traceback__)
            if frame.f_globals.get("__name__", "").partition(".")[0] == self.module
        ]
        return places[-1] if places else ""


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"a {type(value).__name__}"
