"""``mtlora report``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli_command import events, mtlora
from run_folders import write_ablation, write_run

from mtlora_core.report import pdf


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Return the folders of two rows of two seeds."""
    scores = {"lora": 0.7, "moe": 0.8}
    return [
        write_run(tmp_path, name, seed, {"sst2": score + seed / 100 * (score - 0.6)})
        for name, score in scores.items()
        for seed in (0, 1)
    ]


def test_the_answer_is_printed_and_the_files_are_written(runs: list[Path], tmp_path: Path) -> None:
    done = mtlora("report", *runs, "--out", tmp_path / "out")

    assert done.exit_code == 0
    assert "The highest mean is that of moe, 0.801" in done.stdout
    assert done.stdout.splitlines()[-1] == f"The page is {tmp_path / 'out' / 'report.html'}"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.html",
        "rows.csv",
        "seeds.csv",
        "recipes.csv",
        "results.md",
        "results.tex",
        "figures",
    }


def test_a_report_may_be_written_again(runs: list[Path], tmp_path: Path) -> None:
    for wanted in (runs, runs[:2]):
        assert mtlora("report", *wanted, "--out", tmp_path / "out").exit_code == 0

    assert "moe" not in (tmp_path / "out" / "rows.csv").read_text()


def test_one_folder_is_reported_inside_itself(runs: list[Path]) -> None:
    assert mtlora("report", runs[0]).exit_code == 0
    assert (runs[0] / "report" / "report.html").is_file()


def test_an_ablation_is_reported_by_its_rows(tmp_path: Path) -> None:
    done = mtlora("report", write_ablation(tmp_path))

    assert done.exit_code == 0
    assert "<h1>Table 2</h1>" in (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "note: One seed, so no spread and no interval: + block." in done.stderr


def test_json_has_the_answer_and_the_files(runs: list[Path], tmp_path: Path) -> None:
    (event,) = events(mtlora("report", *runs, "--out", tmp_path / "out", "--json"))

    assert event["event"] == "reported"
    assert event["answer"][0].startswith("The highest mean")
    assert event["files"][0] == str(tmp_path / "out" / "report.html")
    assert all(Path(path).is_file() for path in event["files"])


def test_the_baseline_decides_what_differences_are_to(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = mtlora("report", *runs, "--out", out, "--baseline", "moe")

    assert done.exit_code == 0
    assert "Difference to moe" in (out / "report.html").read_text("utf-8")
    assert mtlora("report", *runs, "--out", out, "--baseline", "x").exit_code == 2


def test_without_matplotlib_there_are_no_pdfs_and_a_note(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf, "can_draw", lambda: False)

    done = mtlora("report", *runs, "--out", tmp_path / "out")

    assert "pip install 'mtlora[report]'" in done.stderr
    assert [*(tmp_path / "out" / "figures").glob("*.svg")]
    assert not [*(tmp_path / "out" / "figures").glob("*.pdf")]


def test_a_place_that_cannot_be_written_to_is_one_line(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    done = mtlora("report", *runs, "--out", tmp_path / "file" / "out")

    assert done.exit_code == 2
    assert "cannot be written" in done.stderr


def test_no_torch_is_loaded(runs: list[Path], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom mtlora_core.cli import main\n"
        f"sys.argv = ['mtlora', 'report', {str(runs[0])!r}, '--out', {str(tmp_path / 'o')!r}]\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "sys.exit('torch is loaded' if 'torch' in sys.modules else 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
