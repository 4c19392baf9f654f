"""Functions that try to leave their sandbox. Each is one sentence, one program, and what it finds when it is contained.

Where ``without`` names defences, the same program runs on a server that lacks them, and must find something else there:
else the test would prove nothing.
"""

import contextlib
import ctypes
import os
import secrets
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import KINDS

REFUSED = ("EPERM", "EACCES", "ENOSYS")
ABSENT = ("ENOENT", "ENOTDIR")
UNREACHABLE = ("ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH")


@dataclass(frozen=True)
class Attack:
    """``code`` leaves its finding in ``result``; ``contained`` are the findings of one that was stopped."""

    name: str
    code: str
    contained: tuple = REFUSED
    without: tuple[str, ...] = ()


ATTACKS = [
    # --- files of the host
    Attack("reads /etc/shadow", "result = attempt(lambda: read('/etc/shadow'))", ABSENT + REFUSED),
    Attack(
        "reads the host's files by its state directory",
        "result = attempt(lambda: sorted(os.listdir(event['state'])))",
        ABSENT,
    ),
    Attack(
        "reads a file of the host below every root that there is",
        "result = [root for root in ('', '/host', '/oldroot', '/newroot', '/mnt', '/proc/1/root')"
        " if isinstance(attempt(lambda: os.stat(root + event['secret'])), os.stat_result)]",
        ([],),
        ("host-files",),
    ),
    Attack(
        "reads the database, the key and the settings of the server",
        "result = [top for top in ('', '/host', '/proc/1/root', '/proc/1/cwd') for name in ('', '/run/settings.json', "
        "'/run', '/store') if os.path.exists(top + event['state'] + name)]",
        ([],),
    ),
    Attack("lists root's home", "result = attempt(lambda: os.listdir('/root'))", ABSENT + REFUSED),
    Attack(
        "finds another function's code by its text",
        "result = [at for top in ('/var/task', '/opt', '/tmp', '/var/lambent') for at, _, names in os.walk(top)"
        " for name in names if b'of the neigh' b'bour' in open(os.path.join(at, name), 'rb').read()]",
        ([],),
    ),
    Attack(
        "climbs out by ..",
        "os.chdir('/tmp'); os.chdir('../' * 40); result = sorted(os.listdir('.')) == sorted(os.listdir('/'))"
        " and not os.path.exists('.' + event['secret'])",
        (True,),
    ),
    Attack(
        "climbs out by a symbolic link in /tmp to the host's secret",
        "path = '/tmp/link%d' % time.time_ns(); os.symlink(event['secret'], path)\n"
        "result = attempt(lambda: read(path)); os.unlink(path)",
        ABSENT,
    ),
    Attack(
        "opens a file by its handle",
        "handle = (ctypes.c_char * 128)(); mount = ctypes.c_int(); ctypes.memmove(handle, b'\\x78\\0\\0\\0', 4)\n"
        "result = attempt(lambda: must(libc.name_to_handle_at(-100, b'/tmp', handle, ctypes.byref(mount), 0)))",
        ("EPERM",),
        ("seccomp",),
    ),
    # --- what it may write
    Attack(
        "changes its own code, which all its environments share",
        "result = attempt(lambda: open('/var/task/planted.py', 'w').close())",
        ("EROFS", *REFUSED),
    ),
    Attack("writes to /usr", "result = attempt(lambda: open('/usr/planted', 'w').close())", ("EROFS", *REFUSED)),
    Attack(
        "writes to its root directory",
        "result = attempt(lambda: open('/planted', 'w').close())",
        ("EROFS", *REFUSED),
        ("read-only-root",),
    ),
    Attack(
        "keeps memory in /dev/shm, outside of every limit of /tmp",
        "result = attempt(lambda: open('/dev/shm/planted', 'w').close())",
        (*ABSENT, "EROFS", *REFUSED),
        ("read-only-dev",),
    ),
    Attack(
        "writes sysctls",
        "result = attempt(lambda: open('/proc/sys/kernel/core_pattern', 'w').close())",
        ("EROFS", *REFUSED, *ABSENT),
    ),
    Attack(
        "triggers sysrq",
        "result = attempt(lambda: open('/proc/sysrq-trigger', 'w').close())",
        ("EROFS", *REFUSED, *ABSENT),
    ),
    Attack(
        "reads the kernel's memory",
        "result = attempt(lambda: read('/proc/kcore')) or 'nothing'",
        ("nothing", *REFUSED, *ABSENT),
    ),
    Attack(
        "raises its own limits through the cgroup file system",
        "result = [at for at, _, names in os.walk('/sys') for name in names if name.startswith('memory.')]",
        ([],),
    ),
    # --- processes
    Attack(
        "sees processes of the host",
        "result = max(int(name) for name in os.listdir('/proc') if name.isdigit()) > 2000 or "
        "any('lambent.assembly' in str(attempt(lambda: read('/proc/%s/cmdline' % name)))"
        " for name in os.listdir('/proc') if name.isdigit())",
        (False,),
        ("pid",),
    ),
    Attack(
        "reads the environment of other processes",
        "result = sum('of the neigh' 'bour' in str(attempt(lambda: read('/proc/%s/environ' % name)))"
        " for name in os.listdir('/proc') if name.isdigit())",
        (0,),
    ),
    Attack(
        "signals a process of the host by its pid", "result = attempt(lambda: os.kill(event['victim'], 0))", ("ESRCH",)
    ),
    Attack(
        "signals every process that it can",
        "signal.signal(15, signal.SIG_IGN)\nresult = str(attempt(lambda: os.kill(-1, 0)))",
        ("None", "ESRCH", "EPERM"),
    ),
    Attack(
        "reads the launcher's or its init's memory",
        "result = attempt(lambda: open('/proc/1/mem', 'rb').read(1) and 'read')",
        (*REFUSED, *ABSENT, "EIO"),
    ),
    Attack(
        "traces its init",
        "result = attempt(lambda: must(libc.ptrace(16, 1, 0, 0)))",
        REFUSED,
    ),
    Attack(
        "traces a child of its own",
        "def traced():\n    must(libc.ptrace(0, 0, 0, 0))\n    return 'traced'\nresult = in_a_child(traced)",
        REFUSED,
        ("seccomp",),
    ),
    Attack(
        "reads another process's memory by process_vm_readv",
        "class Part(ctypes.Structure):\n    _fields_ = [('at', ctypes.c_void_p), ('size', ctypes.c_size_t)]\n"
        "text = ctypes.create_string_buffer(b'memory of the parent'); into = ctypes.create_string_buffer(20)\n"
        "parent = os.getpid()\n"
        "def steal():\n"
        "    ours, theirs = Part(ctypes.addressof(into), 20), Part(ctypes.addressof(text), 20)\n"
        "    must(libc.process_vm_readv(os.getpid(), ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0))\n"
        "    return into.raw.decode()\n"
        "result = in_a_child(steal)",
        REFUSED,
        ("seccomp",),
    ),
    # --- mounts and namespaces
    Attack(
        "mounts a file system over /tmp",
        "result = attempt(lambda: must(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)))",
        REFUSED,
        ("seccomp", "capabilities"),
    ),
    Attack(
        "remounts its code writable",
        "result = attempt(lambda: must(libc.mount(None, b'/var/task', None, 32 | 4096, None)))",
        REFUSED,
    ),
    Attack("unmounts what hides the host", "result = attempt(lambda: must(libc.umount2(b'/proc', 2)))", REFUSED),
    Attack(
        "changes its root directory",
        "result = in_a_child(lambda: os.chroot('/tmp'))",
        REFUSED,
        ("seccomp", "capabilities"),
    ),
    Attack(
        "makes a user namespace of its own to have all capabilities",
        "result = in_a_child(lambda: must(libc.unshare(0x10000000)))",
        (*REFUSED, "ENOSPC"),
        ("seccomp", "userns"),
    ),
    Attack(
        "makes a user namespace by clone",
        "result = in_a_child(lambda: must(libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)))",
        (*REFUSED, "ENOSPC"),
        ("seccomp", "userns"),
    ),
    Attack(
        "joins the namespaces of its init",
        "with open('/proc/self/ns/net') as own:\n    result = attempt(lambda: must(libc.setns(own.fileno(), 0)))",
        REFUSED,
    ),
    Attack(
        "has capabilities",
        "result = [line.split()[1] for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapBnd'))]",
        (["0" * 16] * 2,),
        ("capabilities",),
    ),
    Attack("becomes root", "result = in_a_child(lambda: os.setuid(0))", ("EPERM", "EINVAL")),
    Attack(
        "becomes root by a set-user-id program",
        "subprocess.run([event['setuid'], '--help'], capture_output=True)\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "result = status['NoNewPrivs'].strip()",
        ("1",),
    ),
    Attack(
        "makes a set-user-id program in /tmp",
        "import shutil; path = '/tmp/id%d' % time.time_ns(); shutil.copy('/usr/bin/id', path); os.chmod(path, 0o4755)\n"
        "result = subprocess.run([path, '-u'], capture_output=True).stdout == str(os.getuid()).encode() + b'\\n'\n"
        "os.unlink(path)",
        (True,),
    ),
    Attack(
        "makes a device node of the host's disk",
        "result = attempt(lambda: os.mknod('/tmp/disk', stat.S_IFBLK | 0o600, os.makedev(7, 0)))",
        REFUSED,
    ),
    Attack(
        "finds devices beyond the harmless ones",
        "result = sorted(set(os.listdir('/dev')) - {'null', 'zero', 'full', 'random', 'urandom', 'fd', 'stdin', "
        "'stdout', 'stderr'})",
        ([],),
        ("read-only-dev",),
    ),
    Attack(
        "uses the keyrings of its kernel user id",
        "result = attempt(lambda: must(libc.syscall(248, b'user', b'planted', b'x', 1, -4)))",
        ("ENOSYS",),
        ("seccomp",),
    ),
    Attack("loads a program into the kernel", "result = attempt(lambda: must(libc.syscall(321, 0, 0, 0)))", REFUSED),
    Attack(
        "uses io_uring, past the filter",
        "result = attempt(lambda: must(libc.syscall(425, 8, 0)))",
        ("ENOSYS",),
        ("seccomp",),
    ),
    Attack("renames the host", "result = attempt(lambda: socket.sethostname('planted'))", REFUSED),
    Attack("sets the clock", "result = attempt(lambda: time.clock_settime(0, 0))", REFUSED),
    Attack(
        "shares System V memory with the host",
        "result = attempt(lambda: must(libc.shmget(event['shm'], 1, 0)))",
        ("ENOENT",),
        ("ipc",),
    ),
    # --- network
    Attack(
        "opens a packet socket",
        "result = attempt(lambda: socket.socket(17, 3, 3) and 'open')",
        ("EAFNOSUPPORT",),
        ("seccomp",),
    ),
    Attack("opens a raw socket", "result = attempt(lambda: socket.socket(2, 3, 1) and 'open')", REFUSED),
    Attack(
        "speaks to the kernel's packet filter",
        "result = attempt(lambda: socket.socket(16, 3, 12) and 'open')",
        ("EPROTONOSUPPORT",),
        ("seccomp",),
    ),
    Attack(
        "connects to the gateway on the host's loopback",
        "result = attempt(lambda: socket.create_connection(('127.0.0.1', event['port']), 2) and 'connected')",
        UNREACHABLE,
    ),
    Attack(
        "connects to another service on the host's loopback",
        "result = attempt(lambda: socket.create_connection(('127.0.0.1', event['service']), 2) and 'connected')",
        UNREACHABLE,
    ),
    Attack(
        "connects to an abstract socket of the host",
        "def connect():\n    socket.socket(socket.AF_UNIX).connect('\\0' + event['abstract'])\n    return 'connected'\n"
        "result = attempt(connect)",
        ("ECONNREFUSED",),
    ),
    Attack(
        "asks the metadata address for the host's credentials",
        "result = attempt(lambda: socket.create_connection(('169.254.169.254', 80), 2) and 'connected')",
        UNREACHABLE,
    ),
    Attack(
        "asks the host's own address",
        "result = attempt(lambda: socket.create_connection((event['address'], event['port']), 2) and 'connected')",
        UNREACHABLE,
    ),
    Attack(
        "finds the Runtime API of another environment by trying all ports",
        "found = []\n"
        "peer = socket.socket()  # good for another try after each refusal\n"
        "for port in range(1, 65536):\n"
        "    if not peer.connect_ex(('127.0.0.1', port)):\n"
        "        if peer.getsockname() != peer.getpeername():\n"
        "            found.append(port)\n"
        "        peer.close()\n"
        "        peer = socket.socket()\n"
        "peer.close()\n"
        "result = len(found)",
        (0, 1),
    ),
    # --- what others left in predictable places
    Attack(
        "finds the files of others in /tmp",
        "result = [name for name in os.listdir('/tmp') if name == 'mine']",
        ([],),
    ),
    Attack(
        "holds descriptors of the server",
        "result = [os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd') if os.path.exists("
        "'/proc/self/fd/' + fd) and not os.readlink('/proc/self/fd/' + fd).startswith(('pipe:', '/dev/', '/proc/', "
        "'socket:', '/tmp', 'anon_inode:[event', '/var/'))]",
        ([],),
    ),
]


@pytest.fixture(scope="module")
def bait():
    """What the attacks are after, and where."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = secrets.randbelow(1 << 30) + 1
    memory = libc.shmget(key, 4096, 0o1666)
    assert memory >= 0
    with contextlib.ExitStack() as stack:
        # Not below /tmp, which the launcher hides from itself.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lambent-test-", dir="/var/tmp"))
        os.chmod(folder, 0o755)
        secret = Path(folder, "secret")
        secret.write_text("of the host")
        stack.callback(libc.shmctl, memory, 0, None)
        service = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        name = f"lambent-test-{secrets.token_hex(8)}"
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{name}")
        abstract.listen()
        yield {
            "secret": str(secret),
            "victim": os.getpid(),
            "service": service.getsockname()[1],
            "abstract": name,
            "shm": key,
            "address": own_address(),
            "setuid": "/usr/bin/su",
        }


def own_address() -> str:
    """Return the address that this host would use towards the network; a documentation address where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "192.0.2.1"
        return probe.getsockname()[0]


def find(live, attack, bait):
    answer = live.attack(attack.code, **bait, port=live.port, state=str(live.server.state_dir))
    assert answer.error is None, answer
    return answer.payload


# Two servers for all: in each, what is off beside the one defence in question is no wall of that attack.
OFF_TOGETHER = (
    ("host-files", "pid", "ipc", "read-only-dev", "read-only-root"),
    ("seccomp", "capabilities", "userns"),
)


def find_group(without):
    return next(group for group in OFF_TOGETHER if set(without) <= set(group))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name.replace(" ", "_"))
def test_is_stopped_a_function_that(attack, each_live, bait):
    found = find(each_live, attack, bait)
    assert found in attack.contained


@pytest.mark.parametrize(
    "attack", [each for each in ATTACKS if each.without], ids=lambda attack: attack.name.replace(" ", "_")
)
def test_is_not_stopped_without_its_defence_a_function_that(attack, servers, bait):
    weakened = servers(KINDS[0], *find_group(attack.without))
    assert find(weakened, attack, bait) not in attack.contained


def test_every_attack_has_a_name_of_its_own():
    names = [attack.name for attack in ATTACKS]
    assert len(set(names)) == len(names) >= 50
