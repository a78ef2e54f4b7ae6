# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What lies round the pods: objects that are missing or changed, pods astray, and what is noted of the options. Pure. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

from . import compare, growing, manifests, rolling
from .errors import ClusterError
from .names import OPTIONS, ordinal_of
from .observe import Observed
from .plan import Changes, Step
from .spec import Spec

if t.TYPE_CHECKING:
    from .._engine.profiles import Profile

Object = t.Mapping[str, t.Any]


def needed(spec: Spec, seen: Observed, profile: Profile, changes: Changes) -> list[Step]:
    """Namespace, Services, budget and account that are missing or changed."""
    steps = []
    operation = "create" if seen.statefulset is None else "reconfigure"
    if seen.namespace is None:
        if not spec.create_namespace:
            raise ClusterError(
                f"namespace {spec.namespace} does not exist. Nothing was changed. Make it, or set create_namespace to true.",
                "namespace_missing",
                resumable=False,
            )
        steps.append(Step(f"create/Namespace/{spec.namespace}", "it does not exist", "create", asked=True))
        changes[f"Namespace/{spec.namespace}"] = (None, "created")
    for wanted in manifests.objects(spec, profile):
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        live = seen.objects[kind].get(name)
        if live is None:
            steps.append(Step(f"create/{kind}/{name}", "it does not exist", operation, facts={"object": wanted}))
            changes[f"{kind}/{name}"] = (None, "created")
            continue
        found = compare.differences(
            {key: value for key, value in wanted.items() if key not in ("apiVersion", "kind")}, live
        )
        if found:
            steps.append(
                Step(
                    f"repair/{kind}/{name}",
                    ", ".join(sorted(found)),
                    operation,
                    facts={"object": wanted, "patch": compare.repair(wanted, live)},
                )
            )
            changes.update({f"{kind}/{name} {path}": values for path, values in found.items()})
    steps += [_relabel(seen, name, pod, operation) for name, pod in sorted(seen.strays.items())]
    anew = rolling.edited_and_down(seen)
    steps += [
        Step(
            f"delete/Pod/{pod}",
            "down since its image was edited: its StatefulSet makes it anew",
            operation,
            facts={"uid": seen.pods[pod]["metadata"]["uid"]},
        )
        for pod in anew
    ]
    steps += [Step("settle", f"until {', '.join(anew)} serve{'' if anew[1:] else 's'} again")] if anew else []
    if seen.statefulset is not None:
        live_note = (seen.statefulset["metadata"].get("annotations") or {}).get(OPTIONS)
        if growing.less(growing.template_size(seen.statefulset), spec.storage_size):
            live_note = growing.grown_note(seen, spec.storage_size)  # which the step before will have written
        shapes = rolling.changed_options(spec, seen)
        if not shapes and live_note != manifests.annotation(spec):
            steps.append(
                Step(
                    f"repair/StatefulSet/{spec.name}", "remember the options in force", operation, facts={"note": True}
                )
            )
        if spec.ui == "none" and seen.names.ui in seen.objects["Service"] and "ui" in spec.asked:
            steps.append(
                Step(f"delete/Service/{seen.names.ui}", "no node port is asked for any more", operation, asked=True)
            )
            changes[f"Service/{seen.names.ui}"] = ("present", None)
    return steps


def _relabel(seen: Observed, name: str, pod: Object, operation: str) -> Step:
    """A pod that mounts our claim gets its labels back, and its controller adopts it again as it runs."""
    claims = {
        (volume.get("persistentVolumeClaim") or {}).get("claimName") for volume in pod["spec"].get("volumes") or ()
    }
    if seen.names.claim(ordinal_of(name) or 0) not in claims:
        raise ClusterError(
            f"Pod {name} exists in {seen.names.namespace} and is not part of KaiwuDB cluster {seen.names.name}: its labels and its volumes say so. "
            "Nothing was changed. Remove it, or it keeps the database's own pod away.",
            "foreign_object",
            resumable=False,
        )
    wanted = {**seen.names.labels, **seen.names.pod_selector}
    return Step(
        f"repair/Pod/{name}",
        "the labels of a pod that mounts our claim",
        operation,
        pod=name,
        facts={"patch": {"metadata": {"labels": wanted}}},
    )
