# Two commands: `make demo` shows the mirror at work, `make test` proves it. Python 3.11+ is all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Tests at a time: nearly all of them wait for servers and processes, so there may be more than processor cores.
JOBS ?= 4
UV = $(shell command -v uv || echo $(BIN)/uv)

.PHONY: demo test check unit integration answers mutants simulate simulate-proof test-faults test-ceph test-frigate bench screenshots docs addon lock format clean

demo: $(VENV)/ready
	@$(BIN)/python -m frigate_s3_mirror.demo $(ARGS)

test: check
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/shellcheck *.sh deploy/*.sh scripts/frigate-s3-mirror .ci/run
	@if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile deploy/home-assistant/Dockerfile; else echo "hadolint: no package for this machine, skipped"; fi

unit integration: $(VENV)/ready
	$(BIN)/python -m pytest tests/$@ $(ARGS)

# Small lies in the modules that decide, and which of them no unit test notices; a sample (about ten minutes), or ARGS="--all".
mutants: $(VENV)/ready
	PYTHONPATH=tests $(BIN)/python -m mutants $(ARGS)

# Every answer of S3 and of what stands in its place, tried against a model; tests/answers/model.py says what must follow.
answers: $(VENV)/ready
	@PYTHONPATH=tests $(BIN)/python -m answers

# The patch in a real Frigate: FRIGATE_CHECKOUT=/path/of/its/checkout, FRIGATE_PYTHON=a Python that has its packages.
test-frigate: $(VENV)/ready
	$(BIN)/python -m pytest -s tests/patch/test_real_frigate.py $(ARGS)

# Against a real Ceph, from Debian's packages radosgw ceph-mon ceph-osd ceph-mgr ceph-common faketime; needs root.
test-ceph: $(VENV)/ready
	$(BIN)/python -m pytest tests/ceph $(ARGS)

# `make test` runs the same faults in a shorter form; this takes an hour or so and prints its figures.
test-faults: $(VENV)/ready
	FAULTS=full $(BIN)/python -m pytest -s tests/faults tests/simulation $(ARGS)

# A seed's world: Frigate, disks, S3, clock and the mirror's own life do what the seed says, in virtual time.
simulate: $(VENV)/ready
	@PYTHONPATH=tests $(BIN)/python -m simulation.run --seed $(or $(SEED),1) --hours $(or $(HOURS),24) $(ARGS)

# Plants known faults, one at a time, and tells which of them the simulator finds, after how many seeds.
simulate-proof: $(VENV)/ready
	@PYTHONPATH=tests $(BIN)/python -m simulation.planted $(ARGS)

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks $(ARGS)

# The README's pictures, from the real service; needs Chromium.
screenshots: $(VENV)/ready
	$(BIN)/python scripts/screenshots.py

# The Home Assistant add-on, as a folder and an archive in dist/; needs nothing but Python.
addon:
	@$(PYTHON) scripts/assemble_addon.py $(ARGS)

# The tables of settings and errors are made from the code.
docs: $(VENV)/ready
	$(BIN)/python -m frigate_s3_mirror.documentation docs

format: $(VENV)/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/ready: pyproject.toml requirements/dev.txt scripts/bootstrap.py
	@$(PYTHON) scripts/bootstrap.py $(VENV)
	@touch $@

# Locked without index addresses, for every platform and Python that we support.
lock: $(VENV)/ready
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade \
		pyproject.toml -o requirements/runtime.txt
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade \
		--constraint requirements/runtime.txt --extra demo --group dev pyproject.toml -o requirements/dev.txt

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
