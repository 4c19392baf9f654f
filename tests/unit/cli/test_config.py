"""Settings: order of sources, refusal of what is wrong, places of root and of users."""

import os
from pathlib import Path

import pytest

from lambent.config import SettingsError, load_settings, parse_settings, render_settings


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("LAMBENT_CONFIG", raising=False)


def settings_file(tmp_path, text):
    path = tmp_path / "lambent.toml"
    path.write_text(text)
    return path


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path, monkeypatch):
    path = settings_file(tmp_path, '[lambent]\nport = 1\nhost = "127.0.0.2"\nidle_s = 5\n')
    monkeypatch.setenv("LAMBENT_PORT", "2")
    monkeypatch.setenv("LAMBENT_HOST", "127.0.0.3")
    settings = load_settings({"port": 3, "driver": None}, file=path)
    assert (settings.port, settings.host, settings.idle_s) == (3, "127.0.0.3", 5.0)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[lambent]\nprot = 1\n", id="unknown-name"),
        pytest.param('[lambent]\nport = "many"\n', id="wrong-type"),
        pytest.param('[lambent]\nsignatures = "maybe"\n', id="unknown-mode"),
        pytest.param('[lambent]\ndriver = "chroot"\n', id="unknown-driver"),
        pytest.param('[lambent.credentials.AKID]\nsecret = "s"\n', id="credential-without-account"),
        pytest.param("lambent = 3\n", id="not-a-table"),
        pytest.param("[lambent\n", id="not-toml"),
        pytest.param("[lambent]\nport = 65536\n", id="port-beyond-the-last"),
        pytest.param("[lambent]\nidle_s = nan\n", id="not-a-number-of-seconds"),
        pytest.param("[lambent]\nmax_environments = 0\n", id="no-environment-at-all"),
        pytest.param("[lambent]\nport = " + "[" * 20_000, id="too-deep"),
    ],
)
def test_a_wrong_setting_is_refused_and_the_file_named(tmp_path, text):
    path = settings_file(tmp_path, text)
    with pytest.raises(SettingsError, match=r"lambent\.toml"):
        load_settings({}, file=path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        load_settings({}, file=tmp_path / "absent.toml")


def test_tables_come_through_the_environment_as_json(monkeypatch):
    monkeypatch.setenv("LAMBENT_INTERPRETERS", '{"python3.12": "/opt/py"}')
    assert load_settings({}).interpreters == {"python3.12": "/opt/py"}
    monkeypatch.setenv("LAMBENT_INTERPRETERS", "{broken")
    with pytest.raises(SettingsError, match="LAMBENT_INTERPRETERS"):
        load_settings({})


def test_a_chosen_state_directory_has_its_run_files_inside(tmp_path):
    settings = load_settings({"state_dir": str(tmp_path / "state")})
    assert Path(settings.run_dir) == tmp_path / "state" / "run"


def test_settings_cross_to_the_server_unchanged(tmp_path):
    credentials = {"AKID": {"secret": "s", "account": "123456789012"}}
    settings = load_settings({"state_dir": str(tmp_path), "credentials": credentials, "allowed_hosts": ["a.b"]})
    assert parse_settings(render_settings(settings)) == settings


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "lambent.toml"
    path.write_bytes(b"\x80")
    with pytest.raises(SettingsError, match=r"lambent\.toml"):
        load_settings({}, file=path)


def test_a_file_below_a_directory_of_another_user_is_no_file(monkeypatch, tmp_path):
    stat = os.stat

    def refuse(path, *args, **options):
        if str(path).endswith("lambent.toml"):
            raise PermissionError(13, "Permission denied")
        return stat(path, *args, **options)

    monkeypatch.delenv("LAMBENT_CONFIG", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(os, "stat", refuse)
    assert load_settings({"state_dir": str(tmp_path)}).state_dir == str(tmp_path)
