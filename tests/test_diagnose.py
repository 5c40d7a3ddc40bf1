"""What ``diagnose`` measures, against the slow, obvious sums."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import browser, needs_browser
from cli_command import events, mtlora
from toys import toy_recipe, toy_registry

from mtlora_core.compose import load_tasks
from mtlora_core.diagnose import Diagnosis, diagnose, diagnosis, write_diagnosis
from mtlora_core.diagnose.conflicts import Conflict, _conflict, _cosines, measure_conflicts
from mtlora_core.diagnose.figures import evenly
from mtlora_core.diagnose.probe import Probe
from mtlora_core.diagnose.spectra import Spectrum, alignments, experts_of, spectrum, tasks_of
from mtlora_core.diagnose.usage import Usage, mean_weights, measure_usage
from mtlora_core.diagnose.write import answer
from mtlora_core.errors import RunFolderError, TrainingError
from mtlora_core.interfaces import Routing
from mtlora_core.load import load
from mtlora_core.recipe import load_recipe
from mtlora_core.registry import Registry
from mtlora_core.resolve import resolve
from mtlora_core.run import run
from mtlora_core.train.objectives import example_losses

TRAIN = {"steps": 6, "batch_size": 8, "learning_rate": 3e-2}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "group": {},
    "token": {"router": "token"},
    "task": {"router": "task", "regularizers": []},
    "plain": {"experts": {"use": "lora", "rank": 4}, "router": None, "regularizers": []},
    "alone": {"experts": {"use": "per-task", "rank": 4}, "router": None, "regularizers": []},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with a short run of each variant."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTLORA_CACHE", str(folder / "cache"))
        for name, changes in VARIANTS.items():
            recipe = load_recipe(toy_recipe(name=name, train=TRAIN, **changes))
            for _ in run(resolve(recipe, toy_registry()), folder / name, device="cpu"):
                pass
        yield folder


def probe_of(folder: Path) -> Probe:
    recipe = load_recipe(folder / "recipe.yaml")
    data = load_tasks(resolve(recipe, toy_registry()))
    return Probe(load(folder, device="cpu", registry=toy_registry()), data, "validation", 0)


def found(folder: Path) -> Diagnosis:
    *_, last = diagnose(folder, examples=8, draws=6, drawn=2, device="cpu", registry=toy_registry())
    assert isinstance(last, Diagnosis)
    return last


# Routing.


@pytest.mark.parametrize("variant", ["group", "token", "task"])
def test_usage_and_entropy_are_means_over_the_real_tokens_of_each_task(
    runs: Path, variant: str
) -> None:
    probe = probe_of(runs / variant)
    model = probe.model

    usage = measure_usage(probe, 1000)

    for own in usage:
        for task in range(len(model.tasks)):
            units = torch.cat([*alone(probe, own.site, task)])  # [units, e], one a token and group
            assert own.load[task].tolist() == pytest.approx(units.mean(0).tolist(), rel=1e-5)
            spread = -(units * units.log()).sum(-1).mean() / math.log(units.shape[-1])
            assert float(own.entropies[task]) == pytest.approx(float(spread), rel=1e-5)
        shares = own.load.mean(0)
        whole = -float((shares * shares.log()).sum()) / math.log(len(shares))
        assert own.load_entropy == pytest.approx(whole)


@torch.inference_mode()
def alone(probe: Probe, site: str, task: int) -> Iterator[torch.Tensor]:
    """Yield the weights of every unit of each example of a task, run without any other."""
    for row in probe.corpus.encoded[task]:
        inputs = probe.model.backbone.collate([row])
        probe.model(inputs, [task])
        routing = probe.model.adapters.context.records[site]
        weights = routing.weights[task] if routing.per == "task" else routing.weights
        yield (
            weights.double()
            .reshape(-1, weights.shape[-1])
            .repeat(int(inputs.mask.sum()) if routing.per == "task" else 1, 1)
        )


def test_a_router_that_picks_one_expert_has_a_load_entropy_of_its_picks() -> None:
    weights = torch.eye(4, dtype=torch.float64)[:, None]  # each of four tasks picks its own

    one, same = Usage("s", weights, torch.zeros(4)), Usage("s", weights[:1], torch.zeros(1))

    assert one.entropy == 0
    assert one.load_entropy == pytest.approx(1)
    assert same.load_entropy == 0


# Spectra and alignment.


def test_singular_values_are_those_of_every_expert(runs: Path) -> None:
    probe = probe_of(runs / "group")

    for adapter in probe.model.adapters:
        values = spectrum(experts_of(adapter.experts)).values
        for e, own in enumerate(values.numpy()):
            matrix = adapter.experts.up_factors[:, e].detach().double().numpy()
            assert own == pytest.approx(np.linalg.svd(matrix, compute_uv=False))


def test_small_singular_values_survive() -> None:
    torch.manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(64, 4, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    values = torch.tensor([1.0, 1e-2, 1e-4, 1e-6], dtype=torch.float64)

    found = spectrum((left * values @ right)[None]).values[0]

    assert found.tolist() == pytest.approx(values.tolist(), rel=1e-6)


def test_a_tasks_mix_takes_each_coordinate_from_its_group(runs: Path) -> None:
    probe = probe_of(runs / "group")
    adapter = next(iter(probe.model.adapters))
    usage = measure_usage(probe, 8)[0]
    up, groups = adapter.experts.up_factors.detach().double(), usage.weights.shape[1]

    mixes = tasks_of(adapter.experts, usage)

    assert groups == 2
    for t in range(len(mixes)):
        for c in range(adapter.site.o):
            weights = usage.weights[t, c * groups // adapter.site.o]
            expected = sum(float(w) * up[c, e] for e, w in enumerate(weights))
            assert mixes[t, c].tolist() == pytest.approx(torch.as_tensor(expected).tolist())


def test_alignment_is_equation_seven() -> None:
    torch.manual_seed(0)
    sites = [torch.randn(3, 12, 10, dtype=torch.float64) for _ in range(2)]

    bands = alignments([spectrum(site) for site in sites])

    assert [(band.first, band.last) for band in bands] == [(1, 2), (3, 5), (6, 10)]
    sums = [np.mean([slow(site.numpy(), b.first - 1, b.last) for site in sites]) for b in bands]
    assert [band.alignment for band in bands] == pytest.approx(sums)
    assert [band.share for band in bands] == pytest.approx([own / sum(sums) for own in sums])
    assert sum(band.energy for band in bands) == pytest.approx(1)


def slow(matrices: Any, begin: int, end: int) -> float:
    """Return eq. 7, term by term."""
    left, values, _ = np.linalg.svd(matrices, full_matrices=False)
    n, total = len(matrices), 0.0
    for k in range(begin, end):
        for i in range(n):
            for j in range(n):
                if i != j:
                    cosine = abs(left[i, :, k] @ left[j, :, k])
                    total += values[i, k] * values[j, k] * cosine
    return total / ((end - begin) * n * (n - 1))


def test_equal_matrices_are_wholly_aligned_and_one_is_not_compared() -> None:
    torch.manual_seed(0)
    one = torch.randn(1, 8, 4, dtype=torch.float64)

    assert [b.cosine for b in alignments([spectrum(one.repeat(3, 1, 1))])] == pytest.approx([1, 1])
    assert alignments([spectrum(one)]) == []
    assert all(b.share == 0 for b in alignments([spectrum(torch.zeros(2, 8, 4))]))


# Conflicts.


@pytest.mark.parametrize("variant", ["group", "plain"])
def test_cosines_are_those_of_a_backward_pass_for_each_task(runs: Path, variant: str) -> None:
    probe = probe_of(runs / variant)
    model = probe.model
    batch = probe.of_all(2, 0)

    cosines = _cosines(probe, batch)

    layers = sorted({adapter.site.layer for adapter in model.adapters})
    rows = [[gradient(probe, batch, task.name, layer) for task in model.tasks] for layer in layers]
    for layer, own in zip(cosines, rows, strict=True):
        for s, first in enumerate(own):
            for t, second in enumerate(own):
                expected = float(torch.cosine_similarity(first, second, dim=0))
                assert layer[s, t] == pytest.approx(expected, abs=1e-5)


def gradient(probe: Probe, batch: Any, name: str, layer: int) -> torch.Tensor:
    """Return the gradient of one task's mean loss in one layer, by a pass of its own."""
    model = probe.model
    model.zero_grad(set_to_none=True)
    output = model(batch.inputs, batch.task_ids)[name]
    task = next(each for each in model.tasks if each.name == name)
    example_losses(task, output.outputs, batch.labels.float()[output.rows]).mean().backward()
    parameters = [p for a in model.adapters if a.site.layer == layer for p in a.parameters()]
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return torch.cat([grad.flatten() for grad in grads]).double()


def test_rate_and_interval_are_of_the_draws() -> None:
    cosines = np.array([-0.5] * 6 + [0.5] * 18 + [np.nan])

    (own,) = _conflict(0, ("a", "b"), cosines, seed=0)

    generator = np.random.default_rng(1)
    signs = cosines[:24] < 0
    resampled = generator.choice(signs, (4000, 24)).mean(1)
    assert (own.rate, own.draws) == (0.25, 24)
    assert own.cosine == pytest.approx(0.25)
    assert [own.low, own.high] == pytest.approx(np.quantile(resampled, (0.025, 0.975)), abs=0.045)


def test_pairs_without_a_gradient_are_left_out() -> None:
    assert [*_conflict(0, ("a", "b"), np.array([np.nan]), seed=0)] == []


def test_tasks_that_share_nothing_have_no_conflicts(runs: Path) -> None:
    assert measure_conflicts(probe_of(runs / "alone"), 2, 2) == []


def test_the_same_seed_draws_the_same_examples_and_draws_differ(runs: Path) -> None:
    first, again = probe_of(runs / "group"), probe_of(runs / "group")
    ids = [p.of_all(3, d).inputs.tensors["ids"].tolist() for p in (first, again) for d in (0, 1)]

    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]


# The whole.


@pytest.mark.parametrize(
    ("variant", "figures", "told"),
    [
        ("group", {"routing", "usage", "spectra", "alignment", "conflicts"}, "Routing: the mean"),
        ("plain", {"spectra", "conflicts"}, "has no router"),
        ("alone", {"spectra", "alignment"}, "share no adapter parameter"),
    ],
)
def test_a_diagnosis_has_the_figures_that_its_parts_allow(
    runs: Path, tmp_path: Path, variant: str, figures: set[str], told: str
) -> None:
    measured = found(runs / variant)

    files = write_diagnosis(measured, tmp_path)

    assert {path.stem for path in files if path.suffix == ".svg"} == figures
    assert told in " ".join(answer(measured))
    for path in files:
        if path.suffix == ".svg":
            lines = path.with_suffix(".csv").read_text("utf-8").splitlines()[1:]
            assert path.read_text("utf-8").count('class="mark') == len(lines) > 0


def test_every_identifier_on_the_page_is_one_elements(runs: Path, tmp_path: Path) -> None:
    page, *_ = write_diagnosis(found(runs / "group"), tmp_path)

    ids = re.findall(r'\bid="([^"]+)"', page.read_text("utf-8"))

    assert sum("-key-" in each for each in ids) == 4  # two keys of two series
    assert sorted(ids) == sorted({*ids})


def test_of_many_sites_some_are_drawn_and_files_have_all(tmp_path: Path) -> None:
    names = [f"layers.{i}" for i in range(100)]
    values = torch.rand(2, 3, dtype=torch.float64)
    many = Diagnosis(
        name="many",
        tasks=["a", "b"],
        usage=[Usage(name, torch.rand(2, 1, 4), torch.rand(2)) for name in names],
        spectra={name: Spectrum(values, torch.rand(2, 5, 3)) for name in names},
        between_experts=[],
        between_tasks=[],
        conflicts=[Conflict(i, ("a", "b"), 0.1, 0.4, 0.3, 0.5, 8) for i in range(100)],
        examples=8,
        draws=8,
        drawn=2,
    )

    page, *_ = write_diagnosis(many, tmp_path)

    html = page.read_text("utf-8")
    for name, lines, what in (
        ("usage", 8, "site"),
        ("spectra", 6, "site"),
        ("conflicts", 1, "layer"),
    ):
        own = html[html.index(f'id="figure-{name}"') :].partition("</figure>")[0]
        panels, table = own.split("<details>")
        told = f"32 are drawn, evenly chosen from first to last; figures/{name}.csv has all."
        assert f"Of 100 {what}s {told}" in panels
        assert panels.count('class="mark') == table.count("<tr>") - 1 == 32 * lines
        first, last = ("layers.0", "layers.99") if what == "site" else ("0", "99")
        assert f">{first}<" in table
        assert f">{last}<" in table
        csv = (tmp_path / "figures" / f"{name}.csv").read_text("utf-8")
        assert len(csv.splitlines()) - 1 == 100 * lines


@pytest.mark.parametrize(("count", "most"), [(3, 32), (32, 32), (33, 32), (224, 32), (100, 7)])
def test_places_are_chosen_evenly_from_the_first_to_the_last(count: int, most: int) -> None:
    places = evenly(count, most)

    gaps = {b - a for a, b in pairwise(places)}
    assert len(places) == min(count, most)
    assert (places[0], places[-1]) == (0, count - 1)
    assert min(gaps) > 0
    assert max(gaps) - min(gaps) <= 1


@needs_browser
def test_the_page_opens_without_a_complaint(runs: Path, tmp_path: Path) -> None:
    write_diagnosis(found(runs / "group"), tmp_path)

    with browser(tmp_path / "profile") as page:
        for width, dark in ((400, True), (1400, False)):
            page.open(tmp_path / "diagnosis.html", width=width, dark=dark)
            page.picture(tmp_path / f"{width}.png")
            assert page.complaints() == []
            assert page.run("document.documentElement.scrollWidth") == width
        marks = page.run("document.querySelectorAll('#figure-conflicts .mark').length")
    assert marks == len((tmp_path / "figures" / "conflicts.csv").read_text().splitlines()) - 1


def test_the_command_writes_the_page_and_tells_the_answer(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "discover", lambda *, external=True: toy_registry())

    how = ["--draws", 2, "--drawn", 3, "--examples", 4, "--device", "cpu"]
    done = mtlora("diagnose", runs / "token", *how)

    assert done.exit_code == 0
    page = runs / "token" / "diagnosis" / "diagnosis.html"
    assert done.stdout.splitlines()[-1] == f"The page is {page}"
    assert "Up to 4 examples" in page.read_text("utf-8")
    assert "In each of 2 draws of 3 training examples" in page.read_text("utf-8")
    *_, event = events(
        mtlora("diagnose", runs / "plain", "--draws", 1, "--out", tmp_path, "--json")
    )
    assert event["event"] == "diagnosed"
    assert all(Path(path).is_relative_to(tmp_path) for path in event["files"])


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (
            "measure_usage",
            "measuring the routing: out of memory with 8 examples in a forward; "
            "try --examples 4, or a machine with more",
        ),
        (
            "measure_conflicts",
            "comparing the gradients of tasks: out of memory with 2 examples of each of 3 tasks "
            "in a backward pass; try --drawn 1, or a machine with more",
        ),
    ],
)
def test_a_lack_of_memory_says_what_to_try_instead(
    runs: Path, monkeypatch: pytest.MonkeyPatch, what: str, told: str
) -> None:
    def exhausted(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(diagnosis, what, exhausted)

    with pytest.raises(TrainingError) as caught:
        found(runs / "group")

    assert str(caught.value) == told


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run folder"):
        [*diagnose(tmp_path)]


def test_mean_weights_leave_padding_out() -> None:
    weights = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]], [[[0.5, 0.5]], [[9.0, 9.0]]]])
    mask = torch.tensor([[True, True], [True, False]])

    assert mean_weights(Routing(weights, "token", mask)).tolist() == [[0.5, 0.5]]
