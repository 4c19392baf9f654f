"""The bounds a server holds its peers to. A time of None is switched off; byte limits never are."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds on one server's peers. Times are kept to within two of the sweep's intervals, never fired early."""

    head_limit_bytes: int = MIB  # request line and headers; also a chunked body's trailers
    header_limit: int = 256  # headers, and trailers, of one request
    connection_limit: int = 10_000  # further connections are dropped at once
    held_limit_bytes: int = 512 * MIB  # of bodies that are not whole yet, over all connections; what is over gets 503
    idle_timeout_s: float | None = 75.0  # between two requests, and before the first
    head_timeout_s: float | None = 20.0  # from the first byte of a head to its end
    body_timeout_s: float | None = 20.0  # for any body, plus one second for each body_rate_bytes received
    body_rate_bytes: int = 16 * KIB  # a peer that sends more slowly than this trickles
    write_timeout_s: float | None = 60.0  # for a peer to take a full write buffer, plus its size / write_rate_bytes
    write_rate_bytes: int = 16 * KIB
    half_close_timeout_s: float = 30.0  # a peer that ended its side may wait so long for the answers in flight
    linger_s: float = 2.0  # after a refusal: discard what the peer still sends, so that it reads the refusal
    linger_limit_bytes: int = 64 * MIB


# A peer that polls for minutes, in a sandbox of its own: it waits as long as it likes, and may be hostile.
PATIENT = HttpLimits(
    connection_limit=256,
    held_limit_bytes=32 * MIB,
    header_limit=128,
    idle_timeout_s=None,
    head_timeout_s=None,
    body_timeout_s=None,
    write_timeout_s=None,
    half_close_timeout_s=0.0,
)
