# Every target is safe to repeat. `make demo` and `make test` do all that a fresh machine needs.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

.PHONY: help setup demo test test-all lint types bench clean

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

bench: setup  ## steps per second against a bare loop, plain Lightning and pythae, what each method's step costs, `ls` over 10,000 runs
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.against
	$(BIN)/python -m benchmarks.cost
	$(BIN)/python -m benchmarks.index

clean:  ## removes .venv and caches; runs are kept
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
