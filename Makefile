# Two commands: `make run` and `make test`. Both build .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := workflow,slurm,tblite,pyscf,mace,testbed,so3lr,chgnet,test
CORES ?= all
# Images of Python set it: each process then compiles again what it imports of this project.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test setup benchmark weights-mace weights-testbed weights-apax \
	weights-wavefunction study-wavefunction study study-apax study-extrapolation study-harvest study-midsize data-study \
	study-transfer architecture study-bsct keep-bsct study-pages format clean

run: $(STAMP)
	$(BIN)/snakemake --cores $(CORES) --logger pesbench

# Processes that test on two cores have one thread each: with two threads each they wait for one another. The third one
# has the cores while tests of Slurm and of kills wait.
test: export OMP_NUM_THREADS ?= 1
test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check .
	$(BIN)/snakemake --lint
	$(BIN)/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder --durations=25

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

# Interpolated wave functions (docs/wavefunction.md), minutes.
weights-wavefunction: $(STAMP)
	$(BIN)/snakemake weights_wavefunction --cores $(CORES) --configfile config/weights.yaml
	mkdir -p resources/weights
	cp results/weights/wavefunction-fci*.zip results/weights/wavefunction-fci*.json \
		results/weights/wavefunction-fci*.md resources/weights/

# The practitioner's experiment with apax (docs/apax.md), in an environment of its own (2.9 GB). All of it stays in
# results/weights, with a registry of what is trained; what ships are the potentials that config/models.yaml names.
weights-apax: $(STAMP)
	$(BIN)/snakemake weights_apax --cores $(CORES) --configfile config/weights.yaml --keep-going; trained=$$?; \
	$(BIN)/snakemake apax_models --cores 1 --configfile config/weights.yaml || exit; \
	for name in $$(sed -n 's,.*resources/weights/\(apax-.*\)\.zip.*,\1,p' config/models.yaml); do \
		cp results/weights/$$name.zip results/weights/$$name.json results/weights/$$name.md \
			resources/weights/ || trained=1; \
	done; \
	echo "config/models.yaml states the sha256 of what ships, which is now:"; \
	sha256sum resources/weights/apax-*.zip; exit $$trained

# What their walls are, on ethanol, beside the testbed's (docs/apax.md).
study-apax: $(STAMP)
	$(call limited,apax_study.yaml); status=$$?; $(call keep,walls,skipped.csv) && \
	cp results/weights/apax_models.yaml resources/study/walls/ && exit $$status

# What README and docs show of dynamics and of the ladder, in two parts of some hours each. HOURS=3 stops after so long
# (GNU timeout); the same command continues, each job from its checkpoint. What is finished is kept either way. With
# HOURS, Ctrl-C does not reach Snakemake: to stop early, send SIGINT to the process `timeout`.
study: $(STAMP)
	$(call limited,study.yaml); status=$$?; $(call keep,mini,mini.h5 skipped.csv) && exit $$status

study-midsize: $(STAMP)
	$(call limited,study_midsize.yaml); status=$$?; $(call keep,midsize,skipped.csv) && exit $$status

# Alarms (tasks/alarms/README.md).
study-extrapolation: $(STAMP)
	$(call limited,extrapolation.yaml); status=$$?; \
	$(call keep,extrapolation,extrapolation.h5 skipped.csv,extrapolation/alarms) && exit $$status

# How much data, and which (docs/data.md): the trainings, then what is asked of their potentials. HOURS is for both. A training
# that fails takes no other with it: the registry has those that are done.
data-study: $(STAMP)
	$(call trained,data,data_study.yaml); status=$$?; $(keep_data) && exit $$status

# Frames that a potential asks for itself (docs/harvest.md): the rounds, then what is asked of their potentials.
study-harvest: $(STAMP)
	$(call trained,harvest,harvest.yaml); status=$$?; $(keep_harvest) && exit $$status

# beside the results the cards, which hold what each potential was trained on
keep_data = if [ -d results/data ]; then $(call keep,data,data.h5 skipped.csv) && \
	mkdir -p resources/data_study/cards && cp results/weights/data/models.yaml results/weights/data/testbed-*.json \
	results/weights/data/mace-*.json resources/data_study/cards/; fi
keep_harvest = if [ -d results/harvest ]; then $(call keep,harvest,harvest.h5 skipped.csv,extrapolation/harvest) && \
	mkdir -p resources/study/extrapolation/harvest/cards && cp results/weights/harvest/models.yaml \
	results/weights/harvest/testbed-*.json results/weights/harvest/mace-*.json \
	resources/study/extrapolation/harvest/cards/; fi

# Cheap labels first (docs/transfer.md): labels, pretrainings and trainings, then what is asked of their potentials, in the
# same manner.
study-transfer: $(STAMP)
	$(call trained,transfer,transfer.yaml); status=$$?; $(keep_transfer) && exit $$status

# beside the results the cards, with the descriptors' moments and the time that each training took
keep_transfer = if [ -d results/transfer ]; then $(call keep,transfer,transfer.h5 skipped.csv,extrapolation/transfer) && \
	mkdir -p resources/study/extrapolation/transfer/cards && cp results/weights/transfer/*.json \
	results/weights/transfer/models.yaml resources/study/extrapolation/transfer/cards/; fi

# Whether a repulsive wall goes on beyond the data (tasks/lj_core), and which angular degrees node features hold
# (tasks/spectral): the trainings of heads and backbones, then real models, some five hours on two cores. HOURS=3 stops after
# so long; what is finished by then is kept, and the same command continues. Backbones come first, then the main rows of the
# heads, then their grid. Heads and backbones are independent: real models are asked whichever of them fail.
architecture: $(STAMP)
	$(within) sh -c 'trap "exit 130" INT; \
		$(BIN)/snakemake lj_trainings weights_backbones --cores $(CORES) --configfile config/weights.yaml \
			--keep-going; trained=$$?; \
		$(BIN)/snakemake lj_heads backbone_models --cores 1 --configfile config/weights.yaml --keep-going || trained=$$?; \
		$(BIN)/snakemake --cores $(CORES) --configfile config/architecture.yaml --keep-going && exit $$trained'; \
	status=$$?; $(keep_architecture) && exit $$status

# beside the results the tables of the heads with their cards, and the cards of the backbones: what there is of them
keep_architecture = mkdir -p resources/study/architecture/lj_core resources/study/architecture/backbones && \
	for one in $$(cd results/weights && ls lj_core/*.csv lj_core/*.json backbones/*.json backbones/*.md \
		backbones/models.yaml backbones/models.csv 2>/dev/null); do \
		cp results/weights/$$one resources/study/architecture/$$one; done && \
	if [ -d results/architecture ]; then $(call keep,architecture,architecture.h5 skipped.csv); fi

# $(call trained,STUDY,CONFIG): the trainings of a study, their registry, and what is asked of them
trained = $(within) sh -c 'trap "exit 130" INT; \
	$(BIN)/snakemake weights_$(1) --cores $(CORES) --configfile config/weights.yaml --keep-going; trained=$$?; \
	$(BIN)/snakemake $(1)_models --cores 1 --configfile config/weights.yaml && \
	$(BIN)/snakemake --cores $(CORES) --configfile config/$(2) --keep-going && exit $$trained'

within = $(if $(HOURS),timeout --signal=INT $(HOURS)h)
limited = $(within) $(BIN)/snakemake --cores $(CORES) --configfile config/$(1) \
	--keep-going

# Interpolated wave functions (docs/wavefunction.md): scans and dynamics of the six molecules, then their number, far from
# their geometries, and dynamics with states that are calculated along the way.
study-wavefunction: $(STAMP)
	$(BIN)/snakemake --cores $(CORES) --configfile config/wavefunction.yaml --keep-going; status=$$?; \
	$(BIN)/snakemake study_wavefunction --cores $(CORES) --configfile config/wavefunction.yaml || status=$$?; \
	$(keep_wavefunction); exit $$status

keep_wavefunction = $(call keep,fci,skipped.csv,extrapolation/fci); mkdir -p resources/study/extrapolation/wavefunctions && \
	cp results/wavefunctions/*.csv results/wavefunctions/*.json results/wavefunctions/README.md \
	results/wavefunctions/errors.png results/weights/wavefunction-water-6-31g.json resources/study/extrapolation/wavefunctions/

# The models that run on a CPU here on all of BSCT-SPICE; a day, one model after the other. What is finished is kept as
# it comes, and a second call continues. ARCHIVE=PATH: a copy of the data, instead of a download.
BSCT := $(BIN)/snakemake --cores $(CORES) --configfile config/study_bsct.yaml
study-bsct: ARCHIVED := $(if $(ARCHIVE),--config "archive=$$ARCHIVE")
study-bsct: $(STAMP)
	for model in $$(sed -n 's/^  - //p' config/study_bsct.yaml); do \
		$(BSCT) $(or $(ARCHIVED),--config) "models=[$$model]" -- scores; $(keep_bsct); \
	done
	$(BSCT) $(ARCHIVED) -- all; status=$$?; $(keep_bsct); exit $$status

keep-bsct:
	$(keep_bsct)

# the pictures beside the sections, which `study-pages` makes anew without evaluations
keep_bsct = $(call keep,bsct_spice,*/sections/*/*.csv */sections/*/section.json) && ( cd results/bsct_spice && \
	for one in $$(ls -d */sections/bonds/worst.png 2>/dev/null); do \
		cp "$$one" "../../resources/study/bsct_spice/$$(dirname "$$one")/../.."; done ) && \
	PYTHONPATH=workflow $(BIN)/python -m pesbench describe --out resources/study/bsct_spice/models.json \
		--models $$(cd resources/study/bsct_spice && ls -d */model.json | sed 's,/.*,,')

# $(call keep,SCAN_SET,MORE,PLACE): what there is of tables, figures and scores of results/, not what they were made from
keep = mkdir -p resources/study/$(or $(3),$(1)) && ( cd results/$(1) && cp -r --parents \
	$$(ls -d leaderboard.csv leaderboard.md models.json $(2) sections */model.json */scores/*.parquet 2>/dev/null) \
	../../resources/study/$(or $(3),$(1)) )

# Sections and tables of the kept scores, made anew, and the tables of README.md and docs/models.md. SCAN_SET and MIDSIZE:
# the scan sets of BSCT-SPICE and of the second part of the study, which are too large to keep.
study-pages: $(STAMP)
	PYTHONPATH=workflow $(BIN)/python -m pesbench report resources/study/mini \
		--models-file config/models.yaml --ladder testbed-base 'testbed-*'
	$(if $(MIDSIZE),PYTHONPATH=workflow $(BIN)/python -m pesbench report resources/study/midsize \
		--scan-set "$(MIDSIZE)")
	$(if $(SCAN_SET),PYTHONPATH=workflow $(BIN)/python -m pesbench report resources/study/bsct_spice \
		--scan-set "$(SCAN_SET)")
	rm -rf resources/study/*/leaderboard.html resources/study/*/explorer
	PYTHONPATH=workflow $(BIN)/python tests/helpers/readme_table.py
	PYTHONPATH=workflow $(BIN)/python tests/helpers/models_table.py

setup: $(STAMP)

$(STAMP): pyproject.toml envs/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "pesbench needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	# Packages are compiled here, on all cores: where PYTHONDONTWRITEBYTECODE is set, as in images of Python, no process
	# that imports them keeps what it compiles, and an import takes two to three times as long. Some packages hold files
	# for other versions of Python, which do not compile.
	$(BIN)/python -m pip install --quiet --no-compile --constraint envs/constraints.txt --editable '.[$(EXTRAS)]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt .

clean:
	rm -rf $(VENV) .snakemake .pytest_cache .ruff_cache
