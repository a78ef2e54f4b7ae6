# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What must hold before, between and after disruptive steps. Pure: every gate judges what was observed. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

from . import ranges as _ranges
from .observe import ending
from .quantity import bytes_text
from .rules import BY_NAME, WAIVABLE

if t.TYPE_CHECKING:
    from .observe import Deep, Observed
    from .replacing import Loss, Lost


UNKNOWN = "unknown"  # the value of a gate for which there are no figures
GATE_PATIENCE = 60.0  # seconds without any change after which a gate that mends itself refuses after all
MOST = 85  # per cent of its disk that a node may use when another one has left


@dataclass(frozen=True)
class Gate:
    """One judged condition. value and limit are for a person; sentence says what is wrong and what to do when it fails."""

    name: str
    value: str
    limit: str
    holds: bool
    sentence: str = ""
    waived: bool = False

    @property
    def waits(self) -> bool:
        """Whether a run waits for it before it refuses."""
        return not self.holds and not self.waived and self.mends

    @property
    def mends(self) -> bool:
        """Whether it mends itself: always, or because what it judges is not known yet."""
        rule = BY_NAME[self.name]
        return rule.mends or (rule.figures and self.value == UNKNOWN)

    def result(self) -> dict[str, t.Any]:
        return {**asdict(self), "waits": self.waits}

    def line(self) -> str:
        state = "" if self.holds else " (waived)" if self.waived else " waited for" if self.waits else " REFUSES"
        return f"{self.name} {self.value} ({self.limit}){state}"


# Internal jobs run for ever (TS TXN) or are left by each start (RESTART HISTORY); only these kinds block.
BLOCKING_JOBS = ("SCHEMA CHANGE", "IMPORT", "RESTORE", "BACKUP", "CREATE INDEX", "TYPEDESC SCHEMA CHANGE")


def _count(name: str, found: t.Sequence[_ranges.Range], sentence: str) -> Gate:
    return Gate(name, str(len(found)), "≤ 0", not found, sentence.format(named=_ranges.named(found)))


def _underreplicated(found: t.Sequence[_ranges.Range]) -> Gate:
    return _count(
        "ranges_underreplicated", found, "Fewer live replicas than needed: range {named}. Wait until they are whole."
    )


def common(seen: Observed, deep: Deep | None, subject: int | None, pod: str = "") -> list[Gate]:
    """The gates of every disruptive step.

    subject, pod: node id and pod the step is about: the one may itself be leaving or restarting, the other missing.
    """
    if seen.nodes is None or deep is None:
        why = seen.engine_silence or "its SQL does not answer"
        return [
            Gate(
                "engine_answers",
                "no",
                "yes",
                False,
                f"No database node answers ({why}); nothing can be judged. Look at the pods' logs first.",
            )
        ]
    members = [node for node in seen.members() if node.id != subject]
    down = [node for node in members if not (node.is_live and node.is_available)]
    moving = [node for node in members if node.is_decommissioning or node.is_draining]
    whole = deep.wholeness(seen)
    blocking = [job for job in deep.jobs if job.kind in BLOCKING_JOBS]
    pods_missing = [name for name in seen.expected_pods() if name not in seen.pods and name != pod]
    return [
        Gate("engine_answers", "yes", "yes", True),
        Gate(
            "nodes_live",
            f"{len(members) - len(down)} of {len(members)}",
            "all",
            not down,
            f"Node {', '.join(str(node.id) for node in down)} is not live. Bring it back, or decommission it as dead "
            "(kaiwudb_node_decommission), before taking another one away.",
        ),
        Gate(
            "nodes_settled",
            str(len(moving) + len(pods_missing)),
            "≤ 0",
            not moving and not pods_missing,
            "Still leaving or starting: "
            + ", ".join([f"node {node.id}" for node in moving] + pods_missing)
            + ". Wait for it, or undo it.",
        ),
        _count(
            "ranges_unavailable",
            whole.unavailable,
            "No live majority: range {named}. Bring the stopped nodes back first.",
        ),
        _underreplicated(whole.underreplicated),
        Gate(
            "ranges_steady",
            f"{deep.whole_for:.0f} s",
            f"≥ {deep.apart:.0f} s",
            deep.whole_for >= deep.apart,
            f"One reading says that all ranges are whole; another one {deep.apart:.0f} s later must say the same."
            if whole.whole
            else "The ranges are not whole yet.",
        ),
        Gate(
            "jobs_running",
            str(len(blocking)),
            "≤ 0",
            not blocking,
            "Running: " + ", ".join(f"{job.kind} {job.id}" for job in blocking) + ". Wait for it, or cancel it.",
        ),
    ]


def claims_kept(seen: Observed) -> Gate:
    """Before a pod is restarted: its claim must still be there when it comes back."""
    lost = [
        name
        for ordinal in range(seen.replicas)
        if (name := seen.names.claim(ordinal)) not in seen.claims or ending(seen.claims[name])
    ]
    return Gate(
        "claims_kept",
        str(len(lost)),
        "≤ 0",
        not lost,
        f"Claim {', '.join(lost)} is missing or being deleted. A run that may reconfigure gives the volume to a new claim first.",
    )


def majority_kept(seen: Observed, deep: Deep, node_id: int, waive: t.Collection[str] = ()) -> Gate:
    """Before a node is away for long. A range that lacks a replica just now is another gate's, which waits for it, unless it is waived."""
    waits = "ranges_underreplicated" not in waive
    lacking = {item.id for item in deep.wholeness(seen).underreplicated} if waits else ()
    short = [item for item in deep.wholeness(seen, without=node_id).unavailable if item.id not in lacking]
    return _count(
        "majority_kept",
        short,
        f"Without node {node_id} no live majority would be left: range {{named}}. Give its zone three replicas first "
        "(… CONFIGURE ZONE USING num_replicas = 3), or move it.",
    )


def _zone_constraints(seen: Observed, deep: Deep, leaving: t.Collection[int]) -> Gate:
    """A required constraint that only a leaving node, or too few others, can meet holds its replicas there for ever."""
    members = [node for node in seen.members() if not node.is_decommissioning or node.id in leaving]
    remain = sum(node.id not in leaving for node in members)
    blocking = []
    for rule in deep.constraints:
        fit = [node for node in members if rule.fits(node.locality)]
        staying = [node for node in fit if node.id not in leaving]
        count = _ranges.needed(rule.count, remain) if rule.every else rule.count
        if len(staying) < min(count, len(fit)):
            blocking.append(f"{rule.target} requires {count} on {rule.text}, {len(staying)} such nodes would remain")
    return Gate(
        "zone_constraints",
        str(len(blocking)),
        "≤ 0",
        not blocking,
        f"{'; '.join(blocking)}. Change the constraint first (… CONFIGURE ZONE = 'constraints: …'), or keep the node.",
    )


def emptied(deep: Deep | None, node_id: int) -> list[Gate]:
    """Before the pod of a decommissioned node goes: the ranges' own lists must say the same as the counter."""
    if deep is None:
        return [
            Gate("engine_answers", "no", "yes", False, "SQL does not answer; what the node still holds is not known.")
        ]
    left = [item for item in deep.ranges if node_id in item.replicas]
    return [
        _count(
            "emptied",
            left,
            f"Node {node_id} is still listed for range {{named}}. Wait until the engine has moved them.",
        )
    ]


def initialize(seen: Observed) -> list[Gate]:
    """Before C(init)."""
    trace = (
        f"cluster id {seen.cluster_id}"
        if seen.cluster_id
        else "journal"
        if seen.journal.initialized
        else "a pod that serves"
        if seen.initialized
        else ""
    )
    return [
        Gate(
            "never_initialised",
            trace or "no trace",
            "no trace",
            not trace,
            f"It was initialised before ({trace}); a second init would make a second cluster. Bring its stores back.",
        )
    ]


def finalize(seen: Observed, deep: Deep | None, version: tuple[int, ...] | None) -> list[Gate]:
    """Before the cluster version may rise. version: of the image asked for; None when its tag does not say."""
    from .._engine.profiles import same_release, version_of
    from .rolling import image_of

    judged = [
        gate
        for gate in common(seen, deep, None)
        if gate.name in ("engine_answers", "nodes_live", "nodes_settled", "ranges_unavailable")
    ]
    builds = sorted({node.build or "unknown" for node in seen.members()}) if seen.nodes is not None else []
    built = version_of(builds[0]) if len(builds) == 1 else None
    waiting = [name for name, pod in seen.pods.items() if image_of(seen, pod) != seen.image]
    same = built is not None and not waiting and (version is None or same_release(built, version))
    return [
        *judged,
        Gate(
            "one_build",
            ", ".join(builds) or "unknown",
            "one",
            same,
            "Nodes run different releases, or not the one asked for. Finish the upgrade first.",
        ),
    ]


def confirmed(name: str, confirm: str | None) -> Gate:
    """The first gate of a removal, judged on the options alone."""
    return Gate(
        "confirmed",
        confirm or "nothing",
        name,
        confirm == name,
        f"confirm must repeat the cluster's name to remove it; allowed is {name!r}.",
    )


def protected(tables: t.Sequence[str] | None, *, wanted: bool) -> Gate:
    """The second one. tables: of users; None when nobody can tell. wanted: whether protection is on."""
    if not wanted:
        return Gate("protected", "off", "no tables, or off", True)
    holds = (
        "nobody can tell whether it holds tables, for no node answers"
        if tables is None
        else f"it holds {len(tables)} tables ({', '.join(tables[:3])}{' …' if len(tables) > 3 else ''})"
    )
    return Gate(
        "protected",
        "unknown" if tables is None else f"{len(tables)} tables",
        "no tables, or off",
        tables is not None and not tables,
        f"{holds}. Set deletion_protection to false to remove it all the same.",
    )


def _rollout_idle(seen: Observed) -> Gate:
    """Read from the pods' revisions: the controller's own counters ignore pods above a partition."""
    newest = (seen.statefulset or {}).get("status", {}).get("updateRevision")
    old = [
        name
        for name in seen.expected_pods()
        if name in seen.pods
        and newest
        and seen.pods[name]["metadata"]["labels"].get("controller-revision-hash") != newest
    ]
    return Gate(
        "rollout_idle",
        "no" if old else "yes",
        "yes",
        not old,
        f"{', '.join(old)} still wait for the new template. Finish the upgrade first, or undo it by setting image back.",
    )


def _space(room: tuple[int, int] | None) -> Gate:
    if room is None:
        why = "Not every live node has reported yet how much its store holds. Wait a moment; stores report every ten seconds."
        return Gate("space", UNKNOWN, "known", False, why)
    moved, free = room
    return Gate(
        "space",
        bytes_text(moved),
        f"≤ {bytes_text(free)}",
        moved <= free,
        f"{bytes_text(moved)} would move, the other nodes can take {bytes_text(free)} before they are {MOST} % full. Free or add space.",
    )


def scale_in(
    seen: Observed, deep: Deep | None, node_id: int | None, pod: str, later: t.Collection[int] = ()
) -> list[Gate]:
    """Before the decommission of one node.

    later: ids of those that the same run takes away after it: whether enough remains is judged without all of them, for a run that must stop
    half-way should not begin. A half-done rollout stands in the way of a node that runs, not of a dead one: that may be what the rollout waits for.
    """
    gates = common(seen, deep, node_id, pod)
    if deep is None or seen.nodes is None:
        return gates
    subject = next((node for node in seen.nodes if node.id == node_id), None)
    dead = subject is not None and not subject.is_live
    if dead:  # what lacks only its replica is mended by this very step, and will never be whole before it
        lacking = deep.wholeness(seen, also=node_id).underreplicated
        gates = [
            _underreplicated(lacking) if gate.name == "ranges_underreplicated" else gate
            for gate in gates
            if gate.name != "ranges_steady"
        ]
    # How many stay is counted from the pods too: a node still starting has no row, but it is going to be there.
    leaving = {*later, *(() if node_id is None else (node_id,))}
    staying = [node for node in seen.members() if node.id not in leaving and not node.is_decommissioning]
    wanted = max((_ranges.needed(item.wanted, len(staying) + len(leaving)) for item in deep.ranges), default=3)
    least = max(3, max((_ranges.needed(item.wanted, len(staying)) for item in deep.ranges), default=3))
    gates.append(
        Gate(
            "nodes_needed",
            str(len(staying)),
            f"≥ {least}",
            len(staying) >= least,
            f"{len(staying)} nodes would remain, the ranges need {least} (they keep {wanted} replicas now). "
            "Lower num_replicas of the zones first (ALTER RANGE default CONFIGURE ZONE …), or keep the nodes; never below 3.",
        )
    )
    gates.append(_zone_constraints(seen, deep, leaving))
    live = [node for node in seen.rows_of(pod) if node.is_live]
    gates.append(
        Gate(
            "one_node",
            str(len(live)),
            "≤ 1",
            len(live) <= 1,
            f"Nodes {', '.join(str(node.id) for node in live)} all have the address of {pod}. Wait until the dead one's liveness expires.",
        )
    )
    if not dead:
        gates.append(_rollout_idle(seen))
    if leaving:
        gates.append(_space(deep.room_without(seen, leaving, MOST)))
    return gates


def replaced(seen: Observed, deep: Deep | None, lost: Lost, loss: Loss) -> list[Gate]:
    """Before a node that is lost gives its claim and volume up.

    Its ranges lack its replicas, and other nodes may be down too: what counts is that every range keeps a majority without it.
    """
    judged = [gate for gate in common(seen, deep, None) if gate.name in ("engine_answers", "ranges_unavailable")]
    if deep is None or seen.nodes is None:
        return judged
    serving = [
        row
        for row in seen.rows_of(lost.pod)
        if row.is_live
        and (row.id in lost.before or loss.kind == "none")
        and not (row.is_decommissioning and not any(row.id in item.replicas for item in deep.ranges))
    ]
    named = ", ".join(str(row.id) for row in serving)
    what_now = (
        f"It is leaving: wait until it holds nothing, or put it back (kaiwudb_node_decommission, node id={serving[0].id}, state active)."
        if serving and serving[0].is_decommissioning
        else "To move a node that lives, decommission it first (kaiwudb_node_decommission)."
    )
    # Kubernetes says that it does not run, so the engine's word is the older one.
    just_now = serving and not serving[0].is_decommissioning and loss.kind not in ("none", "left")
    return [
        *judged,
        Gate(
            "node_dead",
            UNKNOWN if just_now else f"live: {named}" if serving else "dead",
            "dead",
            not serving,
            f"Node {named} ({lost.pod}) still counts as live; one that has stopped does so for 15 s at most."
            if just_now
            else f"Node {named} ({lost.pod}) is live. {what_now}",
        ),
        Gate(
            "process_ended",
            loss.kind,
            "never comes back",
            loss.ended,
            f"{loss.text[:1].upper()}{loss.text[1:]}. If it is switched off for good, say so: lost=true, taint it "
            "node.kubernetes.io/out-of-service, or delete the Node. Otherwise bring it back.",
        ),
        Gate(
            "majority_steady",
            f"{deep.kept_for:.0f} s",
            f"≥ {deep.apart:.0f} s",
            deep.kept_for >= deep.apart,
            f"One reading says that every range has a live majority; another one {deep.apart:.0f} s later must say the same.",
        ),
    ]


def judge(gates: t.Iterable[Gate], waive: t.Collection[str]) -> list[Gate]:
    """The same gates with the waived ones marked."""
    return [
        Gate(
            gate.name,
            gate.value,
            gate.limit,
            gate.holds,
            gate.sentence,
            not gate.holds and gate.name in waive and gate.name in WAIVABLE,
        )
        for gate in gates
    ]


def failed(gates: t.Iterable[Gate]) -> list[Gate]:
    """Those that refuse."""
    return [gate for gate in gates if not gate.holds and not gate.waived]
