"""Every refused family is really called, in a bubblewrap sandbox with the filter; and without that family.

As root the sandbox keeps root's capabilities, so that nothing but the filter refuses. Where the kernel refuses the call
by itself (a part that it lacks, a user without rights), another errno in the table shows whose refusal it was.
"""

import dataclasses
import functools
import json
import os
import platform
import subprocess
from pathlib import Path

import pytest

from lambent.sandbox.launcher.seccomp import bubblewrap_arguments, compile_filter, open_filter
from lambent.sandbox.launcher.syscalls import FAMILIES, MACHINES, Action

MACHINE = platform.machine()
NUMBERS = MACHINES[MACHINE].numbers()
SANDBOX = (
    *("/usr/bin/bwrap", "--die-with-parent", "--new-session", "--ro-bind", "/", "/", "--dev", "/dev"),
    *("--tmpfs", "/tmp", "--unshare-pid", "--proc", "/proc", "--unshare-uts", "--unshare-ipc", "--unshare-net"),
    *(() if os.geteuid() == 0 else ("--unshare-user", "--uid", "0")),
    *("--cap-add", "ALL", "--chdir", "/tmp"),
)
# Reads [numbers, {name: expression}], evaluates each expression in a process of its own, writes {name: outcome}.
PROBE = r"""
import ctypes, errno, json, mmap, os, pty, signal, socket, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
numbers, attempts = json.load(sys.stdin)
HIGH = 1 << 32

def call(name, *arguments):
    words = [ctypes.c_long(a if a < 1 << 63 else a - (1 << 64)) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(name if isinstance(name, int) else numbers[name]), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result

def cloned(flags, place=0):
    pid = call("clone", flags | signal.SIGCHLD, 0, place, 0, 0)
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)

def cloned3(flags):
    pid = call("clone3", struct.pack("11Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0), 64)
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)

def machine_code(code):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    return function()

def outcome(expression):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            eval(expression)
            word = "ok"
        except OSError as error:
            word = errno.errorcode.get(error.errno, str(error.errno))
        os.write(writer, word.encode())
        os._exit(0)
    os.close(writer)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    word = os.read(reader, 99).decode()
    os.close(reader)
    return word or (signal.Signals(-status).name if status < 0 else f"exit {status}")

print(json.dumps({name: outcome(expression) for name, expression in attempts.items()}))
"""
PERF_CLOCK = 'struct.pack("IIQQQQQ", 1, 112, 0, 0, 0, 0, 0).ljust(112, bytes(1))'  # a software clock of this process
SELF = "os.pidfd_open(os.getpid())"
OWN_BYTES = 'buffer := ctypes.create_string_buffer(16), struct.pack("PL", ctypes.addressof(buffer), 8)'
# By family: harmless arguments, so that where no one refuses nothing happens to the host.
ATTACKS = {
    "mounts": {
        "mount": 'call("mount", b"none", b"/tmp", b"tmpfs", 0, None)',
        "remount": 'call("mount", None, b"/usr", None, 32 | 4096, None)',
        "umount2": 'call("umount2", b"/tmp", 2)',
        "pivot_root": 'call("pivot_root", b"/none", b"/none")',
        "fsopen": 'call("fsopen", b"tmpfs", 0)',
        "fsconfig": 'call("fsconfig", -1, 0, None, None, 0)',
        "fsmount": 'call("fsmount", -1, 0, 0)',
        "fspick": 'call("fspick", -100, b"/tmp", 0)',
        "open_tree": 'call("open_tree", -100, b"/usr", 1)',
        "open_tree_attr": 'call("open_tree_attr", -100, b"/usr", 1, None, 0)',
        "move_mount": 'call("move_mount", -1, b"", -1, b"", 0)',
        "mount_setattr": 'call("mount_setattr", -100, b"/usr", 0, struct.pack("4Q", 0, 1, 0, 0), 32)',
    },
    "root change": {"chroot": 'call("chroot", b"/usr")'},
    "joining namespaces": {"setns": 'call("setns", os.open("/proc/self/ns/uts", os.O_RDONLY), 0)'},
    "new namespaces by unshare": {
        **{
            f"unshare {flag:#x}": f'call("unshare", {flag})'
            for flag in (0x80, *(1 << bit for bit in (17, *range(25, 31))))
        },
        "unshare among others": 'call("unshare", 0x10000400)',
    },
    "new namespaces by clone": {
        **{f"clone {flag:#x}": f"cloned({flag})" for flag in (1 << bit for bit in (17, *range(25, 31)))},
        "clone with high bits": "cloned(0x10000000 | HIGH)",
        "clone with others": "cloned(0x10000000 | 0x800000)",
    },
    "clone3": {"clone3": "cloned3(0)", "clone3 of a namespace": "cloned3(0x10000000)"},
    "ptrace": {
        "traceme": 'call("ptrace", 0, 0, 0, 0)',
        "seize": 'call("ptrace", 0x4206, os.getppid(), 0, 0)',
    },
    "memory of other processes": {
        "process_vm_readv": f'call("process_vm_readv", os.getpid(), ({OWN_BYTES})[1], 1, buffer, 0, 0)',
        "process_vm_writev": 'call("process_vm_writev", os.getpid(), None, 0, None, 0, 0)',
        "kcmp": 'call("kcmp", os.getpid(), os.getpid(), 0, 0, 0)',
        "pidfd_getfd": f'call("pidfd_getfd", {SELF}, 0, 0)',
    },
    "keyrings": {
        "add_key": 'call("add_key", b"user", b"probe", b"x", 1, -2)',
        "request_key": 'call("request_key", b"user", b"probe", None, 0)',
        "keyctl": 'call("keyctl", 0, -2, 1)',
    },
    "kernel programs": {"bpf": 'call("bpf", 0, struct.pack("5I", 2, 4, 4, 1, 0), 20)'},
    "performance events": {"perf_event_open": f'call("perf_event_open", {PERF_CLOCK}, 0, -1, -1, 0)'},
    "page faults by hand": {"userfaultfd": 'call("userfaultfd", 1)'},
    "io_uring": {
        "setup": 'call("io_uring_setup", 1, bytes(120))',
        "enter": 'call("io_uring_enter", -1, 0, 0, 0, None, 0)',
        "register": 'call("io_uring_register", -1, 0, None, 0)',
    },
    "another kernel": {
        "kexec_load": 'call("kexec_load", 0, 1 << 20, None, 0)',
        "kexec_file_load": 'call("kexec_file_load", -1, -1, 0, None, 0)',
        "init_module": 'call("init_module", None, 0, b"")',
        "finit_module": 'call("finit_module", -1, b"", 0)',
        "delete_module": 'call("delete_module", b"no such module", 0)',
        "reboot": 'call("reboot", 0, 0, 0, None)',
    },
    "the host's resources": {
        "swapon": 'call("swapon", b"/none", 0)',
        "swapoff": 'call("swapoff", b"/none")',
        "quotactl": 'call("quotactl", 0x800000 << 8, b"/none", 0, None)',
        "quotactl_fd": 'call("quotactl_fd", -1, 0, 0, None)',
        "acct": 'call("acct", b"/none/none")',
        "vhangup": 'call("vhangup")',
    },
    "clocks": {
        "settimeofday": 'call("settimeofday", None, None)',
        "clock_settime": 'call("clock_settime", 0, None)',
        "adjtimex": 'call("adjtimex", bytes(208))',
        "clock_adjtime": 'call("clock_adjtime", 0, bytes(208))',
    },
    "names of the host": {
        "sethostname": 'call("sethostname", b"probe", 5)',
        "setdomainname": 'call("setdomainname", b"probe", 5)',
    },
    "the kernel's log": {"syslog": 'call("syslog", 10, None, 0)'},
    "ports of the machine": {"iopl": 'call("iopl", 3)', "ioperm": 'call("ioperm", 0x80, 1, 1)'},
    "personalities": {
        "no randomisation": 'call("personality", 0x40000)',
        "read implies exec": 'call("personality", 0x400000)',
        "with high bits": 'call("personality", 0x40000 | HIGH)',
    },
    "files by handle": {
        "name_to_handle_at": 'call("name_to_handle_at", -100, b"/tmp", bytes(8), bytes(4), 0)',
        "open_by_handle_at": 'call("open_by_handle_at", -100, struct.pack("Ii8s", 8, 1, bytes(8)), 0)',
    },
    "watching whole file systems": {
        "fanotify_init": 'call("fanotify_init", 0, 0)',
        "fanotify_mark": 'call("fanotify_mark", -1, 1, 1, -100, None)',
    },
    "relics": {
        "sysfs": 'call("sysfs", 3)',
        "ustat": 'call("ustat", os.stat("/tmp").st_dev, ctypes.create_string_buffer(64))',
        "modify_ldt": 'call("modify_ldt", 0, ctypes.create_string_buffer(64), 64)',
        "lookup_dcookie": 'call("lookup_dcookie", 0, None, 0)',
        "nfsservctl": 'call("nfsservctl", 0, None, None)',
    },
    "devices by mknod": {
        "character": 'call("mknod", b"/tmp/null", 0o20666, 0x103)',
        "block": 'call("mknod", b"/tmp/disk", 0o60666, 0x700)',
        "with bits above the mode": 'call("mknod", b"/tmp/null", 0o20666 | 0x10000 | HIGH, 0x103)',
    },
    "devices by mknodat": {
        "character": 'call("mknodat", -100, b"/tmp/null", 0o20666, 0x103)',
        "block": 'call("mknodat", -100, b"/tmp/disk", 0o60666, 0x700)',
    },
    "socket families": {
        "packet": 'call("socket", 17, 3, 0)',
        "packet with high bits": 'call("socket", 17 | HIGH, 3, 0)',
        "vsock": 'call("socket", 40, 1, 0)',
        "crypto": 'call("socket", 38, 5, 0)',
        "bluetooth": 'call("socket", 31, 3, 0)',
        **{
            f"family {number}": f'call("socket", {number}, 2, 0)'
            for number in (4, 9, 15, 21, 29, 30, 39, 41, 43, 44, 45)
        },
    },
    "families of socket pairs": {"tipc": 'call("socketpair", 30, 5, 0, bytes(8))', "inet": "socket.socketpair(2)"},
    "netlink beyond routes": {
        name: f'call("socket", 16, 3, {number})'
        for name, number in (
            ("diag", 4),
            ("audit", 9),
            ("netfilter", 12),
            ("uevent", 15),
            ("generic", 16),
            ("crypto", 21),
        )
    },
    "rare transports": {
        "SCTP": 'call("socket", 2, 1, 132)',
        "DCCP": 'call("socket", 10, 6, 33)',
        "L2TP": 'call("socket", 2, 2, 115)',
    },
    "raw sockets": {
        "raw": 'call("socket", 2, 3 | 0x80000, 1)',
        "raw IPv6": 'call("socket", 10, 3, 58)',
        "packet by its old name": 'call("socket", 2, 10, 768)',
    },
    "typing into terminals": {
        "TIOCSTI": 'call("ioctl", pty.openpty()[1], 0x5412, b"x")',
        "TIOCSTI with high bits": 'call("ioctl", pty.openpty()[1], 0x5412 | HIGH, b"x")',
        "TIOCLINUX": 'call("ioctl", pty.openpty()[1], 0x541C, b"x")',
    },
}
ALLOWED = {
    "memfd_create": 'call("memfd_create", b"x", 0)',
    "membarrier": 'call("membarrier", 0, 0, 0)',
    "landlock": 'call("landlock_create_ruleset", None, 0, 1)',
    "statx": 'call("statx", -100, b"/tmp", 0, 0xFFF, ctypes.create_string_buffer(256))',
    "close_range": 'call("close_range", 900, 999, 0)',
    "openat2": 'call("openat2", -100, b"/tmp", bytes(24), 24)',
    "faccessat2": 'call("faccessat2", -100, b"/tmp", 0, 0)',
    "pidfd_send_signal": f'call("pidfd_send_signal", {SELF}, 0, None, 0)',
    "clone with a pidfd": "cloned(0x1000, ctypes.create_string_buffer(8))",
    "vfork": "__import__('subprocess').run(['/bin/true'], check=True)",
    "thread": "(t := __import__('threading').Thread(target=int)).start() or t.join()",
    "personality query": 'call("personality", 0xFFFFFFFF)',
    "personality linux": 'call("personality", 0)',
    "unshare files": 'call("unshare", 0x400)',
    "route socket": 'call("socket", 16, 3 | 0x80000, 0)',
    "TCP": 'call("socket", 2, 1, 6)',
    "TCP over IPv6": 'call("socket", 10, 1 | 0x80800, 0)',
    "UDP": 'call("socket", 2, 2, 17)',
    "Unix sockets": "socket.socketpair()",
    "FIFO": 'os.mkfifo("/tmp/fifo")',
    "plain file by mknod": 'os.mknod("/tmp/plain", 0o100600)',
    "inotify": 'call("inotify_init1", 0)',
    "terminal size": "os.get_terminal_size(pty.openpty()[1])",
    "seccomp": 'call("seccomp", 2, 0, struct.pack("I", 0x7FFF0000))',
    "setuid": "os.setuid(os.getuid())",
    "no call at all": "call(-1)",
    "a call of the future": "call(900)",
}
# Parts that a kernel may lack: it then says what the filter says.
NOT_IN_EVERY_KERNEL = {
    "relics": {"lookup_dcookie", "nfsservctl", "modify_ldt", "sysfs"},
    "socket families": set(ATTACKS["socket families"]) - {"packet", "packet with high bits"},
    "families of socket pairs": {"tipc"},
    "netlink beyond routes": set(ATTACKS["netlink beyond routes"]) - {"generic", "uevent"},
    "rare transports": set(ATTACKS["rare transports"]),
}


@functools.cache
def outcomes(attempts, families=FAMILIES):
    """Return how each of ``attempts`` (pairs) ends under a filter of ``families``; None: without any."""
    question = json.dumps([NUMBERS, dict(attempts)])
    filters = [] if families is None else [open_filter(compile_filter(MACHINE, families))]
    try:
        options = [option for descriptor in filters for option in bubblewrap_arguments(descriptor)]
        command = [*SANDBOX, *options, "/usr/bin/python3", "-I", "-c", PROBE]
        done = subprocess.run(command, input=question.encode(), pass_fds=filters, capture_output=True, timeout=50)
    finally:
        for descriptor in filters:
            os.close(descriptor)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def is_root_of_the_host():
    """Whether the kernel alone would let the sandbox do almost everything."""
    status = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines())
    # DAC_READ_SEARCH, NET_RAW, from SYS_MODULE to SYS_BOOT, SYS_TIME, SYS_TTY_CONFIG, MKNOD, SYSLOG
    needed = sum(1 << bit for bit in (2, 13, *range(16, 23), 25, 26, 27, 34))
    whole = Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
    return os.geteuid() == 0 and whole and int(status["CapEff"], 16) & needed == needed


def attempts_of(family):
    """Its attacks, of which this machine has the call."""
    possible = {}
    for name, expression in ATTACKS[family.name].items():
        called = expression.partition('call("')[2].partition('"')[0]
        if not called or called in NUMBERS:
            possible[name] = expression
    return tuple(possible.items())


def word_of(action):
    names = {Action.REFUSE: "EPERM", Action.ABSENT: "ENOSYS"}
    return names.get(action) or {Action.NO_FAMILY: "EAFNOSUPPORT", Action.NO_PROTOCOL: "EPROTONOSUPPORT"}[action]


def test_every_family_is_attacked_by_each_of_its_calls():
    assert set(ATTACKS) == {family.name for family in FAMILIES}
    for family in FAMILIES:
        text = " ".join(
            [*ATTACKS[family.name].values(), *("clone" if "cloned" in each else "" for each in family.calls)]
        )
        if family.name != "relics":  # most of them are gone from all kernels
            assert all(f'"{name}"' in text or name in ("clone", "clone3") for name in family.calls)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_an_attack_gets_what_the_table_says(family):
    attempts = attempts_of(family)
    if not attempts:
        pytest.skip(f"{MACHINE} has none of these calls")
    assert outcomes(attempts) == dict.fromkeys(dict(attempts), word_of(family.action))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_without_its_family_an_attack_is_not_refused_by_the_filter(family):
    attempts = attempts_of(family)
    if not attempts:
        pytest.skip(f"{MACHINE} has none of these calls")
    removed = outcomes(attempts, tuple(each for each in FAMILIES if each is not family))
    by_kernel = {name for name, word in removed.items() if word == word_of(family.action)}
    other = Action.ABSENT if family.action == Action.REFUSE else Action.REFUSE
    changed = outcomes(attempts, tuple(dataclasses.replace(f, action=other) if f is family else f for f in FAMILIES))
    assert {changed[name] for name in changed} == {word_of(other)}
    if is_root_of_the_host():
        assert by_kernel <= NOT_IN_EVERY_KERNEL.get(family.name, set())


@pytest.mark.parametrize("name", ALLOWED)
def test_what_programs_need_goes_on_as_without_the_filter(name):
    every = tuple(ALLOWED.items())
    assert outcomes(every)[name] == outcomes(every, None)[name]
    assert outcomes(every)[name] == ("ENOSYS" if name in ("no call at all", "a call of the future") else "ok")


@pytest.mark.skipif(MACHINE != "x86_64", reason="the other instruction sets are x86's")
def test_calls_of_another_instruction_set_kill_the_caller():
    attempts = (
        # mov eax, 20 (getpid there); int 0x80; ret
        ("i386", r'machine_code(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")'),
        ("x32", "call(0x40000000 | 39)"),
        ("x32 ptrace", "call(0x40000000 | 521, 0, 0, 0, 0)"),
    )
    assert set(outcomes(attempts).values()) == {"SIGSYS"}
    assert "SIGSYS" not in outcomes(attempts, None).values()


def test_the_filter_holds_for_the_sandboxs_init_and_leaves_no_descriptor():
    attempts = (
        ("init", '(_ for _ in ()).throw(OSError(2, "")) if "Seccomp:\\t2" in open("/proc/1/status").read() else None'),
        ("fds", '(_ for _ in ()).throw(OSError(len(os.listdir("/proc/self/fd")), ""))'),
    )
    filtered, bare = outcomes(attempts), outcomes(attempts, None)
    assert filtered["init"] == "ENOENT"
    assert bare["init"] == "ok"
    assert filtered["fds"] == bare["fds"]
