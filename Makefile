# Every target sets up what it needs in .venv; nothing outside this folder is changed.
#   make demo        emulated miners against the real bridge, and a report: demo-out/report.html
#   make test        the whole suite in its short form        make test-slow   the full sizes of its costly checks
#   make check       format, lint, types, import arrows and the fast tests
#   make study       null and power studies at 200 seeds       make bench       benchmarks, each against its reference
#   make fuzz        10 million inputs per parser, for hours   make format      let ruff write
#   make docs        the documentation as a site: site/index.html, readable without a network
# Another interpreter: make demo PYTHON=python3.12. Where the demo writes: make demo OUT=folder.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
OUT ?= demo-out
SEED ?= 1
STUDY_OUT ?= study-out
STUDY_SEEDS ?= 200
STUDY_FIRST ?= 0
STUDY_COUNTS ?= $(STUDY_OUT)/alarms.json
# many tests wait for sockets and clocks, so two cores carry four of them
WORKERS ?= 4
FUZZ_INPUTS ?= 10000000
PYTEST = $(BIN)/python -m pytest
PARALLEL = -n $(WORKERS) --dist loadgroup

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-slow check study fuzz bench docs format clean help
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

# A virtual environment from the first Python >= 3.11 that really runs (a name on the path may be an empty shim).
$(VENV)/.made:
	@set -e; python=""; \
	for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$candidate; break; fi; \
	  if [ -n "$(PYTHON)" ]; then echo "PYTHON=$(PYTHON) is no working Python >= 3.11." >&2; exit 1; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "No Python >= 3.11 found. On Debian 12 and later: apt-get install python3 python3-venv" >&2; exit 1; fi; \
	echo "Making $(VENV) with $$("$$python" -c 'import sys; print(sys.executable, sys.version.split()[0])')"; \
	rm -rf $(VENV); \
	if "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then "$$python" -m venv $(VENV); \
	elif "$$python" -c 'import venv, pip, sys; sys.exit(int(pip.__version__.split(".")[0]) < 23)' >/dev/null 2>&1; then \
	  "$$python" -m venv --without-pip $(VENV) && "$$python" -m pip --python $(BIN)/python install --quiet pip; \
	elif "$$python" -m venv --without-pip $(VENV) && "$$python" .ci/get_pip.py $(BIN)/python; then :; \
	else \
	  echo "$$python cannot make a virtual environment: its venv module is not complete." >&2; \
	  echo "On Debian: apt-get install python3-venv   (or name another interpreter: make PYTHON=...)" >&2; \
	  exit 1; fi
	@touch $@

# One stamp per set of extras, so that a change of pyproject.toml, and only that, installs again.
$(VENV)/.installed-%: pyproject.toml | $(VENV)/.made
	@echo "Installing into $(VENV) ($*); this takes a minute or two the first time"
	@if [ "$*" = core ]; then $(BIN)/python -m pip install --quiet --editable .; \
	 else $(BIN)/python -m pip install --quiet --editable '.[$*]'; fi
	@touch $@

demo: $(VENV)/.installed-core
	$(BIN)/asiclab demo --out $(OUT) --seed $(SEED)

test: $(VENV)/.installed-test
	$(PYTEST) $(PARALLEL) -m "not slow"

test-slow: $(VENV)/.installed-test
	$(PYTEST) -n 2 --dist loadgroup -m slow --timeout 2400

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) $(PARALLEL) -m "not slow and not costly"

study: $(VENV)/.installed-core
	$(BIN)/python -m experiments.study --seeds $(STUDY_SEEDS) --first-seed $(STUDY_FIRST) --out $(STUDY_OUT) \
		--counts $(STUDY_COUNTS) --experiments

fuzz: $(VENV)/.installed-test
	$(BIN)/python -m tests.fuzz --inputs $(FUZZ_INPUTS)

bench: $(VENV)/.installed-all
	$(BIN)/python -m benchmarks --heavy

# strict: a broken link or anchor, or a page without a place in the navigation, is an error
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
