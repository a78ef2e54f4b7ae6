# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The client against a real kube-apiserver without nodes (plugin plain_api), and against the lab's pods.

The second half needs nodes: a kubeconfig in KUBECONFIG or the lab's kind cluster, with the image of KAIWUDB_IMAGE.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.client import Client
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError

pytest.importorskip("kubernetes")


def config_map(namespace: str, name: str = "a", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "t"}},
        "data": data,
    }


@pytest.fixture
def client(plain_api: Any) -> Client:
    return Client({"kubeconfig": str(plain_api.kubeconfig)})


def test_version_and_context(client: Client) -> None:
    assert client.server_version()["major"] == "1"
    assert client.server.startswith("https://")


def test_an_object_from_apply_to_delete(client: Client, api_namespace: str) -> None:
    made = client.apply(config_map(api_namespace, k="1"))
    again = client.apply(config_map(api_namespace, k="1"))
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert client.apply(config_map(api_namespace, k="2"), dry_run=True)["data"] == {"k": "2"}
    live = client.get("ConfigMap", "a", api_namespace)
    assert live is not None and live["data"] == {"k": "1"}
    assert live["metadata"]["managedFields"][0]["manager"] == "kaiwudb.kubernetes"
    with pytest.raises(KubeError) as other:
        client.delete("ConfigMap", "a", api_namespace, uid="00000000-0000-0000-0000-000000000000")
    assert other.value.reason == "Conflict"
    assert client.delete("ConfigMap", "a", api_namespace, uid=live["metadata"]["uid"])
    assert not client.delete("ConfigMap", "a", api_namespace)
    assert client.get("ConfigMap", "a", api_namespace) is None


def test_compare_and_swap(client: Client, api_namespace: str) -> None:
    made = client.create(config_map(api_namespace, k="1"))
    with pytest.raises(KubeError) as twice:
        client.create(config_map(api_namespace, k="1"))
    assert twice.value.reason == "AlreadyExists"
    old = made["metadata"]["resourceVersion"]
    client.patch("ConfigMap", "a", api_namespace, {"metadata": {"resourceVersion": old}, "data": {"k": "2"}})
    with pytest.raises(KubeError) as late:
        client.patch("ConfigMap", "a", api_namespace, {"metadata": {"resourceVersion": old}, "data": {"k": "3"}})
    with pytest.raises(KubeError) as replaced:
        client.replace(made)
    assert late.value.reason == replaced.value.reason == "Conflict"
    test = [{"op": "test", "path": "/data/k", "value": "1"}, {"op": "replace", "path": "/data/k", "value": "9"}]
    with pytest.raises(KubeError) as judged:
        client.patch("ConfigMap", "a", api_namespace, test, type="json")
    assert judged.value.reason == "Conflict"


def test_list_by_label_and_watch_from_there(client: Client, api_namespace: str) -> None:
    for name in ("a", "b"):
        client.create(config_map(api_namespace, name))
    items, version = client.list("ConfigMap", api_namespace, labels={"app": "t"})
    assert [item["metadata"]["name"] for item in items] == ["a", "b"] and items[0]["kind"] == "ConfigMap"
    timer = threading.Timer(0.3, lambda: client.delete("ConfigMap", "a", api_namespace))
    timer.start()
    begun = time.monotonic()
    events = client.watch("ConfigMap", api_namespace, labels={"app": "t"}, resource_version=version, timeout=10)
    kind, seen = next((kind, obj) for kind, obj in events if kind != "BOOKMARK")
    assert (kind, seen["metadata"]["name"]) == ("DELETED", "a") and time.monotonic() - begun < 5
    events.close()
    timer.join()


def test_watch_ends_in_time(client: Client, api_namespace: str) -> None:
    _items, version = client.list("ConfigMap", api_namespace)
    begun = time.monotonic()
    assert [k for k, _o in client.watch("ConfigMap", api_namespace, resource_version=version, timeout=1.2)] == []
    assert 1.0 < time.monotonic() - begun < 4


def test_pages(client: Client, api_namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.client as under_test

    monkeypatch.setattr(under_test, "PAGE", 2)
    for number in range(5):
        client.create(config_map(api_namespace, f"c{number}"))
    items, _version = client.list("ConfigMap", api_namespace, labels="app=t")
    assert len(items) == 5


def test_least_privilege(api_user: Callable[..., Path], api_namespace: str) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
    client = Client({"kubeconfig": str(api_user(rules))})
    assert client.get("ConfigMap", "nothing", api_namespace) is None
    assert client.can_i("get", "configmaps", namespace=api_namespace)
    assert not client.can_i("create", "pods/exec", namespace=api_namespace)
    with pytest.raises(KubeError) as refused:
        client.apply(config_map(api_namespace))
    assert refused.value.status == 403
    text = str(refused.value)
    assert "verb 'patch'" in text and "'configmaps'" in text and api_namespace in text


def test_counts_are_what_the_audit_log_saw(plain_api: Any, api_namespace: str) -> None:
    client = Client({"kubeconfig": str(plain_api.kubeconfig)})
    mark = plain_api.audit.mark()
    client.get("ConfigMap", "a", api_namespace)
    client.apply(config_map(api_namespace), dry_run=True)
    client.apply(config_map(api_namespace))
    client.list("ConfigMap", api_namespace)
    client.can_i("get", "pods", namespace=api_namespace)
    seen = plain_api.audit.count(mark, agent="kaiwudb.kubernetes")
    assert (seen["read"], seen["write"], seen["dry_run"]) == (3, 1, 1)
    assert dict(client.counts) == {"reads": 3, "writes": 1, "execs": 0, "dry_runs": 1}


def test_logs_and_exec_of_a_pod_that_no_one_runs(client: Client, api_namespace: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": api_namespace},
        "spec": {"containers": [{"name": "kaiwudb", "image": "x:1"}], "automountServiceAccountToken": False},
    }
    client.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x", "namespace": api_namespace}})
    pod["spec"]["serviceAccountName"] = "x"
    client.create(pod)
    assert client.logs(api_namespace, "p", "kaiwudb") == ""
    with pytest.raises(KubeError) as caught:
        client.exec(api_namespace, "p", "kaiwudb", ["true"], timeout=5)
    assert caught.value.status >= 400
    with pytest.raises(KubeError) as gone:
        client.exec(api_namespace, "q", "kaiwudb", ["true"], timeout=5)
    assert gone.value.reason == "NotFound" and gone.value.name == "q"


# ---- with nodes


LAB = Path(os.environ.get("KUBECONFIG") or Path(__file__).resolve().parents[2] / ".lab" / "kubeconfig")
IMAGE = os.environ.get("KAIWUDB_IMAGE", "kwdb-standin:3.2.1")
SERVE = "exec nc -ll -p 26257 -e cat"  # an echo


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[Client, str]]:
    """A client and a namespace with a running pod ``kw-0`` whose port 26257 sends back what it gets."""
    if not LAB.is_file():
        pytest.skip("no cluster with nodes: neither KUBECONFIG nor .lab/kubeconfig")
    client = Client({"kubeconfig": str(LAB)}, first_retry_seconds=1)
    namespace = f"t-{secrets.token_hex(4)}"
    try:
        client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    except KubeError as error:
        pytest.skip(f"no cluster with nodes: {error}")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "t", "namespace": namespace}}
    container = {"name": "kaiwudb", "image": IMAGE, "command": ["/bin/sh", "-c", SERVE], "tty": False}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kw-0", "namespace": namespace},
        "spec": {"serviceAccountName": "t", "terminationGracePeriodSeconds": 0, "containers": [container]},
    }
    try:
        client.create(account)
        client.create(pod)
        deadline = time.monotonic() + 60
        for _kind, seen in client.watch("Pod", namespace, timeout=60):
            if seen.get("status", {}).get("phase") == "Running":
                break
        assert time.monotonic() < deadline, "the pod did not start in 60 s"
        yield client, namespace
    finally:
        client.delete("Namespace", namespace, propagation="Background")


def test_exec_keeps_exit_code_and_streams_apart(lab: tuple[Client, str]) -> None:
    client, namespace = lab
    done = client.exec(namespace, "kw-0", "kaiwudb", ["sh", "-c", "echo out; echo err >&2; exit 7"], timeout=20)
    assert (done.rc, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_exec_of_a_large_text_in_whole_characters(lab: tuple[Client, str]) -> None:
    client, namespace = lab
    script = "yes é雪 | head -n 200000"
    done = client.exec(namespace, "kw-0", "kaiwudb", ["sh", "-c", script], timeout=30)
    assert done.rc == 0 and done.stdout == "é雪\n" * 200000


def test_exec_with_an_input_that_ends(lab: tuple[Client, str]) -> None:
    client, namespace = lab
    done = client.exec(namespace, "kw-0", "kaiwudb", ["cat"], timeout=20, stdin="wörld\n" * 50000)
    assert done.stdout == "wörld\n" * 50000


def test_exec_bounded_in_the_container(lab: tuple[Client, str]) -> None:
    client, namespace = lab
    done = client.exec(namespace, "kw-0", "kaiwudb", ["timeout", "-s", "KILL", "1", "sleep", "30"], timeout=20)
    assert done.rc in (124, 137)


def test_exec_that_hangs_and_one_that_cannot_start(lab: tuple[Client, str]) -> None:
    client, namespace = lab
    with pytest.raises(KubeError) as late:
        client.exec(namespace, "kw-0", "kaiwudb", ["sleep", "5"], timeout=1)
    assert late.value.reason == "ExecTimeout"
    with pytest.raises(KubeError) as missing:
        client.exec(namespace, "kw-0", "kaiwudb", ["/no/such/program"], timeout=10)
    assert missing.value.reason == "ExecFailed" and "/no/such/program" in str(missing.value)


@pytest.mark.parametrize("bind", [("127.0.0.1", 0), None], ids=["tcp", "unix"])
def test_port_forward(lab: tuple[Client, str], bind: tuple[str, int] | None) -> None:
    client, namespace = lab
    blob = os.urandom(1_000_000)
    with client.port_forward(namespace, "kw-0", 26257, bind=bind) as address:
        if bind:
            connection = socket.create_connection(address)
        else:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(f"{address[0]}/.s.PGSQL.{address[1]}")
        with connection:
            connection.settimeout(20)
            threading.Thread(target=connection.sendall, args=(blob,), daemon=True).start()
            got = b""
            while len(got) < len(blob):
                got += connection.recv(65536)
    assert got == blob


def test_port_forward_to_a_port_that_no_one_serves(lab: tuple[Client, str]) -> None:
    client, namespace = lab
    relay = client.port_forward(namespace, "kw-0", 4444)
    with relay as address, socket.create_connection(address) as connection:
        connection.settimeout(10)
        with suppress(ConnectionResetError, BrokenPipeError):  # the end may show as a reset
            connection.sendall(b"x")
            assert connection.recv(1) == b""
    assert relay.error is not None and "refused" in relay.error.message
