"""``lambent setup``: what a host needs beside the package. Each step knows whether it is done, and how it is undone.

A step that is done is passed over, so that running it again changes nothing. What was added to files of the host
(ranges of ids, a user) is noted in ``/etc/lambent/setup.json``, and only that is taken away again.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import click

from lambent.cli.client import CommandFailed
from lambent.cli.output import note
from lambent.cli.setup_files import APPARMOR, DELEGATION, MARK, system_unit, user_unit
from lambent.sandbox.supervisor import PROFILE

RANGE_IDS: Final = 65_536
FIRST_ID: Final = 524_288  # above what useradd hands out by itself on a host of a few users
RECORD: Final = "etc/lambent/setup.json"


@dataclass(frozen=True, slots=True)
class Place:
    """Which host: the directory that is its root, and whether that is the running one."""

    root: Path

    @property
    def is_live(self) -> bool:
        """Whether commands that act on the running system make sense."""
        return self.root == Path("/")

    def at(self, path: str) -> Path:
        """Return the host's ``path``, written without the leading slash."""
        return self.root / path


class Step(Protocol):
    """One change. ``words`` is exactly what ``do`` will do."""

    def is_done(self) -> bool:
        """Whether there is nothing to do."""
        ...

    def words(self) -> str:
        """What will be done, in full."""
        ...

    def do(self) -> None:
        """Do it."""
        ...

    def undo(self) -> str | None:
        """Take it away if it is ours, and say so; None if there was nothing of ours."""
        ...


@dataclass(frozen=True, slots=True)
class WriteFile:
    """A file that is ours alone."""

    path: Path
    text: str

    def is_done(self) -> bool:
        """Whether the file says this already."""
        return _read(self.path) == self.text

    def words(self) -> str:
        """The path and the whole text."""
        return f"write {self.path}:\n" + "".join(f"    {line}\n" for line in self.text.splitlines())

    def do(self) -> None:
        """Write it whole or not at all."""
        if (there := _read(self.path)) and not there.startswith(MARK):
            raise CommandFailed(f"{self.path} is there and not ours; move it away first")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.new")
        partial.write_text(self.text)
        partial.chmod(0o644)
        partial.replace(self.path)

    def undo(self) -> str | None:
        """Remove it, unless somebody made it his own."""
        if not _read(self.path).startswith(MARK):
            return None
        self.path.unlink()
        return f"removed {self.path}"


@dataclass(frozen=True, slots=True)
class AddRange:
    """A range of subordinate ids for a user, in /etc/subuid or /etc/subgid."""

    place: Place
    table: str
    user: str

    def is_done(self) -> bool:
        """Whether the user has a range, whoever gave it."""
        return any(name == self.user and count > 0 for name, _, count in self._ranges())

    def words(self) -> str:
        """The line that is appended."""
        return f"append to {self.place.at(self.table)}:\n    {self._line()}\n"

    def do(self) -> None:
        """Append it, and note that it is ours."""
        line, path = self._line(), self.place.at(self.table)
        text = _read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n")
        _note_down(self.place, self.table, line)

    def undo(self) -> str | None:
        """Remove the lines that are noted as ours."""
        path, ours = self.place.at(self.table), _noted(self.place, self.table)
        lines = _read(path).splitlines()
        if not ours & set(lines):
            return None
        path.write_text("".join(f"{line}\n" for line in lines if line not in ours))
        return f"removed {', '.join(sorted(ours))} from {path}"

    def _line(self) -> str:
        first = max([FIRST_ID, *(start + count for _, start, count in self._ranges())])
        return f"{self.user}:{first}:{RANGE_IDS}"

    def _ranges(self) -> list[tuple[str, int, int]]:
        lines = [line.split(":") for line in _read(self.place.at(self.table)).splitlines()]
        return [(line[0], int(line[1]), int(line[2])) for line in lines if len(line) == 3 and line[1].isdigit()]


@dataclass(frozen=True, slots=True)
class AddUser:
    """The system user that root's server runs as."""

    place: Place
    name: str

    def is_done(self) -> bool:
        """Whether there is such a user."""
        return any(line.startswith(f"{self.name}:") for line in _read(self.place.at("etc/passwd")).splitlines())

    def words(self) -> str:
        """The command."""
        return f"run {' '.join(self._command())}\n"

    def do(self) -> None:
        """Make the user, and note that it is ours."""
        _run(self._command())
        _note_down(self.place, "user", self.name)

    def undo(self) -> str | None:
        """Remove the user if we made it; its files stay."""
        if self.name not in _noted(self.place, "user") or not self.is_done():
            return None
        _run(["userdel", *self._prefix(), self.name])
        return f"removed the user {self.name}"

    def _command(self) -> list[str]:
        options = ["--system", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        return ["useradd", *self._prefix(), *options, self.name]

    def _prefix(self) -> list[str]:
        return [] if self.place.is_live else ["--prefix", str(self.place.root)]


def plan(place: Place, server_user: str, users: Sequence[str], command: str) -> list[Step]:
    """Return every step for root; ``users`` are those who want servers of their own."""
    steps: list[Step] = [
        AddUser(place, server_user),
        WriteFile(place.at("etc/systemd/system/lambent.service"), system_unit(command)),
        WriteFile(place.at("etc/systemd/user/lambent.service"), user_unit(command)),
        WriteFile(place.at("etc/systemd/system/user@.service.d/lambent.conf"), DELEGATION),
    ]
    if place.at("etc/apparmor.d/abi/4.0").exists():  # userns is a word of this version of the language
        steps.append(WriteFile(place.at(f"etc/apparmor.d/{PROFILE}"), APPARMOR))
    return steps + [AddRange(place, table, user) for user in users for table in ("etc/subuid", "etc/subgid")]


def plan_for_user(home: Path, command: str) -> list[Step]:
    """Return what an ordinary user can do for himself."""
    return [WriteFile(home / ".config/systemd/user/lambent.service", user_unit(command))]


def setup(*, root: str, users: Sequence[str], server_user: str, is_dry: bool, is_undo: bool) -> None:
    """Carry out, print or undo the plan. CommandFailed, in words, where that needs root."""
    place, command = Place(Path(root).resolve()), find_command()
    if place.is_live and os.geteuid():
        _setup_for_user(command, is_dry=is_dry, is_undo=is_undo)
        return
    if place.is_live and not users and (invoker := os.environ.get("SUDO_USER", "root")) != "root":
        users = [invoker]
    for user in users:
        _require_user(place, user)
    steps = plan(place, server_user, users, command)
    if is_undo:
        undo(steps, place, is_dry=is_dry)
    else:
        carry_out(steps, is_dry=is_dry)
    if place.is_live and not is_dry:
        _reload(is_undo=is_undo)


def _setup_for_user(command: str, *, is_dry: bool, is_undo: bool) -> None:
    steps, name = plan_for_user(Path.home(), command), pwd.getpwuid(os.geteuid()).pw_name
    if is_undo:
        for said in filter(None, (step.undo() for step in steps if not is_dry)):
            note(said)
        return
    carry_out(steps, is_dry=is_dry)
    raise CommandFailed(
        "the rest needs root: the system's units, delegation of control groups, AppArmor's profile, ranges of ids;"
        f" run `sudo {command} setup --user {name}`, or see it with --dry-run"
    )


def carry_out(steps: Iterable[Step], *, is_dry: bool) -> None:
    """Do each step that is not done; or only print it."""
    waiting = [step for step in steps if not step.is_done()]
    for step in waiting:
        if is_dry:
            click.echo(step.words(), nl=False)
            continue
        try:
            step.do()
        except OSError as error:
            raise CommandFailed(f"{step.words().splitlines()[0]} {error.strerror}") from error
        note(step.words().splitlines()[0].rstrip(":"))
    if not waiting:
        note("nothing to do: everything is in place")


def undo(steps: Iterable[Step], place: Place, *, is_dry: bool) -> None:
    """Take away what is ours."""
    if is_dry:
        for step in steps:
            if step.is_done():
                click.echo(f"undo, where it is ours: {step.words()}", nl=False)
        return
    users = {line.partition(":")[0] for table in ("etc/subuid", "etc/subgid") for line in _noted(place, table)}
    ranges = [AddRange(place, table, user) for user in users for table in ("etc/subuid", "etc/subgid")]
    for said in filter(None, (step.undo() for step in [*steps, *ranges])):
        note(said)
    record = place.at(RECORD)
    record.unlink(missing_ok=True)
    if record.parent.is_dir() and not any(record.parent.iterdir()):
        record.parent.rmdir()


def find_command() -> str:
    """Return the absolute path of ``lambent`` as units have to name it."""
    own = Path(sys.executable).with_name("lambent")
    if own.exists():
        return str(own)
    found = shutil.which("lambent")
    if found is None:
        raise CommandFailed("there is no `lambent` on the PATH for the units to start")
    return str(Path(found).absolute())


def _require_user(place: Place, name: str) -> None:
    known = [line.split(":")[0] for line in _read(place.at("etc/passwd")).splitlines()]
    if name not in known:
        raise CommandFailed(f"there is no user {name} on this host")


def _reload(*, is_undo: bool) -> None:
    """Let who runs take notice; hosts without systemd or AppArmor have nobody to tell."""
    if Path("/run/systemd/system").is_dir():
        _run(["systemctl", "daemon-reload"])
        note(
            "" if is_undo else "start it with `systemctl enable --now lambent`, or as a user with `systemctl --user …`"
        )
    profile = Path("/etc/apparmor.d") / PROFILE
    if profile.exists() and shutil.which("apparmor_parser"):
        _run(["apparmor_parser", "--replace", str(profile)])


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  (fixed words)
    except OSError as error:
        raise CommandFailed(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()}")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _noted(place: Place, kind: str) -> set[str]:
    return set(json.loads(_read(place.at(RECORD)) or "{}").get(kind, []))


def _note_down(place: Place, kind: str, entry: str) -> None:
    path = place.at(RECORD)
    noted = json.loads(_read(path) or "{}")
    noted[kind] = sorted({*noted.get(kind, []), entry})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(noted, indent=2) + "\n")
