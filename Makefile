# make demo       the whole way on a small rendered world: videos, features, training, index, evaluation, search
# make demo-full  the same on the whole sample world
# make bench      every benchmark that needs nothing but the demo, small, into bench.json: under 5 minutes on two idle cores
# make test       the tests, but for those that take long
# make test-slow  the others: killed processes, clusters, databases, browsers, long trainings, the documentation's commands
# make coverage   both, and which lines and branches of the product they reach
# make test-oldest the tests of the core, with the oldest packages that setup.cfg allows, in build/oldest
# make docs       the documentation site, into build/site; any warning is an error
# make check      format, lint, types, tests, docs: what continuous integration runs
# make dist       wheel and source distribution of the last commit in dist/, built twice and compared
# make licences   docs/licences.md, and the software bill of materials build/sbom.json
# Each creates .venv by itself. GPU=1 installs the FAISS that can use NVIDIA GPUs.

PYTHON ?= python3
DEMO ?= demo
JOBS ?= 2
SIZE = --train 200 --val 25 --test 40
VIDEOS = 265 videos
SETTING = playhouse-small
FAISS := $(if $(GPU),gpu,cpu)
BIN := .venv/bin
INSTALLED := .venv/installed-$(FAISS)
TOOLS := build/tools
TESTS = -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python $(TESTS)

.PHONY: default demo demo-full bench test test-slow coverage check lint types docs dist licences test-oldest clean
default: test

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[$(FAISS),demo,docs,test]'
	touch $@

# One step of the demo: a title, then the command, which shows its progress.
step = @printf '\n-- $(1)\n' && $(2)
# A search as a reader would type it, and its answer.
show = @printf '\n$$ mmn-index search $(1)\n' && $(BIN)/mmn-index search $(1) --index $(DEMO)/collection.mmn -k 3 $(2)

demo: $(INSTALLED)
	$(call step,1/6 rendering $(VIDEOS),$(BIN)/mmn-index playhouse $(DEMO)/world $(SIZE))
	$(call step,2/6 computing features,$(BIN)/mmn-index extract $(DEMO)/world/train $(DEMO)/world/val $(DEMO)/world/test \
	    -o $(DEMO)/features.h5 --backbone pixels --workers 2)
	@rm -rf $(DEMO)/run
	$(call step,3/6 training,$(BIN)/mmn-index train --annotations $(DEMO)/world/train.json --val $(DEMO)/world/val.json \
	    --features $(DEMO)/features.h5 --config $(SETTING) -o $(DEMO)/run)
	$(call step,4/6 indexing every moment of the test videos,$(BIN)/mmn-index build $(DEMO)/run/model $(DEMO)/features.h5 \
	    --videos $(DEMO)/world/test.json -o $(DEMO)/collection.mmn --overwrite)
	$(call step,5/6 fitting confidences,$(BIN)/mmn-index calibrate $(DEMO)/features.h5 --annotations $(DEMO)/world/val.json \
	    --index $(DEMO)/collection.mmn > $(DEMO)/calibration.txt)
	$(call step,6/6 measuring,$(BIN)/mmn-index eval $(DEMO)/collection.mmn --all \
	    --annotations $(DEMO)/world/test.json --seen $(DEMO)/world/train.json -o $(DEMO)/results > $(DEMO)/tables.txt)
	@$(BIN)/mmn-index eval $(DEMO)/run/model --features $(DEMO)/features.h5 --annotations $(DEMO)/world/test.json \
	    --seen $(DEMO)/world/train.json --score collection
	$(call show,"person opens door",--html $(DEMO)/person-opens-door.html)
	$(call show,"someone turns off the light",--html $(DEMO)/someone-turns-off-the-light.html)
	$(call show,"a person drinks from a cup",--html $(DEMO)/a-person-drinks-from-a-cup.html)
	$(call show,"someone cooks pasta in the kitchen" --min-confidence 0.5,)
	@printf '\nIn $(DEMO)/:\n'
	@printf '  %-24s %s\n' '*.html' 'the answers with pictures: open them in a browser' \
	    world/ 'the rendered videos and their annotations' run/model 'the trained model' \
	    collection.mmn 'the index' results/report.html 'every table over the whole collection, with plots'
	@printf '\nSearch it on a page: $(BIN)/mmn-index serve $(DEMO)/collection.mmn\n'

# The sample world in full, which docs/results.md speaks of.
demo-full:
	$(MAKE) demo DEMO=demo-full SIZE= VIDEOS='500 videos' SETTING=playhouse

# Full sizes: benchmarks/README.md. benchmarks/compare.py compares two results, benchmarks/performance_page.py writes docs/performance.md.
bench: $(INSTALLED)
	$(BIN)/python benchmarks/bench.py $(DEMO) bench.json

# Two processes of one thread each: threads of several processes would get into each other's way. A file's tests stay together,
# those of slow files come first (tests/conftest.py). JOBS=1 for one process.
test: $(INSTALLED)
	$(PYTEST) -m "not slow"

test-slow: $(INSTALLED)
	$(PYTEST) -m slow

# They wait for processes, clusters and browsers for half of their time.
test-slow: JOBS = 3

# Killed processes leave nothing behind, so what only they reach counts as not reached.
coverage: $(INSTALLED)
	rm -rf build/coverage
	mkdir -p build/coverage
	OMP_NUM_THREADS=1 $(BIN)/coverage run $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Old packages warn of what newer ones took away, so warnings are no errors here.
OLDEST := build/oldest
CORE = doctor scoring moments index search search_command selection hub official features annotations proposals columns \
    bert scan tables decode cli server text_encoders dual_encoders export
$(OLDEST)/installed: setup.cfg constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --disable-pip-version-check -q -c constraints-oldest.txt pytest hypothesis duckdb otio-cmx3600-adapter \
	    -e '.[cpu,siglip,sentence-transformers,plots,tensorboard,editors,watch,serve,qdrant,postgres,demo]'
	touch $@

test-oldest: $(OLDEST)/installed
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -W ignore::DeprecationWarning $(CORE:%=tests/test_%.py)

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# Types are checked on an installed copy: in the tree, mmn_index.train and its neighbours lie in other folders.
types: $(INSTALLED)
	rm -rf build/types
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --target build/types .
	cd build/types && ../../$(BIN)/mypy --config-file ../../setup.cfg -p mmn_index

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

check: lint types test test-slow docs

# What a release takes, apart from .venv: nothing of it is imported by the project.
$(TOOLS)/installed: constraints.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt build cyclonedx-bom pip-licenses twine
	touch $@

dist: $(TOOLS)/installed
	$(TOOLS)/bin/python .ci/dist.py

licences: $(INSTALLED) $(TOOLS)/installed
	$(TOOLS)/bin/pip-licenses --python $(BIN)/python --from mixed --with-system --format json > build/licences.json
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --output-reproducible --of JSON -o build/environment.json
	$(BIN)/python docs/licences.py build/licences.json build/environment.json docs/licences.md build/sbom.json


clean:
	rm -rf build dist $(DEMO)
