"""Append-only streams in segment files of their own."""
