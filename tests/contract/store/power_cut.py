"""Cut the power under a loaded store: an ext4 on a loop device is shut down without flushing, then mounted again.

Usage, as root: power_cut.py IMAGE_FOLDER KINDS SYNCHRONOUS ROUNDS; prints one JSON object. The mounts live in a mount
namespace of this process, and end with it. Only a loop device is ever shut down.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
IMAGE_MIB = 512
ENOUGH_LINES, ENOUGH_S = 4000, 2.5
OLD_S = 1.5  # entries acknowledged so long before the cut are on disk even when nobody asked for it

CLONE_NEWNS = 0x20000
MS_NOSUID_NODEV, MS_REC_PRIVATE = 2 | 4, 0x44000
LOOP_CTL_GET_FREE, LOOP_CONFIGURE, LOOP_MAJOR, LO_FLAGS_AUTOCLEAR = 0x4C82, 0x4C0A, 7, 4
EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2

libc = ctypes.CDLL(None, use_errno=True)


def must(result, what):
    """Raise for a failed call."""
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def attach(image):
    """Return a descriptor and the name of a loop device on ``image``, which goes when its last user goes."""
    backing, control = os.open(image, os.O_RDWR), os.open("/dev/loop-control", os.O_RDWR)
    config = struct.pack("II52xI176x64x", backing, 4096, LO_FLAGS_AUTOCLEAR)
    try:
        for _ in range(20):
            name = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
            device = os.open(name, os.O_RDWR)
            try:
                fcntl.ioctl(device, LOOP_CONFIGURE, config)
            except OSError:  # another process was faster
                os.close(device)
            else:
                return device, name
    finally:
        os.close(control)
        os.close(backing)
    raise OSError("no loop device is free")


@contextlib.contextmanager
def mounted(image, folder):
    """Mount the image for a while; mounting replays its journal."""
    device, name = attach(image)
    try:
        must(libc.mount(name.encode(), os.fsencode(folder), b"ext4", ctypes.c_ulong(MS_NOSUID_NODEV), b""), "mount")
    finally:
        os.close(device)
    try:
        yield
    finally:
        must(libc.umount2(os.fsencode(folder), 0), "umount")


def shut_down(folder):
    """Throw away all that was not synced, and stop the file system. Of a loop device only, never of a real disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if os.major(os.fstat(descriptor).st_dev) != LOOP_MAJOR:
            raise SystemExit(f"{folder} is not on a loop device")
        fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    finally:
        os.close(descriptor)


def cut(folder, tag, kinds, synchronous):
    """Return what was acknowledged until the power went, with the seconds it then was old."""
    command = [sys.executable, str(HERE / "load.py"), str(folder / "state"), tag, kinds, synchronous]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    seen, enough, begun_s = [], threading.Event(), time.monotonic()

    def read():
        for line in child.stdout:
            seen.append((line, time.monotonic()))
            if len(seen) > ENOUGH_LINES and time.monotonic() - begun_s > ENOUGH_S:
                enough.set()
        enough.set()

    reader = threading.Thread(target=read)
    reader.start()
    enough.wait(60)
    shut_down(folder)
    cut_s = time.monotonic()
    child.kill()
    child.wait()
    reader.join()
    lines = [(line.decode().strip(), cut_s - at_s) for line, at_s in seen if line.endswith(b"\n")]
    return {name: age_s for name, age_s in lines if name[1:2] == " " and name[0] in kinds}


def main(work, kinds, synchronous, rounds):
    """Cut the power some times over one file system; print what was acknowledged and what of it is gone."""
    image, folder = work / "disk.ext4", work / "mounted"
    folder.mkdir()
    must(libc.unshare(CLONE_NEWNS), "unshare")
    must(libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC_PRIVATE), None), "private mounts")
    with image.open("wb") as file:
        file.truncate(IMAGE_MIB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m0", image], check=True, stdout=subprocess.DEVNULL)
    acknowledged, found = {}, set()
    for number in range(rounds):
        with mounted(image, folder):
            acknowledged |= cut(folder, str(number), kinds, synchronous)
        with mounted(image, folder):
            output = subprocess.check_output([sys.executable, HERE / "present.py", folder / "state"], text=True)
            found = set(output.splitlines())
    lost = acknowledged.keys() - found
    result = {
        "acknowledged": len(acknowledged),
        "lost": len(lost),
        "lost_old": sum(acknowledged[name] > OLD_S for name in lost),
        "old": sum(age_s > OLD_S for age_s in acknowledged.values()),
        "kinds": "".join(sorted({name[0] for name in acknowledged})),
        "integrity": next(line for line in found if line.startswith("integrity")),
    }
    sys.stdout.write(f"{json.dumps(result)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
