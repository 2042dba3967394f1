# Everything runs in .venv, at the versions of constraints.txt.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet install --constraint constraints.txt
STAMP := $(VENV)/.setup-done

# The peers of the extra `bench`, with those of their dependencies that they
# import. They declare torchvision too and do not import it: pyproject.toml
# says why it stays away.
PEERS := curvlinops-for-pytorch nngeometry \
	backpack-for-pytorch einconv einops linear_operator opt-einsum unfoldNd

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench bench-scale gpu-check invariance fuzz proofs docs docs-check dist compat clean

help: ## Print these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv and install igsref with all it needs (once)

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing igsref, PyTorch and what the tests need into $(VENV): minutes, about 2 GB"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps $(PEERS)
	@touch $@
	@echo "Done. For the commands igsref and python: . $(VENV)/bin/activate"

demo: setup ## Run the digits example; its results go to out/digits
	$(PY) toy/digits.py --output out/digits

# Two processes with a thread each: a file's tests stay together, with what they share.
# Files are begun in the order that tests/conftest.py gives them.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2 --dist loadfile \
	--no-loadscope-reorder
# Executed annotations make all calls slow: a case of each of the modules' own tests is enough.
ANNOTATED := --jaxtyping-packages=igsref,beartype.beartype --first-cases igsref tests \
	-m 'not hypothesis and not long' \
	$(patsubst %,--ignore=tests/%,laws verification toy benchmarks experiments conformance)

test: setup ## Run the tests and the doctests with branch coverage, then check annotations
	$(PYTEST) --cov --cov-branch
	$(PYTEST) $(ANNOTATED)

lint: setup ## Check style, format, types and the order of the layers
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy igsref
	$(VENV)/bin/lint-imports --no-logo

bench: setup ## Time the exact routes, beside their peers and streamed
	$(PY) benchmarks/exact.py
	$(PY) benchmarks/streamed.py

# Without a CUDA device it says so and writes nothing; IGSREF_DATA names the folder of CIFAR-10.
gpu-check: setup ## On a CUDA device: hold routes to the CPU's, time ResNet-18, write docs/gpu.md
	$(PY) benchmarks/gpu.py --write docs/gpu.md

bench-scale: setup ## Steps, growth and certificates on CIFAR-10 and MNIST, which IGSREF_DATA names
	OMP_NUM_THREADS=1 $(PY) benchmarks/scale.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/growth.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/tall.py
	$(PY) benchmarks/certificates.py

invariance: setup ## Hold IGS and the baselines to the law on 10,000 and more networks
	$(PY) verification/invariance.py

fuzz: setup ## Hand 2,000 malformed and odd inputs to the library and its command line
	OMP_NUM_THREADS=1 $(PY) verification/fuzz.py --inputs 2000

proofs: setup ## Check every claim of the mathematics, and write docs/claims.md
	$(PY) verification/proofs.py --write docs/claims.md

# What the documentation and the package are built with takes no part in the tests.
$(VENV)/.docs-done: $(STAMP)
	$(PIP) --editable '.[docs]'
	@touch $@

$(VENV)/.dist-done: $(STAMP)
	$(PIP) --editable '.[dist]'
	@touch $@

# GALLERY=0 builds the pages without running the gallery's scripts.
docs: setup $(VENV)/.docs-done ## Build the documentation into build/docs, with every picture
	OMP_NUM_THREADS=1 $(PY) -m sphinx --fail-on-warning --keep-going -b html docs build/docs
	@echo "Open build/docs/index.html"

docs-check: setup $(VENV)/.docs-done ## Check the documentation's pages and references; no pictures
	GALLERY=0 $(PY) -m sphinx --fail-on-warning --keep-going -q -b dummy docs build/docs-check

# Types are checked as a type checker of a user sees them, from outside of the checkout. The
# environment is bare: what the tests need must not hide what the library lacks. It is made
# outside the checkout's own modules, which python would import instead.
dist: setup $(VENV)/.dist-done ## Build wheel and sdist into dist, try the wheel in a bare environment, check types
	rm -rf dist build/bare
	$(PY) -m build --outdir dist
	$(PYTHON) -m venv build/bare
	build/bare/bin/python -m pip --disable-pip-version-check --quiet install \
		--constraint constraints.txt dist/*.whl
	cd build && bare/bin/python ../verification/smoke.py
	cd build && PATH=$(abspath $(VENV)/bin):$$PATH pyright --verifytypes igsref --ignoreexternal
	@ls -l dist

# The oldest torch that pyproject.toml allows, and the one of constraints.txt, which is the newest
# that was tried. Gigabytes for each of them and each Python; what is there already is used again.
TORCHES := 2.11.0 $(patsubst torch==%,%,$(shell grep '^torch==' constraints.txt))
PYTHONS := $(foreach minor,11 12 13,$(shell python3.$(minor) -c 'import sys; print(sys.executable)' 2>/dev/null))

compat: setup ## Try networks of many kinds with the oldest and the newest torch and each Python
	@test -n "$(PYTHONS)" || { echo "there is no python3.11, python3.12 or python3.13"; exit 1; }
	@mkdir -p build/compat && grep -v -E '^(torch|setuptools)==' constraints.txt > build/compat/constraints.txt
	@set -e; for python in $(PYTHONS); do for torch in $(TORCHES); do \
		own=build/compat/$$(basename $$python)-torch-$$torch; \
		echo "== $$own"; \
		test -x $$own/bin/python || $$python -m venv $$own; \
		$$own/bin/python -m pip --disable-pip-version-check --quiet install \
			--constraint build/compat/constraints.txt torch==$$torch '.[toy,huggingface]'; \
		OMP_NUM_THREADS=1 $$own/bin/python verification/smoke.py; \
		OMP_NUM_THREADS=1 $$own/bin/python verification/compat.py; \
	done; done

clean: ## Remove .venv, results, caches and build products
	rm -rf docs/api docs/pictures docs/worked docs/sg_execution_times.rst
	rm -rf $(VENV) out build dist .coverage .coverage.* htmlcov *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find igsref tests toy verification benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
