# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pod a port-forward goes to."""

from __future__ import annotations

from ansible_collections.kaiwudb.kubernetes.plugins.modules.kaiwudb_port_forward import target


def pod(
    name: str, *, ready: bool = True, phase: str = "Running", leaving: bool = False, container: str = "kaiwudb"
) -> dict:
    metadata = {"name": name} | ({"deletionTimestamp": "2026-11-23T12:00:00Z"} if leaving else {})
    ports = [{"name": "sql", "containerPort": 26257}, {"name": "http", "containerPort": 8081}]
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": "other"}, {"name": container, "ports": ports}]},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def test_a_ready_pod_goes_before_one_that_only_runs():
    assert target([pod("kw-0", ready=False), pod("kw-1")], "http") == ("kw-1", 8081)


def test_a_pod_that_only_runs_serves_where_none_is_ready():
    assert target([pod("kw-1", ready=False), pod("kw-0", ready=False)], "sql") == ("kw-0", 26257)


def test_a_pod_that_is_leaving_or_not_running_is_not_taken():
    assert target([pod("kw-0", leaving=True), pod("kw-1", phase="Pending")], "http") is None


def test_only_the_database_container_counts():
    assert target([pod("kw-0", container="sidecar")], "http") is None


def test_a_pod_without_status_is_no_error():
    assert target([{"metadata": {"name": "kw-0"}, "spec": {"containers": []}}], "http") is None
