"""Measurements of the invoke path, each in one run beside a baseline. Only the ratios travel between machines."""
