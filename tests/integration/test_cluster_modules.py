# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The cluster's modules against a real kube-apiserver without nodes: what is sent, what is refused, what is written.

The Kubernetes nodes are objects only and no controller runs, so pods never come: everything up to the first wait for
them is real. Modules run in this process, from their arguments to the JSON they print.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import manifests
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.compare import differences
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.options import OPTIONS
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.spec import parse_asked, resolve
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.client import Client

pytest.importorskip("kubernetes")
testing = pytest.importorskip(
    "ansible.module_utils.testing", reason="ansible-core 2.17 or newer gives modules their arguments"
)

REPO = Path(__file__).resolve().parents[2]
IMAGE = "kwdb/kwdb:3.2.1"
OBJECTS = [
    "create/ServiceAccount/kw",
    "create/Service/kw",
    "create/Service/kw-public",
    "create/PodDisruptionBudget/kw-budget",
]
VOLUMES = ["volume/kw-0", "volume/kw-1", "volume/kw-2"]
CREATED = [*OBJECTS, *VOLUMES, "create/StatefulSet/kw"]
Module = Callable[..., dict[str, Any]]


def call(module: str, arguments: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    """What the module prints, given these arguments."""
    given = {key: value for key, value in arguments.items() if value is not None}
    given |= {"_ansible_check_mode": check, "_ansible_diff": True}
    main = importlib.import_module(f"ansible_collections.kaiwudb.kubernetes.plugins.modules.{module}").main
    with (
        testing.patch_module_args(given),
        contextlib.redirect_stdout(io.StringIO()) as printed,
        pytest.raises(SystemExit),
    ):
        main()
    return dict(json.loads(printed.getvalue()))


@pytest.fixture(scope="module")
def admin(plain_api: Any) -> Client:
    return Client({"kubeconfig": str(plain_api.kubeconfig)})


@pytest.fixture(scope="module")
def workers(admin: Client) -> Iterator[list[str]]:
    """Three Kubernetes nodes that are ready, as far as the API server can tell."""
    names = ["w1", "w2", "w3"]
    for name in names:
        admin.create(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}
        )
        admin.patch(
            "Node", name, None, {"spec": {"taints": None}}
        )  # the API server taints a node that nobody reports on
        admin.patch(
            "Node", name, None, {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, subresource="status"
        )
    yield names
    for name in names:
        admin.delete("Node", name)


@pytest.fixture
def cluster(plain_api: Any, api_namespace: str, workers: list[str]) -> Module:
    """``kaiwudb_cluster`` for kw in a fresh namespace; another ``module`` where one is named."""

    def run(*, check: bool = False, module: str = "kaiwudb_cluster", **options: Any) -> dict[str, Any]:
        base = {"kubeconfig": str(plain_api.kubeconfig), "name": "kw", "namespace": api_namespace}
        if module in ("kaiwudb_cluster", "kaiwudb_local_volume") and options.get("state") != "absent":
            base |= {"image": IMAGE, "local_pv_prepare": "none"} | (
                {"security": "insecure"} if module == "kaiwudb_cluster" else {}
            )
        return call(module, base | options, check=check)

    return run


@pytest.fixture
def sent(plain_api: Any) -> Callable[[], Any]:
    """``sent()``: requests of the administrator since the test began, and since it was called last."""
    mark = plain_api.audit.mark()

    def since() -> list[Any]:
        nonlocal mark
        found: list[Any]
        found, mark = plain_api.audit.take(mark, user="kubernetes-admin")
        return found

    return since


def writes(requests: list[Any]) -> list[str]:
    return [f"{item.verb} {item.resource}" for item in requests if item.kind != "read"]


# ---- input

BAD: dict[str, tuple[Any, str]] = {
    "name": ("Not_A_Label", "allowed are at most 40 of a-z"), "namespace": ("x" * 64, "allowed are at most 63 of a-z"),
    "create_namespace": ("maybe", "allowed are true and false"), "engine": ("mysql", "allowed are kwdb, kwdb2, bini"),
    "image": ("kwdb/kwdb", "allowed are NAME:TAG and NAME@sha256:"), "image_pull_policy": ("Sometimes", "allowed are Always, IfNotPresent, Never"),
    "image_pull_secrets": (["A"], "allowed are labels of a-z"), "security": ("hope", "allowed are insecure"),
    "replicas": ("2", "allowed are 3 and more"), "single_node": ("perhaps", "allowed are true and false"),
    "storage_size": ("ten", "allowed are positive numbers with one of the units"), "storage": ("nfs", "allowed are local, dynamic"),
    "storage_class": ("A_B", "allowed are labels of a-z"), "local_path": ("../x", "allowed is such as /var/lib/kaiwudb"),
    "local_nodes": ("W1", "allowed are labels of a-z"), "local_pv_prepare": ("by hand", "allowed are pod, ssh, none"),
    "volumes": ("keep", "allowed are retain, archive, delete, wipe"), "cpu": ("0", "allowed are positive numbers"),
    "memory": ("lots", "allowed are positive numbers"), "resources": ("x", "neither a dict nor JSON"), "env": ("x", "neither a dict nor JSON"),
    "sql_port": ("0", "allowed are 1 to 65535"), "http_port": ("70000", "allowed are 1 to 65535"), "brpc_port": ("x", "is no whole number"),
    "cluster_domain": ("a..b", "allowed are labels of a-z"), "anti_affinity": ("none", "allowed are required, preferred"),
    "locality": ("rack", "allowed are zone, none"),
    "node_selector": ("x", "neither a dict nor JSON"), "tolerations": ("x", "neither a list nor JSON"), "pod_labels": ("[]", "must be a dict"),
    "pod_annotations": ("[]", "must be a dict"), "pod_security_context": ("[]", "must be a dict"), "container_security_context": ("[]", "must be a dict"),
    "priority_class": ("High", "allowed are labels of a-z"), "pre_stop_seconds": ("-1", "allowed are 0 and more"),
    "termination_grace_period": ("0", "allowed are 1 and more"), "pod_overrides": ("[]", "must be a dict"),
    "service_type": ("Magic", "allowed are ClusterIP, NodePort, LoadBalancer"), "service_annotations": ("[]", "must be a dict"),
    "sql_node_port": ("99999", "allowed are 1 to 65535"), "ui": ("ingress", "allowed are none, nodeport"), "ui_node_port": ("0", "allowed are 1 to 65535"),
    "deletion_protection": ("hm", "allowed are true and false"), "operations": (["destroy"], "allowed are create, initialize"),
    "waive": (["nodes_needed"], "allowed are nodes_live"), "max_runtime": ("soon", "is no whole number"), "wait_timeout": ("1", "allowed are 10 and more"),
    "stall_timeout": ("1", "allowed are 10 and more"), "soak": ("-1", "allowed are 0 and more"),
    "pause_after": ("-1", "allowed are 0 and more"), "pre_pull": ("perhaps", "allowed are true and false"),
    "on_failure": ("hope", "allowed are stop, rollback"), "paused": ("a bit", "allowed are true and false"),
}  # fmt: skip


def test_bad_input_costs_no_request(cluster: Module, sent: Callable[[], Any]) -> None:
    """Every option that can be wrong, and the combinations: the answer names the option and what is allowed."""
    assert set(BAD) == {option.name for option in OPTIONS} - {
        "binary",
        "cache",
        "max_sql_memory",
        "extra_args",
        "restart_id",
        "confirm",
    }
    sent()
    for option, (value, allowed) in BAD.items():
        failed = cluster(**{option: value})
        assert failed["failed"] and failed["reason"] == "invalid_option" and failed["option"] == option, failed
        assert failed["msg"].startswith(f"{option}: ") and allowed in failed["msg"] and not failed["resumable"], failed
    for options, option in (
        ({"replicas": 1}, "replicas"), ({"replicas": "0"}, "replicas"), ({"replicas": 5, "single_node": "true"}, "replicas"),
        ({"name": "kwbase"}, "name"), ({"engine": "bini", "brpc_port": 1}, "brpc_port"), ({"state": "absent"}, "confirm"),
        ({"state": "absent", "confirm": "another"}, "confirm"), ({"module": "kaiwudb_local_volume", "storage_size": "-1Gi"}, "storage_size"),
        ({"module": "kaiwudb_cluster_info", "name": "A"}, "name"),
        *(({"module": "kaiwudb_node_decommission", "node": node}, "node") for node in ("other-3", "kw-9-3", "kw-", "kw", "id=", "id=x", "-1", "3.0")),
    ):  # fmt: skip
        failed = cluster(**options)
        assert (
            failed["failed"]
            and failed["option"] == option
            and ("allowed" in failed["msg"] or "leave it out" in failed["msg"])
        ), failed
    assert "state" in cluster(state="gone")["msg"] and cluster(name=None)["failed"]
    assert sent() == []


@pytest.mark.parametrize(
    ("options", "reason", "says"),
    [
        ({"context": "nowhere"}, "configinvalid", "nowhere"),
        ({"expect_server": "https://another.example:6443"}, "wrongserver", "https://another.example:6443"),
        ({"kubeconfig": "/nonexistent/kubeconfig"}, "configinvalid", "/nonexistent/kubeconfig"),
    ],
)
def test_a_wrong_server_costs_no_request(
    cluster: Module, sent: Callable[[], Any], options: dict[str, str], reason: str, says: str
) -> None:
    failed = cluster(**options)
    assert failed["failed"] and failed["reason"].endswith(reason) and says in failed["msg"], failed
    assert failed["msg"].endswith(". Nothing was changed.")
    assert sent() == []


def test_the_expected_server_is_accepted(plain_api: Any, cluster: Module) -> None:
    done = cluster(check=True, expect_server=plain_api.url)
    assert not done.get("failed") and done["server"] == plain_api.url and done["context"] == "plain"


def test_no_server_at_all(cluster: Module, plain_api: Any) -> None:
    begun = time.monotonic()
    failed = cluster(kubeconfig=None, host="https://127.0.0.1:1", api_key="secret-token-1", validate_certs=False)
    assert failed["failed"] and "127.0.0.1:1" in failed["msg"] and failed["resumable"] and time.monotonic() - begun < 15
    assert "secret-token-1" not in json.dumps(failed)


# ---- check mode


def test_check_mode_from_nothing_writes_nothing(cluster: Module, sent: Callable[[], Any], api_namespace: str) -> None:
    found = cluster(check=True, replicas="3")
    assert found["steps"] == [step["id"] for step in found["plan"]["steps"]] == [*CREATED, "initialize"]
    assert found["changed"] and not found["in_progress"] and found["remaining"] == []
    assert (
        found["diff"]["before"] == ""
        and f"PersistentVolume/{api_namespace}.kw-0: 10Gi on w1\n" in found["diff"]["after"]
    )
    assert found["plan_lines"][0] == f"kw: create 3 nodes of {IMAGE} in {api_namespace}"
    requests = sent()
    assert writes(requests) == [] and found["requests"] == {
        "reads": len(requests),
        "writes": 0,
        "execs": 0,
        "dry_runs": 0,
    }


def test_survey_strings(cluster: Module) -> None:
    empty = dict.fromkeys(
        (
            option.name
            for option in OPTIONS
            if option.name not in ("name", "namespace", "image", "security", "local_pv_prepare")
        ),
        "",
    )
    assert cluster(check=True, **empty)["steps"] == [*CREATED, "initialize"]
    assert cluster(check=True, single_node="true", replicas="1")["steps"] == [
        *OBJECTS,
        "volume/kw-0",
        "create/StatefulSet/kw",
        "remember",
    ]
    assert cluster(check=True, operations="create,initialize", anti_affinity="preferred", replicas="4")["steps"][-3:] == [
        "volume/kw-3", "create/StatefulSet/kw", "initialize"]  # fmt: skip


def test_what_needs_a_look_costs_no_write(cluster: Module, sent: Callable[[], Any]) -> None:
    too_few = cluster(replicas=4)
    assert too_few["reason"] == "no_node" and "kw-3" in too_few["msg"] and "w1 already holds one" in too_few["msg"]
    dynamic = cluster(replicas=4, storage="dynamic")
    assert dynamic["reason"] == "no_node" and "4 replicas need as many Kubernetes nodes" in dynamic["msg"]
    assert cluster(local_nodes="w1,w2,ghost")["msg"].count("ghost does not exist") == 1
    assert cluster(namespace="is-not-there")["reason"] == "namespace_missing"
    assert cluster(operations=["upgrade"])["reason"] == "operation_not_allowed"
    assert writes(sent()) == []


def test_nothing_there_is_an_answer(cluster: Module, sent: Callable[[], Any]) -> None:
    found = cluster(module="kaiwudb_cluster_info")
    assert (found["exists"], found["changed"], found["nodes"], found["plan"]) == (False, False, [], None)
    gone = cluster(state="absent", confirm="kw", volumes="wipe")
    assert not gone["changed"] and gone["steps"] == [] and not gone.get("failed"), gone
    node = cluster(module="kaiwudb_node_decommission", node="0")
    assert node["reason"] == "no_cluster"
    assert writes(sent()) == []


# ---- rights and objects of others


def _rules(file: str) -> list[dict[str, Any]]:
    return next(
        item["rules"]
        for item in yaml.safe_load_all((REPO / "examples" / "rbac" / file).read_text())
        if "Role" in item["kind"]
    )


def test_missing_rights_are_named_before_anything_is_written(
    plain_api: Any, cluster: Module, api_user: Callable[..., Path]
) -> None:
    rules = [
        {**rule, "verbs": [verb for verb in rule["verbs"] if verb not in ("create", "patch", "delete", "update")]}
        if set(rule["resources"]) & {"statefulsets", "leases"} else rule for rule in _rules("role.yml")
    ]  # fmt: skip
    user = api_user(
        rules, [{"apiGroups": [""], "resources": ["persistentvolumes", "nodes"], "verbs": ["get", "list", "watch"]}]
    )
    mark = plain_api.audit.mark()
    failed = cluster(kubeconfig=str(user))
    assert (
        failed["reason"] == "forbidden" and "Nothing was changed" in failed["msg"] and "examples/rbac" in failed["msg"]
    ), failed
    assert {"create leases", "patch leases", "patch statefulsets", "patch persistentvolumes"} <= set(failed["missing"])
    assert "patch persistentvolumes cluster-wide" in failed["msg"] and "patch services" not in failed["msg"]
    assert [item for item in plain_api.audit.since(mark) if item.kind != "read" and "serviceaccount" in item.user] == []


def test_a_right_to_look_is_named_too(cluster: Module, api_user: Callable[..., Path], api_namespace: str) -> None:
    failed = cluster(kubeconfig=str(api_user([{"apiGroups": [""], "resources": ["services"], "verbs": ["list"]}])))
    assert failed["failed"] and failed["reason"].endswith("forbidden"), failed
    assert "verb 'list' on resource 'statefulsets.apps'" in failed["msg"] and api_namespace in failed["msg"]


@pytest.mark.parametrize(
    ("kind", "name", "body"),
    [
        ("Service", "kw", {"spec": {"clusterIP": "None", "ports": [{"port": 1}]}}),
        ("ServiceAccount", "kw", {}),
        ("PodDisruptionBudget", "kw-budget", {"spec": {"maxUnavailable": 1}}),
    ],
)
def test_objects_of_others_are_never_taken_over(
    cluster: Module,
    admin: Client,
    sent: Callable[[], Any],
    api_namespace: str,
    kind: str,
    name: str,
    body: dict[str, Any],
) -> None:
    api = "policy/v1" if kind == "PodDisruptionBudget" else "v1"
    made = admin.create(
        {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": api_namespace}, **body}
    )
    sent()
    failed = cluster()
    assert failed["reason"] == "foreign_object" and f"{kind} {name} exists in {api_namespace}" in failed["msg"], failed
    assert writes(sent()) == []
    live = admin.get(kind, name, api_namespace)
    assert live is not None and live["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_a_volume_of_others_is_never_taken_over(
    cluster: Module, admin: Client, sent: Callable[[], Any], api_namespace: str
) -> None:
    made = manifests.volume(
        resolve(parse_asked({"name": "kw", "namespace": api_namespace, "image": IMAGE, "security": "insecure"}), None),
        1,
        "w1",
    )
    made["metadata"]["labels"] = {"somebody": "else"}
    admin.create(made)
    sent()
    assert cluster()["reason"] == "foreign_object"
    assert writes(sent()) == []
    admin.delete("PersistentVolume", made["metadata"]["name"])


# ---- creating, as far as it goes without nodes


@pytest.fixture
def created(cluster: Module, admin: Client, api_namespace: str) -> Iterator[dict[str, Any]]:
    """The cluster's objects; the run waits for pods that nobody starts, until its time is over. A slow machine needs several runs."""
    steps: list[str] = []
    for _attempt in range(20):
        made = cluster(operations=["create"], max_runtime=1, ui="nodeport", cpu="0.5", memory="1024Mi", resources="")
        steps += made.get("steps", ())
        if made.get("failed") or admin.get("StatefulSet", "kw", api_namespace) is not None:
            break
    yield {**made, "steps": steps, "changed": made["changed"] or bool(steps)}
    for ordinal in range(3):
        admin.delete("PersistentVolume", f"{api_namespace}.kw-{ordinal}")


STEPS = [*OBJECTS[:3], "create/Service/kw-ui", OBJECTS[3], *VOLUMES, "create/StatefulSet/kw"]


def test_objects_are_as_rendered(created: dict[str, Any], admin: Client, api_namespace: str) -> None:
    assert created["in_progress"] and created["changed"] and not created.get("failed"), created
    assert created["at"] == "create/StatefulSet/kw" and [*created["steps"], created["at"]] == STEPS
    assert created["remaining"] == ["initialize"] and "run again to continue" in created["msg"]
    asked = {"name": "kw", "namespace": api_namespace, "image": IMAGE, "security": "insecure", "ui": "nodeport", "cpu": "0.5", "memory": "1024Mi",
             "local_pv_prepare": "none"}  # fmt: skip
    of = resolve(parse_asked(asked), None)
    profile = PROFILES["kwdb"]
    wanted = [*manifests.objects(of, profile), manifests.statefulset(of, profile, sleep_action=True)]
    wanted += [manifests.volume(of, ordinal, f"w{ordinal + 1}") for ordinal in range(3)]
    for item in wanted:
        live = admin.get(item["kind"], item["metadata"]["name"], item["metadata"].get("namespace"))
        assert live is not None, item["metadata"]["name"]
        assert differences({key: value for key, value in item.items() if key not in ("apiVersion", "kind")}, live) == {}
    journal = admin.get("ConfigMap", "kw-journal", api_namespace)
    lease = admin.get("Lease", "kw-lock", api_namespace)
    assert journal is not None and lease is not None
    operation = json.loads(journal["data"]["journal"])["operation"]
    assert (operation["name"], operation["step"], operation["image"], operation["replicas"]) == (
        "create",
        "create/StatefulSet/kw",
        IMAGE,
        3,
    )


def test_the_same_again_touches_no_object(created: dict[str, Any], cluster: Module, sent: Callable[[], Any]) -> None:
    sent()
    again = cluster(operations=["create"], max_runtime=1, ui="nodeport", cpu="500m", memory="1Gi")
    assert again["in_progress"] and again["steps"] == [] and again["at"] == "create/StatefulSet/kw", again
    assert set(writes(sent())) <= {"patch leases", "patch configmaps", "create leases"}, "only lock and journal"


def test_what_was_deleted_or_edited_is_mended_and_nothing_else(
    created: dict[str, Any], cluster: Module, admin: Client, sent: Callable[[], Any], api_namespace: str
) -> None:
    admin.delete("PodDisruptionBudget", "kw-budget", api_namespace)
    admin.patch("Service", "kw-public", api_namespace, {"spec": {"selector": {"extra": "x"}}})
    sent()
    mended = cluster(operations=["create", "reconfigure"], max_runtime=1)
    assert set(mended["steps"]) == {"create/PodDisruptionBudget/kw-budget", "repair/Service/kw-public"}, mended
    touched = [item for item in writes(sent()) if not item.endswith((" leases", " configmaps"))]
    assert sorted(touched) == ["patch poddisruptionbudgets", "patch services"]
    live = admin.get("Service", "kw-public", api_namespace)
    assert live is not None and "extra" not in live["spec"]["selector"]


def test_what_a_live_cluster_cannot_change_costs_no_write(
    created: dict[str, Any], cluster: Module, sent: Callable[[], Any]
) -> None:
    sent()
    for options, says in (
        ({"storage_size": "5Gi"}, "5Gi would shrink the volumes from 10Gi; allowed are 10Gi and more"), ({"storage": "dynamic"}, "allowed is 'local'"),
        ({"sql_port": 5}, "it is 26257, asked is 5"), ({"single_node": True, "replicas": 1}, "single_node: cannot change"),
        ({"engine": "kwdb2"}, "it is 'kwdb', asked is 'kwdb2'"),
    ):  # fmt: skip
        failed = cluster(**options)
        assert failed["reason"] == "invalid_option" and says in failed["msg"] and not failed["resumable"], failed
    shown = cluster(module="kaiwudb_cluster_info")
    assert (
        shown["exists"]
        and shown["cluster"]["replicas"] == 3
        and shown["cluster"]["initialized"] is False
        and shown["ranges"] is None
    )
    assert [node["pod"] for node in shown["nodes"]] == ["kw-0", "kw-1", "kw-2"] and "initialize" in shown["drift"]
    assert [volume["kubernetes_node"] for volume in shown["volumes"]] == ["w1", "w2", "w3"]
    removal = cluster(check=True, state="absent", confirm="kw", volumes="delete")
    assert removal["steps"] == ["remove/statefulset", "remove/objects", "remove/volumes", "remove/journal"], removal
    assert writes(sent()) == []


def test_another_run_that_renews_its_lock_is_not_disturbed(
    created: dict[str, Any], cluster: Module, admin: Client, sent: Callable[[], Any], api_namespace: str
) -> None:
    stop = threading.Event()

    def renew() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            stamp = f"2026-11-23T09:41:{count % 60:02}.000000Z"
            spec = {
                "holderIdentity": "awx-job-4711 on awx-7/run",
                "acquireTime": "2026-11-23T09:40:00.000000Z",
                "renewTime": stamp,
            }
            admin.patch("Lease", "kw-lock", api_namespace, {"spec": spec})
            stop.wait(0.3)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        begun = time.monotonic()
        refused = cluster(operations=["create"], max_runtime=30)
        waited = time.monotonic() - begun
    finally:
        stop.set()
        thread.join()
    assert refused["reason"] == "locked" and refused["holder"] == "awx-job-4711 on awx-7" and waited < 10, refused
    assert "since 2026-11-23T09:40:00 UTC (create create/StatefulSet/kw)" in refused["msg"]


# ---- volumes alone


def test_volumes_alone(cluster: Module, admin: Client, sent: Callable[[], Any], api_namespace: str) -> None:
    names = [f"{api_namespace}.kw-{ordinal}" for ordinal in range(3)]
    check = cluster(module="kaiwudb_local_volume", check=True, storage_size="7Gi")
    assert check["steps"] == VOLUMES and writes(sent()) == []
    there = cluster(module="kaiwudb_local_volume", check=True, image=None, local_pv_prepare="ssh", local_path="/data")
    assert [entry["directory"] for entry in there["plan"]["new_volumes"]] == [f"/data/{name}" for name in names], there
    assert {entry["node"] for entry in there["plan"]["new_volumes"]} == {"w1", "w2", "w3"} and writes(sent()) == []
    made = cluster(module="kaiwudb_local_volume", storage_size="7Gi")
    assert made["steps"] == VOLUMES and made["changed"] and not made["in_progress"], made
    assert [item for item in writes(sent()) if item.endswith("persistentvolumes")] == ["patch persistentvolumes"] * 3
    again = cluster(module="kaiwudb_local_volume", storage_size="7Gi")
    assert not again["changed"] and again["steps"] == [] and writes(sent()) == []
    assert cluster(check=True, storage_size="7Gi")["steps"] == [*OBJECTS, "create/StatefulSet/kw", "initialize"], (
        "the cluster finds them"
    )
    sent()
    going = cluster(module="kaiwudb_local_volume", state="absent", confirm="kw", volumes="delete", slice=1)
    assert going.get("in_progress") and going["at"] == "remove/volumes", going
    for name in names:  # the controller that would lift the protection of volumes does not run here
        volume = admin.get("PersistentVolume", name)
        assert volume is not None and volume["metadata"]["deletionTimestamp"]
        admin.patch("PersistentVolume", name, None, {"metadata": {"finalizers": None}})
    sent()
    assert not cluster(module="kaiwudb_local_volume", state="absent", confirm="kw", volumes="delete")["changed"]
    assert writes(sent()) == []
