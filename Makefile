# make demo       a fresh machine: creates .venv, installs samlet, runs `samlet demo`
# make test       a fresh machine: the same with the test extra, then linters, types and the fast tests
# make test-slow  tests that `make test` leaves out: slow, distributed, ExecuTorch, browser, the documentation as a site
# make test-thorough   what both leave out: benchmarks at a token size, other variants of slow tests, 20,000 changed files
#                 and 20 stops of each long command, where test-slow takes a fifth of them
# make format, make lint, make docs   formats the code; linters and types; fills the tables of README and docs/
# make site       the documentation as a web site, in site/; fails at a broken link
# make web-tools  what the tests of page and transformers.js need: node, Chromium (as root, with apt-get), packages of npm
# make bench      the benchmarks at full size, with data that is not shipped; their JSON goes to benchmarks/results

PYTHON ?= python3
BIN := .venv/bin
DEMO_MINUTES ?= 4
TEST_PROCESSES ?= 2
PYTEST := OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadscope

.PHONY: test-thorough demo format lint docs site test test-slow web-tools bench clean

.venv/demo-installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[train]"
	touch $@

.venv/test-installed: .venv/demo-installed
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

.venv/slow-installed: .venv/test-installed
	$(BIN)/python -m pip install --quiet --editable ".[test,executorch,docs]"
	touch $@

.venv/docs-installed: .venv/demo-installed
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

demo: .venv/demo-installed
	$(BIN)/samlet demo --minutes $(DEMO_MINUTES) --out demo --overwrite

format: .venv/test-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: .venv/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/test-installed
	$(BIN)/python scripts/update_docs.py

site: .venv/docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

test: lint
	$(PYTEST)

web-tools:
	for program in node npm chromium; do command -v $$program >/dev/null || missing=yes; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -qq --yes --no-install-recommends nodejs npm chromium; fi
	for folder in tests/web tests/tools; do \
		(cd $$folder && npm ci --ignore-scripts --no-audit --no-fund) || exit 1; done

test-thorough: .venv/slow-installed
	$(PYTEST) -m "long or benchmark"
	SAMLET_THOROUGH=1 $(PYTEST) -m "slow or not slow" tests/hostile

test-slow: .venv/slow-installed
	-$(MAKE) web-tools  # without them the browser's tests are skipped and say so
	$(PYTEST) -m "(slow or distributed) and not long and not benchmark"

bench: .venv/test-installed
	$(BIN)/python benchmarks/encoder_speed.py
	$(BIN)/python benchmarks/slimming_tables.py curve --image-size 512 --steps 80 --scoring-images 16
	$(BIN)/python benchmarks/slimming_tables.py longer --image-size 512 --steps 600 --scoring-images 32 --limit 0 \
		--micro-batch 1
	$(BIN)/python benchmarks/slimming_tables.py switches
	$(BIN)/python benchmarks/slimming_tables.py importance selection --steps 40 --limit 30
	$(BIN)/python benchmarks/aligning_speed.py --steps 10 --rounds 1 --micro-batch 4
	$(BIN)/python benchmarks/vit_heads.py --repeats 5
	$(BIN)/python benchmarks/baseline.py
	$(BIN)/python benchmarks/published_costs.py
	$(BIN)/python benchmarks/everything.py speed
	$(BIN)/python benchmarks/everything.py recall
	$(BIN)/python benchmarks/comparison.py
	$(BIN)/python benchmarks/distillation.py ablation recovery prompts
	$(BIN)/python benchmarks/distillation.py aim --image-size 512 --steps 150
	$(BIN)/python benchmarks/quantization.py table aim
	$(BIN)/python benchmarks/export.py speed accuracy everything --plain
	$(BIN)/python benchmarks/web.py
	$(BIN)/python benchmarks/confidence.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/first_page.py
	$(BIN)/python scripts/update_docs.py

clean:
	rm -rf .venv demo site
