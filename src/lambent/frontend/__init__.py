"""Listeners, routing, request to value, error to AWS's reply."""
