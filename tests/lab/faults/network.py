# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""An API server that misbehaves at chosen requests: which ones depends on their number among those of their sort only."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from faults.proxy import Action, CutStream, Delay, Proxy, Reply, Request, Reset, Sort
from faults.runner import Kill


@dataclass(frozen=True)
class Every:
    """The ``first`` request of a sort and each ``step``-th after it meet the actions in turn. step 0: the first only."""

    sort: Sort
    first: int
    step: int
    actions: tuple[Action, ...]

    def action(self, number: int) -> Action | None:
        """What the number-th request of the sort meets."""
        turn, rest = divmod(number - self.first, self.step) if self.step else (0, number - self.first)
        return self.actions[turn % len(self.actions)] if turn >= 0 and rest == 0 else None


@dataclass
class Network(Kill):
    """Rules for all runs of a cell: the numbers go on from run to run, so that the second meets its faults elsewhere.

    Without rules it only looks on. only: methods that the server would ever answer so. injected: what was done to which
    request, a sentence each. requests: those of the run under way.
    """

    rules: tuple[Every, ...] = ()
    only: tuple[str, ...] = ()
    injected: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    resting: bool = False

    def __post_init__(self) -> None:
        super().__init__(0, "before")
        self._numbers: Counter[str] = Counter()
        self._one = threading.Lock()

    def arm(self, proxy: Proxy, end: Callable[[], None]) -> None:
        self.requests, proxy.on_request = proxy.requests, self._act

    def _act(self, request: Request) -> Action | None:
        if self.resting or (self.only and request.method not in self.only):
            return None
        with self._one:
            self._numbers[request.sort] += 1
            number = self._numbers[request.sort]
            rules = (rule.action(number) for rule in self.rules if rule.sort == request.sort)
            action = next((found for found in rules if found), None)
            if action:
                self.injected.append(f"{request.sort} {number} ({request.method} {request.resource}): {action}")
        return action


def everywhere(*actions: Action, first: int = 2) -> tuple[Every, ...]:
    """Several requests of each sort, reads more seldom: there are many of them."""
    return (
        Every("read", first + 3, 17, actions),
        Every("watch", first, 4, actions),
        Every("write", first + 3, 8, actions),
        Every("exec", first, 5, actions),
    )


def conflicts() -> Network:
    """409: somebody else wrote in between."""
    return Network((Every("write", 4, 7, (Reply(409, "Conflict"),)),), only=("PATCH", "PUT", "DELETE"))


def busy() -> Network:
    """429 with Retry-After, as priority and fairness answer under load."""
    return Network(everywhere(Reply(429, "TooManyRequests", headers=(("Retry-After", "1"),)), first=1))


def broken() -> Network:
    """500 and 503."""
    return Network(everywhere(Reply(500, "InternalError"), Reply(503, "ServiceUnavailable")))


def resets() -> Network:
    """Connections reset, in turn before the server saw the request and after it answered."""
    return Network(everywhere(Reset("after"), Reset("before"), first=3))


def slow() -> Network:
    """Answers that take a second or two, and one read and one exec that take longer than an engine call may."""
    one, two = Delay(1.0, "after"), Delay(2.0)
    return Network((
        Every("read", 25, 0, (Delay(12.0, "after"),)), Every("exec", 5, 0, (Delay(12.0),)),
        Every("read", 4, 19, (one, two)), Every("watch", 3, 5, (one,)), Every("write", 2, 5, (one, two)), Every("exec", 2, 4, (two, one)),
    ))  # fmt: skip


def cut_watches() -> Network:
    """Watches that end early, with and without a first event."""
    return Network((Every("watch", 1, 2, (CutStream(after_seconds=0.1), CutStream(after_bytes=0))),))


def cut_execs() -> Network:
    """Engine calls whose answer is lost: while they run, or when they have done their work. The first of a deploy is init."""
    return Network((Every("exec", 1, 3, (Reset("after"), CutStream(after_bytes=0))),))
