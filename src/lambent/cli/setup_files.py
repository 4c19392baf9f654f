"""The texts of what ``lambent setup`` writes: AppArmor's profile, systemd's units, a drop-in."""

from typing import Final

from lambent.sandbox.supervisor import PROFILE

MARK: Final = "# Written by `lambent setup`; `lambent setup --undo` removes it.\n"

# The whole of what is asked for is `userns`, and by who asks for the profile by name: no other program of the host is
# let off the restriction, as it would be by a profile for bubblewrap's path.
APPARMOR: Final = f"""{MARK}abi <abi/4.0>,
include <tunables/global>

profile {PROFILE} flags=(unconfined) {{
  userns,
  include if exists <local/{PROFILE}>
}}
"""

# Controllers that user managers of older systemd do not hand on by themselves.
DELEGATION: Final = f"""{MARK}[Service]
Delegate=cpu memory pids
"""

_SERVICE: Final = """Type=notify
NotifyAccess=main
ExecStart={command} start --foreground
Restart=always
RestartSec=1
RestartPreventExitStatus=1 3 78
TimeoutStartSec=120
TimeoutStopSec=60
WatchdogSec=60
KillMode=mixed
Delegate=yes
OOMPolicy=continue
TasksMax=infinity
LimitNOFILE=1048576
UMask=0022
SystemCallArchitectures=native
"""

# What the launcher needs stays: mounts, namespaces, cgroups, loop devices, users, and a /proc that nothing covers, as
# the kernel mounts no other one in a sandbox below a covered one. So no PrivateDevices, ProtectClock,
# ProtectControlGroups, ProtectKernelTunables, ProtectKernelLogs, ProtectProc; and nothing that a function would not
# find on AWS: MemoryDenyWriteExecute ends compilers at run time, RestrictSUIDSGID changes chmod.
_HARDENED: Final = """ProtectSystem=strict
ProtectKernelModules=yes
PrivateTmp=yes
RestrictRealtime=yes
KeyringMode=private
CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_TIME CAP_SYS_BOOT CAP_SYS_RAWIO CAP_SYS_PACCT CAP_SYS_TTY_CONFIG
CapabilityBoundingSet=~CAP_SYSLOG CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_AUDIT_WRITE
CapabilityBoundingSet=~CAP_WAKE_ALARM CAP_BPF CAP_PERFMON CAP_BLOCK_SUSPEND CAP_LINUX_IMMUTABLE CAP_IPC_LOCK CAP_LEASE
"""

DROPPED_CAPABILITIES: Final = tuple(
    name for line in _HARDENED.splitlines() if line.startswith("Cap") for name in line.partition("~")[2].split()
)


def system_unit(command: str) -> str:
    """Return the unit of a server that root starts; the supervisor's server and sandboxes have users of their own."""
    return (
        f"{MARK}[Unit]\nDescription=Lambent, AWS Lambda on this machine\nAfter=network-online.target local-fs.target\n"
        "Wants=network-online.target\nStartLimitIntervalSec=0\n\n"
        f"[Service]\n{_SERVICE.format(command=command)}RuntimeDirectory=lambent\nRuntimeDirectoryMode=0755\n"
        f"StateDirectory=lambent\nStateDirectoryMode=0755\nOOMScoreAdjust=-500\n{_HARDENED}\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def user_unit(command: str) -> str:
    """Return the unit of a server that an ordinary user starts, in his own manager.

    Nothing of systemd's hardening: each implies no_new_privs there, and newuidmap needs its file capabilities.
    """
    return (
        f"{MARK}[Unit]\nDescription=Lambent, AWS Lambda on this machine (%u)\nStartLimitIntervalSec=0\n\n"
        f"[Service]\n{_SERVICE.format(command=command)}\n[Install]\nWantedBy=default.target\n"
    )
