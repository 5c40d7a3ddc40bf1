"""Causal models with their heads: what they learn to say, what they say, what they refuse."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlora_core.errors import CompositionError, DataError
from mtlora_core.inputs import Chat
from mtlora_core.testing import check_language_model, described
from mtlora_transformers.build import build
from mtlora_transformers.families import FAMILIES
from mtlora_transformers.language import TransformersLanguageModel
from mtlora_transformers.library import transformers
from mtlora_transformers.options import TransformersOptions
from mtlora_transformers.testing import save_tiny

import mtlora_transformers  # isort: skip  # the door, under its own name

CAUSAL = [name for name, family in FAMILIES.items() if family.causal]
families = pytest.mark.parametrize("family", CAUSAL)

PROMPTS = ["a b c d e f", "g h", "i j k"]
ANSWERS = ["l m", "n", "o p q r"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %} {{ m.role[0] }} {{ m.content }} [UNK]{% endfor %}"
    "{% if add_generation_prompt %} z{% endif %}"
)


def make(folder: Path | str, **changes: Any) -> TransformersLanguageModel:
    model = build(TransformersOptions(model=str(folder), **changes), language=True)
    assert isinstance(model, TransformersLanguageModel)
    return model


def retold(folder: Path, **changes: Any) -> Path:
    """Give the tokenizer of a tiny model other attributes."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    tokenizer.save_pretrained(folder)
    return folder


def full_logits(model: TransformersLanguageModel, ids: Sequence[int]) -> Tensor:
    """Return the model's own logits ``[t, vocabulary]``, by its own class."""
    folder = model.options.model
    own = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    logits: Tensor = own(torch.tensor([ids])).logits[0].detach()
    return logits


def likelihoods(model: TransformersLanguageModel, **options: Any) -> Tensor:
    inputs = model.collate(model.encode_answers(PROMPTS, ANSWERS, **options))
    assert inputs.targets is not None
    return model.log_likelihood(model(inputs), inputs.targets)


def written(
    model: TransformersLanguageModel, prompts: Any = PROMPTS, new: int = 6, stop: Any = ()
) -> list[str]:
    return model.generate(model.collate_prompts(model.encode(prompts)), new, stop)


@families
def test_keeps_the_contract_of_a_language_model(family: str, tmp_path: Path) -> None:
    check_language_model(
        described(mtlora_transformers, "backbone", "transformers"),
        {"model": str(save_tiny(tmp_path, family)), "max_length": 30},
        PROMPTS,
        ANSWERS,
    )


# Learning to say


@families
def test_the_loss_is_that_of_the_answer_and_its_end_alone(family: str, tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, family))

    found = likelihoods(model)

    words = model.reader.tokenizer.get_vocab()
    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        said = [words[word] for word in answer.split()] + [words["[SEP]"]]
        before = [words[word] for word in prompt.split()]
        logits = full_logits(model, before + said)
        expected = sum(
            F.log_softmax(logits[len(before) - 1 + i], -1)[token] for i, token in enumerate(said)
        )
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-4)


def test_gradients_reach_what_stands_below_the_head(tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, "llama"))
    weight: Any = model.module.get_parameter("layers.0.mlp.down_proj.weight").requires_grad_()

    likelihoods(model).sum().backward()

    assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_logits_become_probabilities_in_float32_whatever_computed_them(
    family: str, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path, family)
    exact = likelihoods(make(folder))

    with torch.autocast("cpu", torch.bfloat16):
        mixed = likelihoods(make(folder))
    half = likelihoods(make(folder, dtype="bfloat16"))

    assert mixed.dtype == half.dtype == torch.float32
    torch.testing.assert_close(mixed, exact, rtol=0.03, atol=0.3)
    torch.testing.assert_close(half, exact, rtol=0.03, atol=0.3)
    # Sums of numbers of eight bits would be such numbers themselves.
    assert not torch.equal(half, half.bfloat16().float())


def test_a_batch_may_mix_rows_with_and_without_an_answer(tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, "llama"))
    rows = [*model.encode(["a b"]), *model.encode_answers(["c d e"], ["f"])]

    inputs = model.collate(rows)

    assert inputs.targets is not None
    assert inputs.targets.tolist() == [[-100] * 5, [-100, -100, 9, 2, -100]]
    assert model.log_likelihood(model(inputs), inputs.targets)[0] == 0


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, [4, 5, 6, 7, 8, 9, 15, 16, 2]),
        (9, [4, 5, 6, 7, 8, 9, 15, 16, 2]),
        (7, [6, 7, 8, 9, 15, 16, 2]),
        (4, [9, 15, 16, 2]),
    ],
)
def test_a_prompt_that_is_too_long_loses_its_beginning(
    limit: int | None, expected: list[int], tmp_path: Path
) -> None:
    model = make(save_tiny(tmp_path, "llama"))

    (row,) = model.encode_answers(PROMPTS[:1], ANSWERS[:1], limit)

    assert row.features == {"input_ids": expected}
    assert (row.length, row.targets) == (len(expected), 3)
    assert row.truncated == (len(expected) < 9)


def test_a_prompt_alone_loses_its_beginning_too(tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, "llama"), max_length=3)

    rows = model.encode(["a b c d e", ("a b", "c d")])

    assert [row.features["input_ids"] for row in rows] == [[6, 7, 8], [5, 6, 7]]
    assert all(row.truncated for row in rows)


def test_a_token_for_the_beginning_is_kept(tmp_path: Path) -> None:
    folder = retold(save_tiny(tmp_path, "llama"), bos_token="[CLS]")
    model = make(folder, max_length=5)

    (row,) = model.encode_answers(["[CLS] a b c d e"], ["f"])
    (prompt,) = model.encode(["[CLS] a b c d e"], 3)

    assert row.features["input_ids"] == [1, 7, 8, 9, 2]
    assert prompt.features["input_ids"] == [1, 7, 8]


@pytest.mark.parametrize("limit", [3, 2])
def test_an_answer_that_leaves_no_room_is_an_error(limit: int, tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, "llama"))

    with pytest.raises(DataError) as caught:
        model.encode_answers(["a", "b"], ["c d", "e"], limit)

    assert caught.value.problems[0] == (
        "the answer 'c d' has 3 tokens with its end, which leaves no room for a prompt; write a "
        f"max_length above {limit}"
    )


def test_an_empty_prompt_can_be_answered(tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, "gpt2"))

    (row,) = model.encode_answers([""], ["a"])

    assert row.features["input_ids"] == [2, 4, 2]
    assert written(model, ["", "a b"])[0] == written(model, [""])[0]


# Saying


@families
def test_what_is_written_is_the_likeliest_token_each_time(family: str, tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, family, seed=1))

    found = written(model, PROMPTS, new=8)

    for prompt, text in zip(PROMPTS, found, strict=True):
        ids = list(model.encode([prompt])[0].features["input_ids"])
        said: list[int] = []
        while len(said) < 8 and (not said or said[-1] != 2):
            said.append(int(full_logits(model, ids + said)[-1].argmax()))
        own = model.reader.tokenizer.decode(said, skip_special_tokens=True)
        assert text == own


def test_a_stop_string_ends_its_row_alone(tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, "llama", seed=1))
    whole = written(model)
    first, last = whole[0].split()[1], whole[2].split()[-1]

    stopped = written(model, stop=[first, last])

    assert stopped == [min(t.partition(first)[0], t.partition(last)[0], key=len) for t in whole]
    assert stopped != whole


def test_generation_ends_once_every_row_has_stopped(tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, "llama"))
    calls: list[int] = []
    model.module.register_forward_hook(lambda *_: calls.append(1))

    written(model, new=20, stop=[" "])

    assert len(calls) < 5


def test_an_end_that_only_the_models_files_name_ends_a_row(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "llama", seed=1)
    whole = written(make(folder), PROMPTS[:1])[0].split()
    own = make(folder).reader.tokenizer.get_vocab()[whole[2]]
    transformers.GenerationConfig(eos_token_id=[2, own]).save_pretrained(folder)

    assert written(make(folder), PROMPTS[:1]) == [" ".join(whole[:2])]


@pytest.mark.filterwarnings("error")
def test_what_a_file_says_of_sampling_changes_nothing_and_nothing_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_tiny(tmp_path, "llama", seed=1)
    plain = written(make(folder))
    transformers.GenerationConfig(
        do_sample=True, temperature=9.0, top_p=0.3, repetition_penalty=3.0, max_length=7
    ).save_pretrained(folder)
    before = (folder / "generation_config.json").read_text()
    capfd.readouterr()
    transformers.utils.logging.set_verbosity_info()

    found = written(make(folder))

    transformers.utils.logging.set_verbosity_warning()
    assert found == plain
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert (folder / "generation_config.json").read_text() == before


def test_prompts_lose_their_beginning_where_positions_end(tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, "gpt2", seed=1), max_length=40)
    long = " ".join("abcdefgh" * 5)

    together = written(model, [long, "a b"], new=10)

    assert together == [
        *written(model, [long[-30 * 2 + 1 :]], new=10),
        *written(model, ["a b"], 10),
    ]
    with pytest.raises(CompositionError, match="max_new_tokens is 40, and the model has positions"):
        written(model, new=40)


def test_a_checkpointed_model_generates_with_its_cache(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "llama", seed=1)
    plain, checkpointed = make(folder), make(folder)
    checkpointed.checkpoint(lambda: (nullcontext(), nullcontext()))
    widths: list[int] = []
    layer = checkpointed.module.get_submodule("layers.0.mlp")
    layer.register_forward_hook(lambda module, args, output: widths.append(output.shape[1]))

    assert written(checkpointed.eval()) == written(plain)
    assert widths[1:] == [1] * (len(widths) - 1)
    assert checkpointed.module.training


# Chats


def test_a_chat_is_written_by_the_models_template(tmp_path: Path) -> None:
    folder = retold(save_tiny(tmp_path, "llama"), bos_token="[CLS]", chat_template=TEMPLATE)
    model = make(folder)
    chat = Chat((("system", "a"), ("user", "b c")))

    (row,) = model.encode([chat])
    mixed = model.encode(["a b", chat, "c"])

    ids = {**model.reader.tokenizer.get_vocab()}
    expected = [ids[word] for word in ("[CLS]", "s", "a", "[UNK]", "u", "b", "c", "[UNK]", "z")]
    assert row.features["input_ids"] == expected
    assert [each.features["input_ids"] for each in mixed] == [[4, 5], expected, [6]]
    (answered,) = model.encode_answers([chat], ["d"])
    assert answered.features["input_ids"] == [*expected, ids["d"], ids["[SEP]"]]


def test_a_chat_is_read_by_a_causal_model_without_its_head_too(tmp_path: Path) -> None:
    folder = retold(save_tiny(tmp_path, "llama"), bos_token="[CLS]", chat_template=TEMPLATE)
    chat = Chat((("user", "a b c d e"),))

    plain = build(TransformersOptions(model=str(folder), max_length=4))

    assert plain.encode([chat])[0].features["input_ids"] == [1, 24, 4, 5]
    assert make(folder, max_length=4).encode([chat])[0].features["input_ids"] == [1, 8, 3, 29]


def test_a_chat_without_a_template_is_an_error(tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, "llama"))

    with pytest.raises(DataError, match="has no chat template; take a model that was tuned"):
        model.encode([Chat((("user", "a"),))])


def test_what_the_template_refuses_is_told(tmp_path: Path) -> None:
    template = "{{ raise_exception('roles must alternate') }}"
    model = make(retold(save_tiny(tmp_path, "llama"), chat_template=template))

    with pytest.raises(DataError, match=r"of the roles user, user: .*roles must alternate"):
        model.encode([Chat((("user", "a"), ("user", "b")))])


def test_an_encoder_refuses_chats(tmp_path: Path) -> None:
    encoder = build(TransformersOptions(model=str(save_tiny(tmp_path, "bert"))))

    with pytest.raises(DataError, match="reads texts, and an example is a chat"):
        encoder.encode([Chat((("user", "a"),))])


# What it is made of


@pytest.mark.parametrize(("family", "tied"), [("gpt2", True), ("llama", False), ("llama", True)])
def test_the_head_is_kept_once(family: str, tied: bool, tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, family, tie_word_embeddings=tied))
    base = build(TransformersOptions(model=model.options.model))

    names = {*model.state_dict()} - {*base.state_dict()}

    assert names == (set() if tied else {"head.weight"})
    assert not [name for name, p in model.named_parameters() if p.requires_grad]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("way", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_has_a_head_of_its_own(way: Any, tied: bool, tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, "llama", tie_word_embeddings=tied))
    before, text = likelihoods(model), written(model)

    copied = way(model)
    assert torch.equal(likelihoods(copied), before)
    assert written(copied) == text
    with torch.no_grad():
        for parameter in copied.parameters():
            nn.init.normal_(parameter, std=0.3)

    assert not torch.equal(likelihoods(copied), before)
    assert written(copied) != text
    assert torch.equal(likelihoods(model), before)
    assert written(model) == text


def test_the_model_and_its_head_change_their_dtype_together(tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path, "llama")).double()

    assert {p.dtype for p in model.writer.causal.parameters()} == {torch.float64}
    assert likelihoods(model).isfinite().all()


@pytest.mark.parametrize(("family", "tied"), [("gpt2", True), ("llama", False), ("llama", True)])
def test_what_is_saved_is_a_causal_model_with_its_head(
    family: str, tied: bool, tmp_path: Path
) -> None:
    model = make(save_tiny(tmp_path / "one", family, tie_word_embeddings=tied, seed=1))
    changed = copy.deepcopy(model.module)
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            if "norm" in name or "ln_" in name:
                parameter.add_(0.5)
    before, text = likelihoods(model), written(model)

    model.save(changed, tmp_path / "other")

    again = make(tmp_path / "other")
    model.module.load_state_dict(changed.state_dict())
    assert not torch.equal(likelihoods(model), before)
    assert torch.equal(likelihoods(again), likelihoods(model))
    assert written(again) == written(model) != text
    size = (tmp_path / "other" / "model.safetensors").stat().st_size
    assert size == pytest.approx((tmp_path / "one" / "model.safetensors").stat().st_size, rel=0.01)


@pytest.mark.parametrize(
    "said",
    [
        {"do_sample": True, "temperature": 0.6, "top_p": 0.9},
        {"do_sample": False, "temperature": 0.6},  # the library reads it, and refuses to write it
        None,
    ],
)
def test_what_is_saved_generates_as_the_models_files_say(
    said: dict[str, Any] | None, tmp_path: Path
) -> None:
    file = save_tiny(tmp_path / "one", "llama") / "generation_config.json"
    file.unlink()
    if said is not None:
        file.write_text(json.dumps(said))
    model = make(file.parent)

    written(model)
    model.save(copy.deepcopy(model.module), tmp_path / "two")

    found = json.loads((tmp_path / "two" / file.name).read_text())
    assert {key: found.get(key, False) for key in said or {}} == (said or {})
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "two")
    assert again.generation_config.use_cache in (None, True)


def test_a_saved_causal_model_says_of_itself_what_the_models_files_say(tmp_path: Path) -> None:
    model = make(save_tiny(tmp_path / "one", "llama", attention_dropout=0.1))

    model.save(copy.deepcopy(model.module), tmp_path / "two")

    old, new = (json.loads((tmp_path / n / "config.json").read_text()) for n in ("one", "two"))
    assert new == old
    assert new["attention_dropout"] == 0.1


def test_adapters_elsewhere_find_its_modules_by_its_prefix(tmp_path: Path) -> None:
    for family in CAUSAL:
        model = make(save_tiny(tmp_path / family, family))
        layer = model.options.shape().layers[0]

        own = model.writer.causal.get_submodule(model.prefix + layer.ffn.reads)

        assert own is model.module.get_submodule(layer.ffn.reads)


@families
def test_without_weights_it_has_the_same_parameters(family: str, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, family)
    shapes = {name: p.shape for name, p in make(folder).named_parameters()}
    for file in folder.iterdir():
        if file.name != "config.json":
            file.unlink()

    meta = build(TransformersOptions(model=str(folder)), meta=True, language=True)

    assert {name: p.shape for name, p in meta.named_parameters()} == shapes
    assert all(p.is_meta for p in meta.parameters())


# What cannot be loaded


def test_a_file_without_a_head_is_refused_and_says_so(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "llama")
    transformers.AutoModel.from_pretrained(folder).save_pretrained(folder)

    with pytest.raises(CompositionError, match=r"no language-modelling head \(lm_head.weight is"):
        make(folder)
    build(TransformersOptions(model=str(folder)))  # other tasks need none


def test_a_file_without_a_head_will_do_where_it_is_the_embedding(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "gpt2")
    before = likelihoods(make(folder))
    transformers.AutoModel.from_pretrained(folder).save_pretrained(folder)

    assert torch.equal(likelihoods(make(folder)), before)


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path) -> None:
    folder = retold(save_tiny(tmp_path, "llama"), eos_token=None)

    with pytest.raises(CompositionError, match="its tokenizer has no end token"):
        make(folder)


def test_a_model_that_does_more_to_its_logits_is_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "bert", is_decoder=True)
    config = transformers.AutoConfig.from_pretrained(folder)
    headed = transformers.BertLMHeadModel(config)
    headed.save_pretrained(folder)
    retold(folder, eos_token="[SEP]")

    with pytest.raises(CompositionError, match="the logits of BertLMHeadModel are not those"):
        make(folder)


def test_nothing_is_said_while_answers_are_encoded_and_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_tiny(tmp_path, "gpt2")
    capfd.readouterr()
    transformers.utils.logging.set_verbosity_info()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = make(folder, max_length=12)
        model.encode_answers(["a " * 100], ["b"])
        written(model, ["a " * 100, "b"], stop=["z"])

    transformers.utils.logging.set_verbosity_warning()
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
