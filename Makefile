# Two commands: `make run` and `make test`. Both build .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := workflow,slurm,tblite,pyscf,mace,testbed,test
CORES ?= all

.PHONY: run test setup benchmark weights-mace weights-testbed study study-bsct study-pages format clean

run: $(STAMP)
	$(BIN)/snakemake --cores $(CORES) --logger pesbench

# Two processes that test on two cores have a core each: with two threads each they wait for one another.
test: export OMP_NUM_THREADS ?= 1
test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check .
	$(BIN)/snakemake --lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup --durations=25

benchmark: $(STAMP)
	$(BIN)/python benchmarks/run.py

# Trains again what ships in resources/weights; a second call continues.
weights-mace: $(STAMP)
	$(BIN)/snakemake weights_mace --cores $(CORES) --configfile config/weights.yaml
	mkdir -p resources/weights
	cp results/weights/mace-mini*.model results/weights/mace-mini*.json \
		results/weights/mace-mini*.md resources/weights/
	@echo "Pickled networks run only with their sha256 in config/models.yaml, which is now:"
	@sha256sum resources/weights/mace-mini*.model

# The testbed's, one design choice apart.
weights-testbed: $(STAMP)
	$(BIN)/snakemake weights_testbed --cores $(CORES) --configfile config/weights.yaml
	mkdir -p resources/weights
	cp results/weights/testbed-*.pt results/weights/testbed-*.json \
		results/weights/testbed-*.md resources/weights/

# What README and docs show of dynamics and of the ladder; hours, and a second call continues.
study: $(STAMP)
	$(BIN)/snakemake --cores $(CORES) --configfile config/study.yaml --keep-going
	$(call keep,mini,mini.h5 skipped.csv)

# A public foundation model on all of BSCT-SPICE. ARCHIVE=PATH: a copy of the data, instead of a download.
study-bsct: $(STAMP)
	$(BIN)/snakemake --cores $(CORES) --configfile config/bsct_spice.yaml --config software=venv \
		'models=[7net-0]' 'dynamics={models: []}' $(if $(ARCHIVE),"archive=$$ARCHIVE")
	$(call keep,bsct_spice,7net-0/sections)
	cp results/bsct_spice/7net-0/sections/bonds/worst.png results/bsct_spice/7net-0/sections/bonds/worst.extxyz \
		resources/study/bsct_spice/7net-0/

# $(call keep,SCAN_SET,MORE): tables, figures and scores of results/, not what they were made from
define keep
	mkdir -p resources/study/$(1)
	cd results/$(1) && cp -r --parents leaderboard.csv leaderboard.md models.json $(2) \
		sections */model.json */scores/*.parquet ../../resources/study/$(1)
endef

# Sections and tables of the kept scores, made anew. SCAN_SET: that of BSCT-SPICE, which is not kept.
study-pages: $(STAMP)
	PYTHONPATH=workflow $(BIN)/python -m pesbench report resources/study/mini \
		--models-file config/models.yaml --ladder testbed-base 'testbed-*'
	$(if $(SCAN_SET),PYTHONPATH=workflow $(BIN)/python -m pesbench report resources/study/bsct_spice \
		--scan-set "$(SCAN_SET)")
	rm -f resources/study/*/leaderboard.html

setup: $(STAMP)

$(STAMP): pyproject.toml envs/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "pesbench needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint envs/constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt .

clean:
	rm -rf $(VENV) .snakemake .pytest_cache .ruff_cache
