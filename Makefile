# Needs make, git and Python 3.11 or later; everything else is set up in .venv and var.

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test check browser bench chaos clean

PYTHON ?=
ARGS ?=
BIN := .venv/bin
SETUP_INPUTS := setup.cfg pyproject.toml constraints.txt tools/setup.py

# A virtual environment does not survive a move of its folder.
ifneq ($(shell cat .venv/.setup 2>/dev/null),$(CURDIR))
$(shell rm -f .venv/.setup .venv/.setup-dev)
endif

help: ## Show this list
	@echo "Usage: make TARGET [ARGS=...] [PYTHON=...]"
	@echo
	@sed -n 's/^\([a-z]*\):[^#]*## /  \1	/p' Makefile | expand -t 12

setup: .venv/.setup ## Set up the virtual environment with everything that is needed to run

setup-dev: .venv/.setup-dev

run: setup ## Set up and start everything, with a demo campaign on the first run; Ctrl-C stops it
	@exec $(BIN)/campaign-engine up $(ARGS)

test: setup-dev ## Set up and run all tests against private servers; ARGS="-k name" chooses
	@exec $(BIN)/python -m pytest $(ARGS)

check: setup-dev ## Run the linter, the formatter's check, the type checker and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

browser: setup-dev ## Run the tests in a real browser; needs chromium and chromedriver on the PATH
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	@exec $(BIN)/python -m pytest tests/browser $(ARGS)

bench: setup-dev ## Run the benchmarks, print a table and write JSON
	@exec $(BIN)/python -m tests.bench $(ARGS)

chaos: setup-dev ## Run the tests that kill processes in the middle of campaigns
	@exec $(BIN)/python -m pytest tests/chaos -n 0 -s $(ARGS)

clean: ## Remove what was built or cached; the data in var stays
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.setup: $(SETUP_INPUTS)
	@python=$$(sh tools/find_python.sh $(PYTHON)) && exec "$$python" -u tools/setup.py

.venv/.setup-dev: $(SETUP_INPUTS)
	@python=$$(sh tools/find_python.sh $(PYTHON)) && exec "$$python" -u tools/setup.py --dev
