# `make help` lists what there is. Everything is installed in .venv, and in a cache
# folder outside the repository for what is expensive (see .ci/tools).

PYTHON ?= python3
PORT ?= 8467
VENV := .venv
BIN := $(VENV)/bin
STAGE := .ci/tools/stage.sh

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help chat test quick
.DEFAULT_GOAL := help

help: ## Show the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' $(MAKEFILE_LIST) | \
	  while read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done
