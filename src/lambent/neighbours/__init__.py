"""The endpoint catalogue and clients of other AWS services."""
