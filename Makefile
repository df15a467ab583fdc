# Two commands for a newcomer: `make demo` and `make test`. Each needs Python ≥ 3.11, stable Rust and a C compiler, and gets the rest.

SHELL := /bin/bash

ARGS ?=

.PHONY: help build demo test check test-full bench fmt wheel docs clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

build: ## .venv with the package, all extras, the development tools and the release engine
	@scripts/build.sh

demo: build ## a year of real flights through the library; options: make demo ARGS="--plain --report DIR"
	@.venv/bin/headwater demo $(ARGS)

test: ## everything but the long forms; at most 40 minutes on two cores, stopped at 60
	@timeout --foreground --kill-after=30 60m scripts/test.sh test

check: ## the inner loop: lint, types, unit tests, conformance; under 3 minutes once built
	@scripts/test.sh check

test-full: ## the long form of each part: hours
	@timeout --foreground --kill-after=30 4h scripts/test.sh full

bench: build ## throughput and latency of the embedded engine beside the machine's limits; options: ARGS="--json"
	@.venv/bin/python benchmarks/first_light.py $(ARGS)

fmt: build ## formats Rust and Python
	@scripts/fmt.sh

wheel: build ## dist/headwater-*.whl: needs no Rust where it is installed
	@scripts/wheel.sh dist

docs: build ## the pages of docs/ as a site in site/
	@. scripts/tools.sh && "$$UV" run --frozen --group docs zensical build --strict

clean: ## removes what the build made
	rm -rf .venv .tools target dist site report .pytest_cache .ruff_cache .mypy_cache .hypothesis python/headwater/_engine.abi3.so
