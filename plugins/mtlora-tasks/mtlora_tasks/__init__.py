"""Tasks for mtlora: your own files, and a suite that needs no download."""

from __future__ import annotations

from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the parts of this package."""
    return [
        Component(
            kind="tasks",
            name="files",
            options="mtlora_tasks.files.options:FilesOptions",
            build="mtlora_tasks.files.build:build_files",
            summary="tasks from your own files of texts or pictures",
        ),
        Component(
            kind="tasks",
            name="docstrings",
            options="mtlora_tasks.docstrings.options:DocstringsOptions",
            build="mtlora_tasks.docstrings.build:build_docstrings",
            summary="eight small tasks over the docstrings of Python's own library; no download",
        ),
    ]
