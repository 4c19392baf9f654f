"""Layers as stored: one document for the layer, which counts its versions, and one for each version."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from lambent.model.documents import NUMBER_DIGITS, CodeSpec, Document, parse_document, render_document
from lambent.model.ids import Scope

LAYER_SPECS: Final = "spec/layer/"
LAYER_VERSION_SPECS: Final = "spec/layer-version/"
# Service model, LayerName and LayerVersionArn; a name alone, or an ARN with or without a version.
_LAYER: Final = re.compile(
    r"(?:arn:[a-zA-Z0-9-]+:lambda:(?P<region>[a-zA-Z0-9-]+):(?P<account>\d{12}):layer:)?(?P<name>[a-zA-Z0-9-_]+)"
    r"(?::(?P<version>[0-9]+))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """A layer. It stays when its versions are deleted, so that no number is given out twice."""

    scope: Scope
    name: str
    last_version: int
    unknown: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """The key of the document that holds this value."""
        return layer_key(self.scope, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVersionSpec:
    """A version of a layer, never written again. None are the lists that its owner did not send."""

    scope: Scope
    name: str
    version: int
    code: CodeSpec
    created_at: datetime
    description: str = ""
    license_info: str | None = None
    runtimes: tuple[str, ...] | None = None
    architectures: tuple[str, ...] | None = None
    unknown: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """The key of the document that holds this value."""
        return layer_version_key(self.scope, self.name, self.version)

    @property
    def layer_arn(self) -> str:
        """The ARN of the layer."""
        return self.scope.arn("lambda", f"layer:{self.name}")

    @property
    def arn(self) -> str:
        """The ARN of the version."""
        return f"{self.layer_arn}:{self.version}"


@dataclass(frozen=True, slots=True)
class LayerName:
    """A layer as a caller wrote it: the parts that were there."""

    name: str
    region: str | None
    account_id: str | None
    version: int | None


def parse_layer_name(text: str) -> LayerName | None:
    """Return the parts of a layer's name or ARN, None for what is neither (``wire`` checked the pattern before)."""
    if (match := _LAYER.fullmatch(text)) is None:
        return None
    version = match["version"]
    return LayerName(match["name"], match["region"], match["account"], None if version is None else int(version))


def layers_prefix(scope: Scope) -> str:
    """Return the prefix of all layers of a scope."""
    return f"{LAYER_SPECS}{scope.account_id}/{scope.region}/"


def layer_key(scope: Scope, name: str) -> str:
    """Return the key of a layer."""
    return f"{layers_prefix(scope)}{name}"


def layer_versions_prefix(scope: Scope, name: str) -> str:
    """Return the prefix of all versions of a layer."""
    return f"{LAYER_VERSION_SPECS}{scope.account_id}/{scope.region}/{name}/"


def layer_version_key(scope: Scope, name: str, version: int) -> str:
    """Return the key of a version; lists come in the order of numbers."""
    return f"{layer_versions_prefix(scope, name)}{version:0{NUMBER_DIGITS}d}"


def parse_layer(value: object) -> LayerSpec:
    """Return the layer that a document holds. HostError if its schema is newer than ours or it is damaged."""
    return parse_document(value, LayerSpec)


def parse_layer_version(value: object) -> LayerVersionSpec:
    """Return the version that a document holds. HostError likewise."""
    return parse_document(value, LayerVersionSpec)


def render_layer(layer: LayerSpec | LayerVersionSpec) -> Document:
    """Return the document that holds ``layer``."""
    return render_document(layer)
