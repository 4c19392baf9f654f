"""Migrations: forward, once, and all or nothing."""

import sqlite3

import pytest

from lambent.model.errors import Refused
from lambent.store.sqlite.schema import APPLICATION_ID, MIGRATIONS, connect, create_file, migrate


@pytest.fixture
def db(tmp_path):
    create_file(tmp_path / "lambent.db")
    connection = connect(tmp_path / "lambent.db")
    yield connection
    connection.close()


def pragma(db, name):
    return db.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_new_file_gets_the_newest_schema_and_the_stores_settings(db):
    migrate(db)
    assert pragma(db, "user_version") == len(MIGRATIONS)
    assert pragma(db, "application_id") == APPLICATION_ID
    assert pragma(db, "journal_mode") == "wal"
    assert pragma(db, "synchronous") == 2  # FULL
    assert pragma(db, "auto_vacuum") == 2  # incremental
    assert pragma(db, "busy_timeout") == 5000


def test_a_file_of_an_older_version_is_brought_forward_and_keeps_what_it_holds(db):
    migrate(db)
    db.execute("INSERT INTO doc VALUES('k', 1, '{}')")
    newer = (*MIGRATIONS, "ALTER TABLE doc ADD COLUMN colour TEXT DEFAULT 'red';")
    migrate(db, newer)
    migrate(db, newer)
    assert db.execute("SELECT key, colour FROM doc").fetchall() == [("k", "red")]
    assert pragma(db, "user_version") == len(newer)


def test_a_migration_that_fails_half_way_changes_nothing(db):
    migrate(db)
    with pytest.raises(sqlite3.Error):
        migrate(db, (*MIGRATIONS, "CREATE TABLE good(a); CREATE TABLE doc(a);"))
    assert pragma(db, "user_version") == len(MIGRATIONS)
    assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'good'").fetchone() == (0,)
    assert not db.in_transaction


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        pytest.param(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=2", "version 2", id="newer"),
        pytest.param("CREATE TABLE theirs(a)", "not a database of Lambent", id="somebody-elses-tables"),
        pytest.param("PRAGMA application_id=7", "not a database of Lambent", id="somebody-elses-id"),
    ],
)
def test_what_is_newer_or_not_ours_is_refused_and_not_touched(db, prepare, message):
    db.executescript(prepare)
    before = db.execute("SELECT * FROM sqlite_schema").fetchall(), pragma(db, "user_version")
    with pytest.raises(Refused, match=message):
        migrate(db)
    assert (db.execute("SELECT * FROM sqlite_schema").fetchall(), pragma(db, "user_version")) == before
