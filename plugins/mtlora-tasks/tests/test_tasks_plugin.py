from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import mtlora_tasks
from mtlora_core.component import load, problems_of
from mtlora_core.options import Options


def test_the_plugin_is_found_by_its_entry_point() -> None:
    found = entry_points(group="mtlora", name="tasks")

    assert [point.load() for point in found] == [mtlora_tasks]


def test_every_part_keeps_the_contract_and_can_be_loaded() -> None:
    components = mtlora_tasks.mtlora_components()

    assert [component.name for component in components] == ["files", "hub", "docstrings"]
    for component in components:
        assert problems_of(component) == []
        assert issubclass(load(component.options), Options)
        assert callable(load(component.build))


def test_the_door_and_the_options_are_light() -> None:
    probe = (
        "import sys, mtlora_tasks, mtlora_tasks.docstrings.options, mtlora_tasks.files.options\n"
        "print({'torch', 'datasets', 'pandas', 'pyarrow'} & set(sys.modules))"
    )

    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)

    assert (run.stdout, run.stderr) == ("set()\n", "")
