# Two commands do everything: `make quickstart` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
SOURCES := rag ingestion serving

.PHONY: help quickstart test install install-test engine debian lint types imports unit format stop clean handbook lock

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

quickstart: install engine  ## install, start the server, ask questions about the example handbook
	@$(BIN)/python examples/quickstart.py

test: debian install-test lint types imports unit  ## install what the tests need and run all checks

install:
	@PYTHON=$(PYTHON) scripts/install.sh examples

install-test:
	@PYTHON=$(PYTHON) scripts/install.sh test

engine:  ## the chat engine's own environment and model
	@$(PYTHON) scripts/install_engine.py

debian:
	@scripts/install_debian.sh

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

unit:
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/pytest

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

handbook:  ## render the example documents again
	$(BIN)/python examples/make_handbook.py

stop:  ## stop the server that quickstart left running
	@$(BIN)/python examples/stop.py

lock:  ## write constraints.txt from the installed environment
	@scripts/lock.sh

clean:  ## remove everything that was installed or made here
	@[ ! -x $(BIN)/python ] || $(BIN)/python examples/stop.py
	rm -rf .venv .engine .tensoras .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
