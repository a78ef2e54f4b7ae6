# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Points at which runs are killed, one after the other on one living cluster.

A point is an operation, the number of a write or exec request, and whether the run dies right before that request's answer
arrives or right after. Operations follow each other so that each leads back to where another begins: out and in, up and down.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kindlab
from kindlab import Place

from faults import figures, runner
from faults.kill import state
from faults.kill.state import Wanted
from faults.runner import Answer, Kill, Mode, Start
from workload import Options, Workload

NAME = "kw"
AGAIN = (
    2  # runs in succession that must end before their point until there is none: polling makes one shorter than another
)


class Broken(Exception):
    """The cluster is not what was asked for; the next points need another one."""


@dataclass
class Walk:
    """The points of one operation. counted: requests of its undisturbed run, 0 until it was made; step: 1 takes every one."""

    number: int
    step: int
    counted: int = 0
    over: bool = False
    tries: int = 0
    points: int = 0
    takeover_seen: bool = False

    def ended_early(self) -> None:
        """The run ended by itself before its point."""
        self.tries += 1
        self.over = self.tries == AGAIN or self.number > self.counted

    def killed(self) -> None:
        """On to the next point."""
        self.number, self.tries, self.points = self.number + self.step, 0, self.points + 1

    def said(self, operation: str) -> str:
        """For a person."""
        end = "to the last" if self.over else "and then given up"
        return f"{operation}: {self.counted} writes and execs undisturbed; killed at {self.points}, {end}"


@dataclass
class Chain:
    """One cluster after which another follows only when it was broken.

    label: first word of its rows. start: the first point. walks: by operation. failures: of all points. answers: directory for what the runs answered.
    """

    label: str
    mode: Mode
    every: int
    home: Path
    defaults: dict[str, Any] = field(default_factory=dict)
    start: int = 1
    failures: list[str] = field(default_factory=list)
    walks: dict[str, Walk] = field(default_factory=dict)
    cluster_id: str = ""
    workload: Workload | None = None
    place: Place = None  # type: ignore[assignment]  # set by living()
    _runs: int = 0

    # ---- the cluster's life

    @contextmanager
    def living(self) -> Iterator[None]:
        """A namespace of its own; the search for every acknowledged row; everything taken away."""
        self.place = Place(self.home, {"service_type": "NodePort", **self.defaults})
        self.cluster_id = ""
        try:
            yield
        finally:
            try:
                self.rows_are_there()
            finally:
                self.place.clean()

    def deploy(self, image: str) -> None:
        """The cluster that the points need, and a workload on it."""
        answer = self.run("deploy", image=image)
        wanted = Wanted(3, image)
        if not answer.good or self._complaints(wanted):
            self._fail("deploy", f"undisturbed: {answer.why} {self._complaints(wanted)}")
            raise Broken
        self.workload = Workload(Options(
            self._addresses(), connections=2, tables=4, rate=20, max_seconds=7200, verify_seconds=60, phase="deploy",
        ))  # fmt: skip
        self.workload.start()

    def _addresses(self) -> list[str]:
        ports = self.place.get("service", f"{NAME}-public")["spec"]["ports"]
        port = next(item["nodePort"] for item in ports if item["name"] == "sql")
        nodes = json.loads(kindlab.kubectl("get", "nodes", "--output=json"))["items"]
        found = [
            entry["address"] for node in nodes for entry in node["status"]["addresses"] if entry["type"] == "InternalIP"
        ]
        return [f"{address}:{port}" for address in found]

    def rows_are_there(self) -> None:
        """The end of the workload: no acknowledged row may be lost, and none was read wrong."""
        if self.workload is None:
            return
        summary, self.workload = self.workload.finish(), None
        wrong = sum(len(phase.wrong_reads) for phase in summary.phases)
        outcome = f"{summary.rows.acknowledged} acknowledged, {summary.rows.lost} lost, {wrong} read wrong"
        if summary.rows.lost or wrong:
            self.failures.append(f"{self.label} {self.mode}: {outcome}: {summary.rows.as_dict()}")
        last = summary.phases[-1]
        figures.record(figures.Row(
            "kill", f"{self.label} {self.mode}: the workload's rows, {self.place.namespace}", "none lost", outcome,
            held=not summary.rows.lost and not wrong, acknowledged=last.acknowledged, lost=summary.rows.lost,
            retries_failed=last.retries_failed,
        ))  # fmt: skip

    # ---- points

    def pending(self, *operations: str) -> bool:
        """Whether any of them has points left."""
        return any(not self._walk(operation).over for operation in operations)

    def _walk(self, operation: str) -> Walk:
        first = self.start + (self.every // 2 if self.mode == "after" else 0)
        return self.walks.setdefault(operation, Walk(first, self.every))

    def leg(self, operation: str, wanted: Wanted, *, partial: bool = False, **options: Any) -> None:
        """The operation's next point, then one plain run; without points left, the plain run alone.

        partial: the options ask for the beginning of the operation only, so a run that ends early says nothing about the rest.
        Broken when the state that was asked for is not reached.
        """
        walk = self._walk(operation)
        if not walk.counted and not partial:
            plain = self.run(operation, **options)
            walk.counted = len(plain.counted)
            self._judge(f"{operation}: undisturbed", plain, wanted, options, f"{walk.counted} writes and execs")
            return
        if walk.over:
            self._judge("", self.run(operation, **options), wanted, options)
            return
        kill = Kill(walk.number, self.mode)
        row = f"{operation}: killed {self.mode} answer {walk.number}"
        takeover = not walk.takeover_seen and kill.number > walk.counted // 3
        try:
            _killed, plain = self.strike(row, kill, wanted, takeover=takeover, **options)
        finally:
            if kill.victim:
                walk.killed()  # also when the cluster is broken by it: each point is taken once
            elif not partial:
                walk.ended_early()
        walk.takeover_seen |= takeover and kill.victim is not None and bool(plain.writes)

    def strike(
        self, row: str, kill: Kill, wanted: Wanted, *, takeover: bool = False, start: Start | None = None,
        mend: Callable[[], None] = lambda: None, **options: Any,
    ) -> tuple[Answer, Answer]:  # fmt: skip
        """A run that is killed, then a plain one, judged; both are the same answer when the first ended before its point.

        takeover: leave the dead run's lock to the plain run, which must say so. mend: what happens between the two.
        """
        killed = self.run(row.partition(":")[0], kill=kill, start=start, **options)
        mend()
        if killed.victim is None:
            self._judge("", killed, wanted, options, start=start)
            return killed, killed
        holder = self._holder()
        if holder and not takeover:
            self.place.free_lock(NAME)
        plain = self.run(row.partition(":")[0], start=start, **options)
        outcome = f"{killed.victim.method} {killed.victim.resource} {killed.victim.name}".strip()
        if holder and takeover and not plain.writes:
            self.place.free_lock(NAME)  # all was done already: nothing to write, so nothing to take over
        elif holder and takeover and plain.good:
            outcome += ", the lock taken over"
            if not any("took over the lock of" in line for line in plain.data["progress"]):
                self._fail(row, f"{holder} held the lock, and no takeover was said: {plain.data['progress']}")
        self._judge(row, plain, wanted, options, outcome, start)
        return killed, plain

    def _judge(
        self, row: str, plain: Answer, wanted: Wanted, options: dict[str, Any], outcome: str = "", start: Start | None = None
    ) -> None:  # fmt: skip
        """The plain run succeeded, the state is the one asked for, and a second run has nothing to write. row: to record, if any."""
        said = [] if plain.good else [f"the plain run failed: {plain.why}"]
        humans = 0
        if said:
            if self._holder():
                self.place.free_lock(NAME)
            third = self.run("again", start=start, **options)
            humans = int(not third.good)
            said.append("the run after it " + ("reached it" if third.good else f"failed too: {third.why}"))
        wrong = self._complaints(wanted)
        said += wrong
        if not humans and wanted.replicas:
            second = self.run("second", start=start, **options)
            if second.writes or not second.good:
                said.append(
                    f"the second run: {second.why}, steps {second.data.get('steps')}, wrote {[str(item) for item in second.writes]}"
                )
        unbounded = [
            str(item)
            for item in plain.requests
            if item.sort == "exec" and item.query.get("command", [])[:3] != ["timeout", "-s", "KILL"]
        ]
        said += [f"engine calls without a bound in the container: {unbounded}"] if unbounded else []
        for text in said:
            self._fail(row or "no kill", text)
        if row:
            phase = self.workload.phase(row) if self.workload else {}
            figures.record(figures.Row(
                "kill", f"{self.label} {row}", "the next plain run reaches what was asked for; a second one writes nothing",
                "; ".join([outcome, *said]), held=not said, operations=3, faults=int("killed" in row), humans=humans,
                acknowledged=int(str(phase.get("acknowledged", 0))), retries_failed=int(str(phase.get("retries_failed", 0))),
            ))  # fmt: skip
        if humans or wrong:
            raise Broken

    def _complaints(self, wanted: Wanted) -> list[str]:
        """What is not as asked for; keeps the cluster's id from the first look on."""
        try:
            found = state.look(self.place, NAME, wanted, all_ids=not self.cluster_id)
        except AssertionError as error:  # kubectl says why
            return [f"the state cannot be seen: {error}"]
        said = state.complaints(found, wanted, self.cluster_id)
        if found.ids:
            self.cluster_id = next(iter(found.ids.values()))
        if not wanted.replicas:
            self.cluster_id = ""
        return said

    def plain(self, **options: Any) -> Answer:
        """A run that must succeed, on the way to a point."""
        answer = self.run("plain", **options)
        assert answer.good, answer.why
        return answer

    def run(self, what: str, *, kill: Kill | None = None, start: Start | None = None, **options: Any) -> Answer:
        """One run of the module; what it asked and answered is kept in a file."""
        answer = runner.run(self.place, NAME, kill=kill, start=start, **options)
        self._runs += 1
        kept = {
            "what": what, "options": options, "why": answer.why, "answer": answer.data, "text": answer.text, "seconds": answer.seconds,
            "requests": [f"{item} {item.query.get('command', '')} {item.status}" for item in answer.counted],
        }  # fmt: skip
        (self.home / f"{self._runs:04}-{what}.json").write_text(
            json.dumps(kept, indent=1, default=str), encoding="utf-8"
        )
        return answer

    def _holder(self) -> str:
        lease = self.place.get("lease", f"{NAME}-lock")
        return str((lease or {}).get("spec", {}).get("holderIdentity") or "")

    def _fail(self, row: str, text: str) -> None:
        self.failures.append(f"{self.label} {row}: {text}")
