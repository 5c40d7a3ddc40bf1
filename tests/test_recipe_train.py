"""The options under ``train:``."""

from __future__ import annotations

from typing import Any

import pytest
from parts import recipe_with

from mtlora_core.errors import RecipeError
from mtlora_core.recipe import Recipe, SamplingOptions, TrainOptions, load_recipe


def train(**options: Any) -> TrainOptions:
    return load_recipe(recipe_with(train=options)).train


def problem(**options: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        train(**options)
    (found,) = caught.value.problems
    return found


def test_three_epochs_are_the_default() -> None:
    assert (train().epochs, train().steps) == (3, None)


def test_steps_stand_for_the_default_epochs() -> None:
    assert (train(steps=5).epochs, train(steps=5).steps) == (None, 5)


def test_epochs_and_steps_together_are_refused() -> None:
    assert "give epochs or steps, not both (epochs: 2, steps: 5)" in problem(epochs=2, steps=5)


def test_neither_epochs_nor_steps_is_refused() -> None:
    assert "neither epochs nor steps" in problem(epochs=None)


def test_a_bare_word_says_how_tasks_are_sampled() -> None:
    assert train(sampling="uniform").sampling == SamplingOptions(by="uniform")


def test_a_temperature_that_does_nothing_is_refused() -> None:
    assert "temperature: 3 does nothing with by: uniform" in problem(
        sampling={"by": "uniform", "temperature": 3}
    )
    assert train(sampling={"by": "temperature", "temperature": 3}).sampling.temperature == 3


def test_more_forwards_than_examples_are_refused() -> None:
    assert "at most batch_size" in problem(batch_size=2, accumulate=3)
    assert train(batch_size=3, accumulate=3).accumulate == 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"batch_size": "32"}, "train.batch_size: should be a valid integer, not '32'"),
        ({"batch_size": True}, "train.batch_size: should be a valid integer, not True"),
        ({"learning_rate": "1"}, "train.learning_rate: should be a valid number, not '1'"),
        ({"learning_rate": float("inf")}, "finite"),
        ({"checkpointing": 1}, "train.checkpointing: should be a valid boolean, not 1"),
        ({"warmup": 1}, "train.warmup: should be less than 1, not 1"),
        ({"weight_decay": -1}, "greater than or equal to 0"),
        ({"schedule": "cosin"}, "'constant', not 'cosin'; did you mean 'cosine'?"),
        ({"precision": "bf15"}, "did you mean 'bf16'?"),
        ({"sampling": "unifrom"}, "did you mean 'uniform'?"),
        ({"loss": {"avrage": "tasks"}}, "loss.avrage: no such key; did you mean 'average'?"),
        ({"keep": "first"}, "'best' or 'last'"),
        ({"evaluate_every": 0}, "greater than 0"),
    ],
)
def test_a_wrong_option_says_what_would_be_right(options: dict[str, Any], reason: str) -> None:
    assert reason in problem(**options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": 4, "clip": None, "patience": 2, "evaluate_every": 3, "save_every": 5},
        {"sampling": "uniform", "loss": {"average": "tasks"}, "keep": "last"},
        {"sampling": {"by": "temperature", "temperature": 5.0}, "head_learning_rate": 1e-3},
    ],
)
def test_every_option_is_written_and_read_back_the_same(options: dict[str, Any]) -> None:
    recipe = load_recipe(recipe_with(train=options))

    again = load_recipe(recipe.to_json())

    assert again == recipe
    assert again.to_json() == recipe.to_json()


def test_every_option_has_help() -> None:
    for model in (Recipe, TrainOptions, SamplingOptions):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
