"""The command, as ``python -m mtlora_core``: for processes that start others of their kind."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
