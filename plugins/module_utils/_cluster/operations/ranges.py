# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Waiting until the ranges have their replicas. PRIVATE to the collection."""

from __future__ import annotations

import time
import typing as t

from .. import verdict
from ..progress import Falling

if t.TYPE_CHECKING:
    from ..context import Context


def until_whole(ctx: Context, step: str, *, others_too: bool = True) -> None:
    """Until no range lacks a live replica. others_too: False when what ranges lack only for another node that is down is that one's repair."""
    falling = Falling("ranges not whole,", ctx.run_id)

    def judge() -> verdict.Verdict:
        ctx.ask_engine()
        deep = ctx.deep()
        if deep is None or ctx.seen.nodes is None:
            return verdict.Verdict(False, "SQL does not answer")
        whole = deep.wholeness(ctx.seen)
        if whole.whole:
            ctx.say("all ranges are whole")
            return verdict.DONE
        down = {node.id for node in ctx.seen.members() if not (node.is_live and node.is_available)}
        named = f"node {', '.join(map(str, sorted(down)))} is down"
        if not others_too and not whole.unavailable and all(item.replicas & down for item in whole.underreplicated):
            ctx.say(f"{len(whole.underreplicated)} ranges are not whole, for {named}")
            return verdict.DONE
        falling.now(len(whole.unavailable) + len(whole.underreplicated), time.time())
        return verdict.Verdict(
            False,
            f"{len(whole.unavailable)} ranges unavailable, {len(whole.underreplicated)} under-replicated"
            + (f"; {named}" if down else ""),
            progress=falling.text,
        )

    ctx.wait(judge, step, poll=1.0)
