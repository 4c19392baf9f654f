"""Real programs under the filter: what the runtimes are made of must not notice it."""

import os
import platform
import shutil
import subprocess

import pytest

from lambent.sandbox.launcher.seccomp import bubblewrap_arguments, compile_filter, open_filter

SANDBOX = (
    *("/usr/bin/bwrap", "--die-with-parent", "--new-session", "--ro-bind", "/", "/", "--dev", "/dev"),
    *("--unshare-user", "--uid", "993", "--gid", "990", "--unshare-pid", "--proc", "/proc", "--unshare-ipc"),
    *("--unshare-net", "--tmpfs", "/tmp", "--chdir", "/tmp", "--clearenv", "--setenv", "PATH", "/usr/bin:/bin"),
    *("--setenv", "HOME", "/tmp"),
)
PYTHON = {
    "multiprocessing": """
import multiprocessing
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        reader, writer = context.Pipe()
        child = context.Process(target=writer.send, args=("sent",))
        child.start()
        assert reader.recv() == "sent"
        child.join()
        assert child.exitcode == 0
""",
    "threads": """
import concurrent.futures, threading
with concurrent.futures.ThreadPoolExecutor(32) as pool:
    barrier = threading.Barrier(32)
    assert len(set(pool.map(lambda _: (barrier.wait(), threading.get_native_id())[1], range(32)))) == 32
""",
    "subprocess": """
import os, pty, subprocess
assert subprocess.run("echo $((6*7)) | cat", shell=True, capture_output=True, check=True).stdout == b"42\\n"
assert subprocess.run(["/bin/true"], start_new_session=True, preexec_fn=os.getpid, check=False).returncode == 0
assert os.waitstatus_to_exitcode(os.wait4(os.posix_spawn("/bin/false", ["false"], {}), 0)[1]) == 1
assert pty.spawn(["/bin/true"]) == 0
""",
    "asyncio": """
import asyncio, socket, sys
async def main():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"line\\n")
    assert await reader.readline() == b"line\\n"
    if sys.version_info < (3, 12):  # from there on it is the default
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.set_child_watcher(watcher)
    child = await asyncio.create_subprocess_exec("/bin/sh", "-c", "exit 3")
    assert await child.wait() == 3
    assert await asyncio.to_thread(socket.getaddrinfo, "localhost", 80)
    writer.close()
    server.close()
asyncio.run(main())
""",
    "ssl": """
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
try:
    client.do_handshake()
except ssl.SSLWantReadError:
    assert outgoing.read(1) == b"\\x16"
assert ssl.create_default_context().get_ca_certs() is not None
""",
    "files": """
import fcntl, mmap, os, shutil, socket, sqlite3, tempfile, time
with tempfile.NamedTemporaryFile() as file:
    os.posix_fallocate(file.fileno(), 0, 8192)
    fcntl.flock(file, fcntl.LOCK_EX)
    mmap.mmap(file.fileno(), 8192)[0:4] = b"text"
    os.sendfile(os.memfd_create("x"), file.fileno(), 0, 4096)
    shutil.copy(file.name, "copy")
    os.utime("copy", (1, 1))
os.chmod("copy", 0o600), os.chown("copy", os.getuid(), os.getgid()), os.symlink("copy", "link"), os.link("copy", "hard")
sqlite3.connect("db").execute("create table t (x)").connection.commit()
assert socket.if_nameindex() and time.get_clock_info("monotonic") and os.sched_getaffinity(0) and os.getloadavg()
""",
}
NODE = """
const { Worker } = require("worker_threads"), fs = require("fs"), http = require("http"), os = require("os");
const { execSync, fork, spawnSync } = require("child_process"), assert = require("assert"), crypto = require("crypto");
(async () => {
  fs.writeFileSync("a", "x");
  await fs.promises.copyFile("a", "b");
  assert.equal((await fs.promises.readFile("b")).toString(), "x");
  const watcher = fs.watch("."), changed = new Promise((done) => watcher.once("change", done));
  fs.writeFileSync("c", "y");
  await changed;
  watcher.close();
  const source = 'require("worker_threads").parentPort.postMessage(require("worker_threads").workerData * 2)';
  const answers = await Promise.all([1, 2, 3].map((n) => new Promise((done, fail) =>
    new Worker(source, { eval: true, workerData: n }).once("message", done).once("error", fail))));
  assert.deepEqual(answers, [2, 4, 6]);
  const server = http.createServer((request, response) => response.end("hello"));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const text = await (await fetch(`http://127.0.0.1:${server.address().port}/`)).text();
  assert.equal(text, "hello");
  server.close();
  server.closeAllConnections();
  assert.equal(execSync("echo $((6*7))").toString(), "42\\n");
  assert(os.networkInterfaces().lo && os.cpus().length && process.getuid() === 993);
  await new Promise((done, fail) => crypto.scrypt("a", "b", 32, (error) => (error ? fail(error) : done())));
  require("dns").lookup("localhost", (error) => { assert.equal(error, null); console.log("fine"); });
})();
"""
C = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void *add(void *sum) { __atomic_add_fetch((int *)sum, 1, __ATOMIC_SEQ_CST); return 0; }
static int child(void *nothing) { return 7; }
int main(void) {
    pthread_t threads[64];
    int sum = 0, status;
    for (int i = 0; i < 64; i++) if (pthread_create(&threads[i], 0, add, &sum)) return 1;
    for (int i = 0; i < 64; i++) pthread_join(threads[i], 0);
    /* as Go starts a program: a clone that shares memory until the exec, with a pidfd */
    int pidfd = -1, flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | 17;
    int pid = clone(child, (char *)malloc(65536) + 65536, flags, 0, &pidfd);
    if (pid < 0 || pidfd < 0 || waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 7) return 2;
    FILE *shell = popen("exit 5", "r");
    if (WEXITSTATUS(pclose(shell)) != 5 || sum != 64) return 3;
    return 0;
}
"""
JAVA = """
import java.nio.file.*; import java.util.*; import java.util.concurrent.*; import java.net.*;
public class Probe {
  public static void main(String[] arguments) throws Exception {
    var pool = Executors.newFixedThreadPool(8);
    Callable<Integer> one = () -> 1;
    var sums = pool.invokeAll(Collections.nCopies(64, one));
    int sum = 0; for (var each : sums) sum += each.get();
    pool.shutdown();
    if (sum != 64 || new ProcessBuilder("/bin/sh", "-c", "exit 5").start().waitFor() != 5) System.exit(1);
    var watch = FileSystems.getDefault().newWatchService();
    Path.of(".").register(watch, StandardWatchEventKinds.ENTRY_CREATE);
    Files.writeString(Path.of("seen"), "x");
    if (watch.poll(20, TimeUnit.SECONDS) == null) System.exit(2);
    try (var server = new ServerSocket(0); var client = new Socket("localhost", server.getLocalPort())) {
      server.accept().close();
    }
    if (!NetworkInterface.networkInterfaces().findAny().isPresent()) System.exit(3);
    System.gc();
  }
}
"""
BASH = """
set -euo pipefail
mkfifo pipe; (echo through > pipe) & read -r word < pipe; wait
[ "$word" = through ]; [ "$(cat <(echo a) <(echo b) | sort -r | head -1)" = b ]
exec 9> lock; flock -n 9; umask 077; ulimit -n 100; trap 'true' USR1; kill -USR1 $$
coproc cat; echo x >&"${COPROC[1]}"; read -r back <&"${COPROC[0]}"; [ "$back" = x ]
tar -cf - lock | tar -tf - > /dev/null; id > /dev/null; df . > /dev/null; date > /dev/null
"""


def run(*argv, bind=None):
    """Run a program under the filter, in a sandbox of an ordinary user; its output."""
    descriptor = open_filter(compile_filter(platform.machine()))
    try:
        binds = [] if bind is None else ["--ro-bind", bind, "/tmp/bound"]
        command = [*SANDBOX, *binds, *bubblewrap_arguments(descriptor), *argv]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, pass_fds=[descriptor], capture_output=True, timeout=50)
    finally:
        os.close(descriptor)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    return done.stdout.decode()


def find(program):
    """Its path, or skip loudly."""
    return shutil.which(program) or pytest.skip(f"{program} is not installed")


@pytest.mark.parametrize("name", PYTHON)
def test_python_works_under_the_filter(tmp_path, name):
    (tmp_path / "program.py").write_text(PYTHON[name])
    run("/usr/bin/python3", "-I", "/tmp/bound/program.py", bind=str(tmp_path))


def test_node_works_under_the_filter():
    assert run(find("node"), "-e", NODE) == "fine\n"


def test_bash_works_under_the_filter():
    run(find("bash"), "-c", BASH)


def test_a_static_c_program_with_threads_and_clones_works_under_the_filter(tmp_path):
    (tmp_path / "probe.c").write_text(C)
    subprocess.run([find("gcc"), "-static", "-pthread", "-o", tmp_path / "probe", tmp_path / "probe.c"], check=True)
    run("/tmp/bound/probe", bind=str(tmp_path))


def test_java_works_under_the_filter(tmp_path):
    (tmp_path / "Probe.java").write_text(JAVA)
    run(find("java"), "-Xshare:auto", "/tmp/bound/Probe.java", bind=str(tmp_path))
