# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""exec's exit codes and the relay of port-forward, over real sockets and a WebSocket that is scripted."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube import stream
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError

websocket = pytest.importorskip("websocket")

SUBJECT = ("kw-0", "db")
FAILED = {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}}


def test_exit_codes() -> None:
    assert stream.exit_code(b'{"metadata":{},"status":"Success"}', SUBJECT) == 0
    assert stream.exit_code(json.dumps(FAILED).encode(), SUBJECT) == 7


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (b"", "ExecCut"),
        (b"command terminated", "ExecFailed"),
        (b'{"status":"Failure","message":"executable file not found"}', "ExecFailed"),
    ],
)
def test_no_exit_code_is_a_failure(status: bytes, reason: str) -> None:
    with pytest.raises(KubeError) as caught:
        stream.exit_code(status, SUBJECT)
    assert caught.value.reason == reason and "kw-0" in str(caught.value)


class Frame:
    def __init__(self, data: bytes) -> None:
        self.data = data


class Scripted:
    """A WebSocket whose frames are given; after them it closes, or stays silent."""

    def __init__(self, *frames: bytes, silent: bool = False) -> None:
        self.frames = list(frames)
        self.silent = silent
        self.sock, self._other = socket.socketpair()

    def recv_data_frame(self, _control: bool) -> tuple[int, Frame]:
        if self.frames:
            return websocket.ABNF.OPCODE_BINARY, Frame(self.frames.pop(0))
        if self.silent:
            time.sleep(self.sock.gettimeout())
            raise websocket.WebSocketTimeoutException
        return websocket.ABNF.OPCODE_CLOSE, Frame(b"")


def collect(ws: Scripted, timeout: float = 5) -> dict[int, bytearray]:
    return stream._collect(ws, time.monotonic() + timeout, SUBJECT, timeout)


def test_channels_stay_apart_and_characters_whole() -> None:
    snow = "雪".encode()
    channels = collect(Scripted(b"\1" + snow[:1], b"\2err", b"\1" + snow[1:], b"\3{}", b"\xff\1"))
    assert channels[1].decode() == "雪" and channels[2] == b"err" and channels[3] == b"{}"


def test_exec_that_never_ends() -> None:
    with pytest.raises(KubeError) as caught:
        collect(Scripted(silent=True), 0.1)
    assert caught.value.reason == "ExecTimeout" and caught.value.unanswered


class EchoSocket:
    """A WebSocket to a pod that sends back what it gets: frames over a socket pair, one a send, length first."""

    def __init__(self) -> None:
        self.sock, self.far = socket.socketpair()
        threading.Thread(target=self._echo, daemon=True).start()
        self.closed = False

    def _echo(self) -> None:
        while data := self.far.recv(65536):
            self.far.sendall(data)

    def send_binary(self, data: bytes) -> None:
        self.sock.sendall(len(data).to_bytes(4, "big") + data)

    def recv_data_frame(self, _control: bool) -> tuple[int, Frame]:
        size = int.from_bytes(self._exactly(4), "big")
        return websocket.ABNF.OPCODE_BINARY, Frame(self._exactly(size))

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise websocket.WebSocketConnectionClosedException("gone")
            data += piece
        return data

    def close(self, **_options: Any) -> None:
        self.closed = True
        self.sock.close()


def echo(connection: socket.socket, data: bytes) -> bytes:
    threading.Thread(target=connection.sendall, args=(data,), daemon=True).start()
    got = b""
    while len(got) < len(data) and (piece := connection.recv(65536)):
        got += piece
    return got


def test_relay_over_a_unix_socket_of_this_user_only() -> None:
    dialled: list[EchoSocket] = []

    def dial() -> EchoSocket:
        dialled.append(EchoSocket())
        return dialled[-1]

    with stream.Relay(dial, 26257, None, None) as (directory, port):
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
        for _turn in range(2):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(f"{directory}/.s.PGSQL.{port}")
                blob = os.urandom(300_000)
                assert echo(connection, blob) == blob
    assert len(dialled) == 2  # the first stream, opened in advance, served the first connection
    assert all(ws.closed for ws in dialled)
    assert not os.path.exists(directory)


def test_relay_refuses_more_connections_than_allowed() -> None:
    with (
        stream.Relay(EchoSocket, 1, ("127.0.0.1", 0), 1) as address,
        socket.create_connection(address) as first,
        socket.create_connection(address) as second,
    ):
        assert echo(first, b"x") == b"x"
        second.settimeout(5)
        assert second.recv(1) == b""


def test_relay_cut_ends_its_connections() -> None:
    relay = stream.Relay(EchoSocket, 1, ("127.0.0.1", 0), None)
    with relay as address, socket.create_connection(address) as connection:
        assert echo(connection, b"x") == b"x"
        relay.cut()
        connection.settimeout(5)
        assert connection.recv(1) == b""


def test_relay_fails_before_anyone_connects() -> None:
    def dial() -> Any:
        raise KubeError(403, "Forbidden", "no", "create", "pods/portforward", "kw-0", "db")

    with pytest.raises(KubeError, match="pods/portforward"), stream.Relay(dial, 1, None, None):
        pass


def test_relay_keeps_what_the_pods_side_reports() -> None:
    class Refusing(EchoSocket):
        def recv_data_frame(self, _control: bool) -> tuple[int, Frame]:
            super().recv_data_frame(_control)
            return websocket.ABNF.OPCODE_BINARY, Frame(b"\1connection refused")

    relay = stream.Relay(Refusing, 1, ("127.0.0.1", 0), None)
    with relay as address, socket.create_connection(address) as connection:
        connection.sendall(b"x")
        connection.settimeout(5)
        assert connection.recv(1) == b""
    assert relay.error is not None and "connection refused" in str(relay.error)
