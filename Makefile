.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
REDIS_PORT ?= 6379
KAFKA_PORT ?= 9092
WORKERS ?= 4
MINUTES ?= 5
SEED ?= 0
JSON ?= .cache/torture.json

.PHONY: help setup demo test torture check bench docs clients site kafka redis clean

help:  ## Say what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEV)  ## Make .venv with streamer and what its development needs

demo: $(RUNTIME)  ## Run the whole system for a minute: broker, learner, scorer, simulated users
	$(BIN)/streamer demo

test: $(DEV)  ## Run all tests (WORKERS=4 at once), those on a real Kafka and a real Redis too
	deploy/test-services.sh
	NUMBA_CACHE_DIR=tests/__pycache__/kernels $(BIN)/python -m tests.forked_from
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

torture: $(DEV)  ## Kill, pause and restart everything at once for MINUTES=5 from SEED=0, then count every message
	deploy/test-services.sh
	@mkdir -p $(dir $(JSON))
	$(BIN)/python -m tests.torture --minutes $(MINUTES) --seed $(SEED) --json $(JSON)

check: $(DEV)  ## Lint, check formatting and types, look for secrets and vulnerable dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m deploy.check_dependencies
	deploy/check-secrets.sh $(BIN)/detect-secrets-hook

bench: $(DEV)  ## Run the benchmarks, one after the other, beside their peers
	$(BIN)/python -m pip install --quiet -e '.[bench]' -c constraints.txt
	deploy/test-services.sh
	@set -e; for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done

docs: $(DEV)  ## Generate the references of messages and settings in docs/
	$(BIN)/python -m streamer.documentation docs

clients: $(DEV)  ## Generate what the clients of the HTTP API take from its OpenAPI document (needs npm)
	$(BIN)/python -m deploy.clients

site: $(DEV)  ## Build the documentation as a site into .cache/site, and fail on a warning
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet -f deploy/site/mkdocs.yml

kafka:  ## Start a Kafka broker on 127.0.0.1:9092 for development, in the foreground
	$(PYTHON) -m deploy.kafka.node --port $(KAFKA_PORT)

redis:  ## Start a Redis server on 127.0.0.1:6379 for development, in the foreground
	@command -v redis-server >/dev/null || { echo 'no redis-server here: apt-get install redis-server' >&2; exit 1; }
	@mkdir -p .cache/redis-data
	redis-server --bind 127.0.0.1 --port $(REDIS_PORT) --dir .cache/redis-data --save '' --appendonly yes

clean:  ## Remove .venv and everything that was built or cached here
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is missing or older than 3.11: install one, or name it: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo '$(PYTHON) cannot make virtual environments: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The newest file of each pair decides: the development install holds the runtime one.
$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e . -c constraints.txt
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt
	@touch $@ $(RUNTIME)
