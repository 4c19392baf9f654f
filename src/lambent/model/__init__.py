"""Frozen values that every other package speaks: names, versions, calls, results, records, errors. Imports nothing of ours."""
