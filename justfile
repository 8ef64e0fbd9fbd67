# `just` is a command runner; without an installation: uvx --from rust-just just RECIPE

# list the recipes
default:
    @just --list

# start the app; arguments go to app.py
run *arguments:
    uv run app.py {{arguments}}

# run the tests; arguments go to pytest
test *arguments:
    uv run --group dev pytest {{arguments}}

# run all tests that CI runs
test-slow:
    CI=true uv run --group dev pytest

# format, lint and type-check
lint:
    uv run --group dev ruff format .
    uv run --group dev ruff check --fix .
    uv run --group dev mypy
    uv run --group dev .ci/prose

# build the documentation into build/site
docs:
    uv run --group docs .ci/docs

# write the tables that are generated from code
tables:
    uv run --group dev python -m tests.docs
    uv run --group dev python -m tests.prompts.table --write

# everything that has to pass before a change lands
ci:
    .ci/run
