"""Frozen values every package speaks: names, versions, calls, results, errors. Imports nothing of ours."""
