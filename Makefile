# make demo     real patients in, a signed synthetic release and its report out     (QUICK=1: half of the patients  ; OUT=folder)
# make test     the tests                                                           (SLOW=1: the slow ones too; ARGS="-k forest")
# make lint     style, format and types
# make clean    remove the environment and the demo's release
#
# Each makes .venv first, with the versions in constraints.txt. Needs Python 3.11 or newer, pip and make; PYTHON=... chooses one.

VENV := .venv
STAMP := $(VENV)/.installed
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: demo test lint install clean

OUT ?= demo

demo: $(STAMP)
	@if [ "$(OUT)" = demo ] && [ -f demo/report.json ]; then echo "Replacing the demo of before"; rm -rf demo; fi
	@$(VENV)/bin/proband demo $(if $(QUICK),--quick) --out "$(OUT)"
	@$(VENV)/bin/proband verify "$(OUT)"

test: $(STAMP)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist loadfile $(if $(SLOW),-m "") $(ARGS)

lint: $(STAMP)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy proband

install: $(STAMP)

# torch goes first and by its exact version: the machine's own choice of build (CPU or GPU) is then settled before anything asks for it.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "proband needs Python 3.11 or newer, and found none. Install it, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(VENV)/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Making the environment $(VENV) with $$($(PYTHON) --version)"; \
		$(PYTHON) -m venv --clear $(VENV) || { echo "That failed. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }; }
	@echo "Installing torch (about 200 MB; some minutes the first time)"
	@$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	@echo "Installing proband and the rest (about 250 MB)"
	@$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[augment,demo,dev,images,privacy]"
	@touch $(STAMP)

clean:
	rm -rf $(VENV) demo
