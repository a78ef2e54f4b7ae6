# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Check mode, unless, transactions and repetition, over a scripted session; and which pods are asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.errors import EngineError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._sql.errors import SqlError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._sql.run import Report, Request, execute
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._sql.session import (
    Login,
    Outcome,
    Target,
    targets,
)
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._sql.shell import ShellSession, outcome
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._sql.text import Statement, split

READ_ONLY = SqlError("read_only", "cannot execute INSERT in a read-only transaction", sqlstate="25006")


def target(name: str) -> Target:
    return Target(name, 26257, True, True, "kaiwudb", None, None, name)


class Server:
    """A session to it notes what is run. answers: by statement text, one or several in turn (the last one stays)."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.log: list[str] = []

    def __call__(self, where: Target) -> Server:
        failure = self.answers.get(where.pod.replace("-", "_"))
        if failure is not None:
            raise failure
        self.log.append(where.pod)
        return self

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.log.append("closed")

    def run(self, statement: Statement, _arguments: Any) -> Outcome:
        self.log.append(statement.text)
        return self.answer(statement)

    def judge(self, statement: Statement, _arguments: Any) -> Outcome:
        self.log.append(f"judge {statement.text}")
        return self.answer(statement)

    def begin(self) -> None:
        self.log.append("BEGIN")

    def commit(self) -> None:
        self.log.append("COMMIT")
        answer = self.take("COMMIT")
        if isinstance(answer, SqlError):
            raise answer

    def rollback(self) -> None:
        self.log.append("ROLLBACK")

    def take(self, key: str) -> Any:
        answer = self.answers.get(key)
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
        return answer

    def answer(self, statement: Statement) -> Outcome:
        answer = self.take(statement.keyword)
        if isinstance(answer, SqlError):
            raise answer
        if isinstance(answer, list):
            return Outcome(statement.number, f"SELECT {len(answer)}", len(answer), [("a", "int8")], answer)
        return Outcome(statement.number, answer or statement.keyword, 1)


def run(server: Server, text: str, pods: Sequence[str] = ("kw-0", "kw-1"), **options: Any) -> Report:
    return execute(server, [target(pod) for pod in pods], Request(split(text), **options))


def test_statements_run_in_order_on_one_pod() -> None:
    server = Server(INSERT="INSERT 0 1")
    report = run(server, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    assert server.log == ["kw-0", "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)", "closed"]
    assert report.changed and report.pod == "kw-0" and [item.number for item in report.outcomes] == [1, 2]


def test_reads_change_nothing() -> None:
    report = run(Server(SELECT=[[{"a": 1}]], SHOW="SHOW"), "SELECT 1; SHOW DATABASES")
    assert not report.changed and report.rows is not None and report.rows.rows == [{"a": 1}]


@pytest.mark.parametrize(
    "failure",
    [SqlError("connection", "refused"), SqlError("draining", "no"), KubeError(404, "NotFound", "gone")],
)
def test_the_next_pod_is_asked_when_nothing_ran(failure: Exception) -> None:
    server = Server(kw_0=failure)
    assert run(server, "INSERT INTO t VALUES (1)").pod == "kw-1"
    assert server.log[0] == "kw-1"


@pytest.mark.parametrize("failure", [SqlError("login", "no"), KubeError(403, "Forbidden", "no")])
def test_what_another_pod_would_say_too_is_told_at_once(failure: Exception) -> None:
    server = Server(kw_0=failure)
    with pytest.raises(type(failure)):
        run(server, "SELECT 1")
    assert server.log == []


def test_a_statement_that_may_have_run_is_not_sent_again() -> None:
    server = Server(INSERT=SqlError("connection", "lost", may_have_run=True))
    with pytest.raises(SqlError) as caught:
        run(server, "INSERT INTO t VALUES (1)")
    assert caught.value.pod == "kw-0" and server.log == ["kw-0", "INSERT INTO t VALUES (1)", "closed"]


def test_nothing_is_sent_again_after_a_first_success() -> None:
    server = Server(INSERT=["INSERT 0 1", SqlError("draining", "server is shutting down")])
    with pytest.raises(SqlError):
        run(server, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)")
    assert "kw-1" not in server.log


def test_only_so_many_pods() -> None:
    gone = {f"kw_{i}": SqlError("connection", "refused", pod=f"kw-{i}") for i in range(5)}
    with pytest.raises(SqlError) as caught:
        run(Server(**gone), "SELECT 1", [f"kw-{i}" for i in range(5)])
    assert caught.value.pod == "kw-2"


def test_no_pod() -> None:
    with pytest.raises(SqlError) as caught:
        run(Server(), "SELECT 1", [])
    assert caught.value.reason == "no_pod"


def test_a_serialization_failure_is_sent_again() -> None:
    busy = SqlError("serialization", "restart transaction", sqlstate="40001")
    server = Server(UPDATE=[busy, busy, "UPDATE 1"])
    assert run(server, "UPDATE t SET a = 1").changed
    assert server.log.count("UPDATE t SET a = 1") == 3
    with pytest.raises(SqlError):
        run(Server(UPDATE=[busy]), "UPDATE t SET a = 1")


def question(text: str = "SELECT 1") -> Statement:
    return split(text, 0)[0]


def test_unless_a_row_skips() -> None:
    server = Server(SELECT=[[{"a": 1}]])
    report = run(server, "INSERT INTO t VALUES (1)", unless=question())
    assert report.skipped and not report.changed
    assert server.log == ["kw-0", "judge SELECT 1", "closed"]


def test_unless_no_row_runs() -> None:
    report = run(Server(SELECT=[[]], INSERT="INSERT 0 1"), "INSERT INTO t VALUES (1)", unless=question())
    assert not report.skipped and report.changed


def test_unless_must_read() -> None:
    with pytest.raises(SqlError) as caught:
        run(Server(DELETE=READ_ONLY), "SELECT 1", unless=question("DELETE FROM t RETURNING a"))
    assert caught.value.reason == "unless"


def test_single_transaction() -> None:
    server = Server(INSERT="INSERT 0 1")
    assert run(server, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)", single_transaction=True).changed
    assert server.log == ["kw-0", "BEGIN", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)", "COMMIT", "closed"]


def test_single_transaction_rolls_back() -> None:
    server = Server(INSERT=["INSERT 0 1", SqlError("constraint", "duplicate")])
    with pytest.raises(SqlError):
        run(server, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (1)", single_transaction=True)
    assert server.log[-2:] == ["ROLLBACK", "closed"] and "COMMIT" not in server.log


def test_single_transaction_is_whole_again() -> None:
    server = Server(INSERT=["INSERT 0 1"], COMMIT=[SqlError("serialization", "again"), None])
    report = run(server, "INSERT INTO t VALUES (1)", single_transaction=True)
    assert len(report.outcomes) == 1 and server.log.count("BEGIN") == 2


def test_single_transaction_lost_before_commit_goes_to_the_next_pod() -> None:
    server = Server(INSERT=[SqlError("connection", "lost", may_have_run=True), "INSERT 0 1"])
    assert run(server, "INSERT INTO t VALUES (1)", single_transaction=True).pod == "kw-1"


def test_single_transaction_whose_commit_was_lost_is_not_known() -> None:
    server = Server(INSERT="INSERT 0 1", COMMIT=SqlError("connection", "lost", may_have_run=True))
    with pytest.raises(SqlError) as caught:
        run(server, "INSERT INTO t VALUES (1)", single_transaction=True)
    assert caught.value.may_have_run and "kw-1" not in server.log


def test_check_mode_lets_the_server_judge() -> None:
    server = Server(INSERT=READ_ONLY, SELECT=[[{"a": 1}]])
    report = run(server, "BEGIN; INSERT INTO t VALUES (1); SELECT 1; COMMIT", check=True)
    assert report.changed and report.unjudged == []
    assert server.log == ["kw-0", "judge INSERT INTO t VALUES (1)", "judge SELECT 1", "closed"]


def test_check_mode_of_reads() -> None:
    assert not run(Server(SELECT=[[{"a": 1}]]), "SELECT 1", check=True).changed


def test_check_mode_never_sends_what_acts_outside_of_transactions() -> None:
    server = Server()
    report = run(server, "SET CLUSTER SETTING a = 1; CANCEL JOB 1", check=True)
    assert report.changed and report.unjudged == [1, 2] and server.log == ["kw-0", "closed"]


def test_check_mode_what_needs_an_earlier_effect() -> None:
    missing = SqlError("not_found", "relation does not exist", sqlstate="42P01")
    server = Server(CREATE=READ_ONLY, INSERT=missing)
    report = run(server, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)", check=True)
    assert report.changed and report.unjudged == [2]
    with pytest.raises(SqlError):
        run(Server(INSERT=missing), "INSERT INTO t VALUES (1)", check=True)


def pod(name: str, phase: str = "Running", ready: bool = True, **spec: Any) -> dict[str, Any]:
    container = {"name": "kaiwudb", "command": ["/kaiwudb/bin/kwbase", "start", "--insecure"]} | spec
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "metadata": {"name": name, "namespace": "db"},
        "spec": {"containers": [{"name": "sidecar"}, container], "subdomain": "kw"},
        "status": {"phase": phase, "conditions": [condition]},
    }


def test_targets_ready_first() -> None:
    leaving = pod("kw-3")
    leaving["metadata"]["deletionTimestamp"] = "now"
    found = targets([pod("kw-0", ready=False), pod("kw-1"), pod("kw-2", phase="Pending"), leaving])
    assert [(item.pod, item.ready) for item in found] == [("kw-1", True), ("kw-0", False)]
    assert found[0].insecure and found[0].binary == "/kaiwudb/bin/kwbase" and found[0].container == "kaiwudb"
    assert found[0].tls_name == "kw-1.kw.db.svc"


def test_targets_as_asked() -> None:
    pods = [pod("kw-0"), pod("kw-1")]
    assert [item.pod for item in targets(pods, "1")] == ["kw-1"]
    assert [item.pod for item in targets(pods, "kw-0")] == ["kw-0"]
    assert targets(pods, "7") == []


def test_target_of_a_secure_cluster_with_its_own_port() -> None:
    command = ["/x/kwbase", "start", "--certs-dir=/certs"]
    found = targets([pod("kw-0", command=command, ports=[{"name": "sql", "containerPort": 5}])])[0]
    assert (found.insecure, found.certs_dir, found.port) == (False, "/certs", 5)


class Cli:
    def __init__(self, answer: str | EngineError) -> None:
        self.answer = answer
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def sql(self, text: str, **options: Any) -> str:
        self.sent.append((text, options))
        if isinstance(self.answer, EngineError):
            raise self.answer
        return self.answer


def shell(cli: Cli) -> ShellSession:
    return ShellSession(cli, Login(database="bank"), statement_timeout=9)  # type: ignore[arg-type]


def test_exec_reads_and_writes() -> None:
    cli = Cli("a,b\n1,NULL\n")
    found = shell(cli).run(question("SELECT 1"), None)
    assert found.rows == [{"a": "1", "b": None}] and found.columns == [("a", "text"), ("b", "text")]
    assert cli.sent[0][1] == {"database": "bank", "user": "root", "timeout": 9.0, "repeatable": True}
    assert shell(Cli("INSERT 3\n")).run(question("INSERT INTO t VALUES (1)"), None).count == 3


def test_exec_judges_in_a_read_only_transaction() -> None:
    cli = Cli("a\n1\n")
    shell(cli).judge(question("SELECT 1 -- one"), None)
    assert cli.sent[0][0] == "BEGIN READ ONLY; SELECT 1 -- one\n; ROLLBACK"


@pytest.mark.parametrize(
    ("error", "reason", "may_have_run"),
    [
        (EngineError("sql", "exists", "kw-0", "sql", "42710"), "exists", False),
        (EngineError("unreachable", "cannot dial server.", "kw-0", "sql"), "connection", False),
        (EngineError("timeout", "no answer", "kw-0", "sql"), "statement_timeout", True),
        (EngineError("cut", "cut", "kw-0", "sql"), "connection", True),
    ],
)
def test_exec_errors(error: EngineError, reason: str, may_have_run: bool) -> None:
    with pytest.raises(SqlError) as caught:
        shell(Cli(error)).run(question("INSERT INTO t VALUES (1)"), None)
    assert (caught.value.reason, caught.value.may_have_run) == (reason, may_have_run)


@pytest.mark.parametrize(
    "ask", [lambda s: s.begin(), lambda s: s.commit(), lambda s: s.rollback(), lambda s: s.run(question(), [1])]
)
def test_exec_refuses_what_it_cannot_do(ask: Callable[[ShellSession], object]) -> None:
    with pytest.raises(SqlError) as caught:
        ask(shell(Cli("")))
    assert caught.value.reason == "unsupported"


def test_exec_result_without_rows_keeps_its_columns() -> None:
    found = outcome(question("SELECT a, b FROM t"), "a,b\n")
    assert found.rows == [] and [name for name, _type in found.columns] == ["a", "b"]
