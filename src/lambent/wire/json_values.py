"""JSON ↔ Python values of one shape, compiled from the service model: the body format of rest-json and json 1.x.

A reader checks JSON types only; the model's constraints are ``constraints``'s. Unknown members are ignored, a null
member is an absent one (both as AWS's services do).
"""

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from lambent.wire.errors import UnreadableValue
from lambent.wire.service_model import MemberRef, ServiceModel, Shape
from lambent.wire.timestamps import EPOCH, parse_timestamp, render_timestamp

Reader = Callable[[Any], Any]
Writer = Callable[[Any], Any]

_INTEGER_BITS: Final = {"integer": 31, "long": 63}
_NAMES: Final = {"string": "a String", "integer": "an Integer", "long": "a Long", "boolean": "a Boolean",
                 "double": "a Double", "float": "a Float", "blob": "a ByteBuffer", "timestamp": "a Date"}  # fmt: skip


def unconvertible(value: Any, shape_type: str) -> UnreadableValue:
    """Return AWS's error for a JSON value of a wrong type."""
    # Seen from AWS: "STRING_VALUE can not be converted to an Integer"; the others by analogy.
    if isinstance(value, Mapping):
        return UnreadableValue("Start of structure or map found where not expected.")
    if isinstance(value, list):
        return UnreadableValue("Start of list found where not expected")
    if isinstance(value, bool):
        found = "TRUE_VALUE" if value else "FALSE_VALUE"
    else:
        found = "STRING_VALUE" if isinstance(value, str) else "NUMBER_VALUE"
    if shape_type in ("structure", "map", "list"):
        return UnreadableValue("Unexpected token received from parser")
    return UnreadableValue(f"{found} can not be converted to {_NAMES[shape_type]}")


class JsonReaders:
    """Readers by shape name, compiled when first asked for."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._readers: dict[str, Reader] = {}

    def reader(self, ref: MemberRef) -> Reader:
        """Return the reader of what ``ref`` refers to."""
        name = ref["shape"]
        if (found := self._readers.get(name)) is not None:
            return found
        shape = self._model.shape(name)
        # A shape that contains itself finds this forwarder while it is being compiled.
        self._readers[name] = lambda value: self._readers[name](value)
        self._readers[name] = compiled = self._compile(shape)
        return compiled

    def members(self, shape: Shape, names: tuple[str, ...]) -> Reader:
        """Return a reader of a JSON object with the members ``names`` of the structure ``shape``."""
        refs = {name: shape["members"][name] for name in names}
        fields = {ref.get("locationName", name): (name, self.reader(ref)) for name, ref in refs.items()}

        def read(value: Any) -> dict[str, Any]:
            if not isinstance(value, dict):
                raise unconvertible(value, "structure")
            found = {}
            for key, raw in value.items():
                if raw is not None and (field := fields.get(key)) is not None:
                    found[field[0]] = field[1](raw)
            return found

        return read

    def _compile(self, shape: Shape) -> Reader:
        kind = shape["type"]
        if shape.get("document"):
            return _read_document
        if kind == "structure":
            return self.members(shape, tuple(shape["members"]))
        if kind == "list":
            return self._list(shape)
        if kind == "map":
            return self._map(shape)
        return _SCALARS[kind]

    def _list(self, shape: Shape) -> Reader:
        element = self.reader(shape["member"])

        def read(value: Any) -> list[Any]:
            if not isinstance(value, list):
                raise unconvertible(value, "list")
            return [None if each is None else element(each) for each in value]

        return read

    def _map(self, shape: Shape) -> Reader:
        element = self.reader(shape["value"])

        def read(value: Any) -> dict[str, Any]:
            if not isinstance(value, dict):
                raise unconvertible(value, "map")
            return {key: None if each is None else element(each) for key, each in value.items()}

        return read


class JsonWriters:
    """Writers by shape name, compiled when first asked for."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._writers: dict[str, Writer] = {}

    def writer(self, ref: MemberRef) -> Writer:
        """Return the writer of what ``ref`` refers to."""
        name = ref["shape"]
        if (found := self._writers.get(name)) is not None:
            return found
        shape = self._model.shape(name)
        self._writers[name] = lambda value: self._writers[name](value)
        self._writers[name] = compiled = self._compile(shape, name)
        return compiled

    def members(self, shape: Shape, names: tuple[str, ...], owner: str) -> Writer:
        """Return a writer of the members ``names`` of ``shape``; a member it does not know is our defect: TypeError."""
        refs = {name: shape["members"][name] for name in names}
        fields = {name: (ref.get("locationName", name), self.writer(ref)) for name, ref in refs.items()}

        def write(value: Mapping[str, Any]) -> dict[str, Any]:
            written = {}
            for name, member in value.items():
                if member is None:
                    continue
                if (field := fields.get(name)) is None:
                    raise TypeError(f"{owner} has no member {name}")
                written[field[0]] = field[1](member)
            return written

        return write

    def _compile(self, shape: Shape, name: str) -> Writer:
        kind = shape["type"]
        if shape.get("document"):
            return _read_document
        if kind == "structure":
            return self.members(shape, tuple(shape["members"]), name)
        if kind == "list":
            element = self.writer(shape["member"])
            return lambda value: [None if each is None else element(each) for each in value]
        if kind == "map":
            element = self.writer(shape["value"])
            return lambda value: {key: None if each is None else element(each) for key, each in value.items()}
        if kind == "timestamp":
            form = shape.get("timestampFormat", EPOCH)
            return lambda value: render_timestamp(value, form)
        return _WRITTEN_SCALARS.get(kind, _read_document)


def _read_document(value: Any) -> Any:
    return value


def _read_string(value: Any) -> str:
    if not isinstance(value, str):
        raise unconvertible(value, "string")
    return value


def _read_boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise unconvertible(value, "boolean")
    return value


def _integer_reader(kind: str) -> Reader:
    limit = 1 << _INTEGER_BITS[kind]

    def read(value: Any) -> int:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # A number with a fraction loses it (Coral's TruncatingBigNumber).
        if not is_number or not math.isfinite(value) or not -limit <= (whole := int(value)) < limit:
            raise unconvertible(value, kind)
        return whole

    return read


def _double_reader(kind: str) -> Reader:
    def read(value: Any) -> float:
        if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
            return float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise unconvertible(value, kind)
        try:
            return float(value)
        except OverflowError:
            raise unconvertible(value, kind) from None

    return read


def _read_blob(value: Any) -> bytes:
    if not isinstance(value, str):
        raise unconvertible(value, "blob")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableValue("Invalid base64 encoding") from None


def _read_timestamp(value: Any) -> Any:
    try:
        return parse_timestamp(value)
    except (TypeError, ValueError):
        raise unconvertible(value, "timestamp") from None


def _write_double(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _write_blob(value: bytes | str) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


_SCALARS: Final[Mapping[str, Reader]] = {
    "string": _read_string,
    "character": _read_string,
    "boolean": _read_boolean,
    "integer": _integer_reader("integer"),
    "long": _integer_reader("long"),
    "double": _double_reader("double"),
    "float": _double_reader("float"),
    "blob": _read_blob,
    "timestamp": _read_timestamp,
}
_WRITTEN_SCALARS: Final[Mapping[str, Writer]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "double": _write_double,
    "float": _write_double,
    "blob": _write_blob,
}
