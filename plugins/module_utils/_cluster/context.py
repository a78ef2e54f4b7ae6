# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What a step works with: the two edges, time, waits that know when to give up, and the journal. PRIVATE to the collection."""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace
from datetime import datetime, timezone

from .._engine.cli import Engine
from .._engine.errors import STORE_IN_USE
from .._kube.client import runner
from . import gates as _gates
from . import manifests, missing, observe, verdict
from .errors import UNCHANGED, ClusterError
from .journal import TIME, Journal
from .names import CONTAINER, Names, ordinal_of, owned
from .observe import Deep, Observed
from .progress import EVERY, about
from .rules import BY_NAME
from .spec import Spec

if t.TYPE_CHECKING:
    from .._engine.profiles import Profile
    from .._kube.client import Client
    from .plan import Step

POLL = 2.0  # seconds between two questions to the engine, which offers nothing to watch
# Seconds until a claim without its volume is hopeless. The volume controller may find it with its resync only (15 s by default), and the scheduler
# comes back to the pod within ten.
BINDING = 45.0
QUIET = 10.0  # seconds a wait may last before it says what it waits for
Pods = t.Mapping[str, t.Mapping[str, t.Any]]


class Paused(Exception):
    """The slice's time is over; the work is where it stands and goes on with the next one."""


def utc(moment: float | None = None) -> str:
    """A time as the journal writes it, now by default."""
    return datetime.fromtimestamp(time.time() if moment is None else moment, timezone.utc).strftime(TIME)


class Context:
    """One slice of one run on one cluster.

    run_id: the same for all slices of the run. carry: what an earlier slice of it handed on (since when it waits, and for what), and what
    this one hands on; it dies with the run, for another run's clock is not to be compared with this one's.
    deadline: monotonic time at which the slice ends, None for never. lines: what moved, for a person.
    """

    def __init__(
        self,
        client: Client,
        spec: Spec,
        profile: Profile,
        who: str,
        *,
        run_id: str = "",
        seconds: float | None = None,
        carry: t.Mapping[str, t.Any] | None = None,
    ) -> None:
        self.client, self.spec, self.profile, self.who, self.run_id = client, spec, profile, who, run_id
        self.names: Names = manifests.names_of(spec)
        self.seen: Observed = None  # type: ignore[assignment]  # set by look(), which every run begins with
        self.engine = Engine(
            profile,
            runner(client, spec.namespace, CONTAINER),
            self._serving,
            binary=spec.binary,
            sql_port=spec.sql_port,
            timeout=8.0,
            budget=16.0,
        )  # a healthy node answers within a second
        self.lines: list[str] = []
        self.figures: dict[str, t.Any] = {}
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.lost: t.Callable[[], str] = lambda: ""
        self._version = ""  # of the last list of pods; empty when it is used up
        self.carry: dict[str, t.Any] = dict(carry or {})
        self.untouched = False  # whether the step under way has done nothing yet, as while its gates are waited for

    def _serving(self) -> list[str]:
        """Ready pods, those of low ordinals first."""
        return [
            name
            for name in sorted(self.seen.pods, key=lambda name: ordinal_of(name) or 0)
            if observe.ready(self.seen.pods[name])
        ]

    # ---- looking

    def look(self) -> Observed:
        """Both views, fresh."""
        self.seen = observe.ask_engine(self.engine, self.look_at_objects())
        return self.seen

    def look_at_objects(self) -> Observed:
        """The API server's view, fresh; the engine's stays as it was."""
        found = observe.look_at_objects(
            self.client, self.names, sql_port=self.spec.sql_port, volumes=self.spec.storage == "local"
        )
        self.seen = (
            replace(found, nodes=self.seen.nodes, engine_silence=self.seen.engine_silence, ids=self.seen.ids)
            if self.seen
            else found
        )
        return self.seen

    def look_at_pods(self) -> Pods:
        """Only the pods, fresh."""
        items, self._version = self.client.list("Pod", self.spec.namespace, labels=self.names.pod_selector)
        pods = {item["metadata"]["name"]: item for item in items if owned(item, self.names)}
        if self.seen is not None:
            self.seen = replace(self.seen, objects={**self.seen.objects, "Pod": pods})
        return pods

    def ask_engine(self) -> Observed:
        """Pods and engine rows, fresh."""
        self.look_at_pods()
        self.seen = observe.ask_engine(self.engine, self.seen)
        return self.seen

    def deep(self) -> Deep | None:
        """What gates need beyond the light view; with the time over which every reading said that all ranges are whole."""
        found = observe.look_deep(self.engine, self.seen)
        ranges = found.wholeness(self.seen) if found is not None and self.seen.nodes is not None else None
        whole = ranges is not None and ranges.whole
        if not whole:
            self.carry.pop("lasting", None)
        whole_for = self._held("whole_since", whole)
        kept_for = self._held("kept_since", ranges is not None and not ranges.unavailable)
        if found is None:
            return None
        return replace(found, whole_for=whole_for, kept_for=kept_for, apart=float(self.profile.liveness_seconds))

    def _held(self, key: str, holds: bool) -> float:
        """Seconds over which every reading of this run said so."""
        if not holds:
            self.carry.pop(key, None)
            return 0.0
        now = time.time()
        self.carry[key] = min(float(self.carry.get(key, now)), now)
        return now - float(self.carry[key])

    def disturbed(self) -> None:
        """A node was just restarted or taken away: readings from before say nothing about what comes."""
        for key in ("whole_since", "kept_since", "lasting"):
            self.carry.pop(key, None)

    def lasting(self, what: str, holds: bool) -> float:
        """Seconds for which C(what) has held, over slices; 0 when it does not."""
        now, since = time.time(), self.carry.setdefault("lasting", {})
        if not holds:
            since.pop(what, None)
            return 0.0
        return max(0.0, now - float(since.setdefault(what, now)))

    def under_way(self, what: str) -> float:
        """Seconds since this run saw it first, over slices, whatever is restarted or not whole meanwhile."""
        now, since = time.time(), self.carry.setdefault("under_way", {})
        return max(0.0, now - float(since.setdefault(what, now)))

    # ---- time

    def check_time(self) -> None:
        """Paused when the slice is over; ClusterError when another run took the lock."""
        self.check_lock()
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise Paused

    def check_lock(self) -> None:
        """ClusterError when another run took the lock."""
        taker = self.lost()
        if taker:
            raise ClusterError(
                f"the lock of {self.spec.name} was taken over by {taker}; this run stops where it is.",
                "lock_lost",
                resumable=True,
            )

    def pause(self, seconds: float = POLL) -> None:
        """Until a pod of the cluster changes, at most so long: the engine has nothing to watch, so it is asked again."""
        self.check_time()
        if self.deadline is not None:
            seconds = min(seconds, max(0.05, self.deadline - time.monotonic()))
        from .._kube.errors import KubeError

        if not self._version:
            self._version = self.client.list("Pod", self.spec.namespace, labels=self.names.selector)[1]
        try:
            for _event in self.client.watch(
                "Pod", self.spec.namespace, labels=self.names.selector, resource_version=self._version, timeout=seconds
            ):
                break
        except KubeError as error:
            if error.status != 410:
                raise
        self._version = ""
        self.check_lock()  # the machine may have slept meanwhile, and what follows may be an order

    def say(self, text: str) -> None:
        """A line for a person, when something moved."""
        if not self.lines or self.lines[-1] != text:
            self.lines.append(text)

    # ---- waiting

    def wait(
        self, judge: t.Callable[[], verdict.Verdict], step: str, *, poll: float = POLL, limit: float | None = None
    ) -> None:
        """Until C(judge) says done. A hopeless cause that persists ends it with the evidence; so does C(limit) (wait_timeout) without a change.

        Since when nothing has changed is handed on over the slices of a run; otherwise a wait cut into slices would never end. A step
        may wait for several things: what is done at first sight leaves the note of a later one alone.
        """
        known = self.carry.get("waiting") or {}
        since, last = (float(known["since"]), str(known["why"])) if known.get("step") == step else (time.time(), "")
        said, told, shown, waited = bool(last and known.get("said")), 0.0, "", False
        try:
            while True:
                found = judge()
                now = time.time()
                if found.progress and found.progress != shown:
                    if shown and now - told > EVERY:
                        self.say(f"{step}   {found.progress}")
                        told = now
                    shown = found.progress
                if found.done:
                    if waited:
                        self.carry.pop("waiting", None)
                        self.carry.pop("hopeless", None)
                    return
                waited = True
                if found.why != last:
                    since, last, said = now, found.why, False
                elif not said and now - since > QUIET:
                    said = True
                    self.say(f"{step}   {found.why}")
                if said and not found.never and found.pod:
                    found = self._mount_trouble(found)
                self._give_up_if_hopeless(found, step)
                if now - since > (limit or self.spec.wait_timeout):
                    raise ClusterError(
                        f"{found.why}, unchanged for {about(now - since)}. The run stopped where it is; run it again to continue."
                        + self._stores_missing(),
                        "timeout",
                        step=step,
                        node=found.pod,
                        waited=round(now - since),
                        evidence=self._evidence(found),
                    )
                self.pause(min(poll, 1.0) if found.never else poll)
        except Paused:
            if waited:
                self.carry["waiting"] = {"step": step, "why": last, "since": since, "said": said}
            raise

    def _stores_missing(self) -> str:
        """What a person must know of an initialised cluster none of whose pods serves: it is not made anew."""
        if not self.seen.initialized or self.seen.nodes is not None or any(map(observe.ready, self.seen.pods.values())):
            return ""
        return (
            f" No pod serves, and the cluster was initialised before ({self.seen.cluster_id or 'says the journal'}), so it is never "
            "initialised again: bring the stores of a majority of its nodes back."
        )

    def _mount_trouble(self, found: verdict.Verdict) -> verdict.Verdict:
        """A directory that does not exist shows in events only; the container just waits. Other mount troubles pass."""
        pod = self.seen.pods.get(found.pod) or self.client.get("Pod", found.pod, self.spec.namespace) or {}
        uid = pod.get("metadata", {}).get("uid")  # events outlive a pod of the same name
        told = [
            event.get("message", "")
            for event in self.client.events(self.spec.namespace, found.pod)
            if event.get("reason") == "FailedMount" and (event.get("involvedObject") or {}).get("uid") in (None, uid)
        ]
        # The last is a directory's that a short-lived pod mounts, where a file has its name.
        hopeless = ("does not exist", "no such file", "not a directory")
        missing = [text for text in told if any(words in text for words in hopeless)]
        return (
            replace(
                found, why=f"pod {found.pod} cannot mount its volume: {missing[-1]}", never="volume_mount", patience=2.0
            )
            if missing
            else found
        )

    def _patience(self, found: verdict.Verdict) -> float:
        """Seconds for which a hopeless cause must last. A local volume is there and names its claim, so only a controller is late with it."""
        late = found.never == "unschedulable" and self.spec.storage == "local" and "unbound" in found.why
        return BINDING if late else found.patience

    def _give_up_if_hopeless(self, found: verdict.Verdict, step: str) -> None:
        if not found.never:
            self.carry.pop("hopeless", None)
            return
        # Over slices: some causes are believed after longer than a slice lasts.
        seen = self.carry.setdefault("hopeless", {})
        lasted = time.time() - float(seen.setdefault(f"{step}/{found.never}/{found.pod}", time.time()))
        if lasted < self._patience(found):
            return
        evidence = self._evidence(found)
        if found.never == "container_crash" and any(STORE_IN_USE in line for line in evidence["log"]):
            return
        remedy = (
            missing.advice(self.spec, self.seen, found.pod)
            if found.never == "volume_mount"
            else _REMEDY.get(found.never, "Look at the evidence, mend it and run again.")
        )
        raise ClusterError(
            f"{found.why} ({lasted:.0f} s). {remedy}"
            + (f" Last events: {'; '.join(evidence['events'][-3:])}." if evidence["events"] else "")
            + (f" Last log: {evidence['log'][-1]}" if evidence["log"] else ""),
            found.never,
            step=step,
            node=found.pod,
            waited=round(lasted),
            evidence=evidence,
        )

    def _evidence(self, found: verdict.Verdict) -> dict[str, list[str]]:
        """The pod's events and last log lines, as far as they may be read."""
        from .._kube.errors import KubeError

        events: list[str] = []
        log: list[str] = []
        if found.pod:
            # Why a pod cannot be made is said of its StatefulSet.
            missing = found.pod in self.seen.expected_pods() and found.pod not in self.seen.pods
            told_of = self.names.name if missing else found.pod
            try:
                events = (
                    []
                    if found.never == "volume_not_empty"
                    else [
                        f"{event.get('reason')}: {event.get('message')}"
                        for event in self.client.events(self.spec.namespace, told_of)
                    ][-8:]
                )
                for previous in () if missing else (True, False):
                    log = (
                        log
                        or self.client.logs(
                            self.spec.namespace, found.pod, found.container or None, tail=20, previous=previous
                        )
                        .strip()
                        .splitlines()
                    )
            except KubeError as error:
                events.append(f"could not be read: {error}")
        return {"events": events, "log": log}

    # ---- journal and gates

    def write_journal(self, journal: Journal) -> None:
        """Keep it, where it differs from what is kept; with the options in force, should the StatefulSet lose them."""
        journal = replace(journal, options=self.seen.noted or journal.options)
        if journal == self.seen.journal and self.names.journal in self.seen.objects["ConfigMap"]:
            return
        self.check_lock()  # what this run knows may be older than what another has written since
        kept = self.client.apply(manifests.configmap(self.names, journal.data()))
        self.seen = replace(
            self.seen,
            journal=journal,
            objects={**self.seen.objects, "ConfigMap": {**self.seen.objects["ConfigMap"], self.names.journal: kept}},
        )

    def prove_in_time(
        self, found: t.Callable[[], t.Sequence[_gates.Gate]], step: Step, *, changed: bool = False
    ) -> None:
        """Like C(prove), but what mends itself is waited for. C(found) judges what was seen, which is fresh each time."""

        def judge() -> verdict.Verdict:
            self.ask_engine()
            judged = _gates.judge(found(), self.spec.waive)
            self.prove([gate for gate in judged if not gate.mends], step, changed=changed)
            refusing = _gates.failed(judged)
            return (
                verdict.Verdict(False, f"gate {refusing[0].name}: {refusing[0].sentence}") if refusing else verdict.DONE
            )

        self.untouched = not changed
        try:
            self.wait(judge, step.id, poll=3.0, limit=_gates.GATE_PATIENCE)
        except ClusterError as error:
            if error.reason != "timeout":
                raise
            self.ask_engine()
            self.prove(found(), step, changed=changed)
        self.check_lock()  # an order follows, and the machine may have slept since the gates were asked
        self.untouched = False

    def prove(self, found: t.Sequence[_gates.Gate], step: Step, *, changed: bool = False) -> None:
        """ClusterError for the first gate that refuses."""
        judged = _gates.judge(found, self.spec.waive)
        refusing = _gates.failed(judged)
        if refusing:
            gate = refusing[0]
            raise ClusterError(
                f"refused {step.id}: gate {gate.name}: {gate.sentence}" + ("" if changed else f" {UNCHANGED}"),
                gate.name,
                step=step.id,
                node=step.pod,
                gates=[item.result() for item in judged],
                resumable=BY_NAME[gate.name].mends or gate.name not in _NOT_AGAIN,
            )


# Gates that the same run will never pass: another question must be asked.
_NOT_AGAIN = (
    "nodes_needed",
    "zone_constraints",
    "version_path",
    "template_expected",
    "never_initialised",
    "confirmed",
    "protected",
)
_REMEDY = {
    "image_pull": "Correct image (or the registry, or image_pull_secrets) and run again; on a live cluster the other pods serve on, and setting image "
    "back to what it was undoes the change.",
    "unschedulable": "Give the pod a node it can run on (volume, taints, resources, anti_affinity) and run again.",
    "container_crash": "The database's own words are below; correct what they name and run again.",
    "container_config": "Correct the pod's configuration (env, pod_overrides, secrets) and run again.",
    "resize_failed": "Its pod runs on with the size it has. Let the storage have what is asked for (quota, the largest volume of its driver) and run again.",
    "store_returned": "Nothing in it was touched. Move its directory away, or set volumes to archive or wipe, and run again.",
    "store_retired": "Scale in again, to the replicas there were before it, or put the node back (kaiwudb_node_decommission, state active).",
    "volume_not_empty": "Nothing in it was touched. Move the data away, choose another local_path, or set volumes to archive or wipe.",
}
