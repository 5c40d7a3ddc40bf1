"""``mtlora predict``: what a run's model says of a text or a picture, or of a file of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import files
from ..errors import DataError, MtloraError
from ..inputs import ImageFile, Text
from ..tasks import Question, Task
from . import events, figures, queries
from .arguments import Device, Json, RunArgument, RunSettings
from .failure import reporting
from .messages import notes

if TYPE_CHECKING:
    from ..model import MultiTaskModel

TextArgument = Annotated[str | None, typer.Argument(metavar="TEXT", help="A text to answer.")]
Pair = Annotated[
    str | None, typer.Option("--pair", metavar="TEXT", help="The second text of a pair.")
]
TaskOption = Annotated[
    str | None,
    typer.Option("--task", metavar="NAME", help="The task; without it, each is asked."),
]
Picture = Annotated[
    Path | None, typer.Option("--image", metavar="FILE", help="A picture to answer, not a TEXT.")
]
Input = Annotated[
    Path | None,
    typer.Option(
        "--input",
        metavar="FILE",
        help='JSON lines, {"text": "…", "task": "…"}; a pair is a list of two texts, a picture '
        '{"image": "path"}. Tasks with a template take its columns, those with chats '
        '{"messages": […]}.',
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="Where the answers of --input go, each beside its line's own keys; without it, to "
        "standard output.",
    ),
]


@reporting
def predict(
    run: RunArgument,
    text: TextArgument = None,
    pair: Pair = None,
    image: Picture = None,
    task: TaskOption = None,
    input: Input = None,
    output: Output = None,
    settings: RunSettings = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Answer a text, a picture, or a file of them.

    Labels come with their probabilities; tasks of a file may be mixed, and are answered together.
    A task of a language model is asked as it was learnt: a text is put into its template, or is
    the user's turn of a chat.
    """
    _require_sense(text, pair, image, input, output)
    from . import progress

    with progress.display(quiet=json) as show:
        show({"event": "phase", "name": "loading the model"})
        model = _load(run, settings, device)
        asked = _asked(text, pair, image, task, input, model.tasks)
        show({"event": "phase", "name": f"answering {figures.amount(len(asked), 'question')}"})
        answers = model.predict(
            [query.question for query in asked], [query.task for query in asked]
        )
    rows = [queries.answered(*each) for each in zip(asked, answers, strict=True)]
    if output is not None:
        files.write(output, "".join(f"{files.json_line(row)}\n" for row in rows))
    elif json or input is not None:
        for row in rows:
            events.write(row)
    else:
        from . import render

        render.console().print(render.predictions(rows))


def _require_sense(
    text: str | None,
    pair: str | None,
    image: Path | None,
    input: Path | None,
    output: Path | None,
) -> None:
    """Refuse what cannot be meant, before torch is loaded."""
    if [text, image, input].count(None) != 2:
        raise MtloraError(
            "give a TEXT, or --image FILE, or --input FILE with a JSON object in each line"
        )
    if pair is not None and text is None:
        raise MtloraError('--pair goes with TEXT; in a file, "text" is a list of two')
    if output is not None and input is None:
        raise MtloraError("--output goes with --input; one answer is printed")
    if output is not None and input is not None:
        _require_writable(output, input)


def _require_writable(output: Path, input: Path) -> None:
    if output.is_dir():
        raise DataError(f"{output}: is a folder; --output names a file")
    if not output.parent.is_dir():
        raise DataError(f"{output}: there is no folder {output.parent} to write it in")
    if output.exists() and input.exists() and output.samefile(input):
        raise DataError(f"{output}: is the input; choose another --output")


def _load(run: Path, settings: list[str] | None, device: str | None) -> MultiTaskModel:
    from ..finished import read_run

    found = read_run(run, overrides=settings or ())
    notes(found.plan.notices)
    return found.model(device)


def _asked(
    text: str | None,
    pair: str | None,
    image: Path | None,
    task: str | None,
    input: Path | None,
    tasks: Sequence[Task],
) -> list[queries.Query]:
    """Return what is asked: every line of the input, or the one for the task or for each."""
    names = [each.name for each in tasks]
    try:
        chosen = None if task is None else queries.known_task(task, names)
    except ValueError as error:
        raise DataError(f"--task: {error}") from None
    if input is not None:
        return queries.read(input, tasks, chosen)
    asked = _text(text or "", pair) if image is None else _picture(image)
    return [
        queries.Query(_question(asked, each), each.name)
        for each in tasks
        if chosen in (None, each.name)
    ]


def _question(asked: Text | ImageFile, task: Task) -> Question:
    try:
        return task.question(asked)
    except ValueError as error:
        raise DataError(
            f"task {task.name!r}: {error}; write them in a JSON line of --input, or name another "
            "--task"
        ) from None


def _picture(image: Path) -> ImageFile:
    try:
        return queries.picture(image)
    except ValueError as error:
        raise DataError(f"--image: {error}") from None


def _text(text: str, pair: str | None) -> Text:
    # Bytes of an argument that are not UTF-8 arrive as halves of characters.
    if not queries.sound(text + (pair or "")):
        raise DataError("TEXT: is not UTF-8")
    return text if pair is None else (text, pair)
