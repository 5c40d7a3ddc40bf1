"""The model that composition makes: a frozen backbone, adapters beside it, a head per task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .adapters import Adapters
from .errors import CompositionError, DataError
from .inputs import Input
from .interfaces import Backbone, Encoded, Inputs, LanguageModel
from .recipe import EvaluateOptions
from .shortage import in_batches
from .tasks import Asked, Question, Task


@dataclass(frozen=True)
class TaskOutput:
    """What a head says of its task's rows of a batch."""

    rows: Tensor
    """``[n]``, the rows of the batch."""
    outputs: Tensor
    """``[n, outputs]`` in float32: logits; or one number, for regression the answer, for a causal
    task the log-likelihood of the answer's tokens."""


@dataclass(frozen=True)
class Prediction:
    """An answer to one input."""

    task: str
    label: str | None
    """The most probable class or option, or the text that a causal task wrote; None for
    regression."""
    probability: float | None
    """None for regression, and for a text that was written freely."""
    probabilities: Mapping[str, float]
    """By class or option, summing to one; empty where there are none."""
    value: float | None = None
    """The number, for regression."""


class MultiTaskModel(nn.Module):
    """A frozen backbone, adapters beside it, and a linear head per task.

    Args:
        backbone: The frozen model.
        adapters: Attached to the backbone here.
        tasks: The tasks, in the order of their ids.
        heads: For each task, a module from features ``[n, width]`` to its outputs; a causal
            task's is never called.
        answering: How :meth:`predict` answers causal tasks.
    """

    def __init__(
        self,
        backbone: Backbone,
        adapters: Adapters,
        tasks: Sequence[Task],
        heads: Sequence[nn.Module],
        answering: EvaluateOptions | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.adapters = adapters
        self.tasks = tuple(tasks)
        self.heads = nn.ModuleList(heads)
        self.answering = answering or EvaluateOptions()
        adapters.attach(backbone.module)

    def forward(self, inputs: Inputs, task_ids: Sequence[int]) -> dict[str, TaskOutput]:
        """Return the outputs of every task that is present, by name.

        Args:
            inputs: A batch of ``b`` examples on the model's device.
            task_ids: The task of each, an index into ``tasks``.
        """
        if self.training and not self.backbone.training:
            self.backbone.train()  # checkpointed layers work in train mode only
        ids = torch.tensor(task_ids, device=inputs.mask.device)
        with self.adapters.context.serving(ids, inputs.mask):
            hidden = self.backbone(inputs)
        features = self.backbone.pool(hidden, inputs.mask)
        said = None
        if inputs.targets is not None:
            said = self.language.log_likelihood(hidden, inputs.targets)[:, None]
        answers = {}
        for t in sorted({*task_ids}):
            rows = torch.tensor([row for row, each in enumerate(task_ids) if each == t])
            rows = rows.to(hidden.device)
            outputs = self.heads[t](features[rows]) if self._has_head(t) else _required(said)[rows]
            answers[self.tasks[t].name] = TaskOutput(rows, outputs.float())
        return answers

    def _has_head(self, task_id: int) -> bool:
        return self.tasks[task_id].objective != "causal"

    @property
    def language(self) -> LanguageModel:
        """The backbone, as what causal tasks are learnt with."""
        assert isinstance(self.backbone, LanguageModel), "compose asks for one for causal tasks"
        return self.backbone

    @torch.inference_mode()
    def outputs(
        self, rows: Sequence[Encoded], task_ids: Sequence[int], batch_size: int | None = None
    ) -> list[Tensor]:
        """Return each example's outputs on the CPU, in order, running batches of similar length.

        Tasks may be mixed. Runs in eval mode and leaves the mode as it was.
        """
        answers = [torch.empty(0)] * len(rows)

        def answer(batch: Sequence[int]) -> None:
            inputs = self.backbone.collate([rows[i] for i in batch]).to(self.device)
            for output in self(inputs, [task_ids[i] for i in batch]).values():
                for row, own in zip(output.rows.tolist(), output.outputs.cpu(), strict=True):
                    answers[batch[row]] = own

        with self._answering():
            in_batches(answer, _lengths(rows), batch_size or self.answering.batch_size)
        return answers

    def likelihoods(
        self,
        prompts: Sequence[Input],
        answers: Sequence[Sequence[str]],
        task_ids: Sequence[int],
        batch_size: int | None = None,
    ) -> list[Tensor]:
        """Return the log-likelihood of each of a prompt's answers as ``[answers]``, on the CPU."""
        asked = [
            (prompt, answer, t)
            for prompt, own, t in zip(prompts, answers, task_ids, strict=True)
            for answer in own
        ]
        rows = [
            self.language.encode_answers([prompt], [answer], self.tasks[t].max_length)[0]
            for prompt, answer, t in asked
        ]
        found = self.outputs(rows, [t for *_, t in asked], batch_size)
        sizes = [len(own) for own in answers]
        return list(torch.cat([*found, torch.empty(0)]).split(sizes))

    @torch.inference_mode()
    def written(
        self, rows: Sequence[Encoded], task_ids: Sequence[int], batch_size: int | None = None
    ) -> list[str]:
        """Return what the model writes after each encoded prompt, as :attr:`answering` says."""
        texts, how = [""] * len(rows), self.answering

        def answer(batch: Sequence[int]) -> None:
            inputs = self.language.collate_prompts([rows[i] for i in batch]).to(self.device)
            ids = torch.tensor([task_ids[i] for i in batch], device=self.device)
            with self.adapters.context.serving(ids, inputs.mask):
                answers = self.language.generate(inputs, how.max_new_tokens, how.stop)
            for i, own in zip(batch, answers, strict=True):
                texts[i] = own

        with self._answering():
            in_batches(answer, _lengths(rows), batch_size or how.batch_size)
        return texts

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Be in eval mode inside, and leave the mode as it was."""
        mode = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(mode)

    def predict(
        self,
        inputs: Sequence[Asked],
        task: str | Sequence[str] | None = None,
        batch_size: int | None = None,
    ) -> list[Prediction]:
        """Answer inputs, tasks mixed as they come.

        Causal tasks are asked as they were learnt: a text becomes the user's turn of a chat, or is
        put into the task's prompt, which also takes a row as a mapping; its answers to choose from
        are chosen among where ``evaluate.by`` names ``options`` first. A ``Question`` and an
        ``Example`` are read as they stand.

        Args:
            inputs: Texts, pairs of texts, chats or pictures, as the backbone reads them; a picture
                may be one of Pillow's. Of causal tasks also rows with the columns of their data.
            task: The task of all, or of each; may be left out where the model has one task.
            batch_size: Examples of one forward; None: the recipe's ``evaluate.batch_size``. On a
                GPU that has no memory for so many, fewer.

        Raises:
            CompositionError: a task is missing or unknown, or their number is not the inputs'.
            DataError: an input is of a kind that the backbone does not read, or cannot be read.
        """
        _refuse_one(inputs)
        chosen = self._chosen(task, len(inputs))
        asked = self._asked(inputs, chosen)
        answers: dict[int, Prediction] = {}
        for answer in (self._classified, self._selected, self._freely):
            own = [
                i
                for i, (question, t) in enumerate(zip(asked, chosen, strict=True))
                if self._answerer(question, t) == answer
            ]
            some = answer([asked[i] for i in own], [chosen[i] for i in own], batch_size)
            answers |= dict(zip(own, some, strict=True))
        return [answers[i] for i in range(len(inputs))]

    def _asked(self, inputs: Sequence[Asked], task_ids: Sequence[int]) -> list[Question]:
        questions, problems = [], []
        for i, (each, t) in enumerate(zip(inputs, task_ids, strict=True)):
            try:
                questions.append(self.tasks[t].question(each))
            except ValueError as error:
                problems.append(f"inputs[{i}], of task {self.tasks[t].name!r}: {error}")
        if problems:
            raise DataError(problems)
        return questions

    def _answerer(self, question: Question, task_id: int) -> Answerer:
        """Return how a question of a task is answered."""
        if self._has_head(task_id):
            return self._classified
        by_options = self.answering.by[0] == "options" and self.tasks[task_id].choices(question)
        return self._selected if by_options else self._freely

    def _classified(
        self, questions: Sequence[Question], task_ids: Sequence[int], batch_size: int | None
    ) -> list[Prediction]:
        answers = self.outputs(self._encoded(questions, task_ids), task_ids, batch_size)
        tasks = [self.tasks[t] for t in task_ids]
        return [
            Prediction(task.name, None, None, {}, value=answer.item())
            if task.objective == "regression"
            else _selection(task, task.labels, answer)
            for task, answer in zip(tasks, answers, strict=True)
        ]

    def _selected(
        self, questions: Sequence[Question], task_ids: Sequence[int], batch_size: int | None
    ) -> list[Prediction]:
        tasks = [self.tasks[t] for t in task_ids]
        choices = [task.choices(each) for task, each in zip(tasks, questions, strict=True)]
        prompts = [each.input for each in questions]
        found = self.likelihoods(prompts, choices, task_ids, batch_size)
        return [_selection(*each) for each in zip(tasks, choices, found, strict=True)]

    def _freely(
        self, questions: Sequence[Question], task_ids: Sequence[int], batch_size: int | None
    ) -> list[Prediction]:
        texts = self.written(self._encoded(questions, task_ids), task_ids, batch_size)
        return [
            Prediction(self.tasks[t].name, text, None, {})
            for text, t in zip(texts, task_ids, strict=True)
        ]

    def _encoded(self, questions: Sequence[Question], task_ids: Sequence[int]) -> list[Encoded]:
        return [
            self.backbone.encode([each.input], self.tasks[t].max_length)[0]
            for each, t in zip(questions, task_ids, strict=True)
        ]

    def _chosen(self, task: str | Sequence[str] | None, count: int) -> list[int]:
        names = [each.name for each in self.tasks]
        if task is None and len(names) > 1:
            raise CompositionError(f"say which task to answer: {', '.join(names)}")
        given = [task or names[0]] * count if task is None or isinstance(task, str) else list(task)
        if len(given) != count:
            raise CompositionError(f"{count} inputs, but {len(given)} tasks were given")
        if unknown := sorted({*given} - {*names}):
            raise CompositionError(f"unknown task {unknown[0]!r}; the tasks: {', '.join(names)}")
        return [names.index(name) for name in given]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.parameters()).device

    def trained_state(self) -> dict[str, Tensor]:
        """Return what training changes, by name: adapters, routers, heads and their buffers."""
        state = self.state_dict()
        return {name: value for name, value in state.items() if not name.startswith("backbone.")}

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Take what :meth:`trained_state` gave.

        Raises:
            CompositionError: the names or shapes are another model's.
        """
        own = self.trained_state()
        problems = [f"{n}: is missing" for n in own.keys() - state.keys()]
        problems += [f"{n}: this model has no such tensor" for n in state.keys() - own.keys()]
        problems += [
            f"{n}: has the shape {[*state[n].shape]}, this model's is {[*own[n].shape]}"
            for n in own.keys() & state.keys()
            if own[n].shape != state[n].shape
        ]
        if problems:
            raise CompositionError(sorted(problems))
        self.load_state_dict(dict(state), strict=False)


Answerer = Callable[[Sequence[Question], Sequence[int], int | None], list[Prediction]]


def _lengths(rows: Sequence[Encoded]) -> list[int]:
    return [row.length for row in rows]


def _required(said: Tensor | None) -> Tensor:
    assert said is not None, "the rows of a causal task are encoded with their answers"
    return said


def _selection(task: Task, choices: Sequence[str], scores: Tensor) -> Prediction:
    """Return the best of what a task chooses among; ``scores`` are logits or log-likelihoods."""
    shares = scores.double().softmax(-1).tolist()
    best = max(range(len(shares)), key=shares.__getitem__)
    return Prediction(
        task.name, choices[best], shares[best], dict(zip(choices, shares, strict=True))
    )


def _refuse_one(inputs: object) -> None:
    """Refuse one input in the place of a list; of a text, each character would be one."""
    if isinstance(inputs, str | bytes | Mapping) or not isinstance(inputs, Collection):
        raise DataError("inputs: are to be a list, and one input was given; write predict([…])")
