"""Asynchronous invocation: the durable queue, retries, age, and where events end. It runs nothing: ``invoke`` does."""
