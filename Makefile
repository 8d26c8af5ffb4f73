# featnorm_se. Every target works from a fresh clone: what needs the set-up runs it first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := setup

PYTHON ?=
BASE_PYTHON ?=
# tools/ is another folder: a relative path means this one.
ifneq ($(findstring /,$(PYTHON)),)
    override PYTHON := $(abspath $(PYTHON))
endif
export PYTHON BASE_PYTHON PIP_ARGS

# How many tests run at once, and what else pytest gets: make test PYTEST_ARGS="-k statistics"
TEST_JOBS ?= 2
PYTEST_ARGS ?=

# Which benchmarks run, all when empty: make bench BENCH="startup scoring" BENCH_ARGS=--quick
BENCH ?=
BENCH_ARGS ?=

ACTIVATE := . tools/activate_python.sh
# Two test workers with a thread each: more threads than cores only slow each other down. One that is
# through takes what is left of the other's.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help setup check demo test bench audit lint format clean clean-setup distclean

help: ## this list
	@echo "usage: make TARGET [PYTHON=/path/to/an/environment/bin/python] [BASE_PYTHON=/path/to/python3.13]"
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{ printf "  %-12s %s\n", $$1, $$2 }'
	@echo "PYTHON= uses an existing environment; BASE_PYTHON= is the python that makes tools/venv."

setup: ## make the environment (tools/venv) and check it; a second call does nothing
	@$(MAKE) --no-print-directory -C tools

check: setup ## check every part of the environment again
	@echo "== checking the environment"
	@$(ACTIVATE) && python tools/check_install.py

demo: setup ## set up if needed, then run egs/mini/enh1 through all stages
	@echo "== running the demonstration: egs/mini/enh1"
	@cd egs/mini/enh1 && ./demo.sh

test: setup ## set up if needed, then run the tests
	@echo "== running the tests"
	@$(ACTIVATE) && $(ONE_THREAD) "$${FEATNORM_SE_PYTHON}" -m pytest -n $(TEST_JOBS) --dist worksteal $(PYTEST_ARGS) test/

audit: setup ## look the pins up among the known vulnerabilities (needs a network)
	@$(ACTIVATE) && tools/audit.sh

bench: setup ## ours beside the peers, one table of ratios: BENCH="startup scoring" picks some
	@echo "== running the benchmarks"
	@$(ACTIVATE) && "$${FEATNORM_SE_PYTHON}" tools/benchmarks/run_all.py $(BENCH_ARGS) $(BENCH)

lint: setup ## ruff, mypy and shellcheck
	@$(ACTIVATE) && tools/lint.sh

format: setup ## let ruff format and sort the imports
	@$(ACTIVATE) && ruff check --select I --fix . && ruff format .

clean: ## remove caches and what recipes made
	@echo "== removing caches and the recipes' outputs"
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build ./*.egg-info egs/*/*/exp egs/*/*/dump egs/*/*/data
	find . -name __pycache__ -not -path './tools/venv/*' -prune -exec rm -rf {} +

clean-setup: ## remove what set-up made; the downloads stay
	@echo "== removing the set-up"
	@$(MAKE) --no-print-directory -C tools PYTHON= clean

distclean: clean ## all of that, and the downloads
	@$(MAKE) --no-print-directory -C tools PYTHON= distclean
