# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What must hold before, between and after disruptive steps. Pure: every gate judges what was observed. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

from . import ranges as _ranges
from .quantity import bytes_text

if t.TYPE_CHECKING:
    from .observe import Deep, Observed


@dataclass(frozen=True)
class Gate:
    """One judged condition. value and limit are for a person; sentence says what is wrong and what to do when it fails."""

    name: str
    value: str
    limit: str
    holds: bool
    sentence: str = ""
    waived: bool = False

    def result(self) -> dict[str, t.Any]:
        return asdict(self)

    def line(self) -> str:
        state = "" if self.holds else " (waived)" if self.waived else " REFUSES"
        return f"{self.name} {self.value} ({self.limit}){state}"


@dataclass(frozen=True)
class Rule:
    """A gate's entry in the table that the documentation shows. why_not: why it cannot be waived; empty where it can."""

    name: str
    before: str
    text: str
    why_not: str = ""


RULES = (
    Rule(
        "engine_answers", "scale in, upgrade", "a database node answers `node status`", "nothing else could be judged"
    ),
    Rule(
        "nodes_live",
        "scale in, upgrade",
        "every node that belongs to the cluster is live and available in the engine's own view",
    ),
    Rule(
        "nodes_settled", "scale in, upgrade", "no node is joining, leaving or upgrading, but the one this step is about"
    ),
    Rule(
        "nodes_needed",
        "scale in",
        "as many nodes remain as the widest zone needs to keep its replicas (three at least)",
        "decommissioning below it never ends",
    ),
    Rule(
        "ranges_unavailable",
        "scale in, upgrade",
        "no range is without a live majority",
        "taking a node away could lose data",
    ),
    Rule("ranges_underreplicated", "scale in, upgrade", "no range has fewer live replicas than the allocator keeps"),
    Rule("one_node", "scale in", "exactly one live node has the pod's address", "the wrong node might be emptied"),
    Rule("space", "scale in", "the nodes that stay can hold the leaving node's bytes and stay below 85 %"),
    Rule("jobs_running", "scale in, upgrade", "no schema change, import or restore is running"),
    Rule(
        "rollout_idle",
        "scale in",
        "no new template of the StatefulSet is half rolled out",
        "two changes at once could break the quorum",
    ),
    Rule(
        "version_path",
        "upgrade",
        "the database may go from the version it runs to the one asked for",
        "the data could not be read afterwards",
    ),
)
# What mends itself: a run waits for these before it refuses, as long as something moves.
PASSING = ("nodes_settled", "ranges_underreplicated", "jobs_running")
GATE_PATIENCE = 60.0  # seconds without any change after which such a gate refuses after all
WAIVABLE = tuple(rule.name for rule in RULES if not rule.why_not)

# Internal jobs run for ever (TS TXN) or are left by each start (RESTART HISTORY); only these kinds block.
BLOCKING_JOBS = ("SCHEMA CHANGE", "IMPORT", "RESTORE", "BACKUP", "CREATE INDEX", "TYPEDESC SCHEMA CHANGE")


def _count(name: str, found: t.Sequence[_ranges.Range], sentence: str) -> Gate:
    return Gate(name, str(len(found)), "≤ 0", not found, sentence.format(named=_ranges.named(found)))


def common(seen: Observed, deep: Deep | None, subject: int | None) -> list[Gate]:
    """The gates of every disruptive step. subject: node id the step is about, which may itself be leaving or restarting."""
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
    pods_missing = [pod for pod in seen.expected_pods() if pod not in seen.pods]
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
        _count(
            "ranges_underreplicated",
            whole.underreplicated,
            "Fewer live replicas than needed: range {named}. Wait until they are whole.",
        ),
        Gate(
            "jobs_running",
            str(len(blocking)),
            "≤ 0",
            not blocking,
            "Running: " + ", ".join(f"{job.kind} {job.id}" for job in blocking) + ". Wait for it, or cancel it.",
        ),
    ]


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


def scale_in(seen: Observed, deep: Deep | None, node_id: int | None, pod: str) -> list[Gate]:
    """Before and during the decommission of one node."""
    gates = common(seen, deep, node_id)
    if deep is None or seen.nodes is None:
        return gates
    # How many stay is counted from the pods too: a node still starting has no row, but it is going to be there.
    staying = [node for node in seen.members() if node.id != node_id and not node.is_decommissioning]
    wanted = max((_ranges.needed(item.wanted, len(staying) + 1) for item in deep.ranges), default=3)
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
    gates.append(_rollout_idle(seen))
    room = deep.room_without(node_id)
    if room is not None:
        moved, free = room
        gates.append(
            Gate(
                "space",
                bytes_text(moved),
                f"≤ {bytes_text(free)}",
                moved <= free,
                f"{bytes_text(moved)} would move, the other nodes can take {bytes_text(free)} below 85 % use. Free or add space.",
            )
        )
    return gates


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
