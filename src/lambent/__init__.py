"""Lambent: AWS Lambda on machines that you own."""
