"""Commands answer what AWS answered: tests/golden/control/recorded.json, each entry with the day it was recorded.

Requests that the service model's own constraints refuse are not here: wire's tests hold those.
"""

import json
import re
from pathlib import Path

import pytest

from lambent.model.errors import CallerError

pytestmark = pytest.mark.anyio

GOLDEN = Path(__file__).parents[2] / "golden" / "control" / "recorded.json"
ENTRIES = json.loads(GOLDEN.read_text())["entries"]
TOKEN = re.compile(r"(<[A-Za-z][\w.-]*(?::\d+)?>|<a:len\(\d+\)>|(?<!\d)111111111111(?!\d))")
ANYTHING = {"CodeSha256": "code-sha256", "LastModified": "date"}


class Fill:
    """Turns the templates of an entry's requests into values."""

    def __init__(self, names):
        self.values = {
            "rand": "1a2b3c4d",
            "account": "123456789012",
            "region": "us-east-1",
            "other_region": "eu-west-1",
        }
        self.values |= {"role": "arn:aws:iam::123456789012:role/r", "zip1": b"PK-one", "zip2": b"PK-two"}
        for name, text in names.items():
            self.values[name] = self(text)

    def __call__(self, template):
        if isinstance(template, dict):
            if "$repeat" in template:
                return template["$repeat"][0] * template["$repeat"][1]
            if "$add" in template:
                return self(template["$add"][0]) + template["$add"][1]
            return {key: self(inner) for key, inner in template.items()}
        if isinstance(template, list):
            return [self(inner) for inner in template]
        if not isinstance(template, str):
            return template
        if whole := re.fullmatch(r"\$\{([^}]+)\}", template):
            return self.find(whole[1])
        return re.sub(r"\$\{([^}]+)\}", lambda found: self.find(found[1]), template)

    def find(self, path):
        value = self.values
        for part in path.split("."):
            value = value[part]
        return value


def require_like(recorded, answered, bound, path="answer"):
    """Compare, reading <name:N> as one value throughout; different uuids of the record must differ here too."""
    if isinstance(recorded, dict):
        assert isinstance(answered, dict), path
        assert set(answered) == set(recorded), path
        for key, inner in recorded.items():
            if ANYTHING.get(key) == inner:
                assert answered[key], f"{path}.{key}"
            else:
                require_like(inner, answered[key], bound, f"{path}.{key}")
    elif isinstance(recorded, str):
        require_text(recorded, answered, bound, path)
    else:
        assert answered == recorded, path


def require_text(recorded, answered, bound, path):
    # AWS's list of runtimes grows.
    recorded, answered = (
        re.sub(r"enum value set: \[[^\]]*\]", "enum value set: [*]", str(text)) for text in (recorded, answered)
    )
    pattern, fresh = "", []
    for position, part in enumerate(TOKEN.split(recorded)):
        if position % 2 == 0:
            pattern += re.escape(part)
        elif part.startswith("<a:len"):
            pattern += "a" * int(part[7:-2])
        elif part in bound:
            pattern += re.escape(bound[part])
        else:
            fresh.append(part)
            pattern += "(.+?)"
    found = re.fullmatch(pattern, answered, re.DOTALL)
    assert found, f"{path}: {answered!r} is not like {recorded!r}"
    for token, value in zip(fresh, found.groups(), strict=True):
        if token.startswith("<uuid:"):
            assert value not in {other for name, other in bound.items() if name.startswith("<uuid:")}, path
        if ":" in token:
            bound[token] = value


async def answer(world, step, fill):
    try:
        return await world.call(step["operation"], **fill(step["members"])), None
    except CallerError as error:
        return None, error


def require_error(recorded, error, bound):
    assert error is not None, f"no error, AWS: {recorded}"
    assert error.code == recorded["Code"]
    if "Message" in recorded:
        require_text(recorded["Message"], error.message, bound, "message")
    if "Status" in recorded:
        assert (error.status, error.kind) == (recorded["Status"], recorded["Type"])


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["id"] for entry in ENTRIES])
async def test_commands_answer_what_aws_answered(world, entry):
    fill = Fill(entry.get("names", {}))
    bound = {
        "<region>": "us-east-1",
        "<partition>": "aws",
        "<wrong-region>": "eu-west-1",
        "111111111111": "123456789012",
    }
    bound |= {token: fill(text) for token, text in (entry.get("tokens") or {}).items()}
    for step in entry["steps"]:
        if "settle" in step:
            await world.settle()
            continue
        answered, error = await answer(world, step, fill)
        if "error" in step:
            require_error(step["error"], error, bound)
            continue
        assert error is None, error
        fill.values[step.get("as", "_")] = answered
        if "keys" in step:
            assert {key: sorted(answered[key]) for key in step["keys"]} == {
                key: sorted(step["answer"][key]) for key in step["keys"]
            }
        elif "answer" in step:
            # StatusCode of DeleteFunction is the HTTP status, which the record shows apart.
            require_like(step["answer"], answered, bound)


def test_the_comparison_tells_a_wrong_answer_from_a_right_one():
    with pytest.raises(AssertionError):
        require_like({"A": "<uuid:2>"}, {"A": "x"}, {"<uuid:1>": "x"})
    with pytest.raises(AssertionError):
        require_like({"A": "one <name:1>"}, {"A": "one two"}, {"<name:1>": "three"})
    with pytest.raises(AssertionError):
        require_like({"A": 1}, {"A": 1, "B": 2}, {})
    require_like({"A": "one <name:1>"}, {"A": "one two"}, {})
