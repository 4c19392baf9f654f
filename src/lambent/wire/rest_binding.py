"""Where the members of REST requests and responses stand: path, query, headers, status. No body format in here."""

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from lambent.model.requests import Members
from lambent.wire.json_values import unconvertible
from lambent.wire.message import WireRequest
from lambent.wire.routing import Labels
from lambent.wire.service_model import ServiceModel, Shape
from lambent.wire.timestamps import RFC822, parse_timestamp, render_timestamp

BodyReader = Callable[[bytes], Members]
TextReader = Callable[[str], Any]
HeaderWriter = Callable[[Any], str]


def body_members(shape: Shape) -> tuple[str, ...]:
    """Return the members that stand in the body itself: those bound nowhere else and not the payload."""
    payload = shape.get("payload")
    return tuple(n for n, ref in shape["members"].items() if "location" not in ref and n != payload)


class RequestBinding:
    """Reads an input's members from path labels, query and headers."""

    def __init__(self, model: ServiceModel, shape: Shape) -> None:
        self._labels: list[tuple[str, str, TextReader]] = []
        self._query: dict[str, tuple[str, TextReader, bool]] = {}
        self._query_map: str | None = None
        self._headers: dict[str, tuple[str, TextReader, bool]] = {}
        self._prefixes: list[tuple[str, str]] = []
        for name, ref in shape["members"].items():
            self._bind(model, name, ref)

    def read(self, request: WireRequest, labels: Labels) -> Members:
        """Return the members found; an absent one is left out. Raises UnreadableValue for text of a wrong type."""
        members: Members = {name: read(labels[label]) for label, name, read in self._labels}
        if request.query and (self._query or self._query_map):
            self._read_query(request.query, members)
        if self._headers or self._prefixes:
            self._read_headers(request, members)
        return members

    def _bind(self, model: ServiceModel, name: str, ref: Mapping[str, Any]) -> None:
        location, sent_as = ref.get("location"), ref.get("locationName", name)
        if location is None or location == "statusCode":
            return
        shape = model.shape(ref["shape"])
        is_list = shape["type"] == "list"
        if shape["type"] == "map":
            if location == "headers":
                self._prefixes.append((sent_as.lower(), name))
            else:
                self._query_map = name
            return
        element = model.shape(shape["member"]["shape"]) if is_list else shape
        reader = _text_reader(element, is_encoded=bool(ref.get("jsonvalue")))
        if location == "uri":
            self._labels.append((sent_as, name, reader))
        elif location == "querystring":
            self._query[sent_as] = (name, reader, is_list)
        else:
            self._headers[sent_as.lower()] = (name, reader, is_list)

    def _read_query(self, query: str, members: Members) -> None:
        for key, text in parse_qsl(query, keep_blank_values=True):
            bound = self._query.get(key)
            if bound is None:
                if self._query_map is not None:
                    members.setdefault(self._query_map, {})[key] = text
                continue
            name, read, is_list = bound
            if is_list:
                members.setdefault(name, []).append(read(text))
            else:
                members[name] = read(text)

    def _read_headers(self, request: WireRequest, members: Members) -> None:
        for key, text in request.headers:
            if (bound := self._headers.get(key)) is not None:
                name, read, is_list = bound
                if is_list:
                    members.setdefault(name, []).extend(read(each.strip()) for each in text.split(","))
                else:
                    members[name] = read(text)
            for prefix, name in self._prefixes:
                if key.startswith(prefix):
                    members.setdefault(name, {})[key[len(prefix) :]] = text


class ResponseBinding:
    """Takes the members that stand in status and headers out of an output."""

    def __init__(self, model: ServiceModel, shape: Shape) -> None:
        self._status_member: str | None = None
        self._headers: dict[str, tuple[str, HeaderWriter]] = {}
        self._prefixes: dict[str, str] = {}
        for name, ref in shape["members"].items():
            location, sent_as = ref.get("location"), ref.get("locationName", name)
            if location == "statusCode":
                self._status_member = name
            elif location == "headers":
                self._prefixes[name] = sent_as
            elif location == "header":
                target = model.shape(ref["shape"])
                self._headers[name] = (sent_as, _header_writer(target, is_encoded=bool(ref.get("jsonvalue"))))

    def split(self, result: Members, status: int) -> tuple[int, list[tuple[str, str]], Members]:
        """Return status, headers, and the members that are left for the body."""
        headers: list[tuple[str, str]] = []
        rest: Members = {}
        for name, value in result.items():
            if value is None:
                continue
            if name == self._status_member:
                status = int(value)
            elif (bound := self._headers.get(name)) is not None:
                headers.append((bound[0], bound[1](value)))
            elif (prefix := self._prefixes.get(name)) is not None:
                headers.extend((prefix + key, str(each)) for key, each in value.items())
            else:
                rest[name] = value
        return status, headers, rest


def _text_reader(shape: Shape, *, is_encoded: bool) -> TextReader:
    kind = shape["type"]
    if is_encoded:
        return lambda text: base64.b64decode(text).decode()
    if kind in ("integer", "long"):
        return lambda text: _number(int, text, kind)
    if kind in ("double", "float"):
        return lambda text: _number(float, text, kind)
    if kind == "boolean":
        return _boolean
    if kind == "timestamp":
        return _timestamp
    if kind == "blob":
        return lambda text: base64.b64decode(text)
    return str


def _number(convert: Callable[[str], Any], text: str, kind: str) -> Any:
    # int() and float() would take "1_000" and " 1 " too.
    if not text.isascii() or "_" in text or text != text.strip():
        raise unconvertible(text, kind)
    try:
        return convert(text)
    except ValueError:
        raise unconvertible(text, kind) from None


_BOOLEANS: Final = {"true": True, "false": False}


def _boolean(text: str) -> bool:
    if (value := _BOOLEANS.get(text.lower())) is None:
        raise unconvertible(text, "boolean")
    return value


def _timestamp(text: str) -> Any:
    try:
        return parse_timestamp(text)
    except (TypeError, ValueError):
        raise unconvertible(text, "timestamp") from None


def _header_writer(shape: Shape, *, is_encoded: bool) -> HeaderWriter:
    kind = shape["type"]
    if is_encoded:
        return lambda value: base64.b64encode(str(value).encode()).decode()
    if kind == "boolean":
        return lambda value: "true" if value else "false"
    if kind == "timestamp":
        form = shape.get("timestampFormat", RFC822)
        return lambda value: str(render_timestamp(value, form))
    if kind == "list":
        return lambda value: ", ".join(map(str, value))
    if kind == "blob":
        return lambda value: base64.b64encode(value).decode()
    return str
