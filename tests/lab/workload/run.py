# SPDX-License-Identifier: GPL-3.0-or-later
"""The workload: workers that write and read, phases, and the search for every acknowledged row."""

from __future__ import annotations

import json
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psycopg

from workload import rows
from workload.client import Rows, Session, Watchdog, explain
from workload.stats import Limits, Phase, Recorder


@dataclass(frozen=True)
class Options:
    """How a workload runs. Times in seconds; rate in statements a second over all connections."""

    addresses: Sequence[str]
    connections: int = 4
    tables: int = 12
    rate: float = 100.0
    statement_seconds: float = 5.0
    setup_seconds: float = 30.0
    verify_seconds: float = 30.0
    max_seconds: float = 1800.0
    read_share: float = 0.2
    phase: str = "start"
    ledger: Path | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass
class Found:
    """What became of the acknowledged rows. `lost` counts missing and wrong ones and all of tables nobody can read."""

    acknowledged: int = 0
    sound: int = 0
    missing: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    unreadable_rows: int = 0

    @property
    def lost(self) -> int:
        return len(self.missing) + len(self.wrong) + self.unreadable_rows

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "acknowledged": self.acknowledged,
            "sound": self.sound,
            "lost": self.lost,
            "missing": len(self.missing),
            "wrong": len(self.wrong),
            "in_unreadable_tables": self.unreadable_rows,
            "unreadable_tables": self.unreadable,
            "examples": (self.missing + self.wrong)[:10],
        }


@dataclass
class Summary:
    """The result of a run."""

    run: str
    phases: list[Phase]
    rows: Found
    broken: list[str]

    @property
    def exit_code(self) -> int:
        """0; 1 rows lost or read back wrong; 3 a limit broken."""
        if self.rows.lost or any(phase.wrong_reads for phase in self.phases):
            return 1
        return 3 if self.broken else 0

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "run": self.run,
            "phases": [phase.as_dict(phase.ended or 0) for phase in self.phases],
            "rows": self.rows.as_dict(),
            "limits_broken": self.broken,
            "exit_code": self.exit_code,
        }

    def lines(self) -> list[str]:
        """For people: one line a phase, one for the rows."""
        said = [line(phase) for phase in self.phases]
        said += [f"limit broken  {sentence}" for sentence in self.broken]
        return [*said, rows_line(self.rows)]


class Workload:
    """Writes and reads in threads of its own: `start`, `phase` as often as wanted, `finish`."""

    def __init__(self, options: Options, session: Callable[..., Session] = Session) -> None:
        self.options = options
        self._session = session
        self.run = f"{int(time.time()):x}{secrets.token_hex(3)}"
        self.stopped = threading.Event()
        self._watchdog = Watchdog()
        self._recorder = Recorder(options.phase, time.monotonic())
        self._ledger: IO[str] | None = None
        self._lock = threading.Lock()
        self._acknowledged: list[rows.Row] = []
        self._threads: list[threading.Thread] = []
        self._deadline = float("inf")
        self._crash: Exception | None = None

    def start(self) -> None:
        """Makes the tables (bounded by setup_seconds; psycopg.Error when that fails) and starts the workers."""
        patient(
            self._session(self.options.addresses, self.options.statement_seconds, self._watchdog),
            rows.schema(self.options.tables),
            self.options.setup_seconds,
        )
        if self.options.ledger:
            self._ledger = self.options.ledger.open("a", encoding="utf-8")
        self._recorder = Recorder(self.options.phase, time.monotonic())
        self._deadline = time.monotonic() + self.options.max_seconds
        for worker in range(self.options.connections):
            thread = threading.Thread(target=self._work, args=(worker,), name=f"worker-{worker}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def phase(self, name: str) -> dict[str, object]:
        """Begins a phase; figures of the one that ended."""
        now = time.monotonic()
        return self._recorder.switch(name, now).as_dict(now)

    def status(self) -> dict[str, object]:
        """Figures of the running phase so far."""
        return self._recorder.current(time.monotonic())

    def await_rows(self, count: int, seconds: float) -> bool:
        """Waits until the running phase has `count` acknowledged rows; False when it has not after `seconds`."""
        end = time.monotonic() + seconds
        while int(str(self.status()["acknowledged"])) < count:
            if time.monotonic() > end or self.stopped.wait(0.1):
                return False
        return True

    def finish(self) -> Summary:
        """Stops the workers, then looks for every acknowledged row. Raises what a worker died of, if one did."""
        self.stopped.set()
        for thread in self._threads:
            thread.join(4 * self.options.statement_seconds + 5)
        if self._crash:
            raise self._crash
        phases = self._recorder.finish(time.monotonic())
        if self._ledger:
            self._ledger.close()
        with self._lock:
            expected = list(self._acknowledged)
        session = self._session(self.options.addresses, self.options.statement_seconds, self._watchdog)
        triples = ((row.table, row.key, row.checksum) for row in expected)
        found = search(triples, session, self.options.verify_seconds)
        self._watchdog.close()
        broken = [sentence for phase in phases for sentence in self.options.limits.broken(phase)]
        return Summary(self.run, phases, found, broken)

    def _work(self, worker: int) -> None:
        try:
            self._loop(worker)
        except Exception as error:  # a worker that ends unseen would make a quiet, wrong result
            self._crash = error
            self.stopped.set()

    def _loop(self, worker: int) -> None:
        source = random.Random(f"{self.run}-{worker}")
        session = self._session(self.options.addresses, self.options.statement_seconds, self._watchdog, worker)
        mine: list[rows.Row] = []
        pause = self.options.connections / self.options.rate
        due = time.monotonic() + pause * worker / self.options.connections
        number = 0
        while not self.stopped.wait(max(0.0, due - time.monotonic())):
            if time.monotonic() > self._deadline:
                self.stopped.set()
                break
            due = max(due + pause, time.monotonic() - 1)
            if mine and source.random() < self.options.read_share:
                self._read(session, source.choice(mine))
                continue
            row = rows.make_row(self.run, worker, number, self.options.tables, source)
            number += 1
            if self._write(session, row):
                mine.append(row)
        session.drop()

    def _write(self, session: Session, row: rows.Row) -> bool:
        began = time.monotonic()
        if self._attempts(session, *rows.upsert(row)) is None:
            return False
        now = time.monotonic()
        with self._lock:
            self._acknowledged.append(row)
            if self._ledger:
                print(json.dumps([row.table, row.key, row.checksum]), file=self._ledger, flush=True)
        self._recorder.acknowledged(now, now - began)
        return True

    def _read(self, session: Session, row: rows.Row) -> None:
        began = time.monotonic()
        answer = self._attempts(session, *rows.select_one(row))
        if answer is not None:
            good = len(answer) == 1 and rows.sound(answer[0], row.checksum)  # type: ignore[arg-type]
            self._recorder.read(time.monotonic() - began, None if good else row.key)

    def _attempts(self, session: Session, statement: str, arguments: tuple[str, ...]) -> Rows | None:
        """The statement, once more on a new connection when it failed; None when both failed."""
        for retry in (False, True):
            try:
                return session.execute(statement, arguments)
            except psycopg.Error as error:
                self._recorder.failed(explain(error), retry=retry)
        return None


def patient(session: Session, statements: Iterable[str], seconds: float) -> None:
    """Executes the statements, each repeated while it fails, all within `seconds`."""
    end = time.monotonic() + seconds
    for statement in statements:
        while True:
            try:
                session.execute(statement)
                break
            except psycopg.Error:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)


def search(expected: Iterable[tuple[int, str, str]], session: Session, seconds: float) -> Found:
    """Reads every table that holds acknowledged rows (table, key, checksum) and compares.

    A table that cannot be read is tried again after the others, until `seconds` are over; each is tried once at least.
    """
    pending: dict[int, dict[str, str]] = {}
    for table, key, checksum in expected:
        pending.setdefault(table, {})[key] = checksum
    found = Found(acknowledged=sum(map(len, pending.values())))
    end = time.monotonic() + seconds
    while pending:
        for table, wanted in list(pending.items()):
            try:
                compare(wanted, session.execute(rows.select_all(table)), found)
            except psycopg.Error as error:
                found.unreadable[rows.table_name(table)] = explain(error)
            else:
                found.unreadable.pop(rows.table_name(table), None)
                del pending[table]
        if time.monotonic() > end:
            break
        time.sleep(0.5 if pending else 0)
    found.unreadable_rows = sum(map(len, pending.values()))
    session.drop()
    return found


def compare(wanted: dict[str, str], answer: Rows, found: Found) -> None:
    """Counts one table's rows as sound, wrong or missing. `wanted`: checksums by key."""
    there = {str(row[0]): row for row in answer}
    for key, checksum in wanted.items():
        if key not in there:
            found.missing.append(key)
        elif rows.sound(there[key], checksum):  # type: ignore[arg-type]
            found.sound += 1
        else:
            found.wrong.append(key)


def verify_ledger(ledger: Path, options: Options) -> Found:
    """Looks for the rows of a ledger file, after the process that wrote them has ended."""
    watchdog = Watchdog()
    try:
        with ledger.open(encoding="utf-8") as lines:
            session = Session(options.addresses, options.statement_seconds, watchdog)
            return search((tuple(json.loads(text)) for text in lines), session, options.verify_seconds)
    finally:
        watchdog.close()


def line(phase: Phase) -> str:
    """A phase in one line."""
    figures = phase.as_dict(phase.ended or phase.began)
    return (
        f"{phase.name:<16} {phase.acknowledged:>7} rows acknowledged in {figures['seconds']:.1f} s   longest gap "
        f"{phase.longest_gap:.2f} s   first attempts failed {phase.first_attempts_failed}   retries failed "
        f"{phase.retries_failed}   reads {phase.reads}, wrong {len(phase.wrong_reads)}"
    )


def rows_line(found: Found) -> str:
    """The rows in one line."""
    return (
        f"rows acknowledged {found.acknowledged}   found sound {found.sound}   lost {found.lost} (missing "
        f"{len(found.missing)}, wrong {len(found.wrong)}, in unreadable tables {found.unreadable_rows})"
    )
