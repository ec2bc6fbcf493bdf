# The targets of zapcore; `make help` lists them.
#
# Every target that needs Python first makes .venv from pyproject.toml and constraints.txt; it is
# remade when one of the two changes, and nothing happens otherwise.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
WAVES ?= 0
N ?= 200
SEED ?= 1
IMAGES ?= 1
PYTEST_ARGS ?=
# Processes that pytest runs tests in: one for each core, at most four.
PYTEST = $(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal
# An index to take torch from instead of pip's own: on Linux, PyPI's torch is the CUDA build.
TORCH_INDEX ?=
BUNDLE ?= build/digits
# Made on demand; another bundle is the user's own.
MADE := $(addsuffix /manifest.json,$(filter build/digits,$(BUNDLE)))

VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/stamp

.PHONY: help setup demo test test-second fuzz mutants mutants-python coverage prove estimate sim sim-random sim-core \
	sim-full sim-networks sim-modules sim-programs points bench bench-cores bench-explore soc-sim bitstream program verilog driver fpga report results \
	docs lint format clean distclean announce python-check compiler icarus abc chromium riscv

help: ## print this list
	@echo 'zapcore: make TARGET [NAME=VALUE ...]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: compiler announce $(STAMP) icarus ## create .venv with the pinned tools, install Icarus where that is allowed (TORCH_INDEX=URL)

demo: setup $(patsubst build/digits/%,build/digits-points/%,$(MADE)) ## train, quantise, predict, simulate and compare a small network
	$(RUN) -m examples.demo --bundle '$(if $(MADE),build/digits-points,$(BUNDLE))' $(DEMO_ARGS)

points: $(STAMP) $(MADE) ## choose operating points of a bundle by a core's cycles (BUNDLE=DIR CONFIG=small MAX_DROP="0.5 1 2" DATA=DIR OUT=BUNDLE-points)
	$(call choose-points,$(BUNDLE),$(or $(OUT),$(BUNDLE)-points))

test: setup ## run the tests that a change is judged by (PYTEST_ARGS=... is handed on to pytest)
	$(PYTEST) $(PYTEST_ARGS)

test-second: setup ## run the tests that take longer, and run in CI too
	@$(MAKE) --no-print-directory abc || echo 'the proofs are not tried'
	@$(MAKE) --no-print-directory chromium || echo 'the report is not opened'
	$(PYTEST) -m second $(PYTEST_ARGS)

estimate: $(STAMP) ## tell whether a network fits, how fast it is, what ZAP can gain (MODEL=NAME|FILE.py:NAME|FILE.onnx SHAPE=3x224x224 PART=ecp5-85 CONFIG= CLASSES=N HTML=DIR JSON=FILE)
	$(RUN) -m bench.estimate $(if $(MODEL),--model '$(MODEL)') $(if $(SHAPE),--shape '$(SHAPE)') \
		$(if $(PART),--part '$(PART)') $(if $(CONFIG),--config '$(CONFIG)') \
		$(if $(CLASSES),--classes '$(CLASSES)') $(if $(JSON),--json '$(JSON)') \
		$(if $(HTML),--html '$(HTML)')

# The bundle's dataset, the image, the operating point, and whether to write a waveform.
SIM_OPTIONS = $(if $(DATA),--data '$(DATA)') $(if $(IMAGE),--image '$(IMAGE)') \
	$(if $(POINT),--point '$(POINT)') $(if $(filter 1,$(WAVES)),--waves)

sim: SIM ?= both
sim: CONFIG ?= small
sim: setup $(MADE) ## simulate a bundle's network (SIM=icarus|verilator|both CONFIG=small BUNDLE=DIR DATA=DIR IMAGE=N|FILE POINT=NAME WAVES=0|1)
	$(RUN) -m tb.sim --sim '$(SIM)' --bundle '$(BUNDLE)' --config '$(CONFIG)' $(SIM_OPTIONS)

sim-random: SIM ?= verilator
sim-random: CONFIG ?= small
sim-random: setup ## simulate random layers against golden (N=200 SEED=1 SIM=verilator CONFIG=small)
	$(RUN) -m tb.random_layers --n '$(N)' --seed '$(SEED)' --sim '$(SIM)' --config '$(CONFIG)'

sim-core: SIM ?= verilator
sim-core: CONFIG ?= small
sim-core: setup $(MADE) ## run a bundle's network on the core from its memory (SIM= CONFIG= BUNDLE= DATA= IMAGE= BATCH=1 POINT= WAVES=)
	$(RUN) -m tb.sim_core --sim '$(SIM)' --bundle '$(BUNDLE)' --config '$(CONFIG)' $(SIM_OPTIONS) \
		$(if $(BATCH),--batch '$(BATCH)')

sim-full: setup build/digits/manifest.json ## run whole networks on the core, layer by layer against golden (NET="NAME ..." DATA=DIR IMAGES=1)
	$(RUN) -m tb.sim_full $(NET) --images '$(IMAGES)' $(if $(CONFIG),--config '$(CONFIG)') \
		$(if $(DATA),--data '$(DATA)')

sim-networks: SIM ?= verilator
sim-networks: CONFIG ?= small
sim-networks: setup ## run random networks on the core against golden (N=200 SEED=1 SIM=verilator CONFIG=small)
	$(RUN) -m tb.random_networks --n '$(N)' --seed '$(SEED)' --sim '$(SIM)' --config '$(CONFIG)'

sim-modules: SIM ?= verilator
sim-modules: CONFIG ?= small
sim-modules: N = 500
sim-modules: RTL ?= 100
sim-modules: setup ## take random PyTorch networks all the way, and compare them at every stage (N=500 RTL=100 SEED=1 SIM=verilator CONFIG=small)
	$(RUN) -m tb.random_modules --n '$(N)' --rtl '$(RTL)' --seed '$(SEED)' --sim '$(SIM)' --config '$(CONFIG)'

sim-programs: SIM ?= verilator
sim-programs: CONFIG ?= small
sim-programs: N = 2000
sim-programs: setup ## run damaged programs on the core: each ends, stays in its window, and leaves no trace (N=2000 SEED=1 SIM=verilator CONFIG=small)
	$(RUN) -m tb.random_programs --n '$(N)' --seed '$(SEED)' --sim '$(SIM)' --config '$(CONFIG)'

fuzz: N = 1000
fuzz: setup ## hand hostile inputs to every reader and command (N=1000 SEED=1 TARGET="NAME ...")
	$(RUN) -m tests.fuzz $(TARGET) --n '$(N)' --seed '$(SEED)'

# A bundle that is given, with its image and operating point; without one, networks have names.
OWN := $(filter-out file default undefined,$(origin BUNDLE))
NEEDED := $(if $(OWN),$(MADE),build/digits/manifest.json)
OWN_OPTIONS = $(if $(OWN),--bundle '$(BUNDLE)') \
	$(if $(DATA),--data '$(DATA)') $(if $(IMAGE),--image '$(IMAGE)') $(if $(POINT),--point '$(POINT)')

bench: setup $(NEEDED) $(if $(filter 1,$(SCALESIM)),build/scalesim/stamp) ## measure networks: cycles by layer, what bounds them, energy (NET="NAME ..." or BUNDLE=DIR DATA=DIR IMAGE=N|FILE POINT=NAME SCALESIM=0|1)
	$(RUN) -m bench.speed $(NET) $(OWN_OPTIONS) $(if $(CONFIG),--config '$(CONFIG)') \
		$(if $(filter 1,$(SCALESIM)),--scalesim build/scalesim/bin/python)

bench-explore: setup $(NEEDED) ## find configurations for a network by the cycle model (NET=NAME or BUNDLE=DIR, PART=ecp5-85 DATA=DIR IMAGE=N|FILE POINT=NAME)
	$(RUN) -m bench.explore $(if $(OWN),,$(if $(NET),$(NET),resnet20)) \
		$(OWN_OPTIONS) $(if $(PART),--part '$(PART)')

bench-cores: setup build/digits/manifest.json ## measure several cores on one memory port against one (NET="NAME ..." CORES="2 4" MEMORY_BITS="N ..." DATA=DIR)
	$(RUN) -m bench.cores $(NET) $(if $(CONFIG),--config '$(CONFIG)') $(if $(CORES),--cores $(CORES)) \
		$(if $(MEMORY_BITS),--memory-bits $(MEMORY_BITS)) $(if $(DATA),--data '$(DATA)')

prove: $(STAMP) abc ## prove properties of the hardware's components, print the table (PROVE="NAME ..." LONG=0|1 LIMIT=SECONDS OUT=FILE)
	$(RUN) -m tests.formal $(PROVE) $(if $(filter 1,$(LONG)),--long) \
		$(if $(LIMIT),--limit '$(LIMIT)') $(if $(OUT),--out '$(OUT)')

soc-sim: setup $(MADE) build/litex/stamp riscv ## run the C driver on a RISC-V system with the core, in simulation (BUNDLE= CONFIG=small IMAGES=1 BOARD=)
	$(RUN) -m tb.soc_sim --bundle '$(BUNDLE)' --images '$(IMAGES)' $(if $(CONFIG),--config '$(CONFIG)') \
		$(if $(BOARD),--board '$(BOARD)')

bitstream: $(STAMP) $(MADE) build/litex/stamp riscv ## build a RISC-V system with the core for a board, up to its bitstream (BOARD=ulx3s-85f|ecpix5-85f|colorlight-i5 BUNDLE= CONFIG= IMAGES=1 SEED=1)
	$(RUN) -m tb.bitstream --bundle '$(BUNDLE)' $(if $(BOARD),--board '$(BOARD)') \
		$(if $(CONFIG),--config '$(CONFIG)') --images '$(IMAGES)' --seed '$(SEED)' $(if $(OUT),--out '$(OUT)')

# Several cores on one memory port.
SYSTEM_OPTIONS = $(if $(CORES),--cores '$(CORES)') $(if $(MEMORY_BITS),--memory-bits '$(MEMORY_BITS)')

program: $(STAMP) $(MADE) ## compile a bundle for the core's memory (CONFIG= BUNDLE= BATCH=1 CORES=N MEMORY_BITS=N OUT=build/program.zap)
	$(RUN) -m compiler '$(BUNDLE)' $(if $(CONFIG),--config '$(CONFIG)') $(if $(OUT),--out '$(OUT)') \
		$(if $(BATCH),--batch '$(BATCH)') $(SYSTEM_OPTIONS)

verilog: $(STAMP) ## write Verilog, its JSON, C headers and registers (CONFIG=tiny|small|default|FILE TARGET=generic|ecp5|amd CORES=N MEMORY_BITS=N OUT=build/verilog)
	$(RUN) -m hw.verilog $(if $(CONFIG),--config '$(CONFIG)') $(if $(TARGET),--target '$(TARGET)') \
		$(SYSTEM_OPTIONS) $(if $(OUT),--out '$(OUT)')

driver: $(STAMP) ## gather the C driver and its generated headers in one folder (OUT=build/driver)
	$(RUN) -m hw.c_headers --out '$(or $(OUT),build/driver)'
	cp driver/*.[ch] driver/linux/*.[ch] '$(or $(OUT),build/driver)'

fpga: $(STAMP) ## synthesise, place and route (DEVICE=ecp5-25|ecp5-45|ecp5-85 CONFIG=small|default|FILE SEEDS=2 LPF=FILE)
	$(RUN) -m hw.fpga $(if $(DEVICE),--device '$(DEVICE)') $(if $(CONFIG),--config '$(CONFIG)') \
		$(if $(SEEDS),--seeds '$(SEEDS)') $(if $(LPF),--constraints '$(LPF)')

report: $(STAMP) $(MADE) ## write build/report/index.html about bundles, other results for comparison (BUNDLE="DIR ..." DATA=DIR IMAGE=N|FILE POINT=NAME CONFIG=default)
	$(RUN) -m bench.report $(foreach bundle,$(BUNDLE),'$(bundle)') $(if $(DATA),--data '$(DATA)') \
		$(if $(IMAGE),--image '$(IMAGE)') $(if $(POINT),--point '$(POINT)') \
		$(if $(CONFIG),--config '$(CONFIG)')

results: setup build/digits/manifest.json ## make docs/results again (DATA=DIR WEIGHTS=DIR FORCE=0|1)
	$(RUN) -m bench.results $(if $(DATA),--data '$(DATA)') $(if $(WEIGHTS),--weights '$(WEIGHTS)') \
		$(if $(filter 1,$(FORCE)),--force)

docs: build/docs-venv/stamp ## build the documentation into build/docs/index.html
	build/docs-venv/bin/python -m sphinx -W --keep-going -b html docs build/docs

mutants: N := $(if $(filter command line,$(origin N)),$(N),300)
mutants: setup ## plant defects in hw one at a time and list those that no test finds (N=300 SEED=1 FILES="hw/core ..." JSON=FILE MINUTES=10)
	$(RUN) -m tests.mutants --n '$(N)' --seed '$(SEED)' $(if $(FILES),--files $(FILES)) \
		$(if $(JSON),--json '$(JSON)') $(if $(MINUTES),--minutes '$(MINUTES)')

mutants-python: N := $(if $(filter command line,$(origin N)),$(N),150)
mutants-python: build/mutmut/stamp ## plant defects in golden and compiler and list those that no test finds (N=150 SEED=1)
	build/mutmut/bin/python -m tests.python_mutants --n '$(N)' --seed '$(SEED)'

coverage: setup ## run programs on the core and list what Verilator never sees executed (N=200 SEED=1)
	$(RUN) -m tests.rtl_coverage --n '$(N)' --seed '$(SEED)'

lint: $(STAMP) ## ruff check, ruff format --check, mypy, import-linter
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

format: $(STAMP) ## put the sources into ruff's format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean: ## remove what was built, keep .venv
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv
	rm -rf $(VENV)

# --- the bundle that demo and sim run, made again when what makes it changes -------------------

build/digits/manifest.json: $(STAMP) quant/export.py $(wildcard quant/*.py quant/*/*.py golden/*.py)
	$(RUN) quant/export.py --out build/digits

build/digits-points/manifest.json: build/digits/manifest.json
	$(call choose-points,build/digits,build/digits-points)

# $(call choose-points,BUNDLE,OUT): what the layers take on the core, and points by these cycles.
define choose-points
	$(RUN) -m compiler '$(1)' $(if $(CONFIG),--config '$(CONFIG)') --costs '$(2).json' --out '$(2).zap'
	$(RUN) -m quant.choose '$(1)' --costs '$(2).json' --max-drop $(or $(MAX_DROP),0.5 1 2) \
		$(if $(DATA),--data '$(DATA)') --out '$(2)'
endef

# --- Sphinx and its themes, in an environment that sees what is installed in .venv -----------------

build/docs-venv/stamp: docs/requirements.txt $(STAMP)
	$(RUN) -m venv build/docs-venv
	echo "$(CURDIR)/$$(echo $(VENV)/lib/python*/site-packages)" \
		> "$$(echo build/docs-venv/lib/python*/site-packages)/zapcore.pth"
	build/docs-venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
		--requirement docs/requirements.txt
	@touch $@

# --- mutmut, in an environment that sees what is installed in .venv ---------------------------------

build/mutmut/stamp: tests/python_mutants/requirements.txt $(STAMP)
	$(RUN) -m venv build/mutmut
	echo "$(CURDIR)/$$(echo $(VENV)/lib/python*/site-packages)" \
		> "$$(echo build/mutmut/lib/python*/site-packages)/zapcore.pth"
	build/mutmut/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
		--requirement $<
	@touch $@

# --- SCALE-Sim, which wants an older numpy, in an environment of its own -------------------------

build/scalesim/stamp: bench/requirements-scalesim.txt | python-check
	$(PYTHON) -m venv build/scalesim
	build/scalesim/bin/pip install --quiet --no-deps --requirement $<
	@touch $@

# --- the environment ------------------------------------------------------------------------

# apt-get as root, or by sudo where it asks no password; empty where neither holds.
APT = $(shell command -v apt-get >/dev/null || exit 0; \
	if [ "$$(id -u)" = 0 ]; then echo apt-get; \
	elif sudo -n true 2>/dev/null; then echo sudo -n apt-get; fi)

# $(call apt-install,PACKAGE): quiet; refreshes the package lists only if the first attempt fails.
define apt-install
	{ echo 'installing $(1)'; export DEBIAN_FRONTEND=noninteractive; \
	$(APT) install -y -qq $(1) >/dev/null 2>&1 \
	|| { $(APT) update -qq >/dev/null 2>&1 && $(APT) install -y -qq $(1) >/dev/null 2>&1; }; }
endef

# Says what is missing and about to be installed, before any of it is.
announce: | python-check
	@missing=; command -v iverilog >/dev/null || missing='iverilog (10 MB)'; \
	$(PYTHON) -m ensurepip --version >/dev/null 2>&1 || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then \
		if [ -n '$(APT)' ]; then echo "to be installed by apt-get: $$missing"; \
		else echo "missing, and apt-get may not be used here: $$missing"; fi; fi; \
	if ! [ $(STAMP) -nt pyproject.toml -a $(STAMP) -nt constraints.txt ]; then \
		echo 'to be downloaded by pip into $(VENV): the pinned packages (about 200 MB) and torch,'; \
		if [ -n '$(TORCH_INDEX)' ]; then echo 'which comes from $(TORCH_INDEX)'; \
		else echo 'which takes 200 MB as a CPU build, and about 3 GB as the CUDA build that PyPI' \
			'has for Linux (TORCH_INDEX=URL names an index with CPU builds)'; fi; fi

python-check:
	@command -v $(PYTHON) >/dev/null \
		|| { echo 'error: $(PYTHON) not found; install Python 3.11 or newer' >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'error: $(PYTHON) is older than 3.11; name another by PYTHON=...' >&2; exit 2; }

compiler:
	@[ $(words $(CURDIR)) = 1 ] || { echo 'error: the path of this checkout has a space, and' \
		"Verilator's make builds in no such folder: move it: $(CURDIR)" >&2; exit 2; }
	@command -v c++ >/dev/null \
		|| { echo 'error: no C++ compiler (c++); Verilator needs one: install g++ or clang' >&2; exit 2; }

build/litex/stamp: hw/soc/requirements.txt | python-check
	$(PYTHON) -m venv build/litex
	build/litex/bin/pip install --quiet --no-deps --requirement $<
	@touch $@

# What LiteX's simulator takes from the system: a RISC-V compiler, Verilator, two libraries.
RISCV := gcc-riscv64-unknown-elf verilator libjson-c-dev libevent-dev
riscv:
	@have() { command -v riscv64-unknown-elf-gcc && command -v verilator && \
		printf '#include <json-c/json.h>\n#include <event2/event.h>\n' | cc -E -; } >/dev/null 2>&1; \
	have && exit 0; [ -n '$(APT)' ] && $(call apt-install,$(RISCV)) && have && exit 0; \
	echo 'error: a RISC-V system needs the packages $(RISCV)' >&2; exit 2

icarus:
	@command -v iverilog >/dev/null && exit 0; \
	[ -n '$(APT)' ] && $(call apt-install,iverilog) && command -v iverilog >/dev/null && exit 0; \
	echo 'error: Icarus Verilog not found; install the package iverilog' >&2; exit 2

abc:
	@command -v berkeley-abc yosys-abc abc >/dev/null && exit 0; \
	[ -n '$(APT)' ] && $(call apt-install,berkeley-abc) && command -v berkeley-abc >/dev/null && exit 0; \
	echo 'error: ABC, which proves, not found; install the package berkeley-abc' >&2; exit 2

chromium:
	@command -v chromium chromium-browser >/dev/null && exit 0; \
	[ -n '$(APT)' ] && $(call apt-install,chromium) && command -v chromium >/dev/null && exit 0; \
	echo 'error: Chromium, in which a test opens the report, not found; install it' >&2; exit 2

PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --no-input
PIP_FAILED := { echo 'error: pip could not install the pinned packages (above); is a package' \
	'index reachable?' >&2; exit 2; }

# Touched last, so that an interrupted set-up starts again.
$(STAMP): pyproject.toml constraints.txt | python-check
	@echo 'making $(VENV) (once; some minutes, mostly torch)'
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 \
		|| { [ -n '$(APT)' ] && $(call apt-install,python3-venv) \
			&& rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) >/dev/null 2>&1; } \
		|| { rm -rf $(VENV); \
			echo 'error: $(PYTHON) has no working venv module; install python3-venv' >&2; exit 2; }
	@$(RUN) -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
		extras = project["optional-dependencies"].values(); \
		lists = [project["dependencies"], *extras]; \
		print(*[r for l in lists for r in l if not r.startswith("zapcore[")], sep="\n")' \
		> $(VENV)/requirements.txt
	@$(if $(TORCH_INDEX),$(PIP) --index-url '$(TORCH_INDEX)' \
		"$$(grep '^torch==' $(VENV)/requirements.txt)" || $(PIP_FAILED))
	@$(PIP) --requirement $(VENV)/requirements.txt --constraint constraints.txt || $(PIP_FAILED)
	@touch $@
