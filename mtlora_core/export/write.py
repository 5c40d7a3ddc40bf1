"""A run becomes files that other libraries load."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save_file

from ..errors import CompositionError, MtloraError, RunFolderError, require_known
from ..files import refused
from ..finished import read_run
from ..model import MultiTaskModel
from ..plan import Plan
from ..registry import Registry
from .card import card
from .matrices import depends_on_task, matrices, require_matrices
from .merged import WARN_ABOVE, write_merged
from .peft import write_peft

Format = Literal["peft", "merged"]
FORMATS: tuple[Format, ...] = get_args(Format)
DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}
UNFIT = re.compile(r'[\x00-\x1f"%*/:<>?\\|]')
"""What no folder's name may hold on one system or another, and the sign that stands for it."""
Event = dict[str, Any]


def export(
    run: str | Path,
    out: str | Path,
    *,
    format: Format = "peft",
    task: str | None = None,
    dtype: str = "float32",
    overrides: Sequence[str] = (),
    registry: Registry | None = None,
) -> Iterator[Event]:
    """Write a finished run's adapters for use elsewhere, on the CPU; yield what happens.

    ``peft`` writes ordinary LoRA (or DoRA) adapters in the format of Hugging Face PEFT, a folder
    for each task where each has an update of its own, else one; what a folder's name cannot hold of
    a task's is written as in a URL, ``%2F`` for ``/``. ``merged`` writes the backbone
    with one task's update in its weights. Heads go beside either, as ``heads.safetensors``.

    Args:
        run: The run folder.
        out: Where to write; must be free.
        format: ``peft`` or ``merged``.
        task: Only this task; needed for ``merged`` where tasks have updates of their own.
        dtype: Of merged weights: ``float32``, ``bfloat16`` or ``float16``.
        overrides: Changes of its recipe, such as ``backbone.model=DIR`` of a model that has moved.
        registry: The parts; None discovers those installed.

    Yields:
        Phases, notes, and an ``exported`` event for each folder, with ``rounding`` for merged
        weights.

    Raises:
        MtloraError: ``format`` or ``dtype`` is unknown.
        RunFolderError: ``run`` is no finished run, or ``out`` is not free.
        CompositionError: the update is no matrix, with the reason; or the task is unknown.
    """
    target = Path(out)
    require_known("format", format, FORMATS)
    require_known("dtype", dtype, [*DTYPES])
    found = read_run(run, overrides=overrides, registry=registry)
    plan = found.plan
    require_matrices(plan)
    _require_free(target)
    yield {"event": "phase", "name": "loading the run"}
    yield from ({"event": "note", "text": notice} for notice in plan.notices)
    model = found.model("cpu")
    groups = _groups(plan, model, task, format)
    yield {"event": "phase", "name": f"writing {target}"}
    beside = target.with_name(f".{target.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        events = [_write(model, plan, beside, name, own, format, dtype) for name, own in groups]
        beside.rename(target)
    except OSError as error:
        raise refused(target, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    yield from ({**event, "folder": str(target / event["name"])} for event in events)


def _groups(
    plan: Plan, model: MultiTaskModel, task: str | None, format: Format
) -> list[tuple[str, list[int]]]:
    """Return the name of each folder, and the tasks that it serves."""
    names = [each.name for each in model.tasks]
    if task is not None and task not in names:
        raise CompositionError(f"unknown task {task!r}; the tasks: {', '.join(names)}")
    if not depends_on_task(plan):
        chosen = range(len(names)) if task is None else [names.index(task)]
        return [("", [*chosen])]
    if task is not None:
        return [("", [names.index(task)])]
    if format == "merged":
        raise CompositionError(
            "each task has an update of its own, and a backbone can take up one: say which by "
            f"--task ({', '.join(names)})"
        )
    return [(_folder_name(name), [index]) for index, name in enumerate(names)]


def _folder_name(task: str) -> str:
    """Return a task's name as a folder may bear it: ordinary names as they are, no two alike."""
    if set(task) == {"."}:
        return task.replace(".", "%2E")
    return UNFIT.sub(lambda found: f"%{ord(found[0]):02X}", task)


def _write(
    model: MultiTaskModel,
    plan: Plan,
    out: Path,
    name: str,
    tasks: Sequence[int],
    format: Format,
    dtype: str,
) -> Event:
    folder = out / name
    folder.mkdir(parents=True)
    found = matrices(model, tasks[0])
    event: Event = {"event": "exported", "name": name, "format": format}
    event["tasks"] = [model.tasks[t].name for t in tasks]
    if format == "peft":
        write_peft(model, found, folder)
    else:
        event["rounding"] = write_merged(model, found, folder, DTYPES[dtype])
        event["lossy"] = event["rounding"] > WARN_ABOVE
    _write_heads(model, tasks, folder)
    (folder / "README.md").write_text(card(plan, model, tasks, format), "utf-8")
    return event


def _write_heads(model: MultiTaskModel, tasks: Sequence[int], folder: Path) -> None:
    tensors = {
        f"{model.tasks[t].name}.{name}": value.detach().clone()
        for t in tasks
        for name, value in model.heads[t].state_dict().items()
    }
    if tensors:
        save_file(tensors, folder / "heads.safetensors")


def _require_free(target: Path) -> None:
    if target.exists():
        raise RunFolderError(f"{target}: exists already; choose another --out")
    if not target.parent.is_dir():
        raise MtloraError(f"{target}: there is no folder {target.parent} to write it in")
