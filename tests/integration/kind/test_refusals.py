# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What must not be done is refused before anything is touched: no write reaches the API server.

All cases go through one playbook, task after task; the API server's own log tells what they sent.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kindlab import UPGRADE_IMAGE, Place, Request, kubectl

NAME = "kw"
CLUSTER = "kaiwudb.kubernetes.kaiwudb_cluster"
DECOMMISSION = "kaiwudb.kubernetes.kaiwudb_node_decommission"
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - {module}: {{}}
      args: "{{{{ item.options }}}}"
      loop: "{{{{ cases }}}}"
      loop_control: {{label: "{{{{ item.name }}}}"}}
      register: found
      ignore_errors: true
    - ansible.builtin.copy:
        content: "{{{{ found.results | to_json }}}}"
        dest: "{{{{ results }}}}"
        mode: "0600"
"""


@dataclass(frozen=True)
class Case:
    """options: laid over those of the live cluster (a None is not given). reason: the code. says: texts of the message."""

    options: dict[str, Any]
    reason: str
    says: tuple[str, ...]


# Answered from the options alone: no request at all.
INPUTS = {
    "name": Case({"name": "Bad_Name"}, "invalid_option", ("name", "DNS label")),
    "replicas-0": Case({"replicas": "0"}, "invalid_option", ("replicas", "3 and more")),
    "replicas-2": Case({"replicas": "2"}, "invalid_option", ("replicas", "3 and more")),
    "size": Case({"storage_size": "10Q"}, "invalid_option", ("storage_size", "Gi")),
    "engine-unknown": Case({"engine": "mysql"}, "invalid_option", ("engine", "kwdb, kwdb2, bini")),
    "image-without-tag": Case({"image": "kwdb/kwdb"}, "invalid_option", ("image", "tag")),
    "security-unknown": Case({"security": "perhaps"}, "invalid_option", ("security", "insecure")),
    "remove-without-confirm": Case({"state": "absent"}, "invalid_option", ("confirm", "'kw'")),
    "remove-with-another-name": Case({"state": "absent", "confirm": "kx"}, "invalid_option", ("confirm", "'kw'")),
    "context": Case({"context": "prod"}, "api_configinvalid", ("prod",)),
    "server": Case({"expect_server": "https://prod.example:6443"}, "api_wrongserver", ("https://prod.example:6443",)),
}

# Answered after a look.
LOOKS = {
    "few-nodes": Case({"name": "few", "replicas": "5"}, "no_node", ("few-4", "already holds one", "anti_affinity")),
    "few-nodes-for-growth": Case({"replicas": "9"}, "no_node", ("anti_affinity",)),
    "few-nodes-dynamic": Case({"name": "few", "replicas": "5", "storage": "dynamic"}, "no_node", ("5 replicas", "4 can be used")),
    "no-such-node": Case({"name": "few", "local_nodes": ["nobody"]}, "no_node", ("nobody does not exist",)),
    "namespace": Case({"namespace": "t-there-is-none"}, "namespace_missing", ("t-there-is-none", "create_namespace")),
    "engine": Case({"engine": "bini", "image": None}, "invalid_option", ("engine", "'kwdb'")),
    "port": Case({"sql_port": "26300"}, "invalid_option", ("sql_port", "26257")),
    "single-node": Case({"single_node": "true", "replicas": None}, "invalid_option", ("single_node",)),
    "storage": Case({"storage": "dynamic"}, "invalid_option", ("storage", "'local'")),
    "storage-class": Case({"storage_class": "fast"}, "invalid_option", ("storage_class", "kaiwudb-local")),
    "shrinking": Case({"storage_size": "512Mi"}, "invalid_option", ("storage_size", "shrink", "1Gi")),
    "foreign-service": Case({"name": "foreign"}, "foreign_object", ("Service foreign-public", "not part of")),
    "upgrade-by-a-scale-job": Case({"image": UPGRADE_IMAGE, "operations": ["scale_out", "scale_in"]}, "operation_not_allowed", ("upgrade", "scale_out")),
    "scale-by-an-upgrade-job": Case({"replicas": "4", "operations": ["upgrade"]}, "operation_not_allowed", ("scale_out", "upgrade")),
    "removal-by-a-scale-job": Case({"state": "absent", "confirm": NAME, "operations": ["scale_in"], "deletion_protection": "false"},
                                   "operation_not_allowed", ("remove",)),
    "protected": Case({"state": "absent", "confirm": NAME}, "protected", ("bank.accounts", "deletion_protection")),
    "version-path": Case({"image": "kwdb/kwdb:2.2.0"}, "version_path", ("3.2.1", "2.2.0")),
    "right": Case({"name": "few", "kubeconfig": "no-budgets"}, "forbidden", ("patch poddisruptionbudgets in namespace",)),
    "right-to-read": Case({"name": "few", "kubeconfig": "no-volumes"}, "api_forbidden", ("'list'", "persistentvolumes", "cluster-wide")),
    "right-to-the-lock": Case({"name": "few", "kubeconfig": "no-leases"}, "forbidden", ("create leases in namespace",)),
}  # fmt: skip
ACCOUNTS = {
    "no-budgets": ("poddisruptionbudgets", "patch"),
    "no-volumes": ("persistentvolumes", "list"),
    "no-leases": ("leases", "create", "patch"),
}


@pytest.fixture(scope="module")
def cluster(place: Place) -> dict[str, str]:
    """A settled cluster that holds a table, a Service of somebody else's, and accounts that lack a right; their kubeconfigs."""
    kubectl("--namespace", place.namespace, "create", "service", "clusterip", "foreign-public", "--tcp=80")
    place.good(NAME)
    place.sql(NAME, "CREATE DATABASE bank; CREATE TABLE bank.accounts (id INT PRIMARY KEY, balance DECIMAL)")
    return {name: str(place.account(name, lacks)) for name, lacks in ACCOUNTS.items()}


def play(
    place: Place, home: Path, cases: dict[str, Case], kubeconfigs: dict[str, str], module: str = CLUSTER
) -> tuple[dict[str, Any], list[Request]]:
    """Each case's answer, and everything that the accounts of this namespace sent meanwhile."""
    filled = []
    for name, case in cases.items():
        options = {**place.defaults, "name": NAME, **case.options}
        if options.get("kubeconfig") in kubeconfigs:
            options["kubeconfig"] = kubeconfigs[options["kubeconfig"]]
        filled.append({"name": name, "options": {key: value for key, value in options.items() if value is not None}})
    results = home / "results.json"
    (home / "play.yml").write_text(PLAY.format(module=module))
    (home / "cases.json").write_text(json.dumps({"cases": filled, "results": str(results)}))
    mark = place.audit.mark()
    environment = place.environment()
    done = subprocess.run(["ansible-playbook", "play.yml", "-e", "@cases.json"], cwd=home, env=environment, capture_output=True, text=True,
                          timeout=400, check=False)  # fmt: skip
    assert results.exists(), done.stdout[-3000:] + done.stderr[-2000:]
    sent = [
        request
        for request in place.audit.since(mark)
        if request.user.startswith(f"system:serviceaccount:{place.namespace}:")
    ]
    return dict(zip(cases, json.loads(results.read_text()), strict=True)), sent


Answers = tuple[dict[str, Any], list[Request]]


@pytest.fixture(scope="module")
def inputs(place: Place, cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return play(place, tmp_path_factory.mktemp("inputs"), INPUTS, cluster)


@pytest.fixture(scope="module")
def looks(place: Place, cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return play(place, tmp_path_factory.mktemp("looks"), LOOKS, cluster)


def judge(found: dict[str, Any], case: Case) -> None:
    assert found["failed"], f"was not refused: {found.get('msg')}"
    assert found.get("reason") == case.reason, found["msg"]
    for text in case.says:
        assert text in found["msg"]
    assert "Traceback" not in json.dumps(found)


@pytest.mark.parametrize("name", INPUTS)
def test_bad_input_is_refused_with_what_is_allowed(inputs: Answers, name: str) -> None:
    judge(inputs[0][name], INPUTS[name])


def test_bad_input_costs_no_request(inputs: Answers) -> None:
    assert [str(request) for request in inputs[1]] == []


@pytest.mark.parametrize("name", LOOKS)
def test_what_must_not_be_done_is_refused(looks: Answers, name: str) -> None:
    judge(looks[0][name], LOOKS[name])


def test_no_refusal_wrote_anything(looks: Answers) -> None:
    assert len(looks[1]) > 50, "the log does not show this account's requests"
    assert [str(request) for request in looks[1] if request.kind == "write"] == []


def test_a_refusal_for_want_of_a_right_names_every_right(looks: Answers, place: Place) -> None:
    found = looks[0]["right-to-the-lock"]
    assert found["missing"] == ["create leases", "patch leases"]
    assert place.namespace in found["msg"]


def test_a_node_that_is_needed_is_not_decommissioned(place: Place, cluster: dict[str, str]) -> None:
    result = place.refused(NAME, "nodes_needed", module=DECOMMISSION, node="2")
    assert "never below 3" in result.msg and result.writes == []


def test_the_cluster_is_as_it_was(place: Place, cluster: dict[str, str]) -> None:
    result = place.good(NAME)
    assert result.steps == [] and result.writes == []
