# Everything a fresh machine needs is Python (3.11 or newer) and make:
#
#     make run     the demo, on embedded defaults: no account, no network beyond the packages
#     make test    checks and tests; says which real servers it used and which it had to skip
#
# Packages go into .venv, pinned with hashes. uv installs them: the one in PATH, else a private
# copy in .tools. Nothing is written outside this folder where there is no home to write to.

PYTHON  ?= python3
WORKERS ?= 4
ARGS    ?=

UV := $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)
ifneq ($(shell test -n "$$HOME" && test -d "$$HOME" && test -w "$$HOME" && echo yes),yes)
export UV_CACHE_DIR ?= $(CURDIR)/.tools/cache
endif

# Thousands of processes start in a run of the tests: where compiled modules may not be kept, each
# compiles all that it imports. They lie in __pycache__, in this folder.
unexport PYTHONDONTWRITEBYTECODE

# uv trusts a list of its own; where this machine has one, the machine's is meant.
ifneq ($(wildcard /etc/ssl/certs/* /etc/ssl/cert.pem),)
export UV_SYSTEM_CERTS ?= 1
endif

# The test set contains the daemon's, so a .venv that has it is good for `run` as well.
RUN_SET := $(if $(wildcard .venv/bin/pytest),test,daemon)

.PHONY: help install run test check sim bench lock sbom mutation proof proof-long clean
.DELETE_ON_ERROR:

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

install: .venv/.test  ## make .venv with everything for working on keyman
	@echo "ready: .venv"

run: .venv/.$(RUN_SET)  ## the demo (ARGS="--seconds 60")
	@.venv/bin/keyman demo $(ARGS)

# What takes longest is left to whoever asks for everything: .ci/run does, and `make test QUICK=`.
QUICK = $(if $(filter all,$(KEYMAN_REQUIRE)),,--quick)

test: check  ## checks, then the tests; with KEYMAN_REQUIRE=all the slow ones too (ARGS="-k name", WORKERS=4)
	.venv/bin/pytest -n $(WORKERS) --dist worksteal $(QUICK) $(ARGS)

check: .venv/.test  ## format, lint, types, who imports whom
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

sim: .venv/.test  ## the big run of the simulator
	.venv/bin/python -m tests.sim $(ARGS)

bench: .venv/.test  ## the figures in the README, each beside a peer
	.venv/bin/python -m benchmarks $(ARGS)

# No address may enter a lock: each names versions and hashes, wherever they are fetched from.
# Pins stay as they are unless pyproject.toml forbids them; ARGS=--upgrade moves them all.
COMPILE = env -u UV_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS \
	$(UV) pip compile --quiet --no-config --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)

lock: | $(UV)  ## write requirements/*.lock from pyproject.toml (ARGS=--upgrade)
	$(COMPILE) --group tools -o requirements/tools.lock
	$(COMPILE) --extra daemon --group build pyproject.toml -o requirements/daemon.lock
	$(COMPILE) --extra daemon --extra vault --extra aws --extra notify --group test -c requirements/daemon.lock pyproject.toml -o requirements/test.lock
	$(COMPILE) --group sbom -o requirements/sbom.lock
	$(COMPILE) --group proof -o requirements/proof.lock
	@! grep -n '://' requirements/*.lock

# What keyman[daemon] brings to a machine is described from an environment with just that in it.
sbom: | $(UV)  ## dist/keyman.cdx.json: what keyman[daemon] consists of, with licences (CycloneDX)
	$(UV) venv --quiet --allow-existing .tools/shipped
	$(UV) pip sync --quiet --python .tools/shipped --require-hashes requirements/daemon.lock
	$(UV) venv --quiet --allow-existing .tools/sbom
	$(UV) pip sync --quiet --python .tools/sbom --require-hashes requirements/sbom.lock
	mkdir -p dist
	.tools/sbom/bin/cyclonedx-py environment .tools/shipped --pyproject pyproject.toml \
	  --output-reproducible --output-file dist/keyman.cdx.json

proof: .venv/.test .tools/proof/.done  ## every promise under faults, load and attack, within an hour; a table at the end
	.venv/bin/python -m tests.proof $(ARGS)

proof-long: .venv/.test .tools/proof/.done  ## the same, and what takes longer
	.venv/bin/python -m tests.proof --long $(ARGS)

mutation: .venv/.test  ## small mistakes in what decides, keeps and guards: does a test see each?
	.venv/bin/python -m tests.mutation $(ARGS)

# A judge of its own, with packages of its own, that the tests need not have.
.tools/proof/.done: requirements/proof.lock | $(UV)
	$(UV) venv --quiet --allow-existing .tools/proof
	$(UV) pip sync --quiet --python .tools/proof --require-hashes requirements/proof.lock
	@touch $@

clean:  ## remove what make and the tools have made
	rm -rf .venv .tools build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/.daemon .venv/.test: .venv/.%: requirements/%.lock pyproject.toml .venv/pyvenv.cfg | $(UV)
	$(UV) pip sync --quiet --python .venv --require-hashes requirements/$*.lock
	$(UV) pip install --quiet --python .venv --offline --no-deps --no-build-isolation -e .
	@touch $@

.venv/pyvenv.cfg: | $(UV)
	$(UV) venv --quiet --allow-existing --python "$$($(PYTHON) -c \
	  'import sys; print(sys.executable if sys.version_info >= (3, 11) else ">=3.11")' \
	  2>/dev/null || echo '>=3.11')" .venv

.tools/bin/uv: requirements/tools.lock
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "keyman: error: $(PYTHON) cannot make a virtual environment, and there is no uv in PATH"; \
	  echo "keyman: hint: apt-get install python3-venv, or: pipx install uv"; exit 1; } >&2
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check --no-cache-dir --only-binary :all: \
	  --require-hashes -r requirements/tools.lock
	@touch $@
