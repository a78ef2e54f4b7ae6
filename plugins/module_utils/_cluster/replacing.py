# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""A database node whose Kubernetes node, disk or place is lost: what has become of it, and what brings its pod back. Pure. PRIVATE.

The dead node is told to leave first and waited for last: where as many nodes stay as the ranges want replicas, they move at once; where
fewer stay, they have nowhere to go before the pod has come back with an empty store, as a new node.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, replace

from . import fingerprint, manifests, missing, placement, verdict
from .errors import ClusterError
from .fingerprint import retired
from .names import ordinal_of
from .observe import Observed, ending, holds, ready
from .plan import Changes, Plan, Step
from .spec import Spec
from .volumes import making, table, topology

if t.TYPE_CHECKING:
    from .._engine.parse import NodeRow
    from .observe import Deep

Object = t.Mapping[str, t.Any]
OPERATION = "replace_node"
SELECTED = "volume.kubernetes.io/selected-node"  # on a claim: where the scheduler had its volume made
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"  # Kubernetes' own word for a node that is down for good

# What a person must say before the pod is given up: Kubernetes itself cannot tell, or says that the store may come back.
_NEEDS_WORD = ("node_silent", "unknown", "cordoned", "unstarted")
# Where no kubelet is left to end the pod, or none that answers.
_UNREACHABLE = ("node_gone", "out_of_service", "node_silent", "unknown")


@dataclass(frozen=True)
class Loss:
    """What has become of a pod. on: its Kubernetes node, "" when none is known. given_up: whether somebody said that it is lost.

    kind: node_gone (no such Kubernetes node any more), out_of_service (tainted so), node_silent (not ready), unknown (nodes may not be
    read), cordoned, unschedulable, unplaced (neither pod nor volume has a node), unstarted (its image or configuration keeps it from
    starting, not its store), store (the node answers, the database does not run),
    left (it was decommissioned and holds nothing), emptied (it serves with a fresh store, the row of the old one is left), none (it
    serves). answers: whether short-lived pods can run there.
    """

    kind: str
    text: str
    on: str = ""
    given_up: bool = False
    answers: bool = False

    @property
    def ended(self) -> bool:
        """Whether its process can never come back beside a new one."""
        return self.given_up or self.kind not in _NEEDS_WORD

    @property
    def by_force(self) -> bool:
        """Whether the pod is taken out of the API without its kubelet's word."""
        return self.ended and self.kind in _UNREACHABLE


@dataclass(frozen=True)
class Lost:
    """What is given up, as the journal keeps it over runs.

    pod: its name. ids: engine nodes that must leave; before: all ids that the pod's address ever had, so that none of them is taken for the
    new one. claim, volume: uids of the objects that go, "" where there was none. away: Kubernetes nodes on which it was lost, none of which
    takes it by itself. kind, why, on: the loss as it was found at first; what is seen later is the way back from it.
    """

    pod: str
    ids: tuple[int, ...] = ()
    before: tuple[int, ...] = ()
    claim: str = ""
    volume: str = ""
    away: tuple[str, ...] = ()
    kind: str = ""
    why: str = ""
    on: str = ""

    @classmethod
    def read(cls, kept: t.Mapping[str, t.Any]) -> Lost | None:
        """From the journal's entry; None when it is not to be understood."""
        try:
            return cls(
                str(kept["pod"]),
                tuple(map(int, kept["ids"])),
                tuple(map(int, kept["before"])),
                str(kept["claim"]),
                str(kept["volume"]),
                tuple(map(str, kept["away"])),
                *(str(kept.get(key) or "") for key in ("kind", "why", "on")),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def kept(self) -> dict[str, t.Any]:
        return {**asdict(self), "ids": list(self.ids), "before": list(self.before), "away": list(self.away)}


def diagnose(seen: Observed, ordinal: int, kube_nodes: t.Sequence[Object] | None, *, given_up: bool = False) -> Loss:
    """What has become of the pod of that ordinal. kube_nodes: None when they may not be read."""
    name = seen.names.pod(ordinal)
    pod, row = seen.pods.get(name), seen.node_of(name)
    on = _kube_node(seen, ordinal)
    node = next((item for item in kube_nodes or () if item["metadata"]["name"] == on), None)
    where = f"Kubernetes node {on}" if on else "no Kubernetes node"

    def loss(kind: str, text: str) -> Loss:
        return Loss(kind, text, on, given_up, node is not None and placement.is_ready(node))

    if on and kube_nodes is not None and node is None:
        return loss("node_gone", f"{where} does not exist any more")
    if pod is not None and ready(pod) and row is not None and row.is_live:
        if row.is_decommissioning:
            return loss("left", f"node {row.id} on {where} was decommissioned")
        stale = [item.id for item in seen.rows_of(name) if item.id != row.id and not item.is_decommissioning]
        return (
            loss(
                "emptied", f"it serves as node {row.id}; node {', '.join(map(str, stale))} is what its store was before"
            )
            if stale
            else loss("none", f"it serves as node {row.id} on {where}")
        )
    if not on:
        return loss("unplaced", "neither the pod nor a volume of it has a Kubernetes node")
    if node is None:
        return loss("unknown", f"whether {where} is there cannot be read")
    if any(taint["key"] == OUT_OF_SERVICE for taint in node["spec"].get("taints") or ()):
        return loss("out_of_service", f"{where} is out of service")
    if not placement.is_ready(node):
        return loss("node_silent", f"{where} does not answer, but may still run it")
    if node["spec"].get("unschedulable"):
        return loss("cordoned", f"{where} is cordoned; uncordoned, it may bring its store back")
    if pod is not None and not pod["spec"].get("nodeName"):
        bad = verdict.hopeless(pod)
        return loss("unschedulable", bad.why if bad else f"pod {name} waits for a place, its volume is on {on}")
    bad = verdict.hopeless(pod) if pod is not None else None
    if bad and bad.never in ("image_pull", "container_config"):  # elsewhere it would start as little
        return loss("unstarted", f"{bad.why}; that says nothing about its store on {on}")
    return loss("store", f"{where} answers, but the database does not run on it" + (f": {bad.why}" if bad else ""))


def _kube_node(seen: Observed, ordinal: int) -> str:
    """Where the pod is, or would have to be for its volume; "" when nothing says it."""
    pod = seen.pods.get(seen.names.pod(ordinal)) or {}
    return str(pod.get("spec", {}).get("nodeName") or "") or _held_on(seen, ordinal)


def _held_on(seen: Observed, ordinal: int) -> str:
    """The Kubernetes node of its volume; where a storage class provisions, the one that the scheduler chose for its claim."""
    volume, claim = seen.volumes.get(seen.names.volume(ordinal)), seen.claims.get(seen.names.claim(ordinal))
    chosen = ((claim or {}).get("metadata", {}).get("annotations") or {}).get(SELECTED)
    return (placement.node_of(volume) if volume else None) or str(chosen or "")


def rows_before(seen: Observed, ordinal: int, serves: NodeRow | None) -> list[NodeRow]:
    """Rows of what the pod's store was before. serves: the row of the fresh store that serves already, which is none of them.

    After a full restart the engine has no address for a node that was down: then the volume's own note tells its id.
    """
    found = [row for row in seen.rows_of(seen.names.pod(ordinal)) if serves is None or row.id != serves.id]
    known = _noted(seen, ordinal)
    noted = [row for row in seen.nodes or () if row.id == known and row.address is None]
    return found or (noted if serves is None else [])


def _noted(seen: Observed, ordinal: int) -> int | None:
    """Id of the engine node whose store lies there, as volume or claim say."""
    places = seen.volumes.get(seen.names.volume(ordinal)), seen.claims.get(seen.names.claim(ordinal))
    marks = [mark for mark in map(fingerprint.read, places) if mark is not None]
    # An id of another cluster is some other node's here.
    return next((mark.node_id for mark in marks if mark.node_id and mark.cluster_id == seen.cluster_id), None)


def begins(seen: Observed, deep: Deep | None, ordinal: int, loss: Loss) -> Lost:
    """What is to be given up now."""
    name = seen.names.pod(ordinal)
    serves = seen.node_of(name) if loss.kind in ("none", "emptied") else None
    rows = rows_before(seen, ordinal, serves)
    unfinished = tuple(row.id for row in rows if not row.is_decommissioning or holds(deep, row.id))
    goes = serves is None
    return Lost(
        name,
        unfinished,
        tuple(row.id for row in rows),
        _uid(seen.claims.get(seen.names.claim(ordinal))) if goes else "",
        _uid(seen.volumes.get(seen.names.volume(ordinal))) if goes else "",
        (loss.on,) if goes and loss.on else (),
        loss.kind,
        loss.text,
        loss.on,
    )


def _uid(obj: Object | None) -> str:
    return str((obj or {}).get("metadata", {}).get("uid") or "")


def kept(seen: Observed, pod: str) -> Lost | None:
    """What the journal says that the replacement of this pod gives up."""
    return Lost.read(seen.journal.replacing.get(pod, {}))


def clearing(node: str, path: str, *, done: bool = False) -> dict[str, t.Any]:
    """How the journal notes that what an earlier life left there may go, or has gone."""
    return {"node": node, "path": path, "done": done}


def goes_on(seen: Observed, ordinal: int, loss: Loss, target: str) -> Lost | None:
    """What an interrupted run had begun to give up; None when there is nothing, or what came of it was lost too.

    ClusterError (replace_interrupted) when it is about another pod.
    """
    for pod in seen.journal.replacing:
        other = kept(seen, pod)
        # Of one that serves only waiting is left, perhaps for this very pod; or it came back and was put back, and nothing is left to do.
        if pod != seen.names.pod(ordinal) and pod in seen.expected_pods() and other and not _serves(seen, pod):
            raise ClusterError(
                f"the replacement of {pod} is not complete. Nothing was changed. Replace {pod} again first.",
                "replace_interrupted",
                node=pod,
            )
    lost = kept(seen, seen.names.pod(ordinal))
    if lost is None:
        return None
    if not detached(seen, lost) or loss.kind == "none":
        return lost
    if loss.kind == "left":  # its new place held the store of one that was decommissioned
        return None
    elsewhere, row = _held_on(seen, ordinal), seen.node_of(lost.pod)
    had_joined = any(item.id not in lost.before and not item.is_live for item in rows_before(seen, ordinal, None))
    if loss.kind == "emptied":
        return None if had_joined else lost
    dead = had_joined and not (row is not None and row.is_live)
    lost_too = bool(elsewhere) and loss.kind in _UNREACHABLE and loss.ended and loss.on == elsewhere
    elsewhere_now = bool(elsewhere) and target not in ("", elsewhere)
    return None if lost_too or elsewhere_now or (dead and (loss.ended or target)) else lost


def _serves(seen: Observed, pod: str) -> bool:
    """Whether it takes data, with whatever store."""
    there, row = seen.pods.get(pod), seen.node_of(pod)
    return there is not None and ready(there) and row is not None and bool(row.is_live) and not row.is_decommissioning


def serves_anew(seen: Observed, lost: Lost) -> bool:
    """Whether the pod serves with a store that is none of those given up."""
    row = seen.node_of(lost.pod)
    return _serves(seen, lost.pod) and row is not None and row.id not in lost.before


def detached(seen: Observed, lost: Lost) -> bool:
    """Whether claim and volume that are given up have gone."""
    ordinal = ordinal_of(lost.pod) or 0
    claim, volume = seen.claims.get(seen.names.claim(ordinal)), seen.volumes.get(seen.names.volume(ordinal))
    return not ((lost.claim and _uid(claim) == lost.claim) or (lost.volume and _uid(volume) == lost.volume))


def detaching(seen: Observed, lost: Lost) -> bool:
    """Whether a run has passed the gates and begun to take these very objects away: it noted so, and the claim goes.

    What the objects look like says nothing by itself: anybody can delete a claim, and what was only marked may have come back.
    """
    noted = seen.journal.replacing.get(lost.pod, {}).get("detaching") is True and kept(seen, lost.pod) == lost
    claim = seen.claims.get(seen.names.claim(ordinal_of(lost.pod) or 0))
    return noted and (claim is None or _uid(claim) != lost.claim or ending(claim))


def replacement(
    spec: Spec,
    seen: Observed,
    deep: Deep | None,
    ordinal: int,
    kube_nodes: t.Sequence[Object] | None,
    *,
    loss: Loss,
    target: str = "",
) -> Plan:
    """What brings the pod of that ordinal back with an empty store, and lets the node it was leave.

    target: the Kubernetes node that takes it, "" to have it computed. ClusterError when it must not be done, or nowhere could take it.
    """
    name = seen.names.pod(ordinal)
    going = goes_on(seen, ordinal, loss, target)
    old = kept(seen, name)
    lost = going or begins(seen, deep, ordinal, loss)
    if going is None and old is not None:  # its second try is lost too: what the first one was must still leave
        lost = replace(
            lost,
            ids=tuple(dict.fromkeys((*old.ids, *lost.ids))),
            before=tuple(dict.fromkeys((*old.before, *lost.before))),
            away=tuple(dict.fromkeys((*old.away, *lost.away))),
        )
    row = seen.node_of(name)
    serving = serves_anew(seen, lost)
    moves = loss.kind == "none" and target not in ("", loss.on) and going is None
    known = {item.id: item for item in seen.nodes or ()}
    to_mark = [node_id for node_id in lost.ids if node_id in known and not known[node_id].is_decommissioning]
    unfinished = [node_id for node_id in lost.ids if node_id in known and (node_id in to_mark or holds(deep, node_id))]
    facts = {"ordinal": ordinal, "local": spec.storage == "local", "lost": lost, "loss": loss}
    remember = {"remember": {"pod": name, "why": lost.why or loss.text}, "lost": lost}

    def step(verb: str, title: str, **more: t.Any) -> Step:
        return Step(f"{verb}/{name}", title, OPERATION, True, name, {**facts, **remember, **more})

    steps = []
    if moves:  # only for its gate, which says what to do first
        return Plan(f"{spec.name}: replace {name}", (step("leave", loss.text, ids=[row.id] if row else []),))
    if to_mark:
        told = ", ".join(map(str, to_mark))
        steps.append(step("leave", f"node {told} is told to leave: {loss.text}", ids=to_mark))
    takes_away = not serving and not detached(seen, lost)
    if takes_away:
        how = "by force" if loss.by_force else "as its kubelet ends it"
        steps.append(
            step(
                "detach",
                f"claim {seen.names.claim(ordinal)} goes, pod {name} {how}" + _volume_goes(spec, seen, ordinal),
                # What a storage class provisioned is kept aside first; that needs its rights.
                **({"policy": "archive"} if spec.storage != "local" and spec.volumes == "archive" else {}),
            )
        )
    volume = seen.volumes.get(seen.names.volume(ordinal))
    changes: Changes = {}
    rows: list[dict[str, t.Any]] = []
    if spec.storage == "local" and (takes_away or (volume is None and not serving)):
        choice = _place(spec, seen, ordinal, kube_nodes, loss, target, lost.away)
        node, aside = choice.node, volume if spec.volumes in ("archive", "wipe") else None
        where = f"{spec.storage_size} on {node}, {manifests.directory(spec, ordinal)}"
        begun = seen.journal.replacing.get(name, {}) if going else {}
        cleared = begun.get("clearing") == clearing(node, manifests.directory(spec, ordinal), done=True)
        if spec.volumes in ("archive", "wipe") and not cleared:
            steps.append(step("clear", f"{spec.volumes} what an earlier life of it left on {node}", node=node))
        placed = step("volume", where, **making(spec, ordinal, choice, kube_nodes, aside))
        rows = table(spec, seen, [placed], placement.zones_of(kube_nodes))
        steps += [  # before the volume, for with it the pod starts, and is told where it is
            replace(item, operation=OPERATION, asked=True, facts={**item.facts, **remember})
            for item in topology(spec, seen, rows, kube_nodes, changes)
        ]
        steps.append(placed)
        changes[f"PersistentVolume/{seen.names.volume(ordinal)}"] = (
            f"on {placement.node_of(volume)}" if volume else None,
            f"{spec.storage_size} on {node}",
        )
    if not serving:
        steps.append(step("rejoin", f"{name} comes back empty, as a new node"))
    if steps or unfinished or going:  # also where an earlier run came as far as this: it is looked at, noted, and ended
        ids = ", ".join(map(str, lost.ids))
        steps.append(step("empty", (f"node {ids} holds nothing any more, " if ids else "") + "all ranges are whole"))
    if steps and lost.ids:
        changes[f"node/{', '.join(map(str, lost.ids))}"] = (name, "decommissioned")
    headline = (
        f"{spec.name}: replace {name}: {lost.why or loss.text}"
        if steps
        else f"{spec.name}: nothing to replace, {name} serves: {loss.text}"
    )
    unmade = tuple(missing.directories(spec, seen))
    return Plan(headline, tuple(steps), changes=changes, placement=tuple(rows), waiting=unmade)


def _volume_goes(spec: Spec, seen: Observed, ordinal: int) -> str:
    volume = seen.volumes.get(seen.names.volume(ordinal))
    if spec.storage != "local" or volume is None:
        return ""
    what = f"{spec.volumes} its directory" if spec.volumes in ("archive", "wipe") else "its directory is left as it is"
    return f", volume on {placement.node_of(volume)} goes ({what})"


def _place(
    spec: Spec,
    seen: Observed,
    ordinal: int,
    kube_nodes: t.Sequence[Object] | None,
    loss: Loss,
    target: str,
    away: t.Collection[str],
) -> placement.Choice:
    """The Kubernetes node that takes the ordinal: the one named, else any but those on which it was lost."""
    others = {name: item for name, item in seen.volumes.items() if ordinal_of(name) != ordinal and not retired(item)}
    if target:
        wanted, nodes = replace(spec, values={**spec.values, "local_nodes": (target,)}), kube_nodes
    else:
        local = tuple(name for name in spec.local_nodes if name not in away)
        wanted = replace(spec, values={**spec.values, "local_nodes": local})
        nodes = None if kube_nodes is None else [node for node in kube_nodes if node["metadata"]["name"] not in away]
        if kube_nodes is None and not local:
            raise ClusterError(
                f"Kubernetes nodes may not be listed, and local_nodes names none but those on which {seen.names.pod(ordinal)} was lost, so "
                "which one takes it is not known. Nothing was changed. Name it as kubernetes_node.",
                "no_node",
                node=seen.names.pod(ordinal),
            )
        if spec.local_nodes and not local:  # an empty list would mean all of them
            nodes = []
    try:
        return placement.choose(wanted, [ordinal], others, nodes)[ordinal]
    except ClusterError as error:
        if target or not loss.answers:
            raise
        raise ClusterError(
            f"{error.msg} Or name {loss.on} itself as kubernetes_node, once it has another disk.",
            error.reason,
            **error.facts,
        ) from error
