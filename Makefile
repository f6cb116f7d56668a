# Everything here needs Python 3.11 or later and make, nothing else. `make help` lists the targets.

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
DIR ?= var/shop
DATA ?= $(or $(WAYLINE_DATA),../shared/data)
PYTEST_ARGS ?=

BIN := $(VENV)/bin
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install run serve test clients bench check replay-real lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

install: $(VENV)/.installed ## a virtual environment with the locked, hash-checked dependencies

# Two stamps: the dependencies are made anew when the lock changes, Wayline itself when its project file does.
$(VENV)/.locked: requirements.lock
	@test -n "$(PYTHON)" || { echo "make: no python3 found. Install Python 3.11 or later, or say make PYTHON=/path/to/python." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is $$("$(PYTHON)" -V), and 3.11 or later is needed. Say make PYTHON=/path/to/python." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "make: $(PYTHON) cannot make a virtual environment. On Debian: apt-get install python3-venv." >&2; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation --editable .
	@touch $@

run: install ## play 90 days of a simulated shop, print the report, serve its pages on loopback
	$(BIN)/wayline demo

serve: install ## serve the folder DIR (var/shop) on loopback
	$(BIN)/wayline serve $(DIR)

test: install ## the whole test suite
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: install ## format, lint and types
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install ## one benchmark per promise; each prints one JSON line last
	@failed=0; for file in benchmarks/[a-z]*.py; do \
	  echo "== $$file"; $(BIN)/python "$$file" || failed=1; done; exit $$failed

clients: ## the published Node and browser clients that the tests run, where npm is there
	@command -v npm >/dev/null || { echo "make: no npm found. On Debian: apt-get install nodejs npm." >&2; exit 1; }
	npm ci --ignore-scripts --no-audit --no-fund --prefix tests/clients

replay-real: install ## import two public data sets from DATA, and try the example journeys on them
	@WAYLINE_DATA="$(DATA)" $(BIN)/python benchmarks/replay_real.py

lock: install ## resolve the dependencies anew: hashed, wheels only, naming no index and no machine
	$(BIN)/uv pip compile pyproject.toml --extra test --extra build --python-version 3.11 --generate-hashes \
	  --only-binary :all: --no-emit-index-url --no-annotate --no-header --quiet -o requirements.lock

clean: ## remove what make and the tools wrote; data folders stay
	rm -rf $(VENV) tests/clients/node_modules build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: kills
kills: install ## 200 kills of a running engine at random instants, and what they left
	WAYLINE_KILLS=200 $(BIN)/python -m pytest -s tests/simulation/test_kills.py

.PHONY: soak
soak: install ## ten minutes of a steady load on a served shop, and its memory meanwhile
	$(BIN)/python benchmarks/ingest.py --seconds 0 --lag-seconds 0 --minutes 10

.PHONY: kills-collector
kills-collector: install ## 1,000 kills of the served collector under load, and what was lost of what it acknowledged
	WAYLINE_KILLS=1000 $(BIN)/python -m pytest -s tests/reliability/test_r01_kills.py

.PHONY: power-cuts
power-cuts: install ## 25 power cuts of the served collector on a file system in a file (as root), and what was lost
	WAYLINE_CUTS=25 $(BIN)/python -m pytest -s tests/reliability/test_r02_power_cut.py

.PHONY: overload
overload: install ## five minutes of ten times more events than can be taken, and what became of them
	WAYLINE_OVERLOAD_SECONDS=300 $(BIN)/python -m pytest -s tests/scenarios/test_r17_overload.py
