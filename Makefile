# `make help` lists what there is. Python packages go to .venv; what is expensive goes to
# a cache folder outside the repository (see .ci/tools), and is had once per machine.

PYTHON ?= python3
PORT ?= 8467
VENV := .venv
BIN := $(VENV)/bin
STAGE := .ci/tools/stage.sh
PYTEST := $(BIN)/python -m pytest
SOURCES := pyproject.toml setup.py $(wildcard websock/*.c websock/*.h)

# The tests run with what is in C where it was built; in CI it must be there.
ifeq ($(CI),true)
export WEBSOCK_SPEEDUPS := require
endif
export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# A checkout is meant to be worked in; setuptools warns of that. Without isolation, what
# is there already needs no package index.
INSTALL := env PYTHONWARNINGS='ignore:Editable installation' $(BIN)/pip install -q -e . \
  --no-build-isolation --check-build-dependencies

.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help chat test quick tools lint lint-format lint-style types docs modules matrix \
  everything autobahn browser node dart docker-test sanitize bench format clean named

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' $(MAKEFILE_LIST) | \
	  while read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

chat: $(VENV)/.package ## Install the package and serve the example chat (PORT=8467)
	@PORT=$(PORT) exec $(BIN)/python examples/chat/server.py

test: tools lint types docs modules matrix everything ## Install what is missing and run every test

quick: $(VENV)/.dev ## Run the inner loop: linters, types, quick tests (under a minute)
	$(BIN)/ruff format --check -q
	$(BIN)/ruff check -q
	$(BIN)/mypy
	$(PYTEST) -q -m quick -n 2 --hypothesis-profile=quick

# Stages of the whole. The last one is one run of pytest with everything in it, so that
# its closing line counts all the tests.

tools: ## Get browsers, Node, Dart, Docker and more from Debian and npm
	@$(STAGE) tools .ci/tools/all.sh

lint: lint-format lint-style ## Check format and style

# Two targets: with `make -k`, neither failure hides the other.
lint-format: $(VENV)/.dev ## Check the format alone
	@$(STAGE) format $(BIN)/ruff format --check

lint-style: $(VENV)/.dev ## Check the style alone
	@$(STAGE) lint $(BIN)/ruff check

types: $(VENV)/.dev ## Check types of the package, tests and examples
	@$(STAGE) types $(BIN)/mypy

docs: $(VENV)/.dev ## Build the documentation in docs/_build/html
	@$(STAGE) docs $(BIN)/sphinx-build -q -n -W --keep-going -b html docs docs/_build/html

modules: $(VENV)/.dev ## Check that each core module is covered by its own tests
	@$(STAGE) modules $(BIN)/python .ci/tools/modules.py

matrix: $(VENV)/.dev ## Run the quick tests on every Python, with the C twin and without
	@$(STAGE) matrix $(BIN)/nox

everything: $(VENV)/.dev ## Run all the tests, with coverage
	@WEBSOCK_LAST_STAGE=yes $(STAGE) tests \
	  .ci/tools/docker-engine.sh $(PYTEST) --cov --cov-report=term

# Parts of the last stage.

autobahn: $(VENV)/.dev ## Run the Autobahn test suite
	$(BIN)/python autobahn/run.py

browser: $(VENV)/.dev ## Run the tests with Chromium and Firefox
	$(PYTEST) -m browser

node: $(VENV)/.dev ## Run the tests with Node.js
	$(PYTEST) -m node

dart: $(VENV)/.dev ## Run the tests with Dart and Flutter
	$(PYTEST) -m dart

docker-test: $(VENV)/.dev ## Build the image, run it, and talk to it
	.ci/tools/docker-engine.sh $(PYTEST) -m docker

sanitize: $(VENV)/.dev ## Run the C files under gcc's sanitizers (six minutes; not part of test)
	.ci/tools/sanitize.sh $(BIN)/python

bench: $(VENV)/.dev ## Measure speed beside other servers (see benchmarks/README.md)
	$(BIN)/python -m benchmarks $(if $(WORK),--work $(WORK)) $(if $(PEERS),--peers $(PEERS)) \
	  $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) \
	  $(if $(SAVE),--save $(SAVE)) $(if $(COMPARE),--compare $(COMPARE))

format: $(VENV)/.dev ## Put the code in order
	$(BIN)/ruff check -q --fix
	$(BIN)/ruff format

clean: ## Remove what was built
	git clean -fdXq

# `make PYTHON=...` has it made anew if it has another Python; otherwise it stays.
$(VENV)/.venv: .ci/tools/venv.sh $(if $(filter-out file,$(origin PYTHON)),named)
	@.ci/tools/venv.sh $(PYTHON) $(VENV)

named:

$(VENV)/.package: $(VENV)/.venv $(SOURCES)
	@echo "Installing the package in $(VENV) ..."
	@$(INSTALL)
	@touch $@

$(VENV)/.dev: $(VENV)/.venv $(SOURCES)
	@$(STAGE) install $(INSTALL) --group dev
	@touch $(VENV)/.package $@
