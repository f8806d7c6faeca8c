# Every target is safe to repeat. `make demo` and `make test` do all that a fresh machine needs.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

.PHONY: help setup demo test test-all lint types bench bench-gpu clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: .venv/.installed  ## makes .venv and installs the lab with everything its tests need

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "vae_lab needs Python 3.11 or newer; choose one with: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

demo: setup  ## runs the study collapse_digits, prints its table and the path of its report
	$(BIN)/vae-lab study collapse_digits

test: setup  ## the tests, a few minutes
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: setup  ## every test, those that take long too
	$(BIN)/python -m pytest -n 2

lint: setup  ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## mypy
	$(BIN)/mypy

bench: setup  ## how fast: beside pythae, plain Lightning and the floor; a study, start-up, growth, methods, `ls` (long)
	$(BIN)/python -m benchmarks.against
	$(BIN)/python -m benchmarks.study
	$(BIN)/python -m benchmarks.study --model conv
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.cost
	$(BIN)/python -m benchmarks.index

bench-gpu: setup  ## on a GPU, in ten minutes: does all of it work there, is it right, how fast is it
	$(BIN)/python -m benchmarks.gpu

clean:  ## removes .venv and caches; runs are kept
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
