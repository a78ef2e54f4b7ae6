# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Short-lived pods that do one thing on one Kubernetes node each. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

from .. import verdict
from ..context import Paused
from ..errors import ClusterError
from ..names import COMPONENT, RUN, owned
from ..observe import ending

if t.TYPE_CHECKING:
    from ..context import Context

T = t.TypeVar("T")
Manifest = dict[str, t.Any]


def run(
    ctx: Context,
    wanted: t.Mapping[str, Manifest],
    judge: t.Callable[..., verdict.Verdict],
    step: str,
    then: t.Callable[[], T],
) -> T:
    """All of them at once, until C(judge) says done of each; then C(then), while their logs can still be read.

    They are gone afterwards, whatever happens; only a slice that ends leaves them for the next one of the same run, for the image
    may take longer to come than a slice.
    """
    try:
        for name, manifest in wanted.items():
            _ensure(ctx, name, manifest)
        ctx.wait(
            lambda: verdict.of_pods(
                {name: pod for name in wanted if (pod := ctx.client.get("Pod", name, ctx.names.namespace))},
                wanted,
                judge,
            ),
            step,
            poll=1.0,
        )
        result = then()
    except Paused:
        raise
    except BaseException:
        _clean(ctx, wanted)
        raise
    _clean(ctx, wanted)
    return result


def _ensure(ctx: Context, name: str, manifest: Manifest) -> None:
    manifest["metadata"]["annotations"] = {RUN: ctx.run_id}
    there = ctx.client.get("Pod", name, ctx.names.namespace)
    if there is not None:
        if _mine(ctx, there) and _same_work(there, manifest) and not ending(there):
            return
        # One left by a run that was killed may do something else: it goes first.
        if not _helps(ctx, there):
            raise ClusterError(
                f"Pod {name} exists in {ctx.names.namespace} and is no short-lived pod of KaiwuDB cluster {ctx.spec.name} (its labels say so). "
                "It was not touched. Choose another name for one of the two, or remove it.",
                "foreign_object",
                node=name,
                resumable=False,
            )
        ctx.client.delete("Pod", name, ctx.names.namespace, grace=0, uid=there["metadata"].get("uid"))
        ctx.say(f"removed pod {name} of an interrupted run")
    ctx.client.create(manifest)


def _mine(ctx: Context, pod: t.Mapping[str, t.Any]) -> bool:
    """Whether this run made it; another one that took over uses the same names."""
    return bool((pod["metadata"].get("annotations") or {}).get(RUN) == ctx.run_id)


def _same_work(pod: t.Mapping[str, t.Any], manifest: Manifest) -> bool:
    """Whether a pod is to do the same: its node where that is told, image and command, but for an archive's time at the end."""
    node, (one, other) = manifest["spec"].get("nodeName"), (item["spec"]["containers"][0] for item in (pod, manifest))
    return (
        node in (None, pod["spec"].get("nodeName"))
        and one["image"] == other["image"]
        and list(one["command"][:5]) == list(other["command"][:5])
    )


def _helps(ctx: Context, pod: t.Mapping[str, t.Any]) -> bool:
    """Whether it is one of ours; kw-volume-0 is also what the first database pod of a cluster kw-volume is called."""
    return owned(pod, ctx.names) and pod["metadata"]["labels"].get(COMPONENT) != "database"


def _clean(ctx: Context, names: t.Iterable[str]) -> None:
    for name in names:
        there = ctx.client.get("Pod", name, ctx.names.namespace)
        if there is not None and _helps(ctx, there) and _mine(ctx, there):
            ctx.client.delete("Pod", name, ctx.names.namespace, grace=0, uid=there["metadata"].get("uid"))
