# The four verbs. Each sets up what it needs first; a second run finds that done.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON3 ?= python3
export PYTHONDONTWRITEBYTECODE =

.PHONY: help demo test check bench clean

help:            ## this list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1|/' | column -t -s '|'

demo:            ## a cluster, a training job and a Korean GPT-2, from nothing, on this machine
	@$(PYTHON3) -m tools.setup
	@.venv/bin/python -m tools.demo

test:            ## unit, contract and end-to-end tests (LONG=1: the long ones too)
	@$(PYTHON3) -m tools.setup --tests
	@.venv/bin/python -m tools.check.tests $(if $(LONG),--long)

check:           ## lint, types, imports, documents
	@$(PYTHON3) -m tools.setup --tests
	@.venv/bin/python -m tools.check

bench:           ## every benchmark, each with its peers; results in out/bench
	@$(PYTHON3) -m tools.setup --tests
	@.venv/bin/python -m benchmarks

clean:           ## removes what setup and the verbs made here (not the user's cache)
	@rm -rf .venv .envs node_modules out cdk.out build .dure .mypy_cache .ruff_cache .pytest_cache
