"""The resolver that sandboxes see: hears at the router's address, and asks the host's own resolvers.

A process of its own, in the host's network and without rights. Questions and answers pass unread, so a name means
inside what it means on the host, also where the host's resolver answers its own machine alone (systemd-resolved).
"""

import contextlib
import ipaddress
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Final

RESOLV_CONF: Final = "/etc/resolv.conf"
PORT: Final = 53
# glibc asks again after 5 s; a resolver that is silent for 2 s is given up for the next.
_NEXT_AFTER_S, _GIVE_UP_AFTER_S, _IDLE_S = 2.0, 10.0, 10.0
_QUESTIONS_AT_ONCE, _QUESTIONS_OF_ONE = 1024, 128
_STREAMS_AT_ONCE, _STREAMS_OF_ONE = 128, 16
_DATAGRAM_BYTES: Final = 65_535
_HEADER_BYTES: Final = 12

Address = tuple[str, int]


def open_listeners(address: str) -> tuple[socket.socket, socket.socket]:
    """Return the sockets for datagrams and for streams at ``address``, of the network namespace that we are in."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    streams = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    streams.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for each in (datagrams, streams):
        each.setblocking(False)
        each.bind((address, PORT))
    streams.listen(_STREAMS_AT_ONCE)
    return datagrams, streams


def relay_for_ever(datagrams: int, streams: int) -> None:
    """Serve the listeners that these descriptors are."""
    Relay(socket.socket(fileno=datagrams), socket.socket(fileno=streams), Resolvers()).run()


class Resolvers:
    """The host's resolvers, as its file names them now."""

    def __init__(self, path: str = RESOLV_CONF) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._found: list[Address] = []

    def current(self) -> list[Address]:
        """Return them in the file's order; the host itself where it names none, as resolv.conf(5) says."""
        try:
            status = os.stat(self._path)
        except OSError:
            return [("127.0.0.1", PORT)]
        if (status.st_mtime_ns, status.st_ino) != self._seen:
            self._seen = (status.st_mtime_ns, status.st_ino)
            with open(self._path, encoding="utf-8", errors="replace") as file:
                self._found = parse_resolvers(file.read())
        return self._found


def parse_resolvers(text: str) -> list[Address]:
    """Return the addresses of a resolv.conf."""
    named = [line.split()[1] for line in text.splitlines() if line.startswith("nameserver") and len(line.split()) > 1]
    return [(address, PORT) for address in named if _is_address(address)] or [("127.0.0.1", PORT)]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class Question:
    """A datagram of a sandbox on its way; a socket of its own, so that no answer is another's."""

    def __init__(self, client: Address, data: bytes, now_s: float) -> None:
        self.client = client
        self.data = data
        self.asked_s = self.began_s = now_s
        self.tries = 0
        self.peer: socket.socket | None = None

    def ask(self, resolver: Address, now_s: float) -> bool:
        """Send it to ``resolver``; False when it cannot be reached."""
        self.close()
        self.asked_s = now_s
        self.tries += 1
        family = socket.AF_INET6 if ":" in resolver[0] else socket.AF_INET
        peer = socket.socket(family, socket.SOCK_DGRAM)
        try:
            peer.setblocking(False)
            peer.connect(resolver)
            peer.send(self.data)
        except OSError:
            peer.close()
            return False
        self.peer = peer
        return True

    def is_answer(self, data: bytes) -> bool:
        """Whether ``data`` answers it: the same number, and the bit that says so."""
        return len(data) >= _HEADER_BYTES and data[:2] == self.data[:2] and bool(data[2] & 0x80)

    def close(self) -> None:
        """Let go of the socket."""
        if self.peer is not None:
            self.peer.close()
            self.peer = None


class Stream:
    """A connection of a sandbox and the one to a resolver: each side's bytes go to the other, at its pace."""

    def __init__(self, client: socket.socket, source: str, resolver: Address, now_s: float) -> None:
        self.source = source
        self.used_s = now_s
        family = socket.AF_INET6 if ":" in resolver[0] else socket.AF_INET
        self.ends = (client, socket.socket(family, socket.SOCK_STREAM))
        for end in self.ends:
            end.setblocking(False)
        self.waiting = {client.fileno(): b"", self.ends[1].fileno(): b""}  # what each end is still to be sent
        self.has_ended = False
        self.ends[1].connect_ex(resolver)

    def move(self, descriptor: int, events: int, now_s: float) -> bool:
        """Handle what happened at one end; False when the connection is over."""
        self.used_s = now_s
        end, other = self.ends if descriptor == self.ends[0].fileno() else self.ends[::-1]
        hung_up = bool(events & (select.EPOLLHUP | select.EPOLLERR))
        try:
            if events & select.EPOLLOUT and self.waiting[descriptor]:
                self.waiting[descriptor] = self.waiting[descriptor][end.send(self.waiting[descriptor]) :]
            if events & select.EPOLLIN and not self.waiting[other.fileno()]:
                self.waiting[other.fileno()] = end.recv(_DATAGRAM_BYTES)
                self.has_ended = self.has_ended or not self.waiting[other.fileno()]
            if hung_up and self.waiting[other.fileno()]:
                other.send(self.waiting[other.fileno()])
        except BlockingIOError:
            return not hung_up
        except OSError:
            return False
        return not hung_up and (not self.has_ended or any(self.waiting.values()))

    def interest(self, descriptor: int) -> int:
        """What to wait for at one end."""
        other = next(each for each in self.waiting if each != descriptor)
        wants_more = not self.waiting[other] and not self.has_ended
        return (select.EPOLLIN if wants_more else 0) | (select.EPOLLOUT if self.waiting[descriptor] else 0)

    def close(self) -> None:
        """Close both ends."""
        for end in self.ends:
            end.close()


class Relay:
    """Serves until it is killed."""

    def __init__(self, datagrams: socket.socket, streams: socket.socket, resolvers: Resolvers) -> None:
        self._datagrams, self._streams, self._resolvers = datagrams, streams, resolvers
        self._epoll = select.epoll()
        self._epoll.register(datagrams, select.EPOLLIN)
        self._epoll.register(streams, select.EPOLLIN)
        self._questions: dict[int, Question] = {}
        self._connections: dict[int, Stream] = {}

    def run(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Serve until ``is_over``."""
        while not is_over():
            for descriptor, events in self._epoll.poll(0.25 if self._questions or self._connections else -1):
                self._handle(descriptor, events, time.monotonic())
            self._look_after(time.monotonic())
        for descriptor in list(self._questions):
            self._drop_question(descriptor)
        for stream in list(self._connections.values()):
            self._drop_stream(stream)

    def _handle(self, descriptor: int, events: int, now_s: float) -> None:
        if descriptor == self._datagrams.fileno():
            self._hear(now_s)
        elif descriptor == self._streams.fileno():
            self._accept(now_s)
        elif question := self._questions.get(descriptor):
            self._answer(descriptor, question, now_s)
        elif stream := self._connections.get(descriptor):
            self._move(stream, descriptor, events, now_s)

    def _hear(self, now_s: float) -> None:
        for _ in range(64):
            try:
                data, client = self._datagrams.recvfrom(_DATAGRAM_BYTES)
            except OSError:
                return
            of_one = sum(each.client[0] == client[0] for each in self._questions.values())
            if len(data) < _HEADER_BYTES or of_one >= _QUESTIONS_OF_ONE or len(self._questions) >= _QUESTIONS_AT_ONCE:
                continue  # whoever asks too much hears nothing, as from a resolver that is busy
            self._ask(Question(client, data, now_s), now_s)

    def _ask(self, question: Question, now_s: float) -> None:
        """Ask the next resolver that can be asked; each once."""
        resolvers = self._resolvers.current()
        while question.tries < len(resolvers):
            if question.ask(resolvers[question.tries], now_s) and question.peer is not None:
                self._questions[question.peer.fileno()] = question
                self._epoll.register(question.peer, select.EPOLLIN)
                return

    def _answer(self, descriptor: int, question: Question, now_s: float) -> None:
        try:
            data = question.peer.recv(_DATAGRAM_BYTES) if question.peer is not None else b""
        except BlockingIOError:
            return
        except OSError:  # nobody is there: the next
            self._drop_question(descriptor)
            self._ask(question, now_s)
            return
        if question.is_answer(data):
            with contextlib.suppress(OSError):
                self._datagrams.sendto(data, question.client)
            self._drop_question(descriptor)

    def _accept(self, now_s: float) -> None:
        try:
            client, (source, _) = self._streams.accept()
        except OSError:
            return
        streams = {id(each): each for each in self._connections.values()}.values()
        if len(streams) >= _STREAMS_AT_ONCE or sum(each.source == source for each in streams) >= _STREAMS_OF_ONE:
            client.close()
            return
        stream = Stream(client, source, self._resolvers.current()[0], now_s)
        for end in stream.ends:
            self._connections[end.fileno()] = stream
            self._epoll.register(end, select.EPOLLIN)

    def _move(self, stream: Stream, descriptor: int, events: int, now_s: float) -> None:
        if not stream.move(descriptor, events, now_s):
            self._drop_stream(stream)
            return
        for end in stream.ends:
            self._epoll.modify(end, stream.interest(end.fileno()))

    def _look_after(self, now_s: float) -> None:
        for descriptor, question in list(self._questions.items()):
            if now_s - question.asked_s > _NEXT_AFTER_S and question.tries < len(self._resolvers.current()):
                self._drop_question(descriptor)
                self._ask(question, now_s)
            elif now_s - question.began_s > _GIVE_UP_AFTER_S:
                self._drop_question(descriptor)
        for stream in list(self._connections.values()):
            if now_s - stream.used_s > _IDLE_S and stream.ends[0].fileno() >= 0:
                self._drop_stream(stream)

    def _drop_question(self, descriptor: int) -> None:
        # The kernel forgets a descriptor that is closed.
        self._questions.pop(descriptor).close()

    def _drop_stream(self, stream: Stream) -> None:
        for end in stream.ends:
            self._connections.pop(end.fileno(), None)
        stream.close()
