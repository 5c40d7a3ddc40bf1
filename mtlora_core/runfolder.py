"""The folder of one run: its recipe, lock, metrics, checkpoint and adapter.

Torch is loaded for the adapter only, so that what a run says of itself can be read without.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .claim import claimed, holder
from .errors import RunFolderError
from .files import append, json_line, write
from .recipe import Recipe, dump_recipe, load_recipe
from .tasks import Task

if TYPE_CHECKING:
    from .model import MultiTaskModel

FORMAT = "1"
"""Version of ``adapter.safetensors``."""


class RunFolder:
    """Reads and writes the files of one run.

    Args:
        path: The folder; nothing is made or read here.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path = Path(path)
        self.recipe = path / "recipe.yaml"
        self.lock = path / "lock.json"
        self.metrics = path / "metrics.jsonl"
        self.adapter = path / "adapter.safetensors"
        self.checkpoint = path / "checkpoint"
        self.tracking = path / "tracking.json"
        self.claim = path / ".running"

    def create(self, recipe: Mapping[str, Any], lock: Mapping[str, Any]) -> None:
        """Make the folder of a new run and write what it is, held by who does.

        Raises:
            RunFolderError: something is there already.
        """
        self.require_free()
        self._make()
        write(self.recipe, dump_recipe(recipe))
        write(self.lock, json.dumps(lock, indent=2) + "\n")

    def require_free(self) -> None:
        """Raise unless a new run may have this folder.

        Raises:
            RunFolderError: something is there already.
        """
        if not self.path.exists() or (self.path.is_dir() and not self._entries()):
            return
        advice = (
            f"go on with it by --resume {self.path}, or choose another --out"
            if self.recipe.is_file()
            else "choose another --out"
        )
        raise RunFolderError(f"{self.path}: exists and is not this run's; {advice}")

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{self.path}: cannot be made: {error.strerror}") from error

    def _entries(self) -> set[Path]:
        """Return what is in the folder, the claim of who holds it apart."""
        return {*self.path.iterdir()} - {self.claim}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep every other process from writing to it meanwhile.

        Raises:
            RunFolderError: it cannot be made, or another process holds it.
        """
        self._make()
        with claimed(self.claim) as free:
            if not free:
                raise RunFolderError(f"{self.path}: is being run by {holder(self.claim)}")
            yield

    def held_by(self) -> str | None:
        """Return who runs it, such as ``process 7 on lab``; None where nobody does."""
        return holder(self.claim)

    def read_recipe(self) -> Recipe:
        """Return the run's resolved recipe.

        Raises:
            RunFolderError: this is no run folder.
        """
        self._require_run()
        return load_recipe(self.recipe)

    def read_lock(self) -> dict[str, Any]:
        """Return the run's lock.

        Raises:
            RunFolderError: it is missing or damaged.
        """
        try:
            lock: dict[str, Any] = json.loads(self.lock.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{self.lock}: cannot be read: {error}") from error
        return lock

    def read_tracking(self) -> dict[str, str]:
        """Return what each tracker calls the run; empty where none has begun."""
        if not self.tracking.is_file():
            return {}
        names: dict[str, str] = json.loads(self.tracking.read_text("utf-8"))
        return names

    def record(self, event: Mapping[str, Any]) -> None:
        """Add a line to the metrics."""
        append(self.metrics, json_line(event))

    def records(self) -> list[dict[str, Any]]:
        """Return the whole lines of the metrics; one that a kill cut short is left out."""
        if not self.metrics.is_file():
            return []
        lines = self.metrics.read_text("utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def metrics_size(self) -> int:
        """Return how many bytes of metrics there are, all of them safe from a loss of power."""
        if not self.metrics.exists():
            return 0
        with self.metrics.open("rb") as stream:
            os.fsync(stream.fileno())
            return os.fstat(stream.fileno()).st_size

    def cut_metrics(self, size: int) -> None:
        """Forget the lines that a checkpoint does not know of; its steps will be taken again.

        Raises:
            RunFolderError: lines that it knows of are gone.
        """
        there = self.metrics.stat().st_size if self.metrics.exists() else 0
        if there < size:
            raise RunFolderError(
                f"{self.metrics}: has {there} bytes where the checkpoint knows of {size}; bring it "
                f"back, or begin anew: remove {self.checkpoint}"
            )
        if self.metrics.exists():
            os.truncate(self.metrics, size)

    def write_adapter(self, model: MultiTaskModel, recipe: Mapping[str, Any]) -> None:
        """Write what was trained, with the recipe and the tasks in the header."""
        from . import tensors

        header = {
            "format": FORMAT,
            "recipe": json.dumps(recipe),
            "tasks": json.dumps([task.to_json() for task in model.tasks]),
        }
        tensors.save(self.adapter, model.trained_state(), header)

    def read_adapter(
        self, overrides: Sequence[str] = ()
    ) -> tuple[dict[str, Any], Recipe, Sequence[Task]]:
        """Return the tensors, the recipe and the tasks of the adapter.

        Args:
            overrides: Changes of the recipe, as for :func:`~mtlora_core.recipe.load_recipe`.

        Raises:
            RunFolderError: this is no run folder, the run is not finished, or the file is damaged
                or of another format.
            RecipeError: an override is not right.
        """
        self._require_run()
        if not self.adapter.exists():
            raise RunFolderError(
                f"{self.path}: the run is not finished; go on with it: "
                f"mtlora compose --resume {self.path}"
            )
        from . import tensors

        values, header = tensors.read(self.adapter)
        if header.get("format") != FORMAT:
            raise RunFolderError(
                f"{self.adapter}: is of format {header.get('format')}, this mtlora reads {FORMAT}"
            )
        tasks = [Task.from_json(each) for each in json.loads(header["tasks"])]
        # Its paths are absolute. A name that is no path, such as a model's on the hub, is looked up
        # in no folder: nothing is inside a file.
        recipe = load_recipe(json.loads(header["recipe"]), overrides, folder=self.adapter)
        return values, recipe, tasks

    def _require_run(self) -> None:
        if not self.path.exists():
            raise RunFolderError(f"{self.path}: there is no such run folder")
        if not self.recipe.is_file():
            raise RunFolderError(f"{self.path}: is no run folder: it has no recipe.yaml")
