# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Every option reaches the object it is about, and the traps met on real clusters stay shut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import manifests
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.manifests import merged
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.names import Names
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.options import OPTIONS
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.spec import Spec, parse_asked, resolve
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    LABELS,
    NAMES,
    OLD,
    POD_LABELS,
    REQUIRED,
    spec,
)


def workload(of: Spec | None = None, sleep_action: bool = True) -> dict[str, Any]:
    of = of or spec()
    return manifests.statefulset(of, PROFILES[of.engine], sleep_action=sleep_action)


def pod_spec(**asked: Any) -> dict[str, Any]:
    return workload(spec(**asked))["spec"]["template"]["spec"]


def database(**asked: Any) -> dict[str, Any]:
    return pod_spec(**asked)["containers"][0]


def objects(**asked: Any) -> dict[str, dict[str, Any]]:
    of = spec(**asked)
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in manifests.objects(of, PROFILES[of.engine])}


def argument(name: str, **asked: Any) -> str:
    return next(word for word in database(**asked)["command"] if word.startswith(f"--{name}=")).partition("=")[2]


# ---- objects beside the StatefulSet


def test_services_budget_and_account() -> None:
    found = objects()
    assert list(found) == ["ServiceAccount/kw", "Service/kw", "Service/kw-public", "PodDisruptionBudget/kw-budget"]
    sql = {"name": "sql", "port": 26257, "targetPort": "sql", "protocol": "TCP"}
    http = {"name": "http", "port": 8080, "targetPort": "http", "protocol": "TCP"}
    brpc = {"name": "brpc", "port": 27257, "targetPort": "brpc", "protocol": "TCP"}
    assert found["Service/kw"]["spec"] == {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": POD_LABELS,
        "ports": [sql, http, brpc],
    }
    assert found["Service/kw-public"]["spec"] == {"type": "ClusterIP", "selector": POD_LABELS, "ports": [sql, http]}
    assert found["PodDisruptionBudget/kw-budget"]["spec"] == {
        "maxUnavailable": 1,
        "selector": {"matchLabels": POD_LABELS},
    }
    assert found["ServiceAccount/kw"]["automountServiceAccountToken"] is False
    for item in found.values():
        assert item["metadata"]["namespace"] == "db" and item["metadata"]["labels"] == LABELS
    assert "annotations" not in found["Service/kw-public"]["metadata"]


def test_options_of_services() -> None:
    found = objects(service_type="NodePort", sql_node_port=30257, service_annotations={"a": "b"}, sql_port=1, http_port=2, brpc_port=3,
                    ui="nodeport", ui_node_port=30080)  # fmt: skip
    public = found["Service/kw-public"]
    assert public["spec"]["type"] == "NodePort" and public["metadata"]["annotations"] == {"a": "b"}
    assert [(port["name"], port["port"], port.get("nodePort")) for port in public["spec"]["ports"]] == [
        ("sql", 1, 30257),
        ("http", 2, None),
    ]
    assert [(port["name"], port["port"]) for port in found["Service/kw"]["spec"]["ports"]] == [
        ("sql", 1),
        ("http", 2),
        ("brpc", 3),
    ]
    assert found["Service/kw-ui"]["spec"] == {
        "type": "NodePort", "selector": POD_LABELS,
        "ports": [{"name": "http", "port": 2, "targetPort": "http", "protocol": "TCP", "nodePort": 30080}]}  # fmt: skip


def test_the_ui_never_opens_sql() -> None:
    assert [port["name"] for port in objects(ui="nodeport")["Service/kw-ui"]["spec"]["ports"]] == ["http"]
    assert "Service/kw-ui" not in objects(ui="none")


def test_nothing_is_called_kwbase() -> None:
    """A Service of that name would set KWBASE_PORT in every pod of the namespace."""
    assert not [name for name in [*objects(ui="nodeport"), workload()["metadata"]["name"]] if name.endswith("kwbase")]
    assert pod_spec()["enableServiceLinks"] is False


@pytest.mark.parametrize("engine", ["kwdb2", "bini"])
def test_no_second_port_where_the_engine_has_none(engine: str) -> None:
    found = objects(engine=engine)["Service/kw"]["spec"]["ports"]
    assert [port["name"] for port in found] == ["sql", "http"]
    container = database(engine=engine)
    assert [port["name"] for port in container["ports"]] == ["sql", "http"]
    assert not any("brpc" in word for word in container["command"])


# ---- StatefulSet


def test_statefulset_without_its_template() -> None:
    made = workload(spec(replicas=5, storage_size="7Gi", storage_class="mine"))
    template = made["spec"].pop("template")
    assert template["metadata"] == {"labels": {**LABELS, "app.kubernetes.io/component": "database"}}
    claim = {"metadata": {"name": "datadir", "labels": LABELS},
             "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "7Gi"}}, "storageClassName": "mine"}}  # fmt: skip
    assert made["spec"] == {
        "replicas": 5, "serviceName": "kw", "podManagementPolicy": "Parallel", "selector": {"matchLabels": POD_LABELS},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}, "volumeClaimTemplates": [claim],
    }  # fmt: skip
    assert json.loads(made["metadata"]["annotations"]["kaiwudb.kubernetes/options"])["storage_size"] == "7Gi"
    assert "storageClassName" not in workload(spec(storage="dynamic"))["spec"]["volumeClaimTemplates"][0]["spec"]


def test_the_default_pod() -> None:
    made = pod_spec()
    container = made.pop("containers")[0]
    assert made == {
        "serviceAccountName": "kw", "automountServiceAccountToken": False, "enableServiceLinks": False, "terminationGracePeriodSeconds": 120,
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": POD_LABELS}, "topologyKey": "kubernetes.io/hostname"}]}},
    }  # fmt: skip
    host = "kw.db.svc.cluster.local"
    assert container == {
        "name": "kaiwudb", "image": OLD, "imagePullPolicy": "IfNotPresent",
        "command": [
            "/kaiwudb/bin/kwbase", "start", "--logtostderr", "--insecure", "--listen-addr=0.0.0.0:26257",
            f"--advertise-addr=$(POD_NAME).{host}:26257", "--http-addr=0.0.0.0:8080", "--brpc-addr=0.0.0.0:27257",
            "--store=/kaiwudb/deploy/kaiwudb-container", "--cache=.25", "--max-sql-memory=.25",
            f"--join=kw-0.{host}:26257,kw-1.{host}:26257,kw-2.{host}:26257"],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                {"name": "LD_LIBRARY_PATH", "value": "/kaiwudb/lib"}],
        "ports": [{"name": "sql", "containerPort": 26257, "protocol": "TCP"}, {"name": "http", "containerPort": 8080, "protocol": "TCP"},
                  {"name": "brpc", "containerPort": 27257, "protocol": "TCP"}],
        "startupProbe": {"httpGet": {"path": "/health", "port": "http", "scheme": "HTTP"}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 1800},
        "livenessProbe": {"httpGet": {"path": "/health", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {"httpGet": {"path": "/health?ready=1", "port": "http", "scheme": "HTTP"}, "periodSeconds": 2, "timeoutSeconds": 5,
                           "failureThreshold": 2},
        "volumeMounts": [{"name": "datadir", "mountPath": "/kaiwudb/deploy/kaiwudb-container"}],
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
    }  # fmt: skip


@pytest.mark.parametrize("replicas", [3, 4, 9])
def test_the_join_list_never_changes_with_the_number_of_nodes(replicas: int) -> None:
    """Another join list is another template: growing would restart every pod."""
    assert workload(spec(replicas=replicas))["spec"]["template"] == workload()["spec"]["template"]


def test_a_single_node_starts_alone() -> None:
    command = database(single_node=True)["command"]
    assert command[1] == "start-single-node" and not any(word.startswith(("--join", "--brpc-addr")) for word in command)


def test_waiting_before_the_end_where_the_server_knows_no_sleep() -> None:
    container = workload(spec(pre_stop_seconds=7), sleep_action=False)["spec"]["template"]["spec"]["containers"][0]
    assert container["lifecycle"] == {"preStop": {"exec": {"command": ["sleep", "7"]}}}
    assert "lifecycle" not in database(pre_stop_seconds=0)


def test_resources() -> None:
    assert database(cpu="2", memory="1Gi")["resources"] == {
        "requests": {"cpu": "2", "memory": "1Gi"},
        "limits": {"cpu": "2", "memory": "1Gi"},
    }
    assert database(memory="1Gi")["resources"] == {"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}
    assert database(cpu="2", resources={"requests": {"cpu": "1"}})["resources"] == {"requests": {"cpu": "1"}}
    assert "resources" not in database()


def test_engines_differ_in_data_only() -> None:
    old = database(engine="kwdb2")
    assert old["securityContext"] == {"privileged": True} and old["command"][0] == "/kaiwudb/bin/kwbase"
    assert database(engine="kwdb2", container_security_context={"runAsUser": 0})["securityContext"] == {"runAsUser": 0}
    bini = database(engine="bini")
    assert bini["command"][0] == "/bini/bini" and bini["volumeMounts"] == [
        {"name": "datadir", "mountPath": "/bini/data"}
    ]
    assert [entry["name"] for entry in bini["env"]] == ["POD_NAME"] and "securityContext" not in bini


CHANGES: dict[str, tuple[Any, Any]] = {
    # option: (value, where it must be found afterwards)
    "engine": ("kwdb2", lambda: database(engine="kwdb2")["securityContext"]["privileged"]),
    "image": ("x:9", lambda: database(image="x:9")["image"] == "x:9"),
    "image_pull_policy": ("Always", lambda: database(image_pull_policy="Always")["imagePullPolicy"] == "Always"),
    "image_pull_secrets": (["a", "b"], lambda: pod_spec(image_pull_secrets=["a", "b"])["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]),
    "binary": ("/b", lambda: database(binary="/b")["command"][0] == "/b"),
    "single_node": (True, lambda: workload(spec(single_node=True))["spec"]["replicas"] == 1),
    "cpu": ("2", lambda: database(cpu="2")["resources"]["limits"] == {"cpu": "2"}),
    "memory": ("1Gi", lambda: database(memory="1Gi")["resources"]["requests"] == {"memory": "1Gi"}),
    "resources": ({"limits": {"cpu": "1"}}, lambda: database(resources={"limits": {"cpu": "1"}})["resources"] == {"limits": {"cpu": "1"}}),
    "cache": ("64MiB", lambda: argument("cache", cache="64MiB") == "64MiB"),
    "max_sql_memory": ("65MiB", lambda: argument("max-sql-memory", max_sql_memory="65MiB") == "65MiB"),
    "extra_args": (["--a", "--b"], lambda: database(extra_args=["--a", "--b"])["command"][-2:] == ["--a", "--b"]),
    "env": ({"A": 1}, lambda: database(env={"A": 1})["env"][-1] == {"name": "A", "value": "1"}),
    "sql_port": (5, lambda: argument("listen-addr", sql_port=5) == "0.0.0.0:5" and argument("advertise-addr", sql_port=5).endswith(":5")
                 and argument("join", sql_port=5).count(":5") == 3 and database(sql_port=5)["ports"][0]["containerPort"] == 5),
    "http_port": (6, lambda: argument("http-addr", http_port=6) == "0.0.0.0:6" and database(http_port=6)["ports"][1]["containerPort"] == 6),
    "brpc_port": (7, lambda: argument("brpc-addr", brpc_port=7) == "0.0.0.0:7" and database(brpc_port=7)["ports"][2]["containerPort"] == 7),
    "cluster_domain": ("c.d", lambda: argument("advertise-addr", cluster_domain="c.d") == "$(POD_NAME).kw.db.svc.c.d:26257"
                       and "kw-2.kw.db.svc.c.d:26257" in argument("join", cluster_domain="c.d")),
    "anti_affinity": ("preferred", lambda: pod_spec(anti_affinity="preferred")["affinity"] == {"podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": {
            "labelSelector": {"matchLabels": POD_LABELS}, "topologyKey": "kubernetes.io/hostname"}}]}}),
    "locality": ("zone", lambda: database(locality="zone")["command"][0] == "/bin/sh" and pod_spec(locality="zone")["volumes"] == [
        {"name": "topology", "configMap": {"name": "kw-topology", "optional": True}}]),
    "node_selector": ({"a": "b"}, lambda: pod_spec(node_selector={"a": "b"})["nodeSelector"] == {"a": "b"}),
    "tolerations": ([{"operator": "Exists"}], lambda: pod_spec(tolerations=[{"operator": "Exists"}])["tolerations"] == [{"operator": "Exists"}]),
    "pod_labels": ({"a": "b"}, lambda: workload(spec(pod_labels={"a": "b"}))["spec"]["template"]["metadata"]["labels"]["a"] == "b"),
    "pod_annotations": ({"a": "b"}, lambda: workload(spec(pod_annotations={"a": "b"}))["spec"]["template"]["metadata"]["annotations"] == {"a": "b"}),
    "restart_id": (
        "1", lambda: workload(spec(restart_id="1"))["spec"]["template"]["metadata"]["annotations"] == {"kaiwudb.kubernetes/restart-id": "1"}),
    "pod_security_context": ({"fsGroup": 1}, lambda: pod_spec(pod_security_context={"fsGroup": 1})["securityContext"] == {"fsGroup": 1}),
    "container_security_context": (
        {"runAsUser": 1}, lambda: database(container_security_context={"runAsUser": 1})["securityContext"] == {"runAsUser": 1}),
    "priority_class": ("high", lambda: pod_spec(priority_class="high")["priorityClassName"] == "high"),
    "pre_stop_seconds": (9, lambda: database(pre_stop_seconds=9)["lifecycle"]["preStop"] == {"sleep": {"seconds": 9}}),
    "termination_grace_period": (8, lambda: pod_spec(termination_grace_period=8)["terminationGracePeriodSeconds"] == 8),
    "pod_overrides": ({"spec": {"hostNetwork": True}}, lambda: pod_spec(pod_overrides={"spec": {"hostNetwork": True}})["hostNetwork"] is True),
}  # fmt: skip


@pytest.mark.parametrize("option", CHANGES)
def test_an_option_of_the_template_reaches_it(option: str) -> None:
    assert CHANGES[option][1]()


def test_no_option_of_the_template_is_left_out_above() -> None:
    assert set(CHANGES) | {"security"} == {option.name for option in OPTIONS if option.scope == "template"}


def test_another_restart_is_another_template_and_only_by_its_annotation() -> None:
    one, other = (
        workload(spec(restart_id=text, pod_annotations={"a": "b"}))["spec"]["template"] for text in ("1", "2")
    )
    assert one["metadata"]["annotations"] == {"a": "b", "kaiwudb.kubernetes/restart-id": "1"}
    assert one["spec"] == other["spec"] and one["metadata"] != other["metadata"]
    mine = {"kaiwudb.kubernetes/restart-id": "mine"}
    assert workload(spec(pod_annotations=mine, restart_id="1"))["spec"]["template"]["metadata"]["annotations"] == {
        "kaiwudb.kubernetes/restart-id": "1"
    }, "or a restart that is asked for would not come"


def test_labels_of_the_user_never_hide_the_collections_own() -> None:
    labels = workload(spec(pod_labels={"app.kubernetes.io/name": "mine"}))["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "kaiwudb"


# ---- overrides


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 3, "c": 4}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": None}}, {"a": {"b": 1}}),
        ({"a": 1}, {"a": None, "b": None}, {}),
        ([{"name": "a", "x": 1}, {"name": "b"}], [{"name": "a", "y": 2}, {"name": "c"}], [{"name": "a", "x": 1, "y": 2}, {"name": "b"}, {"name": "c"}]),
        ([1, 2], [3], [3]), ([{"name": "a"}], [{"key": "b"}], [{"key": "b"}]), ([], [{"name": "a"}], [{"name": "a"}]),
        ({"a": {"b": 1}}, {"a": 5}, {"a": 5}), (1, 2, 2),
    ],
)  # fmt: skip
def test_merge(base: Any, over: Any, result: Any) -> None:
    assert merged(base, over) == result


def test_merging_changes_neither_side() -> None:
    base: dict[str, Any] = {"a": [{"name": "x", "d": {}}]}
    over: dict[str, Any] = {"a": [{"name": "x", "d": {"e": 1}}]}
    merged(base, over)["a"][0]["d"]["f"] = 2
    assert base == {"a": [{"name": "x", "d": {}}]} and over == {"a": [{"name": "x", "d": {"e": 1}}]}


def test_overrides_of_the_pod() -> None:
    over = {"spec": {"containers": [{"name": "kaiwudb", "env": [{"name": "A", "value": "1"}], "livenessProbe": None}, {"name": "side", "image": "s:1"}],
                     "volumes": [{"name": "extra", "emptyDir": {}}]}}  # fmt: skip
    made = pod_spec(pod_overrides=over)
    first, second = made["containers"]
    assert first["image"] == OLD and "livenessProbe" not in first and "readinessProbe" in first
    assert [entry["name"] for entry in first["env"]] == ["POD_NAME", "LD_LIBRARY_PATH", "A"]
    assert second == {"name": "side", "image": "s:1"} and made["volumes"] == [{"name": "extra", "emptyDir": {}}]


# ---- volumes


def test_a_volume_is_pinned_twice() -> None:
    of = spec(storage_size="7Gi", local_path="/data")
    assert manifests.volume(of, 2, "w3", "the-id") == {
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "db.kw-2", "labels": {**LABELS, "kaiwudb.kubernetes/namespace": "db"}, "annotations": {"kaiwudb.kubernetes/cluster-id": "the-id"}},
        "spec": {
            "capacity": {"storage": "7Gi"}, "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "kaiwudb-local",
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "db", "name": "datadir-kw-2"},
            "local": {"path": "/data/db.kw-2"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["w3"]}]}]}}},
    }  # fmt: skip
    assert "annotations" not in manifests.volume(of, 2, "w3")["metadata"]
    claim = workload(of)["spec"]["volumeClaimTemplates"][0]["spec"]
    assert (claim["resources"]["requests"]["storage"], claim["storageClassName"]) == ("7Gi", "kaiwudb-local")


def test_one_name_in_two_namespaces_shares_no_volume_and_no_directory() -> None:
    here, there = (resolve(parse_asked({**REQUIRED, "namespace": namespace}), None) for namespace in ("db", "other"))
    one, other = manifests.volume(here, 0, "w1"), manifests.volume(there, 0, "w1")
    assert one["metadata"]["name"] != other["metadata"]["name"] and one["spec"]["local"] != other["spec"]["local"]
    assert one["metadata"]["labels"] != other["metadata"]["labels"]


def test_a_claim_for_a_volume_that_has_none() -> None:
    made = manifests.claim(NAMES, 2, manifests.volume(spec(storage_size="7Gi"), 2, "w3"), "now")
    assert made["metadata"]["name"] == "datadir-kw-2" and made["metadata"]["annotations"] == {
        "kaiwudb.kubernetes/wiping": "now"
    }
    assert made["spec"] == {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "7Gi"}}, "storageClassName": "kaiwudb-local", "volumeName": "db.kw-2",
    }  # fmt: skip


def test_journal_and_lease() -> None:
    assert manifests.configmap(NAMES, {"journal": "{}"}) == {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kw-journal", "namespace": "db", "labels": LABELS}, "data": {"journal": "{}"},
    }  # fmt: skip
    made = manifests.lease(NAMES, "ann/1", "now", 20)
    assert made["metadata"] == {"name": "kw-lock", "namespace": "db", "labels": LABELS}
    assert made["spec"] == {
        "holderIdentity": "ann/1",
        "acquireTime": "now",
        "renewTime": "now",
        "leaseDurationSeconds": 20,
    }
    assert manifests.names_of(spec(cluster_domain="c.d")) == Names("kw", "db", "c.d")
    assert manifests.namespace(spec()) == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "db", "annotations": {"kaiwudb.kubernetes/made-for": "kw"}},
    }
