"""Which operation a request names: by method and path (REST protocols), or by header (JSON 1.x)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl, unquote

from lambent.wire.message import WireRequest
from lambent.wire.service_model import ServiceModel

Labels = Mapping[str, str]


class Router(Protocol):
    """Finds the operation of a request."""

    def find(self, request: WireRequest) -> tuple[str, Labels] | None:
        """Return the operation's name and its path labels, decoded; None for a request of no operation."""
        ...


@dataclass(frozen=True, slots=True)
class _Leaf:
    operation: str
    constants: frozenset[tuple[str, str]]  # e.g. ("List", "ALL")


@dataclass(slots=True)
class _Node:
    literals: dict[str, "_Node"] = field(default_factory=dict)
    label: "tuple[str, _Node] | None" = None
    greedy: "tuple[str, _Node] | None" = None
    leaves: dict[str, list[_Leaf]] = field(default_factory=dict)  # by method

    def branch(self, segment: str) -> "_Node":
        """Return the node below ``segment`` of a URI template, made if need be."""
        if not segment.startswith("{"):
            return self.literals.setdefault(segment, _Node())
        name = segment[1:-1]
        if name.endswith("+"):
            self.greedy = self.greedy or (name[:-1], _Node())
            return self.greedy[1]
        self.label = self.label or (name, _Node())
        return self.label[1]


class RestRouter:
    """Routes by method, path template and query constants (``?List=ALL``)."""

    def __init__(self, model: ServiceModel) -> None:
        self._root = _Node()
        self._label_names: dict[str, tuple[str, ...]] = {}
        for name, operation in model.operations.items():
            self._add(name, operation["http"]["method"], operation["http"]["requestUri"])

    def find(self, request: WireRequest) -> tuple[str, Labels] | None:
        """See ``Router``. A trailing slash is ignored, as older SDKs send one; HEAD is no GET."""
        segments = request.path.rstrip("/").split("/")[1:]
        sent: frozenset[tuple[str, str]] | None = None
        for node, values in _walk(self._root, segments, 0, ()):
            leaves = node.leaves.get(request.method)
            if not leaves:
                continue
            if sent is None:
                sent = _query_pairs(request.query)
            for leaf in leaves:
                if leaf.constants <= sent:
                    names = self._label_names[leaf.operation]
                    return leaf.operation, dict(zip(names, map(unquote, values), strict=True))
        return None

    def _add(self, operation: str, method: str, template: str) -> None:
        path, _, query = template.partition("?")
        segments = path.rstrip("/").split("/")[1:]
        node = self._root
        for segment in segments:
            node = node.branch(segment)
        constants = frozenset(parse_qsl(query, keep_blank_values=True))
        leaves = node.leaves.setdefault(method, [])
        leaves.append(_Leaf(operation, constants))
        leaves.sort(key=lambda leaf: -len(leaf.constants))  # the most particular first
        self._label_names[operation] = tuple(each.strip("{}+") for each in segments if each.startswith("{"))


class TargetRouter:
    """Routes by the ``X-Amz-Target`` header: prefix, dot, operation."""

    def __init__(self, model: ServiceModel) -> None:
        self._prefix = f"{model.metadata['targetPrefix']}."
        self._operations = frozenset(model.operations)

    def find(self, request: WireRequest) -> tuple[str, Labels] | None:
        """See ``Router``. Any method but POST names nothing."""
        target = request.header("x-amz-target")
        if target is None or request.method != "POST" or not target.startswith(self._prefix):
            return None
        operation = target.removeprefix(self._prefix)
        return (operation, {}) if operation in self._operations else None


def _query_pairs(query: str) -> frozenset[tuple[str, str]]:
    if not query:
        return frozenset()
    return frozenset(parse_qsl(query, keep_blank_values=True))


def _walk(
    node: _Node, segments: list[str], at: int, values: tuple[str, ...]
) -> Iterator[tuple[_Node, tuple[str, ...]]]:
    """Yield every node that the path reaches, literal segments before labels, with the labels' raw values."""
    if at == len(segments):
        yield node, values
        return
    segment = segments[at]
    if (literal := node.literals.get(segment)) is not None:
        yield from _walk(literal, segments, at + 1, values)
    if node.label is not None and segment:
        yield from _walk(node.label[1], segments, at + 1, (*values, segment))
    if node.greedy is not None:
        for end in range(len(segments), at, -1):
            yield from _walk(node.greedy[1], segments, end, (*values, "/".join(segments[at:end])))
