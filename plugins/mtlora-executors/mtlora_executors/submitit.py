"""Jobs of a Slurm cluster, handed over by submitit.

submitit, https://github.com/facebookincubator/submitit, writes each job as a pickle into the
ablation's folder ``jobs``, and reads back one with its exit status. Both are read only by the
processes that wrote the other; what a run leaves is as free of pickles as ever.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlora_core.errors import MtloraError
from mtlora_core.execution import Executor, Job, Running, hearing_interrupts

from .options import SubmititOptions

if TYPE_CHECKING:
    import submitit

GRACE = 0.8
"""Seconds that an interrupted command has; submitit ends a local job a second after asking."""


def build_submitit(options: SubmititOptions, *, jobs: int, folder: Path) -> Executor:
    """Return an executor that queues jobs.

    Raises:
        MtloraError: submitit is not installed, or there is no cluster.
    """
    try:
        import submitit
    except ImportError as error:
        advice = "pip install 'mtlora-executors[submitit]'"
        raise MtloraError(f"executor 'submitit' needs the package submitit: {advice}") from error
    folder.mkdir(parents=True, exist_ok=True)
    try:
        queue = submitit.AutoExecutor(folder.absolute(), cluster=options.cluster)
    except RuntimeError as error:
        advice = "run this on the cluster, or write cluster: local"
        raise MtloraError(f"executor 'submitit': {error}; {advice}") from error
    queue.update_parameters(**parameters(options))
    return Queue(queue, options.cpus)


def parameters(options: SubmititOptions) -> dict[str, Any]:
    """Return the options as submitit names them; what is None is left out."""
    named = {
        "timeout_min": options.minutes,
        "cpus_per_task": options.cpus,
        "gpus_per_node": options.gpus or None,
        "mem_gb": options.memory,
        "slurm_partition": options.partition,
        "slurm_account": options.account,
        "slurm_qos": options.qos,
        "slurm_constraint": options.constraint,
    }
    return {name: value for name, value in named.items() if value is not None}


class Queue:
    """Hands jobs to submitit."""

    on_this_machine = False

    def __init__(self, queue: submitit.AutoExecutor, threads: int) -> None:
        self._queue = queue
        self._threads = threads

    def start(self, job: Job) -> Running:
        """Queue a job under its name."""
        self._queue.update_parameters(name=job.name)
        try:
            with hearing_interrupts():
                queued = self._queue.submit(run_job, job, self._threads)
            return _Queued(queued, job.log)
        except Exception as error:  # a cluster may refuse in any way; the cell is told why
            raise MtloraError(f"executor 'submitit' could not queue {job.name}: {error}") from error


class _Queued:
    def __init__(self, job: submitit.Job[int], log: Path) -> None:
        self._job = job
        self._log = log
        self._status: int | None = None

    def status(self) -> int | None:
        if self._status is None and self._job.done():
            self._status = self._result()
        return self._status

    def interrupt(self) -> None:
        if self.status() is None:
            self._job.cancel(check=False)

    def kill(self) -> None:
        self.interrupt()  # the cluster itself ends what does not obey

    def _result(self) -> int:
        try:
            return int(self._job.result())
        except Exception as error:  # cancelled, out of time or memory: as submitit words it
            with self._log.open("a", encoding="utf-8") as log:
                log.write(f"mtlora: the job ended early: {str(error).splitlines()[0]}\n")
            return 1


def run_job(job: Job, threads: int) -> int:
    """Run a job to its end, in the process that the cluster has started; return its status.

    Slurm begins a job again that it took the node from, and submitit one that was preempted: then
    what was begun is gone on with. However this process is told to end, the job's ends with it.

    Args:
        job: What is run.
        threads: Of computation.
    """
    with job.log.open("ab") as output:
        process = subprocess.Popen(
            job.due(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
    try:
        return process.wait()
    except KeyboardInterrupt:
        return _ended(process)
    finally:
        _ended(process)


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Let a process end that has not; return its status."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
