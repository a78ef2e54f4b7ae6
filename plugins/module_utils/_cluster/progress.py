# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""How far a number has fallen: counts, rate and time left, over slices and runs. Pure. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

EVERY = 5.0  # seconds between two lines about the same thing, so that quick work does not flood


def about(seconds: float) -> str:
    """A duration for a person, rounded as one would say it: C(40 s), C(4 min), C(2 h)."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{round(seconds / 3600)} h"


def took(seconds: float) -> str:
    """How long something took, for a person: C(3 min 12 s)."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Falling:
    """A count that work brings down to 0.

    known: what C(kept) gave at the end of an earlier slice. Another run's clock is not trusted, so its times begin anew; but for how
    long it saw the count stand still is added, or a job that is started again and again would never find a stall.
    Times are seconds of one clock, given with every reading.
    """

    def __init__(self, unit: str, run: str, known: t.Mapping[str, t.Any] | None = None) -> None:
        self.unit, self.run = unit, run
        self._known = dict(known or {})
        if self._known.get("run") != run:
            self._known = {key: value for key, value in self._known.items() if key in ("first", "left", "still")}
        self._told: float | None = None

    def now(self, left: int, clock: float) -> str:
        """Note a reading; the line to say, empty when nothing moved or one was said a moment ago."""
        known = self._known
        moved = left != known.get("left") or "moved" not in known
        if moved:
            before = _seconds(known.get("still")) if left == known.get("left") else 0.0  # seen by earlier runs
            known.setdefault("first", left)
            known["first"] = max(known["first"], left)
            known.update(
                {
                    "run": self.run,
                    "left": left,
                    "moved": clock - before,
                    "since": known.get("since", clock),
                    "from": known.get("from", left),
                }
            )
        known["still"] = self.still_for(clock)
        if not moved or (self._told is not None and left and clock - self._told < EVERY):
            return ""
        self._told = clock
        return self.text

    @property
    def text(self) -> str:
        """Where it stands: C(120 of 341 replicas left   2.1/s   about 1 min left)."""
        left, rate = self._known["left"], self.rate
        tail = f"   {rate:.1f}/s   about {about(left / rate)} left" if rate > 0 and left else ""
        return f"{left} of {self._known['first']} {self.unit} left{tail}"

    @property
    def rate(self) -> float:
        """A second, since this run looks."""
        known = self._known
        return max(0.0, float(known["from"] - known["left"]) / max(float(known["moved"] - known["since"]), 1.0))

    def still_for(self, clock: float) -> float:
        """Seconds since the last movement, without the time in which no run looked."""
        return max(0.0, clock - float(self._known["moved"]))

    def begin_anew(self) -> None:
        """The run that comes next gets the whole time again: it was told of the stall."""
        self._known["still"] = 0.0

    @property
    def figures(self) -> dict[str, t.Any]:
        known = self._known
        return {
            f"{self.unit}_left": known["left"],
            f"{self.unit}_at_start": known["first"],
            "per_second": round(self.rate, 2),
        }

    def kept(self) -> dict[str, t.Any]:
        """For the journal."""
        return dict(self._known)


def _seconds(value: t.Any) -> float:
    """What an earlier run noted; 0 for what is no duration."""
    return max(0.0, float(value)) if isinstance(value, (int, float)) else 0.0
