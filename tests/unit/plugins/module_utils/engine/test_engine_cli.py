# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Calls of the engine: bounded, explicit, from pod to pod only where that is safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.cli import Engine
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.errors import EngineError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import ExecResult, KubeError

STATUS = "id,address,is_available,is_live\n1,kw-0:26257,true,true\n"
TABLE = "id,is_live,replicas,is_decommissioning,is_draining\n4,true,7,true,false\n"
DIAL = "ERROR: cannot dial server.\nIs the server running?\n\ndial tcp: connection refused\nFailed running\n"

Answer: TypeAlias = "ExecResult | KubeError"


class Pods:
    """Answers by pod; notes every call."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = {name.replace("_", "-"): answer for name, answer in answers.items()}
        self.calls: list[tuple[str, list[str], float]] = []

    def __call__(self, pod: str, argv: Sequence[str], timeout: float) -> ExecResult:
        self.calls.append((pod, list(argv), timeout))
        answer = self.answers[pod]
        if isinstance(answer, KubeError):
            raise answer
        return answer

    @property
    def asked(self) -> list[str]:
        return [pod for pod, _argv, _timeout in self.calls]


def engine(pods: Pods, **options: object) -> Engine:
    return Engine(PROFILES["kwdb"], pods, list(pods.answers), **options)  # type: ignore[arg-type]


def ok(stdout: str) -> ExecResult:
    return ExecResult(0, stdout, "")


def test_a_call_is_bounded_inside_the_container_and_names_its_server() -> None:
    pods = Pods(kw_0=ok(STATUS))
    assert engine(pods, timeout=7).node_status(decommission=True)[0].id == 1
    _pod, argv, timeout = pods.calls[0]
    assert argv == [
        *("timeout", "-s", "KILL", "7", "/kaiwudb/bin/kwbase", "node", "status", "--decommission", "--format=csv"),
        *("--insecure", "--host=localhost:26257"),
    ]
    assert timeout > 7


def test_certificates_binary_and_port() -> None:
    pods = Pods(kw_0=ok(STATUS))
    engine(pods, certs_dir="/certs", binary="/opt/bini", sql_port=1).node_status()
    argv = pods.calls[0][1]
    assert argv[4] == "/opt/bini" and "--certs-dir=/certs" in argv and "--host=localhost:1" in argv
    assert "--insecure" not in argv


@pytest.mark.parametrize(
    "failure",
    [
        ExecResult(1, "", DIAL),
        ExecResult(137, "", ""),
        ExecResult(1, "", "ERROR: server is shutting down\nSQLSTATE: 57P01\n"),
        KubeError(404, "NotFound", 'pods "kw-0" not found'),
        KubeError(0, "ExecCut", "the stream was cut"),
        KubeError(0, "ConnectionFailed", "connection reset by peer"),  # the handshake of this call
        KubeError(500, "InternalError", "container not found"),
    ],
)
def test_the_next_pod_is_asked(failure: Answer) -> None:
    pods = Pods(kw_0=failure, kw_1=ok(STATUS))
    run = engine(pods)
    assert run.node_status()[0].id == 1
    assert pods.asked == ["kw-0", "kw-1"]
    run.node_status()
    assert pods.asked[2:] == ["kw-1"]  # the one that served is asked first


@pytest.mark.parametrize(
    "failure", [KubeError(403, "Forbidden", "no"), KubeError(0, "ConnectionFailed", "refused", unsent=True)]
)
def test_what_concerns_every_pod_is_told_at_once(failure: KubeError) -> None:
    pods = Pods(kw_0=failure, kw_1=ok(STATUS))
    with pytest.raises(KubeError):
        engine(pods).node_status()
    assert pods.asked == ["kw-0"]


def test_an_answer_that_is_an_error_is_not_asked_again() -> None:
    pods = Pods(kw_0=ExecResult(1, "", "ERROR: node 9 doesn't exist\nFailed running\n"), kw_1=ok(STATUS))
    with pytest.raises(EngineError) as caught:
        engine(pods).decommission([9])
    error = caught.value
    assert (error.reason, error.pod, error.command) == ("unknown_node", "kw-0", "node decommission")
    assert pods.asked == ["kw-0"]


def test_a_write_that_did_not_answer_is_not_sent_again() -> None:
    pods = Pods(kw_0=ExecResult(137, "", ""), kw_1=ok("INSERT 1\n"))
    with pytest.raises(EngineError) as caught:
        engine(pods).sql("INSERT INTO t VALUES (1)")
    assert caught.value.reason == "timeout" and pods.asked == ["kw-0"]


CUT = KubeError(0, "ExecCut", "the stream was cut")


def in_turn(answers: dict[str, list[Answer]]) -> Pods:
    """Pods that answer differently each time they are asked."""
    pods = Pods(**{name.replace("-", "_"): turns[0] for name, turns in answers.items()})
    call = pods.__call__

    def next_answer(pod: str, argv: Sequence[str], timeout: float) -> ExecResult:
        pods.answers[pod] = answers[pod].pop(0) if len(answers[pod]) > 1 else answers[pod][0]
        return call(pod, argv, timeout)

    pods.run = next_answer  # type: ignore[attr-defined]
    return pods


def test_a_question_that_was_cut_everywhere_is_asked_once_more() -> None:
    for answers, asked in (
        ({"kw-0": [CUT, ok(STATUS)]}, ["kw-0", "kw-0"]),
        ({"kw-0": [CUT, ok(STATUS)], "kw-1": [CUT]}, ["kw-0", "kw-1", "kw-0"]),
    ):
        pods = in_turn(answers)
        assert Engine(PROFILES["kwdb"], pods.run, list(answers)).node_status()[0].id == 1  # type: ignore[attr-defined]
        assert pods.asked == asked


@pytest.mark.parametrize(
    ("failure", "asked"),
    [
        (CUT, ["kw-0", "kw-1", "kw-0", "kw-1"]),
        (ExecResult(1, "", DIAL), ["kw-0", "kw-1"]),
        (ExecResult(137, "", ""), ["kw-0", "kw-1"]),
    ],
)
def test_what_fails_everywhere_is_not_asked_for_ever(failure: Answer, asked: list[str]) -> None:
    pods = Pods(kw_0=failure, kw_1=failure)
    with pytest.raises(EngineError):
        engine(pods).node_status()
    assert pods.asked == asked


def test_a_write_that_was_cut_is_not_sent_again() -> None:
    pods = Pods(kw_0=CUT, kw_1=ok("INSERT 1\n"))
    with pytest.raises(EngineError) as caught:
        engine(pods).sql("INSERT INTO t VALUES (1)")
    assert caught.value.reason == "cut" and pods.asked == ["kw-0"]
    assert engine(pods).sql("SET CLUSTER SETTING a = 1", repeatable=True) == "INSERT 1\n", "unless it may be sent twice"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_init_where_the_kubelet_was_not_reached_is_asked_again(status: int) -> None:
    """Nothing ran, or it did and the next call answers that it had."""
    outcome, text = engine(Pods(kw_0=KubeError(status, "InternalError", "dial tcp: i/o timeout"))).init("kw-0")
    assert outcome == "not_ready" and "i/o timeout" in text


def test_init_that_may_not_be_called_is_no_reason_to_wait() -> None:
    with pytest.raises(KubeError):
        engine(Pods(kw_0=KubeError(403, "Forbidden", "no"))).init("kw-0")


def test_a_write_that_was_never_taken_goes_to_the_next_pod() -> None:
    pods = Pods(kw_0=ExecResult(1, "", DIAL), kw_1=ok("INSERT 1\n"))
    assert engine(pods).sql("INSERT INTO t VALUES (1)") == "INSERT 1\n"
    assert pods.calls[1][1][-1] == "--execute=INSERT INTO t VALUES (1)"


def test_no_pod() -> None:
    with pytest.raises(EngineError) as caught:
        Engine(PROFILES["kwdb"], Pods(), list).node_status()
    assert caught.value.reason == "no_pod"


def test_decommission_does_not_wait() -> None:
    pods = Pods(kw_0=ok(TABLE))
    report = engine(pods).decommission([4])
    assert report.replicas == 7 and not report.done
    assert pods.calls[0][1][5:9] == ["node", "decommission", "4", "--wait=none"]


def test_decommission_needs_a_node() -> None:
    with pytest.raises(ValueError, match="no node id"):
        engine(Pods(kw_0=ok(TABLE))).decommission([])


def test_init_is_sent_once_to_one_pod() -> None:
    pods = Pods(kw_0=ExecResult(137, "", "warning: node not ready to perform cluster initialization: x"), kw_1=ok(""))
    assert engine(pods).init("kw-0")[0] == "not_ready"
    assert pods.asked == ["kw-0"]


def test_init_whose_stream_broke_is_not_known() -> None:
    assert engine(Pods(kw_0=KubeError(0, "ExecCut", "cut"))).init("kw-0")[0] == "not_ready"


def test_init_with_a_missing_binary_fails() -> None:
    gone = ExecResult(127, "", "timeout: failed to run command '/x': No such file or directory\n")
    with pytest.raises(EngineError) as caught:
        engine(Pods(kw_0=gone)).init("kw-0")
    assert caught.value.reason == "binary_missing"


@pytest.mark.parametrize(
    ("ask", "stdout", "answer"),
    [
        (lambda e: e.node_id("kw-0"), "node_id\n3\n", 3),
        (lambda e: e.cluster_id(), "value\n5ab2-x\n", "5ab2-x"),
        (lambda e: e.version("kw-0"), "KaiwuDB Version:  V3.2.1\n", "V3.2.1"),
        (lambda e: e.sql_rows("SELECT 1"), "a,b\n1,NULL\n", [{"a": "1", "b": None}]),
        (lambda e: e.setting("version"), "version\n20.2\n", "20.2"),
        (lambda e: e.setting("version"), "version\n", ""),
    ],
)
def test_questions(ask: Callable[[Engine], object], stdout: str, answer: object) -> None:
    assert ask(engine(Pods(kw_0=ok(stdout)))) == answer


@pytest.mark.parametrize(
    "ask",
    [lambda e: e.node_id("kw-0"), lambda e: e.cluster_id(), lambda e: e.version("kw-0"), lambda e: e.node_status()],
)
def test_an_answer_that_cannot_be_read_is_an_error(ask: Callable[[Engine], object]) -> None:
    with pytest.raises(EngineError) as caught:
        ask(engine(Pods(kw_0=ok("x\ny\n"))))
    assert caught.value.reason == "output"
