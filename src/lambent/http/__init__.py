"""Connections, framing, limits, slow and hostile peers. No AWS word in it."""
