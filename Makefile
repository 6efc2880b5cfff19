# make demo    a short real training on the embedded data set; ends by naming the plot
# make train   DavidNet on CIFAR-10, downloaded once; or DATA_DIR=... where it is, ARGS=... for other flags
# make test    ruff, mypy and the quick tests; about 10 minutes on two cores
# make test-slow  the long tests; those of the callbacks on JAX too, and on torch where it is installed in .venv
# make test-all   both
# make bench   our speed beside PyTorch's and stock Keras's, as a table in docs/results/bench
# make notebook  the notebook, opened in Jupyter Lab
#
# Each makes the environment that it needs in .venv first. Another Python: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA_DIR ?=
ARGS ?=

.PHONY: demo train test test-slow test-all bench lint notebook clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/python -m davidnet_keras --dataset shapes $(DEMO) $(ARGS)

train: $(VENV)/.installed
	$(BIN)/python -m davidnet_keras $(if $(DATA_DIR),--data-dir "$(DATA_DIR)") $(ARGS)

test: $(VENV)/.installed-test lint
	$(BIN)/python -m pytest -m "not slow" $(ARGS) $(OR_NONE)

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow $(ARGS) $(OR_NONE)
	KERAS_BACKEND=jax $(BIN)/python -m pytest $(ON_BACKENDS) $(ARGS) $(OR_NONE)
	@if $(BIN)/python -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("torch"))'; then \
		echo "KERAS_BACKEND=torch $(BIN)/python -m pytest $(ON_BACKENDS) $(ARGS)"; \
		KERAS_BACKEND=torch $(BIN)/python -m pytest $(ON_BACKENDS) $(ARGS) $(OR_NONE); \
	else echo "torch is not installed in $(VENV): the callbacks were not tested on it"; fi

test-all: test test-slow

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python benchmarks/bench.py $(ARGS)

notebook: $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet jupyterlab
	$(BIN)/python -m jupyterlab notebooks/davidnet.ipynb

# The tests of the callbacks whose outcome depends on the backend.
ANYWHERE := atomic data_parallel evaluation_figure figures learning_rate_sweep metric_names plot_runs reserved_names \
	schedules schedules_published
ON_BACKENDS := $(filter-out $(ANYWHERE:%=tests/callbacks/test_%.py),$(sort $(wildcard tests/callbacks/test_*.py)))

# ARGS may choose tests of which none is slow, or a callback's: pytest then ends with 5.
OR_NONE := $(if $(ARGS),|| [ $$? -eq 5 ])

# What the README's table says of the embedded data set was measured with these flags.
DEMO := --epochs 5 --batch-size 64 --learning-rate 0.15

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed; name one with make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/.installed: $(VENV)/.created setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.created setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info
