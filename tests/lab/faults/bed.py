# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A cluster on which operations are disturbed, cell after cell, and the judge of each."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kindlab import IMAGE, UPGRADE_IMAGE, Place, kubectl, until

from faults import figures, runner
from faults.injectors import NAME, Injector, NeverUnderWay, workers
from faults.kill import state
from faults.kill.state import Wanted
from faults.network import Network
from faults.runner import Answer, ModuleRun
from workload import Options, Workload

AGAIN = 2  # plain runs after the first one
SECONDS = 420.0  # for one run: a node that is away for more than a minute is waited for


@dataclass(frozen=True)
class Operation:
    """One of the four. before: nodes it begins with; after: nodes it ends with. begun: it is under way, seen from outside.

    ordinal: the pod whose claim or Kubernetes node is taken away.
    """

    name: str
    before: int
    after: int
    ordinal: int
    begun: Callable[[Bed], bool]


OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("deploy", 0, 3, 1, lambda bed: bool(bed.place.get("pod", bed.pod(1)))),
        Operation("upgrade", 3, 3, 1, lambda bed: bed.template_image() == bed.image),
        Operation("scale_out", 3, 4, 1, lambda bed: bed.size() == 4),
        Operation("scale_in", 4, 3, 3, lambda bed: (bed.place.row_of(NAME, 3) or {}).get("is_decommissioning") == "true"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One sort of fault.

    network: what the API server's answers meet, in all runs but the last. injectors: what happens beside the first run, the
    second, …  clocks: that of the run's machine, run after run. first: options of the first run only.
    smooth: a run that gives up is a defect. disturbs: takes database nodes away, or the way to them. whole: disturbs the
    Kubernetes cluster for everybody. spoils: leaves what the next run mends, and a cluster that the next cell should not meet.
    """

    name: str
    network: Callable[[], Network] = Network
    injectors: tuple[Injector, ...] = ()
    clocks: tuple[str, ...] = ()
    first: Mapping[str, Any] = field(default_factory=dict)
    smooth: bool = False
    disturbs: bool = False
    whole: bool = False
    spoils: bool = False


class Bed:
    """One cluster in a namespace of its own. replicas, image: what was asked for last. network: of the cell under way."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.place = Place(home, {"service_type": "NodePort", "pre_stop_seconds": "2", "volumes": "wipe"})
        self.broken = False
        self.replicas, self.image = 0, IMAGE
        self.cluster_id = ""
        self.network = Network()

    def close(self) -> None:
        """Everything is taken away, without the collection."""
        self.place.clean()

    # ---- looking

    def pod(self, ordinal: int) -> str:
        return f"{NAME}-{ordinal}"

    def kubectl(self, *words: str) -> str:
        return kubectl("--namespace", self.place.namespace, *words)

    def template_image(self) -> str:
        """The image that the StatefulSet's next pod gets; empty where there is none."""
        live = self.place.get("statefulset", NAME)
        return str(live["spec"]["template"]["spec"]["containers"][0]["image"]) if live else ""

    def size(self) -> int:
        """The StatefulSet's replicas."""
        live = self.place.get("statefulset", NAME)
        return int(live["spec"]["replicas"]) if live else 0

    def victim(self, operation: Operation) -> str:
        """The Kubernetes node that a fault takes: of the pod the operation is about, or where the new one must go."""
        if operation.name == "scale_out":
            older = {self._host(ordinal) for ordinal in range(operation.before)}
            return next(name for name in workers() if name not in older)
        found: str = until(
            f"{self.pod(operation.ordinal)} has its node", lambda: self._host(operation.ordinal), 60, 0.1
        )
        return found

    def _host(self, ordinal: int) -> str:
        return str((self.place.get("pod", self.pod(ordinal)) or {"spec": {}})["spec"].get("nodeName", ""))

    def complaints(self) -> list[str]:
        """What is not as asked for."""
        wanted = Wanted(self.replicas, self.image)
        try:
            found = state.look(self.place, NAME, wanted, all_ids=not self.cluster_id)
        except (AssertionError, IndexError) as error:  # kubectl says why, or the engine says nothing
            return [f"the state cannot be seen: {error}"]
        said = state.complaints(found, wanted, self.cluster_id)
        self.cluster_id = self.cluster_id or next(iter(found.ids.values()), "")
        return said

    # ---- running

    def run(self, network: Network | None = None, clock: str = "", direct: bool = False, **options: Any) -> Answer:
        """One run that asks for what the bed is to be. direct: without a proxy, which would soften a server that is away."""

        def start(place: Place, arguments: dict[str, Any]) -> ModuleRun:
            if direct:
                arguments = {key: value for key, value in arguments.items() if key not in ("host", "api_key")}
                arguments["kubeconfig"] = str(place.kubeconfig)
            return ModuleRun(wrong_clock(place, clock) if clock else place, arguments)

        asked = {"replicas": str(self.replicas), "image": self.image, **options}
        return runner.run(self.place, NAME, kill=network, start=start, seconds=SECONDS, **asked)

    def settle(self, replicas: int) -> None:
        """The state an operation begins with, reached by an undisturbed run."""
        self.replicas = replicas
        answer = self.run()
        assert answer.good, f"an undisturbed run to {replicas} nodes: {answer.why}"
        complaints = self.complaints()
        assert not complaints, f"after an undisturbed run to {replicas} nodes: {complaints}"

    def workload(self, without: str = "") -> Workload:
        """Writes and reads at every worker but one."""
        ports = self.place.get("service", f"{NAME}-public")["spec"]["ports"]
        port = next(item["nodePort"] for item in ports if item["name"] == "sql")
        addresses = [f"{found}:{port}" for name, found in workers().items() if name != without]
        load = Workload(Options(addresses, connections=3, tables=6, rate=30, verify_seconds=60))
        load.start()
        return load

    def cell(self, kind: Kind, operation: Operation) -> list[str]:
        """Disturbs one operation and records what came of it; returns what is not as it should be, a sentence each."""
        load = None
        if operation.before:
            self.settle(operation.before)
            load = self.workload(self.victim(operation) if kind.whole and kind.disturbs else "")
            assert load.await_rows(30, 60), "the workload wrote nothing before the fault"
        self.broken = True  # until it is proven whole again
        self.replicas = operation.after
        if operation.name == "upgrade":
            self.image = UPGRADE_IMAGE if self.image == IMAGE else IMAGE
        self.network = kind.network()
        answers, told = self._disturb(kind, operation)
        self._keep(kind, operation, answers, told)
        said, humans = self._judge(kind, answers)
        load = load or self.workload()
        if not load.await_rows(60, 60):
            said.append("the workload wrote nothing more afterwards")
        summary = load.finish()
        retries = sum(phase.retries_failed for phase in summary.phases)
        wrong = sum(len(phase.wrong_reads) for phase in summary.phases)
        if summary.rows.lost or wrong:
            said.append(f"rows: {summary.rows.as_dict()}, read wrong: {wrong}")
        if retries and not kind.disturbs:
            said.append(f"{retries} retries failed: {[dict(phase.errors) for phase in summary.phases]}")
        missed = [text for text in told if text.startswith("never: ")]
        faults = len(self.network.injected) + len(told) - len(missed)
        if missed or not faults:
            said.append("nothing was injected: the cell says nothing")
        figures.record(figures.Row(
            "fault", f"{kind.name} / {operation.name}", "at once" if kind.smooth else "at once, or refused with a reason and reached by the next run",
            "; ".join([how(answers), *told, *said]), held=not said, operations=len(answers) + 1, faults=faults,
            acknowledged=summary.rows.acknowledged, lost=summary.rows.lost, retries_failed=retries, humans=humans,
            disturbs_nodes=kind.disturbs,
        ))  # fmt: skip
        self.broken = bool(said) or kind.spoils
        return said

    def _disturb(self, kind: Kind, operation: Operation) -> tuple[list[Answer], list[str]]:
        """The runs until one has reached its goal or says that no other can; and what was done beside them."""
        answers: list[Answer] = []
        told: list[str] = []
        with ThreadPoolExecutor(1) as pool:
            for turn in range(1 + AGAIN):
                clock = kind.clocks[min(turn, len(kind.clocks) - 1)] if kind.clocks else ""
                self.network.resting = turn == AGAIN
                running = pool.submit(
                    self.run, self.network, clock, kind.whole and not turn, **(kind.first if not turn else {})
                )
                if turn < len(kind.injectors):
                    try:
                        told.append(kind.injectors[turn](self, operation, lambda run=running: not run.done()))  # type: ignore[misc]
                    except NeverUnderWay as never:
                        told.append(f"never: {never}")
                answers.append(running.result())
                if answers[-1].good or not goes_on(answers[-1]):
                    break
        return answers, told

    def _judge(self, kind: Kind, answers: list[Answer]) -> tuple[list[str], int]:
        """What is wrong with the runs and with where they have led, and whether that needed a human."""
        said, humans = [], 0
        for answer in answers:
            failed = answer.code != 0
            if failed and not (answer.data.get("reason") and answer.data.get("msg")):
                said.append(f"a failure without a reason: {answer.why}")
            if failed and kind.smooth:
                said.append(f"should not have given up: {answer.why}")
        if not answers[-1].good:
            said.append(f"not reached by {len(answers)} runs: {answers[-1].why}")
            humans = int(not self.run().good)
        complaints: list[str] = []

        def reached() -> bool:
            complaints[:] = self.complaints()
            return not complaints

        with suppress(AssertionError):  # a pod that was hit last may still be on its way back
            until("reached", reached, 120 if kind.disturbs or kind.whole else 15, 1)
        said += complaints
        if not humans:
            second = self.run()
            for _turn in range(AGAIN if kind.spoils else 0):
                if second.writes and (second.good or goes_on(second)):
                    second = self.run()
            if second.writes or not second.good:
                said.append(
                    f"one more run: {second.why}, did {second.data.get('steps')}, wrote {[str(item) for item in second.writes]}"
                )
        return said, humans

    def _keep(self, kind: Kind, operation: Operation, answers: list[Answer], told: list[str]) -> None:
        """What happened, for whoever looks into a cell that failed."""
        kept = {
            "told": told, "injected": self.network.injected,
            "runs": [{"why": item.why, "seconds": item.seconds, "answer": item.data, "text": item.text[-3000:],
                      "requests": [f"{one} {one.query.get('command', '')} {one.status}" for one in item.counted]} for item in answers],
        }  # fmt: skip
        file = self.home / f"{kind.name}-{operation.name}.json"
        file.write_text(json.dumps(kept, indent=1, default=str), encoding="utf-8")


def goes_on(answer: Answer) -> bool:
    """Whether the run says that the same one again makes sense."""
    return bool(answer.data.get("in_progress") or answer.data.get("resumable"))


def how(answers: list[Answer]) -> str:
    """The runs, in words."""
    ends = [
        "in progress" if item.data.get("in_progress") else f"{item.data.get('reason')} at {item.data.get('step')}"
        for item in answers
        if not item.good
    ]
    if not answers[-1].good:
        return f"not reached: {', '.join(ends)}"
    return f"{', '.join(ends)}; reached by run {len(answers)}" if ends else "reached at once"


def wrong_clock(place: Place, offset: str) -> Place:
    """The same place, as a machine sees it whose clock is off (libfaketime); durations are measured right there."""
    shifted = copy.copy(place)
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    assert libraries, "libfaketime is not installed (Debian package: faketime)"
    fake = {"LD_PRELOAD": str(libraries[0]), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    shifted.environment = lambda *args, **more: place.environment(*args, **{**fake, **more})  # type: ignore[method-assign]
    return shifted
