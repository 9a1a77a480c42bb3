"""The suite; a package so that `python -m tests.fuzz` finds it beside any other folder called tests."""
