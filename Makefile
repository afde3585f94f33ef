# Needs Python 3.11 or later with venv and pip, and make; everything else is installed into $(VENV), with npm where
# there is one what it has as well.
# Another interpreter: make PYTHON=python3.13 VENV=.venv-3.13 test

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := requirements/dev.txt
PROOF_LOCK := requirements/proof.txt
NPM_LOCK := requirements/npm/package-lock.json
EXTRAS := adbc,grain,hf,images,lancedb,litellm,local,mcp,minilm,near,numpy,pandas,pdf,pgvector,plot,polars,postgres,qdrant,s3,tokenizers,torch,transformers
INSTALLED := $(VENV)/installed

.PHONY: demo test check format formats lint types layers scopes restored mutants bench ideas proof lock
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	@$(BIN)/tidemill demo

# A worker more than CI has cores: many tests wait, for a server, a process or the disk.
test: $(INSTALLED)
	@$(BIN)/pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder

# What runs on one core goes two at a time; the tests have both cores to themselves.
check: $(INSTALLED)
	@$(MAKE) --no-print-directory --jobs=2 restored types lint layers mutants
	@$(MAKE) --no-print-directory test

lint: $(INSTALLED)
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check

types: $(INSTALLED)
	@$(BIN)/mypy
	@$(BIN)/basedpyright --pythonpath $(BIN)/python

layers: $(INSTALLED)
	@$(BIN)/lint-imports

# A thousand random models through every way out of a block, and the scopes broken piece by piece: about two minutes.
scopes: restored mutants

restored: $(INSTALLED)
	@$(BIN)/python benchmarks/proofs/restore_matrix.py

mutants: $(INSTALLED)
	@$(BIN)/python benchmarks/proofs/mutants.py

format: $(INSTALLED)
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

# Writes the tables of docs/formats.md anew.
formats: $(INSTALLED)
	@$(BIN)/python tests/docs/formats_page.py

bench: $(INSTALLED)
	@$(BIN)/python benchmarks/bench.py

ideas: $(INSTALLED)
	@$(BIN)/python benchmarks/ideas.py

# What takes minutes, or a server of its own: fails beyond its bounds.
proof: $(INSTALLED)
	@$(BIN)/python benchmarks/proofs/s3_listing.py
	@$(BIN)/python benchmarks/proofs/config_fuzz.py
	@$(BIN)/python benchmarks/proofs/device_times.py
	@$(BIN)/python benchmarks/proofs/bfcl.py
	@$(BIN)/python benchmarks/proofs/agent_kills.py
	@$(BIN)/python benchmarks/proofs/stores_many.py
	@$(BIN)/python benchmarks/proofs/image_memory.py

# Takes the newest versions within pyproject.toml's bounds.
lock: $(INSTALLED)
	@$(BIN)/pip-compile --quiet --upgrade --strip-extras --extra=$(EXTRAS) --output-file=$(LOCK) \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--no-header pyproject.toml requirements/dev.in
	@sed -i.bak 's/^\(torch==.*\)+cpu$$/\1/' $(LOCK) && rm $(LOCK).bak

# A virtual environment whose pip runs is kept and brought up to date; a half-made one is made anew.
# The package itself is installed in place by the build backend the lock names, so nothing unlocked is fetched.
# Without npm the tests that drive what it installs are skipped.
$(INSTALLED): $(LOCK) $(PROOF_LOCK) $(NPM_LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Tidemill needs Python 3.11 or later, $(PYTHON) is " + sys.version.split()[0] \
		+ ": make PYTHON=python3.13 ..." if sys.version_info < (3, 11) else 0)'
	@echo "installing into $(VENV)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --requirement $(LOCK)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --requirement $(PROOF_LOCK)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@mkdir -p $(VENV)/npm && cp $(dir $(NPM_LOCK))package*.json $(VENV)/npm
	@! command -v npm >/dev/null || npm ci --prefix $(VENV)/npm --ignore-scripts --no-audit --no-fund --loglevel=error \
		>/dev/null
	@touch $@
