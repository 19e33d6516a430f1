"""Keeps the fuzzers out of the tests: they are run by hand."""

collect_ignore_glob = ["*.py"]
