# SPDX-License-Identifier: GPL-3.0-or-later
"""What is counted, by phase. No I/O; the clock is an argument (seconds, monotonic)."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Phase:
    """Figures of one named phase; times in seconds."""

    name: str
    began: float
    ended: float | None = None
    acknowledged: int = 0
    reads: int = 0
    wrong_reads: list[str] = field(default_factory=list)
    first_attempts_failed: int = 0
    retries_failed: int = 0
    longest_gap: float = 0.0
    slowest: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)

    def as_dict(self, now: float) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.name,
            "seconds": round((self.ended or now) - self.began, 3),
            "acknowledged": self.acknowledged,
            "reads": self.reads,
            "wrong_reads": self.wrong_reads[:20],
            "first_attempts_failed": self.first_attempts_failed,
            "retries_failed": self.retries_failed,
            "longest_gap_s": round(self.longest_gap, 3),
            "slowest_statement_s": round(self.slowest, 3),
            "errors": dict(self.errors.most_common(10)),
        }


class Recorder:
    """Counts for several threads. A gap between acknowledgements that crosses a switch of phases counts in both."""

    def __init__(self, phase: str, now: float) -> None:
        self._lock = threading.Lock()
        self._phases = [Phase(phase, now)]
        self._last = now

    def switch(self, name: str, now: float) -> Phase:
        """Ends the phase and begins another; returns the ended one."""
        with self._lock:
            ended = self._close(now)
            self._phases.append(Phase(name, now))
            return ended

    def finish(self, now: float) -> list[Phase]:
        """Ends the last phase; all phases in order."""
        with self._lock:
            self._close(now)
            return self._phases

    def current(self, now: float) -> dict[str, object]:
        """The running phase's figures so far."""
        with self._lock:
            phase = self._phases[-1]
            phase.longest_gap = max(phase.longest_gap, now - self._last)
            return phase.as_dict(now)

    def acknowledged(self, now: float, took: float) -> None:
        """One row was acknowledged."""
        with self._lock:
            phase = self._phases[-1]
            phase.acknowledged += 1
            phase.longest_gap = max(phase.longest_gap, now - self._last)
            phase.slowest = max(phase.slowest, took)
            self._last = now

    def read(self, took: float, wrong: str | None = None) -> None:
        """One row was read back; `wrong` names it when it was missing or damaged."""
        with self._lock:
            phase = self._phases[-1]
            phase.reads += 1
            phase.slowest = max(phase.slowest, took)
            if wrong is not None:
                phase.wrong_reads.append(wrong)

    def failed(self, error: str, *, retry: bool) -> None:
        """An attempt failed: the first one, or the one retry."""
        with self._lock:
            phase = self._phases[-1]
            phase.errors[error] += 1
            if retry:
                phase.retries_failed += 1
            else:
                phase.first_attempts_failed += 1

    def _close(self, now: float) -> Phase:
        phase = self._phases[-1]
        phase.ended = now
        phase.longest_gap = max(phase.longest_gap, now - self._last)
        return phase


@dataclass(frozen=True)
class Limits:
    """What a phase must keep; None is not asked."""

    rows: int | None = None
    gap: float | None = None
    retries: int | None = None

    def broken(self, phase: Phase) -> list[str]:
        """One sentence for each limit that the phase broke."""
        said = []
        if self.rows is not None and phase.acknowledged < self.rows:
            said.append(f"{phase.name}: {phase.acknowledged} acknowledged rows, fewer than {self.rows}")
        if self.gap is not None and phase.longest_gap > self.gap:
            said.append(f"{phase.name}: a gap of {phase.longest_gap:.1f} s, above {self.gap:g} s")
        if self.retries is not None and phase.retries_failed > self.retries:
            said.append(f"{phase.name}: {phase.retries_failed} retries failed, more than {self.retries}")
        return said
