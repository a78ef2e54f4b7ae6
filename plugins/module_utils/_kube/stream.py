# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""exec and port-forward: WebSockets to the API server.

The library's own stream client decodes frame by frame (a character cut by a frame boundary is lost), waits without a
limit while connecting, and reads exit codes by position; this is the small part of it that is needed. Protocols:
https://kubernetes.io/docs/reference/using-api/api-concepts/ and k8s.io/apimachinery/pkg/util/remotecommand (v4, v5).
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from . import errors
from .errors import ExecResult, KubeError

CONNECT_TIMEOUT = 10.0
IDLE_TIMEOUT = 30.0  # for one frame or one write that has begun, not for the whole stream
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255
_V5, _V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_CHUNK = 65536

Subject = tuple[str, str]  # pod, namespace: for messages


# ---- exec


def run(
    path: str,
    configuration: Any,
    authorization: str | None,
    container: str,
    command: list[str],
    timeout: float,
    stdin: str | None,
    subject: Subject,
) -> ExecResult:
    """See ``Client.exec``."""
    deadline = time.monotonic() + timeout
    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    query += [("stdin", "true")] if stdin is not None else []
    query += [("command", word) for word in command]
    ws = _connect(f"{path}?{urlencode(query)}", configuration, authorization, f"{_V5},{_V4}", subject, "exec", timeout)
    try:
        if stdin is not None:
            if _protocol(ws) != _V5:
                text = "this API server cannot end an input (exec protocol v4)"
                raise _error(errors.STDIN_UNSUPPORTED, text, subject)
            data = stdin.encode()
            for start in range(0, len(data), _CHUNK):
                ws.send_binary(bytes([_STDIN]) + data[start : start + _CHUNK])
            ws.send_binary(bytes([_CLOSE, _STDIN]))
        channels = _collect(ws, deadline, subject, timeout)
    finally:
        _shut(ws)
    rc = exit_code(channels[_STATUS], subject)
    return ExecResult(rc, channels[_STDOUT].decode("utf-8", "replace"), channels[_STDERR].decode("utf-8", "replace"))


def _collect(ws: Any, deadline: float, subject: Subject, timeout: float) -> dict[int, bytearray]:
    """All channels until the server closes the stream; whole bytes first, text later."""
    import websocket

    channels = {_STDOUT: bytearray(), _STDERR: bytearray(), _STATUS: bytearray()}
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise _error(errors.EXEC_TIMEOUT, f"no exit code within {timeout:.0f} s", subject)
        ws.sock.settimeout(left)
        try:
            opcode, frame = ws.recv_data_frame(True)
        except websocket.WebSocketTimeoutException:
            continue  # the deadline check above ends it
        except (websocket.WebSocketException, OSError) as error:
            if channels[_STATUS]:
                return channels
            raise _error(errors.EXEC_CUT, f"the stream was cut: {error}", subject) from error
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return channels
        if opcode in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) and frame.data:
            data = bytes(frame.data)
            if data[0] in channels:
                channels[data[0]] += data[1:]


def exit_code(status: bytes | bytearray, subject: Subject) -> int:
    """The exit code in the status channel's text (v4 and v5: a ``Status`` object in JSON)."""
    if not status:
        raise _error(errors.EXEC_CUT, "the stream ended without an exit code", subject)
    try:
        answer = json.loads(bytes(status))
    except ValueError:
        raise _error(errors.EXEC_FAILED, bytes(status[:300]).decode("utf-8", "replace"), subject) from None
    if answer.get("status") == "Success":
        return 0
    for cause in (answer.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise _error(errors.EXEC_FAILED, str(answer.get("message") or "unknown"), subject)


# ---- port-forward


def dial_port(path: str, configuration: Any, authorization: str | None, port: int, subject: Subject) -> Any:
    """A WebSocket to one port of a pod, its two start frames already read. Channel 0 is data, channel 1 errors."""
    import websocket

    ws = _connect(f"{path}?ports={port}", configuration, authorization, _V4, subject, "portforward", CONNECT_TIMEOUT)
    try:
        expected = struct.pack("<H", port)
        for _channel in (0, 1):
            opcode, frame = ws.recv_data_frame(True)
            if opcode != websocket.ABNF.OPCODE_BINARY or bytes(frame.data)[1:] != expected:
                raise _error(errors.CONNECTION, "port-forward: unexpected answer", subject)
    except (websocket.WebSocketException, OSError) as error:
        _shut(ws)
        raise _error(errors.CONNECTION, f"port-forward was cut: {error}", subject) from error
    except KubeError:
        _shut(ws)
        raise
    return ws


class Relay:
    """Local listener whose connections go through ``dial``; see ``Client.port_forward``.

    error: the last failure of a connection behind the listener (its client only sees the end of the stream).
    """

    def __init__(
        self, dial: Callable[[], Any], port: int, bind: tuple[str, int] | None, max_connections: int | None
    ) -> None:
        self._dial = dial
        self._port = port
        self._bind = bind
        self._left = max_connections
        self._directory: str | None = None
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.error: KubeError | None = None

    def __enter__(self) -> tuple[str, int]:
        # The first stream is opened before anyone waits for it: a missing right or pod is an error here, with its text.
        self._ready: Any = self._dial()
        try:
            address = self._listen()
        except BaseException:
            _shut(self._ready)
            self._remove()
            raise
        self._start(self._accept, ())
        return address

    def cut(self) -> None:
        """Ends all connections and the listener; from any thread."""
        self._stopping.set()

    def __exit__(self, *_exc: object) -> None:
        self.cut()
        for thread in list(self._threads):
            thread.join(2)
        self._listener.close()
        if self._ready is not None:
            _shut(self._ready)
        self._remove()

    def _listen(self) -> tuple[str, int]:
        if self._bind is not None:
            self._listener = socket.create_server(self._bind)
            host, port = self._listener.getsockname()[:2]
            address = (str(host), int(port))
        else:
            self._directory = tempfile.mkdtemp(prefix="kaiwudb-")  # mode 0700: only this user may connect
            if len(self._directory) > 80:  # a socket's path is limited to 107 bytes
                os.rmdir(self._directory)
                self._directory = tempfile.mkdtemp(prefix="kaiwudb-", dir="/tmp")
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listener.bind(f"{self._directory}/.s.PGSQL.{self._port}")
            self._listener.listen()
            address = (self._directory, self._port)
        self._listener.settimeout(0.2)
        return address

    def _remove(self) -> None:
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self, target: Callable[..., None], args: tuple[Any, ...]) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True, name="kaiwudb-port-forward")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                local, _peer = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            if self._left is not None:
                if self._left <= 0:
                    local.close()
                    continue
                self._left -= 1
            self._start(self._serve, (local,))

    def _serve(self, local: socket.socket) -> None:
        ws, self._ready = self._ready, None
        try:
            ws = ws or self._dial()
            failure = pump(local, ws, self._stopping)
            if failure:
                self.error = KubeError(0, errors.CONNECTION, failure)
        except KubeError as error:
            self.error = error
        finally:
            local.close()
            if ws is not None:
                _shut(ws)


def pump(local: socket.socket, ws: Any, stopping: threading.Event) -> str | None:
    """Moves bytes both ways in one thread (a TLS socket must not be used by two) until either side ends.

    Returns what the pod's side reported on its error channel, if anything.
    """
    import websocket

    local.setblocking(False)
    ws.sock.settimeout(IDLE_TIMEOUT)
    outgoing = bytearray()  # towards the local client
    remote_open = local_open = True
    while not stopping.is_set() and (remote_open or outgoing):
        readers: list[Any] = []
        if local_open:
            readers.append(local)
        pending = False
        # A client that reads slowly must not make this process hold its whole result.
        if remote_open and len(outgoing) < 16 * _CHUNK:
            readers.append(ws.sock)
            pending = isinstance(ws.sock, ssl.SSLSocket) and ws.sock.pending() > 0
        try:
            readable, writable, _errors = select.select(readers, [local] if outgoing else [], [], 0 if pending else 0.5)
            if writable:
                del outgoing[: local.send(outgoing)]
            if remote_open and (pending or ws.sock in readable):
                opcode, frame = ws.recv_data_frame(True)
                data = bytes(frame.data)
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    remote_open = False
                elif opcode == websocket.ABNF.OPCODE_BINARY and data[:1] == b"\0":
                    outgoing += data[1:]
                elif opcode == websocket.ABNF.OPCODE_BINARY and len(data) > 1:
                    return data[1:].decode("utf-8", "replace")
            if local_open and local in readable:
                data = local.recv(_CHUNK)
                if not data:
                    return None  # the protocol cannot close one direction: the local end is the end
                ws.send_binary(b"\0" + data)
        except (websocket.WebSocketException, OSError) as error:
            if isinstance(error, BlockingIOError):
                continue
            return None if isinstance(error, (ConnectionResetError, BrokenPipeError)) else str(error)
    return None


# ---- WebSocket


def _connect(
    url: str,
    configuration: Any,
    authorization: str | None,
    protocols: str,
    subject: Subject,
    what: str,
    timeout: float,
) -> Any:
    import websocket

    base = configuration.host
    address = base.replace("http", "ws", 1) + url
    header = [f"Sec-WebSocket-Protocol: {protocols}"]
    if authorization:
        header.append(f"Authorization: {authorization}")
    ws: Any = websocket.WebSocket(sslopt=_tls(configuration, base), enable_multithread=False)
    try:
        ws.connect(
            address,
            header=header,
            timeout=min(CONNECT_TIMEOUT, max(timeout, 1.0)),
            suppress_origin=True,
            **_proxy(configuration),
        )
    except websocket.WebSocketBadStatusException as error:
        status = int(getattr(error, "status_code", 0) or 0)
        raise _handshake_error(status, getattr(error, "resp_body", None), what, subject) from None
    except ssl.SSLError as error:
        raise _error(errors.TLS, f"TLS to {base} failed: {error}", subject) from error
    except (websocket.WebSocketException, OSError) as error:
        unsent = isinstance(error, (ConnectionRefusedError, socket.gaierror, websocket.WebSocketAddressException))
        raise _error(errors.CONNECTION, f"{base} cannot be reached: {error}", subject, unsent=unsent) from error
    return ws


def _handshake_error(status: int, body: Any, what: str, subject: Subject) -> KubeError:
    pod, namespace = subject
    reason = {403: "Forbidden", 404: "NotFound", 401: "Unauthorized", 400: "BadRequest"}.get(status, "Unknown")
    message = f"HTTP {status}"
    raw = body if isinstance(body, bytes) else b""
    try:
        answer = json.loads(raw)
        reason, message = str(answer.get("reason") or reason), str(answer.get("message") or message)
    except ValueError:
        if raw.strip():
            message = raw[:300].decode("utf-8", "replace").strip()
    verb = "create" if status == 403 else what
    kind = f"pods/{what}" if status == 403 else "Pod"
    return KubeError(status, reason, message, verb, kind, pod, namespace)


def _tls(configuration: Any, base: str) -> dict[str, Any]:
    if not base.startswith("https"):
        return {}
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    if configuration.verify_ssl:
        options = {"cert_reqs": ssl.CERT_REQUIRED}
        if configuration.ssl_ca_cert:
            options["ca_certs"] = configuration.ssl_ca_cert
        if configuration.assert_hostname is not None:
            options["check_hostname"] = configuration.assert_hostname
    for option, value in (
        ("certfile", configuration.cert_file),
        ("keyfile", configuration.key_file),
        ("server_hostname", getattr(configuration, "tls_server_name", None)),
    ):
        if value:
            options[option] = value
    return options


def _proxy(configuration: Any) -> dict[str, Any]:
    """websocket-client's options for the configured proxy; none means none, whatever the environment says."""
    if not configuration.proxy:
        return {"http_no_proxy": ["*"]}
    parts = urlsplit(configuration.proxy)
    options: dict[str, Any] = {
        "http_proxy_host": parts.hostname,
        "http_proxy_port": parts.port or (443 if parts.scheme == "https" else 80),
        "proxy_type": parts.scheme if parts.scheme.startswith("socks") else "http",
    }
    if parts.username:
        options["http_proxy_auth"] = (unquote(parts.username), unquote(parts.password or ""))
    if getattr(configuration, "no_proxy", None):
        options["http_no_proxy"] = configuration.no_proxy.split(",")
    return options


def _protocol(ws: Any) -> str:
    headers = {key.lower(): value for key, value in (ws.getheaders() or {}).items()}
    return str(headers.get("sec-websocket-protocol", _V4))


def _shut(ws: Any) -> None:
    try:
        ws.close(timeout=0)  # say goodbye, wait for no answer
    except Exception:  # a socket that is already gone
        ws.shutdown()


def _error(reason: str, message: str, subject: Subject, *, unsent: bool = False) -> KubeError:
    pod, namespace = subject
    return KubeError(0, reason, f"pod {pod} in namespace {namespace}: {message}", unsent=unsent)
