"""What `lambent deploy` says while a function becomes ready."""

import json
from types import SimpleNamespace

import pytest

from lambent.cli import function_commands
from lambent.cli.client import CommandFailed
from lambent.cli.function_commands import deploy

FUNCTION = '[function]\nname = "words"\nruntime = "nodejs22.x"\nhandler = "index.handler"\n'
READY = {"FunctionArn": "arn:words", "State": "Active", "LastUpdateStatus": "Successful", "Runtime": "nodejs22.x"}


class Server:
    """Answers with one configuration after another; the last one stays."""

    def __init__(self, *configurations):
        self.configurations = list(configurations)
        self.puts = []

    def lambda_request(self, method, path, body=b"", headers=None):
        configuration = self.configurations[0]
        if method == "PUT":
            self.puts.append(path)
        if method == "GET" and len(self.configurations) > 1:
            configuration = self.configurations.pop(0)
        return SimpleNamespace(json=lambda: json.loads(json.dumps(configuration)))


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "lambent.toml").write_text(FUNCTION)
    (tmp_path / "index.mjs").write_text("export const handler = async () => 1;\n")
    return tmp_path


def test_a_function_that_is_soon_ready_needs_no_words(directory, capsys):
    deploy(Server(READY, READY), directory, {}, as_json=False)
    said = capsys.readouterr()
    assert said.out == "arn:words is Active\n"
    assert "preparing" not in said.err


def test_long_waiting_is_explained_once(directory, capsys, monkeypatch):
    monkeypatch.setattr(function_commands, "SLOW_S", 0.0)
    pending = {**READY, "LastUpdateStatus": "InProgress"}
    deploy(Server(READY, pending, pending, READY), directory, {}, as_json=False)
    assert capsys.readouterr().err.count("words: preparing nodejs22.x; what this host lacks of it is fetched once") == 1


def test_why_a_function_cannot_be_made_ready_is_told(directory):
    failed = {**READY, "State": "Failed", "StateReason": "no Node"}
    with pytest.raises(CommandFailed, match="words could not be made ready: no Node"):
        deploy(Server(READY, failed), directory, {}, as_json=False)


def test_a_function_that_failed_is_deployed_again_with_new_code(directory, capsys):
    failed = {**READY, "State": "Failed", "StateReason": "no Node", "LastUpdateStatus": "Failed"}
    mending = {**failed, "LastUpdateStatus": "InProgress"}
    server = Server(failed, mending, failed, mending, READY)
    deploy(server, directory, {}, as_json=False)
    assert capsys.readouterr().out == "arn:words is Active\n"
    assert [path.rpartition("/")[2] for path in server.puts] == ["configuration", "code"]
