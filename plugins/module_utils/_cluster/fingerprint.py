# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Whose store lies on a volume: noted on claim and volume, and in a small file beside the store itself. Pure. PRIVATE to the collection."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import asdict, dataclass, replace

from .names import CLUSTER_ID, FINGERPRINT, RETIRED, STORE, WIPING

Object = t.Mapping[str, t.Any]
FILE = "kaiwudb.kubernetes.json"  # in the volume, beside the engine's own files, which never have such a name
# In a volume that is a mount point and cannot be renamed: what was put aside, by date.
ASIDE = "kaiwudb.kubernetes.archive"
# What a pod that looks into a directory says when there is no such file.
MISSING, EMPTY, UNKNOWN = "missing", "empty", "unknown"


@dataclass(frozen=True)
class Fingerprint:
    """cluster_id: the engine's. node_id, store_id: of the engine's node whose store it is; None where only the cluster is known.

    cluster: NAMESPACE/NAME. ordinal: the pod's. since: when this store was first seen on the volume (UTC).
    """

    cluster_id: str
    node_id: int | None = None
    store_id: int | None = None
    ordinal: int | None = None
    cluster: str = ""
    since: str = ""

    def text(self) -> str:
        """As it is kept, in the annotation and in the file."""
        return json.dumps(
            {key: value for key, value in asdict(self).items() if value not in (None, "")}, sort_keys=True
        )

    def same(self, other: Fingerprint | None) -> bool:
        """Whether both name one store, whenever and however completely it was noted."""
        return other is not None and (self.cluster_id, self.node_id) == (other.cluster_id, other.node_id)

    def completed(self, known: Fingerprint | None, now: str) -> Fingerprint:
        """With what only an earlier note of the same store tells: since when, and its id should the engine not tell it just now."""
        if known is None or not self.same(known):
            return replace(self, since=now)
        return replace(self, since=known.since or now, store_id=self.store_id or known.store_id)

    def __str__(self) -> str:
        """For a person: C(store of node 4 of cluster 0d8b… (db/kw-3, since 2026-11-23T09:00:00Z))."""
        what = f"the store of node {self.node_id} of" if self.node_id is not None else "a volume of"
        place = f"{self.cluster}-{self.ordinal}" if self.cluster and self.ordinal is not None else self.cluster
        more = ", ".join(filter(None, (place, f"since {self.since}" if self.since else "")))
        return f"{what} cluster {self.cluster_id}" + (f" ({more})" if more else "")


def parse(text: str | None) -> Fingerprint | None:
    """From the kept text; None when it is none (somebody may have written nonsense)."""
    try:
        known = json.loads(text or "null")
    except ValueError:
        return None
    if not isinstance(known, dict) or not isinstance(known.get("cluster_id"), str):
        return None
    shapes = {"cluster_id": str, "node_id": int, "store_id": int, "ordinal": int, "cluster": str, "since": str}
    return Fingerprint(**{name: known[name] for name, kind in shapes.items() if isinstance(known.get(name), kind)})


def read(obj: Object | None) -> Fingerprint | None:
    """Of a claim or volume; also as earlier versions noted it, the cluster's id and C(node N) apart."""
    notes = (obj or {}).get("metadata", {}).get("annotations") or {}
    found = parse(notes.get(FINGERPRINT))
    if found is not None or not notes.get(CLUSTER_ID):
        return found
    node = re.fullmatch(r"node (\d+)", notes.get(STORE) or "")
    return Fingerprint(str(notes[CLUSTER_ID]), int(node[1]) if node else None)


def in_output(lines: t.Iterable[str]) -> Fingerprint | None:
    """The fingerprint among the lines that a pod printed."""
    return next((found for line in lines if line.startswith("{") and (found := parse(line)) is not None), None)


def objection(
    found: str, noted: Fingerprint | None, cluster_id: str | None, left: t.Collection[int]
) -> tuple[str, str]:
    """(reason, sentence) why what was found in a directory must not be used again; ("", "") when it may.

    found: the text of the file, or MISSING, EMPTY, UNKNOWN. noted: what the volume says. cluster_id: of the cluster that wants it, as
    far as known. left: ids of nodes that have left it.
    """
    if found in (MISSING, EMPTY):
        if noted is None or noted.node_id is None:
            return "", ""
        return "store_missing", f"is {found}, but should hold {noted}"
    inside = parse(found)
    if inside is None:  # a store from before there was such a file: the volume's own word and the engine's id must do
        return "", ""
    ours = cluster_id or (noted.cluster_id if noted else None)
    if inside.cluster_id != ours:
        return "store_foreign", f"holds {inside}, which is not this cluster" + (f" ({ours})" if ours else "")
    if inside.node_id in left:
        return (
            "store_retired",
            f"holds {inside}; that node was decommissioned, and would come back so and never take data",
        )
    return "", ""


def retired(volume: Object) -> bool:
    """Whether its node has left the cluster: the store in it must never be mounted again as it is."""
    return RETIRED in (volume["metadata"].get("annotations") or {})


def wiping(claim: Object) -> bool:
    """Whether what it reaches is being erased: a run was killed there, and nothing but the end of it is of use."""
    return WIPING in (claim["metadata"].get("annotations") or {})
