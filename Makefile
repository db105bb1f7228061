# Two commands matter: `make demo` and `make test`. Everything they need, they install.
.PHONY: help demo demo-clean test check format fuzz bench scale docs lock clean

PYTHON := .venv/bin/python

help:
	@echo "make demo        two containers on a network of their own, pinging each other by name"
	@echo "make demo-clean  remove everything that the demo made"
	@echo "make test        install what the tests need and run them all (as root)"
	@echo "make check       format, lint, types, import layers"
	@echo "make bench       measure side by side with Docker and Podman (some 25 minutes)"
	@echo "make scale       thousands of simulated nodes against a real etcd (some 20 minutes)"
	@echo "make fuzz        throw garbage at whatever parses bytes from outside"
	@echo "make docs        write the generated pages of the reference anew"

demo:
	@scripts/bootstrap run
	@scripts/demo

demo-clean:
	@scripts/demo clean

test: check
	@scripts/test

check:
	@scripts/bootstrap dev
	@scripts/check

format:
	@scripts/bootstrap dev
	.venv/bin/ruff check --fix carrick tests bench
	.venv/bin/ruff format carrick tests bench

fuzz:
	@scripts/bootstrap dev
	$(PYTHON) -m pytest -q -s tests/fuzz/*.py

bench:
	@scripts/bootstrap dev
	@bench/install.sh
	$(PYTHON) -m bench

scale:
	@scripts/bootstrap dev
	$(PYTHON) -m bench.scale

docs:
	@scripts/bootstrap dev
	$(PYTHON) -m carrick.doors.cli.reference > docs/reference/cli.md

lock:
	@scripts/bootstrap dev
	scripts/lock

clean: demo-clean
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis
