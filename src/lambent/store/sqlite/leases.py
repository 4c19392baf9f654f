"""Leases in SQLite. Their time is monotonic: a step of the wall clock neither ends nor prolongs one."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from lambent.model.clock import Clock
from lambent.store.contract import Fenced, Holding, NotOwner
from lambent.store.limits import check_key, delay_us, mono_us, now_us
from lambent.store.sqlite.reader import Readers
from lambent.store.sqlite.writer import Transaction, Writer

_LIVE: Final = "name = ? AND holder = ? AND token = ? AND epoch = ? AND exp > ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a caller of ``acquire`` asks for."""

    name: str
    holder: str
    ttl_us: int
    amount: int
    limit: int
    is_partial: bool
    linger_us: int
    epoch: int


class SqliteLeases:
    """``Leases`` over a writer and readers."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock) -> None:
        self._writer, self._readers, self._clock = writer, readers, clock

    async def acquire(
        self,
        name: str,
        holder: str,
        *,
        ttl_s: float,
        amount: int = 1,
        limit: int = 1,
        partial: bool = False,
        linger_s: float = 0.0,
        epoch: int = 0,
    ) -> Holding | None:
        """Return the holder's whole holding of ``name``, grown by ``amount``; None where that would pass ``limit``."""
        if amount < 1:
            raise ValueError(f"an amount is at least 1: {amount}")
        wish = Wish(
            name=check_key(name),
            holder=check_key(holder),
            ttl_us=delay_us(ttl_s),
            amount=amount,
            limit=limit,
            is_partial=partial,
            linger_us=delay_us(linger_s),
            epoch=epoch,
        )
        holding: Holding | None = await self._writer.run(lambda tx: acquire(tx, wish))
        return holding

    async def renew(self, *holdings: Holding, ttl_s: float) -> list[bool]:
        """Move the ends to ``ttl_s`` from now, in one commit; False for each that is not live."""
        ttl_us = delay_us(ttl_s)
        renewed: list[bool] = await self._writer.run(lambda tx: [_renew(tx, each, ttl_us) for each in holdings])
        return renewed

    async def release(self, holding: Holding, amount: int | None = None) -> None:
        """Give back ``amount`` (None: all) at once, without lingering."""
        await self._writer.run(lambda tx: _release(tx, holding, amount))

    async def holders(self, name: str) -> list[Holding]:
        """Return the live holdings of ``name``, by holder."""
        check_key(name)
        wall, mono = now_us(self._clock), mono_us(self._clock)
        rows = await self._readers.run(
            lambda db: db.execute(
                "SELECT holder, n, token, epoch, exp FROM hold WHERE name = ? AND exp > ? ORDER BY holder", (name, mono)
            ).fetchall()
        )
        return [
            Holding(name=name, holder=holder, amount=n, token=token, epoch=epoch, expires_at=instant(wall + exp - mono))
            for holder, n, token, epoch, exp in rows
        ]


def acquire(tx: Transaction, wish: Wish) -> Holding | None:
    """Grant what fits; None where nothing does. Fenced for an epoch that was superseded."""
    _register(tx, wish.holder, wish.epoch)
    tx.db.execute("DELETE FROM hold WHERE name = ? AND exp + linger <= ?", (wish.name, tx.mono_us))
    lent = int(tx.db.execute("SELECT total(n) FROM hold WHERE name = ?", (wish.name,)).fetchone()[0])
    amount = min(wish.amount, wish.limit - lent) if wish.is_partial else wish.amount
    if amount < 1 or lent + amount > wish.limit:
        return None
    # What expired and still lingers keeps its own row: it counts, and gives no right.
    live = tx.db.execute(
        "SELECT n, token FROM hold WHERE name = ? AND holder = ? AND exp > ?", (wish.name, wish.holder, tx.mono_us)
    ).fetchone()
    if live is None:
        token = int(tx.db.execute("UPDATE meta SET v = v + 1 WHERE k = 'token' RETURNING v").fetchall()[0][0])
    else:
        amount, token = amount + live[0], live[1]
    ends = tx.mono_us + wish.ttl_us
    tx.db.execute(
        "INSERT OR REPLACE INTO hold(name, holder, token, n, epoch, exp, linger) VALUES(?, ?, ?, ?, ?, ?, ?)",
        (wish.name, wish.holder, token, amount, wish.epoch, ends, wish.linger_us),
    )
    return Holding(
        name=wish.name,
        holder=wish.holder,
        amount=amount,
        token=token,
        epoch=wish.epoch,
        expires_at=instant(tx.now_us + wish.ttl_us),
    )


def instant(wall_us: int) -> datetime:
    """Return microseconds since 1970 as an aware instant."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=wall_us)


def _register(tx: Transaction, holder: str, epoch: int) -> None:
    """Note a holder's restart: its older holdings end at once, lingering ones too, for what it started is dead."""
    row = tx.db.execute("SELECT epoch FROM holder WHERE holder = ?", (holder,)).fetchone()
    known = 0 if row is None else int(row[0])
    if epoch < known:
        raise Fenced(f"{holder} has epoch {known} by now, not {epoch}")
    if epoch > known:
        tx.db.execute("INSERT OR REPLACE INTO holder VALUES(?, ?)", (holder, epoch))
        tx.db.execute("DELETE FROM hold WHERE holder = ? AND epoch < ?", (holder, epoch))


def _renew(tx: Transaction, holding: Holding, ttl_us: int) -> bool:
    renewed = tx.db.execute(f"UPDATE hold SET exp = ? WHERE {_LIVE}", (tx.mono_us + ttl_us, *_live(tx, holding)))  # noqa: S608
    return renewed.rowcount == 1


def _release(tx: Transaction, holding: Holding, amount: int | None) -> None:
    row = tx.db.execute(f"SELECT n FROM hold WHERE {_LIVE}", _live(tx, holding)).fetchone()  # noqa: S608
    if row is None:
        raise NotOwner(f"{holding.holder} does not hold {holding.name} any more (token {holding.token})")
    left = 0 if amount is None else row[0] - amount
    if left < 0 or (amount is not None and amount < 1):
        raise ValueError(f"{holding.holder} holds {row[0]} of {holding.name}, and cannot give back {amount}")
    where = (holding.name, holding.holder, holding.token)
    if left:
        tx.db.execute("UPDATE hold SET n = ? WHERE name = ? AND holder = ? AND token = ?", (left, *where))
    else:
        tx.db.execute("DELETE FROM hold WHERE name = ? AND holder = ? AND token = ?", where)


def _live(tx: Transaction, holding: Holding) -> tuple[str, str, int, int, int]:
    return (holding.name, holding.holder, holding.token, holding.epoch, tx.mono_us)
