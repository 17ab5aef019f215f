# make demo   the whole loop on real weights and real questions, everything set up first
# make test   the test suite, everything set up first
# make check  format, lint, types

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE := 1

.PHONY: setup demo demo-short test test-slow check data clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than Python 3.11. Name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo,test]'
	touch $@

data: setup
	$(BIN)/python -m data_pipelines.easy_vqa --out data/easy_vqa
	$(BIN)/python -m data_pipelines.small_vlm --out data/small_vlm

demo: data
	$(BIN)/sclvlm run configs/student.yaml
	$(BIN)/sclvlm run configs/demo.yaml

# The demo with smaller numbers, for continuous integration: every stage, no claim.
demo-short: data
	$(BIN)/sclvlm run configs/student.yaml run.dir=runs/short/student train.args.max_steps=25 train.args.eval_delay=0 train.args.eval_steps=25
	$(BIN)/sclvlm run configs/demo.yaml run.dir=runs/short/demo model.path=runs/short/student/train/model \
		infer.limit=192 evaluate.limit=128

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) runs data build *.egg-info
