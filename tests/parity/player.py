"""Plays one record's requests with boto3 and yields where the answers are not AWS's."""

import base64
import contextlib
import io
import json
import os
import random
import re
import time
import zipfile
from collections.abc import Iterator, Mapping

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from .likeness import ACCOUNT, Likeness, validation_errors

UNTIL_LIMIT_S = 60.0
REGION, OTHER_REGION, OWN_ACCOUNT = "us-east-1", "eu-central-1", "000000000000"


class Player:
    """Plays records against ``endpoint``; ``sources`` are the functions that they deploy, by file name."""

    def __init__(self, endpoint: str, sources: Mapping[str, str]) -> None:
        config = Config(parameter_validation=False, retries={"total_max_attempts": 1}, read_timeout=60)
        self._sources = sources
        self._client = boto3.client(
            "lambda",
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=config,
        )

    def play(self, record: dict) -> list[str]:
        """Return the differences, empty when every answer is like AWS's; a step that went astray is the last."""
        values = {
            "account": OWN_ACCOUNT,
            "region": REGION,
            "other_region": OTHER_REGION,
            "role": f"arn:aws:iam::{OWN_ACCOUNT}:role/parity-role",
            "rand": f"{random.getrandbits(40):010x}",
        }
        for name, template in record.get("names", {}).items():
            values[name] = self._filled(template, values)
        known = {"<region>": REGION, "<partition>": "aws", "<wrong-region>": OTHER_REGION, ACCOUNT: OWN_ACCOUNT}
        known |= {token: self._filled(template, values) for token, template in record.get("tokens", {}).items()}
        made: list[str] = []
        try:
            return list(self._played(record["steps"], values, Likeness(known), made))
        finally:
            for arn in made:
                with contextlib.suppress(ClientError):
                    self._client.delete_function(FunctionName=arn)

    def _played(self, steps, values, likeness, made) -> Iterator[str]:
        for number, step in enumerate(steps, 1):
            where = f"step {number}, {step.get('call') or step.get('await') or step['again']}"
            answer = self._awaited(step, values)
            if step.get("call") == "CreateFunction" and "FunctionArn" in answer:
                made.append(answer["FunctionArn"])
            if "keep" in step:
                values[step["keep"]] = answer
            code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
            if "answer" in step:
                seen = _part(answer, step.get("part"))
                found = likeness.differences(step["answer"], seen, ignoring=step.get("ignoring", ()))
                yield from (f"{where}{line}" for line in found)
            elif code != step.get("fails"):
                yield f"{where}: {answer}, AWS {step.get('fails', 'succeeds')}"
                return

    def _awaited(self, step, values):
        """Return the answer; with ``until``, once the member it names has the value, or after a minute."""
        member, wanted = step.get("until", (None, None))
        give_up_at = time.monotonic() + UNTIL_LIMIT_S
        while True:
            answer = self._answer(step, values)
            if member is None or answer.get(member) == wanted or time.monotonic() > give_up_at:
                return answer
            time.sleep(0.1)

    def _answer(self, step, values):
        if "again" in step:
            return self._filled(step["again"], values)
        members = self._filled(step.get("with", {}), values)
        if "await" in step:
            waiter = self._client.get_waiter(step["await"])
            waiter.wait(**members, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
            return {}
        try:
            answer = getattr(self._client, xform_name(step["call"]))(**members)
        except ClientError as error:
            return error.response
        if "Payload" in answer:
            answer["Payload"] = answer["Payload"].read().decode()
        return answer

    def _filled(self, template, values):
        if isinstance(template, str):
            if whole := re.fullmatch(r"\$\{([^{}]+)\}", template):
                return _at(values, whole[1])
            return re.sub(r"\$\{([^{}]+)\}", lambda found: str(_at(values, found[1])), template)
        if isinstance(template, list):
            return [self._filled(each, values) for each in template]
        if not isinstance(template, dict):
            return template
        match template:
            case {"package": files, **rest} if not rest:
                return self._package(files)
            case {"json": value, **rest} if not rest:
                return json.dumps(self._filled(value, values)).encode()
            case {"repeated": [text, count], **rest} if not rest:
                return text * count
            case {"sum": [number, more], **rest} if not rest:
                return self._filled(number, values) + more
            case {"base64": text, **rest} if not rest:
                return base64.b64decode(text)
        return {key: self._filled(each, values) for key, each in template.items()}

    def _package(self, files) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, source in files.items():
                name, word, padding = source if isinstance(source, list) else (source, "", 0)
                entry = zipfile.ZipInfo(path, (2024, 1, 1, 0, 0, 0))
                entry.external_attr = 0o100755 << 16
                # A negative count: random bytes, which stay as many when they are packed.
                content = self._sources[name].replace("@V@", word).encode() + (
                    os.urandom(-padding) if padding < 0 else b"#" * padding
                )
                archive.writestr(entry, content, zipfile.ZIP_STORED if padding < 0 else zipfile.ZIP_DEFLATED)
        return buffer.getvalue()


def _at(values, path):
    for name in path.split("."):
        values = values[int(name)] if isinstance(values, list) else values[name]
    return values


def _part(answer, part):
    """Return what of an answer was recorded."""
    match part:
        case "payload":
            return answer.get("Payload", answer)
        case "validation errors":
            return validation_errors(answer.get("Error", {"Code": None, "Message": "success"}))
        case "log tail":
            return {"logs": base64.b64decode(answer["LogResult"]).decode().splitlines(keepends=True)}
        case "member names":
            return {key: each if key == "ResponseMetadata" else sorted(each) for key, each in answer.items()}
    return answer
