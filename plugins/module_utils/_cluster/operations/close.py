# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What the journal says when work is over. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ..context import utc

if t.TYPE_CHECKING:
    from ..context import Context
    from ..journal import Journal
    from ..plan import Step


def close(ctx: Context, step: Step) -> None:
    """The end of an operation whose run was killed right after its last step, and of orders to leave that nobody gives any more."""
    ctx.write_journal(ordered(ctx).end(utc(), "done").replaced(step.pod))


def ordered(ctx: Context) -> Journal:
    """The journal with only those pods still leaving that are there, unless they are wanted and known to stay; and replaced only those that are there.

    One that is wanted and still marked, or of which a silent engine tells nothing, is put back by a later run: this one's size is remembered.
    """
    journal, expected = ctx.seen.journal, ctx.seen.expected_pods()
    for pod in journal.leaving_pods:
        node = ctx.seen.node_of(pod)
        stays = pod in expected[: ctx.spec.replicas] and node is not None and not node.is_decommissioning
        if stays or pod not in expected:
            journal = journal.left(pod)
    for pod in set(journal.replacing).difference(expected):
        journal = journal.replaced(pod)
    return replace(journal, leaving={**journal.leaving, "replicas": ctx.spec.replicas}) if journal.leaving else journal
