# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The proxy's promises, against a server of three answers: bytes, a chunked stream, and a WebSocket that says goodbye."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from faults.proxy import Action, CutStream, Delay, Proxy, Reply, Request, Reset, parse

FRAMES = b"\x82\x06\x01hello\x82\x7e\x00\x80" + b"\x01" + b"x" * 127  # a short frame and one with a 16-bit length
GOODBYE = b"\x88\x02\x03\xe8"
PODS = "/api/v1/namespaces/n/pods"

pytestmark = pytest.mark.quick


class Server:
    """A server that keeps connections open, and what it was asked."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.heads: list[str] = []
        self.from_client = b""
        self.connections = 0
        self.go_on = threading.Event()  # the streams wait for it half-way
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as lines:
            while True:
                head = b"".join(iter(lines.readline, b"\r\n")) if (first := lines.readline()) else b""
                if not first:
                    return
                head = first + head
                self.heads.append(head.decode())
                length = next((int(x[15:]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")), 0)
                body = lines.read(length)
                if b"/exec" in first or b"/portforward" in first:
                    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n" + FRAMES[:8])
                    self.from_client += lines.read1()
                    self.go_on.wait(10)
                    sock.sendall(FRAMES[8:] + GOODBYE)
                    lines.read()  # until the other side has closed: the server waits for the client's goodbye
                    return
                if b"watch=1" in first:
                    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
                    self.go_on.wait(10)
                    sock.sendall(b"4\r\ntwo\n\r\n0\r\n\r\n")
                    return
                if b"chunked" in first:
                    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
                else:
                    sock.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body) + 2, b"<" + body + b">")
                    )


class Client:
    """A connection to the proxy that sends heads and reads bytes."""

    def __init__(self, proxy: Proxy) -> None:
        self.sock = socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), timeout=10)

    def send(self, line: str, body: bytes = b"", *fields: str) -> None:
        head = [f"{line} HTTP/1.1", "Host: me", "Authorization: Bearer mine", f"Content-Length: {len(body)}", *fields]
        self.sock.sendall("\r\n".join([*head, "", ""]).encode() + body)

    def read(self, until: bytes) -> bytes:
        """Up to and with ``until``; ConnectionError when the stream ends before."""
        got = b""
        while until not in got:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError(f"ended after {got!r}")
            got += data
        return got


@pytest.fixture
def server() -> Iterator[Server]:
    mine = Server()
    yield mine
    mine.go_on.set()
    mine.listener.close()


@pytest.fixture
def proxy(server: Server, tmp_path: Path) -> Iterator[Proxy]:
    config = tmp_path / "kubeconfig"
    config.write_text(yaml.safe_dump({
        "contexts": [{"name": "c", "context": {"cluster": "k"}}], "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": server.url}}],
    }))  # fmt: skip
    with Proxy(config) as mine:
        yield mine


def act(proxy: Proxy, action: Action) -> None:
    proxy.on_request = lambda _request: action


@pytest.mark.parametrize(
    ("line", "resource", "name", "sort"),
    [
        (f"GET {PODS}/kw-0", "pods", "kw-0", "read"),
        (f"GET {PODS}?watch=1", "pods", "", "watch"),
        (f"GET {PODS}/kw-0/log?follow=true", "pods/log", "kw-0", "watch"),
        (f"GET {PODS}/kw-0/exec?command=ls", "pods/exec", "kw-0", "exec"),
        (f"POST {PODS}/kw-0/portforward?ports=1", "pods/portforward", "kw-0", "exec"),
        (f"POST {PODS}/kw-0/eviction", "pods/eviction", "kw-0", "write"),
        ("GET /api/v1/namespaces/n", "namespaces", "n", "read"),
        ("DELETE /api/v1/persistentvolumes/v", "persistentvolumes", "v", "write"),
        ("PATCH /apis/apps/v1/namespaces/n/statefulsets/kw", "statefulsets", "kw", "write"),
        ("PATCH /apis/apps/v1/namespaces/n/statefulsets/kw?dryRun=All", "statefulsets", "kw", "read"),
        ("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "selfsubjectaccessreviews", "", "read"),
        ("GET /version", "version", "", "read"),
    ],
)
def test_a_request_line_is_understood(line: str, resource: str, name: str, sort: str) -> None:
    method, target = line.split(" ")
    request = parse(1, method, target)
    assert (request.resource, request.name, request.sort) == (resource, name, sort)
    assert request.namespace == ("n" if "/namespaces/n/" in target else "")


def test_requests_are_forwarded_and_answers_relayed_byte_by_byte(proxy: Proxy, server: Server) -> None:
    told: list[tuple[str, int]] = []
    proxy.on_answer = lambda request: told.append(("answer", request.status))
    proxy.on_relayed = lambda request: told.append(("relayed", request.status))
    client = Client(proxy)
    client.send(f"POST {PODS}", b"{}")
    assert client.read(b">") == b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<{}>"
    client.send("GET /chunked")
    assert client.read(b"0\r\n\r\n").endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert [(r.number, r.method, r.body) for r in proxy.requests] == [(1, "POST", b"{}"), (2, "GET", b"")]
    assert server.connections == 1, "one connection of the client is one to the server"
    assert "Authorization: Bearer mine" in server.heads[0] and "Host: me" not in server.heads[0]
    assert told[:3] == [("answer", 200), ("relayed", 200), ("answer", 200)]


def test_nothing_is_relayed_before_on_answer_returns(proxy: Proxy) -> None:
    held = threading.Event()
    proxy.on_answer = lambda _request: (held.wait(10), None)[1]
    client = Client(proxy)
    client.send("GET /version")
    client.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.sock.recv(1)
    held.set()
    client.sock.settimeout(10)
    assert client.read(b"<>")


def test_a_reply_stands_in_for_the_server(proxy: Proxy, server: Server) -> None:
    act(proxy, Reply(429, "TooManyRequests", "later", (("Retry-After", "1"),)))
    client = Client(proxy)
    for _twice in range(2):  # the connection lives on
        client.send("GET /version")
        answer = client.read(b'"}')
        assert answer.startswith(b"HTTP/1.1 429 ") and b"Retry-After: 1\r\n" in answer and b'"later"' in answer
    assert server.heads == []


@pytest.mark.parametrize(("when", "seen"), [("before", 0), ("after", 1)])
def test_a_reset_comes_before_or_after_the_server_has_seen_it(
    proxy: Proxy, server: Server, when: str, seen: int
) -> None:
    act(proxy, Reset(when))  # type: ignore[arg-type]
    client = Client(proxy)
    client.send("GET /version")
    with pytest.raises(ConnectionResetError):
        client.read(b">")
    assert len(server.heads) == seen


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_delay_is_at_least_so_long(proxy: Proxy, server: Server, when: str) -> None:
    act(proxy, Delay(0.4, when))  # type: ignore[arg-type]
    client = Client(proxy)
    began = time.monotonic()
    client.send("GET /version")
    assert client.read(b"<>")
    assert time.monotonic() - began >= 0.4


def test_a_watch_is_relayed_as_it_comes(proxy: Proxy, server: Server) -> None:
    client = Client(proxy)
    client.send(f"GET {PODS}?watch=1")
    assert b"one\n" in client.read(b"one\n\r\n")
    server.go_on.set()
    assert client.read(b"0\r\n\r\n").startswith(b"4\r\ntwo\n")


@pytest.mark.parametrize("cut", [CutStream(after_bytes=3), CutStream(after_seconds=0.3)])
def test_a_watch_is_cut(proxy: Proxy, cut: CutStream) -> None:
    act(proxy, cut)
    client = Client(proxy)
    client.send(f"GET {PODS}?watch=1")
    assert client.read(b"\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        client.read(b"two")


def test_an_exec_is_held_until_its_end_and_input_goes_through(proxy: Proxy, server: Server) -> None:
    answered: list[Request] = []
    proxy.on_answer = answered.append
    client = Client(proxy)
    client.send(f"GET {PODS}/p/exec?command=x", b"", "Upgrade: websocket")
    assert client.read(b"\r\n\r\n").endswith(b"\r\n\r\n"), "the handshake alone"
    client.sock.sendall(b"input")
    client.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.sock.recv(1)
    assert not answered
    client.sock.settimeout(10)
    server.go_on.set()
    assert client.read(GOODBYE) == FRAMES + GOODBYE
    assert server.from_client == b"input" and [request.status for request in answered] == [101]


def test_a_port_forward_is_relayed_as_it_comes(proxy: Proxy) -> None:
    client = Client(proxy)
    client.send(f"GET {PODS}/p/portforward?ports=1", b"", "Upgrade: websocket")
    assert client.read(b"hello").endswith(FRAMES[:8])


@pytest.mark.parametrize("cut", [CutStream(after_bytes=0), CutStream(after_seconds=0.2)])
def test_an_exec_is_cut(proxy: Proxy, cut: CutStream) -> None:
    act(proxy, cut)
    client = Client(proxy)
    client.send(f"GET {PODS}/p/exec?command=x", b"", "Upgrade: websocket")
    assert client.read(b"\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        client.read(GOODBYE)


def test_the_answer_of_an_exec_is_lost(proxy: Proxy, server: Server) -> None:
    answered: list[Request] = []
    proxy.on_answer = answered.append
    act(proxy, Reset("after"))
    server.go_on.set()
    client = Client(proxy)
    client.send(f"GET {PODS}/p/exec?command=x", b"", "Upgrade: websocket")
    assert client.read(b"\r\n\r\n")
    client.sock.sendall(b"input")
    with pytest.raises(ConnectionResetError):
        client.read(GOODBYE)
    assert len(answered) == 1, "the stream had ended at the server"


def test_a_hook_that_fails_fails_the_test(tmp_path: Path, server: Server) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(
        yaml.safe_dump({
            "contexts": [{"name": "c", "context": {"cluster": "k"}}], "current-context": "c",
            "clusters": [{"name": "k", "cluster": {"server": server.url}}],
        })
    )  # fmt: skip

    def hook(_request: Request) -> None:
        raise ValueError("a defect of the test")

    with pytest.raises(ValueError, match="a defect of the test"), Proxy(config) as proxy:
        proxy.on_answer = hook
        client = Client(proxy)
        client.send("GET /version")
        with pytest.raises(ConnectionResetError):
            client.read(b">")
