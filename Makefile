# The tasks of this project; `make help` lists them. All output is written to build/ and .venv/.

PYTHON ?= python3
# If this is empty, ksmlab chooses the kernel.
KERNEL ?=
KDIR ?=
TESTS ?=
MUTANTS ?=
BENCH ?=
# The number of a lesson.
N ?=
# The number of VMs that run in parallel. Each has two virtual CPUs and keeps one CPU of the host busy.
JOBS ?= 2

# Quote a value, so that the shell takes it as one word.
quote = '$(subst ','\'',$(1))'
python := $(call quote,$(PYTHON))
jobs := -n $(call quote,$(JOBS))

VENV := .venv
STAMP := $(VENV)/.ready
BIN := $(VENV)/bin
KSMLAB := $(BIN)/ksmlab
PYTEST := $(BIN)/python -m pytest
# Each worker takes the next file in the order of the command line. The slowest tests, which boot VMs, come first.
SPREAD := $(jobs) --dist loadfile --no-loadscope-reorder
# Every warning is an error. With --nitpicky, Sphinx also warns about unresolved cross-references.
SPHINX := $(BIN)/python -m sphinx -q --fail-on-warning --keep-going --nitpicky -d build/docs/doctrees

# The kernels are described in vm/kernels.toml.
DEBUG := debug-6.1 debug-6.12
on = $(addprefix --kernel ,$(1))
# The --kernel option if KERNEL is set. Without the option, a command uses the newest tested kernel that the host's
# archive has.
kernel = $(if $(KERNEL),--kernel $(call quote,$(KERNEL)))
# Set the shell variable `stock` to pytest options that select the tested kernels that this host's archive has.
find_stock = stock=$$($(KSMLAB) kernels tested --options)

.DEFAULT_GOAL := help
# Targets run one after the other, so that no more than JOBS VMs run in parallel.
.NOTPARALLEL:
.PHONY: help demo test test-debug test-all test-unit test-host mutants test-vm bench bench-check bench-latency docs docs-check docs-live lesson exercise test-lessons lessons-record drawings card pages images shell build kernels lint doctor clean

help: ## list the targets and variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo "Variables:"
	@echo "  KERNEL=NAME    the kernel to boot (demo, shell, images), from \`ksmlab kernels list\` (default: the newest tested kernel"
	@echo "                 that is cached or in this host's archive; for shell, classic-6.1 if it is built)"
	@echo "  KDIR=DIR       the kernel build directory to build the modules for (build)"
	@echo "  TESTS=ARGS     arguments for pytest (test-vm, test-debug)"
	@echo "  JOBS=N         the number of VMs that run in parallel (default: "$(call quote,$(JOBS))")"
	@echo "  MUTANTS=ARGS   the mutants to test, or --help (mutants)"
	@echo "  BENCH=ARGS     options of \`ksmlab bench\`, or --help (bench, bench-check, bench-latency)"
	@echo "  N=NUMBER       the number of a lesson (lesson, exercise, test-lessons, lessons-record)"

demo: $(STAMP) ## merge pages of three processes in a VM, and check the result
	@$(KSMLAB) demo $(kernel)

test: host-tests ## run the unit, harness and VM tests, on each tested kernel that this host's archive has (15 minutes)
	@$(PYTEST) $(SPREAD) tests/plugin tests/host tests/index tests/unit
	@$(find_stock) && $(PYTEST) tests/vm $(jobs) $$stock

test-debug: $(STAMP) ## run the VM tests on a debug kernel, with KASAN, lockdep and other checks
	@$(PYTEST) tests/vm $(jobs) $(call on,debug-6.1) $(TESTS)
	@$(PYTEST) tests/host/test_kernel_configs.py --built debug-6.1

test-all: test ## also test on the kernels built here, for leaks, with the tree index, long stress and fuzzing, lessons, mutants (hours)
	@$(PYTEST) tests/vm $(jobs) $(call on,classic-6.1)
	@$(PYTEST) tests/vm $(jobs) $(call on,$(DEBUG)) --vm-boot kmemleak=on
	@KERNEL=debug-6.1 $(PYTEST) tests/plugin/test_leaks.py
	@$(PYTEST) tests/vm $(jobs) $(call on,race-6.12) -k 'threads or lifetimes'
	@$(PYTEST) tests/host/test_kernel_configs.py $(addprefix --built ,classic-6.1 $(DEBUG) race-6.12)
	@$(find_stock) && $(PYTEST) tests/vm $(jobs) $$stock $(call on,debug-6.1) --index tree
	@$(PYTEST) tests/vm $(jobs) $(call on,$(DEBUG)) -m stress --stress-seconds 600
	@$(PYTEST) tests/lessons
	@$(find_stock) && $(PYTEST) tests/vm $(jobs) $$stock -m fuzz --fuzz-examples 500
	@$(PYTEST) tests/vm $(jobs) $(call on,$(DEBUG)) -m fuzz --fuzz-examples 100
	@$(MAKE) --no-print-directory mutants

test-unit: $(STAMP) ## run the unit tests, and the tests of the indexes compiled for the host (a few minutes)
	@$(PYTEST) tests/unit tests/index

test-host: host-tests ## run only the tests of the VM harness
	@$(PYTEST) $(SPREAD) tests/plugin tests/host

mutants: $(STAMP) ## build the driver with one deliberate bug at a time, and check that a test detects it (30 minutes)
	@PYTHONPATH=tests/host $(BIN)/python tests/host/mutant_run.py --jobs $(call quote,$(JOBS)) $(MUTANTS)

test-vm: $(STAMP) ## run only the VM tests, on the fastest kernel that is available
	@$(PYTEST) tests/vm $(TESTS)

bench: $(STAMP) ## compare the driver with in-kernel KSM, in build/bench/index.html (1 to 2 hours; less with BENCH=--quick)
	@$(KSMLAB) bench $(BENCH)

bench-check: $(STAMP) ## count instructions, and fail if a workload needs over 5% more than its baseline (set by BENCH=--update)
	@$(KSMLAB) bench --check $(BENCH)

bench-latency: $(STAMP) ## measure the scheduling latency that the scanners cause, on a kernel built for this: build/bench/latency.json
	@$(KSMLAB) bench --latency $(BENCH)

drawings: $(STAMP) ## redraw the images in docs/images that need no VM
	@PYTHONPATH=docs $(BIN)/python -m drawings
	@$(KSMLAB) picture --render tests/unit/data/picture.json --out docs/images/merge.svg
	@$(BIN)/python -m ksmlab.bench.comparison

card: $(STAMP) ## draw the picture that other sites show beside a link again (needs chromium): docs/_static/card.png
	@PYTHONPATH=docs $(BIN)/python -m drawings.card docs/_static/card.png

pages: $(STAMP) ## update the code and the reference tables that the pages quote from the sources
	@$(BIN)/python -m ksmlab.site.pages

# A pattern for the first heading of the merge. The image leaves out everything before it: fetching, building, booting, and the
# note about pages_shared.
MERGE := ╭[^\n]*\n[^\n]*/dev/ksm:

# The images of README.md and the data of the unit tests come from the same runs.
images: $(STAMP) ## redraw the images that need a VM, from new runs: docs/images (minutes)
	@$(KSMLAB) picture $(kernel) --out build/picture/merge.svg
	@PYTHONPATH=docs $(BIN)/python -m recording record build/demo.cast --title 'make demo' \
		-- env -u MAKEFLAGS -u MAKELEVEL make demo $(if $(KERNEL),KERNEL=$(call quote,$(KERNEL)))
	@PYTHONPATH=docs $(BIN)/python -m recording draw --since '$(MERGE)' build/demo.cast docs/images/demo.svg
	@$(KSMLAB) vm run $(kernel) -- $(BIN)/python $(wildcard docs/lessons/programs/*/measure.py) >build/write-times.json
	@cp build/picture/merge.json tests/unit/data/picture.json
	@cp build/write-times.json docs/data/write-times.json
	@cp build/demo/run.json tests/unit/data/demo-run.json
	@$(MAKE) --no-print-directory drawings

docs: $(STAMP) ## build the documentation in build/docs/html, and check its links
	@$(SPHINX) --fresh-env -b html docs build/docs/html
	@$(MAKE) --no-print-directory docs-check
	@echo "build/docs/html/index.html"

docs-check: $(STAMP) ## check the links of the built documentation; `make docs` does this as well
	@$(SPHINX) -b linkcheck docs build/docs/linkcheck
	@$(BIN)/python -m ksmlab.site.links build/docs/html

docs-live: $(STAMP) ## serve the documentation, and rebuild it when a file changes
	@$(BIN)/sphinx-autobuild --watch kernel --watch python -d build/docs/doctrees docs build/docs/live

lesson: $(STAMP) ## play a lesson in a VM, step by step (N=0)
	@$(KSMLAB) lesson $(call quote,$(or $(N),0))

exercise: $(STAMP) ## copy the exercise of a lesson to build/exercise, build it, and test it (N=2)
	@$(KSMLAB) exercise $(call quote,$(or $(N),2))

test-lessons: $(STAMP) ## play every lesson, or one with N=3, and compare its output with the page
	@$(PYTEST) tests/lessons $(if $(N),-k $(call quote,lesson_$(N)_))

lessons-record: $(STAMP) ## play every lesson, or one with N=3, and write its output to the page
	@$(KSMLAB) lessons record $(if $(N),$(call quote,$(N)))

shell: $(STAMP) ## open a shell in a VM with the driver loaded
	@$(KSMLAB) shell $(kernel)

build: $(STAMP) ## build the modules for each tested kernel that this host's archive has, or for KDIR=…
	@$(KSMLAB) build $(if $(KDIR),--kdir $(call quote,$(KDIR)))

kernels: $(STAMP) ## fetch the newest revision of each tested kernel that this host's archive has
	@$(KSMLAB) kernels fetch

lint: $(STAMP) ## check Python, spelling and wording, stale pages and drawings, commit messages, and C (gcc W=1, sparse, checkpatch)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/codespell
	@$(BIN)/python -m ksmlab.prose
	@$(BIN)/python -m ksmlab.site.pages --check
	@PYTHONPATH=docs $(BIN)/python -m drawings --check
	@$(KSMLAB) lint-commits
	@$(KSMLAB) lint-kernel

doctor: ## list the packages that this host lacks, and how to install them
	@$(python) python/ksmlab/doctor.py

clean: ## remove build/ and .venv/ (kernels stay in the cache)
	rm -rf build $(VENV)

# Check that the path, the file system and the permissions of this directory allow building in it and sharing it with
# a VM.
CHECK_PATHS := PYTHONPATH=python $(python) -B -m ksmlab.vm.path_checks

# The first step on a bare machine. It may rely only on a shell and make.
.PHONY: host
host:
	@command -v $(python) >/dev/null || { \
		get="apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv"; \
		if ! command -v apt-get >/dev/null; then echo $(python)" is not installed. Install Python 3.11 or newer with its venv module."; exit 1; \
		elif [ "$$(id -u)" = 0 ]; then sh -c "$$get"; \
		elif command -v sudo >/dev/null; then sudo sh -c "$$get"; \
		else echo $(python)" is not installed, and nothing was changed. Run this command as root, then try again:"; echo "  $$get"; exit 1; fi; }
	@$(CHECK_PATHS)
	@$(python) python/ksmlab/doctor.py --quiet --install --no-tests

# The tests on the host also need a browser.
.PHONY: host-tests
host-tests: $(STAMP)
	@$(python) python/ksmlab/doctor.py --quiet --install

$(STAMP): pyproject.toml | host
	@echo "making $(VENV) (repeated only when pyproject.toml changes) ..."
	@{ $(python) -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'; } || { $(CHECK_PATHS); exit 1; }
	@touch $@
	@echo "making $(VENV): done"
