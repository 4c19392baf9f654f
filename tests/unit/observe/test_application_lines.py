"""Level and time of a function's JSON lines."""

from datetime import UTC, datetime

import pytest

from lambent.observe.application_lines import read_application_line
from lambent.observe.lines import Level

STAMP = '"timestamp": "2024-11-02T16:51:31.587199Z"'
AT = datetime(2024, 11, 2, 16, 51, 31, 587_199, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "level", "at"),
    [
        ('{"level": "debug", "msg": "my debug log", STAMP}', Level.DEBUG, AT),
        ('{"level": "ERROR", STAMP}\n', Level.ERROR, AT),
        ('{"level": "Error", STAMP}', Level.INFO, AT),
        ('{"level": "loud", STAMP}', Level.INFO, AT),
        ('{"level": 5, STAMP}', Level.INFO, AT),
        ("{STAMP}", Level.INFO, AT),
        ('{"level": "ERROR"}', Level.INFO, None),
        ('{"level": "ERROR", "timestamp": "yesterday"}', Level.INFO, None),
        ('{"level": "ERROR", "timestamp": "2024-13-02T16:51:31Z"}', Level.INFO, None),
        ('{"level": "ERROR", "timestamp": "2024-11-02"}', Level.INFO, None),
        ('{"level": "TRACE", "time": "2024-11-02T18:51:31.587199+02:00"}', Level.TRACE, AT),
        ("a plain line", Level.INFO, None),
        ("{not json", Level.INFO, None),
        ('["level", "ERROR"]', Level.INFO, None),
    ],
)
def test_a_line_has_the_level_and_time_that_it_gives_itself(line, level, at):
    read = read_application_line(line.replace("STAMP", STAMP).encode())
    assert (read.level, read.at) == (level, at)


def test_a_line_that_is_nested_without_end_is_information():
    assert read_application_line(b'{"a":' * 100_000).level is Level.INFO
    assert read_application_line(b'{"level": "\xff"}').level is Level.INFO
