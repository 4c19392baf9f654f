"""Secrets at rest: authenticated encryption with one key that lives outside the database."""

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lambent.model.errors import HostError

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_FORM: Final = b"\x01"  # AES-256-GCM, random nonce; another form gets another first byte


class Sealer:
    """Seals byte strings to a context, so that what was sealed for one place opens in no other."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise HostError(f"a sealing key has {KEY_BYTES} bytes, not {len(key)}")
        self._cipher = AESGCM(key)

    def seal(self, clear: bytes, context: str) -> bytes:
        """Return ``clear`` encrypted and bound to ``context``; every call gives other bytes."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _FORM + nonce + self._cipher.encrypt(nonce, clear, _FORM + context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Return what was sealed; HostError for another key, another context, or a changed byte."""
        if sealed[:1] != _FORM or len(sealed) < 1 + _NONCE_BYTES + _TAG_BYTES:
            raise HostError(f"the sealed value of {context} is damaged, or of a form this version does not know")
        nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, rest, _FORM + context.encode())
        except InvalidTag:
            raise HostError(f"the sealed value of {context} does not open: changed, moved, or of another key") from None


def load_or_create_key(path: Path) -> bytes:
    """Return the key in ``path``; a missing one is made: random, mode 0600, whole and on disk, or not there at all.

    Several processes may call this at once: all get the same key. HostError if the file is damaged or others may
    read it. Blocks on the disk.
    """
    try:
        if not path.exists():
            _create_key(path)
        return _read_key(path)
    except OSError as error:
        raise HostError(f"the key file {path} cannot be used: {error.strerror}") from error


def _read_key(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        key = os.read(descriptor, KEY_BYTES + 1)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
        raise HostError(f"the key file {path} is open to others; make it yours alone: chmod 600 {path}")
    if len(key) != KEY_BYTES:
        raise HostError(f"the key file {path} is damaged: it has to have {KEY_BYTES} bytes; restore it from a backup")
    return key


def _create_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.write(descriptor, secrets.token_bytes(KEY_BYTES))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        # A link takes the name only if it is free: of two creators the second keeps the first one's key.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
