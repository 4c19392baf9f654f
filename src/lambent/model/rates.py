"""Token buckets: so many at once, refilled continuously; what was not used is not saved."""


class Bucket:
    """``capacity`` tokens, refilled at ``per_s`` a second."""

    __slots__ = ("_at_mono_s", "_capacity", "_per_s", "_tokens")

    def __init__(self, capacity: float, per_s: float, now_mono_s: float) -> None:
        self._capacity = capacity
        self._per_s = per_s
        self._tokens = capacity
        self._at_mono_s = now_mono_s

    def take(self, now_mono_s: float) -> bool:
        """Take one token if there is one."""
        tokens = self._tokens + (now_mono_s - self._at_mono_s) * self._per_s
        self._at_mono_s = now_mono_s
        if tokens > self._capacity:
            tokens = self._capacity
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1.0
        return True
