"""A recipe becomes text again."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter


def dump_recipe(data: Mapping[str, Any]) -> str:
    """Return plain data, such as :meth:`Recipe.to_json` gives, as YAML that reads back the same."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # published as None
    yaml.allow_unicode = True
    yaml.width = 100
    stream = StringIO()
    yaml.dump(dict(data), stream)
    return stream.getvalue()


class _Representer(SafeRepresenter):
    def ignore_aliases(self, data: Any) -> bool:
        """Write a list that is used twice twice."""
        return True

    def represent_text(self, data: str) -> ScalarNode:
        """Write what cannot be printed in quotes, where alone YAML can escape it."""
        style = None if data.isprintable() else '"'
        node: ScalarNode = self.represent_scalar("tag:yaml.org,2002:str", data, style)
        return node


_Representer.add_representer(str, _Representer.represent_text)
