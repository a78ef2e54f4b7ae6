# SPDX-License-Identifier: GPL-3.0-or-later
"""Switching phases of a running workload through a Unix socket: one JSON request, one JSON answer a connection."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from pathlib import Path

from workload.run import Workload


class Control:
    """Serves `phase NAME`, `status` and `stop` at `path` until closed."""

    def __init__(self, workload: Workload, path: Path) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                request = json.loads(self.rfile.readline())
                answer = answer_to(workload, request)
                self.wfile.write(json.dumps(answer).encode() + b"\n")

        path.unlink(missing_ok=True)
        self._path = path
        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, name="control", daemon=True).start()

    def close(self) -> None:
        """Ends the service."""
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)


def answer_to(workload: Workload, request: dict[str, str]) -> dict[str, object]:
    """The answer to one request."""
    match request:
        case {"command": "phase", "name": str(name)}:
            return {"ended": workload.phase(name)}
        case {"command": "status"}:
            return {"running": workload.status()}
        case {"command": "stop"}:
            workload.stopped.set()
            return {"running": workload.status()}
    return {"error": f"unknown request {request}"}


def ask(path: Path, request: dict[str, str], seconds: float = 10) -> dict[str, object]:
    """Sends a request to a running workload. Raises OSError when none listens at `path`."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(seconds)
        client.connect(str(path))
        client.sendall(json.dumps(request).encode() + b"\n")
        with client.makefile() as answer:
            return dict(json.loads(answer.readline()))
