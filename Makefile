# Every target does its own set-up on a machine that has Python 3.10 to 3.12 and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo web test lint oldest train clean

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
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile  # they wait more than they compute

lint: install  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

oldest: install  ## load what export writes in the oldest onnxruntime that is supported
	$(BIN)/python -m export.all
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.19.2 'numpy<2'
	$(VENV)-oldest/bin/python export/loads.py triton_repo

train: install  ## train weights/lite anew from DATA=folder (about an hour)
	$(BIN)/python -m training.all --data "$(or $(DATA),../shared/data)" --out weights/lite

clean:  ## remove the environment and everything generated
	rm -rf $(VENV) $(VENV)-oldest triton_repo triton_repo.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
