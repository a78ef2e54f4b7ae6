# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What happens with a list of statements: check mode, ``unless``, transactions, repetition. Knows no transport."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from .._kube.errors import KubeError
from .errors import SqlError
from .session import Arguments, Outcome, Session, Target
from .text import Statement, changed_by

SERIALIZATION_RETRIES = 3
PODS_TO_TRY = 3
_ELSEWHERE = ("connection", "draining")


@dataclass(frozen=True)
class Request:
    """arguments: of the only statement. unless: a question; when it returns a row, nothing is run."""

    statements: Sequence[Statement]
    arguments: Arguments = None
    unless: Statement | None = None
    single_transaction: bool = False
    check: bool = False


@dataclass
class Report:
    """changed: did, or in check mode would, change something. unjudged: numbers of statements that the server could not
    judge in check mode, because they need an earlier one's effect or no transaction may hold them."""

    changed: bool = False
    skipped: bool = False
    pod: str | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    unjudged: list[int] = field(default_factory=list)

    @property
    def rows(self) -> Outcome | None:
        """The last result with rows."""
        return next((item for item in reversed(self.outcomes) if item.rows is not None), None)


def execute(open_session: Callable[[Target], Session], targets: Sequence[Target], request: Request) -> Report:
    """Runs the request at the first pod that takes it. Another pod is asked only while nothing can have happened.

    Raises SqlError; KubeError for what concerns every pod (rights, credentials, the API server away).
    """
    last: Exception = SqlError("no_pod", "no pod to ask")
    for target in targets[:PODS_TO_TRY]:
        report = Report(pod=target.pod)
        try:
            with open_session(target) as session:
                _run(session, request, report)
            return report
        except SqlError as error:
            error.pod = error.pod or target.pod
            if error.reason not in _ELSEWHERE or error.may_have_run or report.outcomes:
                raise
            last = error
        except KubeError as error:
            if error.status in (401, 403) or report.outcomes:
                raise
            last = error
    raise last


def _run(session: Session, request: Request, report: Report) -> None:
    if request.unless is not None and _holds(session, request.unless):
        report.skipped = True
        return
    if request.check:
        for statement in request.statements:
            _judge(session, statement, request.arguments, report)
    elif request.single_transaction:
        _repeat(lambda: _together(session, request, report))
    else:
        for statement in request.statements:
            _repeat(lambda statement=statement: _one(session, statement, request.arguments, report))  # type: ignore[misc]


def _holds(session: Session, unless: Statement) -> bool:
    try:
        return bool(session.judge(unless, None).rows)
    except SqlError as error:
        if error.reason == "read_only":
            raise SqlError("unless", f"unless must only read: {error.message}", sqlstate=error.sqlstate) from error
        error.message = f"unless: {error.message}"
        error.statement = None
        raise


def _one(session: Session, statement: Statement, arguments: Arguments, report: Report) -> None:
    _note(session.run(statement, arguments), statement, report)


def _together(session: Session, request: Request, report: Report) -> None:
    report.outcomes.clear()
    report.changed = False
    session.begin()
    try:
        for statement in request.statements:
            _one(session, statement, request.arguments, report)
    except SqlError as error:
        report.outcomes.clear()
        error.may_have_run = False  # without COMMIT nothing of it stays, whatever was lost
        # The first error is the one to tell; the server rolls back what is left open.
        with suppress(SqlError):
            session.rollback()
        raise
    session.commit()


def _repeat(action: Callable[[], None]) -> None:
    """A serialization failure has changed nothing and asks to be sent again."""
    for attempt in range(SERIALIZATION_RETRIES + 1):
        try:
            return action()
        except SqlError as error:
            if error.reason != "serialization" or attempt == SERIALIZATION_RETRIES:
                raise
    return None


def _note(outcome: Outcome, statement: Statement, report: Report) -> None:
    report.outcomes.append(outcome)
    # Without a tag (transport exec hides it beside rows) the statement's own words decide.
    changed = changed_by(outcome.tag) if outcome.tag else not statement.repeatable and statement.keyword != "EXPLAIN"
    report.changed = report.changed or changed


def _judge(session: Session, statement: Statement, arguments: Arguments, report: Report) -> None:
    """Check mode: what reads is run, what would write is recognised by the server's refusal."""
    if statement.transaction_control:
        return
    if statement.acts_outside:
        report.changed = True
        report.unjudged.append(statement.number)
        return
    try:
        outcome = session.judge(statement, arguments)
    except SqlError as error:
        if error.reason == "read_only":
            report.changed = True
        elif error.reason == "not_in_transaction" or (report.changed and error.reason == "not_found"):
            # It may need what an earlier statement would have made: CREATE TABLE t, then INSERT INTO t.
            report.changed = True
            report.unjudged.append(statement.number)
        else:
            raise
    else:
        report.outcomes.append(outcome)
