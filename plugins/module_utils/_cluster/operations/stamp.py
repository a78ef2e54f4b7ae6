# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Whose store lies on each volume, written where it lasts. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

from ..._engine.errors import EngineError
from ..._kube.client import runner
from ..._kube.errors import KubeError
from .. import fingerprint
from ..context import utc
from ..fingerprint import Fingerprint
from ..names import CLUSTER_ID, CONTAINER, FINGERPRINT, STORE

if t.TYPE_CHECKING:
    from ..context import Context


def stamp(ctx: Context, cluster_id: str | None = None) -> None:
    """Whose store it is: beside the store itself, then on claim and volume, which outlive the journal. cluster_id: None for the one that is known."""
    cluster = cluster_id or ctx.seen.cluster_id
    if cluster is None:
        return
    stores: dict[int, int] | None = None
    for ordinal, pod in enumerate(ctx.seen.expected_pods()):
        node = ctx.seen.node_of(pod)
        kinds = [("PersistentVolumeClaim", ctx.names.claim(ordinal), ctx.names.namespace)]
        kinds += [("PersistentVolume", ctx.names.volume(ordinal), None)] if ctx.spec.storage == "local" else []  # type: ignore[list-item]
        live = {kind: ctx.client.get(kind, name, namespace) for kind, name, namespace in kinds}
        noted = [found for obj in live.values() if (found := fingerprint.read(obj)) is not None]
        if node is None and noted:
            continue  # the engine does not know the pod just now; what is noted says more
        stores = _stores(ctx) if stores is None else stores
        mark = Fingerprint(
            cluster,
            node.id if node else None,
            stores.get(node.id) if node else None,
            ordinal,
            f"{ctx.names.namespace}/{ctx.names.name}",
        )
        mark = mark.completed(next(filter(mark.same, noted), None), utc())
        notes = {CLUSTER_ID: cluster, FINGERPRINT: mark.text(), STORE: None}
        stale = [
            (kind, name, namespace)
            for kind, name, namespace in kinds
            if (obj := live[kind]) is not None
            and any((obj["metadata"].get("annotations") or {}).get(key) != value for key, value in notes.items())
        ]
        if stale and mark.node_id is not None:
            _write_beside(ctx, pod, mark)
        for kind, name, namespace in stale:
            ctx.client.patch(kind, name, namespace, {"metadata": {"annotations": notes}})


def _stores(ctx: Context) -> dict[int, int]:
    """Store id by node id, as far as the engine tells."""
    table = f"{ctx.profile.virtual_schema}.kv_store_status"
    try:
        rows = ctx.engine.sql_rows(f"SELECT node_id, store_id FROM {table}")  # noqa: S608 - our own words
    except EngineError:
        return {}
    return {int(row["node_id"] or 0): int(row["store_id"] or 0) for row in rows}


# Arguments, never text put into the script: $1 the text, $2 the file. Renamed, so that nobody ever reads half of it.
_WRITE = 'printf "%s\\n" "$1" > "$2.new" && mv -- "$2.new" "$2"'


def _write_beside(ctx: Context, pod: str, mark: Fingerprint) -> None:
    """The same beside the store, for whoever finds the directory without its volume. The annotations count; so a failure is only said."""
    path = f"{ctx.profile.store}/{fingerprint.FILE}"
    words = ["timeout", "-s", "KILL", "10", "/bin/sh", "-c", _WRITE, "sh", mark.text(), path]
    try:
        result = runner(ctx.client, ctx.names.namespace, CONTAINER)(pod, words, 15.0)
        why = "" if result.rc == 0 else (result.stderr or result.stdout).strip() or f"exit code {result.rc}"
    except KubeError as error:
        why = str(error)
    if why:
        ctx.say(f"{pod}: {path} could not be written ({why}); the volume's annotations say the same")
