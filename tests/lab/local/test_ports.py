# SPDX-License-Identifier: GPL-3.0-or-later
"""A port that a cluster was given is its own until it ends."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from local import cluster as local
from local.cluster import Cluster, ClusterError


def test_a_held_port_is_given_to_nobody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two clusters that look at the same few ports in the same order share none; with none left, that is said."""
    monkeypatch.setattr(local, "PORT_RANGE", range(31000, 31040))
    monkeypatch.setattr(random, "sample", lambda population, _count: list(population))
    with Cluster(Path("kwbase"), tmp_path / "one") as one, Cluster(Path("kwbase"), tmp_path / "two") as two:
        for number in (1, 2, 3):
            one.declare(number)
            two.declare(number)
        assert len(one.held) == len(two.held) == 9
        assert not set(one.held) & set(two.held)
        with pytest.raises(ClusterError, match="no free port"):
            while True:
                two.port()
    with Cluster(Path("kwbase"), tmp_path / "three") as three:
        assert three.port() in one.held


def test_a_server_may_listen_at_a_held_port(tmp_path: Path) -> None:
    """What Go's and C++'s servers do: bind with SO_REUSEADDR, then listen; a second one is refused."""
    with Cluster(Path("kwbase"), tmp_path) as cluster:
        address = ("127.0.0.1", cluster.port())
        with pytest.raises(ConnectionRefusedError), socket.create_connection(address):
            pass
        with (
            socket.create_server(address),
            socket.create_connection(address),
            pytest.raises(OSError, match="in use"),
        ):
            socket.create_server(address)
