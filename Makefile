# Every target sets up .venv by itself. `make demo` is the main job, `make test` the fast suite.
PYTHON ?= python3
BIN := .venv/bin
TORCH := $(shell cat torch-cpu.txt)
DEMO ?= runs/demo

.PHONY: demo test test-slow lint docs release bench tables experiments clean

.venv/ready: pyproject.toml torch-cpu.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/pip install -q $(TORCH)
	$(BIN)/pip install -q -e .[test,lint]
	touch $@

demo: .venv/ready
	$(BIN)/vlb train digits --out $(DEMO)
	$(BIN)/vlb evaluate $(DEMO) --json $(DEMO)/evaluation.json
	$(BIN)/vlb sample $(DEMO) -n 64 --steps 100 -o $(DEMO)/samples.png
	$(BIN)/vlb report $(DEMO)

test: .venv/ready
	$(BIN)/pytest -n 2 --dist loadfile

test-slow: .venv/ready
	$(BIN)/pytest -m slow --timeout 3600

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready
	test -d $(DEMO) || $(MAKE) demo
	$(BIN)/pip install -q -e .[bench]
	$(BIN)/pip install -q --no-deps "azula>=0.11"  # of its needs, torchvision would replace torch by a build for CUDA
	for benchmark in benchmarks/bench_*.py; do $(BIN)/python $$benchmark || exit 1; done

tables: .venv/ready
	$(BIN)/python benchmarks/write_tables.py
	$(BIN)/python experiments/page.py

experiments: .venv/ready
	$(BIN)/python experiments/all.py

release: .venv/ready
	$(BIN)/pip install -q build
	$(BIN)/python benchmarks/release_check.py --out dist

docs: .venv/ready docs/_static/mathjax/tex-svg.js
	$(BIN)/pip install -q -e .[docs]
	$(BIN)/sphinx-build -q -W -b html docs docs/_build

docs/_static/mathjax/tex-svg.js:
	mkdir -p $(@D)
	cd $(@D) && npm pack --silent mathjax@3.2.2 && tar -xzf mathjax-3.2.2.tgz package/es5/tex-svg.js \
		&& mv package/es5/tex-svg.js . && rm -r package mathjax-3.2.2.tgz

clean:
	rm -rf .venv docs/_build
