"""The relay of questions to DNS: whom it asks, what it takes for an answer, and how much it does for one client."""

import contextlib
import os
import socket
import threading
import time

import pytest

from lambent.sandbox.launcher import dns_relay
from lambent.sandbox.launcher.dns_relay import Relay, Resolvers, parse_resolvers

QUESTION = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"
ANSWER = b"\x12\x34\x81\x80" + QUESTION[4:]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nameserver 127.0.0.53\noptions edns0\nsearch lan\n", ["127.0.0.53"]),
        ("# nameserver 9.9.9.9\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n", ["10.0.0.1", "fe80::1%eth0"]),
        ("nameserver\nnameserver resolver.example\n", ["127.0.0.1"]),
        ("", ["127.0.0.1"]),
    ],
)
def test_the_hosts_resolvers_are_read_as_the_c_library_reads_them(text, found):
    assert parse_resolvers(text) == [(address, 53) for address in found]


def test_a_file_that_changed_is_read_again_and_one_that_is_missing_means_this_host(tmp_path):
    path = tmp_path / "resolv.conf"
    resolvers = Resolvers(str(path))
    assert resolvers.current() == [("127.0.0.1", 53)]
    for address in ("10.0.0.1", "10.0.0.2"):
        path.with_suffix(".new").write_text(f"nameserver {address}\n")
        os.replace(path.with_suffix(".new"), path)
        assert resolvers.current() == [(address, 53)]


class Named(Resolvers):
    """Resolvers at ports of this machine."""

    def __init__(self, *ports):
        super().__init__()
        self.ports = ports

    def current(self):
        return [("127.0.0.1", port) for port in self.ports]


@contextlib.contextmanager
def running(*ports):
    """Yield the port of a relay that asks resolvers at ``ports``."""
    datagrams, streams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.create_server(("127.0.0.1", 0))
    datagrams.bind(streams.getsockname())
    for each in (datagrams, streams):
        each.setblocking(False)
    over = threading.Event()
    relay = Relay(datagrams, streams, Named(*ports))
    thread = threading.Thread(target=relay.run, args=(over.is_set,))
    thread.start()
    try:
        yield streams.getsockname()[1]
    finally:
        over.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", datagrams.getsockname())
        thread.join()
        datagrams.close()
        streams.close()


@contextlib.contextmanager
def datagram_socket(address=("127.0.0.1", 0)):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(10)
        made.bind(address)
        yield made


def test_a_question_reaches_the_resolver_and_its_answer_comes_back():
    with datagram_socket() as resolver, running(resolver.getsockname()[1]) as port, datagram_socket() as client:
        client.sendto(QUESTION, ("127.0.0.1", port))
        question, relay = resolver.recvfrom(999)
        assert question == QUESTION
        resolver.sendto(b"\x99\x99\x81\x80" + QUESTION[4:], relay)  # another's number
        resolver.sendto(QUESTION, relay)  # a question
        resolver.sendto(ANSWER, relay)
        assert client.recv(999) == ANSWER


def test_a_stranger_cannot_answer():
    with (
        datagram_socket() as resolver,
        datagram_socket() as stranger,
        running(resolver.getsockname()[1]) as port,
        datagram_socket() as client,
    ):
        client.sendto(QUESTION, ("127.0.0.1", port))
        _, relay = resolver.recvfrom(999)
        stranger.sendto(ANSWER + b"forged", relay)
        resolver.sendto(ANSWER, relay)
        assert client.recv(999) == ANSWER


def test_where_nobody_is_the_next_resolver_is_asked_at_once():
    with datagram_socket() as gone:
        closed = gone.getsockname()[1]
    with datagram_socket() as resolver, running(closed, resolver.getsockname()[1]) as port, datagram_socket() as client:
        client.sendto(QUESTION, ("127.0.0.1", port))
        _, relay = resolver.recvfrom(999)
        resolver.sendto(ANSWER, relay)
        assert client.recv(999) == ANSWER


def test_one_that_is_silent_is_given_up_for_the_next(monkeypatch):
    monkeypatch.setattr(dns_relay, "_NEXT_AFTER_S", 0.1)
    with (
        datagram_socket() as silent,
        datagram_socket() as resolver,
        running(silent.getsockname()[1], resolver.getsockname()[1]) as port,
        datagram_socket() as client,
    ):
        client.sendto(QUESTION, ("127.0.0.1", port))
        _, relay = resolver.recvfrom(999)
        resolver.sendto(ANSWER, relay)
        assert client.recv(999) == ANSWER


def test_a_flood_of_one_client_leaves_room_for_another(monkeypatch):
    monkeypatch.setattr(dns_relay, "_QUESTIONS_OF_ONE", 16)
    with datagram_socket() as resolver, running(resolver.getsockname()[1]) as port:
        with datagram_socket() as flood, datagram_socket(("127.0.0.2", 0)) as other:
            for _ in range(200):
                flood.sendto(QUESTION, ("127.0.0.1", port))
            other.sendto(b"\x77\x77" + QUESTION[2:], ("127.0.0.1", port))
            asked = []
            while b"\x77\x77" + QUESTION[2:] not in asked:
                asked.append(resolver.recv(999))
        assert len(asked) <= 17


def test_streams_pass_both_ways_and_end_together():
    with socket.create_server(("127.0.0.1", 0)) as resolver, running(resolver.getsockname()[1]) as port:
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            there, _ = resolver.accept()
            with there:
                client.sendall(b"\0\x13" + QUESTION)
                assert there.recv(999) == b"\0\x13" + QUESTION
                large = os.urandom(300_000)
                threading.Thread(target=there.sendall, args=(large,)).start()
                got = b""
                while len(got) < len(large):
                    got += client.recv(65536)
                assert got == large
            assert client.recv(9) == b""


def test_a_client_has_so_many_streams_and_no_more(monkeypatch):
    monkeypatch.setattr(dns_relay, "_STREAMS_OF_ONE", 2)
    with (
        socket.create_server(("127.0.0.1", 0)) as resolver,
        running(resolver.getsockname()[1]) as port,
        contextlib.ExitStack() as stack,
    ):
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(3)]
        assert clients[2].recv(9) == b""


def test_a_stream_that_nobody_uses_is_closed(monkeypatch):
    monkeypatch.setattr(dns_relay, "_IDLE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as resolver, running(resolver.getsockname()[1]) as port:
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            assert client.recv(9) == b""
        assert time.monotonic() - began < 5
