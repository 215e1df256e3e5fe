SHELL = /bin/bash

.PHONY: pytest mypy type lint format check-codestyle commit-checks docs spelling release clean

pytest:
	python -m pytest

mypy:
	python -m mypy

type: mypy

lint:
	python -m ruff check

format:
	python -m ruff check --select I --fix
	python -m ruff format

check-codestyle:
	python -m ruff check --select I
	python -m ruff format --check

commit-checks: format lint type spelling

# The site, in docs/_build; needs no network, and every warning is an error
docs:
	python -m sphinx -W --keep-going -q docs docs/_build

spelling:
	codespell

# Builds the source distribution and the wheel and checks them (needs build and twine); uploading is left to whoever releases
release: clean
	python -m build
	python -m twine check --strict dist/*

clean:
	rm -rf build dist docs/_build
