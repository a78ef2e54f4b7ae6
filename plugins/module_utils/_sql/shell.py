# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""SQL through the engine's command line in a pod (``transport: exec``): text rows, no arguments, no session."""

from __future__ import annotations

from .._engine import parse
from .._engine.cli import Engine
from .._engine.errors import EngineError
from .errors import SqlError, reason_of
from .session import Arguments, Login, Outcome
from .text import Statement

_SAME = {"timeout": "statement_timeout", "unreachable": "connection", "pod_gone": "connection", "cut": "connection"}
_NO_LIMIT = 24 * 3600  # the call must be bounded inside the container by something


class ShellSession:
    """Each statement is a process of its own, at the first pod of the engine that answers."""

    def __init__(self, engine: Engine, login: Login, *, statement_timeout: int = 0) -> None:
        self._engine = engine
        self._login = login
        self._limit = float(statement_timeout or _NO_LIMIT)

    def __enter__(self) -> ShellSession:
        return self

    def __exit__(self, *_exc: object) -> None:
        return None

    def run(self, statement: Statement, arguments: Arguments) -> Outcome:
        return self._run(statement, arguments, statement.text, statement.repeatable)

    def judge(self, statement: Statement, arguments: Arguments) -> Outcome:
        # A newline, so that a comment at the end of the statement does not swallow the ROLLBACK.
        return self._run(statement, arguments, f"BEGIN READ ONLY; {statement.text}\n; ROLLBACK", True)

    def begin(self) -> None:
        raise SqlError("unsupported", "transport: exec cannot hold a transaction open over several statements")

    def commit(self) -> None:
        self.begin()

    def rollback(self) -> None:
        self.begin()

    def _run(self, statement: Statement, arguments: Arguments, text: str, repeatable: bool) -> Outcome:
        if arguments:
            raise SqlError("unsupported", "transport: exec cannot bind arguments", statement=statement.number)
        try:
            output = self._engine.sql(
                text,
                database=self._login.database,
                user=self._login.user,
                timeout=self._limit,
                repeatable=repeatable,
            )
            return outcome(statement, output)
        except parse.OutputError as error:
            raise SqlError("output", str(error), statement=statement.number, line=statement.line) from error
        except EngineError as error:
            reason = reason_of(error.sqlstate, error.text)
            raise SqlError(
                reason if reason != "sql" else _SAME.get(error.reason, error.reason),
                error.text,
                sqlstate=error.sqlstate,
                statement=statement.number or None,
                line=statement.line,
                detail=error.detail,
                hint=error.hint,
                pod=error.pod or None,
                may_have_run=error.reason in ("timeout", "cut") and not repeatable,
            ) from error


def outcome(statement: Statement, output: str) -> Outcome:
    """Reads what the CLI printed: a tag, or CSV where the statement returns rows."""
    if not statement.returns_rows:
        found = parse.tag(output.strip().splitlines()[-1]) if output.strip() else None
        words = (found or "").split()
        return Outcome(statement.number, found, int(words[-1]) if words and words[-1].isdigit() else 0)
    rows = parse.csv_rows(output)
    columns = list(rows[0]) if rows else parse.csv_header(output)
    return Outcome(statement.number, None, len(rows), [(name, "text") for name in columns], [dict(row) for row in rows])
