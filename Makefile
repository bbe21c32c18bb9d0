# thermogate: `make up` runs it, `make test` tests it. Everything else is for working on it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Tests side by side: they wait for servers most of the time. A file's tests stay together. Those that need the
# machine for themselves come last. 5 is pytest's word for "none selected", by ARGS.
JOBS ?= 3

.DEFAULT_GOAL := up
.PHONY: up env trainers test check lint docs bench faults servers clean

# Two stamps, so that a newcomer who only wants to see it waits for no test tool.
$(VENV)/.up: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "thermogate needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[up]'
	touch $@

$(VENV)/.dev: $(VENV)/.up
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# Apart, as PyTorch is large: without it the tests of trainers are skipped, and say so.
$(VENV)/.trainers: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[trainers]'
	touch $@

up: $(VENV)/.up ## broker, agent, collector, store, analytics and page on this machine
	exec $(BIN)/thermogate up $(ARGS)

env: $(VENV)/.dev ## .venv with every extra

trainers: $(VENV)/.trainers ## PyTorch, Transformers and Lightning, for the tests of the trainers' adapters

servers: ## real servers for the tests: installs what is missing where it can
	./tests/install_servers.sh

test: env servers ## every test; ARGS for pytest
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not alone" $(ARGS) || [ $$? = 5 ]
	$(BIN)/python -m pytest -m alone $(ARGS) || [ $$? = 5 ]

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/python grafana/generate.py --check

check: trainers lint test ## what CI runs

docs: env ## rewrite the generated pages and boards
	$(BIN)/python docs/generate.py
	$(BIN)/python grafana/generate.py

bench: env ## make bench NAME=agent-cost; ARGS for it
	$(BIN)/python benchmarks/$(subst -,_,$(NAME)).py $(ARGS)

faults: env servers ## every fault of docs/faults.md, as root 25 minutes; ARGS chooses: --list
	$(BIN)/python -m benchmarks.faults $(ARGS)

clean:
	rm -rf $(VENV) dist build test-artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis
