# Needs only make and Python 3.11 or newer. Everything is installed into .venv, from the hashed lists in locks/.
PYTHON ?= python3
ARGS   ?=
SEEDS  ?= 500
FIRST  ?= 1
BIN    := .venv/bin
SPREAD := -n 6 --dist loadfile --no-loadscope-reorder

# Without bytecode each of hundreds of processes compiles all that it imports, and each test worker all tests.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install fast demo up test check check-locks simulate explore fuzz bench bench-full notebook package lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "ARGS is passed on to demo, up, test, simulate, explore, fuzz and bench: make test ARGS='-k wallet'"

install: .venv/.dev ## create .venv with everything a developer needs

fast: .venv/bin/python ## build the native module with cargo: signatures verified in batches
	$(BIN)/python tools/build_native.py

demo: .venv/.runtime ## watch several nodes turn files into one agreed chain
	$(BIN)/tallystick demo $(ARGS)

up: .venv/.runtime ## run four nodes on this machine to play with, until Ctrl-C
	$(BIN)/tallystick up $(ARGS)

test: .venv/.dev ## run the tests; all of them hold the core's branch coverage to its floor, too
	$(BIN)/python -m pytest $(SPREAD) $(or $(ARGS),--cov)

check: .venv/.dev ## lint, format, types, import rules, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_docs.py
	$(BIN)/python tools/write_api_docs.py --check
	$(BIN)/python tools/make_page.py --check

check-locks: .venv/.dev ## install each lock with old and new pips, as a clone would
	$(BIN)/python tools/check_locks.py

simulate: .venv/.dev ## run the simulation campaign: SEEDS=500 of them, from FIRST=1 on
	$(BIN)/python -m tests.simulation.campaign --seeds $(SEEDS) --first $(FIRST) $(ARGS)

explore: .venv/.dev ## every course of a small world: leaders, partitions, a twin, lost guards
	$(BIN)/python -m tests.explore $(ARGS)

fuzz: .venv/.dev ## proofs, notes, policies and PDF files with random changes, against every parser
	$(BIN)/python -m tests.fuzz $(ARGS)

bench: .venv/.dev ## measure speed, as ratios within one run: the quick figures, or ARGS=NAME
	$(BIN)/python -m benchmarks $(or $(ARGS),--quick)

bench-full: .venv/.dev ## measure all figures, and write them into docs/performance.md
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks --document

notebook: .venv/.notebook ## open the tutorial in JupyterLab
	$(BIN)/jupyter lab notebooks

package: .venv/.dev ## build the wheel and the source archive into dist/
	$(BIN)/python -m build --no-isolation

# Cargo's lock comes first: where cargo is missing, nothing is changed. dev.txt is resolved before the others and
# constrains them, so that one .venv can hold all three.
lock: .venv/bin/python ## resolve the dependencies anew into locks/
	$(BIN)/python tools/build_native.py --lock
	@uv=$$(mktemp -d) && trap 'rm -rf "$$uv"' EXIT && set -e && \
	$(BIN)/python -m venv "$$uv" && "$$uv/bin/python" -m pip install --quiet --disable-pip-version-check uv && \
	compile() { list=$$1; shift; echo "Resolving locks/$$list.txt"; "$$uv/bin/uv" --quiet pip compile pyproject.toml \
	    --group build "$$@" --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --no-strip-extras --no-emit-index-url --custom-compile-command 'make lock' --output-file "locks/$$list.txt"; } && \
	compile dev --group dev --extra pq --extra tsa --extra pdf && \
	compile runtime --constraint locks/dev.txt && \
	compile notebook --group notebook --constraint locks/dev.txt

clean: ## remove .venv and everything generated
	rm -rf .venv native/target native/Cargo.lock build dist src/*.egg-info .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests scripts tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# One stamp a lock: .venv/.runtime, .venv/.dev, .venv/.notebook.
.venv/.%: locks/%.txt pyproject.toml | .venv/bin/python
	@echo "Installing locks/$*.txt into .venv (the first time takes a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check --disable-pip-version-check
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Tallystick needs Python 3.11 or newer, and '$(PYTHON)' is not one."; \
	    echo "Install it, then name it: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Creating .venv"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
