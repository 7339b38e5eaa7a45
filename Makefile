# make demo: set up and run the main job.   make test: set up and run the tests.
# PIP_ARGS goes to every pip install, for example PIP_ARGS="--no-index --find-links wheels" without a network.
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_ARGS) -c constraints.txt

.PHONY: demo test test-all lint benchmark clean

demo: $(VENV)/.base
	$(BIN)/mri2pet demo -o demo

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest -n 2 -m "not slow" $(PYTEST_ARGS)

# The slow ones too: several minutes more.
test-all: $(VENV)/.dev lint
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV) (torch is the largest part) ..."
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV) with the tools for tests ..."
	$(PIP) -e ".[dev,train,diffusion,slicer]"
	@touch $@ $(VENV)/.base

# On a machine that does nothing else: BENCHMARK_ARGS=--long measures 100 cases and 128^3 too (46 minutes on two cores).
benchmark: $(VENV)/.dev
	$(BIN)/python Testing/benchmarks/speed.py -o build/speed $(BENCHMARK_ARGS)

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache
