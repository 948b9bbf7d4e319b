# A fresh machine needs make and Python 3.11 or newer with venv; another Python: make PYTHON=python3.12 test

PYTHON ?= python3
BIN := .venv/bin
# Touched when the environment is complete: an interrupted installation is begun again.
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help test test-calls test-work test-servers test-reloads test-chaos test-console test-parts demo run bench evals chaos drills console soak replay style types pins lock clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 16

# Processes side by side: whole calls take their real time and little of a processor.
WHOLE := tests/test_calls.py
WORK := tests/test_working_calls.py tests/sandbox/test_evals.py tests/sandbox/test_bench.py
CONSOLE := tests/console tests/browser
SANDBOX := $(filter-out $(WORK),$(wildcard tests/sandbox/test_*.py))
LOST := tests/test_recall.py tests/test_lost_calls.py tests/test_call_faults.py tests/test_spending.py
RELOADS := tests/test_handover.py tests/test_signals.py tests/drills $(LOST)
THREATS := tests/test_resources.py tests/test_threats.py
SERVERS := tests/test_other_servers.py tests/web $(THREATS)
CHAOS := tests/chaos tests/conformance
COMMANDS := tests/commands

test: $(READY) ## lint and run the tests
	$(BIN)/ruff check .
	@$(MAKE) --no-print-directory --jobs=7 test-calls test-chaos test-work test-servers test-reloads test-console test-parts

test-calls: $(READY)
	$(BIN)/python -m pytest -q $(WHOLE)

test-work: $(READY)
	$(BIN)/python -m pytest -q $(WORK)

test-servers: $(READY)
	$(BIN)/python -m pytest -q $(SERVERS)

test-reloads: $(READY)
	$(BIN)/python -m pytest -q $(RELOADS)

test-chaos: $(READY)
	$(BIN)/python -m pytest -q $(CHAOS) $(COMMANDS)

test-console: $(READY)
	$(BIN)/python -m pytest -q $(CONSOLE) $(SANDBOX)

test-parts: $(READY)
	$(BIN)/python -m pytest -q $(addprefix --ignore=,$(WHOLE) $(WORK) $(SERVERS) $(RELOADS) $(CHAOS) $(COMMANDS) $(CONSOLE) $(SANDBOX))

demo: $(READY) ## a whole call on this machine, without account or key
	$(BIN)/python -m voice demo

run: $(READY) ## the server, with the environment or .env
	$(BIN)/gunicorn server:app

bench: $(READY) ## the load test; more: make bench CALLS=100, RAMP=1 for calls per core, PEER=floor or pipecat, REPEAT=3
	$(BIN)/python -m voice bench $(if $(CALLS),--calls $(CALLS),$(if $(RAMP),--calls 10)) $(if $(RAMP),--ramp) \
	  $(if $(PEER),--peer $(PEER)) $(if $(REPEAT),--repeat $(REPEAT))

evals: $(READY) ## simulated callers judge whole conversations; your own agent: make evals AGENT=my_agent.toml
	$(BIN)/python -m voice evals $(if $(AGENT),--agent $(AGENT))

# Each whole, whatever became of the one before it; then the page is made of what has passed.
chaos: $(READY) ## what goes wrong, beside 48 healthy calls, an hour; fewer: make chaos CALLS=4
	@status=0; \
	CHAOS_CALLS=$(or $(CALLS),48) $(BIN)/python -W ignore -m pytest -q -m "full or not full" tests/chaos || status=1; \
	$(BIN)/python -W ignore -m pytest -q -m "full or not full" $(THREATS) $(LOST) \
	  tests/test_red_team.py tests/web/test_gate.py tests/console || status=1; \
	$(BIN)/python -W ignore -m pytest -q --hypothesis-profile=chaos tests/conformance || status=1; \
	$(BIN)/python -m tests.reliability; exit $$status

drills: $(READY) ## fifty live calls through kills, restarts and reloads; a quarter of an hour
	$(BIN)/python -W ignore -m pytest -q -m "full or not full" tests/drills tests/test_handover.py

console: $(READY) ## what the console costs: ten thousand past calls, a hundred pages that look at the live ones
	$(BIN)/python -W ignore -m pytest -q -m "full or not full" $(CONSOLE)

soak: $(READY) ## fifty calls for half an hour, a fault a minute; another time: make soak MINUTES=60
	$(BIN)/python -W ignore -m tests.drills --minutes $(or $(MINUTES),30) $(if $(CALLS),--calls $(CALLS))

replay: $(READY) ## does a recorded call lead to the same actions? make replay LOG=calls/CA….jsonl
	$(if $(LOG),,$(error which call? make replay LOG=calls/CA….jsonl))
	$(BIN)/python -m voice replay $(LOG)

style: $(READY) ## format the code and repair what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(READY) ## check the types
	$(BIN)/mypy --strict voice config server.py

# audioop-lts is for newer Pythons than the one that may run this, so its line is kept as it is.
pins: ## newest versions of everything into constraints.txt
	rm -rf .venv/pins
	$(PYTHON) -m venv .venv/pins
	cat requirements.txt requirements-dev.txt | sed '/^-/d' > .venv/pins/wanted.txt
	.venv/pins/bin/python -m pip install --quiet --disable-pip-version-check -r .venv/pins/wanted.txt
	{ echo "# Exact versions of everything that pip may install here: taken from a fresh environment by 'make pins'."; \
	  .venv/pins/bin/python -m pip freeze --disable-pip-version-check | grep -iv '^audioop-lts'; \
	  grep '^audioop-lts' constraints.txt; } > .venv/pins/constraints.txt
	mv .venv/pins/constraints.txt constraints.txt
	$(MAKE) lock

# Its line is kept as above: it stands in no resolution of an older Python.
lock: ## the hashes of all files of what is in constraints.txt into both requirements*.lock; takes some minutes
	rm -rf .venv/pins
	$(PYTHON) -m venv .venv/pins
	.venv/pins/bin/python -m pip install --quiet --disable-pip-version-check pip-tools
	set -e; for each in requirements-dev=requirements requirements=requirements-server; do \
	  lock=$${each#*=}.lock; \
	  .venv/pins/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
	    --output-file .venv/pins/$$lock.txt $${each%=*}.txt; \
	  { head -n 1 $$lock; grep -v -e '^--' -e '^$$' -e '^#' .venv/pins/$$lock.txt; \
	    sed -n '/^audioop-lts/,/[^\\]$$/p' $$lock; } > .venv/pins/$$lock; \
	  mv .venv/pins/$$lock $$lock; \
	done
	rm -rf .venv/pins

clean: ## remove the environment and all caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.txt requirements-dev.txt constraints.txt requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "Setting up .venv: a minute or two, once."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@touch $@
