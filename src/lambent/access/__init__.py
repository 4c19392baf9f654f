"""SigV4, credentials, sealing of secrets, policy evaluation: decisions about callers."""
