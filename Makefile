# `make run` trains and serves; `make check` is the fast loop; `make test` is every test.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Index with the CPU builds of PyTorch; on Linux PyPI's own brings gigabytes of CUDA. It is used
# if it can be reached; set it to an empty string to use PyPI and local wheels only.
TORCH_INDEX ?= $(shell curl -fsIo /dev/null -m 5 https://download.pytorch.org/whl/cpu/torch/ 2>/dev/null && echo https://download.pytorch.org/whl/cpu)
# Processes that run tests side by side: file by file, so that fixtures of a file are made once, in
# the order of tests/conftest.py.
JOBS ?= auto
PYTEST := $(PY) -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --durations 20

.PHONY: install run check test lint types clean

run: install
	$(PY) -m training sample sample --if-missing
	$(PY) -m training fit sample --examples --if-missing
	$(PY) -m service

check: lint types
	$(PYTEST) -m unit

test: install
	$(PYTEST) --cov --cov-report=term --cov-fail-under=97

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/hadolint Dockerfile.train Dockerfile.serve

types: install
	$(VENV)/bin/mypy

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml client/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt \
	    $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	    --editable '.[training,serving,tracing,faces,development]' --editable ./client
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info client/build client/src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage*
