# Every target makes .venv ready by itself; PYTHON=/path/to/python3 picks the interpreter.
#
#   make demo [ARGS="--boards 8 --rate 0"]   a whole cluster on this machine
#   make test [ARGS="tests/unit -k offers"]  every test but the soaks; PROCESSES=0 runs them one after another
#   make soak                                hours of kills and chance in half an hour: 1,000 kills, more subsets
#   make lint                                style, layers, types
#   make format                              lets ruff write
#   make bench [ARGS="transfer"]             measures, side by side with nginx and curl where they are installed
#   make lab [ARGS="growth"]                 chassis in network namespaces, against nginx, udpcast, libtorrent; needs root
#   make conformance SUITE=DIR              the suite of theupdateframework/tuf-conformance, checked out at DIR
#   make release-bundle [VERSION=1.2]      Boardwright itself as two versions that `publish` takes, below dist/
#   make clean                               removes .venv and caches

SHELL = /bin/sh
ARGS =
PROCESSES = 3
.PHONY: help demo test soak conformance lint format bench lab release-bundle clean runtime dev

help:
	@sed -n 's/^#//p' Makefile

demo: runtime
	@.venv/bin/boardwright demo $(ARGS)

test: dev
	@.venv/bin/python -m pytest -m "not soak" -n $(PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

soak: dev
	@.venv/bin/python -m pip install --quiet "atheris>=2.3" || echo "NOT FUZZED: atheris cannot be installed for this Python"
	@.venv/bin/python -m pytest -m soak -rP $(ARGS)

lint: dev
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/lint-imports --no-logo
	@.venv/bin/mypy

format: dev
	@.venv/bin/ruff check --quiet --fix .
	@.venv/bin/ruff format --quiet .

SUITE =
conformance: dev
	@[ -d "$(SUITE)/tuf_conformance" ] || { echo "boardwright: SUITE=DIR names a checkout of theupdateframework/tuf-conformance" >&2; exit 2; }
	@command -v faketime >/dev/null || { echo "boardwright: the suite needs the program faketime" >&2; exit 2; }
	@.venv/bin/python -m pip install --quiet "pytest-json-report>=1.5"
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python -m pytest -c "$(SUITE)/pyproject.toml" --rootdir "$(SUITE)" "$(SUITE)/tuf_conformance" --entrypoint "$(CURDIR)/tests/conformance/tuf_client" -q $(ARGS)

bench: dev
	@.venv/bin/python -m bench $(ARGS)

lab: dev
	@.venv/bin/python -m bench.lab $(ARGS)

VERSION =
release-bundle: runtime
	@.venv/bin/python -m boardwright.cli.bundling $(if $(VERSION),--version $(VERSION))

runtime:
	@sh tools/bootstrap runtime

dev:
	@sh tools/bootstrap dev

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
