# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""SQL failures as data. Pure: imports neither kubernetes, psycopg nor Ansible."""

from __future__ import annotations

from typing import Any

# SQLSTATE or its class (two characters) -> stable reason; the longer key wins.
_REASONS = {
    "25006": "read_only",
    "25001": "not_in_transaction",
    "25P02": "transaction_aborted",
    "40001": "serialization",
    "42501": "forbidden",
    "42601": "syntax",
    "42P01": "not_found",
    "42P07": "exists",
    "42710": "exists",
    "42P04": "exists",
    "42704": "not_found",
    "42703": "not_found",
    "42883": "not_found",
    "3D000": "not_found",
    "3F000": "not_found",
    "57014": "statement_timeout",
    "57P01": "draining",
    "57P02": "draining",
    "57P03": "draining",
    "08": "connection",
    "22": "value",
    "23": "constraint",
    "28": "login",
    "53": "resources",
    "0A": "unsupported",
}


def reason_of(sqlstate: str | None, message: str = "") -> str:
    """A stable word for an SQLSTATE; ``sql`` when there is none for it."""
    state = sqlstate or ""
    found = _REASONS.get(state) or _REASONS.get(state[:2])
    if found:
        return found
    if "cannot be used inside a transaction" in message:  # the engine gives this one no state
        return "not_in_transaction"
    if "server is shutting down" in message or "server is not accepting clients" in message:
        return "draining"
    return "sql"


class SqlError(Exception):
    """reason: see ``reason_of``, and connection, login, security, library_missing, no_pod, timeout.

    statement: its number from 1; None when the failure belongs to none. pod: where it happened. may_have_run: the
    answer was lost, so whether the statement took effect is not known.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        sqlstate: str | None = None,
        statement: int | None = None,
        line: int | None = None,
        detail: str | None = None,
        hint: str | None = None,
        pod: str | None = None,
        may_have_run: bool = False,
    ) -> None:
        self.reason = reason
        self.message = message
        self.sqlstate = sqlstate
        self.statement = statement
        self.line = line
        self.detail = detail
        self.hint = hint
        self.pod = pod
        self.may_have_run = may_have_run
        super().__init__(message)

    def __str__(self) -> str:
        where = f"statement {self.statement}" if self.statement else ""
        if where and self.line and self.line > 1:
            where += f" (line {self.line})"
        state = f" (SQLSTATE {self.sqlstate})" if self.sqlstate else ""
        unknown = ". The answer was lost: whether it took effect is not known" if self.may_have_run else ""
        return f"{where}{': ' if where else ''}{self.message}{state}{unknown}"

    def data(self) -> dict[str, Any]:
        """For the result of a module."""
        return {
            "reason": self.reason,
            "sqlstate": self.sqlstate,
            "error": self.message,
            "statement": self.statement,
            "detail": self.detail,
            "hint": self.hint,
            "pod": self.pod,
            "may_have_run": self.may_have_run,
        }
