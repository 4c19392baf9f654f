"""Logs, metrics, traces and bills: sides of one ``InvocationRecord``; and the process's own log."""
