"""The store in memory, for users' tests as for ours: it passes the same contract suite as the real ones."""

from lambent.store.memory import MemoryStore

__all__ = ["MemoryStore"]
