"""Who may reach the endpoint at all: no web page of another origin, no name that is not ours, no open bind unverified.

Against a page in the user's own browser, which can reach loopback: by a foreign ``Origin``, by a request that sends
none (``Sec-Fetch-Site`` tells it), or by a name of its own that it points at us (DNS rebinding: a foreign ``Host``).
"""

import ipaddress
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from lambent.access.head import Head
from lambent.access.sigv4 import Mode
from lambent.model.errors import Refused

_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
# A request that a user typed, or that a page of ours makes.
_OWN_FETCHES: Final = frozenset({"none", "same-origin"})
_NO_HOST: Final = "The request has no single valid Host header."
_FOREIGN: Final = "Web pages of another origin may not call this endpoint."
_HOSTS_KEPT: Final = 64


def decide_origin(head: Head, bind_host: str, allowed_hosts: Iterable[str]) -> str | None:
    """Return why ``head`` is refused (403), or None.

    ``Host`` has to be loopback, ``*.localhost``, the address we are bound to, or in ``allowed_hosts`` ("name" or
    "*.name"); nothing else is ours by default, not even ``*.amazonaws.com``. On a bind that is not loopback an
    address instead of a name is fine too, as no page can rebind an address. ``Origin``, if sent, has to be ours.
    """
    return OriginRules(bind_host, allowed_hosts).decide(head)


class OriginRules:
    """``decide_origin`` for one endpoint: what a Host header means is found out once."""

    def __init__(self, bind_host: str, allowed_hosts: Iterable[str]) -> None:
        self._bind_host, self._allowed_hosts = bind_host, tuple(allowed_hosts)
        self._own_hosts: set[str] = set()  # values of Host headers that are ours

    def decide(self, head: Head) -> str | None:
        """Return why ``head`` is refused (403), or None."""
        host: str | None = None
        origins: list[str] = []
        for name, value in head.headers:
            if name == "host":
                if host is not None:
                    return _NO_HOST
                host = value
            elif name == "origin":
                origins.append(value)
            elif name == "sec-fetch-site" and value not in _OWN_FETCHES:
                return _FOREIGN
        if host is None:
            return _NO_HOST
        if host not in self._own_hosts and (reason := self._decide_host(host)) is not None:
            return reason
        return None if all(_is_same_origin(origin, host) for origin in origins) else _FOREIGN

    def _decide_host(self, value: str) -> str | None:
        if (host := _host_name(value)) is None:
            return _NO_HOST
        if not _is_own_host(host, self._bind_host, self._allowed_hosts):
            return f"The host name {host} is not one of this endpoint; add it to the allowed hosts if it is yours."
        if len(self._own_hosts) < _HOSTS_KEPT:
            self._own_hosts.add(value)
        return None


def require_safe_bind(host: str, mode: Mode) -> None:
    """Return if an endpoint in ``mode`` may listen on ``host``; Refused for an unverified one beyond loopback."""
    if mode == "off" and not is_loopback(host):
        raise Refused(
            f"host {host or '(all)'}",
            "without verified signatures everybody in the network would control this machine's functions",
            "listen on 127.0.0.1, or switch signature verification on",
        )


def is_loopback(host: str) -> bool:
    """Whether listening on ``host`` is reachable from this machine only. A name other than localhost is not."""
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _is_own_host(host: str, bind_host: str, allowed_hosts: Iterable[str]) -> bool:
    if host in _LOOPBACK_NAMES or host.endswith(".localhost"):
        return True
    if host == bind_host.strip("[]").lower():
        return True
    if _address(host) is not None and not is_loopback(bind_host):
        return True
    return any(_is_covered(host, allowed.lower()) for allowed in allowed_hosts)


def _is_covered(host: str, allowed: str) -> bool:
    if allowed.startswith("*."):
        return host.endswith(allowed[1:]) and len(host) >= len(allowed)
    return host == allowed


def _host_name(value: str) -> str | None:
    """Return the name or address of a Host header in lower case, without port, brackets and final dot."""
    try:
        parts = urlsplit(f"//{value}")
        name = (parts.hostname or "").removesuffix(".")
        port = parts.port
    except ValueError:
        return None
    rebuilt = value.lower().removesuffix(f":{port}" if port is not None else ":").strip("[]").removesuffix(".")
    return name if name and name == rebuilt else None


def _is_same_origin(origin: str, host: str) -> bool:
    scheme, _, rest = origin.lower().partition("://")
    return scheme in ("http", "https") and rest == host.lower()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
