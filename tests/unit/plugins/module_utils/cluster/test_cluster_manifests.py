# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Every option reaches the object it is about, and the traps met on real clusters stay shut."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import manifests
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.fingerprint import ASIDE
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.manifests import merged
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.names import Names
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.options import OPTIONS
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.spec import Spec, parse_asked, resolve
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    LABELS,
    NAMES,
    OLD,
    REQUIRED,
    spec,
)

POD_LABELS = {
    "app.kubernetes.io/name": "kaiwudb",
    "app.kubernetes.io/instance": "kw",
    "app.kubernetes.io/component": "database",
}


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


@pytest.mark.parametrize("action", ["make", "look", "archive", "gone"])
def test_the_pod_that_prepares_a_directory(action: str) -> None:
    made = manifests.preparer(spec(image_pull_secrets=["s"]), 1, "w2", "/data/db.kw-1", action, "20261123-100000")
    assert made["metadata"] == {
        "name": "kw-volume-1",
        "namespace": "db",
        "labels": {**LABELS, "app.kubernetes.io/component": "volume"},
    }
    assert (
        made["spec"]["nodeName"] == "w2"
        and made["spec"]["restartPolicy"] == "Never"
        and made["spec"]["tolerations"] == [{"operator": "Exists"}]
    )
    assert made["spec"]["imagePullSecrets"] == [{"name": "s"}]
    container = made["spec"]["containers"][0]
    mounted = "/data/db.kw-1" if action == "make" else "/data"
    read_only = {"readOnly": True} if action == "look" else {}
    assert container["image"] == OLD
    assert container["volumeMounts"] == [{"name": "host", "mountPath": mounted, **read_only}]
    assert container["command"] == [
        "/bin/sh",
        "-c",
        manifests.SCRIPTS[action],
        "sh",
        "/data/db.kw-1",
        "20261123-100000",
    ]
    assert made["spec"]["volumes"] == [{"name": "host", "hostPath": {"path": mounted, "type": "DirectoryOrCreate"}}]
    assert not all(made["metadata"]["labels"].get(key) == value for key, value in POD_LABELS.items()), (
        "a Service would route to it"
    )


@pytest.mark.parametrize(
    ("engine", "binary"), [("kwdb", "/kaiwudb/bin/kwbase"), ("kwdb2", "/kaiwudb/bin/kwbase"), ("bini", "/bini/bini")]
)
def test_the_pod_that_runs_the_new_image_once(engine: str, binary: str) -> None:
    of = spec(engine=engine, image="x:2", image_pull_policy="Always", image_pull_secrets=["s"])
    made = manifests.puller(of, PROFILES[engine], 2, "w7")
    assert (made["kind"], made["apiVersion"]) == ("Pod", "v1")
    assert made["metadata"] == {
        "name": "kw-pull-2",
        "namespace": "db",
        "labels": {**LABELS, "app.kubernetes.io/component": "pull"},
    }
    body = made["spec"]
    (container,) = body["containers"]
    assert (container["image"], container["imagePullPolicy"], container["command"]) == (
        "x:2",
        "Always",
        [binary, "version"],
    )
    library = [] if engine == "bini" else [{"name": "LD_LIBRARY_PATH", "value": "/kaiwudb/lib"}]
    assert container.get("env", []) == library
    assert (
        body["nodeName"] == "w7"
        and body["restartPolicy"] == "Never"
        and body["tolerations"] == [{"operator": "Exists"}]
    )
    assert body["imagePullSecrets"] == [{"name": "s"}] and body["automountServiceAccountToken"] is False
    assert body["enableServiceLinks"] is False and body["terminationGracePeriodSeconds"] == 1
    assert "volumes" not in body and "volumeMounts" not in container and "securityContext" not in container, (
        "it touches nothing on the node"
    )
    assert not all(made["metadata"]["labels"].get(key) == value for key, value in POD_LABELS.items()), (
        "a Service would route to it"
    )


def test_the_pod_that_runs_another_binary() -> None:
    made = manifests.puller(spec(binary="/opt/kw"), PROFILES["kwdb"], 0, "w1")
    assert made["spec"]["containers"][0]["command"] == ["/opt/kw", "version"] and "imagePullSecrets" not in made["spec"]


def _script(action: str, directory: Path, suffix: str = "s", before: str = "") -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", "-c", before + manifests.SCRIPTS[action], "sh", str(directory), suffix]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)


def test_scripts_do_what_they_say(tmp_path: Path) -> None:
    directory = tmp_path / "-odd name; touch x"
    assert _script("archive", directory).returncode == 0 and _script("gone", directory).returncode == 0
    unreadable = _script("make", directory)
    assert unreadable.returncode not in (0, 3) and not directory.exists(), "the kubelet makes it"
    directory.mkdir()
    for _again in range(2):
        assert _script("make", directory).returncode == 0
    for name in ("-n", "\\c"):  # which echo would swallow
        (directory / name).write_text("data")
        assert _script("make", directory).returncode == 3
        (directory / name).unlink()
    (directory / ".store").write_text("data")
    refused = _script("make", directory)
    assert refused.returncode == 3 and refused.stdout.startswith("not empty:") and ".store" in refused.stdout
    assert (directory / ".store").read_text() == "data"
    assert _script("archive", directory).returncode == 0
    assert not directory.exists() and (tmp_path / f"{directory.name}.s" / ".store").read_text() == "data"
    assert _script("gone", tmp_path / f"{directory.name}.s").returncode != 0, "only what is empty goes"
    shutil.rmtree(tmp_path / f"{directory.name}.s")
    directory.mkdir()
    assert _script("gone", directory).returncode == 0 and list(tmp_path.iterdir()) == []


def test_erasing_is_proven(tmp_path: Path) -> None:
    """By the script itself: it fails while anything is left; the directory goes only where it was made by such a pod."""
    mount, host = tmp_path / "claim", tmp_path / "host dir"

    def wipe(*words: str) -> subprocess.CompletedProcess[str]:
        argv = ["/bin/sh", "-c", manifests.SCRIPTS["wipe"], "sh", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    mount.mkdir()
    for name in ("plain", ".hidden", "..odd", "-rf", "with space"):
        (mount / name).write_text("data")
    (mount / "deep" / ".er").mkdir(parents=True)
    assert wipe(str(mount), "").returncode == 0 and list(mount.iterdir()) == []
    assert wipe(str(mount), "").returncode == 0, "again"
    host.mkdir()
    assert wipe(str(mount), str(host)).returncode == 0 and not host.exists() and mount.exists()
    host.mkdir()
    (host / "other").write_text("data")
    assert wipe(str(mount), str(host)).returncode == 0 and (host / "other").exists(), (
        "never what the claim does not reach"
    )
    assert wipe(str(tmp_path / "missing"), "").returncode == 4
    stays = manifests.SCRIPTS["wipe"].replace("rm -rf", "true")
    (mount / "stays").write_text("data")
    done = subprocess.run(["/bin/sh", "-c", stays, "sh", str(mount), ""], capture_output=True, text=True, check=False)
    assert done.returncode == 4 and done.stdout == "not erased: stays\n"


def test_erased_on_the_node_is_proven_too(tmp_path: Path) -> None:
    """What no claim reaches any more: only the directory itself, which goes where such a pod made it."""
    for prepare, stays in (("pod", False), ("ssh", True), ("none", True)):
        directory, beside = tmp_path / "db.kw-1", tmp_path / "db.kw-2"
        for place in (directory, beside):
            place.mkdir(exist_ok=True)
            (place / ".store").write_text("data")
        made = manifests.preparer(spec(local_pv_prepare=prepare), 1, "w1", str(directory), "erase", "20261123-100000")
        words = made["spec"]["containers"][0]["command"]
        for _again in range(2):
            assert subprocess.run(words, check=False, timeout=10).returncode == 0
            assert directory.exists() is stays and list(tmp_path.glob("db.kw-1/*")) == []
        assert (beside / ".store").read_text() == "data"
        directory.mkdir(exist_ok=True)
        (directory / ".store").write_text("data")
        left = subprocess.run(
            [*words[:2], "rm() { :; }; " + words[2], *words[3:]], capture_output=True, text=True, check=False
        )
        assert (left.returncode, left.stdout) == (4, "not erased: .store\n")


def test_the_pod_that_erases_reaches_nothing_but_the_claim() -> None:
    made = manifests.wiper(spec(), 2, "w3", None)["spec"]
    assert made["nodeName"] == "w3" and made["volumes"] == [
        {"name": "claim", "persistentVolumeClaim": {"claimName": "datadir-kw-2"}}
    ]
    assert made["containers"][0]["command"][-2:] == ["/claim", ""]
    own = manifests.wiper(spec(), 2, "w3", "/data/db.kw-2")["spec"]
    assert own["volumes"][1] == {"name": "host", "hostPath": {"path": "/data", "type": "Directory"}}
    assert own["containers"][0]["command"][-1] == "/data/db.kw-2"
    assert "nodeName" not in manifests.wiper(spec(storage="dynamic"), 2, None, None)["spec"]


def test_a_claim_for_a_volume_that_has_none() -> None:
    made = manifests.claim(NAMES, 2, manifests.volume(spec(storage_size="7Gi"), 2, "w3"), "now")
    assert made["metadata"]["name"] == "datadir-kw-2" and made["metadata"]["annotations"] == {
        "kaiwudb.kubernetes/wiping": "now"
    }
    assert made["spec"] == {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "7Gi"}}, "storageClassName": "kaiwudb-local", "volumeName": "db.kw-2",
    }  # fmt: skip


def test_the_mount_point_of_a_disk_is_fresh_when_empty_and_stays_when_wiped(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    assert _script("make", tmp_path).returncode == 0, "as mkfs leaves it"
    (tmp_path / ".store").write_text("data")
    assert _script("make", tmp_path).returncode == 3
    busy = "rmdir() { return 1; }; "  # as for a directory on which something is mounted
    words = ["/bin/sh", "-c", busy + manifests.SCRIPTS["wipe"], "sh", str(tmp_path), str(tmp_path)]
    assert subprocess.run(words, check=False, timeout=10).returncode == 0 and list(tmp_path.iterdir()) == []


def test_erased_is_proven_whatever_rm_says(tmp_path: Path) -> None:
    (tmp_path / ".store").write_text("data")
    words = ["/bin/sh", "-c", "rm() { return 0; }; " + manifests.SCRIPTS["wipe"], "sh", str(tmp_path), ""]
    left = subprocess.run(words, capture_output=True, text=True, check=False, timeout=10)
    assert left.returncode == 4 and left.stdout == "not erased: .store\n"


@pytest.mark.parametrize("prepare", ["ssh", "none"])
def test_a_directory_that_an_administrator_made_stays(tmp_path: Path, prepare: str) -> None:
    of = spec(local_pv_prepare=prepare)
    scripts = {
        action: manifests.preparer(of, 0, "w1", "/data/x", action)["spec"]["containers"][0]["command"][2]
        for action in ("archive", "make", "look")
    }
    assert scripts == {
        "archive": manifests.SCRIPTS["archive_content"],
        "make": manifests.SCRIPTS["make"],
        "look": manifests.SCRIPTS["look"],
    }
    directory = tmp_path / "-odd name; touch x"
    directory.mkdir(mode=0o710)
    directory.chmod(0o2710)
    for name in (".store", "..odd", "-x", "a"):
        (directory / name).mkdir()
        (directory / name / "data").write_text("row")
    assert _script("archive_content", directory).returncode == 0
    aside = tmp_path / f"{directory.name}.s"
    assert (
        directory.stat().st_mode == aside.stat().st_mode
        and list(directory.iterdir()) == []
        and len(list(aside.iterdir())) == 4
    )
    assert _script("archive_content", directory).returncode == 0 and len(list(tmp_path.iterdir())) == 2, "done already"
    assert _script("archive_content", directory, suffix="t").returncode == 0, "nothing in it, so nothing to keep"
    assert sorted(tmp_path.iterdir()) == [directory, aside]
    directory.rmdir()
    assert _script("archive_content", directory).returncode == 0 and directory.is_dir(), "killed between the two"
    for _again in range(2):
        assert _script("wipe", aside, suffix="").returncode == 0
        assert aside.stat().st_mode == directory.stat().st_mode and list(aside.iterdir()) == []
    assert sorted(tmp_path.iterdir()) == [directory, aside]


@pytest.mark.parametrize("action", ["archive", "archive_content"])
def test_nothing_is_put_into_an_archive_that_is_there(tmp_path: Path, action: str) -> None:
    directory, aside = tmp_path / "x", tmp_path / "x.s"
    for place in (directory, aside):
        place.mkdir()
        (place / "data").write_text(place.name)
    refused = _script(action, directory)
    assert refused.returncode and "is there already" in refused.stdout
    assert [(place / "data").read_text() for place in (directory, aside)] == ["x", "x.s"]


@pytest.mark.parametrize("action", ["archive", "archive_content"])
def test_what_could_not_be_moved_is_not_archived(tmp_path: Path, action: str) -> None:
    """As with a mount point."""
    directory = tmp_path / "x"
    directory.mkdir()
    (directory / "data").write_text("row")
    assert _script(action, directory, before="mv() { return 1; }; ").returncode
    assert (directory / "data").read_text() == "row"


def _archive_mounted(action: str, directory: Path, suffix: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """As where a disk is mounted at the directory itself."""
    mounts = directory.parent / "mountinfo"
    mounts.write_text(
        f"1 0 8:0 / / rw - ext4 /dev/sda rw\n2 1 8:1 {directory} /elsewhere rw\n3 1 8:2 / {directory} rw - ext4 /dev/sdb rw\n"
    )
    script = before + manifests.SCRIPTS[action].replace(manifests.MOUNTS, str(mounts))
    words = ["/bin/sh", "-c", script, "sh", str(directory), suffix]
    return subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)


@pytest.mark.parametrize("action", ["archive", "archive_content"])
def test_a_mount_point_is_archived_in_itself(tmp_path: Path, action: str) -> None:
    """It cannot be renamed (EBUSY). What was put aside is no later store's, nor erased with one."""
    directory = tmp_path / "db.kw-1"
    for name in ("lost+found", ".store", "..odd", "-x", "a b"):
        (directory / name).mkdir(parents=True)
        (directory / name / "data").write_text("row")
    (directory / "dangling").symlink_to("nowhere")
    inside = {".store", "..odd", "-x", "a b", "dangling"}
    for _again in range(2):
        assert _archive_mounted(action, directory, "1").returncode == 0
        assert {item.name for item in directory.iterdir()} == {"lost+found", ASIDE}
        assert [item.name for item in (directory / ASIDE).iterdir()] == ["1"]
        assert {item.name for item in (directory / ASIDE / "1").iterdir()} == inside
    assert _script("make", directory).returncode == 0, "as good as a new one"
    assert _archive_mounted(action, directory, "2").returncode == 0, "nothing in it, so nothing to keep"
    (directory / "next").write_text("data")
    refused = _archive_mounted(action, directory, "1")
    assert refused.returncode == 1 and "is there already" in refused.stdout and (directory / "next").exists()
    assert _archive_mounted(action, directory, "3").returncode == 0
    assert sorted(item.name for item in (directory / ASIDE).iterdir()) == ["1", "3"]
    (directory / "next").write_text("data")
    assert _script("wipe", directory, suffix="").returncode == 0
    assert [item.name for item in directory.iterdir()] == [ASIDE] and (
        directory / ASIDE / "1" / ".store" / "data"
    ).exists()
    assert _script("erase", directory, suffix=str(directory)).returncode == 0 and (directory / ASIDE / "3").exists()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["db.kw-1", "mountinfo"]


def test_an_archive_in_itself_is_complete_or_not_there(tmp_path: Path) -> None:
    """Killed or refused half-way, it has another name, and the same order again ends it."""
    directory = tmp_path / "x"
    for name in ("a", "b", "c"):
        (directory / name).mkdir(parents=True)
    once = 'mv() { case "$2" in */b) return 1 ;; esac; command mv "$@"; }; '
    assert _archive_mounted("archive", directory, "1", before=once).returncode == 1
    assert not (directory / ASIDE / "1").exists() and (directory / "b").exists() and (directory / "c").exists()
    assert _script("make", directory).returncode == 3, "nobody takes the rest for a fresh directory"
    assert _archive_mounted("archive", directory, "1").returncode == 0
    assert sorted(item.name for item in (directory / ASIDE / "1").iterdir()) == ["a", "b", "c"]
    (directory / ASIDE / "1").rename(directory / ASIDE / ".2")  # all moved, but not named yet
    assert _archive_mounted("archive", directory, "2").returncode == 0 and (directory / ASIDE / "2" / "a").exists()


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
