"""What the writer forgets in passing."""

import pytest

from lambent.store.contract import ANY
from lambent.store.limits import Write
from lambent.store.sqlite.documents import write
from lambent.store.sqlite.schema import connect, create_file, migrate
from lambent.store.sqlite.upkeep import Upkeep
from lambent.store.sqlite.writer import Transaction

HOUR_US = 3_600_000_000


@pytest.fixture
def db(tmp_path):
    create_file(tmp_path / "lambent.db")
    connection = connect(tmp_path / "lambent.db")
    migrate(connection)
    yield connection
    connection.close()


def change(db, upkeep, now_us, count):
    tx = Transaction(db, now_us, now_us)
    for n in range(count):
        write(tx, Write(f"k{n}", b"1", ANY))
    upkeep(tx)


def log_range(db):
    return db.execute("SELECT min(rev), max(rev), count(*) FROM doc_log").fetchone()


def test_the_log_keeps_its_newest_rows(db):
    upkeep = Upkeep(log_limit_rows=100)
    change(db, upkeep, 0, 250)
    assert log_range(db) == (151, 250, 100)


def test_the_log_keeps_an_hour_and_forgets_what_is_older(db):
    upkeep = Upkeep()
    change(db, upkeep, 0, 10)
    change(db, upkeep, HOUR_US // 2, 10)
    change(db, upkeep, HOUR_US, 1)
    assert log_range(db) == (1, 21, 21)
    change(db, upkeep, HOUR_US + 61_000_000, 1)
    assert log_range(db) == (11, 22, 12)
    change(db, upkeep, 9 * HOUR_US, 0)
    assert log_range(db) == (None, None, 0)


def test_much_is_forgotten_in_several_groups(db):
    upkeep = Upkeep(log_limit_rows=10)
    change(db, upkeep, 0, 5000)
    assert log_range(db)[2] == 3000
    change(db, upkeep, 1, 0)
    change(db, upkeep, 2, 0)
    assert log_range(db) == (4991, 5000, 10)


def test_ids_are_forgotten_after_a_day_and_not_before(db):
    upkeep = Upkeep()
    db.execute("INSERT INTO op VALUES(x'01', NULL, 0)")
    change(db, upkeep, 24 * HOUR_US - 1, 0)
    assert db.execute("SELECT count(*) FROM op").fetchone() == (1,)
    change(db, upkeep, 24 * HOUR_US + 61_000_000, 0)
    assert db.execute("SELECT count(*) FROM op").fetchone() == (0,)
