# SPDX-License-Identifier: GPL-3.0-or-later
"""The same two stores emptied in two ways. Written against a Driver, so that processes and pods are treated alike."""

from __future__ import annotations

from typing import Protocol


class Driver(Protocol):
    """A cluster of four nodes, ordinals 0-3, replication factor 3."""

    def addresses(self) -> list[str]:
        """SQL addresses that stay, `host:port`."""

    def stop(self, ordinal: int) -> None:
        """Ends the node's process and keeps it ended."""

    def wipe(self, ordinal: int) -> None:
        """Empties the store of a stopped node."""

    def start(self, ordinal: int) -> None:
        """Starts the node on the store it has; returns when it is ready or will not be soon."""

    def decommission(self, ordinal: int) -> None:
        """Decommissions the node and waits until it holds no replica."""

    def await_whole(self) -> None:
        """Waits until every range has its replicas on live nodes."""


def careless(driver: Driver) -> None:
    """Scales in without decommission and wipes two stores; the second pod comes back, empty, as a new node.

    Every range with replicas on both has lost its majority for good, although pods look healthy in the end.
    """
    for ordinal in (3, 2):
        driver.stop(ordinal)
        driver.wipe(ordinal)
    driver.start(2)


def careful(driver: Driver) -> None:
    """The same two stores, one at a time, each decommissioned before its end."""
    for ordinal in (3, 2):
        driver.decommission(ordinal)
        driver.stop(ordinal)
        driver.wipe(ordinal)
        driver.start(ordinal)
        driver.await_whole()


SCENARIOS = {"careless": careless, "careful": careful}
