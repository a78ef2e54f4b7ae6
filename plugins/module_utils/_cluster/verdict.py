# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What a wait answers: done, not yet because, or never because. Pure. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timezone

Object = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Verdict:
    """done, or why not. never: reason code when waiting longer cannot help. patience: seconds the cause must persist
    before it is believed, for each of them also occurs for a moment on a healthy way. progress: how far it has come, said when it moves."""

    done: bool
    why: str = ""
    never: str = ""
    patience: float = 0.0
    pod: str = ""
    container: str = ""
    progress: str = ""


DONE = Verdict(True)

# Waiting reasons of a container that no waiting mends, with the seconds they must persist. A pull is tried again after
# 10 s and then ever later, so one repetition is proof; a registry's hiccup looks the same for a moment.
_HOPELESS = {
    "ErrImagePull": ("image_pull", 8.0),
    "ImagePullBackOff": ("image_pull", 3.0),
    "InvalidImageName": ("image_pull", 0.0),
    "ErrImageNeverPull": ("image_pull", 0.0),
    "CreateContainerConfigError": ("container_config", 8.0),
    "CreateContainerError": ("container_config", 8.0),
    "RunContainerError": ("container_crash", 8.0),
    "CrashLoopBackOff": ("container_crash", 0.0),
}


def _statuses(pod: Object) -> t.Iterator[Object]:
    status = pod.get("status", {})
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _condition(pod: Object, kind: str) -> Object:
    return next((item for item in pod.get("status", {}).get("conditions") or () if item["type"] == kind), {})


def hopeless(pod: Object) -> Verdict | None:
    """Why this pod cannot start, if there is such a reason."""
    name = pod["metadata"]["name"]
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        text = scheduled.get("message", "")
        # The scheduler comes back to a pod up to ten seconds after its claim was bound.
        patience = 14.0 if "PersistentVolumeClaim" in text else 8.0
        return Verdict(False, f"pod {name} cannot be scheduled: {text}", "unschedulable", patience, name)
    for status in _statuses(pod):
        state = status.get("state", {})
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        reason = waiting.get("reason", "")
        if reason in _HOPELESS:
            code, patience = _HOPELESS[reason]
            detail = f"image {status['image']}: " if code == "image_pull" else ""
            return Verdict(
                False,
                f"pod {name} cannot start: {detail}{reason}: {waiting.get('message', '')}".rstrip(": "),
                code,
                patience,
                name,
                status["name"],
            )
        if ended and status.get("restartCount", 0) >= 1 and ended.get("exitCode"):
            return Verdict(
                False,
                f"pod {name} crashes: exit code {ended['exitCode']}",
                "container_crash",
                3.0,
                name,
                status["name"],
            )
    return None


def running(pod: Object | None, name: str) -> Verdict:
    """The pod's containers run; they need not be ready (before init none is)."""
    if pod is None:
        return Verdict(False, f"pod {name} does not exist yet", pod=name)
    bad = hopeless(pod)
    if bad:
        return bad
    if pod["metadata"].get("deletionTimestamp"):
        return Verdict(False, f"pod {name} is stopping", pod=name)
    if pod.get("status", {}).get("phase") == "Running" and all(
        (status.get("state") or {}).get("running") for status in _statuses(pod)
    ):
        return DONE
    waiting = next(((status.get("state", {}).get("waiting") or {}).get("reason") for status in _statuses(pod)), None)
    return Verdict(
        False,
        f"pod {name} is {pod.get('status', {}).get('phase', 'Pending')}" + (f" ({waiting})" if waiting else ""),
        pod=name,
    )


def ready(pod: Object | None, name: str, revision: str | None = None) -> Verdict:
    """The pod is Ready, and of the given revision when one is named."""
    verdict = running(pod, name)
    if not verdict.done or pod is None:
        return verdict
    if revision and pod["metadata"]["labels"].get("controller-revision-hash") != revision:
        return Verdict(False, f"pod {name} still runs the old template", pod=name)
    if _condition(pod, "Ready").get("status") != "True":
        return Verdict(False, f"pod {name} runs but is not ready", pod=name)
    return DONE


# Seconds past its time before a pod that is ending counts as overdue: the API server's clock and this one may differ, a kubelet takes a moment.
OVERDUE = 30.0


def _overdue(pod: Object, now: float) -> bool | None:
    """Whether a pod should be gone by now; None for one that is not being ended. now: seconds since the epoch.

    deletionTimestamp is the time by which it should be (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/).
    """
    due = pod["metadata"].get("deletionTimestamp")
    if not due:
        return None
    return now - datetime.strptime(due, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp() > OVERDUE


def ends_in_time(pod: Object, now: float) -> bool:
    """Whether a pod is being ended and still has time for it."""
    return _overdue(pod, now) is False


def overdue(pods: t.Iterable[Object], now: float) -> str:
    """Which pod should be gone by now, and what to do; empty without one.

    Only its kubelet says that a pod has ended, and on a machine that is off nobody does.
    """
    for pod in pods:
        if _overdue(pod, now):
            meta = pod["metadata"]
            return (
                f"pod {meta['name']} should be gone since {meta['deletionTimestamp']}, and Kubernetes node {pod['spec'].get('nodeName')} "
                f"does not say that it is: bring the node back, or take the pod away with kubectl -n {meta.get('namespace')} delete pod "
                f"--force {meta['name']} once the machine is certainly off"
            )
    return ""


def _ended(pod: Object, name: str) -> tuple[Verdict | None, Object]:
    """What a short-lived pod says before it has failed (None once it has), and how its container ended."""
    phase = pod.get("status", {}).get("phase")
    if phase == "Succeeded":
        return DONE, {}
    if phase != "Failed":
        return hopeless(pod) or Verdict(False, f"pod {name} is {phase or 'Pending'}", pod=name), {}
    states = [(status.get("state") or {}).get("terminated") for status in _statuses(pod)]
    return None, next((state for state in states if state), {})


def _said(pod: Object, ended: Object) -> str:
    return str(ended.get("message") or pod["status"].get("message") or "").strip()


def completed(pod: Object | None, name: str) -> Verdict:
    """A pod that prepares a volume has done its work; a failed one says what it said last."""
    if pod is None:
        return Verdict(False, f"pod {name} does not exist yet", pod=name)
    found, ended = _ended(pod, name)
    if found is not None:
        return found
    reason = "volume_not_empty" if ended.get("exitCode") == 3 else "volume_prepare"
    return Verdict(False, _said(pod, ended), reason, 0.0, name, "volume")


def ran(pod: Object | None, name: str) -> Verdict:
    """A pod that runs an image's C(version) has done so."""
    if pod is None:
        return Verdict(False, f"pod {name} does not exist yet", pod=name)
    found, ended = _ended(pod, name)
    if found is not None:
        return found
    text = _said(pod, ended) or f"exit code {ended.get('exitCode')}"
    return Verdict(False, f"the image does not run: {text}", "container_crash", 0.0, name, "pull")


def worst(verdicts: t.Iterable[Verdict]) -> Verdict:
    """Of several: a hopeless one, else one that is not done, else done."""
    open_ = [verdict for verdict in verdicts if not verdict.done]
    return next((verdict for verdict in open_ if verdict.never), open_[0] if open_ else DONE)


def of_pods(pods: t.Mapping[str, Object], names: t.Iterable[str], judge: t.Callable[..., Verdict]) -> Verdict:
    """One verdict over several pods; a pod that does not exist is judged as None."""
    judged = [judge(pods.get(name), name) for name in names]
    found = worst(judged)
    if found.done or len(judged) == 1:
        return found
    return replace(found, progress=f"{sum(item.done for item in judged)} of {len(judged)} pods {judge.__name__}")
