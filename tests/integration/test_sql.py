# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""kaiwudb_sql and the engine's command line against a real cluster of three database nodes in the lab.

Needs nodes: a kubeconfig in KUBECONFIG or the lab's kind cluster, with the image of KAIWUDB_IMAGE.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.cli import Engine
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.errors import EngineError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import profile_for
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.client import Client, runner
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError

pytest.importorskip("kubernetes")
pytest.importorskip("psycopg")

LAB = Path(os.environ.get("KUBECONFIG") or Path(__file__).resolve().parents[2] / ".lab" / "kubeconfig")
IMAGE = os.environ.get("KAIWUDB_IMAGE", "kwdb-standin:3.2.1")
NAME = "kw"
MODULE = "ansible_collections.kaiwudb.kubernetes.plugins.modules.kaiwudb_sql"
TRANSPORTS = ("wire", "exec")

Module = Callable[..., dict[str, Any]]


def objects(namespace: str) -> list[dict[str, Any]]:
    labels = {
        "app.kubernetes.io/name": "kaiwudb",
        "app.kubernetes.io/instance": NAME,
        "app.kubernetes.io/component": "database",
    }
    profile = profile_for(IMAGE)
    host = f"{NAME}.{namespace}.svc.cluster.local"
    command = profile.start_command(
        advertise=f"$(POD_NAME).{host}",
        join=[f"{NAME}-{ordinal}.{host}:{profile.sql_port}" for ordinal in range(3)],
        cache="64MiB",
        max_sql_memory="64MiB",
    )
    container = {
        "name": "kaiwudb",
        "image": IMAGE,
        "command": command,
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"name": "sql", "containerPort": profile.sql_port}, {"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/health?ready=1", "port": "http"}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": profile.store}],
    }
    pod = {
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }
    meta = {"name": NAME, "namespace": namespace, "labels": labels}
    service = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": labels, "ports": [{"port": 26257}]}
    workload = {
        "serviceName": NAME,
        "replicas": 3,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": workload},
    ]


def await_pods(client: Client, namespace: str, condition: Callable[[dict[str, Any]], bool], seconds: float) -> None:
    good: set[str] = set()
    for kind, pod in client.watch("Pod", namespace, timeout=seconds):
        if kind == "BOOKMARK":
            continue
        name = pod["metadata"]["name"]
        (good.add if kind != "DELETED" and condition(pod) else good.discard)(name)
        if len(good) == 3:
            return
    raise AssertionError(f"only {sorted(good)} of three pods within {seconds} s")


def ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Client, str, Engine]]:
    """Three nodes, initialised, in a namespace of their own."""
    if not LAB.is_file():
        pytest.skip("no cluster with nodes: neither KUBECONFIG nor .lab/kubeconfig")
    client = Client({"kubeconfig": str(LAB)}, first_retry_seconds=1)
    namespace = f"t-{secrets.token_hex(4)}"
    try:
        client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    except KubeError as error:
        pytest.skip(f"no cluster with nodes: {error}")
    try:
        for obj in objects(namespace):
            client.create(obj)
        await_pods(client, namespace, lambda pod: pod["status"].get("phase") == "Running", 90)
        pods = [f"{NAME}-{ordinal}" for ordinal in range(3)]
        engine = Engine(profile_for(IMAGE), runner(client, namespace), pods, timeout=5)
        deadline = time.monotonic() + 60
        outcome = "not_ready"
        while outcome == "not_ready" and time.monotonic() < deadline:
            outcome, _text = engine.init(pods[0])
        assert outcome == "initialized"
        await_pods(client, namespace, ready, 60)
        yield client, namespace, engine
    finally:
        client.delete("Namespace", namespace, propagation="Background")


@pytest.fixture(scope="module")
def sql(cluster: tuple[Client, str, Engine]) -> Module:
    """Runs the module as Ansible does, and returns its result."""

    def run(*query: str, check: bool = False, **options: Any) -> dict[str, Any]:
        asked = {"kubeconfig": str(LAB), "name": NAME, "namespace": cluster[1], "query": list(query) or None} | options
        arguments = {key: value for key, value in asked.items() if value is not None}
        if check:
            arguments["_ansible_check_mode"] = True
        done = subprocess.run(
            [sys.executable, "-m", MODULE],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    made = run(
        "CREATE DATABASE IF NOT EXISTS bank", "CREATE TABLE IF NOT EXISTS bank.t (id INT PRIMARY KEY, v DECIMAL)"
    )
    assert not made.get("failed"), made
    return run


# ---- the engine's command line


def test_before_and_after_init_by_the_same_texts(cluster: tuple[Client, str, Engine]) -> None:
    _client, _namespace, engine = cluster
    assert engine.init(f"{NAME}-0")[0] == "already"
    assert engine.init(f"{NAME}-1")[0] == "already"
    assert engine.version(f"{NAME}-0").startswith(("V", "v"))


def test_nodes_by_address_and_one_cluster_id(cluster: tuple[Client, str, Engine]) -> None:
    _client, namespace, engine = cluster
    rows = engine.node_status(decommission=True)
    by_address = {row.address: row.id for row in rows}
    for ordinal in range(3):
        pod = f"{NAME}-{ordinal}"
        assert by_address[f"{pod}.{NAME}.{namespace}.svc.cluster.local:26257"] == engine.node_id(pod)
    assert all(row.is_live and row.is_available and row.is_decommissioning is False for row in rows)
    assert len({engine.cluster_id(f"{NAME}-{ordinal}") for ordinal in range(3)}) == 1


def test_errors_of_the_command_line(cluster: tuple[Client, str, Engine]) -> None:
    _client, _namespace, engine = cluster
    with pytest.raises(EngineError) as unknown:
        engine.decommission([99])
    assert unknown.value.reason == "unknown_node"
    with pytest.raises(EngineError) as syntax:
        engine.sql_rows("selec 1")
    assert (syntax.value.reason, syntax.value.sqlstate) == ("sql", "42601")
    assert engine.node_status(pods=["kw-77", f"{NAME}-1"])  # a pod that is not there is passed over


# ---- the module


VALUES = (
    r"SELECT NULL AS a, 'NULL' AS b, 'x,y' AS c, e'line1\nline2' AS d, 'it''s; \"' AS e, 1.50::DECIMAL AS f,"
    r" '2026-01-02 03:04:05.678+08:00'::TIMESTAMPTZ AS h, true AS k, 7 AS n"
).replace(r"\"", '"')


def test_values_come_back_as_what_they_were(sql: Module) -> None:
    assert sql(VALUES)["rows"] == [
        {
            "a": None,
            "b": "NULL",
            "c": "x,y",
            "d": "line1\nline2",
            "e": "it's; \"",
            "f": "1.50",
            "h": "2026-01-01T19:04:05.678+00:00",
            "k": True,
            "n": 7,
        }
    ]


def test_values_as_text_by_exec(sql: Module) -> None:
    row = sql(VALUES, transport="exec")["rows"][0]
    assert row["a"] is None and row["c"] == "x,y" and row["d"] == "line1\nline2" and row["f"] == "1.50"
    assert row["k"] == "true" and row["n"] == "7"


def test_stored_values_and_bound_arguments(sql: Module) -> None:
    sql("CREATE TABLE IF NOT EXISTS bank.v (id INT PRIMARY KEY, s STRING, b BYTES, d DECIMAL, t TIMESTAMPTZ)")
    text = 'it\'s "quoted", with; a comma\nand two lines'
    stored = sql(
        "UPSERT INTO bank.v VALUES (%s, %s, %s, %s, %s)",
        positional_args=[1, text, "\\x00ff10", "12345678901234567890.10", None],
    )
    assert stored["changed"] and not stored.get("failed"), stored
    row = sql("SELECT * FROM bank.v WHERE id = %(id)s", named_args={"id": 1})["rows"][0]
    assert row["s"] == text and row["d"] == "12345678901234567890.10" and row["t"] is None
    assert row["b"] == "AP8Q"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_changed_by_what_the_server_did(sql: Module, transport: str) -> None:
    key = secrets.randbelow(10**9)
    assert sql(f"INSERT INTO bank.t VALUES ({key}, 1)", transport=transport)["changed"]
    assert not sql(f"SELECT * FROM bank.t WHERE id = {key}", transport=transport)["changed"]
    assert not sql(f"UPDATE bank.t SET v = 2 WHERE id = {-key - 1}", transport=transport)["changed"]
    assert not sql("SHOW DATABASES", transport=transport)["changed"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_unless(sql: Module, transport: str) -> None:
    key = secrets.randbelow(10**9)
    asked = {"unless": f"SELECT 1 FROM bank.t WHERE id = {key}", "transport": transport}
    first = sql(f"INSERT INTO bank.t VALUES ({key}, 1)", **asked)
    second = sql(f"INSERT INTO bank.t VALUES ({key}, 1)", **asked)
    assert first["changed"] and not first["skipped_by_unless"]
    assert not second["changed"] and second["skipped_by_unless"] and second["results"] == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_check_mode_writes_nothing(sql: Module, transport: str) -> None:
    key = secrets.randbelow(10**9)
    judged = sql(
        f"INSERT INTO bank.t VALUES ({key}, 1)",
        "CREATE TABLE bank.never (a INT)",
        "SET CLUSTER SETTING server.shutdown.drain_wait = '0s'",
        "SELECT 1 AS a",
        check=True,
        transport=transport,
    )
    assert judged["changed"] and judged["unjudged"] == [3] and len(judged["rows"]) == 1
    assert sql(f"SELECT 1 FROM bank.t WHERE id = {key}")["rows"] == []
    assert sql("SELECT 1 FROM bank.never")["sqlstate"] == "42P01"
    assert not sql("SELECT 1", check=True, transport=transport)["changed"]
    wrong = sql("SELECT nope FROM bank.t", check=True, transport=transport)
    assert wrong["failed"] and wrong["sqlstate"] == "42703"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_errors_name_the_statement(sql: Module, transport: str) -> None:
    failed = sql("SELECT 1; SELECT * FROM bank.nosuch", transport=transport)
    assert failed["failed"] and (failed["sqlstate"], failed["statement"]) == ("42P01", 2)
    assert failed["reason"] == "not_found" and "nosuch" in failed["error"] and not failed["may_have_run"]
    assert sql("selec 1", transport=transport)["reason"] == "syntax"


def test_single_transaction_is_all_or_nothing(sql: Module) -> None:
    key = secrets.randbelow(10**9)
    insert = f"INSERT INTO bank.t VALUES ({key}, 1)"
    failed = sql(insert, insert, single_transaction=True)
    assert failed["failed"] and failed["statement"] == 2 and failed["reason"] == "constraint"
    assert sql(f"SELECT 1 FROM bank.t WHERE id = {key}")["rows"] == []


def test_a_long_result_goes_to_a_file(sql: Module, tmp_path: Path) -> None:
    key = 2 * 10**9 + secrets.randbelow(10**8)
    sql("INSERT INTO bank.t VALUES " + ", ".join(f"({key + n}, {n})" for n in range(50)))
    path = tmp_path / "rows.jsonl"
    query = f"SELECT id, v FROM bank.t WHERE id >= {key} AND id < {key + 50} ORDER BY id"
    result = sql(query, max_rows=3, result_file=str(path))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 50 and lines[:3] == result["rows"]
    assert result["truncated"] and result["rowcount"] == 50 and path.stat().st_mode & 0o777 == 0o600


def test_a_file_of_statements(sql: Module, tmp_path: Path) -> None:
    key = secrets.randbelow(10**9)
    source = tmp_path / "x.sql"
    source.write_text(
        f"-- first; of all\nINSERT INTO bank.t VALUES ({key}, 1);\n\nSELECT id FROM bank.t WHERE id = {key};\n"
    )
    result = sql(src=str(source))
    assert result["rows"] == [{"id": key}] and [item["statement"] for item in result["results"]] == [1, 2]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"password": "hunter2-hunter2"}, "security"),
        ({"pod": "kw-77"}, "no_pod"),
        ({"positional_args": [1], "transport": "exec"}, "input"),
        ({"statement_timeout": -1}, "input"),
        ({"expect_server": "https://another.example"}, "api_wrongserver"),
    ],
)
def test_refusals(sql: Module, options: dict[str, Any], reason: str) -> None:
    failed = sql("SELECT 1", **options)
    assert failed["failed"] and failed["reason"] == reason and "hunter2" not in json.dumps(failed)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_statement_timeout(sql: Module, transport: str) -> None:
    begun = time.monotonic()
    failed = sql("SELECT pg_sleep(20)", statement_timeout=1, transport=transport)
    assert failed["reason"] == "statement_timeout" and time.monotonic() - begun < 15


def test_a_pod_that_dies_in_the_middle(sql: Module, cluster: tuple[Client, str, Engine]) -> None:
    """Reads are answered by another pod; a write whose answer was lost says so. Last, for it leaves two nodes."""
    client, namespace, engine = cluster
    pod, key = f"{NAME}-0", -1 - secrets.randbelow(10**9)

    def kill_when_begun() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if engine.sql_rows(f"SELECT 1 AS a FROM bank.t WHERE id = {key}", pod=f"{NAME}-1"):
                break
        client.delete("Pod", pod, namespace, grace=0)

    killer = threading.Thread(target=kill_when_begun)
    killer.start()
    failed = sql(
        f"INSERT INTO bank.t VALUES ({key}, 1)",
        f"INSERT INTO bank.t (id) SELECT {key} - 1 FROM (SELECT pg_sleep(60)) AS x",
        pod=pod,
    )
    killer.join()
    assert failed["failed"] and failed["reason"] == "connection" and failed["may_have_run"], failed
    assert failed["statement"] == 2 and "was lost" in failed["msg"]
    assert sql("SELECT count(*) AS n FROM bank.t")["rows"][0]["n"] >= 1
