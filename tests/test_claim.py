"""Claims: one process at a time, and none that outlives its process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ablations import begin

from mtlora_core.claim import claimed, holder
from mtlora_core.errors import RunFolderError
from mtlora_core.runfolder import RunFolder

HOLD = (
    "import sys, time; from pathlib import Path; from mtlora_core.claim import claimed\n"
    "with claimed(Path(sys.argv[1])) as free: print(free, flush=True); time.sleep(600)"
)


def test_a_claim_is_exclusive_while_it_lasts_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "claim"

    with claimed(path) as first, claimed(path) as second:
        assert (first, second) == (True, False)
        assert holder(path) is not None

    assert not path.exists()
    assert holder(path) is None
    with claimed(path) as again:
        assert again


def test_a_kill_leaves_a_file_behind_that_claims_nothing(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"

        assert holder(path) == f"process {other.pid} on {os.uname().nodename}"
        with claimed(path) as free:
            assert not free
        other.kill()
        other.wait()

    assert path.exists()
    assert holder(path) is None
    with claimed(path) as free:
        assert free
        assert holder(path) == f"process {os.getpid()} on {os.uname().nodename}"


def test_looking_who_holds_a_claim_takes_it_from_nobody(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    path.write_text("process 1 on a machine of long ago")

    assert holder(path) is None
    assert path.exists()
    assert holder(tmp_path / "none") is None


def test_who_holds_a_claim_is_told_to_those_who_may_only_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def open_to_read(path: Path, mode: str = "r", **more: Any) -> Any:
        if mode != "r":
            raise PermissionError(f"another user's {path}")
        return opened(path, mode, **more)

    with claimed(tmp_path / "claim"):
        monkeypatch.setattr(Path, "open", open_to_read)  # the tests' user may be one who may all

        assert holder(tmp_path / "claim") == f"process {os.getpid()} on {os.uname().nodename}"


def test_a_run_folder_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    home = RunFolder(tmp_path / "run")
    begin(home)

    with home.held():
        assert home.held_by() is not None
        with pytest.raises(RunFolderError, match=r"run: is being run by process \d+ on "):
            home.held().__enter__()

    assert home.held_by() is None
    assert not home.claim.exists()


def test_of_two_processes_that_start_a_run_one_writes_what_it_is(tmp_path: Path) -> None:
    home = RunFolder(tmp_path / "run")

    with home.held():
        home.create({"name": "mine"}, lock={})
        other = RunFolder(tmp_path / "run")
        with pytest.raises(RunFolderError, match="is being run by"), other.held():
            other.create({"name": "theirs"}, lock={})

    assert "mine" in home.recipe.read_text()
    with home.held(), pytest.raises(RunFolderError, match="go on with it by --resume"):
        home.create({"name": "theirs"}, lock={})
    assert "mine" in home.recipe.read_text()
