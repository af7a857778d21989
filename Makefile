# make demo       a fresh machine: creates .venv, installs samlet, runs `samlet demo`
# make test       a fresh machine: the same with the test extra, then linters, types and the fast tests
# make test-slow  the tests that `make test` leaves out: long, distributed, benchmarks at a token size, ExecuTorch
# make bench      the benchmarks at full size, with data that is not shipped; their JSON goes to benchmarks/results

PYTHON ?= python3
BIN := .venv/bin
DEMO_MINUTES ?= 4
TEST_PROCESSES ?= 2
PYTEST := OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadscope

.PHONY: demo test test-slow bench clean

.venv/demo-installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/test-installed: .venv/demo-installed
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

.venv/slow-installed: .venv/test-installed
	$(BIN)/python -m pip install --quiet --editable ".[test,executorch]"
	touch $@

demo: .venv/demo-installed
	$(BIN)/samlet demo --minutes $(DEMO_MINUTES) --out demo --overwrite

test: .venv/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST)

test-slow: .venv/slow-installed
	$(PYTEST) -m "slow or distributed or benchmark"

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
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python scripts/update_docs.py

clean:
	rm -rf .venv demo
