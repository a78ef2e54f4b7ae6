# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The plan that takes a cluster away. Pure. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import replace

from .errors import ClusterError
from .fingerprint import wiping
from .observe import Observed
from .plan import Plan, Step, permitted
from .spec import Spec


def keeps_claims(spec: Spec) -> bool:
    """Whether a removal leaves the claims: where a storage class provisions they are all that holds the data."""
    return bool(spec.storage == "dynamic" and spec.volumes == "retain")


def absent(spec: Spec, seen: Observed, *, volumes_only: bool = False, lock: bool = False) -> Plan:
    """Everything of the cluster that is there, in the order in which it goes; or its volumes alone, when nothing uses them.

    lock: whether its lock is there; a removal that was killed at its very end leaves nothing else.
    """
    if volumes_only:
        used = sorted(name for name, claim in seen.claims.items() if not wiping(claim))
        if used or seen.statefulset is not None:
            raise ClusterError(
                f"the volumes of {spec.name} are in use: {', '.join(used) or 'its StatefulSet exists'}. Nothing was changed. "
                "Remove the cluster first.",
                "volumes_in_use",
                resumable=False,
            )
        seen = replace(
            seen,
            objects={kind: found if kind == "PersistentVolume" else {} for kind, found in seen.objects.items()},
            namespace={},
        )
    if seen.paused:
        raise ClusterError(
            f"{spec.name} is paused ({seen.paused}). Nothing was changed. Set paused to false in a run of deploy first.",
            "paused",
            resumable=False,
        )
    steps, kinds = [], {"StatefulSet": "statefulset", "Pod": "pods", "PersistentVolumeClaim": "claims"}
    facts = {"local": spec.storage == "local", "policy": spec.volumes}
    by_claims = spec.volumes == "wipe" or (spec.storage == "dynamic" and spec.volumes == "archive")
    keeps = bool(seen.claims) and keeps_claims(spec)
    stays = {"PersistentVolume": spec.volumes == "retain", "PersistentVolumeClaim": keeps}
    for kind, what in kinds.items():
        if seen.objects[kind] and not stays.get(kind):
            told = facts if what == "claims" and by_claims else {}
            steps.append(
                Step(f"remove/{what}", ", ".join(sorted(seen.objects[kind])), "remove", asked=True, facts=told)
            )
    others = [
        f"{kind}/{name}"
        for kind in ("Service", "PodDisruptionBudget", "ServiceAccount")
        for name in sorted(seen.objects[kind])
    ]
    if others:
        steps.append(Step("remove/objects", ", ".join(others), "remove", asked=True))
    if seen.volumes and not stays["PersistentVolume"]:
        what = f"{spec.volumes} {', '.join(sorted(seen.volumes))}"
        steps.append(Step("remove/volumes", what, "remove", asked=True, facts=facts))
    if seen.objects["ConfigMap"]:
        steps.append(Step("remove/journal", seen.names.journal, "remove", asked=True))
    if lock and not steps and not volumes_only:
        steps.append(Step("remove/lock", seen.names.lock, "remove", asked=True))
    if seen.namespace and seen.made_namespace and not keeps:  # the claims would go with it
        steps.append(Step("remove/namespace", spec.namespace, "remove", asked=True))
    changes = {
        f"{kind}/{name}": ("present", None)
        for kind, found in seen.objects.items()
        for name in found
        if not stays.get(kind)
    }
    headline = f"{spec.name}: remove, volumes {spec.volumes}" if steps else f"{spec.name}: nothing to remove"
    return permitted(Plan(headline, tuple(steps), changes=changes), spec)
