"""The options of executors."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from mtlora_core.options import Options


class LocalOptions(Options):
    """Options of processes of this machine."""

    threads: PositiveInt | None = None
    """Threads of computation of each process; null: its share of the cores, or what the variable
    OMP_NUM_THREADS says."""


class SubmititOptions(Options):
    """Options of jobs of a Slurm cluster. What is null is left to the cluster."""

    cluster: Literal["slurm", "local"] = "slurm"
    """``local`` runs the same jobs on this machine, to try things out."""

    minutes: PositiveInt = 60
    """The longest that a cell may take. One that takes longer goes on with the next call."""

    cpus: PositiveInt = 1
    """Cores of a job, and threads of computation."""

    gpus: NonNegativeInt = 0
    """GPUs of a job."""

    memory: PositiveFloat | None = None
    """Memory of a job, in GB."""

    partition: str | None = None
    """The partition that jobs are queued in."""

    account: str | None = None
    """The account that jobs are charged to."""

    qos: str | None = None
    """The quality of service of jobs."""

    constraint: str | None = None
    """Features that a node must have."""
