# make demo    see it run: sets up .venv, starts the demonstration, asks, kills, looks, stops
# make test    run all tests (installs Debian packages that are missing, when it may)
# make lint    what CI checks beside the tests          make fix    repair what can be repaired
# make bench   speed and size, beside other programs    make clean  remove what make made

SHELL := /bin/sh

# The manager runs without privileges, so it must be able to run the interpreter: the system's, not one below a private
# home directory.
PYTHON ?= $(shell for python in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& command -v $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.PHONY: all demo test lint fix bench docs clean packages
all: test

# Root's managers and applications run as other users: below /root (0700) they could not read the program.
HIDDEN := $(shell test "$$(id -u)" = 0 && ! setpriv --reuid=65534 --regid=65534 --clear-groups \
	test -r "$(CURDIR)/pyproject.toml" && echo yes)

$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with the venv module is needed (Debian: python3-venv)"; exit 1; }
	umask 022; $(PYTHON) -m venv $(VENV)
	umask 022; $(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	umask 022; $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

packages:
	@tests/install-packages

ifeq ($(HIDDEN),yes)
demo test bench:
	@copy=$$(mktemp -d /tmp/fcgipm.XXXXXX) && trap 'rm -rf "$$copy"' EXIT && chmod 755 "$$copy" \
	&& echo "other users may not read $(CURDIR): working on a copy in $$copy" \
	&& tests/copy-tree . "$$copy/fcgipm" && $(MAKE) --no-print-directory -C "$$copy/fcgipm" $@
else
demo: $(VENV)/.installed
	@etc/demo.sh $(BIN)

test: $(VENV)/.installed-test packages
	$(BIN)/pytest $(PYTEST_ARGS)

bench: $(VENV)/.installed-test packages
	PYTHONPATH=tests $(BIN)/python -m bench
endif

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	@if command -v mandoc >/dev/null; then man/lint; \
	elif test -n "$$CI"; then echo "mandoc is missing"; exit 1; \
	else echo "mandoc is missing: the manual pages are not checked"; fi

fix: $(VENV)/.installed-test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/python docs/generate.py

docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
