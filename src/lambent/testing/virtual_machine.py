"""A Linux of its own for tests of what this host's kernel does not have: Debian's cloud kernel under qemu, without KVM.

The root disk holds this host's Python, the virtual environment and the few programs that sandboxes need; it is built
once for each state of them. The checkout comes on a disk of its own, at its own path. No disk is ever written to.
"""

import base64
import contextlib
import ctypes
import hashlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

NEEDED_PACKAGES: Final = ("qemu-system-x86", "e2fsprogs", "bubblewrap", "uidmap")
NEEDED_TOOLS: Final = ("qemu-system-x86_64", "mkfs.ext4", "bwrap", "newuidmap")
USER: Final = ("lambent-test", 1001)
BOOT_LIMIT_S: Final = 90.0
_KERNEL_PACKAGE: Final = "linux-image-cloud-amd64"
_SEARCH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS: Final = (
    *("bwrap", "newuidmap", "newgidmap", "mkfs.ext4", "setpriv", "unshare", "mount", "umount", "dash", "bash"),
    *("cat", "ls", "sleep", "true", "false", "env", "id", "head", "dd", "prlimit"),
)
# What compiled wheels load without naming it in a way that ldd shows.
_LIBRARIES: Final = ("libgcc_s.so.1", "libstdc++.so.6", "librt.so.1", "libpthread.so.0", "libdl.so.2", "libutil.so.1")
# The disk's driver, in the order of its needs.
_BOOT_MODULES: Final = (
    *("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci"),
    *("virtio_blk", "virtio_console"),
)
_UNUSED_PACKAGES: Final = (
    *("awscli*", "mypy*", "*mypyc*", "pip*", "docutils*", "setuptools*", "grimp*", "importlinter*", "import_linter*"),
    *("boto3*", "s3transfer*", "ruff*"),
)
# Of botocore's models, which are most of it, those that the server reads.
_SERVICES: Final = ("lambda", "logs", "sts")
_FIRST_INIT: Final = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /$module.ko; done
/bin/busybox mount -t ext4 /dev/vda /root
exec /bin/busybox switch_root /root /sbin/first
"""
# The first process: mounts what every Linux has, then runs each line that comes from the host, and tells the result.
_INIT: Final = """#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t cgroup2 group /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=1777 run /run; mount -t tmpfs -o mode=1777 tmp /tmp; ip link set lo up; hostname machine
mkswap /dev/vdc >/dev/null; swapon /dev/vdc; modprobe loop; chmod 666 /dev/fuse 2>/dev/null
mkdir -p {checkout}; mount -t ext4 /dev/vdb {checkout}
exec 3<>/dev/vport0p1
echo ready >&3
while read -r line <&3; do
    echo "$line" | base64 -d >/run/command
    sh /run/command </dev/null >/run/output 2>&1 3>&-
    echo "$? $(stat -c %s /run/output)" >&3
    cat /run/output >&3
done
poweroff -f
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command inside wrote and its exit code."""

    code: int
    output: str


class NotReady(Exception):
    """What is missing on this host, in words."""


def install_tools() -> None:
    """Install what the machine needs where root may; raise NotReady otherwise."""
    missing = [tool for tool in NEEDED_TOOLS if shutil.which(tool, path=_SEARCH) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NotReady(f"{', '.join(missing)} not installed: apt-get install {' '.join(NEEDED_PACKAGES)}")
    for command in ("update", "install -y --no-install-recommends " + " ".join(NEEDED_PACKAGES)):
        _run(["apt-get", "-q", *command.split()], environ={"DEBIAN_FRONTEND": "noninteractive"})


class VirtualMachine:
    """``with VirtualMachine(checkout) as machine: machine.run([...])``. Commands run as root, one after another."""

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout.resolve()
        self._cache = self._checkout / ".cache" / "vm"
        self._stack = contextlib.ExitStack()
        self._channel: socket.socket | None = None
        self._work = Path()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._cache.mkdir(parents=True, exist_ok=True)
            self._work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._cache, prefix="run-")))
            home = self._find_or_build()
            self._copy_checkout()
            process = subprocess.Popen(  # noqa: S603  our own fixed command
                self._command(home), stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            self._channel = stack.enter_context(socket.socket(socket.AF_UNIX))
            self._greet(process)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, argv: Sequence[str], *, limit_s: float) -> Result:
        """Run a command in the checkout; TimeoutError after ``limit_s``, after which the machine is of no more use."""
        if self._channel is None:
            raise RuntimeError("not started")
        script = f"cd {shlex.quote(str(self._checkout))}\n{shlex.join(argv)}\n"
        self._channel.settimeout(limit_s)
        self._channel.sendall(base64.b64encode(script.encode()) + b"\n")
        code, size = self._read_line().split()
        output = b""
        while len(output) < int(size):
            output += self._receive(int(size) - len(output))
        return Result(int(code), output.decode(errors="replace"))

    def console(self) -> str:
        """Return the end of the kernel's own words."""
        with contextlib.suppress(OSError):
            return (self._work / "console").read_text(errors="replace")[-3000:]
        return ""

    def _greet(self, process: subprocess.Popen[bytes]) -> None:
        assert self._channel is not None  # noqa: S101
        give_up_at = time.monotonic() + BOOT_LIMIT_S
        self._channel.settimeout(BOOT_LIMIT_S)
        while True:
            try:
                self._channel.connect(str(self._work / "channel"))
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > give_up_at:
                    raise
                time.sleep(0.02)
        try:
            if self._read_line() != "ready":
                raise OSError("the machine speaks in tongues")
        except OSError as error:
            raise OSError(f"the machine did not come up ({error}); its console:\n{self.console()}") from error

    def _receive(self, size: int) -> bytes:
        assert self._channel is not None  # noqa: S101
        part = self._channel.recv(size)
        if not part:
            raise OSError(f"the machine is gone; its console:\n{self.console()}")
        return part

    def _read_line(self) -> str:
        line = b""
        while not line.endswith(b"\n"):
            line += self._receive(1)
        return line.decode().strip()

    def _command(self, home: Path) -> list[str]:
        swap = self._work / "swap"
        with swap.open("wb") as file:
            file.truncate(256 << 20)
        disks = (f"{home}/root.ext4,snapshot=on", f"{self._work}/checkout.ext4,snapshot=on", str(swap))
        command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536"]
        command += ["-nodefaults", "-no-reboot", "-display", "none", "-device", "virtio-serial-pci"]
        command += ["-kernel", f"{home}/kernel", "-initrd", f"{home}/initrd"]
        command += ["-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"]
        command += ["-chardev", f"file,id=console,path={self._work}/console", "-serial", "chardev:console"]
        command += ["-chardev", f"socket,id=channel,path={self._work}/channel,server=on,wait=off"]
        command += ["-device", "virtserialport,chardev=channel,nr=1"]
        for disk in disks:
            command += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
        return command

    def _copy_checkout(self) -> None:
        tree = self._work / "checkout"
        tree.mkdir()
        for name in ("src", "tests"):
            shutil.copytree(self._checkout / name, tree / name, symlinks=True)
        shutil.copy2(self._checkout / "pyproject.toml", tree)
        # The disk is mounted over the place where the root disk has the environment: a link leads back to it.
        (tree / ".venv").symlink_to("/opt/environment")
        _make_disk(tree, self._work / "checkout.ext4", spare_mib=64)
        shutil.rmtree(tree)

    def _find_or_build(self) -> Path:
        listing = _run(["apt-cache", "depends", "--important", _KERNEL_PACKAGE])
        found = re.search(r"Depends: (linux-image-\S+)", listing)
        if found is None:
            raise NotReady(f"{_KERNEL_PACKAGE} is in no package source of this host: it needs Debian's")
        packages = sorted(entry.name for entry in _site_packages().iterdir())
        programs = [(str(path), path.stat().st_mtime) for path in _programs()]
        state = repr((found[1], packages, programs, _FIRST_INIT, _INIT, sys.version, self._checkout, _LIBRARIES))
        state += repr((_UNUSED_PACKAGES, _SERVICES))
        home = self._cache / hashlib.sha256(state.encode()).hexdigest()[:16]
        if not home.exists():
            building = self._work / "building"
            building.mkdir()
            self._build(building, found[1])
            for old in self._cache.iterdir():  # of another state; a run that uses one has it open
                if re.fullmatch(r"[0-9a-f]{16}", old.name):
                    shutil.rmtree(old, ignore_errors=True)
            building.rename(home)
        return home

    def _build(self, home: Path, kernel: str) -> None:
        unpacked = self._work / "unpacked"
        download = self._work / "download"
        download.mkdir()
        _run(["apt-get", "-q", "download", "busybox-static", kernel], cwd=download)
        for package in download.glob("*.deb"):
            _run(["dpkg-deb", "-x", str(package), str(unpacked)])
        version = kernel.removeprefix("linux-image-")
        busybox = unpacked / "bin/busybox"
        shutil.copy2(unpacked / f"boot/vmlinuz-{version}", home / "kernel")
        self._build_initrd(home / "initrd", busybox, unpacked / f"lib/modules/{version}")
        tree = self._work / "tree"
        self._fill_root(tree, busybox)
        modules = tree / f"usr/lib/modules/{version}"
        shutil.copytree(unpacked / f"lib/modules/{version}", modules)
        _run([str(busybox), "depmod", "-b", str(tree), version])
        _make_disk(tree, home / "root.ext4", spare_mib=512)
        for folder in (tree, unpacked, download):
            shutil.rmtree(folder)

    def _build_initrd(self, target: Path, busybox: Path, modules: Path) -> None:
        tree = self._work / "initrd"
        for folder in ("bin", "dev", "root"):
            (tree / folder).mkdir(parents=True)
        shutil.copy2(busybox, tree / "bin/busybox")
        for module in _BOOT_MODULES:
            shutil.copy2(next(modules.rglob(f"{module}.ko")), tree)
        _write(tree / "init", _FIRST_INIT.format(modules=" ".join(_BOOT_MODULES)), 0o755)
        archive = f"find . | {shlex.quote(str(busybox))} cpio -o -H newc | gzip -1 >{shlex.quote(str(target))}"
        _run(["sh", "-c", archive], cwd=tree)

    def _fill_root(self, tree: Path, busybox: Path) -> None:
        for folder in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "dev", "proc", "sys", "tmp", "run", "etc"):
            (tree / folder).mkdir(parents=True)
        for folder in ("root", "var/tmp", "var/lib", "mnt", "opt", "home", str(self._checkout).lstrip("/")):
            (tree / folder).mkdir(parents=True)
        (tree / "var/tmp").chmod(0o1777)
        for name in ("bin", "sbin", "lib", "lib64"):
            (tree / name).symlink_to(f"usr/{name}")
        for program in _programs():
            _copy_binary(tree, program)
        (tree / "usr/bin/sh").symlink_to("dash")
        _copy_python(tree)
        shutil.copy2(busybox, tree / "usr/bin/busybox")
        there = {path.name for folder in ("bin", "sbin") for path in (tree / "usr" / folder).iterdir()}
        for applet in set(_run([str(busybox), "--list"]).split()) - there:
            (tree / "usr/bin" / applet).symlink_to("busybox")
        _write(tree / "usr/sbin/first", _INIT.format(checkout=shlex.quote(str(self._checkout))), 0o755)
        name, number = USER
        _write(tree / "etc/hosts", "127.0.0.1 localhost\n")
        _write(
            tree / "etc/passwd",
            f"root:x:0:0::/root:/bin/sh\n{name}:x:{number}:{number}::/tmp:/bin/sh\n"
            "lambent:x:998:998::/nonexistent:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/sh\n",
        )
        _write(tree / "etc/group", f"root:x:0:\n{name}:x:{number}:\nlambent:x:998:\nnogroup:x:65534:\n")
        for table in ("subuid", "subgid"):
            _write(tree / "etc" / table, f"{name}:100000:65536\n")


def _copy_python(tree: Path) -> None:
    """This interpreter's base with its library, and the environment's packages without what no test inside imports."""
    binary = Path(os.path.realpath(sys.executable))
    _copy_binary(tree, binary)
    library = Path(os.__file__).parent
    unwanted = shutil.ignore_patterns("test", "idlelib", "ensurepip", "tkinter", "lib2to3", "config-*", "dist-packages")
    shutil.copytree(library, tree / str(library).lstrip("/"), symlinks=True, ignore=unwanted)
    environment = tree / "opt/environment"
    (environment / "bin").mkdir(parents=True)
    for name in ("python", "python3"):
        (environment / "bin" / name).symlink_to(binary)
        link = tree / "usr/bin" / name
        if not link.exists() and not link.is_symlink():
            link.symlink_to(binary)
    shutil.copy2(Path(sys.prefix) / "pyvenv.cfg", environment)
    packages = environment / _site_packages().relative_to(sys.prefix)
    shutil.copytree(_site_packages(), packages, symlinks=True, ignore=_find_unused)
    for folder in (tree / str(library).lstrip("/"), packages):
        for shared in folder.rglob("*.so*"):
            _copy_libraries(tree, shared)
    system = Path("/usr/lib/x86_64-linux-gnu")
    for name in _LIBRARIES:
        if (system / name).exists():
            _copy_binary(tree, system / name)


def _find_unused(folder: str, names: list[str]) -> set[str]:
    unused = shutil.ignore_patterns(*_UNUSED_PACKAGES)(folder, names)
    if folder.endswith("botocore/data"):
        unused |= {name for name in names if name not in _SERVICES and not name.endswith(".json")}
    return unused


def _site_packages() -> Path:
    major, minor = sys.version_info[:2]
    return Path(sys.prefix) / f"lib/python{major}.{minor}/site-packages"


def _programs() -> list[Path]:
    found = [shutil.which(name, path=_SEARCH) for name in _PROGRAMS]
    return [Path(path) for path in found if path is not None]


def _copy_binary(tree: Path, path: Path) -> None:
    target = tree / str(path).lstrip("/")
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target)
    _copy_libraries(tree, path)


def _copy_libraries(tree: Path, binary: Path) -> None:
    done = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    for library in re.findall(r"(?:=> |^\s+)(/\S+)", done.stdout, re.MULTILINE):
        if not library.startswith(str(Path(sys.prefix))):
            _copy_binary(tree, Path(library))


def _make_disk(tree: Path, image: Path, *, spare_mib: int) -> None:
    """Write a directory as an ext4 image, without mounting anything."""
    sizes = list(_sizes(tree))
    mib = sum(sizes) * 5 // 4 // (1 << 20) + spare_mib
    command = ["mkfs.ext4", "-q", "-F", "-m0", "-O", "^has_journal", "-E", "root_owner=0:0"]
    _run([*command, "-N", str(len(sizes) + 8192), "-d", str(tree), str(image), f"{mib}M"])


def _sizes(tree: Path) -> Iterator[int]:
    for folder, folders, files in os.walk(tree):
        for name in (*folders, *files):
            yield os.lstat(os.path.join(folder, name)).st_blocks * 512 + 512


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)


def _run(command: Iterable[str], *, cwd: Path | None = None, environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(  # noqa: S603  our own fixed commands
        [*command],
        cwd=cwd,
        env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{_SEARCH}", **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotReady(f"{shlex.join(done.args)} failed: {done.stdout[-1000:]}")
    return done.stdout


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
