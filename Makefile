# make demo    install into .venv, learn to count the ones of 20-bit strings, test on all the others
# make test    install into .venv, run the whole suite       PEERS=1: with torch, jax, onnxruntime   DATA=DIR: real data
# make quick   style, types, and the fast tests of what changed since the last commit: answers within a minute, and says
#              what it left out   ARGS="--seconds 100": with slower ones
# make nightly the suite with many more random trials    ARGS="tests/test_properties.py": a part of it
# make bare    without Numba: what array code alone must get right
# make lowest  with the lowest versions that pyproject.toml allows: on Python 3.11 or 3.12, which they were made for
# make questions  every figure of docs/questions, measured again     make figures: draws docs/figures again
# make docs    builds the site into build/site, to be read without a network, and checks its links
# make screenshots  and pictures of its pages in build/screenshots, as readers see them   ARGS=explorer: of those named so
# make lint    style and types
# make seeds   the demo's figures for the seeds 0 to 4       SEEDS="0 1": for these
# make avx2    the compiled engine as a processor without AVX-512 has it
# make bench   race the engines against every peer that is installed    ARGS="--shapes count --peers torch --threads 1,2,4" ISA=avx2
# make kernels compile them into the package, for levels of processors: a wheel that is built then holds them, docs/cpu.md
# make scoreboard  other engines held to the golden pack, each in an environment of its own: docs/scoreboard.md
# make gpu     on a machine with a GPU                       PART=tests|race|bench OUT=DIR

PYTHON ?= python3
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN := .venv/$(SCRIPTS)
SEEDS ?= 0 1 2 3 4
PEERS ?=
DATA ?=
ARGS ?=
PART ?= tests
OUT ?= runs/gpu
export PYTHONDONTWRITEBYTECODE :=# a test starts many processes: that each compiles the package anew costs more than it runs

.PHONY: demo test quick avx2 bare lowest nightly questions figures docs screenshots lint seeds bench kernels scoreboard gpu clean
.DELETE_ON_ERROR:

demo: .venv/demo
	$(BIN)/lstmcore train count --out runs/count --overwrite

test: .venv/dev $(if $(PEERS),.venv/peers)
	$(BIN)/python -m pytest $(if $(PEERS),--require-peers) $(if $(DATA),--data $(DATA)) $(ARGS)

quick: .venv/dev lint
	$(BIN)/python -m pytest -q --seconds 30 $(ARGS) $$($(BIN)/python tests/quick.py)

nightly: .venv/dev
	$(BIN)/python -m pytest --nightly --timeout=14400 $(if $(DATA),--data $(DATA)) $(ARGS)

avx2: .venv/dev
	NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx2,+fma $(BIN)/python -m pytest -q \
	  -k 'test_tile and float32 or (every_cut or accuracy) and lstm and not float64' \
	  tests/ops/cpu/test_tile.py tests/ops/recurrence/cpu/test_fused.py

bare: .venv-bare/done
	.venv-bare/$(SCRIPTS)/python -m pytest -q -k 'not fused' tests/test_without_numba.py tests/layers/test_simple.py tests/test_truth.py

lowest: .venv-lowest/done
	.venv-lowest/$(SCRIPTS)/python -m pytest -q -k '(not fused or fused-cpu-lstm) and not processes' tests/test_trajectory.py \
	  tests/train/files/test_checkpoint.py tests/cli/test_verbs.py

questions: .venv/dev
	$(BIN)/python -m benchmarks.questions

figures: .venv/dev
	$(BIN)/python docs/figures/draw.py

docs: .venv/dev
	$(BIN)/python -m sphinx -E -q -W --keep-going -b html docs build/site
	$(BIN)/python docs/links.py build/site

screenshots: docs
	$(BIN)/python docs/screenshots.py $(ARGS)

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

seeds: .venv/demo
	@set -e; for seed in $(SEEDS); do \
	  $(BIN)/lstmcore train count --seed $$seed --out runs/count-$$seed --overwrite --goal 0.001 --json | tail -n 1; done

bench: .venv/peers .venv/demo
	$(BIN)/python -m benchmarks $(if $(ISA),--isa $(ISA)) $(ARGS)

kernels: .venv/dev
	$(BIN)/lstmcore info --build-kernels

scoreboard: .venv/peers $(patsubst %,.peers/%/done,openvino tract paddlepaddle dm-haiku mlx tinygrad mxnet)
	$(BIN)/python -m benchmarks.scoreboard
	for peer in paddlepaddle:paddle openvino:openvino openvino:openvino:layout1 tract:tract dm-haiku:haiku mlx:mlx \
	            tinygrad:tinygrad mxnet:mxnet; do \
	  $(BIN)/python -m benchmarks.scoreboard $${peer#*:}=.peers/$${peer%%:*}/$(SCRIPTS)/python; done

gpu:
	$(PYTHON) -m benchmarks.gpu $(PART) --out $(OUT)

# A stamp per set of extras: made again when the list of dependencies changes.
.venv/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "lstmcore needs Python 3.11 or later"'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/demo: .venv/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[plot]'
	@touch $@

.venv/dev: .venv/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

.venv/peers: .venv/dev
	$(BIN)/pip install --quiet --editable '.[peers]'
	@touch $@

.venv-bare/done: pyproject.toml
	$(PYTHON) -m venv .venv-bare
	.venv-bare/$(SCRIPTS)/pip install --quiet 'numpy>=2.0' 'rich>=13' 'typer>=0.19' 'safetensors>=0.5' pytest pytest-timeout hypothesis
	.venv-bare/$(SCRIPTS)/pip install --quiet --no-deps --editable .
	@touch $@

LOWEST := import tomllib; asked = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]; \
  print(*(each.partition(";")[0].replace(">=", "==") for each in asked))
.venv-lowest/done: pyproject.toml # later versions of click warn of what such a typer imports
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/$(SCRIPTS)/pip install --quiet pytest pytest-timeout hypothesis 'click<8.5' $$($(PYTHON) -c '$(LOWEST)')
	.venv-lowest/$(SCRIPTS)/pip install --quiet --no-deps --editable .
	@touch $@

PEER_dm-haiku := dm-haiku jax
PEER_mlx := 'mlx[cpu]' 'numpy>=2.0'
PEER_mxnet := mxnet 'numpy<1.24'

.peers/%/done: # an environment of its own for each: they want other versions of things
	$(PYTHON) -m venv .peers/$*
	.peers/$*/$(SCRIPTS)/pip install --quiet safetensors $(or $(PEER_$*),$* onnx 'numpy>=2.0')
	@touch $@

clean:
	rm -rf .venv .venv-bare .venv-lowest .peers runs
