"""The folder of an ablation: the runs of its cells, and what is kept beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..claim import claimed, holder
from ..errors import MtloraError
from ..files import refused, write
from ..runfolder import RunFolder
from .cells import Cell


class AblationFolder:
    """Finds the files of an ablation.

    Args:
        path: The folder; nothing is made or read here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / "runs"
        """A run folder for each cell, by its name."""
        self.recipes = path / "recipes"
        """The resolved recipe of each cell."""
        self.logs = path / "logs"
        """What the process of each cell printed."""
        self.claims = path / "claims"
        """A file for each cell that is being run, or waits in a queue."""
        self.json = path / "results.json"
        self.csv = path / "results.csv"

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            MtloraError: they cannot be made.
        """
        for folder in (self.runs, self.recipes, self.logs, self.claims):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise refused(folder, error) from error

    def run(self, cell: Cell) -> RunFolder:
        """Return a cell's run folder."""
        return RunFolder(self.runs / cell.name)

    def recipe(self, cell: Cell) -> Path:
        """Return the file of a cell's recipe."""
        return self.recipes / f"{cell.name}.yaml"

    def log(self, cell: Cell) -> Path:
        """Return the file of what a cell's process printed."""
        return self.logs / f"{cell.name}.log"

    @contextmanager
    def claimed(self, cell: Cell) -> Iterator[bool]:
        """Claim a cell while the block runs; give whether nobody else had."""
        with claimed(self.claims / cell.name) as free:
            yield free

    def held_by(self, cell: Cell) -> str | None:
        """Return who runs a cell, or waits for its turn; None where nobody does."""
        return self.run(cell).held_by() or holder(self.claims / cell.name)

    def ready(self, cell: Cell) -> bool:
        """Make a cell's folder fit to run in; return whether a run is there to go on with.

        A run that was killed before it had both recipe and lock has nothing to go on with.

        Raises:
            MtloraError: something that is no run is in the way.
        """
        home = self.run(cell)
        if home.recipe.is_file() and home.lock.is_file():
            return True
        for path in home.path.iterdir() if home.path.is_dir() else ():
            if not path.name.startswith((".", home.recipe.name, home.lock.name)):
                raise MtloraError(
                    f"{path}: is in the way of a run; move it, or choose another --out"
                )
            path.unlink()
        write(self.recipe(cell), cell.text())
        return False
