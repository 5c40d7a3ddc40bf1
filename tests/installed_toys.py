"""The toys as an installed plugin, for tests that start processes of their own."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which the toys are a plugin like any other.

    Args:
        folder: Where the metadata of the distribution is written; nothing is installed.
    """
    metadata = folder / "toys-0.1.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text("[mtlora]\ntoys = toys\n")
    paths = [str(folder), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "MTLORA_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "80",
    }
