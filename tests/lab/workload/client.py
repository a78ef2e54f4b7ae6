# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection at a time, every attempt bounded."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Sequence

import psycopg


class Watchdog:
    """Shuts a socket down when its statement's time is over: libpq itself waits for an answer without limit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadlines: dict[int, tuple[float, int]] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def guard(self, descriptor: int, seconds: float) -> int:
        """Begins to watch a socket's descriptor (by a copy of it); returns a ticket for `release`."""
        copy = os.dup(descriptor)
        with self._lock:
            self._deadlines[copy] = (time.monotonic() + seconds, copy)
        return copy

    def release(self, ticket: int) -> None:
        """Ends the watch."""
        with self._lock:
            self._deadlines.pop(ticket, None)
            os.close(ticket)

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(0.05):
            with self._lock:
                now = time.monotonic()
                for ticket in [ticket for ticket, (deadline, _) in self._deadlines.items() if deadline < now]:
                    # A copy of the descriptor shares the connection: shutting it down wakes the waiting thread.
                    held = socket.socket(fileno=ticket)
                    with contextlib.suppress(OSError):
                        held.shutdown(socket.SHUT_RDWR)
                    held.detach()
                    self._deadlines[ticket] = (float("inf"), ticket)


Rows = list[tuple[object, ...]]


class Session:
    """A client's one connection, autocommit, as root of an insecure cluster unless the URL says otherwise.

    `addresses`: `host:port` or PostgreSQL URLs; each new connection goes to the next one. `seconds` bounds connecting
    and answering, each.
    """

    def __init__(self, addresses: Sequence[str], seconds: float, watchdog: Watchdog, first: int = 0) -> None:
        self._addresses = addresses
        self._seconds = seconds
        self._watchdog = watchdog
        self._next = first
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None

    def execute(self, statement: str, arguments: Sequence[str] | None = None) -> Rows:
        """Rows of one statement ([] when it has none). Raises psycopg.Error; the connection is dropped then."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            ticket = self._watchdog.guard(self._connection.pgconn.socket, self._seconds)
            try:
                cursor = self._connection.execute(statement.encode(), arguments)
                return cursor.fetchall() if cursor.description else []
            finally:
                self._watchdog.release(ticket)
        except psycopg.Error:
            self.drop()
            raise
        except OSError as error:  # the descriptor was closed between two statements
            self.drop()
            raise psycopg.OperationalError(str(error)) from error

    def drop(self) -> None:
        """Closes the connection; the next statement makes a new one, to the next address."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        address = self._addresses[self._next % len(self._addresses)]
        self._next += 1
        if "://" not in address:
            address = f"postgresql://root@{address}/defaultdb?sslmode=disable"
        timeout = max(2, round(self._seconds))
        # prepare_threshold=None: nothing is kept at a server between statements, as a plain client does it.
        return psycopg.connect(address, autocommit=True, connect_timeout=timeout, prepare_threshold=None)


def explain(error: Exception) -> str:
    """An error's first line, for counting."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160]
