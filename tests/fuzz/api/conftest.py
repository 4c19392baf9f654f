"""What the suites here share: the generator, the raw client, a ZIP of a custom runtime, one live server."""

import importlib.util
import io
import json
import os
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lambent.testing.process import LambentProcess

HERE = Path(__file__).parent
IS_FULL = os.environ.get("LAMBENT_ROUNDS") == "full"


def load(name):
    spec = importlib.util.spec_from_file_location(f"lambent_fuzz_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def generate():
    """The module with ``ModelRequests`` and ``Wire``."""
    return load("generate")


@pytest.fixture(scope="session")
def raw_client_module():
    """The module with ``RawClient`` and ``Answer``."""
    return load("raw_client")


@pytest.fixture(scope="session")
def raw_client(raw_client_module):
    """The class of the raw client."""
    return raw_client_module.RawClient


@pytest.fixture(scope="session")
def is_full():
    """Whether the long form was asked for."""
    return IS_FULL


def _zip_bootstrap(script, note=""):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, text in (("bootstrap", script), ("note", note)):
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o100755 << 16
            file.writestr(member, text)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def zip_bootstrap():
    """Return the function that packs a bootstrap script; ``note`` makes its digest another."""
    return _zip_bootstrap


@pytest.fixture(scope="session")
def echo_bootstrap():
    """A sound custom runtime in plain bash."""
    return (HERE.parents[2] / "samples/shell/bootstrap").read_text()


class EmptyS3(BaseHTTPRequestHandler):
    """An S3 that has no object."""

    def do_GET(self):
        body = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def empty_s3():
    """The URL of an S3 that has no object."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyS3) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(empty_s3):
    """A whole Lambent with a state directory of its own, ended at the end of the module."""
    with LambentProcess(settings={"max_environments": 32, "endpoints": {"s3": empty_s3}}) as process:
        yield process


@pytest.fixture(scope="session")
def service_model():
    """Return the function that reads a service model as botocore ships it."""
    from botocore.loaders import Loader

    return lambda service: json.loads(json.dumps(Loader().load_service_model(service, "service-2")))
