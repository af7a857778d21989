# make demo   a fresh machine: creates .venv, installs samlet, slims the bundled SAM on the bundled photographs
# make test   a fresh machine: the same with the test extra, then linters, types and tests
# make bench  the benchmarks at full size, with data that is not shipped; their JSON goes to benchmarks/results

PYTHON ?= python3
BIN := .venv/bin
DEMO_STEPS ?= 160
TEST_PROCESSES ?= 2

.PHONY: demo test bench clean

.venv/demo-installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/test-installed: .venv/demo-installed
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

demo: .venv/demo-installed
	$(BIN)/samlet slim --teacher mobile_sam --images examples/photos --ratio 0.5 --steps $(DEMO_STEPS) \
		--image-size 512 --out demo --overwrite
	@echo
	@echo "demo/comparison.png shows the teacher's masks, the raw pruned ones and the aligned ones side by side."

test: .venv/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal

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
	$(BIN)/python scripts/update_docs.py

clean:
	rm -rf .venv demo
