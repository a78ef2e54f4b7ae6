# SPDX-License-Identifier: GPL-3.0-or-later
"""The workload's bookkeeping against a database of dictionaries that forgets, damages and fails on demand."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
import pytest

from workload import rows
from workload.client import Session, Watchdog
from workload.control import Control, ask
from workload.run import Options, Summary, Workload
from workload.stats import Limits, Recorder


class Database:
    """Tables as dictionaries; `fail` decides by a running number whether a statement fails."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, tuple[str, str, str]]] = {}
        self.fail: Callable[[], bool] = lambda: False
        self.unreadable: set[str] = set()

    def session(self, *_: object) -> Database:
        """Stands for a Session."""
        return self

    def drop(self) -> None:
        """Nothing to close."""

    def execute(self, statement: str, arguments: Sequence[str] | None = None) -> list[tuple[str, str, str]]:
        """The four forms of statement that the workload sends."""
        if statement.startswith("create"):
            return []
        if self.fail():
            raise psycopg.OperationalError("server is shutting down")
        table = re.findall(r"workload\.t\d\d", statement)[0]
        kept = self.tables.setdefault(table, {})
        if statement.startswith("upsert"):
            key, payload, checksum = arguments or ()
            kept[key] = (key, payload, checksum)
            return []
        if table in self.unreadable:
            raise psycopg.OperationalError("range unavailable")
        return [kept[arguments[0]]] if arguments and arguments[0] in kept else [] if arguments else list(kept.values())


def drive(database: Database, between: Callable[[], None] = lambda: None, **options: object) -> Summary:
    """A short run of two phases; `between` is called after it has written for a while."""
    settings = {"rate": 2000.0, "read_share": 0.0, "verify_seconds": 0.5} | options
    workload = Workload(Options(["nowhere"], **settings), database.session)  # type: ignore[arg-type]
    workload.start()
    assert workload.await_rows(100, 10)
    workload.phase("second")
    assert workload.await_rows(100, 10)
    workload.stopped.set()
    time.sleep(0.05)
    between()
    return workload.finish()


def test_a_sound_database_loses_nothing() -> None:
    """Every acknowledged row is found; both phases are reported; the rows are spread over all tables."""
    database = Database()
    summary = drive(database, read_share=0.3)
    assert summary.exit_code == 0
    assert [phase.name for phase in summary.phases] == ["start", "second"]
    assert summary.rows.sound == summary.rows.acknowledged == sum(map(len, database.tables.values())) >= 200
    assert len(database.tables) == 12
    assert sum(phase.reads for phase in summary.phases) > 0


def test_forgotten_and_damaged_rows_are_lost() -> None:
    """One row forgotten, one with another payload, one under another's key: three lost, exit code 1."""
    database = Database()

    def damage() -> None:
        first, second, third = (next(iter(table.items())) for table in list(database.tables.values())[:3])
        database.tables[list(database.tables)[0]].pop(first[0])
        database.tables[list(database.tables)[1]][second[0]] = (second[0], "other", second[1][2])
        database.tables[list(database.tables)[2]][third[0]] = (third[0], *second[1][1:])

    summary = drive(database, damage)
    assert (len(summary.rows.missing), len(summary.rows.wrong), summary.rows.lost) == (1, 2, 3)
    assert summary.exit_code == 1


def test_a_table_nobody_can_read_is_lost() -> None:
    """Unavailable is not sound."""
    database = Database()
    summary = drive(database, lambda: database.unreadable.add("workload.t03"))
    assert summary.rows.unreadable_rows == len(database.tables["workload.t03"]) > 0
    assert (list(summary.rows.unreadable), summary.exit_code) == (["workload.t03"], 1)


def test_attempts_and_retries_are_told_apart() -> None:
    """Every 10th attempt fails, its retry does not; a limit on retries holds, one on rows breaks (exit code 3)."""
    database = Database()
    numbers = iter(range(10**9))
    database.fail = lambda: next(numbers) % 10 == 0
    summary = drive(database, connections=1, verify_seconds=30.0, limits=Limits(rows=10**6, retries=0))
    assert sum(phase.first_attempts_failed for phase in summary.phases) >= 10
    assert sum(phase.retries_failed for phase in summary.phases) == 0
    assert [sentence.split(":")[0] for sentence in summary.broken] == ["start", "second"]
    assert summary.exit_code == 3


def test_a_write_that_failed_twice_is_not_acknowledged() -> None:
    """It may be there or not; nobody promised it."""
    database = Database()
    numbers = iter(range(10**9))
    database.fail = lambda: next(numbers) % 10 in (0, 1)
    summary = drive(database, lambda: setattr(database, "fail", lambda: False), connections=1)
    assert sum(phase.retries_failed for phase in summary.phases) > 0
    assert summary.rows.lost == 0
    assert summary.rows.acknowledged == sum(phase.acknowledged for phase in summary.phases)


def test_gaps_cross_phases() -> None:
    """The time without acknowledgement counts in the phase it began in and, whole, in the one it ended in."""
    recorder = Recorder("first", 0.0)
    recorder.acknowledged(1.0, 0.1)
    recorder.switch("second", 4.0)
    recorder.acknowledged(6.0, 0.1)
    recorder.acknowledged(6.5, 0.1)
    phases = recorder.finish(7.0)
    assert [(phase.name, phase.longest_gap, phase.acknowledged) for phase in phases] == [
        ("first", 3.0, 1), ("second", 5.0, 2),
    ]  # fmt: skip
    assert Limits(gap=4.0).broken(phases[0]) == []
    assert Limits(gap=4.0).broken(phases[1]) == ["second: a gap of 5.0 s, above 4 s"]


def test_control_socket_switches_phases(tmp_path: Path) -> None:
    """`phase` answers with the figures of the ended phase; nonsense is an error."""
    workload = Workload(Options(["nowhere"], rate=2000.0, ledger=tmp_path / "ledger"), Database().session)  # type: ignore[arg-type]
    control = Control(workload, tmp_path / "socket")
    workload.start()
    assert workload.await_rows(20, 10)
    ended = ask(tmp_path / "socket", {"command": "phase", "name": "upgrade"})["ended"]
    assert ended["name"] == "start" and ended["acknowledged"] >= 20  # type: ignore[index]
    assert ask(tmp_path / "socket", {"command": "status"})["running"]["name"] == "upgrade"  # type: ignore[index]
    assert "error" in ask(tmp_path / "socket", {"command": "phases"})
    ask(tmp_path / "socket", {"command": "stop"})
    summary = workload.finish()
    control.close()
    ledger = [json.loads(line) for line in (tmp_path / "ledger").read_text().splitlines()]
    assert len(ledger) == summary.rows.acknowledged


def test_a_silent_server_is_left_in_time() -> None:
    """A server that takes the connection and says nothing more costs no longer than the limit of an attempt."""
    watchdog = Watchdog()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: accept_and_hang(server), daemon=True).start()
        session = Session([f"127.0.0.1:{server.getsockname()[1]}"], 1.0, watchdog)
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            session.execute("select 1")
        assert time.monotonic() - began < 4
    watchdog.close()


def accept_and_hang(server: socket.socket) -> None:
    """Greets as PostgreSQL does (authentication ok, ready), then answers no statement."""
    client, _ = server.accept()
    client.recv(4096)
    client.sendall(b"R\0\0\0\x08\0\0\0\0" + b"Z\0\0\0\x05I")
    client.recv(4096)
    time.sleep(8)


def test_checksum_covers_the_key() -> None:
    """A row's text under another key is wrong."""
    assert rows.sound(("a", "x", rows.checksum("a", "x")), rows.checksum("a", "x"))
    assert not rows.sound(("b", "x", rows.checksum("a", "x")), rows.checksum("a", "x"))
