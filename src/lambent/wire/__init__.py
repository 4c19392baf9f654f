"""Bytes to values and back: the AWS protocols, compiled from botocore's service models."""
