# `make demo` shows what it does, `make serve` runs the service, `make test` runs the tests. All set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := server,postgres,client,fastapi,django,drf,flask
FAST := not slow and not browser
BENCH := bench/.venv/bin/python
BENCH_READY := bench/.venv/.ready

# Tests start hundreds of Python processes. Without byte code on disk each compiles every module once more, which doubles its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo serve test test-all coverage test-python test-lowest check screenshots soak bench compare scale clean

help:
	@echo "make demo    show the life of both tokens on a page, with a service that is thrown away afterwards"
	@echo "make serve   run the service on http://localhost:8000 (SQLite file in this folder)"
	@echo "make test    run the tests that a change needs; takes some minutes and wants nothing installed"
	@echo "make test-all   run all tests; wants the programs that .ci/run installs"
	@echo "make coverage   run make test and report which lines ran; fails below 95 percent"
	@echo "make test-python PYTHON=python3.13   run them with another Python"
	@echo "make test-lowest   run them with the oldest dependencies that are admitted"
	@echo "make check   ruff, mypy --strict and the import contracts"
	@echo "make screenshots   photograph the pages for the documentation; wants Chromium"
	@echo "make soak    let a crowd of clients loose on three nodes, in seven kinds of trouble for SECONDS each, and check all they were told"
	@echo "make bench   measure the promises, side by side with the alternatives; takes twenty minutes"
	@echo "make compare measure Handstamp and its alternatives, and write the tables into docs/explanation/comparison.md"
	@echo "make scale   renew sessions in tables of ten thousand, a million and ten million; takes a quarter of an hour"
	@echo "make setup   make .venv with everything in it; the others call it by themselves"

setup: $(READY)

# uv comes from PyPI into the virtual environment itself, and installs the exact versions of uv.lock.
$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Handstamp needs Python 3.11 or newer. Name one that you have: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python could not make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --quiet --locked --inexact --all-extras --compile-bytecode --python $(BIN)/python
	@touch $@

demo: $(READY)
	$(BIN)/handstamp demo

serve: $(READY)
	$(BIN)/handstamp serve

test: $(READY)
	$(BIN)/pytest -m "$(FAST)"

test-all: $(READY)
	$(BIN)/pytest

# Over test processes, servers and commands together.
coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "$(FAST)"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered

# PYTHON=python3.13 tries another version, in an environment of its own.
test-python: $(READY)
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) .venv-other
	UV_PROJECT_ENVIRONMENT=.venv-other $(BIN)/uv sync --quiet --locked --all-extras --compile-bytecode
	.venv-other/bin/pytest -m "$(FAST)"

# The oldest releases that pyproject.toml admits, with the newest tools to test them.
test-lowest: $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-lowest
	VIRTUAL_ENV=.venv-lowest $(BIN)/uv pip install --quiet --resolution lowest-direct -e ".[$(EXTRAS)]"
	VIRTUAL_ENV=.venv-lowest $(BIN)/uv pip install --quiet --compile-bytecode --group dev
	.venv-lowest/bin/pytest -m "$(FAST)"

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

screenshots: $(READY)
	$(BIN)/python -m tests.browser.screenshots

SECONDS ?= 90
soak: $(READY)
	HANDSTAMP_TEST_SOAK_SECONDS=$(SECONDS) $(BIN)/pytest tests/faults/test_history.py -n0 -q

# The benchmarks and what they compare are a project of their own, bench/pyproject.toml.
$(BENCH_READY): $(READY) bench/pyproject.toml bench/uv.lock
	$(BIN)/uv sync --quiet --locked --project bench --python $(BIN)/python
	@touch $@

bench: $(BENCH_READY)
	$(BENCH) -m bench.verify
	$(BENCH) -m bench.algorithms --plot docs/images/algorithms.svg
	$(BENCH) -m bench.memory
	$(BENCH) -m bench.sign_out
	$(BENCH) -m bench.outage
	$(MAKE) compare
	$(BENCH) -m bench.under_load --plots docs/images

compare: $(BENCH_READY)
	$(BENCH) -m bench.compare --plot docs/images/compare.svg --markdown docs/explanation/comparison.md
	$(BENCH) -m bench.behaviour --markdown docs/explanation/comparison.md

# POSTGRES=postgresql://… measures that server too; databases are made and dropped there.
scale: $(BENCH_READY)
	$(BENCH) -m bench.scale $(if $(POSTGRES),--postgres "$(POSTGRES)")

clean:
	rm -rf $(VENV) bench/.venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
