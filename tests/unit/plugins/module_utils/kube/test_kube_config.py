# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Which server is used, and that no text holds a secret. Nothing here sends a request."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube import auth, resources
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.client import Client
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.config import normal_url
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError

pytest.importorskip("kubernetes")

KUBECONFIG: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "one",
    "contexts": [
        {"name": "one", "context": {"cluster": "a", "user": "u"}},
        {"name": "two", "context": {"cluster": "b", "user": "u"}},
    ],
    "clusters": [
        {"name": "a", "cluster": {"server": "https://a.example:6443"}},
        {"name": "b", "cluster": {"server": "https://b.example"}},
    ],
    "users": [{"name": "u", "user": {"token": "t0ken-value"}}],
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(KUBECONFIG))
    return str(path)


def token(client: Client) -> str | None:
    return client._authorization()


def test_kubeconfig_as_file(file: str) -> None:
    client = Client({"kubeconfig": file})
    assert (client.server, client.context, token(client)) == ("https://a.example:6443", "one", "Bearer t0ken-value")


def test_kubeconfig_as_dictionary_with_context() -> None:
    client = Client({"kubeconfig": copy.deepcopy(KUBECONFIG), "context": "two"})
    assert (client.server, client.context, token(client)) == ("https://b.example", "two", "Bearer t0ken-value")


def test_default_kubeconfig(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", f"/nonexistent:{file}")
    assert Client({}).server == "https://a.example:6443"


def test_explicit_wins_over_the_file(file: str) -> None:
    client = Client({"kubeconfig": file, "host": "c.example:1/", "api_key": "mine", "validate_certs": False})
    assert client.server == "https://c.example:1" and token(client) == "Bearer mine"
    assert client._configuration.verify_ssl is False


def test_host_alone_takes_nothing_from_the_default_file(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", file)
    client = Client({"host": "https://c.example"})
    assert client.context is None and token(client) is None


@pytest.mark.parametrize(
    ("connection", "word"),
    [
        ({}, "no kubeconfig"),
        ({"kubeconfig": "/nonexistent"}, "no file /nonexistent"),
        ({"kubeconfig": {"users": KUBECONFIG["users"]}}, "cannot be used"),
        ({"kubeconfig": KUBECONFIG, "context": "three"}, "three"),
        ({"kubeconfig": ["t0ken-value"]}, "neither a path nor a dictionary"),
        ({"kubeconfig": KUBECONFIG, "ca_cert": "/nonexistent"}, "ca_cert"),
        ({"in_cluster": True}, "in_cluster"),
        ({"in_cluster": True, "host": "https://x"}, "excludes"),
    ],
)
def test_what_cannot_be_used_says_so(connection: dict[str, Any], word: str) -> None:
    with pytest.raises(KubeError) as caught:
        Client(connection)
    assert caught.value.reason == "ConfigInvalid" and word in str(caught.value)
    assert "t0ken-value" not in str(caught.value)


def test_in_cluster_is_never_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(KubeError, match="no kubeconfig"):
        Client({})


def test_expect_server(file: str) -> None:
    assert Client({"kubeconfig": file, "expect_server": "HTTPS://a.example:6443/"}).context == "one"
    with pytest.raises(KubeError) as caught:
        Client({"kubeconfig": file, "expect_server": "https://b.example"})
    assert caught.value.reason == "WrongServer" and "https://a.example:6443" in str(caught.value)


def test_normal_url() -> None:
    assert normal_url("https://A.example:443/") == normal_url("a.example") == "https://a.example"
    assert normal_url("http://a:8080") == "http://a:8080"


def test_only_the_secrets_of_a_kubeconfig_are_hidden() -> None:
    hidden = {"v1", "one", "Config", "t0ken-value", "password-of-sql"}
    module = SimpleNamespace(params={"kubeconfig": KUBECONFIG, "context": "one"}, no_log_values=hidden)
    connection = auth.connection_of(module)  # type: ignore[arg-type]
    assert hidden == {"t0ken-value", "password-of-sql"}
    assert set(connection) == set(auth.AUTH_ARGS) and connection["context"] == "one"


def test_a_path_of_a_kubeconfig_is_not_hidden() -> None:
    hidden = {"/home/me/.kube/config"}
    module = SimpleNamespace(params={"kubeconfig": "/home/me/.kube/config"}, no_log_values=hidden)
    auth.connection_of(module)  # type: ignore[arg-type]
    assert hidden == set()


def test_paths() -> None:
    assert resources.path("Pod", "a", "db", "exec") == "/api/v1/namespaces/db/pods/a/exec"
    assert resources.path("StatefulSet") == "/apis/apps/v1/statefulsets"
    assert resources.path("Deployment", None, "db") == "/apis/apps/v1/namespaces/db/deployments"
    assert resources.path("CronJob", None, "db") == "/apis/batch/v1/namespaces/db/cronjobs"
    assert resources.path("Node", "n", "db") == "/api/v1/nodes/n"
    assert resources.path("Lease", "a/b", "db").endswith("/leases/a%2Fb")
    with pytest.raises(ValueError, match="needs a namespace"):
        resources.path("Pod", "a")
    assert resources.KINDS["Lease"].group == "coordination.k8s.io" and resources.KINDS["Pod"].group == ""
    assert resources.KINDS["Lease"].api_version == "coordination.k8s.io/v1"
