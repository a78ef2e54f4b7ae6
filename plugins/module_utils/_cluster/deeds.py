# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What does a step, and the gates before it, by its verb. PRIVATE to the collection.

What else is known of a verb is in C(verbs), which plans may use: they do nothing.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .operations import (
    close,
    cluster_version,
    create,
    grow,
    initialize,
    lost,
    maintenance,
    members,
    remove,
    rollout,
    stamp,
    upgrade_gates,
    volumes,
)

if t.TYPE_CHECKING:
    from .context import Context
    from .gates import Gate
    from .plan import Step


@dataclass(frozen=True)
class Deed:
    """one: does a step. before: its gates. together: does all steps of the verb at once that follow each other, in place of C(one)."""

    one: t.Callable[[Context, Step], None] | None = None
    before: t.Callable[[Context, Step], list[Gate]] | None = None
    together: t.Callable[[Context, t.Sequence[Step]], None] | None = None

    def gates(self, ctx: Context, step: Step) -> list[Gate]:
        return self.before(ctx, step) if self.before else []

    def do(self, ctx: Context, steps: t.Sequence[Step]) -> None:
        if self.together:
            self.together(ctx, steps)
        elif self.one:
            self.one(ctx, steps[0])


DEEDS: t.Mapping[str, Deed] = {
    "create": Deed(create.create),
    "repair": Deed(create.mend),
    "delete": Deed(create.delete),
    "settle": Deed(create.settle),
    "close": Deed(close.close),
    "pause": Deed(create.pause),
    "resume": Deed(create.pause),
    "volume": Deed(together=volumes.make),
    "reuse": Deed(volumes.reuse),
    "free": Deed(together=volumes.take_back),
    "drop": Deed(volumes.drop),
    "reclaim": Deed(volumes.reclaim, volumes.before),
    "stamp": Deed(lambda ctx, _step: stamp.stamp(ctx)),
    "template": Deed(grow.claim_template),
    "expand": Deed(grow.expand),
    "rebind": Deed(grow.rebind, volumes.before),
    "renew": Deed(grow.renew, grow.before_renew),
    "initialize": Deed(initialize.initialize, initialize.before),
    "remember": Deed(initialize.remember),
    "scale_out": Deed(members.scale_out),
    "scale_in": Deed(members.scale_in, members.before),
    "decommission": Deed(lambda ctx, step: members.decommission(ctx, step, step.facts["id"]), members.before),
    "recommission": Deed(members.recommission),
    "prepull": Deed(rollout.prepull),
    "preserve": Deed(cluster_version.preserve),
    "upgrade": Deed(rollout.roll, upgrade_gates.before),
    "reconfigure": Deed(rollout.roll, upgrade_gates.before),
    "revert": Deed(rollout.revert, upgrade_gates.before),
    "finalize": Deed(cluster_version.finalize, cluster_version.before),
    "release": Deed(cluster_version.finalize),
    "leave": Deed(lost.leave, lost.before),
    "detach": Deed(lost.detach, lost.before),
    "clear": Deed(lost.clear),
    "rejoin": Deed(lost.rejoin),
    "empty": Deed(lost.empty),
    "extend": Deed(maintenance.extend),
    "cordon": Deed(maintenance.cordon),
    "evict": Deed(maintenance.evict, maintenance.before),
    "kept": Deed(maintenance.kept),
    "uncordon": Deed(maintenance.uncordon),
    "return": Deed(maintenance.come_back),
    "restore": Deed(maintenance.restore),
    "whole": Deed(maintenance.whole),
    "remove": Deed(remove.part),
}
