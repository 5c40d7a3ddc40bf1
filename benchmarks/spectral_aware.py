"""What the ``spectral-aware`` penalty costs: ``python benchmarks/spectral_aware.py``.

Optimizer steps of mtLoRA's recipe on MiniLM with the penalty at every step, against the same
recipe without it, after enough steps that experts differ.
"""

from __future__ import annotations

from functools import partial

from measuring import Step, compare, parser_of
from sessions import BLOCK, add_batch, evenly, fix_batch, recipe_of, session_of

from mtlora_core.train.step import take_step

BALANCE = {"use": "balance", "weight": 0.01}
PENALTY = {"use": "spectral-aware", "weight": 1.0}


def main() -> None:
    """Run the comparison."""
    parser = parser_of(__doc__)
    add_batch(parser)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--before", type=int, default=20, help="steps that are not timed")
    options = parser.parse_args()
    steps: dict[str, Step] = {}
    for name, penalties in (("ours", [PENALTY, BALANCE]), ("no such penalty", [BALANCE])):
        session = session_of(recipe_of(BLOCK, *penalties), options.tasks, options)
        fix_batch(session, evenly(options.tasks, options.examples))
        steps[name] = partial(take_step, session)
        for _ in range(options.before):
            steps[name]()
    shape = {"examples": options.examples, "tokens": options.tokens, "before": options.before}
    compare("spectral-aware", steps, shape, options)


if __name__ == "__main__":
    main()
