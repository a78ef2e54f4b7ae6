# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The client against a scripted HTTP server: what is sent, what is sent again, and what failures become."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.client import Client
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError

pytest.importorskip("kubernetes")

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "db"}}
CUT = "cut"


def status(code: int, reason: str, message: str = "said the server") -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "code": code, "reason": reason, "message": message}


class Api:
    """Answers requests from a script (the last answer stays) and keeps them."""

    def __init__(self) -> None:
        self.answers: list[Any] = [(200, {})]
        self.seen: list[tuple[str, str, dict[str, list[str]], Any, dict[str, str]]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                url = urlsplit(self.path)
                headers = {key.lower(): value for key, value in self.headers.items()}
                api.seen.append((self.command, url.path, parse_qs(url.query), body, headers))
                answer = api.answers.pop(0) if len(api.answers) > 1 else api.answers[0]
                if answer == CUT:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                code, data, *more = answer
                raw = data if isinstance(data, bytes) else json.dumps(data).encode()
                self.send_response(code)
                for key, value in (more[0] if more else {}).items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def client(self, **options: Any) -> Client:
        patience = {"retry_seconds": 2, "first_retry_seconds": 2} | options
        return Client({"host": self.url, "api_key": "s3cr3t"}, **patience)


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_get_sends_the_token_and_counts_a_read(api: Api) -> None:
    api.answers = [(200, POD)]
    client = api.client()
    assert client.get("Pod", "a", "db") == POD
    method, path, _query, _body, headers = api.seen[0]
    assert (method, path) == ("GET", "/api/v1/namespaces/db/pods/a")
    assert headers["authorization"] == "Bearer s3cr3t"
    assert dict(client.counts) == {"reads": 1, "writes": 0, "execs": 0, "dry_runs": 0}
    assert client.server == api.url and client.context is None


def test_get_of_what_is_not_there_is_none(api: Api) -> None:
    api.answers = [status(404, "NotFound")]
    assert api.client().get("Pod", "a", "db") is None


def test_list_follows_pages_and_completes_items(api: Api) -> None:
    api.answers = [
        (200, {"metadata": {"continue": "c", "resourceVersion": "7"}, "items": [{"metadata": {"name": "a"}}]}),
        (200, {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "b"}}]}),
    ]
    items, version = api.client().list("StatefulSet", "db", labels={"x": "y", "z": "1"}, fields={"metadata.name": "a"})
    assert [item["metadata"]["name"] for item in items] == ["a", "b"] and version == "7"
    assert items[0]["apiVersion"] == "apps/v1" and items[0]["kind"] == "StatefulSet"
    assert api.seen[0][2]["labelSelector"] == ["x=y,z=1"] and api.seen[0][2]["fieldSelector"] == ["metadata.name=a"]
    assert api.seen[1][2]["continue"] == ["c"]


def test_list_begins_again_when_its_pages_expire(api: Api) -> None:
    first = {"metadata": {"continue": "c", "resourceVersion": "7"}, "items": [{"metadata": {"name": "a"}}]}
    last = {"metadata": {"resourceVersion": "8"}, "items": [{"metadata": {"name": "b"}}]}
    api.answers = [(200, first), status(410, "Expired"), (200, last)]
    items, version = api.client().list("Pod", "db")
    assert [item["metadata"]["name"] for item in items] == ["b"] and version == "8"


def test_apply_is_a_server_side_apply(api: Api) -> None:
    client = api.client()
    client.apply(POD)
    client.apply(POD, dry_run=True)
    method, path, query, body, headers = api.seen[0]
    assert (method, path, body) == ("PATCH", "/api/v1/namespaces/db/pods/a", POD)
    assert query == {"fieldManager": ["kaiwudb.kubernetes"], "force": ["true"]}
    assert headers["content-type"] == "application/apply-patch+yaml"
    assert api.seen[1][2]["dryRun"] == ["All"]
    assert (client.counts["writes"], client.counts["dry_runs"]) == (1, 1)


def test_patch_types_and_subresource(api: Api) -> None:
    client = api.client()
    client.patch("PersistentVolume", "v", None, [{"op": "remove", "path": "/spec/claimRef"}], type="json")
    client.patch("Pod", "a", "db", {"status": {}}, type="strategic", subresource="status")
    assert api.seen[0][1] == "/api/v1/persistentvolumes/v"
    assert api.seen[0][4]["content-type"] == "application/json-patch+json"
    assert api.seen[1][1].endswith("/pods/a/status")
    assert api.seen[1][4]["content-type"] == "application/strategic-merge-patch+json"


def test_a_precondition_that_does_not_hold_is_a_conflict(api: Api) -> None:
    """Of a failed test the server says no more than that the request is invalid."""
    api.answers = [status(422, "Invalid")]
    test = {"op": "test", "path": "/metadata/generation", "value": 3}
    with pytest.raises(KubeError, match="somebody else changed it") as error:
        api.client().patch("StatefulSet", "kw", "db", [test], type="json")
    assert (error.value.status, error.value.reason) == (409, "Conflict")
    for body, how in (([{"op": "remove", "path": "/spec"}], "json"), ({"spec": {}}, "merge")):
        with pytest.raises(KubeError) as error:
            api.client().patch("StatefulSet", "kw", "db", body, type=how)  # type: ignore[arg-type]
        assert error.value.status == 422, "what is really invalid stays it"


def test_delete_with_its_options(api: Api) -> None:
    assert api.client().delete("Pod", "a", "db", grace=1, propagation="Orphan", uid="u") is True
    assert api.seen[0][3] == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 1,
        "propagationPolicy": "Orphan",
        "preconditions": {"uid": "u"},
    }


def test_delete_of_what_is_gone_is_false(api: Api) -> None:
    api.answers = [status(404, "NotFound")]
    assert api.client().delete("Pod", "a", "db") is False


@pytest.mark.parametrize("trouble", [CUT, status(503, "Unavailable"), status(429, "TooManyRequests"), (502, b"x")])
def test_reads_are_sent_again(api: Api, trouble: Any) -> None:
    api.answers = [trouble, trouble, (200, POD)]
    client = api.client()
    assert client.get("Pod", "a", "db") == POD
    assert len(api.seen) == 3 and client.counts["reads"] == 3


@pytest.mark.parametrize("trouble", [CUT, status(503, "ServiceUnavailable"), status(429, "TooManyRequests")])
def test_applies_and_deletes_of_one_object_are_sent_again(api: Api, trouble: Any) -> None:
    client = api.client()
    api.answers = [trouble, (200, POD)]
    client.apply(POD)
    api.answers = [trouble, (200, {})]
    client.delete("Pod", "a", "db", uid="u")
    assert len(api.seen) == 4


def test_other_writes_whose_answer_was_lost_are_not_sent_again(api: Api) -> None:
    api.answers = [CUT]
    client = api.client()
    for write in (
        lambda: client.create(POD),
        lambda: client.patch("Pod", "a", "db", {}),
        lambda: client.replace(POD),
        lambda: client.delete("Pod", "a", "db"),
    ):
        seen = len(api.seen)
        with pytest.raises(KubeError) as caught:
            write()
        assert caught.value.reason == "ConnectionFailed" and caught.value.unanswered
        assert len(api.seen) == seen + 1


def test_other_writes_are_sent_again_after_429(api: Api) -> None:
    api.answers = [(*status(429, "TooManyRequests"), {"Retry-After": "0"}), (201, POD)]
    assert api.client().create(POD) == POD


def test_an_eviction_names_that_very_pod(api: Api) -> None:
    api.answers = [(201, {"kind": "Status", "status": "Success"})]
    client = api.client()
    client.evict("a", "db", uid="u")
    method, path, _query, body, _headers = api.seen[0]
    assert (method, path) == ("POST", "/api/v1/namespaces/db/pods/a/eviction") and client.counts["writes"] == 1
    assert body["kind"] == "Eviction" and body["apiVersion"] == "policy/v1"
    assert body["metadata"] == {"name": "a", "namespace": "db"} and body["deleteOptions"]["preconditions"] == {
        "uid": "u"
    }


def test_a_budget_that_refuses_is_for_the_caller_to_wait_for(api: Api) -> None:
    refusal = {
        "kind": "Status",
        "code": 429,
        "reason": "TooManyRequests",
        "message": "Cannot evict pod as it would violate the pod's disruption budget.",
    }
    api.answers = [(429, refusal, {"Retry-After": "10"})]
    with pytest.raises(KubeError) as caught:
        api.client().evict("a", "db", uid="u")
    assert caught.value.status == 429 and len(api.seen) == 1


def test_repetition_ends(api: Api) -> None:
    api.answers = [status(503, "ServiceUnavailable")]
    with pytest.raises(KubeError) as caught:
        api.client(retry_seconds=0.5, first_retry_seconds=0.5).get("Pod", "a", "db")
    assert caught.value.status == 503 and len(api.seen) < 6


def test_a_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(KubeError) as caught:
        Client({"host": f"http://127.0.0.1:{port}"}, first_retry_seconds=0.2).get("Pod", "a", "db")
    assert caught.value.reason == "ConnectionFailed" and "Connection refused" in str(caught.value)
    assert caught.value.unsent and not caught.value.unanswered
    assert "object at 0x" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(409, "AlreadyExists"), "AlreadyExists"),
        (status(422, "Invalid"), "Invalid"),
        ((400, b"<html>"), "Bad Request"),
    ],
)
def test_failures_keep_the_servers_reason(api: Api, answer: Any, reason: str) -> None:
    api.answers = [answer]
    with pytest.raises(KubeError) as caught:
        api.client().create(POD)
    assert caught.value.reason == reason and caught.value.name == "a" and len(api.seen) == 1


def test_forbidden_names_what_a_role_needs(api: Api) -> None:
    api.answers = [status(403, "Forbidden")]
    with pytest.raises(KubeError) as caught:
        api.client().list("StatefulSet", "db")
    text = str(caught.value)
    assert "verb 'list'" in text and "'statefulsets.apps'" in text and "namespace db" in text
    assert "s3cr3t" not in text


def test_no_credentials_are_named_as_such(api: Api) -> None:
    api.answers = [status(403, "Forbidden", 'User "system:anonymous" cannot list')]
    with pytest.raises(KubeError, match="no credentials were sent"):
        api.client().list("Pod", "db")


def test_streams_wait_for_a_server_that_refuses_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = Client({"host": f"http://127.0.0.1:{port}"}, first_retry_seconds=1)
    with pytest.raises(KubeError) as caught:
        client.exec("db", "a", "kaiwudb", ["true"], timeout=5)
    assert caught.value.unsent and client.counts["execs"] > 1


def test_a_stream_the_server_may_have_seen_is_not_opened_again(api: Api) -> None:
    api.answers = [CUT]
    client = api.client()
    with pytest.raises(KubeError) as caught:
        client.exec("db", "a", "kaiwudb", ["true"], timeout=5)
    assert not caught.value.unsent and caught.value.unanswered and client.counts["execs"] == 1


def test_a_refused_stream_has_the_servers_words(api: Api) -> None:
    api.answers = [status(403, "Forbidden")]
    with pytest.raises(KubeError) as caught:
        api.client().exec("db", "a", "kaiwudb", ["true"], timeout=5)
    assert caught.value.status == 403
    assert "verb 'create'" in str(caught.value) and "pods/exec" in str(caught.value)


def watched(*events: tuple[str, dict[str, Any]]) -> bytes:
    return b"".join(json.dumps({"type": kind, "object": obj}).encode() + b"\n" for kind, obj in events)


def test_watch_yields_and_ends(api: Api) -> None:
    api.answers = [(200, watched(("ADDED", POD), ("BOOKMARK", {"metadata": {"resourceVersion": "9"}})))]
    events = list(api.client().watch("Pod", "db", resource_version="7", timeout=2.5))
    assert [kind for kind, _obj in events] == ["ADDED", "BOOKMARK"]
    query = api.seen[0][2]
    assert query["watch"] == ["1"] and query["resourceVersion"] == ["7"] and query["timeoutSeconds"] == ["3"]


def test_watch_of_an_old_version_says_expired(api: Api) -> None:
    api.answers = [(200, watched(("ERROR", status(410, "Expired")[1])))]
    with pytest.raises(KubeError) as caught:
        list(api.client().watch("Pod", "db", resource_version="1", timeout=1))
    assert (caught.value.status, caught.value.reason) == (410, "Expired")


def test_can_i_is_no_write(api: Api) -> None:
    api.answers = [(201, {"status": {"allowed": True}})]
    client = api.client()
    assert client.can_i("create", "pods/exec", namespace="db") is True
    assert api.seen[0][3]["spec"]["resourceAttributes"] == {
        "verb": "create",
        "resource": "pods",
        "subresource": "exec",
        "namespace": "db",
    }
    assert client.counts["writes"] == 0


def test_logs_of_a_container_that_never_ran_are_empty(api: Api) -> None:
    api.answers = [(200, "gr\u00fc\u00df\n".encode())]
    assert api.client().logs("db", "a", "kaiwudb", tail=5) == "gr\u00fc\u00df\n"
    api.answers = [status(400, "BadRequest", "previous terminated container not found")]
    assert api.client().logs("db", "a", previous=True) == ""


def test_events_come_in_order(api: Api) -> None:
    newer = {"metadata": {"name": "2"}, "lastTimestamp": "2026-01-02T00:00:00Z"}
    older = {"metadata": {"name": "1"}, "eventTime": "2026-01-01T00:00:00Z"}
    api.answers = [(200, {"metadata": {}, "items": [newer, older]})]
    assert [event["metadata"]["name"] for event in api.client().events("db", name="a", uid="u")] == ["1", "2"]
    assert api.seen[0][2]["fieldSelector"] == ["involvedObject.name=a,involvedObject.uid=u"]
