"""Fuzzers: run by hand, not with the tests; each says at its top how."""
