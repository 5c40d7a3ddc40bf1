"""Tasks for mtlora: your own files, datasets of the hub, and a suite without a download."""

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
            name="hub",
            options="mtlora_tasks.hub.options:HubOptions",
            build="mtlora_tasks.hub.build:build_hub",
            summary="tasks from datasets of the Hugging Face hub, by name",
        ),
        Component(
            kind="tasks",
            name="docstrings",
            options="mtlora_tasks.docstrings.options:DocstringsOptions",
            build="mtlora_tasks.docstrings.build:build_docstrings",
            summary="eight small tasks over the docstrings of Python's own library; no download",
        ),
    ]
