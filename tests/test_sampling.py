"""Which examples make a step."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mtlora_core.recipe import SamplingOptions
from mtlora_core.train.corpus import Pick
from mtlora_core.train.sampling import WINDOW, batches_per_epoch, counts, epoch, shares

PROPORTIONAL = SamplingOptions()
UNIFORM = SamplingOptions(by="uniform")
TEMPERATURE = SamplingOptions(by="temperature", temperature=2.0)
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=5)


def drawn(
    sizes: list[int], options: SamplingOptions, number: int = 0, seed: int = 0
) -> list[list[Pick]]:
    lengths = [[(7 * i) % 30 + 1 for i in range(size)] for size in sizes]
    return list(epoch(lengths, options, 4, seed=seed, number=number))


@given(SIZES)
def test_a_proportional_epoch_shows_every_example_once(sizes: list[int]) -> None:
    picks = [pick for batch in drawn(sizes, PROPORTIONAL) for pick in batch]

    assert sorted(picks) == [(t, i) for t, size in enumerate(sizes) for i in range(size)]


@given(SIZES, st.sampled_from([PROPORTIONAL, UNIFORM, TEMPERATURE]))
def test_an_epoch_draws_as_many_examples_as_there_are(
    sizes: list[int], options: SamplingOptions
) -> None:
    batches = drawn(sizes, options)

    assert sum(map(len, batches)) == sum(sizes) == sum(counts(sizes, options))
    assert len(batches) == batches_per_epoch(sizes, 4)


@given(SIZES)
def test_shares_follow_the_power_of_the_sizes(sizes: list[int]) -> None:
    for options, power in ((PROPORTIONAL, 1.0), (UNIFORM, 0.0), (TEMPERATURE, 0.5)):
        expected = [size**power / sum(s**power for s in sizes) for size in sizes]

        assert all(
            abs(a - b) < 1e-12 for a, b in zip(shares(sizes, options), expected, strict=True)
        )


def test_a_rarely_drawn_task_shows_all_its_examples_in_time() -> None:
    seen = Counter(
        pick.row
        for number in range(4)
        for batch in drawn([100, 2], UNIFORM, number)
        for pick in batch
        if pick.task == 0
    )

    assert set(seen) == set(range(100))
    assert max(seen.values()) - min(seen.values()) <= 1


def test_epochs_and_seeds_order_examples_differently_and_again_the_same() -> None:
    first = drawn([30, 30], PROPORTIONAL)

    assert drawn([30, 30], PROPORTIONAL) == first
    assert drawn([30, 30], PROPORTIONAL, number=1) != first
    assert drawn([30, 30], PROPORTIONAL, seed=1) != first


def test_lengths_within_a_batch_are_similar_and_tasks_are_mixed() -> None:
    lengths = [[(13 * i) % 60 + 1 for i in range(4 * WINDOW * 2)] for _ in range(2)]
    batches = list(epoch(lengths, PROPORTIONAL, 8, seed=0, number=0))

    spreads = [
        max(lengths[t][i] for t, i in batch) - min(lengths[t][i] for t, i in batch)
        for batch in batches
    ]
    assert sum(spreads) / len(spreads) < 6
    assert sum(len({pick.task for pick in batch}) == 2 for batch in batches) > len(batches) / 2
