# Starledger. `make help` prints what is here.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
TEXTS := $(patsubst %.po,%.mo,$(wildcard bot/locales/*/LC_MESSAGES/starledger.po))
READY := $(STAMP) $(TEXTS)
WORKERS ?= 2
SOAK_MINUTES ?= 10
SOAK_SEED ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo run install uninstall test soak bench acceptance mutants check format screenshots messages lock

help: ## print this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## make .venv, install the locked dependencies, compile the texts of the chats

$(STAMP): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Starledger needs Python 3.11 or newer; name one with: make setup PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	@touch $@

%.mo: %.po | $(STAMP)
	@$(VENV)/bin/pybabel --quiet compile --input-file $< --output-file $@

demo: $(READY) ## run the whole shop without a Telegram account: sandbox, bot and chat page on this machine
	$(PY) -m sandbox.demo

run: $(READY) ## run the bot against the real Telegram, configured by .env
	$(PY) -m bot run

install: ## install this checkout on a Debian server, under systemd, or upgrade it there (as root)
	@PYTHON=$(PYTHON) deploy/install.sh

uninstall: ## remove it again (as root); settings and data stay
	@deploy/uninstall.sh

test: $(READY) ## run the whole test suite, on SQLite and on a PostgreSQL that it starts by itself
	$(PY) -m pytest -n $(WORKERS) --dist worksteal -p tests.support.covered

soak: $(READY) ## run payments, refunds, faults and deaths in any order, for SOAK_MINUTES (10) an engine, from SOAK_SEED
	SOAK_MINUTES=$(SOAK_MINUTES) SOAK_SEED=$(SOAK_SEED) $(PY) -m pytest -q -n0 tests/scenarios/test_machine.py -k soak

bench: $(READY) ## measure purchases beside other bots, backlogs, growth, a rebuild, on both engines; write docs/benchmarks.md
	$(PY) -m bench

acceptance: $(READY) ## print each line of the specification, with its tests and their results
	$(PY) -m pytest -p tests.support.acceptance -n $(WORKERS) --dist worksteal -q --no-header

mutants: $(READY) ## break each rule on purpose, and see its tests fail (takes some minutes)
	WORKERS=$(WORKERS) $(PY) -m tests.mutants

check: $(READY) ## run formatter, linter, type checker, import rules, and the test of commit subjects
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m pytest --quiet -n 0 tests/test_commits.py

format: $(STAMP) ## let the formatter and the linter mend the code
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

screenshots: $(READY) ## take the pictures of the README again (needs Chromium)
	SCREENSHOTS=docs/images $(PY) -m pytest tests/sandbox/page/test_story.py

messages: $(READY) ## compile the texts of the chats that changed in bot/locales

lock: ## pin the newest allowed dependencies again, with hashes (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --quiet --upgrade -o requirements/runtime.txt
	uv pip compile --group pyproject.toml:build -c requirements/runtime.txt --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --quiet --upgrade -o requirements/build.txt
	uv pip compile pyproject.toml sandbox/pyproject.toml --group dev --extra page -c requirements/runtime.txt --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --quiet --upgrade -o requirements/dev.txt
