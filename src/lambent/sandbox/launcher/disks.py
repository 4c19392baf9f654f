"""The /tmp of sandboxes, on disk and never in memory: pooled ext4 images on loop devices, or plain directories.

An image has its size as a hard limit (ENOSPC, as on AWS). A directory is private to its sandbox and has no limit:
the ordinary user's form, which the launcher's capabilities own up to.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import struct
from typing import Final

from lambent.sandbox.launcher import kernel
from lambent.sandbox.launcher.world import DISKS, PLACE

MIB: Final = 1 << 20
POOLED_MIB: Final = 512
_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE, _LOOP_MAJOR = 0x4C82, 0x4C0A, 7
_AUTOCLEAR, _DIRECT_IO = 4, 16
_EXT4_IOC_SHUTDOWN, _NO_FLUSH = 0x8004587D, 2
# It lives as long as its sandbox: no journal. Nobody checks it: no lost+found is needed.
_FEATURES: Final = ("-O", "^has_journal,^resize_inode", "-E", "lazy_itable_init=1,nodiscard")
_MKFS: Final = ("/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4", "/usr/bin/mkfs.ext4")
_IN_MEMORY: Final = ("tmpfs", "ramfs", "devtmpfs")


class Disk:
    """One sandbox's /tmp, mounted at ``path`` in the launcher's world."""

    def __init__(self, path: str, mib: int, directory: str | None) -> None:
        self.path = path
        self.mib = mib
        self._directory = directory

    def discard(self) -> None:
        """Remove it with all that is in it. May take 100 ms: call it in a child."""
        if self._directory is None:
            _shut_down(self.path)
        kernel.unmount(self.path, kernel.UMOUNT_DETACH)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        os.rmdir(self.path)


class Disks:
    """Makes them; keeps some of AWS's default size ready."""

    def __init__(self, folder: str, *, ready: int, owner: int | None, reason: str) -> None:
        self.images = owner is not None
        self._owner = owner
        self.reason = reason
        self._folder = folder
        self._ready = ready if self.images else 0
        self._made = 0
        self._pool: list[Disk] = []
        self._templates: dict[int, str] = {}

    def take(self, mib: int) -> Disk:
        """Return an empty disk of this size."""
        if mib == POOLED_MIB and self._pool:
            return self._pool.pop()
        return self._make(mib)

    def is_short(self) -> bool:
        """Whether the pool is not full."""
        return len(self._pool) < self._ready

    def refill_once(self) -> bool:
        """Make one more; False when there are enough."""
        if not self.is_short():
            return False
        self._pool.append(self._make(POOLED_MIB))
        return True

    def close(self) -> None:
        """Discard what nobody took."""
        while self._pool:
            self._pool.pop().discard()
        for template in self._templates.values():
            os.unlink(template)
        self._templates.clear()

    def _make(self, mib: int) -> Disk:
        self._made += 1
        path = f"{DISKS}/{self._made}"
        os.mkdir(path, 0o755)
        if self.images:
            template = self._templates.get(mib) or self._make_template(mib)
            image = f"{self._folder}/image-{self._made}"
            _copy_sparse(template, image)
            _mount_image(image, path)
            # The loop device keeps it: whatever dies from here on, no file is left.
            os.unlink(image)
            return Disk(path, mib, None)
        directory = f"{self._folder}/disk-{self._made}"
        os.mkdir(directory)
        # Recorded from AWS: /tmp is drwxrwxrwt. The folder above it lets nobody pass.
        os.chmod(directory, 0o1777)  # noqa: S103  as on AWS
        _mount_directory(directory, path)
        return Disk(path, mib, directory)

    def _make_template(self, mib: int) -> str:
        path = f"{self._folder}/template-{mib}"
        spare = 8
        while True:
            usable = _format(path, mib + mib // 64 + spare, mib, self._owner or 0)
            if usable >= mib * MIB:
                self._templates[mib] = path
                return path
            spare += 1 + (mib * MIB - usable) // MIB


def find_disks(folder: str, *, ready: int, owner: int | None) -> Disks:
    """Return the best kind of disks that this host gives to this user, on the file system of ``folder``.

    ``owner``: the kernel user id that sandboxes see as root; None without root, who alone may mount images.
    """
    kind = file_system_of(folder)
    if kind in _IN_MEMORY:
        raise OSError(f"{folder} is a {kind}: /tmp of sandboxes must be on a disk (choose another --disk-dir)")
    reason = ""
    if owner is None:
        reason = "only root may mount an image"
    elif not os.access("/dev/loop-control", os.R_OK | os.W_OK):
        reason = "/dev/loop-control cannot be opened"
    elif not _mkfs():
        reason = "mkfs.ext4 is not installed"
    if not reason:
        disks = Disks(folder, ready=ready, owner=owner, reason="")
        try:
            disks.take(POOLED_MIB).discard()
            return disks
        except OSError as error:
            reason = f"an image cannot be mounted: {error}"
    return Disks(folder, ready=0, owner=None, reason=reason)


def file_system_of(path: str) -> str:
    """Return the type of the file system that ``path`` lies on."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in kernel.read_file("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        if left.split()[2] == number:
            return right.split()[0]
    return "unknown"


def detach_left_over(folder: str) -> None:
    """Unlink images, templates and directories of a dead predecessor; its mounts and devices ended with it."""
    with contextlib.suppress(FileNotFoundError):
        for entry in list(os.scandir(folder)):
            if entry.name.startswith("disk-"):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.name.startswith(("image-", "template-")):
                os.unlink(entry.path)


def _mkfs() -> str:
    return next((path for path in _MKFS if os.access(path, os.X_OK)), "")


def _format(path: str, image_mib: int, usable_mib: int, owner: int) -> int:
    """Make an empty ext4 image; returns how many bytes a user can put into it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.ftruncate(descriptor, image_mib * MIB)
    os.close(descriptor)
    arguments = [_mkfs(), "-q", "-F", "-m0", *_FEATURES, "-N", str(usable_mib * 32), path]
    with open(os.devnull, "r+b") as null:
        actions = [(os.POSIX_SPAWN_DUP2, null.fileno(), number) for number in (0, 1)]
        pid = os.posix_spawn(arguments[0], arguments, {}, file_actions=actions)
    if os.waitpid(pid, 0)[1]:
        raise OSError("mkfs.ext4 failed")
    place = f"{PLACE}/template"
    os.mkdir(place)
    try:
        _mount_image(path, place)
        os.rmdir(f"{place}/lost+found")
        os.chown(place, owner, owner)
        os.chmod(place, 0o1777)  # noqa: S103  as on AWS
        room = os.statvfs(place)
        kernel.unmount(place)
        return room.f_bavail * room.f_frsize
    finally:
        os.rmdir(place)


def _mount_image(image: str, path: str) -> None:
    device, name = _attach_loop(image)
    try:
        kernel.mount(name, path, "ext4", kernel.MS_NOSUID | kernel.MS_NODEV)
    finally:
        os.close(device)


def _attach_loop(image: str) -> tuple[int, str]:
    """A loop device that detaches itself after its last user. Direct I/O: one page cache, not two."""
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    # struct loop_config: descriptor, block size, loop_info64 with the flags at 52
    config = struct.pack("II52xI176x64x", backing, 4096, _AUTOCLEAR | _DIRECT_IO)
    try:
        while True:
            name = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            device = os.open(name, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, config)
                return device, name
            except BlockingIOError:
                raise
            except OSError as error:
                os.close(device)
                if error.errno != 16:  # EBUSY: another process took this number between the two calls
                    raise
    finally:
        os.close(control)
        os.close(backing)


def _mount_directory(directory: str, path: str) -> None:
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        tree = kernel.clone_tree(folder, kernel.WRITABLE)
    finally:
        os.close(folder)
    try:
        kernel.attach(tree, path.encode())
    finally:
        os.close(tree)


def _shut_down(path: str) -> None:
    """As a power cut: what was never written is dropped, or umount would write it all for nobody."""
    folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(folder)
        if os.major(status.st_dev) != _LOOP_MAJOR or not stat.S_ISDIR(status.st_mode):
            raise OSError(f"{path} is no mounted image: shutting it down would hit the host's own disk")
        fcntl.ioctl(folder, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_FLUSH))
    finally:
        os.close(folder)


def _copy_sparse(source: str, target: str) -> None:
    """Copy the blocks that mkfs wrote; the rest stays a hole."""
    old = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    new = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        size, at = os.fstat(old).st_size, 0
        os.ftruncate(new, size)
        with contextlib.suppress(OSError):  # ENXIO: no data after `at`
            while at < size:
                start = os.lseek(old, at, os.SEEK_DATA)
                at = os.lseek(old, start, os.SEEK_HOLE)
                os.pwrite(new, os.pread(old, at - start, start), start)
    finally:
        os.close(old)
        os.close(new)
