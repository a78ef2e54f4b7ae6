# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""One run that replaces a database node whose Kubernetes node, disk or place is lost. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._kube.errors import KubeError
from . import replacing, rights
from .context import Context
from .errors import ClusterError, InputError
from .names import ordinal_of
from .plan import Plan
from .run import Run


def pod_of(cluster: str, node: str) -> str:
    """The pod that C(node), a pod's name or an ordinal, means. InputError when it means none of this cluster."""
    # Exactly: kw-9-3 is a pod of another cluster, kw-9, and must not be taken for ordinal 3 of kw.
    ordinal = node.removeprefix(f"{cluster}-")
    if not ordinal.isdigit():
        raise InputError("node", f"{node!r} names no pod; allowed are a pod's name ({cluster}-3) and an ordinal (3)")
    return f"{cluster}-{int(ordinal)}"


def refuse_without(ctx: Context) -> None:
    """ClusterError when there is no cluster."""
    if ctx.seen.statefulset is None:
        raise ClusterError(
            f"there is no cluster {ctx.spec.name} in namespace {ctx.spec.namespace}.", "no_cluster", resumable=False
        )


def refuse_paused(ctx: Context, plan: Plan) -> None:
    """ClusterError when something would be to do on a cluster that somebody paused."""
    if plan.steps and ctx.seen.paused:
        raise ClusterError(
            f"{ctx.spec.name} is paused ({ctx.seen.paused}), and {plan.steps[0].id} would be to do. Nothing was changed. "
            "Set paused to false in a run of deploy first.",
            "paused",
            step=plan.steps[0].id,
            resumable=False,
        )


class ReplaceRun(Run):
    """node: a pod's name or an ordinal. kubernetes_node: which one takes its volume, "" to have it computed. lost: whether somebody
    says that what runs on the old Kubernetes node will never run again."""

    required = ()

    def __init__(self, *args: t.Any, node: str, kubernetes_node: str = "", lost: bool = False, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self.pod, self.target, self.lost = pod_of(self.asked["name"], node), kubernetes_node, lost
        self.loss: dict[str, t.Any] | None = None

    def plan(self, ctx: Context, *, look: bool = True) -> Plan:
        refuse_without(ctx)
        ordinal = self._ordinal(ctx)
        nodes = self._readable_nodes()
        deep = ctx.deep() if ctx.seen.nodes is not None else None
        loss = replacing.diagnose(ctx.seen, ordinal, nodes)
        loss = replace(loss, given_up=self._is_said_of(ctx, loss))
        plan = replacing.replacement(ctx.spec, ctx.seen, deep, ordinal, nodes, loss=loss, target=self.target)
        self._tell(ctx, plan, loss)
        refuse_paused(ctx, plan)
        plan = self._gated(ctx, plan)
        if plan.steps and look:
            self._refuse_foreign(ctx, plan)
            rights.refuse_missing(self.client, plan, ctx.spec.namespace)
        return plan

    def _is_said_of(self, ctx: Context, loss: replacing.Loss) -> bool:
        """Whether C(lost) is said of the Kubernetes node of this loss: it is of the one on which the run found the pod, not of the one to which
        it brings it. Of that one a later run says so by naming another (C(kubernetes_node))."""
        if self.lost and "lost_on" not in ctx.carry:
            kept = replacing.kept(ctx.seen, self.pod)
            moved = kept is not None and replacing.detached(ctx.seen, kept) and loss.on not in kept.away
            ctx.carry["lost_on"] = "" if moved and not self.target else loss.on
        return self.lost and loss.on == ctx.carry["lost_on"]

    def _tell(self, ctx: Context, plan: Plan, loss: replacing.Loss) -> None:
        """What was lost, for the answer: as it was found when the replacement began, also by a run before this one."""
        lost = next((step.facts["lost"] for step in plan.steps if "lost" in step.facts), None)
        kind, text, where = (lost.kind, lost.why, lost.on) if lost and lost.kind else (loss.kind, loss.text, loss.on)
        self.loss = {"kind": kind, "text": text, "kubernetes_node": where or None}
        if plan.steps:
            ctx.carry.setdefault("loss", self.loss)
        self.loss = ctx.carry.get("loss", self.loss)

    def _ordinal(self, ctx: Context) -> int:
        if ctx.spec.single_node:
            raise ClusterError(
                f"{ctx.spec.name} is a single node: nobody else has what it holds. Nothing was changed. Bring its store back.",
                "single_node",
                resumable=False,
            )
        if self.pod not in ctx.seen.expected_pods():
            raise ClusterError(
                f"{ctx.spec.name} has no pod {self.pod}; it has {', '.join(ctx.seen.expected_pods())}. Nothing was changed.",
                "unknown_node",
                resumable=False,
            )
        if self.target and ctx.spec.storage != "local":
            raise InputError("kubernetes_node", "only a local volume has one; with storage=dynamic leave it out")
        return ordinal_of(self.pod) or 0

    def _readable_nodes(self) -> list[dict[str, t.Any]] | None:
        """Kubernetes nodes; None when they may not be listed."""
        try:
            return self.client.list("Node")[0]
        except KubeError as error:
            if error.status == 403:
                return None
            raise

    def go(self) -> dict[str, t.Any]:
        try:
            result = super().go()
        except ClusterError as error:
            if error.reason != "volume_not_empty":
                raise
            way = "Or set volumes to archive: what lies there keeps its data under another name."
            raise ClusterError(f"{error.msg} {way}", error.reason, **error.facts) from error
        told = f": {self.pod}: {self.loss['text']}" if self.loss and not result["steps"] else ""
        return {**result, "pod": self.pod, "loss": self.loss, "msg": result["msg"] + told}
