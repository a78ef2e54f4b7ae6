# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The one place that runs the engine's command line, inside its pods.

Every call is bounded there by ``timeout -s KILL N``: closing an exec stream kills nothing, and an orphaned ``init``
that loops may initialise later. ``node status``, ``sql`` and ``drain`` hang without quorum and before init, so a call
that does not answer is ended and, where that is safe, asked again at another pod.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from .._kube.errors import CONNECTION, EXEC_CUT, EXEC_FAILED, EXEC_TIMEOUT, ExecResult, KubeError
from . import parse
from .errors import ELSEWHERE, EngineError, classify, killed
from .parse import DecommissionReport, Init, NodeRow, Row
from .profiles import Profile

Run = Callable[[str, Sequence[str], float], ExecResult]  # (pod, argv, seconds) -> result; may raise KubeError
T = TypeVar("T")
_STREAM_MARGIN = 5.0  # seconds for the exec stream beyond the bound inside the container


class Engine:
    """The engine's command line through pods.

    run: ``_kube.client.runner(client, namespace)``. pods: names of pods that may serve, best first, or a function that
    gives them when asked. certs_dir: directory in the pods with the client certificate of root; None is ``--insecure``.
    timeout: seconds a call may take inside the container. budget: seconds in all that a call may go from pod to pod.

    Every method raises EngineError; of KubeError only what concerns all pods alike (rights, credentials, server away).
    calls: execs so far.
    """

    def __init__(
        self,
        profile: Profile,
        run: Run,
        pods: Sequence[str] | Callable[[], Sequence[str]] = (),
        *,
        certs_dir: str | None = None,
        binary: str | None = None,
        sql_port: int | None = None,
        timeout: float = 10.0,
        budget: float = 30.0,
    ) -> None:
        self.profile = profile
        self.calls = 0
        self._run = run
        self._pods = pods
        self._security = f"--certs-dir={certs_dir}" if certs_dir else "--insecure"
        self._binary = binary or profile.binary
        self._port = sql_port or profile.sql_port
        self._timeout = timeout
        self._budget = budget
        self._served: str | None = None  # the pod that answered last: asked first

    # ---- questions, answered by any pod

    def node_status(
        self, *, decommission: bool = False, ranges: bool = False, pods: Sequence[str] | None = None
    ) -> list[NodeRow]:
        """decommission: also ids that have left, and the columns about leaving. ranges: columns about ranges."""
        words = ["node", "status"]
        words += ["--decommission"] if decommission else []
        words += ["--ranges"] if ranges else []
        _pod, result = self._ask([*words, "--format=csv"], pods)
        return self._read(lambda: parse.node_status(parse.csv_rows(result.stdout)), "node status")

    def sql_rows(
        self,
        statement: str,
        *,
        database: str | None = None,
        user: str | None = None,
        pod: str | None = None,
        pods: Sequence[str] | None = None,
        timeout: float | None = None,
        repeatable: bool = True,
    ) -> list[Row]:
        """Rows of ONE statement that returns some, as text. repeatable: whether it may run twice (a read may)."""
        output = self.sql(
            statement, database=database, user=user, pod=pod, pods=pods, timeout=timeout, repeatable=repeatable
        )
        return self._read(lambda: parse.csv_rows(output), "sql")

    def setting(self, name: str) -> str:
        """A cluster setting as the engine shows it; "" when it has none of that name to show."""
        rows = self.sql_rows(f"SHOW CLUSTER SETTING {name}")
        return str(next(iter(rows[0].values()), "") or "") if rows else ""

    def sql(
        self,
        statement: str,
        *,
        database: str | None = None,
        user: str | None = None,
        pod: str | None = None,
        pods: Sequence[str] | None = None,
        timeout: float | None = None,
        repeatable: bool = False,
    ) -> str:
        """What ``sql --execute`` prints: CSV with its header, or the command tag. Not sent twice unless repeatable.

        The statement is an argument of a process in the pod: no secrets in it.
        """
        words = ["sql", "--format=csv"]
        words += [f"--database={database}"] if database else []
        words += [f"--user={user}"] if user else []
        chosen = [pod] if pod else pods
        _pod, result = self._ask([*words, f"--execute={statement}"], chosen, timeout=timeout, repeatable=repeatable)
        return result.stdout

    def cluster_id(self, pod: str | None = None) -> str:
        """The cluster's UUID, from the node that is asked."""
        table = f"{self.profile.virtual_schema}.node_build_info"
        rows = self.sql_rows(f"SELECT value FROM {table} WHERE field = 'ClusterID'", pod=pod)  # noqa: S608 - our own words
        value = rows[0].get("value") if rows else None
        if not value:
            raise EngineError("output", "no cluster id in node_build_info", pod or "", "sql")
        return value

    # ---- one pod and no other

    def node_id(self, pod: str) -> int:
        """The node id of that very pod (``kwdb_internal.node_id()`` does not exist)."""
        rows = self.sql_rows("SHOW node_id", pod=pod)
        try:
            return int(str(rows[0]["node_id"]))
        except (LookupError, ValueError):
            raise EngineError("output", f"SHOW node_id answered {rows!r}", pod, "sql") from None

    def version(self, pod: str) -> str:
        """The build tag of the binary in that pod, such as ``V3.2.1``; works before init and without quorum."""
        result = self._checked(pod, [self._binary, "version"], "version", self._timeout)
        found = parse.version(result.stdout)
        if not found:
            raise EngineError("output", f"no version in {result.stdout[:100]!r}", pod, "version")
        return found

    def init(self, pod: str) -> tuple[Init, str]:
        """(outcome, the engine's sentence). Sent once, to that pod only: two at once can make two clusters.

        A stream that broke counts as ``not_ready``: whether it worked is seen by looking, not by asking again.
        """
        try:
            result = self._exec(pod, self._words(["init"]), self._timeout)
        except KubeError as error:
            if error.unanswered or error.status in (500, 502, 503, 504):  # the latter: the kubelet was not reached
                return "not_ready", str(error)
            raise
        outcome = parse.init_outcome(result.rc, result.stdout, result.stderr)
        fault = classify(result.rc, result.stdout, result.stderr)
        if fault and fault.reason in ("binary_missing", "usage", "certificates", "security", "forbidden"):
            raise EngineError(fault.reason, fault.text, pod, "init")
        return outcome, fault.text if fault else parse.INITIALIZED

    def drain(self, pod: str, *, timeout: float = 60.0) -> None:
        """Moves leases away and refuses clients, until restarted. Reason drain_timeout when that took too long."""
        words = self._words(["node", "drain", f"--drain-wait={int(timeout)}s"])
        self._checked(pod, words, "node drain", timeout + 5)

    # ---- leaving and coming back; both may be sent again

    def decommission(self, node_ids: Sequence[int], *, pods: Sequence[str] | None = None) -> DecommissionReport:
        """Marks the nodes as leaving and reports at once; call it again for the exact number of replicas left."""
        return self._report("decommission", node_ids, ["--wait=none"], pods)

    def recommission(self, node_ids: Sequence[int], *, pods: Sequence[str] | None = None) -> DecommissionReport:
        """Undo of decommission: the nodes take replicas again."""
        return self._report("recommission", node_ids, [], pods)

    def _report(
        self, verb: str, node_ids: Sequence[int], flags: list[str], pods: Sequence[str] | None
    ) -> DecommissionReport:
        if not node_ids:
            raise ValueError("no node id")
        words = ["node", verb, *(str(int(number)) for number in node_ids), *flags, "--format=csv"]
        _pod, result = self._ask(words, pods)
        return self._read(lambda: parse.decommission(result.stdout, result.stderr), f"node {verb}")

    # ---- machinery

    def _words(self, words: Sequence[str]) -> list[str]:
        # An explicit host: KWBASE_HOST or KWBASE_PORT in the container would redirect a call otherwise. Connection
        # flags come before --execute, so that a statement is the last word.
        at = next((index for index, word in enumerate(words) if word.startswith("--execute=")), len(words))
        return [self._binary, *words[:at], self._security, f"--host=localhost:{self._port}", *words[at:]]

    def _ask(
        self,
        words: Sequence[str],
        pods: Sequence[str] | None,
        *,
        timeout: float | None = None,
        repeatable: bool = True,
    ) -> tuple[str, ExecResult]:
        """The first pod that answers, and its answer."""
        deadline = time.monotonic() + self._budget
        command = " ".join(word for word in words[:2] if not word.startswith("-") and not word.isdigit())
        last: EngineError | None = None
        order = self._order(pods)
        for turn, pod in enumerate(order * (2 if repeatable else 1)):
            again = turn >= len(order)  # what was cut may be asked again where it was cut
            if last is not None and (time.monotonic() >= deadline or (again and last.reason != "cut")):
                break
            try:
                result = self._checked(pod, self._words(words), command, timeout or self._timeout)
            except EngineError as error:
                last = error
                # "unreachable" was refused before anything ran; the others may have done their work unseen.
                if error.reason not in ELSEWHERE or not (repeatable or error.reason in ("unreachable", "draining")):
                    raise
                continue
            self._served = pod
            return pod, result
        raise last or EngineError("no_pod", "no pod to ask", "", command)

    def _order(self, pods: Sequence[str] | None) -> list[str]:
        chosen = list(pods if pods is not None else self._pods() if callable(self._pods) else self._pods)
        if self._served in chosen:
            chosen.remove(self._served)
            chosen.insert(0, self._served)
        return chosen

    def _checked(self, pod: str, argv: Sequence[str], command: str, timeout: float) -> ExecResult:
        """One call at one pod; EngineError unless it succeeded."""
        try:
            result = self._exec(pod, argv, timeout)
        except KubeError as error:
            reason = _pod_reason(error)
            if reason is None:
                raise
            raise EngineError(reason, error.message, pod, command) from error
        fault = classify(result.rc, result.stdout, result.stderr)
        if fault is None:
            return result
        text = f"{fault.text} ({timeout:.0f} s)" if killed(result.rc) else fault.text
        raise EngineError(fault.reason, text, pod, command, fault.sqlstate, fault.detail, fault.hint)

    def _exec(self, pod: str, argv: Sequence[str], timeout: float) -> ExecResult:
        self.calls += 1
        seconds = max(1, round(timeout))
        return self._run(pod, ["timeout", "-s", "KILL", str(seconds), *argv], seconds + _STREAM_MARGIN)

    def _read(self, reader: Callable[[], T], command: str) -> T:
        try:
            return reader()
        except parse.OutputError as error:
            raise EngineError("output", str(error), self._served or "", command) from error


def _pod_reason(error: KubeError) -> str | None:
    """The reason when the failure is this pod's own (gone, not running, kubelet away); None when it is everyone's."""
    if error.reason == EXEC_FAILED:
        return "binary_missing" if "executable file not found" in error.message else "pod_gone"
    if error.reason in (EXEC_CUT, EXEC_TIMEOUT):
        return "cut"
    if error.status in (400, 404, 409, 500, 502, 503, 504):
        return "pod_gone"  # no such pod, container not running, kubelet does not answer
    # A handshake that was reset or timed out is this call's trouble; a server that takes no connection at all is everybody's.
    return "cut" if error.reason == CONNECTION and error.status == 0 and not error.unsent else None
