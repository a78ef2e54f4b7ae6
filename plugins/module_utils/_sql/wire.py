# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""SQL over the wire protocol: psycopg through a relay over the API server's port-forward, typed both ways."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

from .._kube.client import Client
from .errors import SqlError, reason_of
from .session import Arguments, Login, Outcome, Target
from .text import Statement
from .values import argument, column_names, iso_time, jsonable

INSTALL_HINT = "pip install 'psycopg[binary]>=3.1', or use transport: exec"
# Kept as the text that the server sends: no rounding, no limits of Python's own types.
_TEXT_TYPES = ("numeric", "interval", "uuid", "inet", "time", "timetz")
_SILENCE = 15  # seconds beyond the server's own limit
_TIME_TYPES = ("date", "timestamp", "timestamptz")


def import_psycopg() -> Any:
    """Raises SqlError with reason library_missing."""
    import sys

    try:
        import psycopg
    except ImportError as error:
        # psycopg without its C library raises ImportError too, with a long explanation.
        text = str(error).strip().splitlines()[0]
        raise SqlError(
            "library_missing", f"transport: wire needs psycopg 3 in {sys.executable} ({text}); {INSTALL_HINT}"
        ) from error
    return psycopg


class WireSession:
    """One connection to one pod; a context manager. Raises SqlError, or KubeError from the API server."""

    def __init__(
        self, client: Client, namespace: str, target: Target, login: Login, *, statement_timeout: int = 0
    ) -> None:
        """statement_timeout: seconds that the server gives one statement; 0 is no limit."""
        self._client = client
        self._namespace = namespace
        self._target = target
        self._login = login
        self._stack = ExitStack()
        self._psycopg = import_psycopg()
        self._lost = False
        self._statement_timeout = statement_timeout

    def __enter__(self) -> WireSession:
        # Without TLS a Unix socket that only this user can reach; with TLS the server checks who connects, and libpq
        # does TLS over TCP only.
        bind = None if self._target.insecure else ("127.0.0.1", 0)
        self._relay = self._client.port_forward(self._namespace, self._target.pod, self._target.port, bind=bind)
        try:
            host, port = self._stack.enter_context(self._relay)
            self._connection = self._connect(host, port)
        except BaseException:
            self._stack.close()
            raise
        self._stack.callback(self._close)
        for name in _TEXT_TYPES:
            self._connection.adapters.register_loader(name, _loader(self._psycopg, str))
        for name in _TIME_TYPES:
            self._connection.adapters.register_loader(name, _loader(self._psycopg, iso_time))
        if self._statement_timeout:
            self._command(f"SET statement_timeout = '{self._statement_timeout}s'")
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def run(self, statement: Statement, arguments: Arguments) -> Outcome:
        # The server's own limit comes first; this one is for a server that no longer answers at all.
        limit = self._statement_timeout + _SILENCE if self._statement_timeout else None
        watchdog = threading.Timer(limit, self._cut) if limit else None
        if watchdog:
            watchdog.daemon = True
            watchdog.start()
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement.text, _bound(arguments))
                return self._outcome(statement, cursor)
        except self._psycopg.Error as error:
            raise self._failure(error, statement) from error
        finally:
            if watchdog:
                watchdog.cancel()

    def judge(self, statement: Statement, arguments: Arguments) -> Outcome:
        self._command("BEGIN READ ONLY")
        try:
            return self.run(statement, arguments)
        finally:
            self.rollback()

    def begin(self) -> None:
        self._command("BEGIN")

    def commit(self) -> None:
        self._command("COMMIT")

    def rollback(self) -> None:
        if not self._connection.broken:
            self._command("ROLLBACK")

    def _command(self, text: str) -> None:
        self.run(Statement(0, text), None)

    def _connect(self, host: str, port: int) -> Any:
        login = self._login
        options: dict[str, Any] = {
            "host": host,
            "port": port,
            "user": login.user,
            "dbname": login.database,
            "connect_timeout": login.connect_timeout,
            "application_name": "kaiwudb.kubernetes",
            "client_encoding": "utf8",
            "autocommit": True,
            "prepare_threshold": None,
            # Nothing from the environment or ~/.pgpass decides who logs in where.
            "passfile": "/nonexistent/passfile",
            "gssencmode": "disable",
            "sslmode": "disable" if self._target.insecure else login.tls_mode,
        }
        if login.password is not None:
            options["password"] = login.password
        if not self._target.insecure:
            options |= {"hostaddr": host, "host": self._target.tls_name}
            files = {"sslrootcert": login.tls_ca, "sslcert": login.tls_cert, "sslkey": login.tls_key}
            options |= {key: value for key, value in files.items() if value}
        try:
            return self._psycopg.connect(**options)
        except self._psycopg.Error as error:
            raise self._refusal(_one_line(error)) from None

    def _refusal(self, text: str) -> SqlError:
        """psycopg gives only a text here, in which the server's own follows FATAL or ERROR."""
        said = re.search(r"(?:FATAL|ERROR): +(.*)", text)
        if said:
            message = said[1]
            reason = reason_of(None, message)
            if reason == "sql":
                reason = "not_found" if "does not exist" in message and "role" not in message else "login"
            return SqlError(reason, f"{self._target.pod} refuses the login: {message}", pod=self._target.pod)
        behind = self._relay.error.message if self._relay.error else ""
        if "connection refused" in behind:
            message = f"nothing listens on port {self._target.port} of {self._target.pod} (connection refused)"
        else:
            cause = behind or re.sub(r"^.*? failed: (?=\S)", "", re.sub(r"^connection failed: ", "", text))
            message = f"no SQL connection to {self._target.pod}: {cause}"
        return SqlError("connection", message, pod=self._target.pod)

    def _outcome(self, statement: Statement, cursor: Any) -> Outcome:
        tag = cursor.statusmessage
        if cursor.description is None:
            return Outcome(statement.number, tag, max(cursor.rowcount, 0))
        names = column_names(column.name for column in cursor.description)
        types = [_type_name(self._connection, column.type_code) for column in cursor.description]
        rows = [dict(zip(names, map(jsonable, row), strict=True)) for row in cursor]
        return Outcome(statement.number, tag, len(rows), list(zip(names, types, strict=True)), rows)

    def _failure(self, error: Any, statement: Statement) -> SqlError:
        text = _one_line(error)
        diag = getattr(error, "diag", None)
        sqlstate = getattr(error, "sqlstate", None)
        if self._lost:
            return SqlError(
                "timeout",
                "no answer in time, the connection was cut",
                statement=statement.number or None,
                line=statement.line,
                pod=self._target.pod,
                may_have_run=not statement.repeatable,
            )
        reason = reason_of(sqlstate, text)
        broken = sqlstate is None and self._connection.broken
        if broken:
            reason = "connection"
            cause = f" ({self._relay.error.message})" if self._relay.error else ""
            text = f"the connection to {self._target.pod} was lost{cause}"
        return SqlError(
            reason,
            (None if broken else diag and diag.message_primary) or text,
            sqlstate=sqlstate if sqlstate != "XXUUU" else None,
            statement=statement.number or None,
            line=statement.line,
            detail=diag.message_detail if diag else None,
            hint=diag.message_hint if diag else None,
            pod=self._target.pod,
            may_have_run=broken and not statement.repeatable,
        )

    def _cut(self) -> None:
        """From the watchdog's thread: ends the relay, which libpq sees as a closed connection."""
        self._lost = True
        self._relay.cut()

    def _close(self) -> None:
        with suppress(self._psycopg.Error):  # the server may be gone
            self._connection.close()


def _bound(arguments: Arguments) -> Any:
    if arguments is None:
        return None
    if isinstance(arguments, Mapping):
        return {key: argument(value) for key, value in arguments.items()}
    return [argument(value) for value in arguments]


def _loader(psycopg: Any, convert: Any) -> Any:
    class TextLoader(psycopg.adapt.Loader):  # type: ignore[misc]
        def load(self, data: Any) -> Any:
            return convert(bytes(data).decode())

    return TextLoader


def _type_name(connection: Any, oid: int) -> str:
    info = connection.adapters.types.get(oid)
    if info is None:
        return str(oid)
    return info.name if info.oid == oid else f"{info.name}[]"


def _one_line(error: Any) -> str:
    """psycopg's text without its second sentence about multiple attempts, and never with the connection string."""
    return " ".join(str(error).split()) or type(error).__name__
