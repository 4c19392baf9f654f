"""Our own log: its formats, and that it keeps secrets."""

import errno
import io
import json
import logging

import pytest
import structlog

from lambent.observe.process_log import HIDDEN, configure_process_log, hide_secrets


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _restored():
    root = logging.getLogger()
    handlers, level, configuration = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**configuration)
    structlog.contextvars.clear_contextvars()


def written(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_production_reads_one_json_object_a_line_with_the_ids_of_its_context():
    stream = io.StringIO()
    configure_process_log(stream=stream)
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger().info("invocation_ended", billed_ms=3000, init_ms=None)
    structlog.get_logger().debug("not_said")
    (line,) = written(stream)
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "invocation_ended",
        "level": "info",
        "billed_ms": 3000,
        "init_ms": None,
        "request_id": "r-1",
    }


def test_a_terminal_gets_text_and_settings_may_say_otherwise():
    terminal = Terminal()
    configure_process_log(stream=terminal)
    structlog.get_logger().info("server_ready", port=4566)
    assert "server_ready" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    for log_format, is_json in (("json", True), ("text", False)):
        stream = Terminal() if is_json else io.StringIO()
        configure_process_log(log_format, stream=stream)
        structlog.get_logger().info("server_ready")
        assert stream.getvalue().startswith("{") is is_json
        assert ("\x1b" in stream.getvalue()) is False


def test_libraries_speak_in_the_same_voice_from_warnings_on():
    stream = io.StringIO()
    configure_process_log("json", stream=stream)
    logging.getLogger("botocore").info("request with Authorization header")
    logging.getLogger("botocore").warning("slow, Signature=abcdef0123 %s", "AKIAIOSFODNN7EXAMPLE")
    (line,) = written(stream)
    assert (line["logger"], line["level"]) == ("botocore", "warning")
    assert line["event"] == f"slow, Signature={HIDDEN} {HIDDEN}"


def test_an_exception_is_told_with_its_traceback():
    stream = io.StringIO()
    configure_process_log("json", stream=stream)
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("write_failed")
    (line,) = written(stream)
    assert line["exception"].endswith("ValueError: broken")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"secret_key": "x", "SessionToken": "x", "password": "x"}, {HIDDEN}),
        ({"environment": {"A": "b"}, "variables": {}, "payload": b"x", "headers": [], "body": "x"}, {HIDDEN}),
        ({"Authorization": "AWS4-HMAC-SHA256 …", "cookie": "x", "credentials": "x", "privateKey": "x"}, {HIDDEN}),
    ],
)
def test_fields_with_names_of_secrets_are_hidden(fields, expected):
    assert set(hide_secrets(None, "info", fields).values()) == expected


def test_secrets_inside_of_other_fields_are_cut_out():
    safe = hide_secrets(
        None,
        "info",
        {
            "event": "x",
            "request": {"headers": {"a": "b"}, "url": "http://h/?X-Amz-Signature=abc&X-Amz-Date=1"},
            "ids": ("ASIAIOSFODNN7EXAMPLE", 5),
            "raw": b"12345",
            "error": ValueError("Bearer abc.def failed"),
            "environment_id": "e",
            "signatures": "verify",
            "deep": {"a": {"b": {"c": {"d": {"e": 1}}}}},
        },
    )
    assert safe == {
        "event": "x",
        "request": {"headers": HIDDEN, "url": f"http://h/?X-Amz-Signature={HIDDEN}&X-Amz-Date=1"},
        "ids": [HIDDEN, 5],
        "raw": "<5 bytes>",
        "error": f"Bearer {HIDDEN} failed",
        "environment_id": "e",
        "signatures": "verify",
        "deep": {"a": {"b": {"c": {"d": "<dict>"}}}},
    }


def test_a_traceback_at_a_terminal_shows_no_local_values(capsys):
    configure_process_log("text")
    payload = "do-not-print-" + "me"
    try:
        raise ValueError(len(payload))
    except ValueError:
        structlog.get_logger().exception("failed")
    said = capsys.readouterr().err
    assert "ValueError: 15" in said
    assert payload not in said


class Full(io.StringIO):
    """A stream on a disk that may be full."""

    is_full = False

    def write(self, text):
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_log_that_cannot_be_written_is_nobodys_failure_and_is_counted_afterwards():
    stream = Full()
    configure_process_log("json", stream=stream)
    log = structlog.get_logger()
    stream.is_full = True
    for _ in range(3):
        log.error("unseen")
    logging.getLogger("library").error("unseen, too")
    stream.is_full = False
    log.error("seen")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["log_lines_dropped", "seen"]
    assert lines[0]["lines"] == 4
