"""The real packages: Node.js and npm from Python's index, Node.js 16 with its SDK."""

import os
import subprocess

import pytest

from lambent.runtimes.commands import CommandFailed, Stop
from lambent.runtimes.installers import Installers
from lambent.runtimes.interpreters import InterpreterSearch
from lambent.runtimes.node_wheels import NodeWheels

from .conftest import CACHE


class BareHost(InterpreterSearch):
    """A host without a single program."""

    def find_program(self, *names):
        return None


def test_node_and_npm_of_pythons_index_run_without_those_of_the_host():
    said = []
    installers = Installers(CACHE / "cache", os.environ, BareHost({}, {}))
    wheels = NodeWheels(CACHE / "interpreters", installers, said.append)
    try:
        npm = wheels.find_npm(Stop())
    except CommandFailed as error:
        pytest.skip(f"no index is reached: {error}")
    done = subprocess.run([*npm, "--version"], capture_output=True, text=True, env={}, check=True, timeout=60)
    assert int(done.stdout.split(".")[0]) >= 10
    tree = wheels.ensure("22", Stop())
    done = subprocess.run([CACHE / "interpreters" / tree / "bin/node", "-v"], capture_output=True, env={}, check=True)
    assert done.stdout.startswith(b"v22.")


def test_node_16_has_version_2_of_the_sdk(start):
    code = "exports.h = async () => [process.version, require('aws-sdk').VERSION]"
    version, sdk = start("nodejs16.x", {"i.js": code}, "i.h").invoke().json
    assert (version.split(".")[0], sdk.split(".")[0]) == ("v16", "2")
