"""A small client of the public API: signed requests over the standard library, errors as one line."""

import http.client
import json
import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_REGION = "us-east-1"


class CommandFailed(Exception):
    """What the person at the terminal reads: one line that says what to do. ``code`` is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class ApiError(CommandFailed):
    """The server refused: AWS's code and message."""

    def __init__(self, status: int, aws_code: str, message: str) -> None:
        super().__init__(f"{aws_code}: {message}")
        self.status, self.aws_code = status, aws_code


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower-case names) and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the parsed body; an empty one is an empty object."""
        return json.loads(self.body) if self.body else {}


class Client:
    """Calls one server. Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else test/test."""

    def __init__(self, endpoint: str, *, region: str | None = None, timeout_s: float = 930.0) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION
        self._timeout_s = timeout_s

    def lambda_request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a Lambda request; ApiError where the answer is an error."""
        return self._request("lambda", method, path, body, dict(headers or {}))

    def logs_request(self, operation: str, members: Mapping[str, Any]) -> Any:
        """Call an operation of CloudWatch Logs and return its output."""
        headers = {"X-Amz-Target": f"Logs_20140328.{operation}", "Content-Type": "application/x-amz-json-1.1"}
        return self._request("logs", "POST", "/", json.dumps(members).encode(), headers).json()

    def own_request(self, method: str, path: str) -> Any:
        """Send a signed request to one of Lambent's own paths and return the JSON it answers."""
        return self._request("lambda", method, path, b"", {}).json()

    def plain_get(self, path: str) -> Answer:
        """Send an unsigned GET, for the health routes."""
        return self._send("GET", path, b"", {})

    def signed(self, service: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> dict[str, str]:
        """Return the headers of a request as it is sent, signed for now."""
        # The SDK's own signer, imported only when a request is made: `lambent --help` must stay quick.
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        key = os.environ.get("AWS_ACCESS_KEY_ID", "test")
        secret = os.environ.get("AWS_SECRET_ACCESS_KEY", "test")
        credentials = Credentials(key, secret, os.environ.get("AWS_SESSION_TOKEN"))
        request = AWSRequest(method=method, url=self.endpoint + path, data=body, headers=headers)
        SigV4Auth(credentials, service, self.region).add_auth(request)
        return dict(request.headers.items())

    def _request(self, service: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        answer = self._send(method, path, body, self.signed(service, method, path, body, headers))
        if answer.status >= 300:
            raise _api_error(answer)
        return answer

    def _send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        at = urllib.parse.urlsplit(self.endpoint)
        connection = http.client.HTTPConnection(at.hostname or "127.0.0.1", at.port or 80, timeout=self._timeout_s)
        try:
            connection.request(method, path, body or None, dict(headers))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        except OSError as error:
            raise CommandFailed(f"no answer from {self.endpoint} ({error}); is it started? `lambent start`") from error
        finally:
            connection.close()


def _api_error(answer: Answer) -> ApiError:
    code = answer.headers.get("x-amzn-errortype", "").split(":")[0]
    try:
        members = answer.json()
    except ValueError:
        members = {}
    code = code or str(members.get("__type", f"HTTP {answer.status}"))
    message = members.get("message") or members.get("Message") or answer.body.decode(errors="replace")[:500]
    return ApiError(answer.status, code, message)


def quote(name: str) -> str:
    """Return ``name`` as one path segment."""
    return urllib.parse.quote(name, safe="")
