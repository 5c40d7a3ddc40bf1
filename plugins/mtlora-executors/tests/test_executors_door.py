"""The door of the package, and the executors behind it."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

import mtlora_executors
from mtlora_core.errors import MtloraError
from mtlora_core.execution import Job, Processes
from mtlora_core.testing import check_executor, check_plugin, described
from mtlora_executors.local import build_local
from mtlora_executors.options import LocalOptions, SubmititOptions
from mtlora_executors.submitit import build_submitit, run_job


def test_the_package_keeps_the_contract_of_a_plugin() -> None:
    check_plugin(mtlora_executors)


def test_local_keeps_the_contract_of_an_executor(tmp_path: Path) -> None:
    check_executor(described(mtlora_executors, "executor", "local"), {}, tmp_path)


def test_submitit_keeps_the_contract_of_an_executor(tmp_path: Path) -> None:
    pytest.importorskip("submitit")

    check_executor(
        described(mtlora_executors, "executor", "submitit"), {"cluster": "local"}, tmp_path
    )


def test_submitits_jobs_hear_an_interrupt_where_this_process_does_not(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    submitit = described(mtlora_executors, "executor", "submitit")

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        check_executor(submitit, {"cluster": "local"}, tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)


def local(jobs: int, folder: Path, **options: Any) -> int | None:
    executor = build_local(LocalOptions(**options), jobs=jobs, folder=folder)
    assert isinstance(executor, Processes)
    return executor.threads


def test_processes_share_the_cores_unless_the_options_or_the_environment_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)

    assert [local(jobs, tmp_path) for jobs in (1, 3, 16)] == [8, 2, 1]
    assert local(3, tmp_path, threads=5) == 5

    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert local(3, tmp_path) is None
    assert local(3, tmp_path, threads=5) == 5


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a Slurm on the path that takes every job and runs none; return where scripts go."""
    pytest.importorskip("submitit")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("srun", ""), ("sbatch", "echo Submitted batch job 12")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    return tmp_path / "jobs"


def script(folder: Path, **options: Any) -> str:
    """Return the script of a job that was queued with options."""
    executor = build_submitit(SubmititOptions(**options), jobs=1, folder=folder)
    executor.start(Job("my-cell", ["true"], folder / "log"))
    return (folder / "12_submission.sh").read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"minutes": 90}, "#SBATCH --time=90"),
        ({"cpus": 6}, "#SBATCH --cpus-per-task=6"),
        ({"gpus": 2}, "#SBATCH --gpus-per-node=2"),
        ({"memory": 24}, "#SBATCH --mem=24GB"),
        ({"partition": "long"}, "#SBATCH --partition=long"),
        ({"account": "vision"}, "#SBATCH --account=vision"),
        ({"qos": "high"}, "#SBATCH --qos=high"),
        ({"constraint": "a100"}, "#SBATCH --constraint=a100"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_option_asks_slurm_for_something(
    slurm: Path, options: dict[str, Any], line: str
) -> None:
    assert line in script(slurm, **options).splitlines()
    assert line not in script(slurm).splitlines()


def test_a_job_bears_the_name_of_its_cell(slurm: Path) -> None:
    assert "#SBATCH --job-name=my-cell" in script(slurm)


def test_a_job_has_as_many_threads_as_cores(tmp_path: Path) -> None:
    code = "import os; print(os.environ['OMP_NUM_THREADS'])"
    pytest.importorskip("submitit")
    executor = build_submitit(
        SubmititOptions(cluster="local", cpus=3), jobs=1, folder=tmp_path / "jobs"
    )

    running = executor.start(Job("says", [sys.executable, "-c", code], tmp_path / "log"))

    until = monotonic() + 120
    while running.status() is None and monotonic() < until:
        sleep(0.1)
    assert (running.status(), (tmp_path / "log").read_text()) == (0, "3\n")


def test_a_job_that_a_cluster_begins_again_goes_on(tmp_path: Path) -> None:
    """As ``compose RECIPE --out RUN``, which refuses a folder that is there."""
    begins = [sys.executable, "-c", "import os, sys; os.mkdir(sys.argv[1])", str(tmp_path / "run")]
    resumes = [sys.executable, "-c", "print('goes on')"]
    job = Job("cell", begins, tmp_path / "log", resumes, tmp_path / "run")

    assert [run_job(job, 1), run_job(job, 1)] == [0, 0]
    assert job.log.read_text() == "goes on\n"


@pytest.mark.parametrize("obedient", [True, False])
def test_no_process_outlives_its_job(tmp_path: Path, obedient: bool) -> None:
    """However the job's own process is told to end; submitit raises or exits in a handler."""
    deaf = "" if obedient else "signal.signal(signal.SIGINT, signal.SIG_IGN);"
    code = (
        f"import os, signal, time;{deaf}print(os.getpid(), flush=True);"
        "os.kill(os.getppid(), signal.SIGUSR2); time.sleep(600)"
    )

    def told_to_end(*_: object) -> None:
        raise SystemExit(1)

    before = signal.signal(signal.SIGUSR2, told_to_end)
    try:
        with pytest.raises(SystemExit):
            run_job(Job("cell", [sys.executable, "-c", code], tmp_path / "log"), 1)
    finally:
        signal.signal(signal.SIGUSR2, before)

    process = int((tmp_path / "log").read_text().splitlines()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_without_a_cluster_the_error_says_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(MtloraError, match="cluster: local"):
        build_submitit(SubmititOptions(), jobs=1, folder=tmp_path / "jobs")


def test_without_the_extra_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(import_module("sys").modules, "submitit", None)

    with pytest.raises(MtloraError, match=r"pip install 'mtlora-executors\[submitit\]'"):
        build_submitit(SubmititOptions(), jobs=1, folder=tmp_path)
