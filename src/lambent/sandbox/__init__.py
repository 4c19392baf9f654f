"""Isolated process trees: the driver seam, the launcher, namespaces, cgroups. Nothing here knows AWS."""
