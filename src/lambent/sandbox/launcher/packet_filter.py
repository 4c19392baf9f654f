"""What a sandbox's packets may reach, as nftables rules: the router's, and the few that the host itself needs.

Pure texts: who applies them stands in ``nft.py``.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

# IANA IPv4 Special-Purpose Address Registry, and multicast: nothing of it is the internet. The three ranges for
# documentation are missing on purpose: nobody is there.
REFUSED: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
# The router's ends of sandboxes' cables, and of the one that leads out.
SANDBOX_LINKS: Final = "s*"
UPLINK: Final = "uplink"
# What one sandbox may have going on at once: the kernel remembers every flow, in a table that others need, too.
FLOWS: Final = 8192
DEFENCES: Final = frozenset(
    {"egress-ranges", "egress-host", "egress-neighbours", "egress-source", "egress-protocols", "egress-inbound"}
    | {"egress-flows", "egress-rate"}
)


def parse_allowed(text: str) -> str:
    """Return an exception of the operator's in nft's words: a network in CIDR notation. ValueError if it is none."""
    return str(ipaddress.IPv4Network(text))


def render_router(
    resolver: str, *, host: Sequence[str] = (), allowed: Sequence[str] = (), weakened: frozenset[str] = frozenset()
) -> str:
    """Return the router's whole rule set.

    ``resolver``: its own address, where only questions to DNS are heard. ``host``: addresses that are the host's,
    where no rule of the host itself refuses them. ``allowed``: networks that the operator opened although refused.
    """
    # AWS Lambda FAQs, "restrictions": no inbound connections, outbound TCP and UDP only, TCP port 25 is blocked.
    return f"""
table inet lambent {{
  {_set("refused", [] if "egress-ranges" in weakened else REFUSED)}
  {_set("allowed", allowed)}
  {_set("host", [] if "egress-host" in weakened else host)}
  {_FLOWS_SET}
  chain refuse {{
    counter reject with icmpx type admin-prohibited
  }}
  chain arriving {{
    type filter hook prerouting priority raw; policy accept;
    {_unless("egress-source", weakened, f'iifname "{SANDBOX_LINKS}" fib saddr . iif oif missing counter drop')}
  }}
  chain to_router {{
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname "{SANDBOX_LINKS}" ip daddr {resolver} meta l4proto {{ tcp, udp }} th dport 53 accept
    iifname "{SANDBOX_LINKS}" goto refuse
  }}
  chain through {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    {_unless("egress-inbound", weakened, f'iifname != "{SANDBOX_LINKS}" counter drop')}
    {_unless("egress-neighbours", weakened, f'iifname "{SANDBOX_LINKS}" oifname != "{UPLINK}" goto refuse')}
    ip daddr @host goto refuse
    ip daddr @refused ip daddr != @allowed goto refuse
    {_unless("egress-protocols", weakened, "tcp dport 25 goto refuse")}
    {_unless("egress-protocols", weakened, "meta l4proto != { tcp, udp } goto refuse")}
    {_unless("egress-flows", weakened, _flows(FLOWS))}
    meta nfproto ipv4 accept
  }}
  chain leaving {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{UPLINK}" masquerade
  }}
}}
"""


def render_host(
    table: str,
    cable: str,
    router: str,
    *,
    flows: int,
    opened: Sequence[str] = (),
    weakened: frozenset[str] = frozenset(),
) -> str:
    """Return the table of the host: its own addresses are refused, the router's packets take the host's address.

    ``cable``: the host's end, ``router``: the address at the other. ``flows``: of all sandboxes together.
    ``opened``: interfaces that forward only because of us, where whatever else would now be forwarded is dropped.
    """
    names = f"elements = {{ {', '.join(_quoted(opened))} }}" if opened else ""
    refuse = f'iifname "{cable}" meta l4proto tcp counter reject with tcp reset\n    iifname "{cable}" counter drop'
    return f"""
table inet {table} {{
  set opened {{ type ifname; {names} }}
  {_FLOWS_SET}
  chain to_host {{
    type filter hook input priority filter - 10; policy accept;
    {_unless("egress-host", weakened, refuse)}
  }}
  chain through {{
    type filter hook forward priority filter - 10; policy accept;
    ct state established,related accept
    {_unless("egress-host", weakened, f'iifname "{cable}" ct status dnat counter drop')}
    {_unless("egress-inbound", weakened, f'oifname "{cable}" counter drop')}
    {_unless("egress-flows", weakened, f'iifname "{cable}" {_flows(flows)}')}
    iifname @opened ct status dnat accept
    {_unless("egress-inbound", weakened, "iifname @opened counter drop")}
  }}
  chain leaving {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {router} oifname != "{cable}" masquerade
  }}
}}
"""


def render_host_addresses(addresses: Iterable[str]) -> str:
    """Return the order that tells the router the host's addresses anew."""
    elements = ", ".join(sorted(set(addresses)))
    added = f"add element inet lambent host {{ {elements} }}\n" if elements else ""
    return f"flush set inet lambent host\n{added}"


_FLOWS_SET: Final = "set flows { type ipv4_addr; size 65535; flags dynamic; }"


def _flows(most: int) -> str:
    return f"ct state new add @flows {{ ip saddr ct count over {most} }} counter drop"


def _set(name: str, elements: Sequence[str]) -> str:
    listed = f"elements = {{ {', '.join(elements)} }}" if elements else ""
    return f"set {name} {{ type ipv4_addr; flags interval; auto-merge; {listed} }}"


def _quoted(names: Sequence[str]) -> list[str]:
    return [f'"{name}"' for name in names]


def _unless(defence: str, weakened: frozenset[str], rule: str) -> str:
    return "" if defence in weakened else rule
