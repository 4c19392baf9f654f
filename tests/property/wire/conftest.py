"""Random values that keep a service model's constraints."""

import random
import string
from datetime import UTC, datetime
from re import _constants as sre
from re import _parser as sre_parser

import pytest

from lambent.wire.patterns import compile_pattern

PRINTABLE = string.ascii_letters + string.digits + string.punctuation
WIDE = PRINTABLE + ' äßÿ雪\U0001f30d\x00\n\t"\\'
PLAIN = string.ascii_letters + string.digits


class ValidValues:
    """Draws members of a structure as a user of boto3 would pass them."""

    def __init__(self, model, seed):
        self.model, self.random = model, random.Random(seed)
        # Forms carry no empty map or structure, and in a list neither an empty list.
        self.carries_empty = model.protocols[0] != "query"

    def members(self, shape, depth=0):
        required, optional = set(shape.get("required", ())), list(shape["members"])
        if shape.get("union"):
            chosen = {self.random.choice(optional)}
        else:
            share = 0.6 if depth < 5 else 0.0
            chosen = required | {name for name in optional if self.random.random() < share}
            if not (chosen or self.carries_empty) and optional and depth:
                chosen = {self.random.choice(optional)}
        drawn = {}
        for name, ref in shape["members"].items():
            if name in chosen and not self.model.shape(ref["shape"]).get("eventstream"):
                drawn[name] = self.value(ref, ref.get("location"), depth + 1)
        return drawn

    def value(self, ref, location=None, depth=0):
        shape = self.model.shape(ref["shape"])
        kind, least, most = shape["type"], shape.get("min", 0), shape.get("max", 1 << 31)
        if kind == "structure":
            return self.members(shape, depth)
        if kind in ("list", "map"):
            least = max(least, 1 if location or not self.carries_empty else 0)
            count = self.random.randint(least, min(most, least + 2))
            if kind == "list":
                return [self.value(shape["member"], location, depth + 1) for _ in range(count)]
            keys = {self.value(shape["key"], None, depth + 1) for _ in range(count)}
            return {key: self.value(shape["value"], None, depth + 1) for key in keys}
        if kind in ("integer", "long"):
            limit = (1 << 31) - 1 if kind == "integer" else (1 << 53)
            return self.random.randint(shape.get("min", -limit), shape.get("max", limit))
        if kind in ("double", "float"):
            return self.random.uniform(shape.get("min", -1e9), shape.get("max", 1e9))
        if kind == "blob":
            return self.random.randbytes(self.random.randint(least, min(most, 40)))
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind == "timestamp":
            return datetime.fromtimestamp(self.random.randint(0, 4_000_000_000), UTC)
        return self.text(shape, location)

    def text(self, shape, location):
        if "enum" in shape:
            return self.random.choice(shape["enum"])
        least, most = shape.get("min", 0), shape.get("max", 1 << 31)
        if "pattern" not in shape:
            least = max(least, 1 if location else 0)
            alphabet = PRINTABLE if location == "header" else WIDE
            return "".join(self.random.choices(alphabet, k=self.random.randint(least, min(most, least + 8))))
        pattern = compile_pattern(shape["pattern"])
        least = max(least, 1 if location in ("uri", "header") else 0)
        for _ in range(20_000):
            drawn = "".join(self._match(sre_parser.parse(pattern.pattern), least))
            if least <= len(drawn) <= most and pattern.fullmatch(drawn) and drawn == drawn.strip():
                return drawn
        raise AssertionError(f"no text for {shape}")

    def _match(self, parsed, wished):
        for op, argument in parsed:
            if op is sre.LITERAL:
                yield chr(argument)
            elif op in (sre.ANY, sre.NOT_LITERAL):
                yield self.random.choice(PLAIN)
            elif op is sre.IN:
                yield self._one_of(argument)
            elif op is sre.BRANCH:
                yield from self._match(self.random.choice(argument[1]), wished)
            elif op is sre.SUBPATTERN:
                yield from self._match(argument[3], wished)
            elif op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
                low, high, inner = argument
                for _ in range(self.random.randint(low, min(int(high), max(low, wished) + 3))):
                    yield from self._match(inner, 0)
            else:
                assert op in (sre.AT, sre.ASSERT, sre.ASSERT_NOT), op

    def _one_of(self, members):
        if members[0][0] is sre.NEGATE:
            return self.random.choice(PLAIN)
        op, argument = self.random.choice(members)
        if op is sre.RANGE:
            return chr(self.random.randint(*argument))
        return chr(argument) if op is sre.LITERAL else self.random.choice(string.digits)


@pytest.fixture(scope="session")
def valid_values():
    """The class that draws valid values: ``valid_values(model, seed).members(shape)``."""
    return ValidValues
