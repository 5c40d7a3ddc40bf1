"""Print runs as a Markdown table: ``python benchmarks/table.py RUN…``, seeds of a recipe together.

A cell is the mean over seeds, with the 95 % Wilson interval of that mean for the size of the test
split; the seeds share the split, so the interval is that of one run. The last rows are the mean
over tasks, with the normal interval that follows from the tasks' own, and each seed's mean.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

Finished = Mapping[str, Any]
Z = 1.959964
BASELINES = {"majority": "majority", "tfidf": "TF-IDF", "heads": "heads only"}


def finished(folder: Path) -> tuple[str, Finished]:
    """Return a run's recipe name and its last record."""
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    name = next(
        line.removeprefix("name: ")
        for line in (folder / "recipe.yaml").read_text("utf-8").splitlines()
        if line.startswith("name: ")
    )
    return name, json.loads(lines[-1])


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share of ``count`` examples."""
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2)) / (1 + Z**2 / count)
    return middle - half, middle + half


def cell(share: float, count: int) -> str:
    """Return a mean with its interval."""
    low, high = wilson(share, count)
    return f"{share:.3f} [{low:.3f}, {high:.3f}]"


def rows(runs: Mapping[str, Sequence[Finished]]) -> list[list[str]]:
    """Return the table's rows, the head first."""
    first = next(iter(runs.values()))[0]["test"]
    known = [key for key in BASELINES if all(key in row for row in first.values())]
    table = [["task", *(BASELINES[key] for key in known), *runs]]
    for task, row in first.items():
        values = [fmean(run["test"][task]["value"] for run in seeds) for seeds in runs.values()]
        base = [f"{row[key]:.3f}" for key in known]
        table.append([task, *base, *(cell(value, row["count"]) for value in values)])
    base = [f"{fmean(row[key] for row in first.values()):.3f}" for key in known]
    table.append(["**mean**", *base, *(mean_cell(seeds) for seeds in runs.values())])
    each = [", ".join(f"{run['mean']['model']:.3f}" for run in seeds) for seeds in runs.values()]
    table.append(["each seed", *[""] * len(known), *each])
    return table


def mean_cell(seeds: Sequence[Finished]) -> str:
    """Return the mean over tasks with the interval that the tasks' test splits leave."""
    mean = fmean(run["mean"]["model"] for run in seeds)
    tasks = seeds[0]["test"]
    variance = 0.0
    for name, row in tasks.items():
        share = fmean(run["test"][name]["value"] for run in seeds)
        variance += share * (1 - share) / row["count"]
    half = Z * math.sqrt(variance) / len(tasks)
    return f"**{mean:.3f}** [{mean - half:.3f}, {mean + half:.3f}]"


def main() -> None:
    """Print the runs that the command line names."""
    runs = defaultdict(list)
    for folder in map(Path, sys.argv[1:]):
        name, record = finished(folder)
        runs[name].append(record)
    head, *body = rows(runs)
    for row in (head, ["---"] * len(head), *body):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
