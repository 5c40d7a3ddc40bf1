from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mtlora_core.context import TaskContext, in_backward
from mtlora_core.errors import CompositionError
from mtlora_core.interfaces import Routing

MASK = torch.tensor([[True, True, True], [True, True, False]])


def make_context() -> TaskContext:
    return TaskContext(("first", "second"))


def make_routing() -> Routing:
    return Routing(torch.full((2,), 0.5), "model")


def hidden(rows: int = 2, tokens: int = 3) -> Tensor:
    return torch.zeros(rows, tokens, 4)


def test_gives_each_row_its_task() -> None:
    context = make_context()

    with context.serving(torch.tensor([1, 0])):
        assert context.task_ids_for(hidden()).tolist() == [1, 0]


def test_what_is_served_goes_where_it_is_asked_for() -> None:
    context = make_context()
    far = hidden().to("meta")

    with context.serving(torch.tensor([1, 0]), MASK):
        asked = [context.task_ids_for(far), context.present_tasks_for(far)[1]]
        mask = context.mask_for(far)

    assert mask is not None
    assert {each.device.type for each in (*asked, mask)} == {"meta"}


def test_beams_have_the_task_of_their_example() -> None:
    context = make_context()

    with context.serving(torch.tensor([1, 0])):
        assert context.task_ids_for(hidden(rows=6)).tolist() == [1, 1, 1, 0, 0, 0]


def test_says_which_tasks_are_present_and_where_each_row_stands_among_them() -> None:
    context = TaskContext(("first", "second", "third"))

    with context.serving(torch.tensor([2, 0, 2])):
        tasks, places = context.present_tasks_for(hidden(rows=6))

    assert tasks == (0, 2)
    assert places.tolist() == [1, 1, 0, 0, 1, 1]


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_that_are_no_multiple_of_the_examples_are_an_error(rows: int) -> None:
    context = make_context()

    with (
        context.serving(torch.tensor([1, 0])),
        pytest.raises(CompositionError, match=f"{rows} rows, the context serves 2 examples"),
    ):
        context.task_ids_for(hidden(rows))


def test_asking_for_a_task_that_nobody_gave_is_an_error() -> None:
    context = make_context()

    with (
        context.serving(None),
        pytest.raises(CompositionError, match=r"inside `with context\.serving"),
    ):
        context.task_ids_for(hidden())


def test_without_a_mask_all_tokens_are_real() -> None:
    context = make_context()

    with context.serving(None):
        assert context.mask_for(hidden()) is None


def test_a_mask_of_numbers_is_read_as_true_and_false() -> None:
    context = make_context()

    with context.serving(None, MASK.long()):
        mask = context.mask_for(hidden())

    assert mask is not None
    assert torch.equal(mask, MASK)


def test_the_mask_is_cut_to_the_newest_positions_and_repeated_for_beams() -> None:
    context = make_context()

    with context.serving(None, MASK):
        mask = context.mask_for(hidden(rows=4, tokens=1))

    assert mask is not None
    assert mask.tolist() == [[True], [True], [False], [False]]


def test_positions_beyond_the_mask_are_all_real() -> None:
    context = make_context()

    with context.serving(None, MASK):
        assert context.mask_for(hidden(tokens=4)) is None


def test_serving_inside_serving_is_an_error_and_leaves_the_outer_batch() -> None:
    context = make_context()

    with context.serving(torch.tensor([1, 0])):
        with pytest.raises(CompositionError, match="two batches at once"):
            context.serving(torch.tensor([0])).__enter__()

        assert context.task_ids_for(hidden()).tolist() == [1, 0]


def test_serving_from_two_threads_is_an_error() -> None:
    context, faults = make_context(), list[str]()

    def serve() -> None:
        try:
            context.serving(None).__enter__()
        except CompositionError as error:
            faults.append(str(error))

    with context.serving(None):
        thread = threading.Thread(target=serve)
        thread.start()
        thread.join()

    assert faults == ["two batches at once on one model; use one copy of the model for each thread"]


def test_serves_again_after_a_batch_that_failed() -> None:
    context = make_context()
    with pytest.raises(RuntimeError, match="broken"), context.serving(torch.tensor([0])):
        raise RuntimeError("broken")

    with context.serving(torch.tensor([1])):
        assert context.task_ids_for(hidden(rows=1)).tolist() == [1]


def test_beginning_a_forward_inside_another_is_an_error() -> None:
    context = make_context()
    context.begin()

    with pytest.raises(CompositionError, match="two forwards at once"):
        context.begin()


def test_a_forward_that_ended_lets_the_next_begin() -> None:
    context = make_context()
    context.begin()
    context.end()

    context.begin()


def test_two_contexts_do_not_see_each_other() -> None:
    first, second = make_context(), make_context()
    first.begin()
    second.begin()

    first.record("layer0_q", make_routing())

    assert second.records == {}


def test_a_new_forward_forgets_what_the_last_recorded_and_held() -> None:
    context = make_context()
    context.begin()
    context.record("layer0_q", make_routing())
    context.hold("layer0_ffn", hidden())
    context.end()
    context.begin()

    assert context.records == {}
    with pytest.raises(CompositionError, match="before its input"):
        context.release("layer0_ffn")


def test_records_stay_after_their_forward_for_the_penalties() -> None:
    context, routing = make_context(), make_routing()
    context.begin()
    context.record("layer0_q", routing)
    context.end()

    assert context.records == {"layer0_q": routing}


def test_a_forward_that_failed_holds_nothing() -> None:
    context = make_context()
    context.begin()
    context.hold("layer0_ffn", hidden())

    context.end()

    with pytest.raises(CompositionError, match="before its input"):
        context.release("layer0_ffn")


def test_releases_what_was_held_once() -> None:
    context, kept = make_context(), hidden()
    context.hold("layer0_ffn", kept)

    assert context.release("layer0_ffn") is kept
    with pytest.raises(CompositionError, match="before its input"):
        context.release("layer0_ffn")


class Layer:
    """A layer that asks for the task and records its routing, in a checkpoint."""

    def __init__(self, context: TaskContext) -> None:
        self.context = context
        self.seen: list[list[int]] = []
        self.recorded: list[Routing] = []

    def __call__(self, weight: Tensor) -> Tensor:
        self.seen.append(self.context.task_ids_for(hidden()).tolist())
        routing = make_routing()
        self.context.record("layer0_q", routing)
        self.recorded.append(routing)
        return weight.sin()

    def checkpointed(self, weight: Tensor) -> Tensor:
        contexts = self.context.checkpoint_contexts
        output = checkpoint(self, weight, use_reentrant=False, context_fn=contexts)
        assert isinstance(output, Tensor)
        return output


def test_a_recomputation_sees_its_own_examples_after_another_batch() -> None:
    context = make_context()
    layer = Layer(context)
    with context.serving(torch.tensor([1, 0])):
        output = layer.checkpointed(torch.ones(2, requires_grad=True))
    with context.serving(torch.tensor([0, 0])):
        output.sum().backward()

        assert context.task_ids_for(hidden()).tolist() == [0, 0]
    assert layer.seen == [[1, 0], [1, 0]]


def test_a_recomputation_records_nothing() -> None:
    context = make_context()
    layer = Layer(context)
    with context.serving(torch.tensor([1, 0])):
        layer.checkpointed(torch.ones(2, requires_grad=True)).sum().backward()

    assert len(layer.recorded) == 2
    assert context.records["layer0_q"] is layer.recorded[0]


def test_a_recomputation_in_another_thread_sees_its_own_examples() -> None:
    context = make_context()
    layer = Layer(context)
    with context.serving(torch.tensor([1, 0])):
        total = layer.checkpointed(torch.ones(2, requires_grad=True)).sum()
    thread = threading.Thread(target=total.backward)
    thread.start()
    thread.join()

    assert layer.seen == [[1, 0], [1, 0]]
    assert context.records["layer0_q"] is layer.recorded[0]


def test_knows_whether_a_backward_pass_is_running() -> None:
    inside: list[bool] = []
    weight = torch.ones(1, requires_grad=True)
    weight.register_hook(lambda gradient: inside.append(in_backward()))

    weight.sum().backward()

    assert [in_backward(), *inside, in_backward()] == [False, True, False]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_a_copy_starts_idle(copied: object) -> None:
    context = make_context()
    context.begin()
    context.record("layer0_q", make_routing())
    context.hold("layer0_ffn", hidden())
    assert callable(copied)
    with context.serving(torch.tensor([1, 0]), MASK):
        twin = copied(context)

    assert twin.tasks == ("first", "second")
    assert twin.records == {}
    assert twin.mask_for(hidden()) is None
    twin.begin()
    with twin.serving(torch.tensor([0, 0])):
        assert twin.task_ids_for(hidden()).tolist() == [0, 0]
