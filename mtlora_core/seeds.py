"""Named seeds: every random choice has its own stream, so adding one never moves another."""

from __future__ import annotations

import hashlib


def derive(seed: int, *names: object) -> int:
    """Return the seed of the stream ``names`` under ``seed``, in ``[0, 2**63)``.

    The same names give the same stream on every machine, whichever parts a recipe has: two
    recipes that share a site's experts start from the same factors.
    """
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
