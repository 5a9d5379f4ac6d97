# `make demo` opens the demo, `make serve` runs the service, `make test` runs the tests. Each target installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := server,postgres,client,fastapi,django,drf,flask,mcp,otel
FAST := -m "not slow and not browser" --ignore=tests/browser
BENCH := bench/.venv/bin/python
BENCH_READY := bench/.venv/.ready

# Tests start hundreds of Python processes. Without byte code on disk each one compiles every module again and starts half as fast.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo serve test test-all coverage test-python test-lowest check types messages screenshots soak bench compare scale clean

help:
	@echo "make demo    show both tokens on a page, with a temporary service"
	@echo "make serve   run the service on http://localhost:8000, with a SQLite file in this folder"
	@echo "make test    run the fast tests; takes some minutes and needs no other programs"
	@echo "make test-all   run all tests; needs the programs that .ci/run installs"
	@echo "make coverage   run make test and report which lines ran; fails below 95 percent"
	@echo "make test-python PYTHON=python3.13   run the fast tests with another Python"
	@echo "make test-lowest   run the fast tests with the oldest supported dependencies"
	@echo "make check   run ruff, mypy --strict, the import contracts and codespell, and check both lock files"
	@echo "make types   check with pyright what applications see: typing_tests, and a type for every exported name"
	@echo "make messages   add new texts to the catalogues of languages, where they wait for a translation"
	@echo "make screenshots   take the screenshots for the documentation; needs Chromium"
	@echo "make soak    run many clients against three nodes, with seven kinds of fault for SECONDS each, and check every answer"
	@echo "make bench   measure performance, and compare with the alternatives; takes twenty minutes"
	@echo "make compare measure Handstamp and its alternatives, and update the tables in docs/explanation/comparison.md"
	@echo "make scale   refresh sessions in tables of ten thousand, a million and ten million rows; takes fifteen minutes"
	@echo "make setup   create .venv with all dependencies; the other targets do this when needed"

setup: $(READY)

# pip installs uv into the virtual environment, and uv installs the exact versions of uv.lock.
$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Handstamp needs Python 3.11 or newer. Choose an installed one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python could not create a virtual environment. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --quiet --locked --inexact --all-extras --compile-bytecode --python $(BIN)/python
	@touch $@

demo: $(READY)
	$(BIN)/handstamp demo

serve: $(READY)
	$(BIN)/handstamp serve

test: $(READY)
	$(BIN)/pytest $(FAST)

test-all: $(READY)
	UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --quiet --locked --inexact --all-extras --group fastmcp --python $(BIN)/python
	$(BIN)/pytest

# Coverage is the sum over test processes, servers and commands.
coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(FAST)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered

# PYTHON=python3.13 selects another version. It gets its own environment.
test-python: $(READY)
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) .venv-other
	UV_PROJECT_ENVIRONMENT=.venv-other $(BIN)/uv sync --quiet --locked --all-extras --compile-bytecode
	.venv-other/bin/pytest $(FAST)

# Installs the oldest dependencies that pyproject.toml allows, and the newest test tools.
test-lowest: $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-lowest
	VIRTUAL_ENV=.venv-lowest $(BIN)/uv pip install --quiet --resolution lowest-direct -e ".[$(EXTRAS)]"
	VIRTUAL_ENV=.venv-lowest $(BIN)/uv pip install --quiet --compile-bytecode --group dev
	.venv-lowest/bin/pytest $(FAST)

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/uv lock --check --quiet
	$(BIN)/uv lock --check --quiet --project bench

# `make check` runs mypy over typing_tests. Pyright finds the marker py.typed through PYTHONPATH, not through an editable install,
# and takes other packages from the first python in PATH. Its output lists every module, so it is printed only on failure.
types: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright
	@report=$$(PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH="$(CURDIR)/src" $(BIN)/pyright --verifytypes handstamp --ignoreexternal) || \
	  { echo "$$report" | sed -n '/^Symbols used/,$$p'; exit 1; }; echo "$$report" | grep "completeness"

messages: $(READY)
	$(BIN)/python -m tests.messages

screenshots: $(READY)
	$(BIN)/python -m tests.browser.screenshots

SECONDS ?= 90
soak: $(READY)
	HANDSTAMP_TEST_SOAK_SECONDS=$(SECONDS) $(BIN)/pytest tests/faults/test_history.py -n0 -q

# The benchmarks and the alternatives have their own project, bench/pyproject.toml.
$(BENCH_READY): $(READY) bench/pyproject.toml bench/uv.lock
	$(BIN)/uv sync --quiet --locked --project bench --python $(BIN)/python
	@touch $@

bench: $(BENCH_READY)
	$(BENCH) -m bench.verify
	$(BENCH) -m bench.algorithms --plot docs/images/algorithms.svg
	$(BENCH) -m bench.memory
	$(BENCH) -m bench.sign_out
	$(BENCH) -m bench.outage
	$(BENCH) -m bench.watched
	$(MAKE) compare
	$(BENCH) -m bench.under_load --plots docs/images

compare: $(BENCH_READY)
	$(BENCH) -m bench.compare --plot docs/images/compare.svg --markdown docs/explanation/comparison.md
	$(BENCH) -m bench.behaviour --markdown docs/explanation/comparison.md

# POSTGRES=postgresql://… measures that server too. The benchmark creates and drops databases there.
scale: $(BENCH_READY)
	$(BENCH) -m bench.scale $(if $(POSTGRES),--postgres "$(POSTGRES)")

clean:
	rm -rf $(VENV) bench/.venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
