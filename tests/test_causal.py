"""Causal tasks: learnt from their answers, and scored by choosing and by writing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_language
from cli_command import events, mtlora
from toys import toy_recipe, toy_registry

from mtlora_core import load, load_recipe, load_tasks, resolve, run
from mtlora_core.compose import compose
from mtlora_core.errors import CompositionError, DataError, RecipeError, TrainingError
from mtlora_core.inputs import ImageFile
from mtlora_core.interfaces import Encoded, Inputs
from mtlora_core.model import MultiTaskModel
from mtlora_core.prompts import Asking
from mtlora_core.recipe import EvaluateOptions, TrainOptions
from mtlora_core.resolve import Plan
from mtlora_core.tasks import Example, Question, Task, TaskData
from mtlora_core.train import fit, loop
from mtlora_core.train.baselines import baselines
from mtlora_core.train.corpus import Corpus, Pick
from mtlora_core.train.engine import make_engine
from mtlora_core.train.evaluate import judgements, mean_selected, score_split, split_table
from mtlora_core.train.judging import unreachable
from mtlora_core.train.metrics import matches
from mtlora_core.train.objectives import example_losses

REGISTRY = toy_registry(language=toy_language)


def plan_of(tasks: dict[str, Any] | None = None, **changes: Any) -> Plan:
    parts = {
        "backbone": "toy-language",
        "placement": {"use": "block", "at": ["attention", "ffn"]},
        "experts": {"use": "hydra", "count": 4, "rank": 8, "alpha": 32},
        "tasks": {"use": "repeat", **(tasks or {})},
    }
    return resolve(load_recipe(toy_recipe(**parts, **changes)), REGISTRY)


def model_of(plan: Plan) -> tuple[MultiTaskModel, list[TaskData]]:
    data = load_tasks(plan)
    return compose(plan, data), data


def trained(plan: Plan, folder: Path) -> list[dict[str, Any]]:
    return [event for event in run(plan, folder, device="cpu") if event["event"] != "phase"]


LEARNS = {"steps": 60, "batch_size": 16, "learning_rate": 0.03, "evaluate_every": 30}


def test_the_loss_is_the_mean_over_the_answers_tokens_and_no_others() -> None:
    model, data = model_of(plan_of())
    corpus = Corpus(model.backbone, data, "train")
    picks = [Pick(0, 0), Pick(0, 5)]
    batch = corpus.batch(picks)

    outputs = model.eval()(batch.inputs, batch.task_ids)["repeat"].outputs
    losses = example_losses(data[0].task, outputs, batch.labels.float())

    for pick, loss in zip(picks, losses, strict=True):
        example = data[0].train[pick.row]
        text = f"{example.input}{example.label}\0"
        ids = torch.tensor([[toy_language.LETTERS.index(letter) for letter in text]])
        language = model.language
        with model.adapters.context.serving(torch.zeros(1, dtype=torch.long)):
            hidden = language.module(ids, torch.ones_like(ids).bool())
        shares = language.head(hidden)[0].log_softmax(-1)  # type: ignore[operator]
        said = [shares[at - 1, ids[0, at]] for at in range(len(str(example.input)), len(text))]
        assert loss.item() == pytest.approx(-torch.stack(said).mean().item(), abs=1e-5)


def test_it_learns_to_answer_and_says_how_it_answered_before(tmp_path: Path) -> None:
    plan = plan_of(train=LEARNS, evaluate={"by": ["generate", "options"], "max_new_tokens": 3})

    finished = trained(plan, tmp_path / "run")[-1]

    row = finished["test"]["repeat"]
    assert row["metric"] == "exact-match"
    assert row["metrics"].keys() == {"loss", "exact-match", "contains", "option-accuracy"}
    assert row["value"] == row["metrics"]["exact-match"] > 0.9 > row["untrained"]
    assert row["metrics"]["loss"] < row["before"]["loss"]
    assert row["low"] <= row["value"] <= row["high"]
    assert finished["mean"]["model"] == row["value"]
    assert "tfidf" not in row
    assert "heads" not in row
    assert row["majority"] == pytest.approx(0.25, abs=0.3)


def test_a_loaded_run_writes_the_same_answers(tmp_path: Path) -> None:
    plan = plan_of(train=LEARNS, evaluate={"max_new_tokens": 3})
    finished = trained(plan, tmp_path / "run")[-1]

    model = load(tmp_path / "run", device="cpu", registry=REGISTRY)

    test = load_tasks(plan)[0].test
    answers = model.predict([example.input for example in test])
    right = [a.label == example.label for a, example in zip(answers, test, strict=True)]
    assert sum(right) / len(right) == finished["test"]["repeat"]["value"]
    assert all(answer.probability is None for answer in answers)


def test_an_answer_that_is_chosen_has_the_probability_of_each_option() -> None:
    model, data = model_of(plan_of(evaluate={"by": ["options"]}))

    answer = model.predict(["a b c="])[0]

    scores = model.likelihoods(["a b c="], [data[0].task.labels], [0])[0]
    assert answer.probabilities == pytest.approx(
        dict(zip("abcd", scores.double().softmax(-1).tolist(), strict=True))
    )
    assert answer.label == "abcd"[int(scores.argmax())]


def asking_model(asking: Asking | None, **changes: Any) -> MultiTaskModel:
    """Return a model of one task whose rows are read in a way."""
    plan = plan_of(evaluate={"by": ["options"], **changes})
    return compose(plan, [replace(each.task, asking=asking) for each in load_tasks(plan)])


def test_a_text_is_asked_as_the_task_s_rows_are() -> None:
    model = asking_model(Asking("{letters}=", messages=None))

    rendered = Question("a b c=")
    same = model.predict(["a b c", {"letters": "a b c"}, rendered, Example("a b c=", "d")])

    assert same == [same[0]] * 4
    assert model.predict([Question("a b c")]) != same[:1]


def test_a_row_s_own_options_are_chosen_among() -> None:
    model = asking_model(Asking(answer="{pick}.", options="picks"))
    picks = ["a", "b", "d d"]

    chosen, among_all = model.predict([{"text": "c=", "picks": picks}, "c="])

    (scores,) = model.likelihoods(["c="], [["a.", "b.", "d d."]], [0])
    assert list(chosen.probabilities) == ["a.", "b.", "d d."]
    assert [*chosen.probabilities.values()] == pytest.approx(scores.double().softmax(-1).tolist())
    assert list(among_all.probabilities) == [*"abcd"]
    written = asking_model(Asking(options="picks"), by=["generate"], max_new_tokens=3)
    assert written.predict([{"text": "c=", "picks": picks}])[0].probability is None


def test_a_text_to_a_task_of_chats_is_what_the_user_says() -> None:
    model = asking_model(Asking(None, options=None))

    with pytest.raises(DataError, match="the backbone reads texts, and an example is a chat"):
        model.predict(["a b c"])


@pytest.mark.parametrize("given", [("a", "b"), ["a", "b"], ImageFile("a.png")])
def test_what_no_prompt_is_made_of_is_refused(given: Any) -> None:
    for asking in (Asking("{a} {b}", messages=None), Asking(None), None):
        with pytest.raises(DataError, match=r"inputs\[0\].*takes a text, a chat or a row, and no"):
            asking_model(asking).predict([given])


def test_rows_that_lack_a_column_are_told_together() -> None:
    model = asking_model(Asking("{a} {b}", messages=None))

    with pytest.raises(DataError) as caught:
        model.predict(["a", {"a": "a", "b": "b"}, {"a": "a"}])

    asked = "the task is asked with 'a' and 'b'"
    assert caught.value.problems == (
        f"inputs[0], of task 'repeat': has no 'a' and no 'b'; {asked}",
        f"inputs[2], of task 'repeat': has no 'b'; {asked}",
    )


def test_how_rows_are_read_is_kept_and_changes_no_fingerprint() -> None:
    (data,) = load_tasks(plan_of())
    asking = Asking("{a}", " {b}", messages=None, options="c")
    task = replace(data.task, asking=asking)

    assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task
    assert replace(data, task=task).fingerprint() == data.fingerprint()
    assert "asking" not in data.task.to_json()  # or all older fingerprints would be others


def test_a_text_is_put_to_a_task_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    model = asking_model(Asking("{letters}=", messages=None))
    monkeypatch.setattr("mtlora_core.cli.predict._load", lambda *_: model)

    (row,) = events(mtlora("predict", "run", "a b c", "--json"))

    (expected,) = model.predict([Question("a b c=")])
    assert row["probabilities"] == pytest.approx(dict(expected.probabilities))


def test_a_text_for_several_columns_is_refused_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = asking_model(Asking("{a} {b}", messages=None))
    monkeypatch.setattr("mtlora_core.cli.predict._load", lambda *_: model)

    done = mtlora("predict", "run", "a b c")

    assert done.exit_code == 2
    assert "task 'repeat': has no 'a' and no 'b'; the task is asked with 'a' and" in done.stderr
    assert "a JSON line of --input" in done.stderr


def test_likelihoods_are_those_of_each_answer_alone() -> None:
    model, _ = model_of(plan_of())

    together = model.likelihoods(["a b c=", "d="], [["a", "bb"], ["c"]], [0, 0])

    assert [len(each) for each in together] == [2, 1]
    alone = [model.likelihoods([p], [[a]], [0])[0] for p, a in [("a b c=", "bb"), ("d=", "c")]]
    torch.testing.assert_close(torch.stack([together[0][1], together[1][0]]), torch.cat(alone))


def test_options_of_an_example_come_before_those_of_its_task() -> None:
    model, data = model_of(plan_of(evaluate={"by": ["options"]}))
    own = [replace(example, options=(str(example.label),)) for example in data[0].test]

    rows = split_table(model, [replace(data[0], test=own)], "test", make_engine(device="cpu"), 0)

    assert rows["repeat"]["value"] == 1


def test_options_without_answers_to_choose_from_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"evaluate.by names options, and train\[0\] has no answers"
    ):
        load_tasks(plan_of({"choices": False}, evaluate={"by": ["options"]}))


def test_a_causal_task_needs_a_backbone_that_writes() -> None:
    plan = resolve(load_recipe(toy_recipe(tasks="repeat")), REGISTRY)

    with pytest.raises(CompositionError, match="'repeat' is causal, and backbone 'toy'"):
        compose(plan)


def test_causal_tasks_and_classes_are_learnt_together(tmp_path: Path) -> None:
    plan = plan_of({"classes": True}, train=LEARNS, evaluate={"max_new_tokens": 3})

    finished = trained(plan, tmp_path / "run")[-1]

    metrics = {name: row["metric"] for name, row in finished["test"].items()}
    assert metrics == {"repeat": "exact-match", "name": "accuracy"}
    assert {"tfidf", "heads"} <= finished["test"]["name"].keys()
    assert min(row["value"] for row in finished["test"].values()) > 0.6
    assert finished["mean"].keys() == {"model", "majority"}


@pytest.mark.parametrize("by", ["options", "generate"])
def test_validation_computes_the_primary_score_and_the_loss_only(by: str) -> None:
    other = {"options": "generate", "generate": "options"}[by]
    model, data = model_of(plan_of(evaluate={"by": [by, other], "max_new_tokens": 2}))
    corpus = Corpus(model.backbone, data, "validation")

    columns = judgements(model, corpus, make_engine(device="cpu"), selecting=True)[0]

    names = {"options": {"option-accuracy"}, "generate": {"exact-match", "contains"}}[by]
    assert columns.keys() == {"loss"} | names


def test_selecting_by_loss_writes_nothing_and_takes_the_lowest() -> None:
    model, data = model_of(plan_of(evaluate={"select": "loss"}))
    corpus = Corpus(model.backbone, data, "validation")

    columns = judgements(model, corpus, make_engine(device="cpu"), selecting=True)[0]

    assert columns.keys() == {"loss"}
    tasks, how = [data[0].task], model.answering
    better, worse = ({"repeat": {"loss": loss}} for loss in (0.5, 0.7))
    assert mean_selected(tasks, better, how) > mean_selected(tasks, worse, how)


@pytest.mark.parametrize(
    ("evaluate", "metric"),
    [
        ({}, "exact-match"),
        ({"match": "contains"}, "contains"),
        ({"by": ["options", "generate"]}, "option-accuracy"),
    ],
)
def test_the_recipe_says_which_metric_is_primary(evaluate: dict[str, Any], metric: str) -> None:
    assert load_tasks(plan_of(evaluate=evaluate))[0].task.metric == metric


@pytest.mark.parametrize(
    ("answer", "right", "exact", "contained"),
    [
        (" valid ", "valid", 1, 1),
        ("invalid", "valid", 0, 1),
        ("Valid", "valid", 0, 1),
        ("no", "valid", 0, 0),
    ],
)
def test_a_strict_match_is_not_fooled_by_what_contains_the_answer(
    answer: str, right: str, exact: int, contained: int
) -> None:
    assert matches(answer, right) == {"exact-match": exact, "contains": contained}


def test_the_options_max_new_tokens_and_stop_end_an_answer() -> None:
    model, _ = model_of(plan_of(evaluate={"max_new_tokens": 5, "stop": []}))
    rows = model.backbone.encode(["a b="])
    whole = model.written(rows, [0])[0]
    assert 1 < len(whole) <= 5

    model.answering = EvaluateOptions(max_new_tokens=2, stop=())
    assert model.written(rows, [0])[0] == whole[:2]
    model.answering = EvaluateOptions(max_new_tokens=5, stop=(whole[1],))
    assert model.written(rows, [0])[0] == whole.split(whole[1])[0]


def test_a_forward_without_gradients_has_at_most_batch_size_examples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, data = model_of(plan_of(evaluate={"batch_size": 3, "max_new_tokens": 2}))
    corpus, sizes = Corpus(model.backbone, data, "validation"), []

    def noting(own: Callable[[Sequence[Encoded]], Inputs]) -> Callable[[Sequence[Encoded]], Inputs]:
        def noted(rows: Sequence[Encoded]) -> Inputs:
            sizes.append(len(rows))
            return own(rows)

        return noted

    for kind in ("collate", "collate_prompts"):
        monkeypatch.setattr(model.backbone, kind, noting(getattr(model.backbone, kind)))
    judgements(model, corpus, make_engine(device="cpu"))

    assert max(sizes) == 3


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), MemoryError()], ids=["gpu", "cpu"])
def test_where_memory_runs_out_fewer_are_answered_together(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    model, data = model_of(plan_of(evaluate={"max_new_tokens": 2}))
    rows = model.backbone.encode([str(example.input) for example in data[0].validation])
    whole, own, sizes = model.written(rows, [0] * len(rows)), model.language.generate, []

    def small(inputs: Inputs, *how: Any) -> list[str]:
        if len(inputs.mask) > 3:
            raise error
        sizes.append(len(inputs.mask))
        return own(inputs, *how)

    monkeypatch.setattr(model.backbone, "generate", small)
    assert model.written(rows, [0] * len(rows)) == whole
    assert sum(sizes) == len(rows)


def test_a_single_example_that_memory_is_too_small_for_ends_with_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError

    model, data = model_of(plan_of())
    monkeypatch.setattr(model.backbone, "generate", exhausted)

    with pytest.raises(TrainingError, match=r"a single example; try a lower backbone\.max_length"):
        score_split(model, Corpus(model.backbone, data, "validation"), make_engine())


@pytest.mark.parametrize(("losses", "best"), [((0.5, 0.4, 0.6), 2), ((0.4, 0.4, 0.5), 1)])
def test_of_equal_scores_the_lowest_loss_is_kept(
    monkeypatch: pytest.MonkeyPatch, losses: Sequence[float], best: int
) -> None:
    found = iter([{"repeat": {"exact-match": 0.0, "loss": loss}} for loss in losses])
    monkeypatch.setattr(loop, "score_split", lambda *_: next(found))
    model, data = model_of(plan_of(train={"steps": 3, "batch_size": 4, "evaluate_every": 1}))
    options = TrainOptions(steps=3, batch_size=4, evaluate_every=1)

    events = [e for e in fit(model, data, options, device="cpu") if e["event"] == "evaluated"]

    assert [e["step"] for e in events if e["best"]][-1] == best


@pytest.mark.parametrize(
    ("evaluate", "count"),
    [
        ({"max_new_tokens": 2}, 1),
        ({"max_new_tokens": 3}, 0),
        ({"stop": ["c"]}, 1),
        ({"stop": ["c", "b"]}, 2),
        ({"max_new_tokens": 2, "by": ["options"]}, 0),
    ],
)
def test_answers_that_can_never_be_written_are_counted(
    evaluate: dict[str, Any], count: int
) -> None:
    model, _ = model_of(plan_of())
    rows = [Example("a=", "abc"), Example("b=", "b")]
    corpus = Corpus(model.backbone, [TaskData(Task("t", "causal"), rows, rows, rows)], "validation")

    told = unreachable(corpus, EvaluateOptions.model_validate(evaluate))

    assert [line.split(" validation")[0] for line in told] == [f"task 't': {count} of 2"] * (
        count > 0
    )


def test_a_run_tells_of_answers_that_can_never_be_written(tmp_path: Path) -> None:
    stop = {"stop": ["a", "b", "c", "d"]}
    events = trained(plan_of(evaluate=stop, train={"steps": 1}), tmp_path / "run")

    assert any("can never be written" in notice for notice in events[0]["notices"])


@pytest.mark.parametrize("by", [[], ["generate", "generate"], ["guess"]])
def test_ways_to_answer_are_known_and_told_once(by: list[str]) -> None:
    with pytest.raises(RecipeError, match=r"evaluate\.by"):
        plan_of(evaluate={"by": by})


def test_averaging_over_tokens_counts_a_long_answer_more() -> None:
    model, data = model_of(plan_of(train={"loss": {"average": "tokens"}}))
    rows = [Example("a=", "b"), Example("a=", "bbb")]
    corpus = Corpus(model.backbone, [replace(data[0], train=rows)], "train")

    batch = corpus.batch([Pick(0, 0), Pick(0, 1)], "tokens")

    assert batch.units.tolist() == [2, 4]
    assert corpus.batch([Pick(0, 0), Pick(0, 1)], "examples").units.tolist() == [1, 1]
    outputs = model.eval()(batch.inputs, batch.task_ids)["repeat"].outputs
    losses = example_losses(data[0].task, outputs, batch.labels.float())
    assert (batch.units * losses).sum().item() == pytest.approx(-outputs.sum().item(), rel=1e-5)


def test_a_run_resumed_equals_an_unbroken_one(tmp_path: Path) -> None:
    plan = plan_of(train={**LEARNS, "steps": 20, "evaluate_every": 5}, evaluate={"select": "loss"})
    unbroken = trained(plan, tmp_path / "whole")[-1]
    broken = run(plan, tmp_path / "broken", device="cpu")
    for event in broken:
        if event["event"] == "step" and event["step"] == 8:
            break
    broken.close()  # type: ignore[attr-defined]

    resumed = list(run(plan, tmp_path / "broken", device="cpu", resume=True))[-1]

    assert resumed["test"] == unbroken["test"]


def test_the_most_frequent_answer_is_the_baseline() -> None:
    model, _ = model_of(plan_of())
    rows = [Example("a=", "b"), Example("b=", "b"), Example("c=", "a")]
    task = Task("repeat", "causal")

    found = baselines(model.backbone, "key", [TaskData(task, rows, rows, rows)], model.device)

    assert found["repeat"].majority == pytest.approx(2 / 3)
    assert (found["repeat"].tfidf, found["repeat"].heads) == (None, None)
