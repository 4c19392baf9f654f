"""Runs inside a prepared sandbox: AWS's runtime client is started and rehearsed before any function is known.

Descriptor 0 is the channel to Lambent: out goes ``ready``, in comes ``{"environ": …, "born": …}``, once. Nothing is
imported that the client does not import anyway, so that a function finds the ``sys.modules`` of a spawned one.
"""

import json
import logging
import os
import sys
import time

READY = b"ready"
MESSAGE_LIMIT_BYTES = 1 << 16
LOG_FD = 62
OWN_STATUS, OWN_MEMORY = "/proc/self/stat", "/proc/self/mem"
UNKNOWN_CLIENT = 3  # the exit code

# What one invocation leaves in the client's module, by the client's version. A version that is not here is never
# rehearsed: its functions are spawned.
CLIENT_STATE = {
    "2.2.1": ("_GLOBAL_AWS_REQUEST_ID",),
    "4.0.4": ("_GLOBAL_AWS_REQUEST_ID", "_GLOBAL_TENANT_ID"),
    "4.2.2": ("_GLOBAL_AWS_REQUEST_ID", "_GLOBAL_TENANT_ID"),
}

environ = os.environ  # environ: this becomes the function's own process


class Rehearsed(BaseException):
    """Ends the rehearsal. No Exception: the client must not take it for a function's error."""


def become_function() -> None:
    """Rehearse, wait for a function, and be its process; returns when the environment is the function's."""
    started = dict(environ)
    rehearse()
    collect_garbage()
    os.write(0, READY)
    message = os.read(0, MESSAGE_LIMIT_BYTES)
    if not message:
        os._exit(0)  # nobody has a use for it
    # A spawned function finds /dev/null there, and no channel to anybody.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    take_on(json.loads(message), started)


def take_on(assignment: "dict[str, dict[str, str]]", started: "dict[str, str]") -> None:
    """Replace every variable, but keep what the start itself added: those a spawned process would have, too."""
    born = assignment["born"]
    added = {name: value for name, value in started.items() if born.get(name) != value}
    environ.clear()
    environ.update(assignment["environ"])
    environ.update(added)
    # The interpreter itself sets LC_CTYPE, after its start (PEP 538).
    show_environ({name: value for name, value in environ.items() if name not in added or name != "LC_CTYPE"})
    time.tzset()
    os.chdir(environ["LAMBDA_TASK_ROOT"])
    sys.pycache_prefix = environ.get("PYTHONPYCACHEPREFIX")
    # Log records tell how long after this they were made.
    now_s = time.time()  # clock: the function's own process
    nanoseconds = isinstance(logging._startTime, int)  # type: ignore[attr-defined]
    logging._startTime = int(now_s * 1e9) if nanoseconds else now_s  # type: ignore[attr-defined]
    del sys.modules[__name__]


def show_environ(variables: "dict[str, str]") -> None:
    """Have /proc/self/environ tell of the new variables: where the old ones stood nothing points any more."""
    block = b"".join(os.fsencode(name + "=" + value) + b"\0" for name, value in variables.items())
    try:
        with open(OWN_STATUS, "rb") as status:
            fields = status.read().rpartition(b")")[2].split()
        start, end = int(fields[47]), int(fields[48])  # proc(5): env_start is field 50, counted from the pid
        if len(block) > end - start:
            return
        memory = os.open(OWN_MEMORY, os.O_WRONLY)
        os.pwrite(memory, block.ljust(end - start, b"\0"), start)
        os.close(memory)
    except OSError:
        pass  # where /proc forbids it, the old ones stay, which are nobody's


def collect_garbage() -> None:
    """Free what the rehearsal left."""
    is_new = "gc" not in sys.modules
    import gc

    gc.collect()
    if is_new:
        del sys.modules["gc"]


def rehearse() -> None:
    """Run one invocation of nothing through the real client and the real Runtime API, and undo every trace of it."""
    import awslambdaric  # type: ignore[import-not-found]
    from awslambdaric import bootstrap
    from awslambdaric.__main__ import main as serve  # type: ignore[import-not-found]
    from awslambdaric.lambda_runtime_client import LambdaRuntimeClient  # type: ignore[import-not-found]

    if awslambdaric.__version__ not in CLIENT_STATE:
        os.write(2, b"this version of the runtime client is not known\n")
        os._exit(UNKNOWN_CLIENT)
    streams, converter, level = (sys.stdout, sys.stderr), logging.Formatter.converter, logging.root.level
    poll = LambdaRuntimeClient.wait_next_invocation
    is_own = "wait_next_invocation" in vars(LambdaRuntimeClient)

    def stop(client: object) -> object:
        raise Rehearsed

    def poll_once(client: object) -> object:
        LambdaRuntimeClient.wait_next_invocation = stop
        return poll(client)

    play = sys.modules["rehearsal"] = type(sys)("rehearsal")
    play.handler = lambda event, context: [event, context.get_remaining_time_in_millis()]  # type: ignore[attr-defined]
    LambdaRuntimeClient.wait_next_invocation = poll_once
    environ["_LAMBDA_TELEMETRY_LOG_FD"] = str(os.dup(LOG_FD))  # the client closes it with the rehearsal
    try:  # noqa: SIM105  (contextlib is not the client's)
        serve([sys.argv[0], "rehearsal.handler"])
    except Rehearsed:
        pass
    if is_own:
        LambdaRuntimeClient.wait_next_invocation = poll
    else:
        del LambdaRuntimeClient.wait_next_invocation
    del sys.modules["rehearsal"]
    sys.stdout, sys.stderr = streams
    logging.Formatter.converter = converter
    logging.root.handlers.clear()
    logging.root.setLevel(level)
    for name in CLIENT_STATE[awslambdaric.__version__]:
        setattr(bootstrap, name, None)
    forget_threads()


def forget_threads() -> None:
    """Let the function's own pools of threads be numbered as if the client had not polled in one yet."""
    threads = sys.modules.get("concurrent.futures.thread")
    if threads is not None:
        count = sys.modules["itertools"].count
        threads.ThreadPoolExecutor._counter = count().__next__
