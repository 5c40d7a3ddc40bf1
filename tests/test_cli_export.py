"""``mtlora export`` as it is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_command import events, mtlora
from test_export import LORA, MERGEABLE, REGISTRY, trained

from mtlora_core.registry import Registry


@pytest.fixture(autouse=True)
def toys_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "discover", lambda **how: REGISTRY)


def test_each_folder_is_told_with_its_tasks(tmp_path: Path) -> None:
    run = trained(tmp_path, **MERGEABLE["mtl-lora"])

    done = mtlora("export", run)

    assert done.exit_code == 0, done.output
    folder = tmp_path / "run-peft"
    assert done.stdout.splitlines() == [f"{folder}/toy{i}: toy{i}" for i in range(3)]
    assert {path.name for path in folder.iterdir()} == {"toy0", "toy1", "toy2"}


def test_what_rounding_loses_is_told_and_a_warning_where_it_matters(tmp_path: Path) -> None:
    run = trained(tmp_path, **LORA, train={"steps": 1, "batch_size": 8, "learning_rate": 1e-4})

    fine = mtlora("export", run, "--format", "merged", "--out", tmp_path / "fine")
    coarse = mtlora(
        "export", run, "--format", "merged", "--dtype", "bfloat16", "--out", tmp_path / "coarse"
    )

    assert "0.0% of the update" in fine.stdout
    assert "note:" not in fine.stderr
    assert "--dtype float32 keeps it whole" in coarse.stderr


def test_events_are_json_lines(tmp_path: Path) -> None:
    done = mtlora("export", trained(tmp_path, **LORA), "--json")

    last = events(done)[-1]
    assert last["event"] == "exported"
    assert last["tasks"] == ["toy0", "toy1", "toy2"]


def test_what_cannot_be_exported_is_bad_input(tmp_path: Path) -> None:
    run = trained(tmp_path, placement={"use": "block", "at": ["ffn"]}, **LORA)

    done = mtlora("export", run)

    assert done.exit_code == 2
    assert "bypasses what is not linear" in done.stderr
