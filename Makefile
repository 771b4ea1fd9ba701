# Each target makes its own virtual environment and installs what it needs: Python 3.11 or later and make suffice.
PYTHON ?= python3
DEMO_VENV := .venv
TEST_VENV := .venv-test
PARITY_VENV := .venv-parity

.PHONY: demo test browser parity lint clean figures

demo: $(DEMO_VENV)/installed
	$(DEMO_VENV)/bin/python scripts/demo.py

# A process a core, each with whole files, whose fixtures are made once. With the TPU's compiler installed, JAX would
# look for a TPU first, which takes its time.
TESTS := -n auto --dist loadfile
test: lint
	JAX_PLATFORMS=cpu $(TEST_VENV)/bin/python -m pytest $(TESTS) --ignore=tests/parity --ignore=tests/browser --durations=30

browser: $(TEST_VENV)/installed
	JAX_PLATFORMS=cpu $(TEST_VENV)/bin/python -m pytest tests/browser

parity: $(PARITY_VENV)/installed
	$(PARITY_VENV)/bin/python -m pytest $(TESTS) tests/parity

$(DEMO_VENV)/installed: setup.py
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python -m pip install -q -e .
	touch $@

$(TEST_VENV)/installed: setup.py
	$(PYTHON) -m venv $(TEST_VENV)
	$(TEST_VENV)/bin/python -m pip install -q -e '.[test,aot]'
	touch $@

# torch is pinned first, so that nothing after it brings a newer one along. The tests run it on the CPU; the index decides
# which build comes, and PyPI's for Linux is the large one with CUDA. LPIPS comes without torchvision, which would bring
# another torch along; the tests give it the three backbones it asks torchvision for.
$(PARITY_VENV)/installed: setup.py
	$(PYTHON) -m venv $(PARITY_VENV)
	$(PARITY_VENV)/bin/python -m pip install -q torch==2.13.0
	$(PARITY_VENV)/bin/python -m pip install -q -e '.[test,parity]'
	$(PARITY_VENV)/bin/python -m pip install -q --no-deps 'lpips>=0.1.4'
	touch $@

# Half an hour or more on two idle cores. Runs that were killed go on.
EXPERIMENTS := strength_sweep sketch_to_image vae_budget seed_variance guidance_vs_strength solver_and_steps
figures: $(TEST_VENV)/installed
	set -e; for name in $(EXPERIMENTS); do \
	  $(TEST_VENV)/bin/python experiments/$$name/run.py --config=configs/$$name.py:embedded --workdir=runs/$$name; done
	$(TEST_VENV)/bin/python scripts/write_up.py

lint: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/ruff check .
	$(TEST_VENV)/bin/ruff format --check .

clean:
	rm -rf $(DEMO_VENV) $(TEST_VENV) $(PARITY_VENV) build dist *.egg-info
