"""The kit of the environment's unit tests, for the machines here."""

import importlib.util
from pathlib import Path

import pytest

_PATH = Path(__file__).parents[1] / "unit/environment/conftest.py"


@pytest.fixture(scope="session")
def kit_module():
    """The module with ``make_world``, ``make_call`` and ``one_environment``."""
    spec = importlib.util.spec_from_file_location("environment_kit", _PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
