"""The only privileged code: standard library and ctypes alone, started by its file path."""
