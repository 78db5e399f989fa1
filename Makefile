# Every entry point of the lab; `make help` lists them. Everything that is made is under build/ and .venv/.

PYTHON ?= python3
# Without it, ksmlab chooses.
KERNEL ?=
KDIR ?=
TESTS ?=
MUTANTS ?=
BENCH ?=
# Of a lesson.
N ?=
# VMs side by side; each has two CPUs and keeps one of the host's busy.
JOBS ?= 2

VENV := .venv
STAMP := $(VENV)/.ready
BIN := $(VENV)/bin
KSMLAB := $(BIN)/ksmlab
PYTEST := $(BIN)/python -m pytest
# File by file in the order in which they are named: what takes longest, since it boots VMs, comes first.
SPREAD := -n $(JOBS) --dist loadfile --no-loadscope-reorder
# Every warning is an error; --nitpicky: so is a link within the pages that leads nowhere.
SPHINX := $(BIN)/python -m sphinx -q --fail-on-warning --keep-going --nitpicky -d build/docs/doctrees

# vm/kernels.toml describes the kernels.
DEBUG := debug-6.1 debug-6.12
on = $(addprefix --kernel ,$(1))
# A value as one word of a shell command.
quote = '$(subst ','\'',$(1))'
# The option for KERNEL; without one, the command takes the newest tested kernel that the archive has.
kernel = $(if $(KERNEL),--kernel $(call quote,$(KERNEL)))
# Sets `stock` to options for pytest: the tested kernels that this host's archive has.
find_stock = stock=$$($(KSMLAB) kernels tested --options)

.DEFAULT_GOAL := help
# VMs beside one another are what JOBS says, and no more.
.NOTPARALLEL:
.PHONY: help demo test test-debug test-all test-unit test-host mutants test-vm bench bench-check bench-latency docs docs-check docs-live lesson exercise test-lessons lessons-record drawings card pages images shell build kernels lint doctor clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: KERNEL=a name from \`ksmlab kernels list\` (demo, shell, images; default: the newest tested kernel that this host's archive has), KDIR=a kernel build directory (build), TESTS=pytest arguments (test-vm), JOBS=$(JOBS) VMs side by side, MUTANTS=words or --help (mutants), N=the number of a lesson, BENCH=options or --help (bench, bench-check, bench-latency)"

demo: $(STAMP) ## merge real pages in a VM, and prove it
	@$(KSMLAB) demo $(kernel)

test: host-tests ## everything on the tested kernels that this host's archive has: a quarter of an hour
	@$(PYTEST) $(SPREAD) tests/plugin tests/host tests/index tests/unit
	@$(find_stock) && $(PYTEST) tests/vm -n $(JOBS) $$stock

test-debug: $(STAMP) ## the VM tests on a kernel that finds errors where they are made
	@$(PYTEST) tests/vm -n $(JOBS) $(call on,debug-6.1)
	@$(PYTEST) tests/host/test_kernel_configs.py --built debug-6.1

test-all: test ## and the built kernels, leaks, the other index, the long stress and fuzzing, the lessons, the mutants: hours
	@$(PYTEST) tests/vm -n $(JOBS) $(call on,classic-6.1)
	@$(PYTEST) tests/vm -n $(JOBS) $(call on,$(DEBUG)) --vm-boot kmemleak=on
	@KERNEL=debug-6.1 $(PYTEST) tests/plugin/test_leaks.py
	@$(PYTEST) tests/vm -n $(JOBS) $(call on,race-6.12) -k 'threads or lifetimes'
	@$(PYTEST) tests/host/test_kernel_configs.py $(addprefix --built ,classic-6.1 $(DEBUG) race-6.12)
	@$(find_stock) && $(PYTEST) tests/vm -n $(JOBS) $$stock $(call on,debug-6.1) --index tree
	@$(PYTEST) tests/vm -n $(JOBS) $(call on,$(DEBUG)) -m stress --stress-seconds 600
	@$(PYTEST) tests/lessons
	@$(find_stock) && $(PYTEST) tests/vm -n $(JOBS) $$stock -m fuzz --fuzz-examples 500
	@$(PYTEST) tests/vm -n $(JOBS) $(call on,$(DEBUG)) -m fuzz --fuzz-examples 100
	@$(MAKE) --no-print-directory mutants

test-unit: $(STAMP) ## the unit tests, and the indexes compiled for the host (a few minutes)
	@$(PYTEST) tests/unit tests/index

test-host: host-tests ## the tests of the VM harness only
	@$(PYTEST) $(SPREAD) tests/plugin tests/host

mutants: $(STAMP) ## put each deliberate bug into the driver; each must be caught (half an hour)
	@PYTHONPATH=tests/host $(BIN)/python tests/host/mutant_run.py --jobs $(JOBS) $(MUTANTS)

test-vm: $(STAMP) ## the VM tests only, on the quickest kernel that is here
	@$(PYTEST) tests/vm $(TESTS)

bench: $(STAMP) ## measure the driver beside the kernel's own KSM: build/bench/index.html (an hour or two; BENCH=--quick)
	@$(KSMLAB) bench $(BENCH)

bench-check: $(STAMP) ## count instructions: fail if a workload costs over 5% more than its baseline (BENCH=--update)
	@$(KSMLAB) bench --check $(BENCH)

bench-latency: $(STAMP) ## trace how long the scanners keep others from the CPU, on a kernel built for it: build/bench/latency.json
	@$(KSMLAB) bench --latency $(BENCH)

drawings: $(STAMP) ## draw the images again that need no VM: docs/images
	@PYTHONPATH=docs $(BIN)/python -m drawings
	@$(KSMLAB) picture --render tests/unit/data/picture.json --out docs/images/merge.svg
	@$(BIN)/python -m ksmlab.bench.comparison

card: $(STAMP) ## draw the picture that other sites show beside a link again (needs chromium): docs/_static/card.png
	@PYTHONPATH=docs $(BIN)/python -m drawings.card docs/_static/card.png

pages: $(STAMP) ## write the quoted code and the tables of the pages again, from the sources
	@$(BIN)/python -m ksmlab.site.pages

# The box around the first heading of the merge: fetching, building and booting come before it.
MERGE := ╭[^\n]*\n[^\n]*/dev/ksm:

# The images of README.md and the data of the unit tests come from the same runs.
images: $(STAMP) ## draw the images that need a VM again, from new runs: docs/images (minutes)
	@$(KSMLAB) picture $(kernel) --out build/picture/merge.svg
	@PYTHONPATH=docs $(BIN)/python -m recording record build/demo.cast --title 'make demo' \
		-- env -u MAKEFLAGS -u MAKELEVEL make demo $(if $(KERNEL),KERNEL=$(call quote,$(KERNEL)))
	@PYTHONPATH=docs $(BIN)/python -m recording draw --since '$(MERGE)' build/demo.cast docs/images/demo.svg
	@$(KSMLAB) vm run $(kernel) -- $(BIN)/python $(wildcard docs/lessons/programs/*/measure.py) >build/write-times.json
	@cp build/picture/merge.json tests/unit/data/picture.json
	@cp build/write-times.json docs/data/write-times.json
	@cp build/demo/run.json tests/unit/data/demo-run.json
	@$(MAKE) --no-print-directory drawings

docs: $(STAMP) ## make the documentation: build/docs/html/index.html
	@$(SPHINX) --fresh-env -b html docs build/docs/html
	@$(MAKE) --no-print-directory docs-check
	@echo "build/docs/html/index.html"

docs-check: $(STAMP) ## follow every link within the documentation; `make docs` does it, too
	@$(SPHINX) -b linkcheck docs build/docs/linkcheck
	@$(BIN)/python -m ksmlab.site.links build/docs/html

docs-live: $(STAMP) ## serve the documentation, and make it again when a file changes
	@$(BIN)/sphinx-autobuild --watch kernel --watch python -d build/docs/doctrees docs build/docs/live

lesson: $(STAMP) ## play a lesson in a VM, step by step: N=0
	@$(KSMLAB) lesson $(call quote,$(or $(N),0))

exercise: $(STAMP) ## copy the exercise of a lesson to build/exercise, build it, test it: N=2
	@$(KSMLAB) exercise $(call quote,$(or $(N),2))

test-lessons: $(STAMP) ## play every lesson, and compare with what its page says (N=3: one)
	@$(PYTEST) tests/lessons $(if $(N),-k $(call quote,lesson_$(N)_))

lessons-record: $(STAMP) ## play every lesson, and write its output into its page (N=3: one)
	@$(KSMLAB) lessons record $(if $(N),$(call quote,$(N)))

shell: $(STAMP) ## an interactive VM with the driver loaded
	@$(KSMLAB) shell $(kernel)

build: $(STAMP) ## build the modules for every tested kernel that this host's archive has, or for KDIR=…
	@$(KSMLAB) build $(if $(KDIR),--kdir $(call quote,$(KDIR)))

kernels: $(STAMP) ## fetch the newest revision of each tested kernel that this host's archive has
	@$(KSMLAB) kernels fetch

lint: $(STAMP) ## ruff, mypy, spelling and words, stale pages and drawings, subjects of commits, gcc W=1, sparse, checkpatch
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/codespell
	@$(BIN)/python -m ksmlab.prose
	@$(BIN)/python -m ksmlab.site.pages --check
	@PYTHONPATH=docs $(BIN)/python -m drawings --check
	@$(KSMLAB) lint-commits
	@$(KSMLAB) lint-kernel

doctor: ## say what this host lacks, and how to install it
	@$(PYTHON) python/ksmlab/doctor.py

clean: ## remove what was built (the fetched kernels stay in the cache)
	rm -rf build $(VENV)

# Whether this directory can be built in and seen in a VM: its path, its file system, its permissions.
CHECK_PATHS := PYTHONPATH=python $(PYTHON) -B -m ksmlab.vm.path_checks

# The first step on a bare machine: nothing but a shell and make can be counted on here.
.PHONY: host
host:
	@command -v $(PYTHON) >/dev/null || { \
		get="apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv"; \
		if ! command -v apt-get >/dev/null; then echo "$(PYTHON) is not installed. Install Python 3.11 or newer with its venv module."; exit 1; \
		elif [ "$$(id -u)" = 0 ]; then sh -c "$$get"; \
		elif command -v sudo >/dev/null; then sudo sh -c "$$get"; \
		else echo "$(PYTHON) is not here; nothing was changed. Run this as root, then try again:"; echo "  $$get"; exit 1; fi; }
	@$(CHECK_PATHS)
	@$(PYTHON) python/ksmlab/doctor.py --quiet --install --no-tests

# What the tests of the host need beyond that: a browser.
.PHONY: host-tests
host-tests: $(STAMP)
	@$(PYTHON) python/ksmlab/doctor.py --quiet --install

$(STAMP): pyproject.toml | host
	@echo "making $(VENV) (once, and again when pyproject.toml changes) ..."
	@{ $(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'; } || { $(CHECK_PATHS); exit 1; }
	@touch $@
	@echo "making $(VENV): done"
