# make quickstart   installs into .venv and runs R1-Zero on the bundled base model
# make test         installs and runs the tests
# make sandbox      installs bubblewrap where root asks, for answers that are code (part of make test)
# make lint         ruff alone
# make claims       replays what the papers claim, three seeds each (hours), and writes docs/claims.md
# make bundle       puts the model of runs/base (recipes/tiny/base.yaml) into the package
#
# Variables: PYTHON (3.11 or newer), VENV, PIP_FLAGS (passed to every pip install), TORCH_VERSION,
# TORCH_INDEX (the --index-url PyTorch alone is installed from; README "Install" says which one gives the CPU build).

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
TORCH_VERSION ?= 2.13.0
TORCH_INDEX ?=
RECIPE ?= recipes/tiny/r1_zero.yaml
RUN ?= runs/base

PIP = $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --no-input $(PIP_FLAGS)
TORCH_FROM = $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
MADE = $(VENV)/.made
INSTALLED = $(VENV)/.installed
INSTALLED_TEST = $(VENV)/.installed-test

.PHONY: quickstart install sandbox test lint claims bundle clean

quickstart: $(INSTALLED)
	$(VENV)/bin/move37 run $(RECIPE) --new

install: $(INSTALLED)

# For answers that are code. Root gets it installed; anybody else is told, and the tests that need it say why they are skipped.
sandbox:
	@command -v bwrap >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo "installing bubblewrap, for the sandbox"; \
	    { apt-get install -qq -y bubblewrap || { apt-get update -qq && apt-get install -qq -y bubblewrap; }; } >/dev/null; \
	  else \
	    echo "the sandbox needs bubblewrap: sudo apt-get install bubblewrap" >&2; \
	  fi; }

test: sandbox $(INSTALLED_TEST) lint
	$(VENV)/bin/python -m pytest -q

lint: $(INSTALLED_TEST)
	$(VENV)/bin/ruff check .

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Move37 needs Python 3.11 or newer as '$(PYTHON)'; name another one: make $(or $(MAKECMDGOALS),quickstart) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# PyTorch first, and by itself: the general wheel for Linux brings gigabytes of CUDA, which a machine without a GPU
# has no use for. A build that is already there is kept.
$(INSTALLED): $(MADE) pyproject.toml
	@$(VENV)/bin/python -c 'import torch' 2>/dev/null || { \
	  if command -v nvidia-smi >/dev/null 2>&1 || [ "$$(uname -s)" != Linux ]; then \
	    echo "installing torch $(TORCH_VERSION)"; $(PIP) $(TORCH_FROM) "torch==$(TORCH_VERSION)"; \
	  else \
	    echo "no NVIDIA GPU: installing the CPU build of torch $(TORCH_VERSION)"; \
	    $(PIP) $(TORCH_FROM) "torch==$(TORCH_VERSION)+cpu" 2>/dev/null || { \
	      echo "no CPU build in the package index in use: installing the general one, which is large (README, Install)"; \
	      $(PIP) $(TORCH_FROM) "torch==$(TORCH_VERSION)"; }; \
	  fi; }
	$(PIP) -e .
	@touch $@

$(INSTALLED_TEST): $(INSTALLED)
	$(PIP) -e '.[test]'
	@touch $@

# Takes the model of a finished `move37 run recipes/tiny/base.yaml` into the package.
claims: $(INSTALLED)
	$(VENV)/bin/python tools/claims.py run

bundle: $(INSTALLED)
	$(VENV)/bin/python tools/bundle.py $(RUN)

clean:
	rm -rf $(VENV) build dist src/*.egg-info
