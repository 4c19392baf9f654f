"""Started inside the sandbox as /var/runtime/bootstrap.py: AWS's module search path, then AWS's own runtime client."""

import os
import stat
import sys

environ = os.environ  # environ: this is the function's own process


def set_search_path(task_root: str, runtime_dir: str) -> None:
    """Put the function's code first, then layers, then what the runtime brings, then the standard library."""
    # Developer guide, "Layers for Python Lambda functions": both folders of /opt are searched.
    layers = ["/opt/python/lib/python{}.{}/site-packages".format(*sys.version_info[:2]), "/opt/python"]
    first = [task_root, *layers, runtime_dir]
    sys.path[:] = first + [path for path in sys.path if path not in first]
    # Recorded from AWS: PYTHONPATH=/var/runtime, for programs that the function starts.
    environ.setdefault("PYTHONPATH", runtime_dir)


def use_prepared_bytecode(task_root: str) -> None:
    """Take the bytecode of the function's own files from where Lambent compiled it, all other from beside the source.

    ``PYTHONPYCACHEPREFIX`` names the place. The interpreter's own use of it would hide the bytecode of the standard
    library and of this folder, and the function would see the variable.
    """
    prefix = sys.pycache_prefix
    if not prefix or not os.path.isdir(prefix + "/var/task"):
        return  # the function's own setting
    sys.pycache_prefix = None
    del environ["PYTHONPYCACHEPREFIX"]
    importer = vars(sys.modules["_frozen_importlib_external"])  # import looks the function up there, by this name
    beside = importer["cache_from_source"]
    tag = f".{sys.implementation.cache_tag}.pyc"

    def cache_from_source(path: object, *args: object, **options: object) -> object:
        if isinstance(path, str) and path.startswith(task_root + "/") and path.endswith(".py"):
            return prefix + "/var/task" + path[len(task_root) : -3] + tag
        return beside(path, *args, **options)

    importer["cache_from_source"] = cache_from_source


def leave_out_request_id() -> None:
    """Report errors as Python 3.8's client does. Recorded from AWS, January 2026: no requestId in them."""
    from awslambdaric import bootstrap  # type: ignore[import-not-found]

    make_error = bootstrap.make_error

    def make_older_error(*args: object, **options: object) -> object:
        error = make_error(*args, **options)
        error.pop("requestId", None)
        return error

    bootstrap.make_error = make_older_error


def main() -> None:
    """Serve the function named by ``_HANDLER`` until the sandbox ends."""
    if stat.S_ISSOCK(os.fstat(0).st_mode):  # started ahead of time: the function comes by this channel
        import stem_cell  # type: ignore[import-not-found]

        stem_cell.become_function()
    task_root = environ["LAMBDA_TASK_ROOT"]
    if sys.version_info < (3, 12):
        # Recorded from AWS: absent there, as Amazon Linux 2 has the locale of LANG; an interpreter that lacks it sets
        # this (PEP 538).
        environ.pop("LC_CTYPE", None)
    use_prepared_bytecode(task_root)
    # Before the function's own folder is searched: a client or a simplejson that it packed must not replace these.
    from awslambdaric.__main__ import main as serve  # type: ignore[import-not-found]

    if sys.version_info < (3, 9):  # noqa: UP036  (Lambent itself needs 3.11, functions do not)
        leave_out_request_id()
    set_search_path(task_root, environ["LAMBDA_RUNTIME_DIR"])
    serve([sys.argv[0], environ["_HANDLER"]])


if __name__ == "__main__":
    main()
