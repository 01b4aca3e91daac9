# minimagen: `make` alone lists what there is.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS ?= lab,test
PORT ?= 8888
LAB_ARGS ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PYTEST_ARGS ?=
PROMPT ?= three blue cones against a sunset sky
export PROMPT # a sentence with quotes in it reaches the command whole
DRAW_ARGS ?=
BENCH_ARGS ?=
LOWEST ?= .venv-lowest
LOWEST_ARGS ?=
LESSON_ARGS ?=
PLAY_ARGS ?=
CLASSROOM ?= classroom
SITE ?= build/site
STAMP := $(VENV)/.installed
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))

export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help setup lab play test browser-test lint unit lessons draw notebooks assignments site bench lowest pins clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | while IFS='|' read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done
	@echo '  Variables: PYTHON=python3.12  VENV=.venv  TORCH_INDEX=url (another index for torch)  PORT=8888  LAB_ARGS=…  DRAW_ARGS=…'

setup: $(STAMP) ## install everything into .venv (the other commands do so by themselves)

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'minimagen needs Python 3.11 or later: try `make $(MAKECMDGOALS) PYTHON=python3.12`.'; exit 1; }
	@$(PYTHON) -m venv $* || { echo 'Python could not make a virtual environment; on Debian and Ubuntu, `apt install python3-venv` provides what is missing.'; exit 1; }

# torch goes first and under its pin, so that TORCH_INDEX can name a CPU-only build and nothing after it fetches another.
$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)") -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

lab: $(STAMP) ## open JupyterLab on lesson 00
	$(BIN)/jupyter lab --port $(PORT) $(if $(filter 0,$(shell id -u)),--allow-root) --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(LAB_ARGS)

play: $(STAMP) ## try it on a page: a sentence, dials, three stages: make play PLAY_ARGS="--weights runs/mine"
	$(BIN)/python -m minimagen.playground $(PLAY_ARGS)

test: lint unit lessons ## check style and types, run all tests and every lesson

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One thread a worker: on small networks two processes of one thread each are faster than one of two.
unit: $(STAMP)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -n $(JOBS) --dist loadfile --ignore tests/browser $(PYTEST_ARGS)

# Chromium is the system's if it has one, else playwright's own, which is then fetched.
browser-test: $(STAMP) ## drive JupyterLab, the playground and the site in Chromium; pictures go to build/screenshots/
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[browser,site]'
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do command -v $$name >/dev/null && exit 0; done; $(BIN)/python -m playwright install chromium
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser -v $(PYTEST_ARGS)

lessons: $(STAMP)
ifneq ($(NOTEBOOKS),)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --nbval $(NOTEBOOKS) $(PYTEST_ARGS)
else
	@echo 'No lessons in notebooks/ yet.'
endif

notebooks: $(STAMP) ## execute lessons/*.md, and write the notebooks: make notebooks LESSON_ARGS=01
	$(BIN)/python -m tools.lessons $(LESSON_ARGS)
	$(BIN)/python tools/readme.py

assignments: $(STAMP) ## make the classroom's folder, and in it what is handed out: make assignments CLASSROOM=folder
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[classroom]'
	$(BIN)/python -m tools.assignments $(CLASSROOM) $(LESSON_ARGS)

site: $(STAMP) ## build a web site of the lessons, to be read without running them: make site SITE=folder
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[site]'
	$(BIN)/python -m tools.site $(SITE)

draw: $(STAMP) ## draw a picture: make draw PROMPT="two green cones"
	$(BIN)/minimagen draw "$$PROMPT" $(DRAW_ARGS)

bench: $(STAMP) ## measure speed and memory beside diffusers and imagen-pytorch: make bench BENCH_ARGS=--quick
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]'
	$(BIN)/python -m pip install --quiet --no-deps 'imagen-pytorch>=2.1.0'
	$(BIN)/python benchmarks/bench_unet.py $(BENCH_ARGS)

# The stamp keeps `unit` from installing the pins. torch comes with CUDA, unless LOWEST_ARGS="--torch-backend cpu".
lowest: | $(LOWEST)/bin/python ## run the tests with the oldest releases that pyproject.toml admits, in .venv-lowest
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --upgrade --resolution lowest-direct $(LOWEST_ARGS) -e '.[$(EXTRAS)]'
	@touch $(LOWEST)/.installed
	$(MAKE) unit VENV=$(LOWEST)

pins: $(STAMP) ## write constraints.txt anew from what is installed in .venv
	$(BIN)/python tools/pins.py

clean: ## remove caches and build outputs (to start over altogether, remove .venv too)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
