# make demo | make test | make ui: each sets up first (.venv, pinned), works from a fresh clone with Python 3.11+.

PYTHON ?= python3
DATA ?= data
SOURCE ?=
READY := .venv/.ready

.PHONY: demo test ui setup check clean
.DEFAULT_GOAL := help

help:
	@echo "make demo              set up, then run the pipeline on a simulated hospital; prints where the report is"
	@echo "make demo SOURCE=DIR   the same on a MIMIC-IV folder"
	@echo "make ui                Dagster UI and daemon on http://127.0.0.1:3000"
	@echo "make test              set up, then all tests"
	@echo "make check             lint, format, tests"
	@echo "make clean             remove .venv and caches (never data/)"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt .venv/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

setup: $(READY)

demo: $(READY)
	@.venv/bin/ehr-pipeline run $(if $(SOURCE),--source "$(SOURCE)") --data "$(DATA)" --cohort medicore --cohort icu_48h

ui: $(READY)
	@.venv/bin/ehr-pipeline ui --data "$(DATA)"

test: $(READY)
	.venv/bin/python -m pytest

check: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/python -m pytest

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache
