# Two commands matter: `make book` and `make test`. Each makes the environment it needs, once.

PYTHON   ?= python3
VENV     ?= .venv
PIP_ARGS ?=
BIN      := $(VENV)/bin
READY    := $(VENV)/.ready
BOOK     := _build/html
BESIDE   := _build/nbgrader
PORT     ?= 8888
JOBS     ?= 2
# Tests in JOBS processes of one thread each: they wait (for a browser, a server, a kernel) more than they compute.
# Linux's allocator hands every large tensor back to the system, which clears its pages for the next one: a third of
# the time of a test that trains, half of that of one that asks EfficientNet. Told to keep up to 1 GB, it does not.
KEEP     := MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=1073741824
PYTEST   := OMP_NUM_THREADS=1 $(KEEP) $(BIN)/python -m pytest -n $(JOBS)

.DEFAULT_GOAL := help
.PHONY: help book test notebooks serve study release grade nbgrader variant prove quizzes exam lint bench clean

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): pyproject.toml xai_course/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "The virtual environment could not be made. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) (a few minutes, once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[course,book,study,classroom,cluster,test]" -e ./xai_course
	@touch $@

book: $(READY)  ## build the book, and say where it is
	@$(BIN)/jupyter-book build --quiet -W --keep-going .
	@echo
	@echo "The book is ready. Open it in a browser:"
	@echo "  file://$(CURDIR)/$(BOOK)/index.html"

# nbgrader would change everybody's JupyterLab: its test finds it in a folder of its own.
$(BESIDE)/.ready: constraints.txt | $(READY)
	@rm -rf $(BESIDE)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt --no-deps --target $(BESIDE) nbgrader alembic Mako RapidFuzz
	@touch $@

test: book $(BESIDE)/.ready  ## run everything: lint, library, parity, exercises, notebooks, book, browser
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python tools/notebooks.py --check
	BOOK_HTML=$(CURDIR)/$(BOOK) REQUIRE_NBGRADER=1 $(PYTEST) --dist worksteal
	$(PYTEST) --dist loadfile --nbval --nbval-cell-timeout=300 --nbval-sanitize-with=tests/nbval.cfg chapters book/how_fast.ipynb book/beyond_one_machine.ipynb

notebooks: $(READY)  ## execute the notebooks whose source has changed (ALL=1: every one)
	@$(KEEP) $(BIN)/python tools/notebooks.py $(if $(ALL),--all)

serve: $(READY)  ## open the notebooks in JupyterLab
	@# JupyterLab strips styles and scripts from stored outputs of notebooks that it was not told to trust.
	@$(BIN)/jupyter trust chapters/*/*.ipynb book/*.ipynb > /dev/null
	@$(BIN)/jupyter lab --port=$(PORT) --notebook-dir=. chapters

study: $(READY)  ## start the live human study (HOST=0.0.0.0: for a class; PROTOCOL=trust; STUDY_PORT=8000)
	@$(BIN)/python -m xai_course.study serve --host=$(or $(HOST),127.0.0.1) --port=$(or $(STUDY_PORT),8000) $(if $(PROTOCOL),--protocol=$(PROTOCOL))

release: $(READY)  ## the exercises without solutions, to hand out (CHAPTER=02; HINTS=0 to 3; VARIANT=folder of your own)
	@$(BIN)/python -m xai_course.classroom release $(if $(CHAPTER),--chapter=$(CHAPTER)) --hints=$(or $(HINTS),3) $(if $(VARIANT),--variant="$(VARIANT)")

grade: $(READY)  ## grade what a class handed in (FROM=moodle.zip CHAPTER=02; VARIANT=folder; TERM=3: other numbers; JOBS=2 students at a time; NBGRADER=course folder)
	@$(BIN)/python -m xai_course.classroom grade "$(FROM)" $(if $(CHAPTER),--chapter=$(CHAPTER)) $(if $(VARIANT),--variant="$(VARIANT)") -j $(JOBS) $(if $(findstring command,$(origin TERM)),--term=$(TERM)) $(if $(UNSAFE),--unsafe) $(if $(NBGRADER),--nbgrader="$(NBGRADER)")

nbgrader: $(READY)  ## make a release an assignment of an nbgrader course (CHAPTER=02; VARIANT=folder; TO=nbgrader)
	@$(BIN)/python -c "import nbgrader" 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[nbgrader]"
	@$(BIN)/python -m xai_course.classroom nbgrader $(if $(CHAPTER),--chapter=$(CHAPTER)) $(if $(VARIANT),--variant="$(VARIANT)") --to="$(or $(TO),nbgrader)"

variant: $(READY)  ## begin exercises of your own, in a folder outside the repository (CHAPTER=02 TO=folder)
	@$(BIN)/python -m xai_course.classroom begin "$(TO)" --chapter=$(CHAPTER)

prove: $(READY)  ## try out exercises of your own before a class does (VARIANT=folder)
	@$(BIN)/python -m xai_course.classroom prove "$(VARIANT)"

quizzes: $(READY)  ## the quizzes as Moodle XML and QTI 2.1, for a learning platform (CHAPTER=02)
	@$(BIN)/python -m xai_course.classroom quizzes $(if $(CHAPTER),--chapter=$(CHAPTER)) $(if $(FROM),--from=$(FROM))

exam: $(READY)  ## draw the final exam: sheets to print, and the answers (SEED=autumn STUDENTS=list.csv)
	@$(BIN)/python -m xai_course.classroom exam --seed="$(SEED)" $(if $(STUDENTS),--students="$(STUDENTS)") $(if $(POOLS),--pools="$(POOLS)")

lint: $(READY)  ## check format and style
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

bench: $(READY)  ## time every heavy method against its peers and against the bare passes (DEVICE=cuda)
	@$(BIN)/python benchmarks/run.py --device $(or $(DEVICE),cpu)

clean:  ## remove what was built (not the environment)
	rm -rf _build .pytest_cache .ruff_cache .hypothesis build *.egg-info xai_course/build xai_course/*.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
