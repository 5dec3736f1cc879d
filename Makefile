# Every target does its own set-up on a machine that has Python 3.10 to 3.12 and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo web test lint audit matrix train-data train bench docs release clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(INSTALLED)  ## make the virtual environment in .venv

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[server,train,dev]'
	@touch $@

demo: install  ## export, start Triton, write a poem about PHOTO=path (or two sample photographs)
	@$(BIN)/python -m examples.demo $(if $(PHOTO),"$(PHOTO)")

web: install  ## export, and serve the web page on http://127.0.0.1:8080
	@$(BIN)/python -m export.all
	@$(BIN)/img2poem web

test: install  ## run all tests, the real server included
	# They wait more than they compute; torch's threads in two processes would only wait for each other.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: install  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --recursive --tests B301,B307,B602,B614 img2poem export training benchmarks tools examples
	$(BIN)/mypy

release: install  ## build the wheels of code and models into dist/, and try them; DRAFT=1 before a changelog is ready
	$(BIN)/python -m tools.release $(if $(DATA),--data "$(DATA)") $(if $(DRAFT),--draft)

audit: install  ## list known holes of what is installed (pip-audit), and write its bill of materials, sbom.json
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9,<3' 'cyclonedx-bom>=7,<8'
	$(VENV)-audit/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
		--output-file sbom.json $(BIN)/python
	$(BIN)/python .ci/audit.py $(VENV)-audit/bin/pip-audit $(VENV)/lib/python3*/site-packages

matrix: install  ## compare poems over all supported versions of Python and libraries (nox)
	$(BIN)/python -m export.all
	$(BIN)/python -m benchmarks.versions --write build/expected.json
	PYENV_VERSION=$$(pyenv versions --bare 2>/dev/null | grep -E '^3\.1[0-3]\.' | paste -sd: -) $(BIN)/nox

train-data:
	@$(if $(DATA),:,$(error name the folder of the training data: make train DATA=folder))

train: train-data install  ## train weights/lite anew from DATA=folder and the poems of this clone (some hours)
	$(BIN)/python -m training.all --data "$(DATA)" --poems-from data --out weights/lite

bench: install  ## measure everything about speed, side by side; report.md and report.json say how it went
	$(BIN)/python -m benchmarks.all

docs: install  ## write the generated pages and drawings, and build the site into build/site
	$(BIN)/python -m tools.reference docs/options.md
	$(BIN)/python docs/diagrams.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:  ## remove the environment and everything generated, but not the weights in triton_repo
	rm -rf $(VENV) $(VENV)-* triton_repo.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .nox build dist sbom.json
