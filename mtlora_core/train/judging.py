"""How each example of a task is answered, and whether that is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..interfaces import Encoded
from ..model import MultiTaskModel
from ..recipe import EvaluateOptions
from ..tasks import Example
from .corpus import Corpus, Pick
from .metrics import matches
from .objectives import predictions

Judgement = Mapping[str, float]
"""What is known of one answer: of a task with a head its ``prediction``, a class's index or a
number; of a causal task whether it is right by each metric, 1 or 0, and the answer's ``loss``."""

Judge = Callable[[MultiTaskModel, Corpus, Sequence[Pick]], list[Judgement]]


def judged(
    model: MultiTaskModel, corpus: Corpus, picks: Sequence[Pick], *, selecting: bool
) -> list[Judgement]:
    """Answer examples, and hold the answers of causal tasks against the right ones.

    Args:
        model: Whose ``answering`` says how causal tasks are answered.
        corpus: Where the examples are.
        picks: Which of them.
        selecting: Whether only what selects a step is wanted, and not every metric.
    """
    causal = [i for i, pick in enumerate(picks) if corpus.tasks[pick.task].objective == "causal"]
    others = sorted({*range(len(picks))} - {*causal})
    found: list[dict[str, float]] = [{} for _ in picks]
    ways: list[tuple[Judge, list[int]]] = [(_predicted, others), (_lost, causal)]
    ways += [(WAYS[by], causal) for by in _wanted(model.answering, selecting)]
    for judge, indices in ways:
        judgements = judge(model, corpus, [picks[i] for i in indices]) if indices else []
        for i, judgement in zip(indices, judgements, strict=True):
            found[i].update(judgement)
    return list(found)


def _wanted(how: EvaluateOptions, selecting: bool) -> Sequence[str]:
    if not selecting:
        return how.by
    return how.by[:1] if how.select == "score" else ()


def _predicted(model: MultiTaskModel, corpus: Corpus, picks: Sequence[Pick]) -> list[Judgement]:
    outputs = model.outputs(_rows(corpus, picks), [pick.task for pick in picks])
    return [
        {"prediction": predictions(corpus.tasks[pick.task], output[None]).item()}
        for pick, output in zip(picks, outputs, strict=True)
    ]


def _lost(model: MultiTaskModel, corpus: Corpus, picks: Sequence[Pick]) -> list[Judgement]:
    rows = _rows(corpus, picks)
    outputs = model.outputs(rows, [pick.task for pick in picks])
    return [
        {"loss": -output.item() / row.targets} for row, output in zip(rows, outputs, strict=True)
    ]


def _chosen(model: MultiTaskModel, corpus: Corpus, picks: Sequence[Pick]) -> list[Judgement]:
    examples = [_example(corpus, pick) for pick in picks]
    options = [
        corpus.tasks[pick.task].choices(example)
        for pick, example in zip(picks, examples, strict=True)
    ]
    tasks = [pick.task for pick in picks]
    likelihoods = model.likelihoods([e.input for e in examples], options, tasks)
    return [
        {"option-accuracy": float(own[int(found.argmax())] == example.label)}
        for example, own, found in zip(examples, options, likelihoods, strict=True)
    ]


def _written(model: MultiTaskModel, corpus: Corpus, picks: Sequence[Pick]) -> list[Judgement]:
    examples = [_example(corpus, pick) for pick in picks]
    rows = [
        model.backbone.encode([example.input], corpus.tasks[pick.task].max_length)[0]
        for example, pick in zip(examples, picks, strict=True)
    ]
    texts = model.written(rows, [pick.task for pick in picks])
    return [matches(text, str(e.label)) for text, e in zip(texts, examples, strict=True)]


WAYS: Mapping[str, Judge] = {"options": _chosen, "generate": _written}
"""By the value of ``evaluate.by``."""


def _rows(corpus: Corpus, picks: Sequence[Pick]) -> list[Encoded]:
    return [corpus.encoded[pick.task][pick.row] for pick in picks]


def _example(corpus: Corpus, pick: Pick) -> Example:
    return corpus.examples[pick.task][pick.row]


def unreachable(corpus: Corpus, how: EvaluateOptions) -> list[str]:
    """Say of which tasks a written answer can never be right: it has to end before the right one.

    Args:
        corpus: The examples.
        how: The recipe's ``evaluate``.
    """
    causal = [t for t, task in enumerate(corpus.tasks) if task.objective == "causal"]
    if "generate" not in how.by:
        return []
    counts = {t: sum(_cut(corpus, Pick(t, i), how) for i in _indices(corpus, t)) for t in causal}
    return [
        f"task {corpus.tasks[t].name!r}: {count} of {len(corpus.encoded[t])} validation answers "
        "can never be written: they hold one of evaluate.stop, or more than the "
        f"{how.max_new_tokens} tokens of evaluate.max_new_tokens"
        for t, count in counts.items()
        if count
    ]


def _indices(corpus: Corpus, t: int) -> range:
    return range(len(corpus.encoded[t]))


def _cut(corpus: Corpus, pick: Pick, how: EvaluateOptions) -> bool:
    answer = str(_example(corpus, pick).label)
    tokens = corpus.encoded[pick.task][pick.row].targets - 1  # without what ends it
    return tokens > how.max_new_tokens or any(stop in answer.strip() for stop in how.stop)
