SHELL = /bin/bash

.PHONY: pytest mypy type lint format check-codestyle commit-checks release clean

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

commit-checks: format lint type

# Builds the source distribution and the wheel and checks them (needs build and twine); uploading is left to whoever releases
release: clean
	python -m build
	python -m twine check --strict dist/*

clean:
	rm -rf build dist
