"""Documents, queue and leases in one SQLite file."""
