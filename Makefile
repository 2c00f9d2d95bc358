# Two commands do everything from a clean clone: `make run` and `make test`.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Where CPU builds of PyTorch are; on Linux PyPI's own brings gigabytes of CUDA. It is used
# where it can be reached; set it to an empty string to use PyPI and local wheels only.
TORCH_INDEX ?= $(shell curl -fsIo /dev/null -m 5 https://download.pytorch.org/whl/cpu/torch/ 2>/dev/null && echo https://download.pytorch.org/whl/cpu)

.PHONY: install run test lint clean

run: install
	$(PY) -m training sample sample --if-missing
	$(PY) -m training fit sample --if-missing
	$(PY) -m service

test: install
	$(PY) -m pytest --cov --cov-report=term --cov-fail-under=97

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/hadolint Dockerfile.train Dockerfile.serve

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml client/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt \
	    $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	    --editable '.[training,serving,tracing,faces,development]' --editable ./client
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage*
