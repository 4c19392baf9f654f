"""Requests of every operation of a service model: sound ones, and such as hostile or broken clients send."""

import base64
import copy
import json
import random
import re
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

DEPTH_LIMIT = 5
REGION = "us-east-1"
ROLE = "arn:aws:iam::000000000000:role/fuzz"
# fmt: off
TEXTS = [
    "", " ", "a", "fuzz", "\0", "\x1f\x7f", "\u2028", "ключ", "日本語", "🦊" * 40, "\ud800", "a\r\nX-Injected: 1",
    "../../etc/passwd", "%00", "%2e%2e%2f", "$LATEST", "arn:aws:lambda:us-east-1:000000000000:function:fuzz", "arn:",
    "a:b:c:d:e:f:g:h:i", "'; --", "x" * 65, "x" * 257, "x" * 5_000, "x" * 100_000, "null", "true", "{}", "-1", "1e999",
    "ß", "e\u0301", "\ufeff", "[^",
]
NUMBERS = [
    0, -1, 1, 2, 127, 128, 900, 901, 10_240, 10_241, 2**31 - 1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 1.5, -0.0, 1e308,
    10**60,
]
SAMPLES = [
    "a", "1", "aaaaaaaaaaaa", "$LATEST", "app.handler", "us-east-1", "000000000000", ROLE,
    "arn:aws:lambda:us-east-1:000000000000:function:fuzz", "arn:aws:sqs:us-east-1:000000000000:q",
    "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "arn:aws:lambda:us-east-1:000000000000:layer:l:1", "arn:aws:lambda:us-east-1:000000000000:layer:l",
    "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0",
    "arn:aws:lambda:us-east-1:000000000000:capacity-provider:c", "arn:aws:lambda:us-east-1::runtime:" + "a" * 64,
    "arn:aws:logs:us-east-1:000000000000:log-group:g", "subnet-0123456789abcdef0", "sg-0123456789abcdef0",
    "12345678-1234-1234-1234-123456789012", "https://example.org", "lambda:InvokeFunction", "/mnt/x", "o-1234567890",
    "s3.amazonaws.com", "1.0.0.0/24", "GET", "*",
]
METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND")
PATH_PIECES = (
    "/", "//", "/..", "/%2e%2e/", "%00", "%zz", "%", "%ff%fe", "/x", ";a=b", ":", "%0d%0aX: y", "%E2%80%A8", "/" * 300,
    "a" * 3_000,
)
QUERY_PIECES = (
    "Qualifier=", "Qualifier=%00", "Qualifier=a&Qualifier=b", "MaxItems=-1", "MaxItems=x", "Marker=%ff", "List=ALL",
    "&&&", "=", "a=b;c", "%zz=1", "Action=X", "X-Amz-Credential=%2F", "q=" + "z" * 5_000, "tagKeys=a&tagKeys=",
)
BODIES = (
    b"", b" ", b"null", b"[]", b'"x"', b"1", b"{", b"[" * 20_000, b'{"a":' * 5_000, b"\xff\xfe\0", b"{}\0", b"NaN",
    b'{"a":NaN}', b'{"FunctionName":"a","FunctionName":"b"}', b'{"a":1,}', b'{"a" 1}', b'"\\ud800"', b"<xml/>",
    b"Action=ListFunctions", b"x" * 200_000,
)
HEADER_VALUES = {
    "Content-Type": ("text/plain", "", "application/x-www-form-urlencoded", "\x7f", "a" * 3_000, "application/cbor"),
    "X-Amz-Target": (
        "", "x", "Logs_20140328.", "Logs_20140328.Nothing", "AWSLambda.Invoke", "DynamoDB_20120810.GetItem", "é" * 9,
    ),
    "Authorization": (
        "", "Bearer x", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b/c/lambda/aws4_request", "Basic eDp5",
    ),
    "Host": ("", "example.org", "[", "127.0.0.1:99999", "a b", "sqs.us-east-1.amazonaws.com", "localhost"),
    "Origin": ("http://evil.example", "null", "http://localhost:1"),
    "x-amzn-requestid": ("", "x", "12345678-1234-1234-1234-12345678901Z", "12345678-1234-1234-1234-123456789012"),
    "X-Amz-Invocation-Type": ("", "requestresponse", "Event", "DryRun", "\xff"),
    "X-Amz-Log-Type": ("tail", "Tail", ""),
    "X-Amz-Client-Context": ("e30=", "e30", "!!!!", "W10=", "A" * 4_000, "eyI6"),
    "X-Amzn-Trace-Id": ("Root=1-00000000-000000000000000000000000;Parent=x", "\x01", "Root=" + "a" * 5_000),
    "X-Amz-Tenant-Id": ("", "t", "ü", "t" * 300),
    "Content-Encoding": ("gzip", "amz-1.0,gzip", "br"),
    "X-Amz-Date": ("", "yesterday"),
    "Expect": ("200-ok", ""),
    "Accept": ("application/xml", ""),
    "X-HTTP-Method-Override": ("DELETE",),
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Wire:
    """A request as it goes out. ``kind`` says what was done to it; ``is_broken``: its framing is no HTTP."""

    service: str
    operation: str
    kind: str
    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    is_broken: bool = False
    account: str = "000000000000"

    @property
    def is_sound(self) -> bool:
        """Whether it was made as the model wants it."""
        return self.kind == "sound"

    def render(self, host: str) -> bytes:
        """Return its bytes."""
        credential = f"{self.account}/20261123/{REGION}/{self.service}/aws4_request"
        signed = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=00"
        headers = [("Host", host), ("Authorization", signed), *self.headers]
        names = {name.lower() for name, _ in self.headers}
        if not names & {"content-length", "transfer-encoding"} and (self.body or self.method not in ("GET", "HEAD")):
            headers.append(("Content-Length", str(len(self.body))))
        for name in ("Host", "Authorization"):
            if name.lower() in names:
                headers = [each for each in headers if each[0] != name or each in self.headers]
        target = self.path + ("?" + self.query if self.query else "")
        head = f"{self.method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
        return head.encode("utf-8", "surrogatepass") + b"\r\n" + self.body


@dataclass
class ModelRequests:
    """Makes requests of one service from its model (botocore's ``service-2.json``)."""

    service: str
    model: dict[str, Any]
    random: random.Random
    presets: dict[str, Any] = field(default_factory=dict)  # "Operation.Member", "Member" or "Shape" → value or callable

    @property
    def operations(self) -> list[str]:
        """The operations' names."""
        return sorted(self.model["operations"])

    # -- members

    def sound_members(self, operation: str, *, only_required: bool = False) -> dict[str, Any]:
        """Return members that keep the model's constraints."""
        side = self.model["operations"][operation].get("input")
        if side is None:
            return {}
        shape = self.model["shapes"][side["shape"]]
        share = 0.0 if only_required else self.random.choice((0.0, 0.3, 0.6))
        return self._structure(shape, 0, share, operation)

    def _structure(self, shape: dict[str, Any], depth: int, share: float, operation: str = "") -> dict[str, Any]:
        members = {}
        for name, ref in shape["members"].items():
            preset = self.presets.get(f"{operation}.{name}", self.presets.get(name))
            is_wanted = name in shape.get("required", ()) or f"{operation}.{name}" in self.presets
            if not is_wanted and (depth >= DEPTH_LIMIT or self.random.random() > share):
                continue
            value = preset() if callable(preset) else preset
            members[name] = self._value(ref["shape"], depth + 1, share) if value is None else value
        return members

    def _value(self, name: str, depth: int, share: float) -> Any:
        shape = self.model["shapes"][name]
        kind = shape["type"]
        if kind == "structure":
            if shape.get("union"):
                one, ref = self.random.choice(sorted(shape["members"].items()))
                return {one: self._value(ref["shape"], depth + 1, share)}
            return self._structure(shape, depth, share)
        if kind == "list":
            count = max(shape.get("min", 0), min(self.random.randint(0, 2), shape.get("max", 2)))
            return [self._value(shape["member"]["shape"], depth + 1, share) for _ in range(count)]
        if kind == "map":
            return {
                self._value(shape["key"]["shape"], depth + 1, share): self._value(
                    shape["value"]["shape"], depth + 1, share
                )
            }
        return self._scalar(name, shape)

    def _scalar(self, name: str, shape: dict[str, Any]) -> Any:
        kind = shape["type"]
        if kind == "string":
            return self._text(name, shape)
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind in ("integer", "long"):
            low = int(shape.get("min", 0))
            return self.random.choice((low, int(shape.get("max", low + 100)), low + 1))
        if kind in ("float", "double"):
            return 0.5
        return "2026-11-23T00:00:00Z" if kind == "timestamp" else self.random.randbytes(self.random.randint(0, 40))

    def _text(self, name: str, shape: dict[str, Any]) -> str:
        if "enum" in shape:
            return str(self.random.choice(shape["enum"]))
        low, high = int(shape.get("min", 0)), int(shape.get("max", 200))
        fitting = [each for each in SAMPLES if low <= len(each) <= high and _matches(shape.get("pattern"), each)]
        if fitting:
            return self.random.choice(fitting)
        return next((t for t in ("a" * low, "1" * low) if _matches(shape.get("pattern"), t)), "a" * max(1, low))

    # -- wire

    def sound(self, operation: str, *, only_required: bool = False) -> Wire:
        """Return a request as an AWS client would send it."""
        return self.render(operation, self.sound_members(operation, only_required=only_required), "sound")

    def render(self, operation: str, members: dict[str, Any], kind: str) -> Wire:
        """Bind ``members`` to path, query, headers and body as the model says; unknown ones go into the body."""
        if self.model["metadata"]["protocol"] == "json":
            target = f"{self.model['metadata']['targetPrefix']}.{operation}"
            headers = (("X-Amz-Target", target), ("Content-Type", "application/x-amz-json-1.1"))
            return Wire(self.service, operation, kind, "POST", "/", headers=headers, body=_json(members))
        http = self.model["operations"][operation]["http"]
        shape = (
            self.model["shapes"][self.model["operations"][operation].get("input", {}).get("shape", "")]
            if "input" in self.model["operations"][operation]
            else {"members": {}}
        )
        path, _, constant = http["requestUri"].partition("?")
        query, headers, rest = ([tuple(constant.split("=", 1))] if constant else []), [], dict(members)
        for name, ref in shape["members"].items():
            if name not in rest or "location" not in ref:
                continue
            value, place = rest.pop(name), ref.get("locationName", name)
            if ref["location"] == "uri":
                label = quote(_plain(value), safe=":$", errors="surrogatepass")
                path = path.replace("{" + place + "}", label).replace("{" + place + "+}", label)
            elif ref["location"] == "querystring":
                for each in value if isinstance(value, list) else [value]:
                    query.append((place, _plain(each).encode("utf-8", "surrogatepass")))
            elif ref["location"] == "header":
                headers.append((place, re.sub(r"[\x00-\x1f\x7f]", "?", _plain(value))))
        path = re.sub(r"\{[^}]*\}", "", path)
        payload = shape.get("payload")
        if payload is not None and len(rest) <= 1:
            value = rest.get(payload, b"")
            body = value if isinstance(value, bytes) else _json(value)
        else:
            body = _json(rest) if rest else b""
        return Wire(self.service, operation, kind, http["method"], path, urlencode(query), tuple(headers), body)

    # -- hostile ones

    def hostile(self, operation: str) -> Wire:
        """Return a request with something wrong in it: in its members, or on the wire."""
        members = self.sound_members(operation)
        if self.random.random() < 0.65:
            kind, members = self._spoil_members(operation, members)
            return self.render(operation, members, kind)
        return self._spoil_wire(self.render(operation, members, "wire"))

    def _spoil_members(self, operation: str, members: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        members = copy.deepcopy(members)
        kind = "members"
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            holder, key = self._somewhere(members, operation)
            kind = self._spoil(holder, key)
        return kind, members

    def _somewhere(self, members: dict[str, Any], operation: str) -> tuple[Any, Any]:
        side = self.model["operations"][operation].get("input")
        names = list(self.model["shapes"][side["shape"]]["members"]) if side else []
        holder: Any = members
        key: Any = self.random.choice(names or ["Bogus"])
        while isinstance(inner := holder.get(key) if isinstance(holder, dict) else holder[key], dict | list) and inner:
            if self.random.random() < 0.3:
                break
            holder = inner
            key = self.random.choice(list(inner)) if isinstance(inner, dict) else self.random.randrange(len(inner))
        return holder, key

    def _spoil(self, holder: Any, key: Any) -> str:
        kind = self.random.choice(
            ("text", "number", "type", "missing", "extra", "null", "huge", "deep", "text", "number")
        )
        if kind == "text":
            holder[key] = self.random.choice(TEXTS)
        elif kind == "number":
            holder[key] = self.random.choice(NUMBERS)
        elif kind == "type":
            holder[key] = self.random.choice(([], {}, [[]], [None], {"": None}, True, "1", [{}], {"a": {"b": []}}, 7))
        elif kind == "missing":
            if isinstance(holder, dict):
                holder.pop(key, None)
            else:
                del holder[key]
        elif kind == "extra" and isinstance(holder, dict):
            holder[self.random.choice(("Bogus", "__type", "functionname", "", "\0", "a" * 300))] = 1
        elif kind == "null":
            holder[key] = None
        elif kind == "huge":
            holder[key] = self.random.choice((["a"] * 3_000, {f"k{n}": "v" for n in range(2_000)}, "y" * 300_000))
        else:
            value: Any = "end"
            for _ in range(self.random.choice((40, 400))):
                value = [value] if self.random.random() < 0.5 else {"a": value}
            holder[key] = value
        return kind

    def _spoil_wire(self, wire: Wire) -> Wire:
        spoil = self.random.choice((_method, _path, _query, _header, _header, _body, _body, _framing))
        spoiled: Wire = spoil(wire, self.random)
        return replace(spoiled, kind=f"wire:{spoil.__name__.strip('_')}")


def _method(wire: Wire, random: random.Random) -> Wire:
    return replace(wire, method=random.choice(METHODS))


def _path(wire: Wire, random: random.Random) -> Wire:
    piece, at = random.choice(PATH_PIECES), random.randint(1, len(wire.path))
    if random.random() < 0.2:
        return replace(wire, path="/" + piece.lstrip("/"))
    return replace(wire, path=wire.path[:at] + piece + wire.path[at:])


def _query(wire: Wire, random: random.Random) -> Wire:
    return replace(wire, query="&".join(filter(None, (wire.query, random.choice(QUERY_PIECES)))))


def _header(wire: Wire, random: random.Random) -> Wire:
    name = random.choice(list(HEADER_VALUES))
    kept = tuple(each for each in wire.headers if each[0].lower() != name.lower() or random.random() < 0.5)
    return replace(wire, headers=(*kept, (name, random.choice(HEADER_VALUES[name]))))


def _body(wire: Wire, random: random.Random) -> Wire:
    whole, at = wire.body or b"{}", random.randint(0, len(wire.body))
    derived = (whole[:at], whole + b"}", whole + whole, b"\xef\xbb\xbf" + whole, whole.replace(b'"', b"'"))
    return replace(wire, body=random.choice((*derived, random.randbytes(64), *BODIES)))


def _framing(wire: Wire, random: random.Random) -> Wire:
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(wire.body) or 2, wire.body or b"{}")
    headers, body, broken = random.choice(
        (
            ((("Transfer-Encoding", "chunked"),), chunked, False),
            ((("Transfer-Encoding", "chunked"), ("Trailer", "x")), chunked[:-2] + b"x: y\r\n\r\n", False),
            ((("Expect", "100-continue"), ("Content-Length", str(len(wire.body)))), wire.body, False),
            ((("Connection", "close"),), wire.body, False),
            ((("Transfer-Encoding", "chunked"),), b"zz\r\n" + wire.body, True),
            ((("Transfer-Encoding", "gzip"),), wire.body, True),
            ((("Content-Length", "-1"),), wire.body, True),
            ((("Content-Length", "1"), ("Content-Length", "2")), wire.body, True),
            ((("Content-Length", "99999999999999"),), wire.body, True),
            ((("Transfer-Encoding", "chunked"), ("Content-Length", "3")), chunked, True),
            ((("X-Long", "v" * 1_100_000),), wire.body, True),
            (tuple((f"X-{n}", "v") for n in range(400)), wire.body, True),
            ((("Bad Name", "v"),), wire.body, True),
        )
    )
    return replace(wire, headers=(*wire.headers, *headers), body=body, is_broken=broken)


def _matches(pattern: str | None, text: str) -> bool:
    if pattern is None:
        return True
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:
        return True


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if isinstance(value, str) else json.dumps(value, default=_default)[:3_000]


def _json(value: Any) -> bytes:
    return json.dumps(value, default=_default).encode()


def _default(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
