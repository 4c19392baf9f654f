"""What a function cannot see: the host, other functions, the network."""

import os
import socket

from . import aws

LOOKS = """
import os, socket
def handler(event, context):
    found = {}
    for path in event["paths"]:
        try:
            found[path] = os.listdir(path) if os.path.isdir(path) else open(path, "rb").read().decode("latin-1")
        except OSError as error:
            found[path] = type(error).__name__
    for host, port in event["peers"]:
        try:
            socket.create_connection((host, port), timeout=2).close()
            found[f"{host}:{port}"] = "connected"
        except OSError as error:
            found[f"{host}:{port}"] = "refused"
    for path in event["writes"]:
        try:
            open(path + "/planted", "w").close()
            found["write " + path] = "written"
        except OSError as error:
            found["write " + path] = "refused"
    found["pids"] = sorted(int(each) for each in os.listdir("/proc") if each.isdigit())
    found["capabilities"] = [line for line in open("/proc/self/status") if line.startswith("CapEff")][0].split()[1]
    found["uid"] = os.getuid()
    return found
"""


def test_a_function_sees_nothing_of_the_host(server, functions, deploy, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    other = deploy(aws.packed({"app.py": "def handler(e, c): pass", "theirs.txt": "of another function"}))
    assert aws.invoke(functions, other).error is None
    port = int(server.endpoint.rpartition(":")[2])
    paths = [
        str(secret),
        "/root",
        "/home",
        str(server.state_dir),
        "/etc/shadow",
        "/etc/hostname",
        f"/proc/{os.getpid()}",
    ]
    paths += ["/run", "/var/lib", "/sys", "/boot", "/var/log", "/proc/1/environ"]
    peers = [("127.0.0.1", port), ("169.254.169.254", 80), ("192.0.2.1", 443), (_own_address(), port)]
    writes = ["/var/task", "/opt", "/usr", "/etc", "/var/runtime", "/", "/dev", "/dev/shm"]
    name = deploy(LOOKS, Timeout=20)
    found = aws.invoke(functions, name, {"paths": paths, "peers": peers, "writes": writes}).payload
    absent = {"FileNotFoundError", "PermissionError", "NotADirectoryError"}
    seen = {path: found[path] for path in paths if found[path] not in absent and found[path] != []}
    text = str(seen)
    assert "of the host" not in text
    assert "theirs" not in text
    assert str(secret) not in seen
    assert not seen.keys() & {"/root", "/home", str(server.state_dir), "/etc/shadow", f"/proc/{os.getpid()}", "/boot"}
    assert socket.gethostname() not in found["/etc/hostname"]
    assert {found[f"{host}:{at}"] for host, at in peers} == {"refused"}
    assert {found[f"write {path}"] for path in writes} == {"refused"}
    assert max(found["pids"]) < 100
    assert int(found["capabilities"], 16) == 0
    assert found["uid"] != 0


def _own_address() -> str:
    """Return the address that this host would use towards the network; loopback where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return probe.getsockname()[0]
