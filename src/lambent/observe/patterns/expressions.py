"""The regular expressions of filter patterns, matched in time linear in the message.

The dialect has no groups, so an expression is a list of alternatives, each a list of items; it becomes a small
nondeterministic machine whose sets of states are computed as messages need them. Python's ``re`` would backtrack,
and a pattern comes from a caller: a hostile one must not hold the process.
"""

import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lambent.observe.patterns.invalid import InvalidFilterPattern, invalid_term

# User guide, "Supported regular expressions (regex) syntax": alphanumeric characters, these symbols, these operators.
# The space stands in the guide's own examples ("shutting down").
PLAIN: Final = frozenset(string.ascii_letters + string.digits + ":_#=@/;,- ")
OPERATORS: Final = frozenset("^$?[]{}|\\*+.")
STATE_LIMIT: Final = 2_000  # of one expression, after counted repetitions are written out
CACHED_SETS_LIMIT: Final = 500  # remembered sets of states; beyond, the memory is emptied and filled anew

CharTest = Callable[[str], bool]

_DIGITS: Final = frozenset(string.digits)
_SPACES: Final = frozenset(" \t\n\r\f\v")
_WORDS: Final = frozenset(string.ascii_letters + string.digits + "_")
_CLASSES: Final = {"d": _DIGITS, "s": _SPACES, "w": _WORDS}


@dataclass(frozen=True, slots=True)
class _Item:
    """An anchor (``test`` is None) or a test of one character with how often it holds; ``most`` None is without end."""

    test: CharTest | None
    anchor: str = ""
    least: int = 1
    most: int | None = 1


@dataclass(slots=True)
class _State:
    test: CharTest | None = None  # the character that leads to the next state
    anchor: str = ""
    skips: list[int] = field(default_factory=list)  # states reached for nothing
    is_final: bool = False


class Expression:
    """One expression. ``search`` finds it anywhere in a text. Not for two threads at once."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._states: list[_State] = []
        self._starts = [self._add_alternative(items) for items in _Parser(source).alternatives()]
        if len(self._states) > STATE_LIMIT:
            raise InvalidFilterPattern(f"The regular expression '{source}' is too large")
        self._finals = frozenset(index for index, state in enumerate(self._states) if state.is_final)
        self._closures: dict[frozenset[int], dict[str, frozenset[int]]] = {}
        self._restart = self._closure(self._starts, at_start=False, at_end=False)

    def search(self, text: str) -> bool:
        """Return whether the expression matches somewhere in ``text``; ``$`` also stands before a last newline."""
        text = text.removesuffix("\n")
        current = self._closure(self._starts, at_start=True, at_end=not text)
        for char in text:
            if self._is_match(current):
                return True
            current = self._step(current, char)
        return self._is_match(self._closure(current, at_start=not text, at_end=True))

    def _is_match(self, states: frozenset[int]) -> bool:
        return not self._finals.isdisjoint(states)

    def _step(self, states: frozenset[int], char: str) -> frozenset[int]:
        known = self._closures.get(states)
        if known is None:
            if len(self._closures) >= CACHED_SETS_LIMIT:
                self._closures.clear()
            known = self._closures[states] = {}
        if (after := known.get(char)) is None:
            reached = [i + 1 for i in states if (test := self._states[i].test) is not None and test(char)]
            after = self._closure(reached, at_start=False, at_end=False) | self._restart
            if len(known) < 1_000:
                known[char] = after
        return after

    def _closure(self, states: list[int] | frozenset[int], *, at_start: bool, at_end: bool) -> frozenset[int]:
        seen: set[int] = set()
        pending = list(states)
        while pending:
            index = pending.pop()
            if index in seen:
                continue
            seen.add(index)
            state = self._states[index]
            pending.extend(state.skips)
            if (state.anchor == "^" and at_start) or (state.anchor == "$" and at_end):
                pending.append(index + 1)
        return frozenset(seen)

    def _add_alternative(self, items: list[_Item]) -> int:
        start = len(self._states)
        for item in items:
            self._add_item(item)
        self._states.append(_State(is_final=True))
        return start

    def _add_item(self, item: _Item) -> None:
        if item.anchor:
            self._states.append(_State(anchor=item.anchor))
            return
        for _ in range(item.least):
            self._states.append(_State(test=item.test))
        if item.most is None:
            # A loop: take the character and come back through the state behind it, or go on.
            here = len(self._states)
            self._states.append(_State(test=item.test, skips=[here + 2]))
            self._states.append(_State(skips=[here]))
            return
        optional = item.most - item.least
        end = len(self._states) + optional
        self._states.extend(_State(test=item.test, skips=[end]) for _ in range(optional))


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0

    def alternatives(self) -> list[list[_Item]]:
        if not self._source:
            raise invalid_term("%%")
        found: list[list[_Item]] = [[]]
        while self._at < len(self._source):
            char = self._take()
            if char == "|":
                found.append([])
            elif char in "^$":
                found[-1].append(_Item(None, anchor=char))
            else:
                found[-1].append(self._quantified(self._atom(char)))
        return found

    def _refusal(self) -> InvalidFilterPattern:
        return invalid_term(f"%{self._source}%")

    def _take(self) -> str:
        if self._at >= len(self._source):
            raise self._refusal()
        self._at += 1
        return self._source[self._at - 1]

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _atom(self, char: str) -> CharTest:
        if char == ".":
            return _any_char
        if char == "[":
            return self._char_class()
        if char == "\\":
            return _one_of(self._escaped())
        if char in PLAIN:
            return _one_of(frozenset(char))
        raise self._refusal()

    def _escaped(self) -> "frozenset[str] | _Except":
        char = self._take()
        if char == "x":
            digits = self._take() + self._take()
            if not all(digit in string.hexdigits for digit in digits):
                raise self._refusal()
            return frozenset(chr(int(digits, 16)))
        if (known := _CLASSES.get(char.lower())) is not None:
            return known if char.islower() else _Except(known)
        if char in OPERATORS or char in PLAIN:
            return frozenset(char)
        raise self._refusal()

    def _char_class(self) -> CharTest:
        is_negated = self._peek() == "^"
        if is_negated:
            self._take()
        wanted: set[str] = set()
        excepted: list[frozenset[str]] = []
        while (char := self._take()) != "]":
            members = self._class_member(char)
            if isinstance(members, _Except):
                excepted.append(members.chars)
            else:
                wanted |= members
        if not wanted and not excepted:
            raise self._refusal()
        chars = frozenset(wanted)
        outside = tuple(excepted)
        return lambda c: (c in chars or any(c not in chars_ for chars_ in outside)) != is_negated

    def _class_member(self, char: str) -> "frozenset[str] | _Except":
        first = self._escaped() if char == "\\" else self._plain_member(char)
        if isinstance(first, _Except) or len(first) != 1 or self._peek() != "-":
            return first
        if self._source[self._at + 1 : self._at + 2] in ("]", ""):
            return first
        self._take()
        char = self._take()
        last = self._escaped() if char == "\\" else self._plain_member(char)
        if isinstance(last, _Except) or len(last) != 1 or ord(min(last)) < ord(min(first)):
            raise self._refusal()
        return frozenset(chr(code) for code in range(ord(min(first)), ord(min(last)) + 1))

    def _plain_member(self, char: str) -> frozenset[str]:
        if char in PLAIN or char in OPERATORS:
            return frozenset(char)
        raise self._refusal()

    def _quantified(self, test: CharTest) -> _Item:
        match self._peek():
            case "*":
                item = _Item(test, least=0, most=None)
            case "+":
                item = _Item(test, least=1, most=None)
            case "?":
                item = _Item(test, least=0, most=1)
            case "{":
                return self._counted(test)
            case _:
                return _Item(test)
        self._take()
        if self._peek() in ("*", "+", "?", "{"):
            raise self._refusal()
        return item

    def _counted(self, test: CharTest) -> _Item:
        # Same page: "Either m or n can be omitted".
        self._take()
        end = self._source.find("}", self._at)
        bounds = [part.strip() for part in self._source[self._at : end].split(",")] if end >= 0 else []
        if not 1 <= len(bounds) <= 2 or not any(bounds) or not all(b.isascii() and b.isdigit() for b in bounds if b):
            raise self._refusal()
        self._at = end + 1
        least = int(bounds[0] or 0)
        most = least if len(bounds) == 1 else (int(bounds[1]) if bounds[1] else None)
        if least > STATE_LIMIT or (most is not None and not least <= most <= STATE_LIMIT):
            raise self._refusal()
        if self._peek() in ("*", "+", "?", "{"):
            raise self._refusal()
        return _Item(test, least=least, most=most)


@dataclass(frozen=True, slots=True)
class _Except:
    """Every character but these."""

    chars: frozenset[str]


def _any_char(_char: str) -> bool:
    return True


def _one_of(members: "frozenset[str] | _Except") -> CharTest:
    if isinstance(members, _Except):
        chars = members.chars
        return lambda char: char not in chars
    return members.__contains__
