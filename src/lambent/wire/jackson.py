"""Why a text is no JSON, in the words of the Jackson parser that AWS quotes to its callers.

Only for texts that a real parser refused: it finds the first fault, its line and its column. Columns count bytes.
"""

import re
from typing import Final

# Recorded from AWS (2025-11): the source is redacted like this in every message.
_SOURCE: Final = "[Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: {}, column: {}]"
_VALUES: Final = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
_NUMBER: Final = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LITERALS: Final = (b"true", b"false", b"null")
_CLOSING: Final = {0x7B: 0x7D, 0x5B: 0x5D}  # { } and [ ]
_DEPTH_LIMIT: Final = 1000  # Jackson's StreamReadConstraints
_TOKEN_LIMIT: Final = 256  # Jackson shows no more of an unknown token


class _Fault(Exception):
    """The first fault of a text and the offset that Jackson names."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.reason, self.at = reason, at


def explain(text: bytes) -> str:
    """Return Jackson's message for the first fault of ``text``."""
    scanner = _Scanner(text)
    try:
        scanner.scan()
    except _Fault as fault:
        return f"{fault.reason}\n at {_source(text, fault.at)}"
    # The real parser refused what Jackson would take (a lone surrogate, a number without end).
    return f"Unreadable value\n at {_source(text, len(text))}"


def _source(text: bytes, at: int) -> str:
    line_start = text.rfind(b"\n", 0, at) + 1
    return _SOURCE.format(text.count(b"\n", 0, at) + 1, at - line_start + 1)


class _Scanner:
    """One pass over the text, without recursion. Keeps where each open array and object began."""

    def __init__(self, text: bytes) -> None:
        self._text, self._at = text, 0
        self._open: list[tuple[int, int]] = []  # (bracket, offset)

    def scan(self) -> None:
        """Raise the first fault, or return."""
        if self._peek() is None:
            raise _Fault("No content to map due to end-of-input", 0)
        is_value_next = True
        while is_value_next or self._open:
            is_value_next = self._value() if is_value_next else self._after_value()
        if (extra := self._peek()) is not None:
            raise self._unexpected(extra, "Expected space separating root-level values")

    def _after_value(self) -> bool:
        """Pass what stands behind a value inside a bracket; whether another value follows."""
        bracket, _ = self._open[-1]
        found = self._peek()
        if found is None:
            raise self._end_of_input()
        if found == _CLOSING[bracket]:
            self._at += 1
            self._open.pop()
            return False
        if found != 0x2C:
            kind = "Object" if bracket == 0x7B else "Array"
            raise self._unexpected(found, f"was expecting comma to separate {kind} entries")
        self._at += 1
        if bracket == 0x7B:
            self._name()
        return True

    def _value(self) -> bool:
        """Pass a value, or the beginning of one; whether another value must follow at once."""
        found = self._peek()
        if found is None:
            raise self._end_of_input()
        if found in _CLOSING:
            return self._begin(found)
        if found == 0x22:
            self._string("was expecting closing quote for a string value")
        elif number := _NUMBER.match(self._text, self._at):
            self._number(number.end())
        else:
            self._literal(found)
        return False

    def _begin(self, bracket: int) -> bool:
        self._open.append((bracket, self._at))
        self._at += 1
        if len(self._open) > _DEPTH_LIMIT:
            words = "exceeds the maximum allowed (1000, from `StreamReadConstraints.getMaxNestingDepth()`)"
            raise _Fault(f"Document nesting depth ({len(self._open)}) {words}", self._at)
        if self._peek() == _CLOSING[bracket]:
            self._at += 1
            self._open.pop()
            return False
        if bracket == 0x7B:
            self._name()
        return True

    def _name(self) -> None:
        found = self._peek()
        if found is None:
            raise self._end_of_input()
        if found != 0x22:
            raise self._unexpected(found, "was expecting double-quote to start field name")
        self._string("in field name")
        found = self._peek()
        if found is None:
            raise self._end_of_input()
        if found != 0x3A:
            raise self._unexpected(found, "was expecting a colon to separate field name and value")
        self._at += 1

    def _string(self, unclosed: str) -> None:
        text, self._at = self._text, self._at + 1
        while self._at < len(text):
            byte = text[self._at]
            if byte == 0x22:
                self._at += 1
                return
            if byte == 0x5C:
                self._escape()
            elif byte < 0x20:
                words = "has to be escaped using backslash to be included in string value"
                raise _Fault(f"Illegal unquoted character ({_describe(byte)}): {words}", self._at + 1)
            else:
                self._at = self._decode(self._at)[1]
        joint = " " if unclosed.startswith("in ") else ": "
        raise _Fault(f"Unexpected end-of-input{joint}{unclosed}", len(text))

    def _escape(self) -> None:
        code = self._text[self._at + 1 : self._at + 2]
        if code == b"u":
            for offset in range(self._at + 2, min(self._at + 6, len(self._text))):
                if self._text[offset : offset + 1] not in [b"%c" % each for each in b"0123456789abcdefABCDEF"]:
                    words = "expected a hex-digit for character escape sequence"
                    raise _Fault(f"Unexpected character ({_describe(self._text[offset])}): {words}", offset)
            self._at += 6
        elif code and code not in b'"\\/bfnrt':
            raise _Fault(f"Unrecognized character escape {_describe(code[0])}", self._at + 2)
        else:
            self._at += 2

    def _number(self, end: int) -> None:
        following = self._text[end : end + 1]
        if self._text[self._at : end].lstrip(b"-") == b"0" and following.isdigit():
            raise _Fault("Invalid numeric value: Leading zeroes not allowed", end)
        self._at = end
        if not self._open and following and following not in b" \t\r\n":
            raise self._unexpected(following[0], "Expected space separating root-level values")

    def _literal(self, found: int) -> None:
        for literal in _LITERALS:
            if self._text.startswith(literal, self._at):
                end = self._at + len(literal)
                if not self._is_identifier_at(end):
                    self._at = end
                    return
        if not (chr(found).isalpha() or found in b"_$"):
            raise self._unexpected(found, f"expected a valid value {_VALUES}")
        self._unknown_token(chr(found))

    def _unknown_token(self, token: str) -> None:
        # Jackson takes the first byte as it is and decodes what follows.
        self._at += 1
        while self._at < len(self._text):
            character, self._at = self._decode(self._at)
            if not (character.isalnum() or character in "_$"):
                break
            token += character
            if len(token) >= _TOKEN_LIMIT:
                token += "..."
                break
        raise _Fault(f"Unrecognized token '{token}': was expecting {_VALUES}", self._at)

    def _is_identifier_at(self, at: int) -> bool:
        following = self._text[at : at + 1]
        return following.isalnum() or (following != b"" and following in b"_$")

    def _decode(self, at: int) -> tuple[str, int]:
        """Return the character at ``at`` and the offset behind it; a fault names the offset behind the bad byte."""
        first = self._text[at]
        if first < 0x80:
            return chr(first), at + 1
        length = 2 if first & 0xE0 == 0xC0 else 3 if first & 0xF0 == 0xE0 else 4 if first & 0xF8 == 0xF0 else 0
        if not length:
            raise _Fault(f"Invalid UTF-8 start byte 0x{first:x}", at + 1)
        for offset in range(at + 1, min(at + length, len(self._text))):
            if self._text[offset] & 0xC0 != 0x80:
                raise _Fault(f"Invalid UTF-8 middle byte 0x{self._text[offset]:x}", offset + 1)
        return self._text[at : at + length].decode(errors="replace")[:1], at + length

    def _peek(self) -> int | None:
        while self._at < len(self._text) and self._text[self._at] in b" \t\r\n":
            self._at += 1
        return self._text[self._at] if self._at < len(self._text) else None

    def _unexpected(self, found: int, words: str) -> _Fault:
        return _Fault(f"Unexpected character ({_describe(found)}): {words}", self._at)

    def _end_of_input(self) -> _Fault:
        bracket, began = self._open[-1]
        kind = "Object" if bracket == 0x7B else "Array"
        words = f"expected close marker for {kind} (start marker at {_source(self._text, began)})"
        return _Fault(f"Unexpected end-of-input: {words}", len(self._text))


def _describe(byte: int) -> str:
    if byte < 0x20 or 0x7F <= byte <= 0x9F:
        return f"(CTRL-CHAR, code {byte})"
    return f"'{chr(byte)}' (code {byte})"
