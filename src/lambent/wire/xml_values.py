"""Python values of one shape → XML, compiled from the service model: the answers of the query protocol."""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from lambent.wire.query_values import is_flattened
from lambent.wire.service_model import MemberRef, ServiceModel, Shape
from lambent.wire.timestamps import ISO8601, render_timestamp

# Returns the elements for a value, each with the name that it has where the value stands.
Writer = Callable[[Any], str]

# XML 1.0, production 2: what no document can hold, not even escaped.
_ILLEGAL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPES: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;", ord("\r"): "&#xD;"}


def element(name: str, content: str) -> str:
    """Return the element ``name`` around ``content``, which is XML already."""
    return f"<{name}>{content}</{name}>"


def escape(text: str) -> str:
    """Return ``text`` as it stands in a document; a character that none can hold becomes U+FFFD."""
    return _ILLEGAL.sub("\ufffd", text).translate(_ESCAPES)


class XmlWriters:
    """Writers of structures, compiled when first asked for."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._structures: dict[str, Writer] = {}

    def members(self, name: str, shape: Shape) -> Writer:
        """Return a writer of the structure ``shape``; a member it does not know is our defect: TypeError."""
        fields = {each: self._field(ref.get("locationName", each), ref) for each, ref in shape["members"].items()}

        def write(value: Mapping[str, Any]) -> str:
            written = []
            for each, member in value.items():
                if member is None:
                    continue
                if (field := fields.get(each)) is None:
                    raise TypeError(f"{name} has no member {each}")
                written.append(field(member))
            return "".join(written)

        return write

    def _structure(self, name: str, shape: Shape) -> Writer:
        if (found := self._structures.get(name)) is not None:
            return found
        self._structures[name] = lambda value: self._structures[name](value)
        self._structures[name] = compiled = self.members(name, shape)
        return compiled

    def _field(self, name: str, ref: MemberRef) -> Writer:
        shape = self._model.shape(ref["shape"])
        kind = shape["type"]
        if kind == "structure":
            content = self._structure(ref["shape"], shape)
            return lambda value: element(name, content(value))
        if kind == "list":
            return self._list(name, shape, is_flat=is_flattened(ref, shape))
        if kind == "map":
            return self._map(name, shape, is_flat=is_flattened(ref, shape))
        if kind == "timestamp":
            form = ref.get("timestampFormat") or shape.get("timestampFormat", ISO8601)
            return lambda value: element(name, str(render_timestamp(value, form)))
        render = _SCALARS[kind]
        return lambda value: element(name, render(value))

    def _list(self, name: str, shape: Shape, *, is_flat: bool) -> Writer:
        ref = shape["member"]
        write = self._field(ref.get("locationName", name if is_flat else "member"), ref)
        if is_flat:
            return lambda value: "".join(map(write, value))
        return lambda value: element(name, "".join(map(write, value)))

    def _map(self, name: str, shape: Shape, *, is_flat: bool) -> Writer:
        key, value = (self._field(shape[part].get("locationName", part), shape[part]) for part in ("key", "value"))
        entry = name if is_flat else "entry"

        def write(values: Mapping[str, Any]) -> str:
            return "".join(element(entry, key(each) + value(held)) for each, held in values.items())

        return write if is_flat else lambda values: element(name, write(values))


def _render_blob(value: bytes | str) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


_SCALARS: Final[Mapping[str, Writer]] = {
    "string": lambda value: escape(str(value)),
    "character": lambda value: escape(str(value)),
    "boolean": lambda value: "true" if value else "false",
    "integer": lambda value: str(int(value)),
    "long": lambda value: str(int(value)),
    "double": lambda value: repr(float(value)),
    "float": lambda value: repr(float(value)),
    "blob": _render_blob,
}
