"""The rules as texts; that they hold is proven by packets in tests/security/network."""

import ipaddress
import json
import socket

import pytest

from lambent.sandbox.launcher import forwarding, packet_filter
from lambent.sandbox.launcher.uplinks import choose_block


def test_nothing_of_the_refused_is_an_address_of_the_internet():
    documentation = [ipaddress.ip_network(each) for each in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
    refused = [ipaddress.ip_network(each) for each in packet_filter.REFUSED]
    assert not [each for each in refused if each.is_global and not each.is_multicast and each != RELAYS]
    for special in SPECIAL:
        network = ipaddress.ip_network(special)
        assert any(network.subnet_of(each) for each in refused) or network in documentation, special


RELAYS = ipaddress.ip_network("192.88.99.0/24")  # deprecated anycast of 6to4
SPECIAL = (  # IANA IPv4 Special-Purpose Address Registry, what is not globally reachable, and multicast
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "169.254.169.254/32"),
)


@pytest.mark.parametrize("defence", sorted(packet_filter.DEFENCES - {"egress-rate"}))
def test_every_defence_is_a_part_of_the_rules_that_can_be_left_out(defence):
    def render(weakened):
        return packet_filter.render_router("169.254.78.1", host=["203.0.113.9"], weakened=weakened) + (
            packet_filter.render_host(
                "lambent_1", "lambent1", "169.254.1.2", flows=9, opened=["eth0"], weakened=weakened
            )
        )

    assert render(frozenset({defence})) != render(frozenset())


@pytest.mark.parametrize("text", ["10.0.0.0/8", "10.1.2.3/32", "10.1.2.3"])
def test_a_network_of_the_operators_is_rendered_as_one(text):
    assert ipaddress.ip_network(packet_filter.parse_allowed(text)) == ipaddress.ip_network(text)


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "fd00::/8", "10.0.0.0/8 }", "all", "10.0.0.0/8;"])
def test_what_is_no_network_is_refused_before_it_is_part_of_a_rule(text):
    with pytest.raises(ValueError, match=r".+"):
        packet_filter.parse_allowed(text)


def test_a_cable_to_the_host_takes_a_block_that_nobody_has():
    taken = []
    for _ in range(200):
        here, there = choose_block("same", taken)
        pair = [int.from_bytes(socket.inet_aton(each), "big") for each in (here, there)]
        assert pair[0] % 4 == 1
        assert pair[1] == pair[0] + 1
        assert here not in taken
        assert ipaddress.ip_address(here) in ipaddress.ip_network("169.254.0.0/18")
        taken.append(here)


def test_two_instances_begin_their_search_elsewhere():
    assert len({choose_block(f"{number:08x}", []) for number in range(50)}) > 40


def chain(table, **members):
    return {
        "chain": {"family": "ip", "table": table, "name": "FORWARD", "hook": "forward", "policy": "drop", **members}
    }


NAMED = {
    "rule": {"family": "ip", "table": "filter", "chain": "DOCKER-USER", "expr": [{"match": {"right": "lambent*"}}]}
}


@pytest.mark.parametrize(
    ("ruleset", "obstacle"),
    [
        ([], ""),
        ([chain("filter")], "chain FORWARD of table ip filter"),
        ([chain("filter", policy="accept")], ""),
        ([chain("filter", hook="input")], ""),
        ([chain("filter"), NAMED], ""),
        ([chain("other"), NAMED], "chain FORWARD of table ip other"),
        ([chain("lambent_12345678")], ""),
        ([{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "ip", "name": "filter"}}], ""),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_a_firewall_that_drops_what_it_does_not_name_is_seen(ruleset, obstacle):
    assert forwarding.find_obstacle(ruleset) == obstacle
