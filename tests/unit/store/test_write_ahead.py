"""Two that open a new file in the same moment both get it."""

import sqlite3
import threading

import pytest

from lambent.store.sqlite.schema import connect
from lambent.store.streams.segment import Segment
from lambent.store.write_ahead import use_write_ahead_log


@pytest.fixture
def other(tmp_path):
    """A connection that is about to write, to a file that nobody has switched yet."""
    db = sqlite3.connect(tmp_path / "new.db", isolation_level=None, check_same_thread=False)
    db.execute("BEGIN IMMEDIATE")
    yield db
    db.close()


def open_it(tmp_path, busy_timeout_ms=5000):
    db = sqlite3.connect(tmp_path / "new.db", isolation_level=None)
    db.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")
    return db


def test_switching_waits_for_another_connection_that_is_about_to_write(tmp_path, other):
    def tried(statement):
        if statement == "BEGIN IMMEDIATE":  # the switch failed, and now it waits
            other.execute("COMMIT")

    db = open_it(tmp_path)
    db.set_trace_callback(tried)
    use_write_ahead_log(db)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


def test_switching_gives_up_at_the_busy_timeout(tmp_path, other):
    db = open_it(tmp_path, busy_timeout_ms=20)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        use_write_ahead_log(db)
    db.close()


@pytest.mark.parametrize(
    "make", [lambda path: connect(path).close(), lambda path: Segment(path, 1, create=True).close()]
)
def test_many_that_open_a_new_file_at_once_all_get_it(tmp_path, make):
    failures = []

    def opened(path, gate):
        gate.wait()
        try:
            make(path)
        except sqlite3.Error as error:
            failures.append(error)

    for number in range(10):
        gate = threading.Barrier(3)
        threads = [threading.Thread(target=opened, args=(tmp_path / f"{number}.db", gate)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
