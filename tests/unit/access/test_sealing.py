"""Secrets open in their own place with their own key, and nowhere else."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from lambent.access.sealing import Sealer, load_or_create_key
from lambent.model.errors import HostError

KEY = bytes(range(32))


@pytest.mark.parametrize("clear", [b"", b"eight by", b"\x00" * 5000])
def test_what_is_sealed_opens_in_its_context(clear):
    sealer = Sealer(KEY)
    sealed = sealer.seal(clear, "spec/function/f")
    assert sealer.open(sealed, "spec/function/f") == clear
    assert clear == b"" or clear not in sealed


def test_no_two_seals_are_alike():
    sealer = Sealer(KEY)
    assert len({sealer.seal(b"same", "c") for _ in range(100)}) == 100


def test_another_context_or_key_opens_nothing():
    sealed = Sealer(KEY).seal(b"secret", "spec/function/f")
    with pytest.raises(HostError, match="spec/function/g"):
        Sealer(KEY).open(sealed, "spec/function/g")
    with pytest.raises(HostError, match="spec/function/f"):
        Sealer(bytes(32)).open(sealed, "spec/function/f")


def test_no_changed_byte_and_no_lost_byte_opens():
    sealer = Sealer(KEY)
    sealed = sealer.seal(b"secret", "c")
    for at in range(len(sealed)):
        for changed in (sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], sealed[:at]):
            with pytest.raises(HostError):
                sealer.open(changed, "c")


def test_a_key_of_another_size_is_refused():
    with pytest.raises(HostError):
        Sealer(b"short")


def test_a_missing_key_is_made_for_its_owner_alone_and_kept(tmp_path):
    path = tmp_path / "keys" / "secrets.key"
    key = load_or_create_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_key(path) == key
    assert os.listdir(path.parent) == ["secrets.key"]


def test_all_who_make_a_key_at_once_get_the_same(tmp_path):
    path = tmp_path / "secrets.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_or_create_key(path), range(40)))
    assert len(keys) == 1
    assert os.listdir(tmp_path) == ["secrets.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_may_read_is_refused_with_the_remedy(tmp_path, mode):
    path = tmp_path / "secrets.key"
    load_or_create_key(path)
    path.chmod(mode)
    with pytest.raises(HostError, match="chmod 600"):
        load_or_create_key(path)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_damaged_key_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "secrets.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(HostError, match="damaged"):
        load_or_create_key(path)
    assert path.read_bytes() == content


def test_a_link_instead_of_a_key_is_refused(tmp_path):
    (tmp_path / "elsewhere").write_bytes(KEY)
    (tmp_path / "elsewhere").chmod(0o600)
    (tmp_path / "secrets.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError):
        load_or_create_key(tmp_path / "secrets.key")


def test_a_directory_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="cannot be used"):
        load_or_create_key(tmp_path / "file" / "secrets.key")
