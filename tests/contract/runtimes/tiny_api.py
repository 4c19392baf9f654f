"""The smallest Runtime API that a client can be judged by: it hands out events and keeps what came back."""

import http.server
import json
import queue
import threading
import uuid
from dataclasses import dataclass, field

PREFIX = "/2018-06-01/runtime"


@dataclass
class Answer:
    """What a client posted."""

    kind: str  # response, error, init-error
    request_id: str
    headers: dict
    body: bytes
    trailers: dict = field(default_factory=dict)
    chunks: list = field(default_factory=list)

    @property
    def json(self):
        return json.loads(self.body)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    api: "TinyRuntimeApi"

    def log_message(self, *args):
        pass

    def do_GET(self):
        assert self.path == f"{PREFIX}/invocation/next", self.path
        event = self.api.events.get()
        if event is None:
            self.close_connection = True
            return
        headers, body = event
        self.reply(200, body, headers)

    def do_POST(self):
        parts = self.path.removeprefix(f"{PREFIX}/").split("/")
        body, chunks, trailers = self.read_body()
        kind = "init-error" if parts[0] == "init" else parts[2]
        request_id = "" if parts[0] == "init" else parts[1]
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.api.answers.put(Answer(kind, request_id, headers, body, trailers, chunks))
        self.reply(202, b'{"status":"OK"}', {})

    def read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0))), [], {}
        chunks, trailers = [], {}
        while size := int(self.rfile.readline().strip(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while line := self.rfile.readline().strip().decode():
            name, _, value = line.partition(":")
            trailers[name.lower()] = value.strip()
        return b"".join(chunks), chunks, trailers

    def reply(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class TinyRuntimeApi:
    """``invoke`` returns what the client answered; ``answers`` holds what nobody waited for (init errors)."""

    def __init__(self):
        self.events = queue.Queue()
        self.answers = queue.Queue()
        handler = type("BoundHandler", (Handler,), {"api": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.server.server_address[1]}"

    def invoke(self, event=None, *, timeout_s=20, **headers):
        """Hand out one event and return the answer to it."""
        request_id = str(uuid.uuid4())
        self.events.put(
            (
                {
                    "Content-Type": "application/json",  # without it AWS's client for Python ends by SIGSEGV
                    "Lambda-Runtime-Aws-Request-Id": request_id,
                    "Lambda-Runtime-Deadline-Ms": "4102444800000",
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:f",
                    "Lambda-Runtime-Trace-Id": "Root=1-0-0;Sampled=0",
                    **{name.replace("_", "-"): value for name, value in headers.items()},
                },
                json.dumps(event).encode(),
            )
        )
        answer = self.answers.get(timeout=timeout_s)
        assert answer.request_id == request_id
        return answer

    def close(self):
        for _ in range(4):
            self.events.put(None)
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
