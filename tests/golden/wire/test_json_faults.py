"""The words in which AWS refuses what is no JSON."""

import pytest

from lambent.wire.jackson import explain

AT = "\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: {}, column: {}]"
VALUES = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
WANTED = f"expected a valid value {VALUES}"


@pytest.mark.parametrize(
    ("payload", "words", "line", "column"),
    [
        # Recorded from AWS (Invoke, 2025-11-24).
        (b"n\x87r\x9e\xe9\xb5\xd7I\xee\x9bmt", "Invalid UTF-8 start byte 0x87", 1, 3),
        (b"\x99\xe9m", f"Unexpected character ((CTRL-CHAR, code 153)): {WANTED}", 1, 1),
        # Jackson's own words for the other faults.
        (b"hello world", f"Unrecognized token 'hello': was expecting {VALUES}", 1, 7),
        (b"STRING_VALUE", f"Unrecognized token 'STRING_VALUE': was expecting {VALUES}", 1, 13),
        (b"0D", "Unexpected character ('D' (code 68)): Expected space separating root-level values", 1, 2),
        (b'{"a":1,}', "Unexpected character ('}' (code 125)): was expecting double-quote to start field name", 1, 8),
        (b'{"a" 1}', "Unexpected character ('1' (code 49)): was expecting a colon to separate field name and value",
         1, 6),
        (b"[1 2]", "Unexpected character ('2' (code 50)): was expecting comma to separate Array entries", 1, 4),
        (b"[1,]", f"Unexpected character (']' (code 93)): {WANTED}", 1, 4),
        (b'{"a":\n tru}', f"Unrecognized token 'tru': was expecting {VALUES}", 2, 6),
        (b'["a', "Unexpected end-of-input: was expecting closing quote for a string value", 1, 4),
        (b'"a\\x"', "Unrecognized character escape 'x' (code 120)", 1, 5),
        (b"01", "Invalid numeric value: Leading zeroes not allowed", 1, 2),
        (b"  ", "No content to map due to end-of-input", 1, 1),
    ],
)  # fmt: skip
def test_what_is_no_json_is_explained_in_jacksons_words(payload, words, line, column):
    assert explain(payload) == words + AT.format(line, column)


def test_a_text_nested_too_deeply_is_explained():
    assert explain(b"[" * 100_000).startswith("Document nesting depth (1001) exceeds the maximum allowed (1000, from ")
