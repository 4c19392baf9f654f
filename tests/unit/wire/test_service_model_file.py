"""Models are read from botocore's files, as botocore reads them, without botocore."""

import subprocess
import sys

import pytest
from botocore.loaders import Loader

from lambent.wire.service_model import read_model


@pytest.mark.parametrize("service", ["lambda", "logs", "sts", "s3", "sqs", "dynamodb"])
def test_a_model_is_what_botocores_own_loader_returns(service):
    expected = Loader().load_service_model(service, "service-2")
    assert read_model(service) == expected
    assert list(read_model(service)["operations"]) == list(expected["operations"])


def test_a_server_does_not_import_botocore():
    program = "import sys, lambent.assembly.server; print('botocore' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
