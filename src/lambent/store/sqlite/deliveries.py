"""What happens to items of queues, as plain functions inside a transaction of the writer's thread."""

from typing import Any, Final

from lambent.store.contract import Delivery, Depth
from lambent.store.limits import REMEMBERED_S, NewItem, after_prefix
from lambent.store.sqlite.schema import BLOCKED, INLINE_LIMIT_BYTES
from lambent.store.sqlite.writer import PARKED, Transaction

_INSERT: Final = "INSERT INTO item(n, id, q, grp, vis, attempt, rcpt, at, body) VALUES(?, ?, ?, ?, ?, 0, 0, ?, ?)"
_CLAIM: Final = """
UPDATE item SET vis = ?, attempt = attempt + 1, rcpt = rcpt + 1 + (rcpt & 1)
WHERE n IN (SELECT n FROM item WHERE q = ? AND vis <= ? ORDER BY vis LIMIT ?)
RETURNING n, id, attempt, rcpt, body
"""
_REMEMBERED_US: Final = REMEMBERED_S * 1_000_000


def insert_item(tx: Transaction, item: NewItem) -> str:
    """Store one item, unless its id was there within a day; return its id."""
    if item.id is not None and _is_known(tx, item.queue, item.id):
        return item.id
    visible_at = tx.now_us + item.delay_us
    if item.group is not None:
        waits = tx.db.execute("SELECT 1 FROM item WHERE q = ? AND grp = ? LIMIT 1", (item.queue, item.group)).fetchone()
        visible_at += BLOCKED if waits else 0
    body = item.body if len(item.body) <= INLINE_LIMIT_BYTES else None
    number = tx.next_item()
    tx.db.execute(_INSERT, (number, item.id, item.queue, item.group, visible_at, tx.now_us, body))
    if body is None:
        tx.db.execute("INSERT INTO item_body VALUES(?, ?)", (number, item.body))
    tx.queues.add(item.queue)
    return item.id or f"item-{number}"


def insert_items(tx: Transaction, items: list[NewItem]) -> list[str]:
    """Store items; return their ids. Many plain ones are one call of SQLite's."""
    if len(items) < 4 or any(item.id or item.group or len(item.body) > INLINE_LIMIT_BYTES for item in items):
        return [insert_item(tx, item) for item in items]
    numbers = [tx.next_item() for _ in items]
    tx.db.executemany(
        _INSERT,
        [
            (number, None, item.queue, None, tx.now_us + item.delay_us, tx.now_us, item.body)
            for number, item in zip(numbers, items, strict=True)
        ],
    )
    tx.queues.update(item.queue for item in items)
    return [f"item-{number}" for number in numbers]


def claim(tx: Transaction, queue: str, limit: int, visible_us: int) -> Any:
    """Deliver up to ``limit`` visible items; PARKED where there is none."""
    rows = tx.db.execute(_CLAIM, (tx.now_us + visible_us, queue, tx.now_us, limit)).fetchall()
    if not rows:
        return PARKED
    rows.sort()
    return [
        Delivery(item_id or f"item-{n}", _body(tx, n) if body is None else body, attempt, f"{n}.{receipt}")
        for n, item_id, attempt, receipt, body in rows
    ]


def ack(tx: Transaction, deliveries: tuple[Delivery, ...]) -> list[Delivery]:
    """Remove each item whose receipt lives; return the deliveries whose receipts do not."""
    return [each for each in deliveries if not _ack_one(tx, each)]


def nak(tx: Transaction, delivery: Delivery, delay_us: int, body: bytes | None) -> bool:
    """Give an item back; False where the receipt is dead."""
    number, receipt = _parse(delivery.receipt)
    row = tx.db.execute(
        "UPDATE item SET vis = ?, rcpt = rcpt + 1 WHERE n = ? AND rcpt = ? RETURNING q, body IS NULL",
        (tx.now_us + delay_us, number, receipt),
    ).fetchone()
    if row is None:
        return False
    if body is not None:
        if row[1]:
            tx.db.execute("DELETE FROM item_body WHERE n = ?", (number,))
        inline = body if len(body) <= INLINE_LIMIT_BYTES else None
        tx.db.execute("UPDATE item SET body = ? WHERE n = ?", (inline, number))
        if inline is None:
            tx.db.execute("INSERT INTO item_body VALUES(?, ?)", (number, body))
    tx.queues.add(row[0])
    return True


def extend(tx: Transaction, delivery: Delivery, visible_us: int) -> bool:
    """Keep an item for longer; False where the receipt is dead."""
    row = tx.db.execute(
        "UPDATE item SET vis = ? WHERE n = ? AND rcpt = ? RETURNING q",
        (tx.now_us + visible_us, *_parse(delivery.receipt)),
    ).fetchone()
    if row is None:
        return False
    tx.queues.add(row[0])  # the parked ones have a new instant to wake at
    return True


def give_back(tx: Transaction, deliveries: list[Delivery]) -> None:
    """Undo a claim that reached nobody: the items are visible now, and the attempt does not count."""
    for each in deliveries:
        row = tx.db.execute(
            "UPDATE item SET vis = ?, rcpt = rcpt + 1, attempt = attempt - 1 WHERE n = ? AND rcpt = ? RETURNING q",
            (tx.now_us, *_parse(each.receipt)),
        ).fetchone()
        if row is not None:
            tx.queues.add(row[0])


def depth(db: Any, queue: str, now_us: int) -> Depth:
    """Return the counts of a queue; reads all of its rows, so it belongs into a thread."""
    row = db.execute(
        """SELECT total(CASE WHEN vis >= :blocked THEN vis - :blocked <= :now ELSE vis <= :now END),
                  total(vis < :blocked AND vis > :now AND rcpt & 1), count(*), min(at) FROM item WHERE q = :q""",
        {"blocked": BLOCKED, "now": now_us, "q": queue},
    ).fetchone()
    visible, in_flight, count = int(row[0]), int(row[1]), int(row[2])
    age_s = 0.0 if row[3] is None else max(0.0, (now_us - row[3]) / 1_000_000)
    return Depth(visible=visible, in_flight=in_flight, delayed=count - visible - in_flight, oldest_age_s=age_s)


def names(db: Any, prefix: str) -> list[str]:
    """Return the names of queues that hold an item; jumps from queue to queue, whatever they hold."""
    found: list[str] = []
    bound, after = after_prefix(prefix), prefix
    query = "SELECT min(q) FROM item WHERE q >= ?"
    while (name := db.execute(query, (after,)).fetchone()[0]) is not None and (bound is None or name < bound):
        found.append(name)
        query, after = "SELECT min(q) FROM item WHERE q > ?", name
    return found


def hasten(tx: Transaction, queue: str) -> int:
    """Make delayed items visible; an odd receipt is a delivery that may be live."""
    tx.queues.add(queue)
    return tx.db.execute(
        "UPDATE item SET vis = ? WHERE q = ? AND vis > ? AND vis < ? AND rcpt & 1 = 0",
        (tx.now_us, queue, tx.now_us, BLOCKED),
    ).rowcount


def purge(tx: Transaction, queue: str) -> int:
    """Remove all items of a queue."""
    tx.db.execute("DELETE FROM item_body WHERE n IN (SELECT n FROM item WHERE q = ?)", (queue,))
    return tx.db.execute("DELETE FROM item WHERE q = ?", (queue,)).rowcount


def _is_known(tx: Transaction, queue: str, item_id: str) -> bool:
    return bool(
        tx.db.execute("SELECT 1 FROM item WHERE q = ? AND id = ?", (queue, item_id)).fetchone()
        or tx.db.execute(
            "SELECT 1 FROM op WHERE id = ? AND at > ?", (_memory(queue, item_id), tx.now_us - _REMEMBERED_US)
        ).fetchone()
    )


def _ack_one(tx: Transaction, delivery: Delivery) -> bool:
    number, receipt = _parse(delivery.receipt)
    row = tx.db.execute(
        "DELETE FROM item WHERE n = ? AND rcpt = ? RETURNING q, id, grp, at, body IS NULL", (number, receipt)
    ).fetchone()
    if row is None:
        return False
    queue, item_id, group, enqueued_at, is_apart = row
    if is_apart:
        tx.db.execute("DELETE FROM item_body WHERE n = ?", (number,))
    if item_id is not None and enqueued_at > tx.now_us - _REMEMBERED_US:
        tx.db.execute("INSERT OR REPLACE INTO op VALUES(?, NULL, ?)", (_memory(queue, item_id), enqueued_at))
    if group is not None:
        tx.db.execute(
            """UPDATE item SET vis = vis - ? WHERE vis >= ?
               AND n = (SELECT min(n) FROM item WHERE q = ? AND grp = ?)""",
            (BLOCKED, BLOCKED, queue, group),
        )
        tx.queues.add(queue)
    return True


def _memory(queue: str, item_id: str) -> bytes:
    return b"i\0" + queue.encode() + b"\0" + item_id.encode()


def _body(tx: Transaction, number: int) -> bytes:
    body: bytes = tx.db.execute("SELECT body FROM item_body WHERE n = ?", (number,)).fetchone()[0]
    return body


def _parse(receipt: str) -> tuple[int, int]:
    """Return item number and receipt; what no store has written matches no item."""
    number, _, count = receipt.partition(".")
    return (int(number), int(count)) if _is_number(number) and _is_number(count) else (-1, -1)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= 18  # fits into 64 bits
