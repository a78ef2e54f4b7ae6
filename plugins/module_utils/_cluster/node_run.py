# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""One database node leaves, or comes back: any node, also a dead one or one whose pod is gone. PRIVATE to the collection."""

from __future__ import annotations

import functools
import typing as t

from . import gates, observe, rights
from .context import Context, utc
from .deeds import DEEDS
from .errors import ClusterError, InputError
from .lock import locked
from .operations import members
from .plan import Plan, Step
from .present import NODE_OPERATIONS
from .run import Run

if t.TYPE_CHECKING:
    from .._engine.parse import NodeRow
    from .journal import Journal

Work = t.Callable[[Context, Step], None]


class NodeRun(Run):
    """node: a pod's name, an ordinal, or C(id=N). state: decommissioned or active."""

    required = ()

    def __init__(self, *args: t.Any, node: str, **kwargs: t.Any) -> None:
        self.wanted = kwargs.pop("state")
        super().__init__(*args, **kwargs)
        self.node = node
        # Exactly: kw-9-3 is a pod of another cluster, kw-9, and must not be taken for ordinal 3 of kw.
        if not (
            (node.startswith("id=") and node[3:].isdigit()) or node.removeprefix(f"{self.asked['name']}-").isdigit()
        ):
            raise InputError(
                "node",
                f"{node!r} names no node; allowed are a pod's name ({self.asked['name']}-3), an ordinal (3) or a node id (id=4)",
            )

    def slice(self) -> dict[str, t.Any]:
        ctx = self._context()
        row, plan = self._judged(ctx)
        self._count_ended(ctx, plan)
        if self.check or not plan.steps:
            return self._answer(ctx, plan, row)
        rights.refuse_missing(self.client, plan, ctx.spec.namespace)

        def work() -> dict[str, t.Any]:
            """Another run may have ended just before this one got the lock: what it left is looked at, and its journal written on."""
            ctx.look()
            row, plan = self._judged(ctx)
            self._count_ended(ctx, plan)
            return self._act(ctx, plan, row) if plan.steps else self._answer(ctx, plan, row)

        return locked(self, ctx, work)

    def _judged(self, ctx: Context) -> tuple[NodeRow, Plan]:
        """The row that is meant and what is to do with it, from what was just seen; ClusterError when nothing may be done."""
        if ctx.seen.statefulset is None:
            raise ClusterError(
                f"there is no cluster {ctx.spec.name} in namespace {ctx.spec.namespace}.", "no_cluster", resumable=False
            )
        row = self._find(ctx)
        plan = self._plan_for(ctx, row)
        if plan.steps and ctx.seen.paused:
            raise ClusterError(
                f"{ctx.spec.name} is paused ({ctx.seen.paused}), and {plan.steps[0].id} would be to do. Nothing was changed. "
                "Set paused to false in a run of deploy first.",
                "paused",
                step=plan.steps[0].id,
                resumable=False,
            )
        return row, plan

    def _find(self, ctx: Context) -> NodeRow:
        """The one row meant; ClusterError when there is none or nobody answers."""
        seen = ctx.seen
        if seen.nodes is None:
            raise ClusterError(
                f"no database node answers: {seen.engine_silence}. Nothing was changed.", "engine_answers"
            )
        if self.node.startswith("id="):
            row = next((node for node in seen.nodes if node.id == int(self.node[3:])), None)
        else:
            row = seen.node_of(seen.names.pod(int(self.node)) if self.node.isdigit() else self.node)
        if row is None:
            known = ", ".join(f"{node.id} ({node.address})" for node in seen.nodes)
            raise ClusterError(
                f"no node is {self.node}; the cluster has {known}. Nothing was changed.",
                "unknown_node",
                resumable=False,
            )
        return row

    def _plan_for(self, ctx: Context, row: NodeRow) -> Plan:
        pod = next((name for name in ctx.seen.pods if ctx.seen.node_of(name) == row), "")
        if self.wanted == "active":
            if row.is_decommissioning and not row.is_live:
                raise ClusterError(
                    f"node {row.id} has left and does not run any more; only a node that runs can be active. Nothing was changed.",
                    "node_gone",
                    resumable=False,
                )
            steps = (
                [
                    Step(
                        f"recommission/{row.id}",
                        "takes replicas again",
                        "scale_in",
                        True,
                        pod=pod,
                        facts={"id": row.id},
                    )
                ]
                if row.is_decommissioning
                else []
            )
            return Plan(
                f"{ctx.spec.name}: node {row.id} stays",
                tuple(steps) or self._close(ctx, row, pod),
                changes={f"node/{row.id}": ("decommissioning", "active")} if steps else {},
            )
        if (
            row.is_decommissioning and not row.gossiped_replicas and not observe.holds(ctx.deep(), row.id)
        ):  # the gossiped number may be old
            return Plan(f"{ctx.spec.name}: node {row.id} holds nothing", self._close(ctx, row, pod))
        step = Step(
            f"decommission/{row.id}",
            f"its replicas move away; pod {pod or 'none'}",
            "scale_in",
            True,
            pod,
            {"id": row.id},
        )
        found = gates.judge(members.before(ctx, step), ctx.spec.waive)
        if not row.is_decommissioning:
            ctx.prove([gate for gate in found if not gate.mends], step)
        return Plan(
            f"{ctx.spec.name}: decommission node {row.id} ({row.address})",
            (step,),
            changes={f"node/{row.id}": ("active", "decommissioned")},
            gates=tuple(found),
        )

    def _close(self, ctx: Context, row: NodeRow, pod: str) -> tuple[Step, ...]:
        """What is left of a run that was killed right after its work was complete, or of an order to leave that is called off."""
        known = ctx.seen.journal.operation
        if known.get("name") in NODE_OPERATIONS and known.get("node") == row.id:
            return (Step("close", f"{known['name']} of an earlier run is complete", pod=pod),)
        called_off = self.wanted == "active" and pod in ctx.seen.journal.leaving_pods
        return (Step("close", f"{pod} was to leave and stays", pod=pod),) if called_off else ()

    def _closed(self, ctx: Context, step: Step) -> Journal:
        """The journal at the end. A node that was put back is wanted: the scale in that had sent it away does not go on."""
        journal = ctx.seen.journal
        if journal.operation.get("name") in NODE_OPERATIONS:
            journal = journal.timed(self.times).end(utc(), "done")
        if self.wanted != "active" or step.pod not in journal.leaving_pods:
            return journal
        journal = journal.stays(step.pod)
        over = journal.operation.get("name") == "scale_in" and not journal.leaving_pods
        return journal.end(utc(), "undone") if over else journal

    def _act(self, ctx: Context, plan: Plan, row: NodeRow) -> dict[str, t.Any]:
        step = plan.steps[0]
        if step.id == "close":
            ctx.write_journal(self._closed(ctx, step))
            self.done.append(step.id)
            return self._answer(ctx, plan, row)
        at, journal = self._at(ctx, step), ctx.seen.journal
        if journal.operation.get("name") in {"decommission", "recommission"} - {step.verb}:
            journal = journal.end(utc(), "interrupted")  # its opposite, which is not wanted any more
        # An upgrade or a scale in that was interrupted goes on afterwards, and must still be able to go back.
        ctx.write_journal(journal.within(step.verb, self.who, utc(), step=step.id, node=row.id, at_step=at))
        finished = self._try(ctx, step, plan, functools.partial(DEEDS[step.verb].do, ctx, [step]))
        if finished:
            self._ended([step.id], at)
            ctx.write_journal(self._closed(ctx, step))
            ctx.ask_engine()
        return self._answer(ctx, plan, row, finished=finished)

    def _answer(self, ctx: Context, plan: Plan, row: NodeRow, *, finished: bool = True) -> dict[str, t.Any]:
        result = self._result(
            ctx, plan, plan, finished=finished, at=plan.steps[0] if plan.steps and not finished else None
        )
        pod = next(
            (name for name in ctx.seen.pods if (node := ctx.seen.node_of(name)) is not None and node.id == row.id), None
        )
        last = ctx.seen.expected_pods()[-1] if ctx.seen.expected_pods() else None
        follows = ""
        if self.wanted == "decommissioned" and pod is None:
            follows = "It has no pod; nothing else is to do."
        elif self.wanted == "decommissioned":
            follows = (
                f"Its pod {pod} is the highest ordinal: scale in by one to remove it."
                if pod == last
                else f"Its pod {pod} is not the highest ordinal, so the StatefulSet cannot drop it: "
                "empty its volume to rejoin it as a new node, or set state to active."
            )
        return {
            **result,
            "node": {"id": row.id, "address": row.address, "pod": pod},
            "follows": follows,
            "msg": f"{result['msg']}. {follows}".strip(),
        }
