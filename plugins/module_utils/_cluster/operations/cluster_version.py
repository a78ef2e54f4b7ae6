# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The engine's cluster version: held while an upgrade can be undone, and let go when it is final. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ..._engine import profiles
from ..._engine.parse import seconds
from .. import gates, verdict
from ..context import utc
from ..progress import about

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step


def preserve(ctx: Context, step: Step) -> None:
    """Hold the cluster version, so that the old release can still open the stores; noted before and after, for a run may die between."""
    version = ctx.engine.setting("version")
    held: dict[str, t.Any] = {"version": version, "image": ctx.seen.image, "since": utc(), "who": ctx.who}
    known = ctx.seen.journal.unfinalized
    # What was noted at another version is over: it has risen since, and nothing leads back there.
    held = {**held, **(known if known.get("version") == version else {}), "set": False}
    ctx.write_journal(replace(ctx.seen.journal, unfinalized=held))
    ctx.engine.sql(f"SET CLUSTER SETTING cluster.preserve_downgrade_option = '{version}'", repeatable=True)
    ctx.write_journal(replace(ctx.seen.journal, unfinalized={**held, "set": True}))
    ctx.say(f"cluster version held at {version}: the upgrade can be undone until it is finalised")


def before(ctx: Context, step: Step) -> list[gates.Gate]:
    return gates.finalize(ctx.seen, ctx.deep(), profiles.version_from_image(ctx.spec.image))


def finalize(ctx: Context, step: Step) -> None:
    """Let the cluster version rise: from here on there is no way back. After an undo, it only forgets what was held."""
    held = str(ctx.seen.journal.unfinalized.get("version") or "")
    if not step.facts.get("undone"):
        ctx.prove_in_time(lambda: before(ctx, step), step)
    if ctx.seen.journal.unfinalized:  # a run that dies after the next line leaves no hold behind
        ctx.write_journal(replace(ctx.seen.journal, unfinalized={**ctx.seen.journal.unfinalized, "set": False}))
    ctx.engine.sql("RESET CLUSTER SETTING cluster.preserve_downgrade_option", repeatable=True)

    # The engine asks every node for its release but those it counts as decommissioned, which takes as long as it takes to call one dead.
    gone = [str(node.id) for node in ctx.seen.nodes or () if node not in ctx.seen.members()]
    patience = (seconds(ctx.engine.setting("server.time_until_store_dead")) or 0) + 120 if gone else 0
    why = f"; node {', '.join(gone)} has left, but counts for up to {about(patience)} after its end" if gone else ""

    def risen() -> verdict.Verdict:
        rows = ctx.engine.sql_rows(f"SELECT {ctx.profile.virtual_schema}.node_executable_version() AS v")
        brings, active = str(rows[0]["v"]) if rows else "", ctx.engine.setting("version")
        if active == brings or step.facts.get("undone"):
            return verdict.DONE
        return verdict.Verdict(False, f"cluster version is still {active}, the release brings {brings}{why}")

    ctx.wait(risen, step.id, poll=5.0 if gone else 1.0, limit=max(patience, ctx.spec.wait_timeout))
    ctx.write_journal(replace(ctx.seen.journal, unfinalized={}))
    now = ctx.engine.setting("version")
    ctx.say(f"cluster version {now}" + (f", was {held}" if held != now else ", as before"))
