"""How many invocations may run at once, and begin in a second: an account's pool and shares of it, counted in memory.

What functions may claim of the account stands in its plan; ``apply`` follows it. The seam for many workers: they will
lend blocks of slots to each other, and ``lease`` stays as it is.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol

from lambent.model.concurrency import ConcurrencyPlan
from lambent.model.errors import Throttled, ThrottleReason
from lambent.model.functions import FunctionVersion
from lambent.model.ids import Scope
from lambent.model.invocations import InvokeCall
from lambent.model.rates import Bucket

# Developer guide, "Understanding Lambda function scaling": requests per second are ten times the concurrency.
REQUESTS_PER_SLOT: Final = 10


class Settling(Protocol):
    """What a lease follows: an environment that may be busy after its caller has the answer."""

    @property
    def is_settled(self) -> bool:
        """Whether no invocation is in it."""
        ...

    def when_settled(self, callback: "Lease") -> None:
        """Call ``callback`` when the invocation in it is over."""
        ...


def decide_throttle(
    *, in_flight: int, reserved: int | None, unreserved_in_flight: int, unreserved_limit: int
) -> ThrottleReason | None:
    """Return why one more invocation is refused, or None. ``in_flight`` are the function's own."""
    # Developer guide, "Understanding Lambda function scaling": a reserved share is both a guarantee and a limit; the
    # other functions share what no function reserves.
    if reserved is not None:
        return ThrottleReason.RESERVED_CONCURRENT if in_flight >= reserved else None
    return ThrottleReason.CONCURRENT if unreserved_in_flight >= unreserved_limit else None


class _Function:
    __slots__ = ("in_flight", "rate", "reserved")

    def __init__(self) -> None:
        self.in_flight = 0
        self.reserved: int | None = None  # of its share, what is not provisioned
        self.rate: Bucket | None = None  # of a function with a share; the others have the account's


class _Account:
    __slots__ = ("claimed", "functions", "planned", "rate", "unreserved_in_flight")

    def __init__(self, rate: Bucket) -> None:
        self.functions: dict[str, _Function] = {}
        self.planned: frozenset[str] = frozenset()
        self.claimed = 0
        self.unreserved_in_flight = 0
        self.rate = rate

    def function(self, name: str) -> _Function:
        return self.functions.get(name) or self.functions.setdefault(name, _Function())


class Lease:
    """The right to run one invocation now; ``with`` gives it back, at the latest when what it follows is settled."""

    __slots__ = ("_account", "_followed", "_function", "_is_reserved")

    def __init__(self, account: _Account, function: _Function) -> None:
        self._account = account
        self._function = function
        self._is_reserved = function.reserved is not None
        self._followed: Settling | None = None
        function.in_flight += 1
        account.unreserved_in_flight += not self._is_reserved

    def follow(self, environment: Settling) -> None:
        """Keep the lease until ``environment`` is settled: the function may run on after the caller's answer."""
        self._followed = environment

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        followed = self._followed
        if followed is None or followed.is_settled:
            self()
        else:
            followed.when_settled(self)

    def __call__(self) -> None:
        """Give it back."""
        self._function.in_flight -= 1
        self._account.unreserved_in_flight -= not self._is_reserved


class Concurrency:
    """The counters of every account and region. ``account_limit`` is AWS's ConcurrentExecutions."""

    def __init__(self, account_limit: int = 1000, mono_s: Callable[[], float] = time.monotonic) -> None:
        self._account_limit = account_limit
        self._mono_s = mono_s
        self._accounts: dict[tuple[str, str], _Account] = {}

    def lease(self, version: FunctionVersion, call: InvokeCall) -> Lease:
        """Return a lease for one invocation of ``version``, counted from now. Raises Throttled with AWS's reason."""
        account = self._account(version.scope)
        function = account.function(version.name)
        reason = decide_throttle(
            in_flight=function.in_flight,
            reserved=function.reserved,
            unreserved_in_flight=account.unreserved_in_flight,
            unreserved_limit=self._account_limit - account.claimed,
        )
        if reason is not None:
            raise Throttled(reason)
        # Events wait in their queue: only concurrency limits them.
        if not call.is_event and not (function.rate or account.rate).take(self._mono_s()):
            raise Throttled(ThrottleReason.RATE if function.rate is None else ThrottleReason.RESERVED_RATE)
        return Lease(account, function)

    def apply(self, plan: ConcurrencyPlan) -> None:
        """Follow the account's plan from now on; what runs goes on."""
        account = self._account(plan.scope)
        planned = frozenset(plan.reserved)
        for name in planned | account.planned:
            self._reserve(account.function(name), plan.reserved.get(name), plan.provisioned_of(name))
        account.planned = planned
        account.claimed = self._account_limit - plan.unreserved(self._account_limit)

    def in_flight(self, scope: Scope) -> int:
        """Return how many invocations run in an account and region now."""
        return sum(function.in_flight for function in self._account(scope).functions.values())

    def _account(self, scope: Scope) -> _Account:
        key = (scope.account_id, scope.region)
        return self._accounts.get(key) or self._accounts.setdefault(key, _Account(self._bucket(self._account_limit)))

    def _bucket(self, slots: int) -> Bucket:
        per_s = REQUESTS_PER_SLOT * slots
        return Bucket(per_s, per_s, self._mono_s())

    def _reserve(self, function: _Function, share: int | None, provisioned: int) -> None:
        reserved = None if share is None else max(0, share - provisioned)
        if reserved == function.reserved:
            return
        function.reserved = reserved
        function.rate = None if reserved is None else self._bucket(reserved)
