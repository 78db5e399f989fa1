# Every entry point of the lab; `make help` lists them. Everything that is made is under build/ and .venv/.

PYTHON ?= python3
KERNEL ?= debian-6.1
KDIR ?=
TESTS ?=
MUTANTS ?=

VENV := .venv
STAMP := $(VENV)/.ready
BIN := $(VENV)/bin
KSMLAB := $(BIN)/ksmlab

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-host mutants test-vm shell build kernels lint doctor clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: KERNEL=$(KERNEL) (demo, shell), KDIR=a kernel build directory (build), TESTS=pytest arguments (test-vm), MUTANTS=words or --help (mutants)"

demo: $(STAMP) ## merge real pages in a VM, and prove it
	@$(KSMLAB) demo --kernel $(KERNEL)

test: $(STAMP) ## unit tests here, then the VM tests on every kernel
	@$(BIN)/python -m pytest tests/unit tests/index
	@$(BIN)/python -m pytest tests/host
	@$(KSMLAB) test-vm $(TESTS)

test-unit: $(STAMP) ## the unit tests, and the indexes compiled for the host (half a minute)
	@$(BIN)/python -m pytest tests/unit tests/index

test-host: $(STAMP) ## the tests of the VM harness only
	@$(BIN)/python -m pytest tests/host

mutants: $(STAMP) ## put each deliberate bug into the driver; each must be caught (half an hour)
	@PYTHONPATH=tests/host $(BIN)/python tests/host/mutant_run.py $(MUTANTS)

test-vm: $(STAMP) ## the VM tests only
	@$(KSMLAB) test-vm $(TESTS)

shell: $(STAMP) ## an interactive VM with the driver loaded
	@$(KSMLAB) shell --kernel $(KERNEL)

build: $(STAMP) ## build the modules for every kernel, or for KDIR=…
	@$(KSMLAB) build $(if $(KDIR),--kdir '$(KDIR)')

kernels: $(STAMP) ## fetch the newest revision of the distribution's kernels
	@$(KSMLAB) kernels fetch

lint: $(STAMP) ## ruff, mypy, gcc W=1, sparse, checkpatch
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(KSMLAB) lint-kernel

doctor: ## say what this host lacks, and how to install it
	@$(PYTHON) python/ksmlab/doctor.py

clean: ## remove what was built (the fetched kernels stay in the cache)
	rm -rf build $(VENV)

# The first step on a bare machine: nothing but a shell and make can be counted on here.
.PHONY: host
host:
	@command -v $(PYTHON) >/dev/null || { \
		get="apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv"; \
		if [ "$$(id -u)" = 0 ]; then sh -c "$$get"; \
		elif command -v sudo >/dev/null; then sudo sh -c "$$get"; \
		else echo "$(PYTHON) is not here; nothing was changed. Run this as root, then try again:"; echo "  $$get"; exit 1; fi; }
	@$(PYTHON) python/ksmlab/doctor.py --quiet --install

$(STAMP): pyproject.toml | host
	@echo "making $(VENV) (once, and again when pyproject.toml changes) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
	@echo "making $(VENV): done"
