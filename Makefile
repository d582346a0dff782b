# `make` alone says what there is to call.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
STATE ?= .state
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

export NEURECTOMY_STATE := $(STATE)
export NEURECTOMY_SINCE := $(shell date +%s)

.PHONY: help run test check lint proto fmt bench tools clean venv

PROTOS = $(shell cd protos && find neurectomy -name '*.proto' | sort)
# $(call generate,FOLDER): the stubs of all protos, into a folder that is there
generate = cd protos && PATH="$(abspath $(BIN)):$$PATH" $(abspath $(BIN))/python -m grpc_tools.protoc -I. \
  --python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $(PROTOS)

help: ## what there is to call
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(STAMP) ## the whole system on this machine, with demo data; Ctrl-C ends it
	@$(BIN)/neurectomy up

test: $(STAMP) ## every test, on real stores and real processes
	@$(BIN)/pytest $(TESTS)

check: lint test ## what CI runs: linters, types, contracts, protos, tests

lint: $(STAMP) ## all of that but the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; ($(call generate,"$$folder")); \
	  diff -r -x __pycache__ "$$folder" protos/gen || { echo "protos/gen is not what the protos say: run make proto"; exit 1; }

proto: $(STAMP) ## generate protos/gen anew from the protos
	@rm -rf protos/gen && mkdir protos/gen
	@$(call generate,gen)

fmt: $(STAMP) ## repair what the linter and the formatter can repair
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(STAMP) ## load the running stack with the query through all four services, and say who owes its P99
	@$(BIN)/python -m benchmarks load

tools: ## install what the browser test needs and Python's packages cannot bring: chromium, by apt, as root
	@if command -v chromium >/dev/null; then echo "chromium is there."; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium >/dev/null; \
	else echo "Missing: chromium. Install it, as root, or the test of the page in a browser is skipped."; fi

clean: ## remove what was built and the data in .state; the cache of jars stays
	rm -rf $(VENV) .state .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

venv: $(STAMP) ## the environment alone

# uv takes seconds. Where it cannot reach a mirror that only pip is configured for, pip installs the same lock.
$(STAMP): requirements.lock bootstrap.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Neurectomy needs Python 3.11 or newer. Install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing what requirements.lock names into $(VENV) ..."
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
