# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Everything a person asks about a cluster, from one look. Pure but for the look itself. PRIVATE to the collection."""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict

from .._engine.profiles import PROFILES
from .._kube.errors import KubeError
from . import fingerprint, going, observe, volumes
from .answer import summary
from .context import Context
from .errors import ClusterError
from .names import RETIRED, Names, ordinal_of
from .placement import node_of, zones_of
from .progress import took
from .run import Run
from .spec import Spec, resolve

if t.TYPE_CHECKING:
    from .._kube.client import Client
    from .observe import Deep, Object, Observed


def info(client: Client, asked: t.Mapping[str, t.Any], who: str) -> dict[str, t.Any]:
    """The result of C(kaiwudb_cluster_info). A cluster that does not exist is an answer, not an error."""
    names = Names(asked["name"], asked["namespace"])
    seen = observe.look_at_objects(client, names, volumes=None)
    if seen.statefulset is None:
        return {
            "exists": False,
            "nodes": [],
            "volumes": [_volume(volume, None) for volume in seen.volumes.values()],
            "placement": [],
            "ranges": None,
            "journal": None,
            "cluster": {"name": names.name, "namespace": names.namespace},
            "plan": None,
            "drift": [],
            "status": [f"{names.name}   there is no such cluster in namespace {names.namespace} of {client.server}"],
            "msg": f"{names.name}: there is no such cluster",
        }
    spec = resolve(asked, seen.remembered)
    ctx = Context(client, spec, PROFILES[spec.engine], who)
    ctx.look()
    deep = ctx.deep() if ctx.seen.nodes is not None else None
    zones = zones_of(_kube_nodes(client))
    nodes = node_list(ctx.seen, zones)
    rows = volumes.table(spec, ctx.seen, (), zones)
    whole = deep.wholeness(ctx.seen) if deep else None
    ranges = (
        None
        if whole is None
        else {
            "total": whole.total,
            "unavailable": [item.id for item in whole.unavailable],
            "underreplicated": [item.id for item in whole.underreplicated],
        }
    )
    if ctx.seen.paused:  # what would be to do all the same
        ctx.spec = Spec(spec.asked | {"paused"}, {**spec.values, "paused": True})
    try:
        pending = Run(client, {}, check=True).plan(ctx).result()
    except ClusterError as error:
        pending = {"headline": error.msg, "steps": [], "remaining": [], "gates": []}
    journal = {
        "cluster_id": ctx.seen.journal.cluster_id,
        "initialized": dict(ctx.seen.journal.initialized),
        "operation": dict(ctx.seen.journal.operation) or None,
        "history": list(ctx.seen.journal.history),
        "unfinalized": dict(ctx.seen.journal.unfinalized) or None,
        "window": dict(ctx.seen.journal.window) or None,
        "replacing": dict(ctx.seen.journal.replacing) or None,
    }
    cluster = {
        **summary(ctx),
        "paused": ctx.seen.paused or None,
        "ranges_whole": None if whole is None else whole.whole,
        "options": spec.remembered(),
    }
    drift = [step["id"] for step in pending["remaining" if ctx.seen.paused else "steps"]]
    lines = status_lines(ctx, nodes, deep, drift)
    return {
        "exists": True,
        "cluster": cluster,
        "nodes": nodes,
        "volumes": [_volume(volume, ctx.seen) for volume in ctx.seen.volumes.values()],
        "placement": rows,
        "ranges": ranges,
        "jobs": [] if deep is None else [{"id": job.id, "type": job.kind} for job in deep.jobs],
        "journal": journal,
        "plan": pending,
        "drift": drift,
        "status": lines,
        "msg": lines[0],
    }


def _kube_nodes(client: Client) -> list[dict[str, t.Any]]:
    """Kubernetes nodes, for their zones; none where they may not be listed."""
    try:
        return client.list("Node")[0]
    except KubeError as error:
        if error.status == 403:
            return []
        raise


def node_list(seen: Observed, zones: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
    """One entry a pod that should be there, then engine nodes without a pod. zones: by Kubernetes node."""
    found = []
    taken = set()
    for ordinal, name in enumerate(seen.expected_pods()):
        pod, row = seen.pods.get(name), seen.node_of(name)
        if row:
            taken.add(row.id)
        volume = seen.volumes.get(seen.names.volume(ordinal)) or {}
        found.append(
            {
                "pod": name,
                "ordinal": ordinal,
                "id": row.id if row else None,
                "kubernetes_node": (where := pod["spec"].get("nodeName") if pod else None),
                "zone": zones.get(where or "") or None,
                "ready": observe.ready(pod) if pod else False,
                "volume": seen.names.volume(ordinal) if volume else None,
                "size": volume.get("spec", {}).get("capacity", {}).get("storage"),
                "image": observe.container(pod)["image"] if pod else None,
                **_row(row),
            }
        )
    found += [
        {
            "pod": None,
            "ordinal": None,
            "id": row.id,
            "kubernetes_node": None,
            "zone": None,
            "ready": False,
            "volume": None,
            "size": None,
            "image": None,
            **_row(row),
        }
        for row in seen.nodes or ()
        if row.id not in taken
    ]
    return found


def _row(row: t.Any) -> dict[str, t.Any]:
    fields = {
        "address": "address",
        "build": "build",
        "live": "is_live",
        "available": "is_available",
        "replicas": "gossiped_replicas",
        "decommissioning": "is_decommissioning",
        "draining": "is_draining",
        "started_at": "started_at",
        "locality": "locality",
    }
    return {key: getattr(row, column, None) for key, column in fields.items()}


def _volume(volume: Object, seen: Observed | None) -> dict[str, t.Any]:
    meta, spec = volume["metadata"], volume["spec"]
    notes, mark = meta.get("annotations") or {}, fingerprint.read(volume)
    return {
        "name": meta["name"],
        "ordinal": ordinal_of(meta["name"]),
        "kubernetes_node": node_of(volume),
        "size": spec["capacity"]["storage"],
        "path": spec.get("local", {}).get("path"),
        "claim": spec.get("claimRef", {}).get("name"),
        "phase": volume.get("status", {}).get("phase"),
        "cluster_id": mark.cluster_id if mark else None,
        "store": f"node {mark.node_id}" if mark and mark.node_id is not None else None,
        "fingerprint": asdict(mark) if mark else None,
        "retired": notes.get(RETIRED),
    }


_COLUMNS = (
    ("pod", "pod"),
    ("node", "id"),
    ("kubernetes node", "kubernetes_node"),
    ("zone", "zone"),
    ("volume", "volume"),
    ("size", "size"),
    ("build", "build"),
    ("live", "live"),
    ("replicas", "replicas"),
    ("started", "started_at"),
    ("", "note"),
)


def status_lines(
    ctx: Context, nodes: t.Sequence[t.Mapping[str, t.Any]], deep: Deep | None, drift: t.Sequence[str]
) -> list[str]:
    """Status that is read in ten seconds."""
    seen, spec = ctx.seen, ctx.spec
    members = seen.members() if seen.nodes is not None else []
    live = seen.live()
    if not seen.initialized:
        state = "not initialised"
    elif seen.nodes is None:
        state = f"no node answers: {seen.engine_silence}"
    else:
        state = f"{len(live)} of {len(members)} nodes live"
    whole = deep.wholeness(seen) if deep else None
    ranges = (
        ""
        if whole is None
        else f" · ranges {whole.total}, {len(whole.unavailable)} unavailable, {len(whole.underreplicated)} under-replicated"
    )
    build = live[0].build if live else seen.image
    lines = [
        f"{spec.name}   KaiwuDB {build} · {state}{ranges} · {spec.security}{' (!)' if spec.security == 'insecure' else ''}"
    ]
    rows = [[title for title, _key in _COLUMNS]]
    for node in nodes:
        note = (
            "leaving"
            if node["decommissioning"]
            else "draining"
            if node["draining"]
            else ""
            if node["ready"] or not node["pod"]
            else "not ready"
        )
        rows.append([_cell({**node, "note": note}.get(key)) for _title, key in _COLUMNS])
    widths = [max(len(row[index]) for row in rows) for index in range(len(_COLUMNS))]
    lines += [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    last = seen.journal.history[-1] if seen.journal.history else None
    under_way = seen.journal.operation
    lines.append(
        "  last     "
        + (_in_brief(last) if last else "nothing")
        + "     running  "
        + (
            f"{under_way['name']} at {under_way.get('step')} since {under_way.get('since')}, {under_way.get('who')}"
            if under_way
            else "nothing"
        )
        + "     drift  "
        + (", ".join(drift) or "none")
    )
    if seen.paused:
        lines.append(f"  paused   {seen.paused}: runs only look until one says paused=false")
    if seen.journal.unfinalized:
        held = seen.journal.unfinalized
        back = f": can go back to {held['image']}" if held.get("image") else ""
        lines.append(
            f"  version  held at {held.get('version')} since {held.get('since') or '?'}{back} until finalised"
            if held.get("set", True)
            else f"  version  {held.get('version')} is not held any more: it rises by itself once every node runs one release"
        )
    if seen.journal.window:
        window = seen.journal.window
        lines.append(
            f"  window   {window.get('node')} in maintenance since {window.get('since')}, {window.get('who')}: "
            f"server.time_until_store_dead {window.get('raised')}, was {window.get('was')}"
        )
    lines += [
        f"  replace  {pod} since {lost.get('since')}, {lost.get('who')}: not complete, run replace_node again"
        for pod, lost in sorted(seen.journal.replacing.items())
    ]
    lines += [f"  volume   {line}" for line in going.notes(seen)]
    ready = next((node["pod"] for node in nodes if node["ready"]), seen.names.pod(0))
    server = f"--context {ctx.client.context} " if ctx.client.context else ""
    lines.append(
        f"  SQL      kubectl {server}-n {spec.namespace} exec -it {ready} -- {spec.binary or ctx.profile.binary} sql --insecure"
    )
    lines.append("  HTTP     " + _http(ctx))
    return lines


def _in_brief(last: t.Mapping[str, t.Any]) -> str:
    """An operation of the journal's history: C(upgrade 3.2.1 → 3.2.2 done, 41 s, 2026-11-23T09:12:00Z, ann), as far as is known."""
    seconds = last.get("took")
    parts = [
        " ".join(str(part) for part in (last["name"], _from_to(last), last.get("outcome")) if part),
        took(seconds) if isinstance(seconds, (int, float)) else "",
        str(last.get("until")),
        str(last.get("who")),
    ]
    return ", ".join(part for part in parts if part)


def _from_to(last: t.Mapping[str, t.Any]) -> str:
    """What an operation led from and to; empty where that is not known, not what it is about, or the same."""
    kind = {"upgrade": "image", "scale_in": "replicas", "scale_out": "replicas"}.get(last["name"], "")
    was = last.get("was")
    before, after = (str(where.get(kind) or "") for where in (was if isinstance(was, dict) else {}, last))
    if not before or not after or before == after:
        return ""
    old, new = before.rpartition(":")[2], after.rpartition(":")[2]
    return f"{old} → {new}" if old != new and "@" not in before + after else f"{before} → {after}"


def _cell(value: t.Any) -> str:
    """One table cell: booleans in words, times without their fractions."""
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return re.sub(r"(\d\d:\d\d:\d\d)\.\d+", r"\1", str(value))


def _http(ctx: Context) -> str:
    service = ctx.seen.objects["Service"].get(ctx.seen.names.ui)
    page = "" if ctx.profile.has_admin_ui else " (this build has no Admin UI; /health answers)"
    if service:
        return f"http://NODE:{service['spec']['ports'][0].get('nodePort')} on any Kubernetes node{page}"
    return f"kubectl -n {ctx.spec.namespace} port-forward service/{ctx.seen.names.public} {ctx.spec.http_port}{page}"
