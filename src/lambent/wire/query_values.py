"""Form parameters → Python values of one shape, compiled from the service model: the requests of the query protocol.

``Tags.member.1.Key=a`` is a member of an element of a list. Types are checked only; constraints are ``constraints``'s.
Names that the model does not know are ignored, as in the other protocols.
"""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qsl

from lambent.model.errors import CallerError
from lambent.wire.errors import UnreadableValue
from lambent.wire.service_model import MemberRef, ServiceModel, Shape
from lambent.wire.timestamps import parse_timestamp

# Assumed: no request of an SDK comes near. They bound what a request of a few bytes makes us hold.
PARAMETER_LIMIT: Final = 20_000
DEPTH_LIMIT: Final = 32

# By the next part of the names; what is at the name itself stands under "".
Tree = Mapping[str, "Tree | str"]
Reader = Callable[[Tree], Any]


class MalformedQueryString(CallerError):
    """The parameters cannot be read."""

    # API reference of STS, "Common errors".
    code, status = "MalformedQueryString", 404

    def __init__(self) -> None:
        super().__init__("The query string contains a syntax error.", kind=None)


def parse_parameters(text: str) -> dict[str, str]:
    """Return the parameters of a form or a query string, or raise MalformedQueryString. Of one name the last counts."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=PARAMETER_LIMIT))
    except ValueError:
        raise MalformedQueryString from None


def grow_tree(parameters: Mapping[str, str]) -> Tree:
    """Return ``parameters`` by the parts of their names."""
    root: dict[str, Any] = {}
    for name, value in parameters.items():
        parts = name.split(".", DEPTH_LIMIT)
        if len(parts) > DEPTH_LIMIT or "" in parts:
            continue  # the name of no member
        node = root
        for part in parts:
            node = node.setdefault(part, {})
        node[""] = value
    return root


class QueryReaders:
    """Readers by shape name, compiled when first asked for."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._readers: dict[str, Reader] = {}

    def members(self, shape: Shape) -> Reader:
        """Return a reader of the structure ``shape``: of the members that are there."""
        fields = [(name, *self._field(name, ref)) for name, ref in shape["members"].items()]

        def read(tree: Tree) -> dict[str, Any]:
            found = {}
            for name, sent_name, reader in fields:
                if isinstance(child := tree.get(sent_name), Mapping) and (value := reader(child)) is not None:
                    found[name] = value
            return found

        return read

    def _field(self, name: str, ref: MemberRef) -> tuple[str, Reader]:
        shape = self._model.shape(ref["shape"])
        sent_name = ref.get("locationName", name)
        if is_flattened(ref, shape) and shape["type"] == "list":
            sent_name = shape["member"].get("locationName", sent_name)
        return sent_name, self._reader(ref)

    def _reader(self, ref: MemberRef) -> Reader:
        name = ref["shape"]
        if (found := self._readers.get(name)) is not None:
            return found
        # A shape that contains itself finds this forwarder while it is being compiled.
        self._readers[name] = lambda tree: self._readers[name](tree)
        self._readers[name] = compiled = self._compile(ref, self._model.shape(name))
        return compiled

    def _compile(self, ref: MemberRef, shape: Shape) -> Reader:
        kind = shape["type"]
        if kind == "structure":
            return self.members(shape)
        if kind == "list":
            return self._list(shape, is_flat=is_flattened(ref, shape))
        if kind == "map":
            return self._map(shape, is_flat=is_flattened(ref, shape))
        convert = _SCALARS[kind]

        def read(tree: Tree) -> Any:
            text = tree.get("")
            return None if text is None else convert(cast("str", text))

        return read

    def _list(self, shape: Shape, *, is_flat: bool) -> Reader:
        element = self._reader(shape["member"])
        wrapper = None if is_flat else shape["member"].get("locationName", "member")

        def read(tree: Tree) -> list[Any]:
            return [element(each) for each in _numbered(tree, wrapper)]

        return read

    def _map(self, shape: Shape, *, is_flat: bool) -> Reader:
        key_name, value_name = (shape[part].get("locationName", part) for part in ("key", "value"))
        value_reader = self._reader(shape["value"])
        wrapper = None if is_flat else "entry"

        def read(tree: Tree) -> dict[str, Any]:
            found = {}
            for each in _numbered(tree, wrapper):
                key, value = each.get(key_name), each.get(value_name)
                if isinstance(key, Mapping) and isinstance(text := key.get(""), str):
                    found[text] = value_reader(value) if isinstance(value, Mapping) else None
            return found

        return read


def is_flattened(ref: MemberRef, shape: Shape) -> bool:
    """Whether the elements of a collection stand in its place, without an element or a part of the name around."""
    return bool(ref.get("flattened") or shape.get("flattened"))


def _numbered(tree: Tree, wrapper: str | None) -> Iterator[Tree]:
    """Yield the parts called 1, 2, … in their order; gaps close."""
    held = tree if wrapper is None else tree.get(wrapper, {})
    if not isinstance(held, Mapping):
        return
    parts = [(int(name), each) for name, each in held.items() if _is_number(name) and isinstance(each, Mapping)]
    for _, each in sorted(parts, key=lambda part: part[0]):
        yield each


def _is_number(name: str) -> bool:
    return len(name) < 10 and name.isascii() and name.isdigit()


def _unreadable(text: str, kind: str) -> UnreadableValue:
    # Assumed, after the words of the JSON protocols.
    return UnreadableValue(f"{text[:100]} can not be converted to {kind}")


def _integer_reader(kind: str, bits: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 20 or not -(1 << bits) <= int(text) < 1 << bits:
            raise _unreadable(text, kind)
        return int(text)

    return read


def _read_boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise _unreadable(text, "a Boolean")
    return text.lower() == "true"


def _read_double(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _unreadable(text, "a Double") from None


def _read_blob(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableValue("Invalid base64 encoding") from None


def _read_timestamp(text: str) -> Any:
    try:
        return parse_timestamp(text)
    except (TypeError, ValueError):
        raise _unreadable(text, "a Date") from None


_SCALARS: Final[Mapping[str, Callable[[str], Any]]] = {
    "string": str,
    "character": str,
    "boolean": _read_boolean,
    "integer": _integer_reader("an Integer", 31),
    "long": _integer_reader("a Long", 63),
    "double": _read_double,
    "float": _read_double,
    "blob": _read_blob,
    "timestamp": _read_timestamp,
}
