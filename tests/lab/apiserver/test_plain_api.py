# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The plain API server itself: it counts truly, and its least-privilege accounts can do no more than they were given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from audit import AuditLog, parse
from plain_api import CONTROLLERS, PlainApi, PlainApiError, ensure_programs, kubectl

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}


def test_counts_reads_writes_and_dry_runs_apart(plain_api: PlainApi, api_namespace: str) -> None:
    log = plain_api.audit
    mark = log.mark()
    kubectl(plain_api.kubeconfig, "-n", api_namespace, "create", "configmap", "one")
    kubectl(plain_api.kubeconfig, "-n", api_namespace, "create", "configmap", "two", "--dry-run=server")
    kubectl(plain_api.kubeconfig, "-n", api_namespace, "get", "configmap", "one")
    only = {"namespace": api_namespace}
    assert log.count(mark, **only) == {"read": 1, "write": 1, "exec": 0, "dry_run": 1}
    assert log.count(mark, agent="someone-else", **only)["write"] == 0
    assert log.count(mark, agent="kubectl-create", **only)["write"] == 1, "the field manager counts as an agent"
    assert log.count(log.mark(), **only) == {"read": 0, "write": 0, "exec": 0, "dry_run": 0}


def test_an_exec_is_no_write() -> None:
    event = {
        "verb": "create",
        "requestURI": "/api/v1/namespaces/n/pods/p/exec?command=true",
        "user": {"username": "u"},
        "objectRef": {"resource": "pods", "subresource": "exec", "namespace": "n", "name": "p"},
    }
    assert parse(event).kind == "exec"


def test_a_log_of_another_server_is_noticed(plain_api: PlainApi, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="is this the server's log"):
        AuditLog(tmp_path / "audit.log", plain_api.kubeconfig).mark(seconds=0.5)


def test_a_user_may_do_what_its_role_says_and_no_more(
    plain_api: PlainApi, api_namespace: str, api_user: Callable[..., Path]
) -> None:
    user = api_user([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}])
    assert kubectl(user, "get", "configmaps", "-o", "name") == ""
    with pytest.raises(PlainApiError, match="forbidden"):
        kubectl(user, "create", "-f", "-", stdin=CONFIG_MAP)
    with pytest.raises(PlainApiError, match="forbidden"):
        kubectl(user, "get", "nodes")
    wider = api_user(
        [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}],
        [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}],
    )
    mark = plain_api.audit.mark()
    kubectl(wider, "create", "-f", "-", stdin=CONFIG_MAP)
    kubectl(wider, "get", "nodes")
    account = wider.name.removesuffix(".kubeconfig").removeprefix(f"{api_namespace}-")
    counted = plain_api.audit.count(mark, user=f"system:serviceaccount:{api_namespace}:{account}")
    assert counted["write"] == 1
    assert counted["read"] >= 1


def test_controllers_make_the_pods_of_a_statefulset() -> None:
    if why := ensure_programs():
        pytest.skip(why)
    container = {"name": "c", "image": "none:1"}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    spec = {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}}, "template": template}
    with PlainApi(controllers=CONTROLLERS) as api:
        directory = api.directory
        kubectl(
            api.kubeconfig, "create", "-f", "-",
            stdin={"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"}, "spec": spec},
        )  # fmt: skip
        kubectl(api.kubeconfig, "wait", "--for=create", "pod/s-0", "--timeout=20s")
    assert not directory.exists()
