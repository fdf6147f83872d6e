# make run    install what is locked, materialise the demo data, run the pipeline, show the result
# make ui     open MLflow on the runs, compared by strategy
# make test   the tests that an edit is checked with; make test-all adds the slow ones
# make docs   the documentation as a site, in build/site
# make lint   ruff, mypy, and the contracts of the floors and rooms
# make bench  the figures that docs/figures.md states
# make lock   renew requirements.lock from pyproject.toml
# make clean  remove stage outputs (DVC's cache, MLflow's runs and registry, data and the environment stay)

PYTHON ?= python3
ARGS ?=
WORKERS ?= 2
BIN := .venv/bin
STAMP := .venv/.installed
# The package cache lies in the project too (wheels are hard-linked from it, so it costs no space twice).
export UV_CACHE_DIR ?= $(CURDIR)/.graft/uv
export UV_LINK_MODE ?= hardlink
export PIP_NO_CACHE_DIR ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
# Byte code cached once makes every later start two to three times faster.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run install ui test test-all docs lint bench lock clean
.DEFAULT_GOAL := run

run: $(STAMP)
	@$(BIN)/graft run $(ARGS)

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "Graft needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is %d.%d: make PYTHON=python3.12" % v)'
	@echo "Installing the locked environment into .venv (about 6 GB with CUDA, once) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@awk '/^uv==/ {found = 1} found {print} found && !/\\$$/ {exit}' requirements.lock > .venv/uv.txt
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r .venv/uv.txt
	@# Where uv does not know the way to the index (a mirror that only pip is configured for), pip takes over.
	@$(BIN)/uv pip sync --system-certs --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock \
	 || $(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --no-index --editable .
	@touch $@

ui: $(STAMP)
	@$(BIN)/graft ui $(ARGS)

test: TIER := -m "not slow"
test test-all: $(STAMP)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder $(TIER) $(ARGS)

docs: $(STAMP)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "The site: build/site/index.html"

lint: $(STAMP)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: $(STAMP)
	@for each in executor loop demo strategies cost; do $(BIN)/python -m benchmarks.$$each || exit 1; done

lock: $(STAMP)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-header \
	 --no-annotate --upgrade pyproject.toml --output-file requirements.lock

clean:
	rm -rf build reports/index.html .graft/prefect .graft/logs
