# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The way back of an upgrade or a change of options that failed: when it is taken, and where it leads. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .errors import ClusterError
from .journal import UNFINISHED, Journal
from .observe import Observed
from .options import OPTIONS
from .plan import Step
from .spec import COERCE, Spec

if t.TYPE_CHECKING:
    from .context import Context

# Why a pod did not come up with what is new; other failures are not mended by going back.
UNDOABLE = (
    "image_pull",
    "container_crash",
    "container_config",
    "build",
    "timeout",
    "unschedulable",
    "volume_mount",
)


def origin(seen: Observed, name: str) -> t.Mapping[str, t.Any]:
    """What an operation that begins leads back to: what is in force, or where the one began that was held or interrupted half-way."""
    last = next((item for item in reversed(seen.journal.history) if item["name"] == name), None)
    begun = last.get("from") if last and last.get("outcome") in UNFINISHED else None
    return begun if begun and isinstance(begun, dict) else {"image": seen.image, "options": seen.noted}


def begins(ctx: Context, step: Step, error: ClusterError) -> bool:
    """Whether this failure is answered by going back; then the journal says so, and the spec is the one before."""
    journal = ctx.seen.journal
    begun_at = journal.operation.get("from")
    if (
        ctx.spec.on_failure != "rollback"
        or not step.known.rolls  # the others of these operations have nothing that could be taken back
        or not step.pod
        or error.reason not in UNDOABLE
        or not begun_at
        or journal.operation.get("undoing")
    ):
        return False
    ctx.say(f"{step.id} failed ({error.reason}): rolling back to {begun_at['image']}")
    why = {
        "run": ctx.run_id,
        "reason": error.reason,
        "msg": error.msg,
        "step": step.id,
        "node": error.facts.get("node"),
        "target": _target(ctx.spec),
    }
    ctx.write_journal(replace(journal, operation={**journal.operation, "undoing": why}))
    ctx.spec = before(ctx.spec, ctx.seen.journal)
    ctx.look()
    return True


def _target(spec: Spec) -> dict[str, t.Any]:
    """What of the pods was asked for: who asks for it again after an interruption wants the same."""
    template = {option.name for option in OPTIONS if option.scope == "template"} & spec.asked
    return {"image": spec.image, **{name: value for name, value in spec.remembered().items() if name in template}}


def goes_on(spec: Spec, journal: Journal, run_id: str) -> bool:
    """Whether the way back that the journal tells of is this run's: begun in an earlier slice of it, or cut by the time of one that asked the same.

    After one that was killed, a run goes where it was asked to: somebody may have killed it to go there.
    """
    undoing = journal.operation.get("undoing") or {}
    if undoing.get("run") == run_id:
        return True
    return bool(undoing.get("paused")) and spec.on_failure == "rollback" and undoing.get("target") == _target(spec)


def pauses(ctx: Context) -> None:
    """The time is over on the way back: the journal says so, until somebody goes on."""
    journal = ctx.seen.journal
    undoing = {**journal.operation.get("undoing", {}), "paused": True}
    ctx.write_journal(replace(journal, operation={**journal.operation, "undoing": undoing}))


def before(spec: Spec, journal: Journal) -> Spec:
    """The spec as it was before the operation under way, of what shapes pods."""
    begun_at = journal.operation.get("from") or {}
    noted = begun_at.get("options") or {}
    shaping = {option.name: option for option in OPTIONS if option.scope == "template"}
    values = {
        name: COERCE[option.kind](option, noted[name]) if name in noted else option.default
        for name, option in shaping.items()
        if name != "image" and noted  # without a note nobody knows better than what is in force
    }
    values["image"] = begun_at.get("image") or spec.image
    changed = {name for name, value in values.items() if value != spec.values[name]}
    return Spec(spec.asked | changed, {**spec.values, **values, "pause_after": 0})
