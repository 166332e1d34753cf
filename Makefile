# Every command of the project, for people and for CI. `make help` lists them.
#
# A stamp in .venv says which extras are installed for which runtime. It is older than pyproject.toml or
# constraints.txt when one of them changed, and only then does pip run again.

PYTHON ?= python3
GPU ?= 0
SIMVAE_PORT ?= 8000
DATA ?= fashion-mnist
PRESET ?= demo
RUN ?= runs/$(PRESET)
MODEL ?= models/$(notdir $(RUN))
ARGS ?=

ifeq ($(filter $(GPU),0 1),)
$(error GPU must be 0 or 1, found '$(GPU)')
endif

RUNTIME := $(if $(filter 1,$(GPU)),gpu,cpu)
DEVICE := $(if $(filter 1,$(GPU)),cuda,cpu)
# The two ONNX Runtime wheels unpack into the same folder, so one must be gone before the other comes.
OTHER := $(if $(filter gpu,$(RUNTIME)),cpu,gpu)
OTHER_WHEEL := $(if $(filter gpu,$(OTHER)),onnxruntime-gpu,onnxruntime)

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Four sizes of installation; the stamp of a larger one stands for the smaller ones too.
EXTRAS_serve := $(RUNTIME)
EXTRAS_train := $(RUNTIME),train,export
EXTRAS_dev := $(RUNTIME),parquet,search,train,export,dev
EXTRAS_all := $(RUNTIME),parquet,search,train,export,dev,integrations
# The client is a distribution of its own, which apps install without the service; tests need it too.
WITH_dev := -e './simvae_client[progress]'
WITH_all := $(WITH_dev)
HOLDS_serve := serve
HOLDS_train := serve train
HOLDS_dev := serve train dev
HOLDS_all := serve train dev all
SERVE := .venv/.serve-$(RUNTIME)
TRAIN := .venv/.train-$(RUNTIME)
DEV := .venv/.dev-$(RUNTIME)
ALL := .venv/.all-$(RUNTIME)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install serve test demo train evaluate export check format integrations containers openapi lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-13s%s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: GPU=1 (ONNX Runtime on CUDA), SIMVAE_PORT=8000, PYTHON=python3, DATA, PRESET, RUN, MODEL, ARGS"

install: $(DEV) ## everything that tests and development need, into .venv

serve: $(SERVE) ## start the service on the bundles in models/, at http://127.0.0.1:8000
	@exec $(BIN)/simvae-serve --models models --host 127.0.0.1 --port $(SIMVAE_PORT) --device $(DEVICE) $(ARGS)

test: $(DEV) ## run every test (ARGS='-k bundle' for some)
	$(BIN)/pytest $(ARGS)

demo: $(TRAIN) ## FashionMNIST from training to nearest neighbours over HTTP, in minutes
	$(BIN)/python benchmarks/demo.py $(ARGS)

train: $(TRAIN) ## train PRESET on DATA into RUN (DATA=path/to/folder PRESET=folder RUN=runs/mine)
	$(BIN)/simvae-train "$(DATA)" --preset $(PRESET) --out "$(RUN)" $(ARGS)

evaluate: $(TRAIN) ## measure RUN
	$(BIN)/simvae-evaluate "$(RUN)" $(ARGS)

export: $(TRAIN) ## export RUN as the next version of MODEL
	$(BIN)/simvae-export "$(RUN)" "$(MODEL)" $(ARGS)

check: $(DEV) ## formatting, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## format, and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

integrations: $(ALL) ## test against the real clients and databases of others, which this installs
	$(BIN)/pytest tests/e2e/integrations $(ARGS)

containers: $(DEV) ## build the image, start it with compose, and test it from outside
	SIMVAE_TEST_CONTAINERS=1 $(BIN)/pytest tests/e2e/test_containers.py -rs $(ARGS)

openapi: $(DEV) ## write docs/openapi.json
	$(BIN)/python -m service.api.openapi > docs/openapi.json

lock: $(DEV) ## pin the newest versions that fit together in constraints.txt
	$(PIP) install -q --dry-run --ignore-installed --report .venv/lock.json '.[cpu,gpu,parquet,search,train,export,dev,integrations]' './simvae_client[progress]'
	$(BIN)/python .ci/constraints.py .venv/lock.json > constraints.txt

clean: ## remove .venv and every cache; runs/ and models/ stay
	rm -rf .venv build dist simvae.egg-info simvae_client/build simvae_client/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/.%-$(RUNTIME): .venv/.python pyproject.toml simvae_client/pyproject.toml constraints.txt
	@if $(PIP) show -q $(OTHER_WHEEL) 2>/dev/null; then \
	  echo "Removing $(OTHER_WHEEL), to make room for the other ONNX Runtime"; \
	  rm -f .venv/.*-cpu .venv/.*-gpu; \
	  $(PIP) uninstall -qq -y onnxruntime onnxruntime-gpu; \
	fi
	@echo "Installing simvae[$(EXTRAS_$*)] into .venv, once (the first time takes minutes)"
	@$(PIP) install -q -c constraints.txt -e '.[$(EXTRAS_$*)]' $(WITH_$*)
	@touch $(foreach size,$(HOLDS_$*),.venv/.$(size)-$(RUNTIME))

# A failed venv (Debian without python3-venv) leaves half a directory behind, which must not pass for a whole one.
.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, but $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making .venv with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
	@touch $@
