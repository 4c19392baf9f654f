"""Which system calls a sandbox may not make: the policy as data, to be read and reviewed as a table.

A call that stands in no family is allowed; a number that no list here knows is answered with ENOSYS, as by a kernel
that is older than the call. ``seccomp.py`` makes a filter of it. Not here: what namespaces, capabilities and mounts
refuse anyway; the filter is there for the day one of them fails.
"""

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_ERRNO: Final = 0x00050000  # SECCOMP_RET_ERRNO


class Action(IntEnum):
    """What the kernel does with a call: SECCOMP_RET_* with its data."""

    ALLOW = 0x7FFF0000
    KILL = 0x80000000
    REFUSE = _ERRNO | errno.EPERM
    ABSENT = _ERRNO | errno.ENOSYS
    NO_FAMILY = _ERRNO | errno.EAFNOSUPPORT
    NO_PROTOCOL = _ERRNO | errno.EPROTONOSUPPORT


@dataclass(frozen=True, slots=True)
class Word:
    """Holds when an argument's low 32 bits under ``mask`` are one of ``values``; with ``excluded``, when they are not.

    No call that is named here looks at more than 32 bits of such an argument (unshare refuses any of the rest).
    """

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    excluded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Calls that get ``action`` when all of ``when`` holds. ``why``: the danger; ``keeps``: what still works."""

    name: str
    action: Action
    calls: tuple[str, ...]
    why: str
    keeps: str
    when: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """An architecture: AUDIT_ARCH_* and the names of its calls by the number of the first. ``x32``: it has that ABI."""

    audit: int
    names: Mapping[int, str]
    x32: bool = False

    def numbers(self) -> dict[str, int]:
        """Return the number of each call."""
        return {name: first + place for first, names in self.names.items() for place, name in enumerate(names.split())}


_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_SHARED_TABLES: Final = 0x00040600  # CLONE_FS, CLONE_FILES, CLONE_SYSVSEM

FAMILIES: Final = (
    Family(
        name="mounts",
        action=Action.REFUSE,
        calls=(
            *("mount", "umount2", "pivot_root", "fsopen", "fsconfig", "fsmount", "fspick"),
            *("open_tree", "open_tree_attr", "move_mount", "mount_setattr"),
        ),
        why="could uncover what a mount hides, make a read-only tree writable, or reach a file system's parser",
        keeps="statfs, statmount and /proc/self/mountinfo show the mounts; a function on AWS may not mount either",
    ),
    Family(
        name="root change",
        action=Action.REFUSE,
        calls=("chroot",),
        why="with a capability it is a known way out of a directory; without one it fails anyway",
        keeps="chdir and fchdir",
    ),
    Family(
        name="joining namespaces",
        action=Action.REFUSE,
        calls=("setns",),
        why="a leaked descriptor of a namespace would be a door",
        keeps="nothing that a runtime does",
    ),
    Family(
        name="new namespaces by unshare",
        action=Action.REFUSE,
        calls=("unshare",),
        when=(Word(0, (0,), mask=0xFFFFFFFF ^ _SHARED_TABLES, excluded=True),),
        why="a user namespace gives all capabilities in it, and with them most of the kernel's unprivileged holes",
        keeps="unshare of the file table, working directory and semaphores",
    ),
    Family(
        name="new namespaces by clone",
        action=Action.REFUSE,
        calls=("clone",),
        when=(Word(0, (0,), mask=_NEW_NAMESPACES, excluded=True),),
        why="as by unshare",
        keeps="fork, vfork, threads, CLONE_PIDFD: subprocess, os/exec, jspawnhelper, worker threads",
    ),
    Family(
        name="clone3",
        action=Action.ABSENT,
        calls=("clone3",),
        why="its flags lie in memory, where a filter cannot see them",
        keeps="threads and processes: the C libraries, Go and Rust fall back to clone when the answer is ENOSYS",
    ),
    Family(
        # Lambda FAQ, on restrictions of function code: "ptrace (debugging) system calls are blocked".
        name="ptrace",
        action=Action.REFUSE,
        calls=("ptrace",),
        why="reads and steers another process; its kernel code had many holes",
        keeps="debuggers that live in the process (Node's inspector, JDWP, debugpy)",
    ),
    Family(
        name="memory of other processes",
        action=Action.REFUSE,
        calls=("process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"),
        why="what ptrace can do, without ptrace: memory, kernel addresses' order, descriptors",
        keeps="pidfd_open, pidfd_send_signal, waitid on a pidfd (asyncio's PidfdChildWatcher, Go's os.Process)",
    ),
    Family(
        name="keyrings",
        action=Action.ABSENT,
        calls=("add_key", "request_key", "keyctl"),
        why="keyrings belong to a kernel user id, not to a sandbox, outlive its processes and had many holes",
        keeps="Kerberos and TLS libraries, which take ENOSYS for a kernel without keyrings",
    ),
    Family(
        name="kernel programs",
        action=Action.REFUSE,
        calls=("bpf",),
        why="its verifier is the kernel's largest target",
        keeps="seccomp(2) and SO_ATTACH_FILTER with classic programs",
    ),
    Family(
        name="performance events",
        action=Action.REFUSE,
        calls=("perf_event_open",),
        why="sees other processes by side channels; a frequent source of holes",
        keeps="profilers by signal and timer (setitimer, timer_create), which read the process's own clocks",
    ),
    Family(
        name="page faults by hand",
        action=Action.REFUSE,
        calls=("userfaultfd",),
        why="stops the kernel at a moment of one's choice, which makes races of it winnable",
        keeps="mprotect with SIGSEGV, as the collectors of Java, Go and .NET use it",
    ),
    Family(
        name="io_uring",
        action=Action.ABSENT,
        calls=("io_uring_setup", "io_uring_enter", "io_uring_register"),
        why="makes calls in the kernel's own threads, past this filter; the source of most recent holes",
        keeps="epoll, aio and thread pools, which libuv, Netty, tokio and .NET take when the answer is ENOSYS",
    ),
    Family(
        name="another kernel",
        action=Action.REFUSE,
        calls=("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot"),
        why="exchanges, extends or ends the kernel",
        keeps="nothing that a function may do on AWS",
    ),
    Family(
        name="the host's resources",
        action=Action.REFUSE,
        calls=("swapon", "swapoff", "quotactl", "quotactl_fd", "acct", "vhangup"),
        why="act on the whole host",
        keeps="getrlimit, setrlimit, getrusage",
    ),
    Family(
        name="clocks",
        action=Action.REFUSE,
        calls=("settimeofday", "clock_settime", "adjtimex", "clock_adjtime"),
        why="the clock is the host's: tokens, leases and certificates depend on it",
        keeps="clock_gettime, timers, timerfd",
    ),
    Family(
        name="names of the host",
        action=Action.REFUSE,
        calls=("sethostname", "setdomainname"),
        why="a function that is seen under a name of its choice",
        keeps="uname, gethostname",
    ),
    Family(
        name="the kernel's log",
        action=Action.REFUSE,
        calls=("syslog",),
        why="shows addresses of the kernel and what happens on the host",
        keeps="syslog(3) of the C library, which writes to /dev/log",
    ),
    Family(
        name="ports of the machine",
        action=Action.REFUSE,
        calls=("iopl", "ioperm"),
        why="hardware without the kernel",
        keeps="nothing that a function may do on AWS",
    ),
    Family(
        name="personalities",
        action=Action.REFUSE,
        calls=("personality",),
        # Linux, its 32-bit name, UNAME26 and both; all ones asks for the present one.
        when=(Word(0, (0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF), excluded=True),),
        why="turns address randomisation and no-execute off, for set-id programs, too; other bits reach dead code",
        keeps="the query, setarch of 32-bit builds",
    ),
    Family(
        name="files by handle",
        action=Action.REFUSE,
        calls=("name_to_handle_at", "open_by_handle_at"),
        why="opens any file of a file system by its number, past every mount: the way out called Shocker",
        keeps="open, openat, openat2, O_PATH",
    ),
    Family(
        name="watching whole file systems",
        action=Action.REFUSE,
        calls=("fanotify_init", "fanotify_mark"),
        why="tells of files that others open on a file system which sandboxes share",
        keeps="inotify (Node's fs.watch, Java's WatchService)",
    ),
    Family(
        name="relics",
        action=Action.ABSENT,
        calls=(
            *("lookup_dcookie", "nfsservctl", "uselib", "_sysctl", "sysfs", "ustat", "create_module"),
            *("get_kernel_syms", "query_module", "vserver", "afs_syscall", "getpmsg", "putpmsg", "security", "tuxcall"),
            *("epoll_ctl_old", "epoll_wait_old", "set_thread_area", "get_thread_area", "modify_ldt"),
        ),
        why="code that nobody runs and few maintain; modify_ldt was the root of several holes",
        keeps="arch_prctl, which sets thread-local storage on 64-bit machines",
    ),
    Family(
        name="devices by mknod",
        action=Action.REFUSE,
        calls=("mknod",),
        when=(Word(1, (0x2000, 0x6000), mask=0xF000),),  # S_IFCHR, S_IFBLK
        why="a device file is the hardware behind it",
        keeps="mkfifo, sockets and plain files",
    ),
    Family(
        name="devices by mknodat",
        action=Action.REFUSE,
        calls=("mknodat",),
        when=(Word(2, (0x2000, 0x6000), mask=0xF000),),
        why="as by mknod",
        keeps="mkfifo, sockets and plain files",
    ),
    Family(
        # Lambda FAQ, on restrictions of function code: "only TCP/IP and UDP/IP sockets are supported".
        name="socket families",
        action=Action.NO_FAMILY,
        calls=("socket",),
        when=(Word(0, (_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK), excluded=True),),
        why="packet, vsock, crypto, bluetooth and forty others: drivers loaded on demand, few of them in a namespace",
        keeps="TCP, UDP, ping, Unix sockets; refused with what a kernel without the family says",
    ),
    Family(
        name="families of socket pairs",
        action=Action.NO_FAMILY,
        calls=("socketpair",),
        when=(Word(0, (_AF_UNIX,), excluded=True),),
        why="as of sockets",
        keeps="pairs of Unix sockets, the only ones Linux has but for TIPC",
    ),
    Family(
        name="netlink beyond routes",
        action=Action.NO_PROTOCOL,
        calls=("socket",),
        when=(Word(0, (_AF_NETLINK,)), Word(2, (0,), excluded=True)),
        why="packet filters, audit, crypto, device events: parsers of the kernel that a function has no use for",
        keeps="NETLINK_ROUTE: getifaddrs, getaddrinfo, Node's networkInterfaces, Go's net.Interfaces",
    ),
    Family(
        # Lambda FAQ, as above.
        name="rare transports",
        action=Action.NO_PROTOCOL,
        calls=("socket",),
        when=(Word(0, (_AF_INET, _AF_INET6)), Word(2, (33, 115, 132))),  # DCCP, L2TP, SCTP
        why="modules loaded on demand with a history of holes",
        keeps="TCP with MPTCP (Go's listeners ask for it), UDP, UDP-Lite, ICMP",
    ),
    Family(
        name="raw sockets",
        action=Action.REFUSE,
        calls=("socket",),
        when=(Word(0, (_AF_INET, _AF_INET6)), Word(1, (3, 10), mask=0xF)),  # SOCK_RAW, SOCK_PACKET
        why="packets with any sender; SOCK_PACKET is the packet family by its old name",
        keeps="what the kernel says to a function on AWS, which has no capability for them",
    ),
    Family(
        name="typing into terminals",
        action=Action.REFUSE,
        calls=("ioctl",),
        when=(Word(1, (0x5412, 0x541C)),),  # TIOCSTI, TIOCLINUX
        why="puts words into the terminal of who started the sandbox",
        keeps="all other terminal calls",
    ),
)

# Calls in the order of their numbers, as of Linux 6.18. From 424 on a call has the same number on all machines.
_FIRST_COMMON: Final = 424
_COMMON: Final = (
    "pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig fsmount "
    "fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 process_madvise epoll_pwait2 mount_setattr "
    "quotactl_fd landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret process_mrelease "
    "futex_waitv set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue "
    "statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat "
    "removexattrat open_tree_attr file_getattr file_setattr"
)
_X86_64: Final = (
    "read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask "
    "rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe select sched_yield mremap msync mincore madvise "
    "shmget shmat shmctl dup dup2 pause nanosleep getitimer alarm setitimer getpid sendfile socket connect accept "
    "sendto recvfrom sendmsg recvmsg shutdown bind listen getsockname getpeername socketpair setsockopt getsockopt "
    "clone fork vfork execve exit wait4 kill uname semget semop semctl shmdt msgget msgsnd msgrcv msgctl fcntl flock "
    "fsync fdatasync truncate ftruncate getdents getcwd chdir fchdir rename mkdir rmdir creat link unlink symlink "
    "readlink chmod fchmod chown fchown lchown umask gettimeofday getrlimit getrusage sysinfo times ptrace getuid "
    "syslog getgid setuid setgid geteuid getegid setpgid getppid getpgrp setsid setreuid setregid getgroups setgroups "
    "setresuid getresuid setresgid getresgid getpgid setfsuid setfsgid getsid capget capset rt_sigpending "
    "rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack utime mknod uselib personality ustat statfs fstatfs "
    "sysfs getpriority setpriority sched_setparam sched_getparam sched_setscheduler sched_getscheduler "
    "sched_get_priority_max sched_get_priority_min sched_rr_get_interval mlock munlock mlockall munlockall vhangup "
    "modify_ldt pivot_root _sysctl prctl arch_prctl adjtimex setrlimit chroot sync acct settimeofday mount umount2 "
    "swapon swapoff reboot sethostname setdomainname iopl ioperm create_module init_module delete_module "
    "get_kernel_syms query_module quotactl nfsservctl getpmsg putpmsg afs_syscall tuxcall security gettid readahead "
    "setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr "
    "lremovexattr fremovexattr tkill time futex sched_setaffinity sched_getaffinity set_thread_area io_setup "
    "io_destroy io_getevents io_submit io_cancel get_thread_area lookup_dcookie epoll_create epoll_ctl_old "
    "epoll_wait_old remap_file_pages getdents64 set_tid_address restart_syscall semtimedop fadvise64 timer_create "
    "timer_settime timer_gettime timer_getoverrun timer_delete clock_settime clock_gettime clock_getres "
    "clock_nanosleep exit_group epoll_wait epoll_ctl tgkill utimes vserver mbind set_mempolicy get_mempolicy mq_open "
    "mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr kexec_load waitid add_key request_key keyctl "
    "ioprio_set ioprio_get inotify_init inotify_add_watch inotify_rm_watch migrate_pages openat mkdirat mknodat "
    "fchownat futimesat newfstatat unlinkat renameat linkat symlinkat readlinkat fchmodat faccessat pselect6 ppoll "
    "unshare set_robust_list get_robust_list splice tee sync_file_range vmsplice move_pages utimensat epoll_pwait "
    "signalfd timerfd_create eventfd fallocate timerfd_settime timerfd_gettime accept4 signalfd4 eventfd2 "
    "epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev rt_tgsigqueueinfo perf_event_open recvmmsg fanotify_init "
    "fanotify_mark prlimit64 name_to_handle_at open_by_handle_at clock_adjtime syncfs sendmmsg setns getcpu "
    "process_vm_readv process_vm_writev kcmp finit_module sched_setattr sched_getattr renameat2 seccomp getrandom "
    "memfd_create kexec_file_load bpf execveat userfaultfd membarrier mlock2 copy_file_range preadv2 pwritev2 "
    "pkey_mprotect pkey_alloc pkey_free statx io_pgetevents rseq uretprobe uprobe"
)
_AARCH64: Final = (
    "io_setup io_destroy io_submit io_cancel io_getevents setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr "
    "listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr getcwd lookup_dcookie eventfd2 "
    "epoll_create1 epoll_ctl epoll_pwait dup dup3 fcntl inotify_init1 inotify_add_watch inotify_rm_watch ioctl "
    "ioprio_set ioprio_get flock mknodat mkdirat unlinkat symlinkat linkat renameat umount2 mount pivot_root "
    "nfsservctl statfs fstatfs truncate ftruncate fallocate faccessat chdir fchdir chroot fchmod fchmodat fchownat "
    "fchown openat close vhangup pipe2 quotactl getdents64 lseek read write readv writev pread64 pwrite64 preadv "
    "pwritev sendfile pselect6 ppoll signalfd4 vmsplice splice tee readlinkat newfstatat fstat sync fsync fdatasync "
    "sync_file_range timerfd_create timerfd_settime timerfd_gettime utimensat acct capget capset personality exit "
    "exit_group waitid set_tid_address unshare futex set_robust_list get_robust_list nanosleep getitimer setitimer "
    "kexec_load init_module delete_module timer_create timer_gettime timer_getoverrun timer_settime timer_delete "
    "clock_settime clock_gettime clock_getres clock_nanosleep syslog ptrace sched_setparam sched_setscheduler "
    "sched_getscheduler sched_getparam sched_setaffinity sched_getaffinity sched_yield sched_get_priority_max "
    "sched_get_priority_min sched_rr_get_interval restart_syscall kill tkill tgkill sigaltstack rt_sigsuspend "
    "rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigreturn setpriority getpriority "
    "reboot setregid setgid setreuid setuid setresuid getresuid setresgid getresgid setfsuid setfsgid times setpgid "
    "getpgid getsid setsid getgroups setgroups uname sethostname setdomainname getrlimit setrlimit getrusage umask "
    "prctl getcpu gettimeofday settimeofday adjtimex getpid getppid getuid geteuid getgid getegid gettid sysinfo "
    "mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr msgget msgctl msgrcv msgsnd semget semctl "
    "semtimedop semop shmget shmctl shmat shmdt socket socketpair bind listen accept connect getsockname getpeername "
    "sendto recvfrom setsockopt getsockopt shutdown sendmsg recvmsg readahead brk munmap mremap add_key request_key "
    "keyctl clone execve mmap fadvise64 swapon swapoff mprotect msync mlock munlock mlockall munlockall mincore "
    "madvise remap_file_pages mbind get_mempolicy set_mempolicy migrate_pages move_pages rt_tgsigqueueinfo "
    "perf_event_open accept4 recvmmsg"
)
_AARCH64_LATER: Final = (
    "wait4 prlimit64 fanotify_init fanotify_mark name_to_handle_at open_by_handle_at clock_adjtime syncfs setns "
    "sendmmsg process_vm_readv process_vm_writev kcmp finit_module sched_setattr sched_getattr renameat2 seccomp "
    "getrandom memfd_create bpf execveat userfaultfd membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect "
    "pkey_alloc pkey_free statx io_pgetevents rseq kexec_file_load"
)

MACHINES: Final[Mapping[str, Machine]] = {
    "x86_64": Machine(0xC000003E, {0: _X86_64, _FIRST_COMMON: _COMMON}, x32=True),
    "aarch64": Machine(0xC00000B7, {0: _AARCH64, 260: _AARCH64_LATER, _FIRST_COMMON: _COMMON}),
}
