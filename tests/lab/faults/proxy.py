# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A plain-HTTP reverse proxy in front of a real API server: sees every request, and makes the network misbehave on demand.

The answers that are relayed are the server's own bytes. Plain sockets and a thread a connection: a cut must be a real reset,
an answer must be held before its first byte goes on, and a stream must be relayed as it comes; no HTTP library promises that.
"""

from __future__ import annotations

import base64
import json
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import yaml

Sort = Literal["read", "watch", "write", "exec"]
When = Literal["before", "after"]
READ_TIMEOUT = 120.0  # seconds without a byte of an ordinary answer; the client's own limit is lower


@dataclass
class Request:
    """One request, counted from 1 over all connections.

    path: without the query. resource: plural, with ``/subresource``. body: as sent. status: of the answer, 0 until there
    is one. A review (SelfSubjectAccessReview) and a dry run store nothing and are reads; port-forwards count as exec.
    """

    number: int
    method: str
    path: str
    query: dict[str, list[str]]
    namespace: str
    resource: str
    name: str
    sort: Sort
    body: bytes = field(default=b"", repr=False)
    status: int = 0

    def __str__(self) -> str:
        return f"#{self.number} {self.sort} {self.method} {self.path}"


@dataclass(frozen=True)
class Reply:
    """A Kubernetes Status in place of the server's answer; the server never sees the request."""

    status: int
    reason: str
    message: str = "injected by the test"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Reset:
    """TCP reset: ``before`` the server sees the request, or ``after`` it has answered (the answer is lost)."""

    when: When = "before"


@dataclass(frozen=True)
class Delay:
    """So many seconds ``before`` the request is forwarded, or ``after`` the whole answer is here."""

    seconds: float
    when: When = "before"


@dataclass(frozen=True)
class CutStream:
    """For watch and exec: a reset to both sides after so many bytes of the stream or seconds, whichever comes first."""

    after_bytes: int | None = None
    after_seconds: float | None = None


Action = Reply | Reset | Delay | CutStream


class Proxy:
    """Context manager; ``url`` is the client's ``host``. Leaving it raises what a hook has raised.

    The hooks are called in the connection's thread; a request waits while they run.
    on_request: before forwarding; None passes. on_answer: the whole answer is here and nothing of it has been relayed (of
    an exec nothing but the handshake). A watch, a port-forward and whatever CutStream was asked for are relayed as they come:
    for them it says that the stream has ended at the server. on_relayed: right after the answer went to the client.
    """

    def __init__(self, kubeconfig: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        contexts = {item["name"]: item["context"] for item in content["contexts"]}
        name = contexts[content["current-context"]]["cluster"]
        cluster = next(item["cluster"] for item in content["clusters"] if item["name"] == name)
        self._upstream = urlsplit(cluster["server"])
        self._tls: ssl.SSLContext | None = None
        if self._upstream.scheme == "https":
            data = cluster.get("certificate-authority-data")
            text = base64.b64decode(data).decode() if data else None
            self._tls = ssl.create_default_context(cafile=cluster.get("certificate-authority"), cadata=text)
            if cluster.get("insecure-skip-tls-verify"):
                self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self.requests: list[Request] = []
        self.on_request: Callable[[Request], Action | None] = lambda _request: None
        self.on_answer: Callable[[Request], None] = lambda _request: None
        self.on_relayed: Callable[[Request], None] = lambda _request: None
        self._failures: list[BaseException] = []
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._stopping = threading.Event()

    def __enter__(self) -> Proxy:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True, name="proxy").start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stopping.set()
        with self._lock:
            for sock in (self._listener, *self._sockets):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits on it
        self._listener.close()
        if self._failures:
            raise self._failures[0]

    # ---- connections

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _peer = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True, name="proxy-connection").start()

    def _serve(self, sock: socket.socket) -> None:
        client, upstream = _Wire(self._known(sock)), None
        try:
            while not self._stopping.is_set():
                head = client.head()
                if not head:
                    return
                request = self._count(head, client.body(head))
                if upstream is not None and upstream.stale():
                    self._forget(upstream)
                    upstream = None
                upstream = self._exchange(request, head, client, upstream)
                if upstream is not None and upstream.done:
                    return
        except _Cut:
            client.reset()
        except OSError:
            client.reset()  # either side is gone: so is the other
        except BaseException as error:
            self._failures.append(error)
            client.reset()
        finally:
            for wire in (client, upstream):
                if wire is not None:
                    self._forget(wire)

    def _known(self, sock: socket.socket) -> socket.socket:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets.add(sock)
        return sock

    def _forget(self, wire: _Wire) -> None:
        with self._lock:
            self._sockets.discard(wire.sock)
        wire.sock.close()

    def _dial(self) -> _Wire:
        port = self._upstream.port or (443 if self._tls else 80)
        sock = socket.create_connection((self._upstream.hostname or "", port), timeout=10)
        if self._tls:
            sock = self._tls.wrap_socket(sock, server_hostname=self._upstream.hostname)
        return _Wire(self._known(sock))

    def _count(self, head: bytes, body: bytes) -> Request:
        method, target, _version = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        with self._lock:
            request = parse(len(self.requests) + 1, method, target, body)
            self.requests.append(request)
        return request

    # ---- one request

    def _exchange(self, request: Request, head: bytes, client: _Wire, upstream: _Wire | None) -> _Wire | None:
        """Forwards and relays one request; the connection to the server for the next one, None when there is none yet."""
        action = self.on_request(request)
        if isinstance(action, Reply):
            request.status = action.status
            client.sock.sendall(_status(action))
            self.on_relayed(request)
            return upstream
        if action == Reset("before"):
            raise _Cut
        if isinstance(action, Delay) and action.when == "before":
            self._stopping.wait(action.seconds)
        upstream = upstream or self._dial()
        upstream.sock.sendall(self._addressed(head, request.sort == "watch") + request.body)
        answer = upstream.head()
        if not answer:
            raise _Cut
        request.status = int(answer.split(b" ", 2)[1])
        if request.status == 101:
            client.sock.sendall(answer)
            whole = request.resource.endswith("/exec") and not isinstance(action, CutStream)
            kept = self._stream(request, client, upstream, action, whole)
        elif request.sort == "watch" and request.status == 200:
            client.sock.sendall(answer)
            kept = self._stream(request, client, upstream, action, False)
        else:
            kept = answer + upstream.body(answer, request.method)
        self.on_answer(request)
        if isinstance(action, Delay) and action.when == "after":
            self._stopping.wait(action.seconds)
        if action == Reset("after"):
            raise _Cut
        client.sock.sendall(kept)
        if upstream.done:
            client.sock.shutdown(socket.SHUT_WR)
        self.on_relayed(request)
        return upstream

    def _addressed(self, head: bytes, close: bool) -> bytes:
        """The head with the server's own name; the end of a watch is the end of its connection."""
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"host:")]
        if close:
            lines = [line for line in lines if not line.lower().startswith(b"connection:")]
            lines.insert(1, b"Connection: close")
        return b"\r\n".join([lines[0], b"Host: " + self._upstream.netloc.encode(), *lines[1:]])

    def _stream(
        self, request: Request, client: _Wire, upstream: _Wire, action: Action | None, whole: bool
    ) -> bytes:  # fmt: skip
        """Moves bytes both ways in one thread (a TLS socket must not be used by two) until the server's side ends.

        whole: keeps what comes from the server, and returns it.
        """
        cut = action if isinstance(action, CutStream) else CutStream()
        end = time.monotonic() + cut.after_seconds if cut.after_seconds is not None else float("inf")
        left = cut.after_bytes if cut.after_bytes is not None else float("inf")
        kept, frames = b"", _Frames()
        upstream.done = True
        fresh, upstream.rest = upstream.rest, b""
        while True:
            if len(fresh) > left or time.monotonic() >= end:
                client.sock.sendall(fresh[: int(min(left, len(fresh)))])
                raise _Cut
            left -= len(fresh)
            if whole:
                kept += fresh
            elif fresh:
                client.sock.sendall(fresh)
            # The server's goodbye is the end, even when it waits for ours before it closes.
            if request.sort == "exec" and frames.closed(fresh):
                return kept
            fresh = b""
            pause = 0.0 if upstream.pending() else min(0.5, max(0.0, end - time.monotonic()))
            ready, _writable, _errors = select.select([client.sock, upstream.sock], [], [], pause)
            if self._stopping.is_set():
                raise _Cut
            if client.sock in ready:
                data = client.sock.recv(65536)
                if not data:
                    raise _Cut  # the client has gone
                upstream.sock.sendall(data)
            if upstream.sock in ready or upstream.pending():
                come = upstream.some()
                if come == b"":
                    return kept
                fresh = come or b""


class _Cut(Exception):
    """The connection to the client ends with a reset."""


class _Wire:
    """A connection with what was read of it beyond the message at hand. ``done``: it can carry no further message."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.rest = b""
        self.done = False

    def head(self) -> bytes:
        """Up to the empty line, and with it; empty when the other side has ended the connection."""
        self.sock.settimeout(None if not self.rest else READ_TIMEOUT)
        while b"\r\n\r\n" not in self.rest:
            if not self._more():
                return b""
        head, _empty, self.rest = self.rest.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def body(self, head: bytes, method: str = "") -> bytes:
        """The bytes of the body as they are on the wire (chunks stay chunks)."""
        self.sock.settimeout(READ_TIMEOUT)
        fields = {
            key.strip().lower(): value.strip().lower()
            for key, _colon, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        answer = head.startswith(b"HTTP/")
        self.done = answer and fields.get(b"connection") == b"close"
        if answer and (method == "HEAD" or int(head.split(b" ", 2)[1]) in (204, 304)):
            return b""
        if fields.get(b"transfer-encoding") == b"chunked":
            return self._chunks()
        if b"content-length" in fields:
            return self._take(int(fields[b"content-length"]))
        if answer:
            self.done = True
            while self._more():
                pass
            body, self.rest = self.rest, b""
            return body
        return b""

    def _chunks(self) -> bytes:
        taken = b""
        while True:
            while b"\r\n" not in self.rest:
                if not self._more():
                    raise ConnectionError("the answer was cut")
            line, _end, _rest = self.rest.partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            taken += self._take(len(line) + 2 + size + 2)  # no trailers: the API server sends none
            if size == 0:
                return taken

    def _take(self, count: int) -> bytes:
        while len(self.rest) < count:
            if not self._more():
                raise ConnectionError("the message was cut")
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self.rest += data
        return bool(data)

    def pending(self) -> bool:
        """Whether decrypted bytes wait that select cannot see."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0

    def some(self) -> bytes | None:
        """What is there; None when it was no data (a TLS record of another sort), empty at the end."""
        self.sock.settimeout(0)
        try:
            return self.sock.recv(65536)
        except (ssl.SSLWantReadError, BlockingIOError):
            return None
        except (ConnectionResetError, ssl.SSLEOFError):
            return b""
        finally:
            self.sock.settimeout(READ_TIMEOUT)

    def stale(self) -> bool:
        """Whether the other side has ended an idle connection."""
        if self.done:
            return True
        readable, _writable, _errors = select.select([self.sock], [], [], 0)
        return bool(readable) and self.some() is not None

    def reset(self) -> None:
        """The next close sends RST instead of FIN."""
        with suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Frames:
    """Follows the server's WebSocket frames (unmasked) through a stream that comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def closed(self, data: bytes) -> bool:
        """Whether a close frame is whole among what has come so far."""
        self._rest += data
        while len(self._rest) >= 2:
            size, start = self._rest[1] & 127, 2
            if size > 125:
                start = 4 if size == 126 else 10
                if len(self._rest) < start:
                    return False
                size = int.from_bytes(self._rest[2:start], "big")
            if len(self._rest) < start + size:
                return False
            if self._rest[0] & 15 == 8:
                return True
            self._rest = self._rest[start + size :]
        return False


def parse(number: int, method: str, target: str, body: bytes = b"") -> Request:
    """A request line as a Request."""
    url = urlsplit(target)
    query = parse_qs(url.query)
    parts = [part for part in url.path.split("/") if part]
    parts = parts[2:] if parts[:1] == ["api"] else parts[3:] if parts[:1] == ["apis"] else parts
    namespace = ""
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    plural, name, *sub = [*parts, "", ""][: max(2, len(parts))]
    sort: Sort = "write"
    if sub and sub[0] in ("exec", "attach", "portforward"):
        sort = "exec"
    elif query.get("watch", ["0"])[0] in ("1", "true") or query.get("follow") == ["true"]:
        sort = "watch"
    elif method in ("GET", "HEAD") or plural.endswith("reviews") or query.get("dryRun"):
        sort = "read"
    return Request(number, method, url.path, query, namespace, "/".join([plural, *sub]), name, sort, body)


def _status(reply: Reply) -> bytes:
    content = json.dumps({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": reply.status, "reason": reply.reason,
        "message": reply.message,
    }).encode()  # fmt: skip
    fields = [("Content-Type", "application/json"), ("Content-Length", str(len(content))), *reply.headers]
    lines = [f"HTTP/1.1 {reply.status} {reply.reason}", *(f"{key}: {value}" for key, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode() + content
