# make demo    see it run: sets up .venv, starts the demonstration, asks, kills, looks, stops
# make test    run all tests (installs Debian packages that are missing, when it may)
# make lint    what CI checks beside the tests          make fix    repair what can be repaired
# make bench   speed and size, beside other programs    make clean  remove what make made
# make chaos   every fault under load, at full size, and what the same costs elsewhere: 45 minutes
# make install PREFIX=/usr DESTDIR=...   manual pages, completion and systemd's files; the programs are pip's

SHELL := /bin/sh

# The manager runs without privileges, so it must be able to run the interpreter: the system's, not one below a private
# home directory.
PYTHON ?= $(shell for python in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& command -v $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.PHONY: all demo test lint fix bench chaos docs install clean packages
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
demo test bench chaos:
	@copy=$$(mktemp -d /tmp/fcgipm.XXXXXX) && trap 'rm -rf "$$copy"' EXIT && chmod 755 "$$copy" \
	&& echo "other users may not read $(CURDIR): working on a copy in $$copy" \
	&& tests/copy-tree . "$$copy/fcgipm" && $(MAKE) --no-print-directory -C "$$copy/fcgipm" $@
else
demo: $(VENV)/.installed
	@etc/demo.sh $(BIN)

test: $(VENV)/.installed-test packages
	$(BIN)/pytest $(PYTEST_ARGS)

bench: $(VENV)/.installed-test
	@tests/install-packages tests/packages.txt bench/packages.txt
	PYTHONPATH=tests $(BIN)/python -m bench

# CHAOS_SECONDS=30 for less of each; CHAOS_ARGS="-k reload" for some of them.
chaos: $(VENV)/.installed-test
	@tests/install-packages tests/packages.txt bench/packages.txt
	@lines=$$(mktemp) && trap 'rm -f "$$lines"' EXIT && status=0 \
	&& { CHAOS=full CHAOS_TABLE="$$lines" $(BIN)/pytest -n 2 tests/chaos $(CHAOS_ARGS) || status=$$?; } \
	&& PYTHONPATH=tests $(BIN)/python -m chaos.table "$$lines" && exit $$status
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

# What a Python package cannot bring along. The units start the programs where they are: $(PREFIX)/bin.
PREFIX ?= /usr/local
SHARE := $(DESTDIR)$(PREFIX)/share
LIB := $(DESTDIR)$(PREFIX)/lib

install:
	install -d $(SHARE)/man/man1 $(SHARE)/man/man5 $(SHARE)/man/man8 $(SHARE)/bash-completion/completions \
		$(SHARE)/doc/fcgipm $(LIB)/systemd/system $(LIB)/sysusers.d $(LIB)/sysctl.d
	install -m 644 man/fcgipmctl.1 man/fcgipm-report.1 $(SHARE)/man/man1/
	install -m 644 man/apps.toml.5 $(SHARE)/man/man5/
	install -m 644 man/fcgipm.8 $(SHARE)/man/man8/
	install -m 644 etc/completions/fcgipmctl.bash $(SHARE)/bash-completion/completions/fcgipmctl
	install -m 644 README.md CHANGELOG.md LICENSE etc/apps.toml docs/*.md $(SHARE)/doc/fcgipm/
	install -m 644 etc/logrotate.d/fcgipm $(SHARE)/doc/fcgipm/fcgipm.logrotate
	install -m 644 etc/prometheus/fcgipm.rules.yml $(SHARE)/doc/fcgipm/
	install -m 644 systemd/sysusers.d/fcgipm.conf $(LIB)/sysusers.d/
	install -m 644 etc/sysctl.d/fcgipm.conf $(LIB)/sysctl.d/50-fcgipm.conf
	for unit in systemd/*.service; do \
		sed 's|=/usr/bin/|=$(PREFIX)/bin/|' "$$unit" >"$(LIB)/systemd/system/$${unit#*/}" || exit; \
		chmod 644 "$(LIB)/systemd/system/$${unit#*/}"; \
	done

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
