# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""One run that empties a Kubernetes node of a cluster's pods, or takes it back. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import typing as t

from .._engine.errors import EngineError
from .._engine.parse import seconds as seconds_of
from .._kube.errors import KubeError
from . import maintenance, observe, rights
from .context import Context
from .errors import ClusterError, InputError
from .operations import maintenance as deeds
from .plan import Plan, Step
from .replace_run import refuse_paused, refuse_without
from .run import Run
from .spec import parse_label

DEFAULT_WINDOW = "3h"  # what the product's own `node upgrade` takes


def window_of(value: t.Any) -> int:
    """Seconds of the option C(window): a number, or a duration such as C(90m). InputError below what the engine takes."""
    text = str(value if value not in (None, "") else DEFAULT_WINDOW).strip()
    found = float(text) if text.isdigit() else seconds_of(text)
    if found is None or found < maintenance.LEAST:
        raise InputError(
            "window",
            f"{text!r} is not allowed; allowed are {maintenance.LEAST} seconds and more, such as 3h, 90m or 5400",
        )
    return int(found)


class MaintainRun(Run):
    """kubernetes_node: its name. state: drained or ready. window: seconds it may be away before the engine makes new replicas."""

    required = ()

    def __init__(self, *args: t.Any, kubernetes_node: str, state: str, window: int, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self.node, self.wanted, self.window = parse_label("kubernetes_node", kubernetes_node), state, window

    def plan(self, ctx: Context, *, look: bool = True) -> Plan:
        refuse_without(ctx)
        node = self.client.get("Node", self.node)
        plan = (
            maintenance.drained(ctx.spec, ctx.seen, self.node, node, self.window)
            if self.wanted == "drained"
            else maintenance.ready(ctx.spec, ctx.seen, self.node, node)
        )
        refuse_paused(ctx, plan)
        plan = self._gated(ctx, plan)
        if plan.steps and look:
            rights.refuse_missing(self.client, plan, ctx.spec.namespace)
        return plan

    def _try(self, ctx: Context, step: Step, first: Plan, act: t.Callable[[], None]) -> bool:
        """A failure outside the window leaves nothing raised; inside it the engine must go on waiting, and the journal tells."""
        try:
            return super()._try(ctx, step, first, act)
        except ClusterError as error:
            if self._is_over(ctx, step, error):
                with contextlib.suppress(ClusterError, EngineError, KubeError):
                    deeds.restore(ctx)
            if step.verb in ("evict", "kept", "return") and self.wanted == "drained":
                error.msg += f" {self.node} stays cordoned: run again, or take it back (state ready)."
            if ctx.seen.journal.window:
                error.msg += f" {maintenance.STORE_DEAD} stays raised until the node is taken back (state ready); the journal keeps what it was."
            raise

    def _is_over(self, ctx: Context, step: Step, error: ClusterError) -> bool:
        # Where uncordoning itself fails, the node is away as before. Another node's window is not this run's to close.
        window = ctx.seen.journal.window
        if error.reason == "lock_lost" or window.get("node") != self.node or step.verb in ("restore", "uncordon"):
            return False
        return self.wanted == "ready" or all(
            pod in ctx.seen.pods and observe.ready(ctx.seen.pods[pod]) for pod in ctx.seen.expected_pods()
        )

    def go(self) -> dict[str, t.Any]:
        return {**super().go(), "kubernetes_node": self.node}
