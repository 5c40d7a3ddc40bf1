"""Where the cells of an ablation run: this machine, or a cluster."""

from __future__ import annotations

from mtlora_core.component import Component
from mtlora_core.hookspecs import hookimpl


@hookimpl
def mtlora_components() -> list[Component]:
    """Describe the parts of this package."""
    return [
        Component(
            kind="executor",
            name="local",
            options="mtlora_executors.options:LocalOptions",
            build="mtlora_executors.local:build_local",
            summary="processes of this machine",
        ),
        Component(
            kind="executor",
            name="submitit",
            options="mtlora_executors.options:SubmititOptions",
            build="mtlora_executors.submitit:build_submitit",
            summary="jobs of a Slurm cluster, handed over by submitit",
        ),
    ]
