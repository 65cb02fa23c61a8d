# `make demo` and `make test` set up what they need; a second call reuses it.
# PYTHON=python3.12 chooses another interpreter, ARGS="--quick" goes to `hpkb demo`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TORCH  := $(shell sed -n 's/^torch==//p' constraints.txt)
READY  := $(VENV)/ready

.PHONY: demo test lint handbook pages setup wheel constraints old-stores help

help:
	@sed -n 's/^# //p' Makefile | head -2; echo "Targets: demo test lint handbook pages wheel constraints old-stores"

demo: $(READY)
	@$(BIN)/hpkb demo $(ARGS)

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/mypy

# The committed handbook is the one of the full demo sweep; DIR holds its runs.
DIR ?= demo
handbook: $(READY)
	@$(BIN)/hpkb demo --directory $(DIR)
	@$(BIN)/python -m tests.pages.regenerate $(DIR)/hpkb.duckdb
	@$(BIN)/python docs/picture.py

# The same from the knowledge base that is committed, after a change of the pages; and the golden pages of the tests.
pages: $(READY)
	@$(BIN)/python -m tests.pages.regenerate
	@$(BIN)/python docs/picture.py

wheel: $(READY)
	@$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w dist .

constraints: $(READY)
	@{ sed -n 1p constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | grep -v ' @ ' | sed 's/^\(torch==[^+]*\)+.*/\1/'; } > constraints.new && mv constraints.new constraints.txt

# Stores of MLflow 1.4 to 3.17 for the tests; wants Python 3.7, 3.8, 3.10 and 3.11, and some ten minutes.
# ARGS="2.9.2" makes that version's alone.
old-stores: $(READY)
	@$(BIN)/python tests/kb/old_stores/make.py $(ARGS)

setup: $(READY)

# torch first: on a machine without a GPU the CPU build saves several GB. It comes from wherever pip is set up to find
# it, else from where uv knows it to be; only if neither has it, the default build is taken.
$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "No virtual environment: on Debian, apt-get install python3-venv, then again." >&2; exit 1; }
	@echo "Setting up $(VENV) (about two minutes, once)" >&2
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt setuptools wheel
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(MAKE) -s torch
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

.PHONY: torch
torch:
	@if [ -e /dev/nvidia0 ]; then $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt torch; \
	elif $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt "torch==$(TORCH)+cpu" 2>/dev/null; then :; \
	elif $(BIN)/python -m pip install -qq --disable-pip-version-check uv && \
	     $(BIN)/uv pip install -q --python $(BIN)/python --torch-backend cpu -c constraints.txt "torch==$(TORCH)" 2>/dev/null; then :; \
	else echo "No CPU build of torch at hand: taking the default one, several GB." >&2; \
	     $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt torch; fi
