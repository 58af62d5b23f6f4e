# `make` prints the menu. Every target sets up what it needs: an environment in .venv, and the engine built in place.
# On a fresh Debian or Ubuntu: apt-get install make gcc python3-venv python3-dev (cmake and ninja come from PyPI).

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BUILD_TYPE ?= Release
ASAN_TESTS ?= tests
TSAN_TESTS ?= tests/engine
# Seconds between two, and at most: --every 0.5 --longest 1 --seed 1
STALLS ?=
# Which threads: engine, or others
DAWDLERS ?= engine

BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# One environment and one build for each interpreter: cpython-311, cpython-312, ...
TAG := $(shell $(PYTHON) -c 'import sys; print(sys.implementation.cache_tag)' 2>/dev/null)
MADE := $(VENV)/.made-$(TAG)
RUNTIME := $(VENV)/.runtime-$(TAG)
DEVELOP := $(VENV)/.develop-$(TAG)

PIP_INSTALL := $(BIN)/python -m pip install -qq
# The environment gets the metadata and the command only; the engine is built by tools/build.sh, which is incremental.
PIP_EDITABLE := $(PIP_INSTALL) --no-build-isolation --config-settings=cmake.define.FASTFAN_ENGINE=OFF --editable
BUILD_REQUIRES := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")
BUILD := PYTHON=$(BIN)/python tools/build.sh

# What a command prints is of interest when it fails.
QUIETLY = $(1) >build/log 2>&1 || { tail -n 40 build/log; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help serve test lint types cover asan ubsan tsan test-threads bench bench-engine bench-guard bench-rivals rivals pictures test-data wheel sdist setup clean fuzz test-poll test-stalls test-dawdle conformance soak

help: ## this menu
	@echo 'make TARGET [ARGS="..."] [PYTHON=python3.12]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(RUNTIME) engine ## set everything up and run the server: make serve ARGS="--help"
	@fastpubsub serve $(ARGS)

test: $(DEVELOP) engine ## set everything up and run the tests: make test ARGS='-m "not packaging"'
	@python -m pytest $(ARGS)

lint: $(DEVELOP) ## ruff on the Python, cython-lint on the Cython
	@ruff check .
	@cython-lint src

types: $(DEVELOP) engine ## mypy, strict
	@mypy

cover: $(DEVELOP) ## coverage of both packages, Cython lines too; under 90 % fails
	@$(BUILD) cover-$(TAG) build/cover/site -DFASTFAN_COVERAGE=ON -DCMAKE_BUILD_TYPE=Debug
	@coverage erase
	@PYTHONPATH=$(CURDIR)/build/cover/site coverage run -m pytest -m "not packaging and not untraced" $(ARGS)
	@coverage combine --quiet
	@cd build/cover/site && coverage report --rcfile=$(CURDIR)/setup.cfg --data-file=$(CURDIR)/.coverage

# --capture=sys: a report goes past pytest, whose capture it would otherwise die with. Leaks are not looked for, because
# CPython keeps memory to its end; ASAN_OPTIONS=detect_leaks=1 turns that on.
SANITIZED = PYTHONPATH=$(CURDIR)/build/asan/site PYTHONMALLOC=malloc \
    ASAN_OPTIONS=$${ASAN_OPTIONS:-detect_leaks=0} UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
    LD_PRELOAD=$$(gcc -print-file-name=libasan.so):$$(gcc -print-file-name=libubsan.so)

asan: asan-engine ## the tests on an engine built with ASan and UBSan
	@$(SANITIZED) $(BIN)/python -m pytest -p no:cacheprovider --capture=sys -m "not packaging and not browser" \
	        --ignore=tests/test_stubs.py --ignore=tests/test_layering.py $(ARGS) $(ASAN_TESTS)

.PHONY: asan-engine
asan-engine: $(DEVELOP)
	@$(BUILD) asan-$(TAG) build/asan/site -DFASTFAN_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=Debug

ubsan: asan ## the same: one build has both, and each finds what the other cannot

# halt_on_error, because a run with many races takes for ever. Not the tests that fork: TSan does not let go of its own
# locks for it, so that a child, in which nobody holds them any more, may wait for one for ever, in free(). The census of
# threads in conftest.py does not know TSan's.
tsan: $(DEVELOP) ## the engine's tests, with two I/O threads, on an engine built with TSan
	@$(BUILD) tsan-$(TAG) build/tsan/site -DFASTFAN_SANITIZE=thread -DCMAKE_BUILD_TYPE=Debug
	@PYTHONPATH=$(CURDIR)/build/tsan/site PYTHONMALLOC=malloc FASTFAN_IO_THREADS=$${FASTFAN_IO_THREADS:-2} \
	    TSAN_OPTIONS="halt_on_error=1 exitcode=66" LD_PRELOAD="$$(gcc -print-file-name=libtsan.so)" \
	    $(BIN)/python -m pytest -p no:cacheprovider --capture=sys -m "not forks" $(ARGS) $(TSAN_TESTS)

test-threads: $(DEVELOP) engine ## the engine's tests once more, with two I/O threads
	@FASTFAN_IO_THREADS=$${FASTFAN_IO_THREADS:-2} python -m pytest $(ARGS) tests/engine

# These two look for tests that take a time for what they wait for. Linux.
test-stalls: $(DEVELOP) engine ## the tests while their processes stand still now and then: make test-stalls ARGS="tests/server"
	@python tools/stalls.py $(STALLS) -- python -m pytest -p no:cacheprovider -m "not packaging" $(ARGS)

test-dawdle: $(DEVELOP) engine ## the engine's tests with I/O threads that dawdle; DAWDLERS=others: all but these
	@mkdir -p build && $(CC) -O1 -Wall -Wextra -Werror -shared -fPIC -o build/dawdle.so tools/dawdle.c -ldl
	@DAWDLERS=$(DAWDLERS) FASTFAN_IO_THREADS=$${FASTFAN_IO_THREADS:-2} LD_PRELOAD=$(CURDIR)/build/dawdle.so \
	    python -m pytest -p no:cacheprovider $(ARGS) tests/engine

# 3: there is no Python 2.7, which it says.
conformance: $(DEVELOP) engine ## the Autobahn test suite against server and client, where a Python 2.7 is found
	@python -m tests.conformance $(ARGS) || [ $$? = 3 ]

fuzz: $(DEVELOP) engine ## random bytes for all that reads a client, ASan and UBSan too: make fuzz ARGS="seconds=600 targets=utf8"
	@SANITIZED="$(SANITIZED)" tests/fuzz/run.sh $(ARGS)

soak: $(DEVELOP) engine ## every kind of trouble at once, and a verdict: make soak ARGS="minutes=20 seed=1"
	@python -m tests.soak $(ARGS)

test-poll: $(DEVELOP) ## the engine's tests on an engine without epoll, as other POSIX systems have it
	@$(BUILD) poll-$(TAG) build/poll/site -DFASTFAN_POLLER=poll -DCMAKE_BUILD_TYPE=$(BUILD_TYPE)
	@PYTHONPATH=$(CURDIR)/build/poll/site python -m pytest -p no:cacheprovider $(ARGS) tests/engine

bench: $(DEVELOP) engine ## the benchmarks, ours beside bare C: make bench ARGS="paced"; ARGS=--help: which there are
	@python -m benchmarks $(ARGS)

bench-engine: $(DEVELOP) engine ## the engine's own figures beside bare C, in one run: make bench-engine ARGS=--quick
	@python -m benchmarks.engine $(ARGS)

bench-rivals: rivals ## the benchmarks with every rival that is installed, in one run: an hour
	@python -m benchmarks --server bare_log --server bare_send --server fastpubsub --server rivals $(ARGS)

rivals: $(DEVELOP) engine ## install the rivals into build/rivals
	@PYTHON=$(BIN)/python benchmarks/rivals/setup.sh

pictures: $(DEVELOP) ## docs/pictures and the tables of docs/benchmarks.md, from benchmarks/results
	@python -m benchmarks.draw

bench-guard: $(DEVELOP) engine ## instructions that the engine takes, beside a baseline; 3 % more fails (valgrind)
	@python -m benchmarks.guard $(ARGS)

test-data: $(MADE) ## write test.dat for the functional test: make test-data ARGS="--messages 500 --seed 1"
	@python tools/make_test_data.py $(ARGS)

wheel: $(DEVELOP) ## dist/: a wheel for this Python that runs on other Linuxes (manylinux), checked
	@rm -rf build/wheel && mkdir -p build/wheel dist
	@$(call QUIETLY,python -m build --outdir build/wheel .)
	@python tools/check_wheel.py build/wheel/*.whl
	@if [ "$$(uname -s)" = Linux ]; then $(call QUIETLY,auditwheel repair --wheel-dir dist build/wheel/*.whl); \
	    else cp build/wheel/*.whl dist; fi
	@ls dist/*.whl

sdist: $(DEVELOP) ## dist/: the source distribution
	@mkdir -p build dist
	@$(call QUIETLY,python -m build --sdist --outdir dist .)
	@ls dist/*.tar.gz

setup: $(DEVELOP) engine ## the environment with every tool, and the engine in place, without running anything

clean: ## remove everything that make has made
	rm -rf $(VENV) build dist src/*.egg-info src/*/*.so htmlcov .coverage .coverage.* test.dat
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: engine
engine: $(RUNTIME)
	@$(BUILD) dev-$(TAG) src -DCMAKE_BUILD_TYPE=$(BUILD_TYPE)

# -- The environment, made once and again when pyproject.toml or setup.cfg changes -----------------------------------

$(MADE):
	@missing=$$(tools/missing.sh $(PYTHON)); [ -z "$$missing" ] || { echo "first: apt-get install $$missing"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer: make PYTHON=python3.12")'
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@if [ -e $(VENV)/pyvenv.cfg ]; then rm -rf $(VENV); fi
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(RUNTIME): $(MADE) pyproject.toml setup.cfg
	@python -c '$(BUILD_REQUIRES)' >$(VENV)/build-requires.txt
	@$(PIP_INSTALL) -r $(VENV)/build-requires.txt cmake ninja
	@$(PIP_EDITABLE) .
	@touch $@

$(DEVELOP): $(RUNTIME)
	@$(PIP_EDITABLE) '.[dev]'
	@touch $@
