# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Which pods restart with another image or other options, and what comes before the first and after the last. Pure. PRIVATE."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace

from .._engine.profiles import cluster_version, version_from_image, version_of
from .names import ordinal_of
from .observe import Observed, container, ending, ready
from .options import OPTIONS
from .plan import Changes, Step
from .spec import Spec

if t.TYPE_CHECKING:
    from .._engine.profiles import Profile
    from .journal import Journal

Object = t.Mapping[str, t.Any]


def changed_options(spec: Spec, seen: Observed) -> list[str]:
    """Options that shape the pods and differ from those in force. What the collection itself renders differently in a new
    version is no difference: a new collection never restarts a database."""
    known, now = seen.noted, spec.remembered()
    return [
        option.name
        for option in OPTIONS
        if option.scope == "template"
        and option.name in spec.asked
        and option.name != "image"
        and now.get(option.name) != known.get(option.name)
    ]


def seen_by_controller(statefulset: Object) -> bool:
    """Whether the revisions in its status are those of the newest template."""
    return bool(statefulset.get("status", {}).get("observedGeneration") == statefulset["metadata"].get("generation"))


def edited(pod: Object) -> bool:
    """Whether the image of a pod that exists was changed; taken for granted where the API server does not tell who set which field.

    What an admission webhook makes of it belongs to whoever created the pod, as the container itself does: that entry has its C(.).
    """
    entries = pod["metadata"].get("managedFields")
    name = "k:" + json.dumps({"name": container(pod)["name"]}, separators=(",", ":"))
    for entry in entries or ():
        fields = ((entry.get("fieldsV1") or {}).get("f:spec") or {}).get("f:containers", {}).get(name, {})
        if "f:image" in fields and ("." not in fields or entry.get("operation") == "Apply"):
            return True
    return not entries


def image_of(seen: Observed, pod: Object) -> str:
    """The image that a pod stands for: the template's for one that was made from it, by whatever name a webhook lets it run."""
    live = seen.statefulset
    newest = (
        live is not None
        and seen_by_controller(live)
        and pod["metadata"]["labels"].get("controller-revision-hash") == live.get("status", {}).get("updateRevision")
    )
    return str(seen.image if newest and not edited(pod) else container(pod)["image"])


def _only_options(spec: Spec, seen: Observed) -> bool:
    """Whether a change of options is under way or held: pods of the template before have the same image, whatever it is called."""
    journal = seen.journal
    last = journal.operation or next(iter(journal.history[-1:]), {})
    goes_on = str(last.get("step")).startswith("reconfigure/") or last.get("outcome") == "held"
    origin = last.get("from")
    image = origin.get("image") if isinstance(origin, dict) else None
    return last.get("name") == "reconfigure" and goes_on and image == spec.image


def partition_of(statefulset: Object) -> int:
    """The ordinal below which pods keep the revision before."""
    return int((statefulset["spec"].get("updateStrategy", {}).get("rollingUpdate") or {}).get("partition") or 0)


def outdated(spec: Spec, seen: Observed) -> list[str]:
    """Pods that do not run what the StatefulSet should hold, from the highest ordinal down.

    One that is missing is made by its controller, of whichever revision; while others are outdated it is taken for one of them.
    """
    if seen.statefulset is None:
        return []
    remaining = seen.expected_pods()[: spec.replicas]
    status = seen.statefulset.get("status", {})
    current = seen_by_controller(seen.statefulset)
    # A run that was killed right after it wrote the template: which pods are new is seen when their turn comes.
    unseen = not current and seen.journal.operation.get("name") in ("upgrade", "reconfigure")
    everything = bool(changed_options(spec, seen)) or unseen
    anew = edited_and_down(seen) if seen.image == spec.image and not everything else []
    old, missing = [], list[str]()
    for name in remaining:
        pod = seen.pods.get(name)
        if pod is None or name in anew:
            missing += [name] if pod is None else []
            continue
        revision = pod["metadata"]["labels"].get("controller-revision-hash")
        moved = current and seen.image == spec.image and revision != status.get("updateRevision")
        if everything or image_of(seen, pod) != spec.image or moved:
            old.append(name)
    rolls = old or everything or seen.image != spec.image
    return [name for name in reversed(remaining) if name in old or (rolls and name in missing)]


def reverted(seen: Observed, old: t.Sequence[str]) -> list[str]:
    """Outdated pods that are down on a revision that is left again, or cannot be made from it, below one that serves.

    The gates would never let the one above go while they are down, and the controller takes the highest first.
    """
    if seen.statefulset is None:
        return []
    status = seen.statefulset.get("status", {})
    current = status.get("currentRevision")
    serving = [ordinal_of(name) or 0 for name in old if name in seen.pods and ready(seen.pods[name])]
    found = []
    for name in old:
        pod, ordinal = seen.pods.get(name), ordinal_of(name) or 0
        if pod is None:
            astray = status.get("updateRevision") != current and partition_of(seen.statefulset) <= ordinal
        else:
            astray = not ready(pod) and pod["metadata"]["labels"].get("controller-revision-hash") != current
        if astray and any(other > ordinal for other in serving):
            found.append(name)
    return found


def edited_and_down(seen: Observed) -> list[str]:
    """Pods to which somebody gave another image than their StatefulSet, and that do not run since: to start them as they
    should be takes nothing away from anybody, however many they are."""
    if seen.statefulset is None:
        return []
    status = seen.statefulset.get("status", {})
    if not seen_by_controller(seen.statefulset):
        return []
    return [
        name
        for name in seen.expected_pods()
        if (pod := seen.pods.get(name)) is not None
        and not ready(pod)
        and (seen.nodes is None or seen.down(name))
        and not ending(pod)
        and pod["metadata"]["labels"].get("controller-revision-hash") == status.get("updateRevision")
        and image_of(seen, pod) != seen.image
    ]


def rollout(spec: Spec, seen: Observed, profile: Profile, changes: Changes) -> tuple[list[Step], list[Step]]:
    """Pods to restart with another image or other options, one at a time; and those that C(pause_after) holds."""
    options = changed_options(spec, seen)
    pods = outdated(spec, seen)
    if not pods and not options and seen.image == spec.image:
        return [], []
    runs = {pod: image_of(seen, seen.pods[pod]) for pod in pods if pod in seen.pods}
    others = any(image != spec.image for image in runs.values()) and not _only_options(spec, seen)
    upgrade = seen.image != spec.image or others
    operation = "upgrade" if upgrade else "reconfigure"
    # Else it only goes on with what was held or interrupted.
    asked = bool(options) or (upgrade and "image" in spec.asked)
    if seen.image != spec.image:
        changes[f"StatefulSet/{spec.name} image"] = (seen.image, spec.image)
    changes.update(
        {
            f"StatefulSet/{spec.name} {name}": (seen.remembered.get(name), spec.values[name])
            for name in options
            if seen.remembered is not None
        }
    )
    # One pod a Kubernetes node is enough; where a pod is down, its node may be too, and would hold up all the others.
    nodes = {node: pod for pod in runs if (node := seen.pods[pod]["spec"].get("nodeName")) and ready(seen.pods[pod])}
    pull = sorted(nodes) if upgrade and spec.pre_pull else []
    steps = []
    for pod in pods:
        node = seen.node_of(pod)
        steps.append(
            Step(
                f"{operation}/{pod}",
                f"node {node.id if node else 'unknown'}: "
                + (f"{runs.get(pod, 'no pod')} → {spec.image}" if upgrade else ", ".join(options) or "new template"),
                operation,
                asked=asked,
                pod=pod,
                facts={"ordinal": ordinal_of(pod), "options": options, "pre_pull": pull},
            )
        )
    back = [
        replace(step, id=f"revert/{step.pod}", title="down on a template that is left: comes back on the one before")
        for step in steps
        if step.pod in reverted(seen, pods)
    ]
    held: list[Step] = []
    if spec.pause_after:
        room = max(0, spec.pause_after - (min(seen.replicas, spec.replicas) - len(pods)))
        steps, held = steps[:room], steps[room:]
    if not steps:
        return [], held
    first = []
    if pull and not set(pull) <= pulled_nodes(seen, spec.image):
        title = f"{spec.image} runs once on {', '.join(pull)}"
        first.append(Step("prepull", title, operation, facts={"nodes": {pod: node for node, pod in nodes.items()}}))
    if upgrade and _must_preserve(spec, seen, profile):
        first.append(Step("preserve", "the cluster version is held, so that the upgrade can be undone", operation))
    return [*first, *back, *steps], held


def pulled_nodes(seen: Observed, image: str) -> set[str]:
    """Kubernetes nodes on which the upgrade under way has seen this image run."""
    pulled = seen.journal.pulled
    return set(pulled.get("nodes") or ()) if pulled.get("image") == image else set()


def _may_raise(spec: Spec, seen: Observed, profile: Profile) -> bool:
    """Whether the release asked for may raise the cluster version, from which there is no way back."""
    builds = [version_of(node.build) for node in seen.live()] or [version_from_image(str(seen.image))]
    source, target = next((build for build in builds if build), None), version_from_image(spec.image)
    if source and target and target[:3] <= source[:3]:
        return False
    known = cluster_version(profile, source), cluster_version(profile, target)
    return not (all(known) and known[0] == known[1])


def _must_preserve(spec: Spec, seen: Observed, profile: Profile) -> bool:
    if seen.journal.unfinalized.get("set", bool(seen.journal.unfinalized)) or not seen.initialized or spec.single_node:
        return False
    return _may_raise(spec, seen, profile)


def asks_what_is_held(spec: Spec, seen: Observed, profile: Profile) -> bool:
    """Whether the plan depends on what holds the cluster version, which only the engine knows; a run that has nothing to do with it does not ask."""
    if seen.nodes is None or not seen.initialized or spec.single_node:
        return False
    if seen.journal.unfinalized or "finalize" in spec.operations:
        return True
    return bool(seen.image != spec.image or outdated(spec, seen)) and _may_raise(spec, seen, profile)


def with_hold(journal: Journal, version: str) -> Journal:
    """The journal, by what the engine says: the cluster version that is held, "" for none. Somebody may have set it by hand, or lost the journal."""
    known = dict(journal.unfinalized)
    if not version and not known:
        return journal
    same = not version or known.get("version") == version
    return replace(journal, unfinalized={**(known if same else {"version": version}), "set": bool(version)})


def final(spec: Spec, seen: Observed, profile: Profile, ahead: t.Sequence[Step]) -> list[Step]:
    """What ends an upgrade whose cluster version was held: the version rises, or where it cannot, it is only let go."""
    held = seen.journal.unfinalized
    if not held and not any(step.id == "preserve" for step in ahead):
        return []
    brings = cluster_version(profile, version_from_image(spec.image))
    if held and (held.get("image") == spec.image or brings == held.get("version")):
        title = f"cluster version {held.get('version')} is no longer held: {spec.image} brings no other"
        return [Step("release", title, "upgrade", facts={"undone": True})]
    return [Step("finalize", "the cluster version rises; from then on there is no way back", "finalize")]
