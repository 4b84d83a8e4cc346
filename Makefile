# Everything a newcomer, an operator or an engineer starts. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test coverage test-system test-slow chaos alerts calm trace soak year load availability capacity capacity-check fuzz bench backfill research notebook docs test-airflow airflow-lock up down stop start env status logs ledger lock fmt lint audit clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Many tests wait for processes to start and to end, so one more at once than two cores; with more, whole systems starve each
# other. In the order of their folders: these long ones come first, and none of them is left alone at the end.
WORKERS ?= 3
BIN := .venv/bin
RUN := PYTHONPATH=. $(BIN)/python

# Python keeps what it has compiled, also where the caller's environment says otherwise: a dozen processes start, and
# compiling the libraries anew takes each of them some seconds.
unexport PYTHONDONTWRITEBYTECODE

# Passed on to the programs that read them.
export MAKE_STARTED := $(shell date +%s)
export EVENTS RATE SIMTOM_URL SEED HISTORY_DAYS HISTORY_DAILY START END DAYS DAILY GENERATOR ENGINE

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed ## install everything into .venv, from the lock, every hash checked

# uv comes from the lock as well: pip fetches that one package, uv the others.
.venv/.installed: requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed: put python3.11 on the PATH, or call make PYTHON=/path/to/it"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "$(PYTHON) is not Python 3.11: call make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "installing into .venv (a minute on a fast line)" >&2 # what `make env` prints is read by a shell
	@$(PYTHON) -m venv .venv
	@awk '/^uv==/{on=1} on{print} on&&!/\\$$/{exit}' requirements.lock > .venv/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .venv/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@touch $@

demo: setup ## the main job: history, a first model, live purchases decided (EVENTS, RATE, SIMTOM_URL, SEED, HISTORY_DAYS, HISTORY_DAILY)
	@$(RUN) -m deploy.local.demo

test: setup ## all tests that need nothing but Python packages
	@$(RUN) -m pytest -m "not slow and not system and not airflow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 15 --durations-min 5

coverage: setup ## the same, and which lines they reach, those of the services' processes too; takes longer
	@$(RUN) -m pytest -m "not slow and not system and not airflow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered

test-slow: setup ## the tests that take minutes: what can be learnt from the source, and the like
	@$(RUN) -m pytest -m slow --timeout 3600

test-system: setup ## the tests that need something from the operating system's packages; says what it skipped
	@$(RUN) -m pytest -m system -rs; status=$$?; test $$status -eq 5 && status=0; exit $$status

chaos: setup ## the fault matrix on a running system, the ledger after each fault, then its negative controls (SEED, FAULT, CONTROL, RATE)
	@$(RUN) -m tests.chaos --seed $(or $(SEED),1) $(addprefix --rate ,$(RATE)) $(addprefix --fault ,$(FAULT)) $(addprefix --control ,$(CONTROL))

year: setup ## a simulated year through the running system, whose models look after themselves; an hour (DAYS, DAILY, SEED)
	@$(RUN) -m tests.year $(addprefix --days ,$(DAYS)) $(addprefix --daily ,$(DAILY)) $(addprefix --seed ,$(SEED))

alerts: setup ## a fault for each alert into a running system, by real Prometheus and rules whose time is shortened (FAULT, FACTOR, RATE)
	@$(RUN) -m tests.alerts $(if $(FAULT),--fault "$(FAULT)") $(addprefix --factor ,$(FACTOR)) $(addprefix --rate ,$(RATE))

calm: setup ## an hour of normal running, in which no alert may fire (MINUTES, RATE)
	@$(RUN) -m tests.alerts.calm $(addprefix --minutes ,$(MINUTES)) $(addprefix --rate ,$(RATE))

trace: setup ## one purchase from the source's line, and one from the checkout, to their rows: every hop with its duration
	@$(RUN) -m tests.traces

soak: setup ## a thousand kills -9 under 300 purchases a second, and the ledger; about an hour (SEED, KILLS)
	@$(RUN) -m tests.chaos.soak --seed $(or $(SEED),1) $(addprefix --kills ,$(KILLS))

load: setup ## a shape of load against a system that it starts, or against URL; objectives, report (SHAPE=steady|peak|burst|ceiling, RATE, MINUTES, URL, KAFKA, METRICS, LOAD_KEY)
	@$(RUN) -m tests.load $(addprefix --shape ,$(SHAPE)) $(addprefix --rate ,$(RATE)) $(addprefix --minutes ,$(MINUTES)) $(addprefix --url ,$(URL)) $(addprefix --kafka ,$(KAFKA)) $(addprefix --metrics ,$(METRICS))

availability: setup ## an hour of checkouts while each service is restarted once and killed once, and the ledger (MINUTES, EVENTS, CALLS, SEED)
	@PYTHONPATH=.:clients/python $(BIN)/python -m tests.availability $(addprefix --minutes ,$(MINUTES)) $(addprefix --events ,$(EVENTS)) $(addprefix --calls ,$(CALLS)) $(addprefix --seed ,$(SEED))

capacity: setup ## measure what a purchase costs, for the capacity model and its page; ten minutes on a machine left alone (SECONDS_EACH)
	@$(RUN) -m tests.capacity measure $(addprefix --seconds ,$(SECONDS_EACH))

capacity-check: setup ## the capacity model against the system at three loads; leaves out/capacity.json (SECONDS_EACH)
	@$(RUN) -m tests.capacity check $(addprefix --seconds ,$(SECONDS_EACH))

fuzz: setup ## a million odd payloads at the decoders, more at the topics and the REST door of a running system (SEED, FUZZ_RUNS)
	@$(RUN) -m tests.fuzz --seed $(or $(SEED),1) $(addprefix --runs ,$(FUZZ_RUNS))

bench: setup ## ours and its peers side by side, in one run on this machine (ONLY, ROUNDS, AGAINST)
	@$(RUN) -m tests.bench $(addprefix --only ,$(ONLY)) $(addprefix --rounds ,$(ROUNDS)) $(addprefix --against ,$(AGAINST))

backfill: setup ## a long history in bulk, into a warehouse of its own: read, loaded, features, training set (START, END, DAYS, DAILY, SEED)
	@$(RUN) -m deploy.local.backfill

up: setup ## the embedded stack with all services, kept running; a new one gets a history and a first model (RATE, HISTORY_DAYS, HISTORY_DAILY)
	@$(RUN) -m deploy.local.control up

down: setup ## stop it
	@$(RUN) -m deploy.local.control down

stop: setup ## one service of it (SERVICE)
	@$(RUN) -m deploy.local.control stop $(SERVICE)

start: setup ## that service again (SERVICE)
	@$(RUN) -m deploy.local.control start $(SERVICE)

env: setup ## its settings for a shell, in which every command is then about it: eval "$$(make --silent env)"
	@$(RUN) -m deploy.local.control env

status: setup ## health, lag, throughput, model in service, addresses
	@$(RUN) -m deploy.local.control status

logs: setup ## follow the logs of all services
	@$(RUN) -m deploy.local.control logs

ledger: setup ## audit the running system: is anything lost, doubled or made up?
	@$(RUN) -m deploy.local.control ledger

lock: setup ## resolve the lock anew from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-header --upgrade --quiet -o requirements.lock

research: setup ## the notebooks, from data to report, into docs/research (some 20 minutes)
	@$(RUN) -m notebooks.run $(addprefix --only ,$(ONLY))

notebook: setup ## JupyterLab on the warehouse that `make research` has made
	@$(RUN) -m notebooks.lab

# The theme would advertise its successor before each build.
docs: setup ## the documentation site, into site/; fails on any warning
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet
	@echo "the documentation is in site/index.html; to search it, and to read it while you write: PYTHONPATH=. $(BIN)/python -m mkdocs serve"

test-airflow: setup ## the Airflow DAGs, run whole in Airflow's own environment on the embedded warehouse
	@$(RUN) -m pytest -m airflow --timeout 1800

airflow-lock: setup ## resolve Airflow's lock anew
	@$(BIN)/uv pip compile deploy/airflow/airflow.in --universal --python-version 3.11 --generate-hashes --no-header --upgrade --quiet -o deploy/airflow/airflow.lock

fmt: setup ## formatter
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

lint: setup ## ruff, mypy, import rules, checked-in schemas, rules and dashboards
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports
	@$(RUN) -m shared.contracts.schemas check
	@$(RUN) -m deploy.monitoring check
	@$(RUN) -m deploy.capacity --page check

audit: setup ## what is installed: a bill of materials into out/sbom.json, and the published advisories about it (AUDIT_REQUIRED, OSV_URL)
	@$(RUN) -m deploy.supply_chain

clean: ## remove what was installed, fetched and made (not the data of `make up`)
	rm -rf .venv .cache out
