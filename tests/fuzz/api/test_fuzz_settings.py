"""No settings file, variable or flag makes anything but settings, or one line that says what is wrong."""

import os
import string
import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambent.cli.client import CommandFailed
from lambent.cli.packages import FunctionFile, read_function_file
from lambent.config import Settings, SettingsError, load_settings, parse_settings, render_settings

pytestmark = pytest.mark.rounds

NAMES = st.sampled_from([*Settings.__struct_fields__, "unknown"])
SCALARS = (
    st.integers(-(2**70), 2**70)
    | st.floats()
    | st.booleans()
    | st.text(string.printable, max_size=20)
    | st.sampled_from(["off", "verify", "process", "", "127.0.0.1", "-1", "1e3", "[]", "{", "[1", "\0", "∞"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
ROUNDS = settings(
    max_examples=3_000 if os.environ.get("LAMBENT_ROUNDS") == "full" else 300,
    deadline=None,
    derandomize=os.environ.get("LAMBENT_ROUNDS") != "full",
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in [each for each in os.environ if each.startswith("LAMBENT_") and each != "LAMBENT_ROUNDS"]:
        monkeypatch.delenv(name)


def load_or_refuse(flags, **kwargs):
    """Return settings that survive their own rendering, or None where they were refused in one line."""
    try:
        loaded = load_settings(flags, **kwargs)
    except SettingsError as error:
        refusal = str(error)
    else:
        assert parse_settings(render_settings(loaded)) == loaded
        return loaded
    assert refusal
    assert "\n" not in refusal.strip()
    return None


@ROUNDS
@given(flags=st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_flags_are_settings_or_refused(flags):
    load_or_refuse(flags)


@ROUNDS
@given(
    name=st.sampled_from(Settings.__struct_fields__), text=st.text(max_size=30).filter(lambda text: "\0" not in text)
)
def test_any_variable_is_a_setting_or_refused(monkeypatch, name, text):
    with monkeypatch.context() as patch:
        try:
            patch.setenv(f"LAMBENT_{name.upper()}", text)
        except UnicodeEncodeError:
            return  # no process can have it
        load_or_refuse({})


@ROUNDS
@given(
    content=st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: b"[lambent]\n" + text.encode("utf-8", "replace"))
)
def test_any_file_is_settings_or_refused(tmp_path, content):
    path = tmp_path / "lambent.toml"
    path.write_bytes(content)
    loaded = load_or_refuse({}, file=path)
    if loaded is not None:
        tomllib.loads(content.decode())


@pytest.mark.parametrize("path", ["absent.toml", "folder", "folder/under/it"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, path):
    (tmp_path / "folder").mkdir()
    assert load_or_refuse({}, file=tmp_path / path) is None


FUNCTION_NAMES = st.sampled_from([*FunctionFile.__dataclass_fields__, "unknown"])
TOML_VALUES = st.sampled_from(
    ["1", "-1", "nan", "true", '""', '"a"', '"\\u0000"', "[]", "[[1]]", "{a = 1}", "{}", "1979-05-27", "x", ""]
)


@ROUNDS
@given(
    content=st.binary(max_size=60)
    | st.lists(st.tuples(FUNCTION_NAMES, TOML_VALUES), max_size=6).map(
        lambda pairs: b"[function]\n" + "".join(f"{name} = {value}\n" for name, value in pairs).encode()
    )
)
def test_any_file_of_a_function_is_read_or_refused(tmp_path, content):
    (tmp_path / "lambent.toml").write_bytes(content)
    try:
        found = read_function_file(tmp_path, {"runtime": "python3.13", "handler": "app.handler"})
    except CommandFailed as error:
        refusal = str(error)
    else:
        refusal = ""
        assert isinstance(found.members()["Environment"]["Variables"], dict)
    assert "lambent.toml" in refusal or not refusal
