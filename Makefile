# `make` alone lists what there is. Everything runs inside .venv, which is made where it is missing.

PYTHON  ?= python3
VENV    ?= .venv
RUNS    ?= runs
# Processes of the tests. One thread each: two processes that fight for the same cores are slower than one.
WORKERS ?= 2
# Handed to the command as it is: make all ARGS="--device cuda", make test ARGS="-m slow", make bench ARGS="--format json"
ARGS    ?=

BIN       := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UV        := $(shell uv --version >/dev/null 2>&1 && echo uv)

# A recipe's answer stands where the recipe does: recipes/a/b.toml -> runs/a/b/ (runs/a/b+quick when reduced). The file
# `complete` there is newer than the recipe when the report has every run it asks for: not after --only or --seeds.
REDUCED := $(filter-out 0 no false,$(QUICK))
SUFFIX  := $(if $(REDUCED),+quick)
RECIPES := $(sort $(shell find recipes -name '*.toml'))
answer   = $(patsubst recipes/%.toml,$(RUNS)/%$(SUFFIX)/complete,$(1))
ANSWERS := $(call answer,$(RECIPES))

# Python keeps what it compiles, even where the environment says no: else every start compiles all of PyTorch anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
# Recipes one after another: two trainings at a time would spoil each other's measured times.
.NOTPARALLEL:
.PHONY: help quickstart install .venv test lint format all bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[.a-z][a-z_-]*:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

quickstart: $(INSTALLED) ## install and answer a first question on embedded data (no download)
	@$(BIN)/cnnbench recipe recipes/quickstart.toml --runs $(RUNS) $(ARGS)

install: $(INSTALLED) ## make .venv and install everything into it

.venv: $(INSTALLED)

# uv does it in under a minute; pip does it too, from the release on that knows dependency groups.
$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifneq ($(UV),)
	$(UV) pip install --python $(BIN)/python --constraint constraints.txt --group dev --editable .
else
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --constraint constraints.txt --group dev --editable .
endif
	@touch $@

test: $(INSTALLED) ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

lint: $(INSTALLED) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## rewrite the files in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A recipe that cannot be run here (its data or weights are missing) holds up none of the others; it is named at the end.
all: $(ANSWERS) ## run every recipe that is newer than its whole answer, then compare (QUICK=1: reduced form)
	$(BIN)/cnnbench compare $$(for each in $^; do test ! -e $$each || echo $${each%/complete}; done)
	@for each in $^; do test -e $$each || { missing=1; echo "no whole answer: $${each%/complete}"; }; done; exit $$missing

# A recipe that is built on another one (model = {best_of = "a/b"}, model.encoder = {run = "a/b"}, or a list of such names
# in [sweep]) comes after it, and again when that has a new answer. In the regular expression \043 is #, \047 is '.
BUILT_ON := $(sort $(shell awk '{ \
	sub(/^[ \t]*\043.*/, ""); \
	while (match($$0, /(^|[^A-Za-z0-9_])(best_of|run)["\047]?[ \t]*=[ \t]*(\[[^]]*\]|"[^"]*"|\047[^\047]*\047)/)) { \
		names = substr($$0, RSTART, RLENGTH); $$0 = substr($$0, RSTART + RLENGTH); \
		sub(/^[^=]*=/, "", names); gsub(/[]["\047, \t]+/, " ", names); \
		for (i = split(names, each, " "); i > 0; i--) print FILENAME "|recipes/" each[i] ".toml" \
	} }' $(RECIPES) /dev/null))
define after
$(call answer,$(1)): $(call answer,$(filter $(RECIPES),$(2)))
endef
$(foreach pair,$(BUILT_ON),$(eval $(call after,$(firstword $(subst |, ,$(pair))),$(lastword $(subst |, ,$(pair))))))

$(ANSWERS): $(RUNS)/%$(SUFFIX)/complete: recipes/%.toml | $(INSTALLED)
	-$(BIN)/cnnbench recipe $< --runs $(RUNS) $(if $(REDUCED),--quick) $(ARGS)

bench: $(INSTALLED) ## measure images per second against the loop of a notebook
	$(BIN)/cnnbench bench --save docs/results/bench.md $(ARGS)

clean: ## remove .venv and caches; data/ and runs/ stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist
	find cnnbench tests -name __pycache__ -type d -exec rm -rf {} +
