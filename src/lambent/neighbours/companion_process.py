"""The companion's process: ``python companion_process.py PORT FOLDER``. Imports nothing of ours.

Says ``ready`` and how many requests were asked again. Its random numbers come from a seed that is kept beside the
recording, so that identifiers which it gave out are the same after that.
"""

import ctypes
import os
import secrets
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1


def main(port: int, folder: Path) -> None:
    """Serve until killed, or until the server that started it is gone."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    recording, seed = folder / "recording", folder / "seed"
    os.environ["MOTO_RECORDER_FILEPATH"] = str(recording)
    os.environ["MOTO_PORT"] = str(port)
    server = _make_server(port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    replayed = _restore(recording, seed, f"http://127.0.0.1:{port}")
    sys.stdout.write(f"ready {replayed}\n")
    sys.stdout.flush()
    threading.Event().wait()


def _make_server(port: int) -> Any:
    # Imported here: the libraries are an extra, and the recording's place is read at their import.
    from moto.moto_server.werkzeug_app import (  # type: ignore[import-not-found]
        DomainDispatcherApplication,
        create_backend_app,
    )
    from werkzeug.serving import WSGIRequestHandler, make_server  # type: ignore[import-not-found]

    class Quiet(WSGIRequestHandler):  # type: ignore[misc]
        """Keeps no log of requests."""

        protocol_version = "HTTP/1.1"

        def log_request(self, *_: object) -> None:
            """Say nothing."""

    application = _without_own_api(DomainDispatcherApplication(create_backend_app))
    return make_server("127.0.0.1", port, application, threaded=True, request_handler=Quiet)


def _without_own_api(application: Any) -> Any:
    """Refuse moto's own paths: whoever may reach a service here could clear all of them, or read what others asked."""

    def guarded(environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("PATH_INFO", "").startswith("/moto-api"):  # as moto itself tells them
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        return application(environ, start_response)

    return guarded


def _restore(recording: Path, seed: Path, url: str) -> int:
    """Bring back what was; return how many requests were asked again. From here on, requests are recorded."""
    from moto.moto_api import recorder  # type: ignore[import-not-found]
    from moto.moto_api._internal import mock_random  # type: ignore[import-not-found]

    if not seed.exists():
        seed.write_text(str(secrets.randbits(63)))
    mock_random.seed(int(seed.read_text()))
    replayed = 0
    if recording.exists():
        replayed = _cut_torn_line(recording)
        recorder.replay_recording(url)
    _make_safe_for_threads(recorder)
    recorder.start_recording()
    return replayed


def _make_safe_for_threads(recorder: Any) -> None:
    """moto writes a request in several pieces: without a lock, two at once would be one unreadable line."""
    lock, record = threading.Lock(), recorder._record_request

    def record_alone(*arguments: object) -> None:
        with lock:
            record(*arguments)

    recorder._record_request = record_alone


def _cut_torn_line(recording: Path) -> int:
    """Remove a last line that a power cut left half written; return how many lines there are."""
    with recording.open("r+b") as file:
        lines, end = 0, 0
        for line in file:
            if not line.endswith(b"\n"):
                file.truncate(end)
                break
            lines, end = lines + 1, end + len(line)
    return lines


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
