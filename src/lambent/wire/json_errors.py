"""The bodies of errors in the JSON protocols."""

from typing import Any

from lambent.model.errors import CallerError
from lambent.wire.json_values import JsonWriters
from lambent.wire.overrides import Overrides
from lambent.wire.rest_binding import ResponseBinding
from lambent.wire.service_model import ServiceModel, Shape

HeaderList = list[tuple[str, str]]


class JsonErrors:
    """Turns errors into members and headers by the model's shape of their code."""

    def __init__(self, model: ServiceModel, overrides: Overrides) -> None:
        self._model, self._overrides = model, overrides
        self._writers = JsonWriters(model)

    def members(self, error: CallerError) -> tuple[dict[str, Any], HeaderList]:
        """Return the error's members beside its code and kind, and those that travel as headers."""
        shape = self._find_shape(error.code)
        headers: HeaderList = []
        extra = dict(error.members)
        if shape is not None:
            _, headers, extra = ResponseBinding(self._model, shape).split(extra, 0)
            known = tuple(name for name in extra if name in shape["members"])
            written = self._writers.members(shape, known, error.code)({name: extra.pop(name) for name in known})
            extra = written | extra
        return {**extra, self._message_member(error, shape): error.message}, headers

    def _message_member(self, error: CallerError, shape: Shape | None) -> str:
        if error.message_member is not None:
            return error.message_member
        if shape is not None:
            return next((name for name in shape["members"] if name.lower() == "message"), "message")
        return self._overrides.message_members.get(error.code, "message")

    def _find_shape(self, code: str) -> Shape | None:
        shape = self._model.find_shape(code)
        return shape if shape is not None and shape.get("exception") else None
