# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""One node without replication: it needs no init, its first run ends when it serves, and it can never become a cluster."""

from __future__ import annotations

from kindlab import Place

NAME = "kw"
ALONE = {"single_node": "true", "replicas": "1"}


def test_a_single_node(place: Place) -> None:
    first = place.good(NAME, **ALONE)
    assert first.steps[-1] == "remember" and "initialize" not in first.steps
    assert first.data["cluster"]["nodes_live"] == 1 and first.data["cluster"]["ready"] == 1
    assert (
        first.data["cluster"]["cluster_id"] and place.journal(NAME)["cluster_id"] == first.data["cluster"]["cluster_id"]
    )

    second = place.good(NAME, **ALONE)
    assert not second.steps and not second.writes

    place.sql(NAME, "CREATE DATABASE kept")
    restarted = place.good(NAME, **ALONE, restart_id="1", waive=["ranges_steady"])
    assert restarted.steps == [f"reconfigure/{NAME}-0"]
    assert "kept" in str(place.sql(NAME, "SHOW DATABASES"))

    refused = place.refused(NAME, "invalid_option", replicas="3")
    assert refused.msg.startswith("replicas: 1 can never become 3")
