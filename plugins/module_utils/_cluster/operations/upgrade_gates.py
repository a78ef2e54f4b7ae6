# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What must hold before a pod is restarted with what is new; asked of engine and API server right then. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import math
import typing as t
from dataclasses import replace

from ..._engine import profiles
from ..._engine.errors import EngineError
from .. import compare, gates, rolling
from ..observe import container, ending
from . import template

if t.TYPE_CHECKING:
    from ..context import Context
    from ..plan import Step


def before(ctx: Context, step: Step) -> list[gates.Gate]:
    """The gates before this pod is restarted.

    Restarting a pod that is down takes nothing away from anybody: its own failure must not block its repair. And one that was
    restarted in an earlier slice is only waited for: that the engine does not count it as live yet, or still counts it while it
    stops, is no reason to refuse.
    """
    if template.is_new(ctx, step.pod) and not template.is_needed(ctx, step):
        return []
    stops = ending(ctx.seen.pods.get(step.pod)) and not template.is_needed(ctx, step)
    if stops or ctx.seen.down(step.pod):
        return [*version_path(ctx), *_pullable(ctx, step)]
    found = [*gates.common(ctx.seen, ctx.deep(), None), gates.claims_kept(ctx.seen)]
    if found[0].name == "engine_answers" and not found[0].holds:
        return found
    return [*found, *version_path(ctx), *_pullable(ctx, step), *template_expected(ctx, step)]


def _pullable(ctx: Context, step: Step) -> list[gates.Gate]:
    """Proven by the pre-pull, as the journal remembers."""
    wanted = set(step.facts.get("pre_pull") or ())
    if not wanted:
        return []
    missing = sorted(wanted - rolling.pulled_nodes(ctx.seen, ctx.spec.image))
    return [
        gates.Gate(
            "image_pullable",
            f"{len(wanted) - len(missing)} of {len(wanted)}",
            "all",
            not missing,
            f"The new image has not been run on {', '.join(missing)} yet; step prepull does it.",
        )
    ]


def version_path(ctx: Context) -> list[gates.Gate]:
    """Whether the database may go from every version it runs to the one asked for. What only the engine can tell does not hold while it is silent."""
    pulled = ctx.seen.journal.pulled
    target = profiles.version_from_image(ctx.spec.image) or (
        profiles.version_of(pulled.get("build")) if pulled.get("image") == ctx.spec.image else None
    )
    images = {container(pod)["image"] for pod in ctx.seen.pods.values()}
    running = {profiles.version_of(node.build) for node in ctx.seen.live()} if ctx.seen.nodes else set()
    sources = running - {None} or {profiles.version_from_image(image) for image in images}
    verdicts = {source: profiles.version_path(ctx.profile, source, target) for source in sources or {None}}
    source, path = next(
        ((source, path) for source, path in verdicts.items() if not path.allowed),
        next(((source, path) for source, path in verdicts.items() if path.needs or path.downgrade), None)
        or next(iter(verdicts.items())),
    )
    shown = "→".join(".".join(map(str, version)) if version else "unknown" for version in (source, target))
    judged = [gates.Gate("version_path", shown, path.why, path.allowed, f"{shown}: {path.why}.")]
    for need in path.needs:
        value = ctx.engine.setting(need.setting) if ctx.seen.nodes else "unknown, no node answers"
        judged.append(
            gates.Gate(
                "version_path",
                f"{need.setting} = {value}",
                f"= {need.value}",
                value in (need.value, "00:00:00"),
                f"Run SET CLUSTER SETTING {need.setting} = '{need.value}' first; the next run waits until that is {need.seconds} s ago.",
            )
        )
        if judged[-1].holds:
            judged.append(_lasts(ctx, need))
    brings = profiles.cluster_version(ctx.profile, target)
    if path.allowed and path.downgrade and brings:
        active = ctx.engine.setting("version") if ctx.seen.nodes else ""
        judged.append(
            gates.Gate(
                "version_path",
                f"cluster version {active or 'unknown, no node answers'}",
                f"≤ {brings}",
                bool(active) and not profiles.older(brings, active),
                f"The cluster was finalised at {active}; {ctx.spec.image} only reads up to {brings}. Go forward, or export and import."
                if active
                else f"{ctx.spec.image} only reads up to {brings}. Bring back enough nodes for one to answer, then ask again.",
            )
        )
    return judged


def _lasts(ctx: Context, need: profiles.Needs) -> gates.Gate:
    """How long the setting has had its value: since it was written; where the engine does not tell, since this run saw it first."""
    past = ctx.under_way(need.setting)
    with contextlib.suppress(EngineError, KeyError, TypeError, ValueError):
        since = 'extract(epoch FROM now()) - extract(epoch FROM "lastUpdated")'
        statement = f"SELECT {since} AS past FROM system.settings WHERE name = '{need.setting}'"  # noqa: S608 - our own words
        rows = ctx.engine.sql_rows(statement)
        past = max([past, *(float(str(row["past"])) for row in rows)])
    left = max(0, math.ceil((need.seconds - past) / 30) * 30)  # in steps, for each is a line to a person
    return gates.Gate(
        "setting_lasts",
        f"{left} s left" if left else "long enough",
        f"{need.seconds} s",
        not left,
        f"{need.setting} has not been {need.value} for {need.seconds} s yet, about {left} s are left.",
    )


def template_expected(ctx: Context, step: Step) -> list[gates.Gate]:
    """A dry run of the new template against what the options stand for: both rendered here, the rest is somebody else's or ours of yore."""
    options = step.facts.get("options")
    if not options or not template.is_needed(ctx, step):
        return []
    wanted, live = template.whole_set(ctx), ctx.seen.running_set
    # What options that did not change stand for, rendered by this very version of the collection.
    values = {**ctx.spec.values, **{name: _old(ctx, name) for name in options}, "image": ctx.seen.image}
    known = template.whole_set(ctx, replace(ctx.spec, values=values))
    expected = compare.paths(known["spec"]["template"], wanted["spec"]["template"])
    dry = ctx.client.apply(wanted, dry_run=True)
    changed = compare.paths(live["spec"]["template"], dry["spec"]["template"])
    odd = sorted(path for path in changed if not any(_covers(item, path) for item in expected))
    return [
        gates.Gate(
            "template_expected",
            f"{len(odd)} of {len(changed)}",
            "0 others",
            not odd,
            f"Not asked for, but it would change too: {', '.join(odd[:5])}{' …' if len(odd) > 5 else ''} (changed by hand, or rendered "
            "otherwise by this version of the collection). Look at it, then waive template_expected to take it.",
        )
    ]


def _old(ctx: Context, name: str) -> t.Any:
    """The value of an option before: as noted, else its default."""
    from ..options import BY_NAME
    from ..spec import COERCE

    option, noted = BY_NAME[name], ctx.seen.noted
    return COERCE[option.kind](option, noted[name]) if name in noted else option.default


def _covers(expected: str, path: str) -> bool:
    """Whether one path is the other or lies in it."""
    return any(
        part == whole or part.startswith((f"{whole}.", f"{whole}["))
        for part, whole in ((path, expected), (expected, path))
    )
