# make demo: set up and run the main job.   make test: set up and run the tests.   make docs: build the documentation.
# PIP_ARGS goes to every pip install, for example PIP_ARGS="--no-index --find-links wheels" without a network.
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_ARGS) -c constraints.txt
# A file stays on one worker: what its tests share is made once.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder
COVERAGE := --cov --cov-report=term:skip-covered --cov-fail-under=90

.PHONY: demo test test-slow test-oldest-torch lint docs dist benchmark fuzz kills slurm container clean

demo: $(VENV)/.base
	$(BIN)/mri2pet demo -o demo

# One file or one test: .venv/bin/python -m pytest Testing/library/test_dicom_suv.py -k midnight
test: $(VENV)/.dev lint
	$(BIN)/python -m pytest $(WORKERS) -m "not slow" $(COVERAGE) $(PYTEST_ARGS)

# The slow ones, which `make test` leaves out: trainings, whole commands, kills, real images. A quarter of an hour and more.
test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest $(WORKERS) -m slow $(PYTEST_ARGS)

# Synthesis on torch 2.2.2, the newest for Intel Macs, whose build Slicer on a Mac is: the installed package in an
# environment of its own from the package index, its tests of networks and images, the demo. Python 3.10 to 3.12.
# Training needs 2.4: one of the tests is of its gradients.
TORCH22 := build/torch22
TORCH22_PYTHON := $(TORCH22)/$(notdir $(BIN))/python
test-oldest-torch:
	$(PYTHON) -m venv $(TORCH22)
	$(TORCH22_PYTHON) -m pip install --disable-pip-version-check --quiet $(PIP_ARGS) . "torch==2.2.2" "numpy<2" pytest
	$(TORCH22_PYTHON) -m pytest -m "not slow" -k "not gradients_under_autocast" \
	  $(addprefix Testing/library/test_,$(TORCH22_TESTS)) $(PYTEST_ARGS)
	$(TORCH22_PYTHON) -m MRI2PETLib doctor
	$(TORCH22_PYTHON) -m MRI2PETLib demo -o $(TORCH22)/demo
TORCH22_TESTS := unet.py slabs.py pix2pix.py ensemble.py model_space.py bundle.py hostile_bundles.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A static site in build/docs; every warning is an error.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html Docs build/docs
	@echo "Open build/docs/index.html"

# What is uploaded at a release: wheel and source archive in dist/.
dist: $(VENV)/.dev
	$(BIN)/python -m build --installer pip

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.base: pyproject.toml constraints.txt | $(VENV)/.venv
	@echo "Installing into $(VENV) (torch is the largest part) ..."
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.venv
	@echo "Installing into $(VENV) with the tools for tests ..."
	$(PIP) -e ".[dev,train,diffusion,onnx,notebook,slicer]"
	@touch $@ $(VENV)/.base

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/.dev
	$(PIP) -e ".[dev,train,diffusion,onnx,notebook,slicer,docs]"
	@touch $@

# On a machine that does nothing else: BENCHMARK_ARGS=--long measures 100 cases and 128^3 too (46 minutes on two cores).
benchmark: $(VENV)/.dev
	$(BIN)/python Testing/benchmarks/speed.py -o build/speed $(BENCHMARK_ARGS)

# Damages files of every kind at random and reads them: FUZZ_ARGS="--only runs tables --seed 7 --count 100000".
fuzz: $(VENV)/.dev
	$(BIN)/python Testing/robustness/fuzz.py $(FUZZ_ARGS)

# Interrupts every command again and again (Linux only): KILLS_ARGS="--only train --kills 20 --signals 40 --seed 1".
kills: $(VENV)/.dev
	$(BIN)/python Testing/robustness/kills.py -o build/kills $(KILLS_ARGS)

# Needs Debian's slurmctld slurmd slurm-client munge: an array of jobs, disturbed on its way (60 T1s: four minutes of one core).
slurm: $(VENV)/.dev
	$(BIN)/python Testing/slurm/array_job.py -o build/slurm $(SLURM_ARGS)

# Builds the image of Cluster/Dockerfile and runs it: no network, not root, a file system that can only be read.
ENGINE ?= docker
container: $(VENV)/.dev
	$(ENGINE) build -f Cluster/Dockerfile -t mri2pet .
	$(BIN)/python Testing/containers/check_image.py -- $(ENGINE) run --rm --network none --read-only --tmpfs /tmp \
	  --user 1234:1234 --volume FOLDER:FOLDER mri2pet

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .coverage
