"""What the benchmarks share: time taken in turns, memory, and lines of JSON.

Contenders run in one process, round by round in turn, so that whatever else the machine does
meets them all. A line says how our time compares with an opponent's: the median over rounds of
the ratio, with the 95 % interval of that median.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C._profiler import _EventType

OURS = "ours"
"""The contender that is compared with each of the others."""

Step = Callable[[], object]


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark can be told."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: time of this process alone, for one thread on a machine that is not quiet; "
        "a GPU has events of its own",
    )
    parser.add_argument(
        "--profile", action="store_true", help="print where each contender's time goes, on stderr"
    )
    return parser


def compare(
    name: str, steps: Mapping[str, Step], shape: Mapping[str, Any], options: argparse.Namespace
) -> None:
    """Time the contenders in turn, and print a line for each opponent of ours."""
    times = times_of(steps, options)
    for opponent in steps:
        if opponent != OURS:
            report_times(name, times, OURS, opponent, shape)


def times_of(steps: Mapping[str, Step], options: argparse.Namespace) -> dict[str, list[float]]:
    """Return what each contender takes in every round, in turn."""
    times: dict[str, list[float]] = {contender: [] for contender in steps}
    for round_ in range(-2, options.rounds):
        for contender, step in steps.items():
            taken = seconds(step, options)
            if round_ >= 0:  # the first two warm up
                times[contender].append(taken)
    if options.profile:
        for contender, step in steps.items():
            print(f"{contender}\n{_profile(step, options.device)}", file=sys.stderr)
    return times


def _profile(step: Step, device: str) -> str:
    """Return the operations of three steps, those that take the most time first."""
    with torch.profiler.profile(activities=_activities(device)) as profile:
        for _ in range(3):
            step()
    by = "self_cuda_time_total" if device.startswith("cuda") else "self_cpu_time_total"
    return str(profile.key_averages().table(sort_by=by, row_limit=20, max_name_column_width=60))


def report_times(
    name: str,
    times: Mapping[str, Sequence[float]],
    subject: str,
    opponent: str,
    shape: Mapping[str, Any],
) -> None:
    """Print how a contender's time compares with another's, and the medians of both."""
    ours, theirs = times[subject], times[opponent]
    medians = {"seconds": _rounded(np.median(ours)), "theirs": _rounded(np.median(theirs))}
    report(name, ratio(ours, theirs), opponent, {**shape, **medians})


def seconds(step: Step, options: argparse.Namespace) -> float:
    """Return what one step takes."""
    if options.device.startswith("cuda"):
        return _seconds_of_gpu(step)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    begun = clock()
    step()
    return clock() - begun


def _seconds_of_gpu(step: Step) -> float:
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    step()
    ended.record()
    torch.cuda.synchronize()
    milliseconds: float = begun.elapsed_time(ended)
    return milliseconds / 1000


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return the median over rounds of ours to theirs, with the median's 95 % interval."""
    ratios = np.asarray(ours) / np.asarray(theirs)
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), (2.5, 97.5))
    return {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high)}


def report(
    name: str, numbers: Mapping[str, float], opponent: str, shape: Mapping[str, Any]
) -> None:
    """Print a line of JSON."""
    line = {"name": name, **{key: _rounded(value) for key, value in numbers.items()}}
    print(json.dumps({**line, "opponent": opponent, "shape": shape}), flush=True)


def report_bytes(
    name: str, ours: int, theirs: int, opponent: str, shape: Mapping[str, Any]
) -> None:
    """Print a line about memory, which is the same in every round."""
    numbers = dict.fromkeys(("ratio", "low", "high"), ours / theirs)
    report(name, numbers, opponent, {**shape, "bytes": ours, "theirs": theirs})


def kept_bytes(forward: Callable[[], object], known: Sequence[Tensor]) -> int:
    """Return how much a forward keeps for its backward, ``known`` tensors' memory apart."""
    apart = {tensor.untyped_storage().data_ptr() for tensor in known}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        alive.append(tensor)  # memory that is freed and given anew would look like the same
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in apart:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(kept.values())


def passing_bytes(step: Step, device: str) -> int:
    """Return the peak of the memory that a step takes and gives back.

    What is there before, and what stays (an output, gradients), does not count.
    """
    with torch.profiler.profile(activities=_activities(device), profile_memory=True) as profile:
        stays = step()
    changes = _changes(profile, device)
    del stays
    taken: dict[int, int] = {}
    given_back: set[int] = set()
    for when, (pointer, size) in enumerate(changes):
        if size > 0:
            taken[pointer] = when
        elif pointer in taken:
            given_back |= {taken.pop(pointer), when}
    now = peak = 0
    for when, (_, size) in enumerate(changes):
        now += size if when in given_back else 0
        peak = max(peak, now)
    return peak


def _activities(device: str) -> list[torch.profiler.ProfilerActivity]:
    activity = torch.profiler.ProfilerActivity
    return [activity.CPU, *([activity.CUDA] if device.startswith("cuda") else [])]


def _changes(profile: torch.profiler.profile, device: str) -> list[tuple[int, int]]:
    """Return what was allocated in order, as pointers and sizes; negative where given back."""
    assert profile.profiler is not None
    results: Any = profile.profiler.kineto_results
    found, waiting = [], [*results.experimental_event_tree()]
    kind = torch.device(device).type
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if event.typed[0] == _EventType.Allocation and event.extra_fields.device.type == kind:
            fields = event.extra_fields
            found.append((event.start_time_ns, fields.ptr, fields.alloc_size))
    return [(pointer, size) for _, pointer, size in sorted(found)]


def _rounded(number: float | np.floating[Any]) -> float:
    return float(f"{number:.4g}")
