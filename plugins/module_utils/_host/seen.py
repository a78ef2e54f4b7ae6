# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""One Kubernetes node's disk as it is. Data only. PRIVATE to the collection."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

if t.TYPE_CHECKING:
    from .parse import Block, Mount, Signature


@dataclass(frozen=True)
class Device:
    """A block device as it is. node: its real name behind links. fstype, uuid: of the one filesystem in it, empty when there is none.

    holders: what the kernel has built on it. swap: whether it is swapped to. busy: whether the kernel gives it to nobody else, whatever
    the reason: it also knows mounts of other mount namespaces.
    """

    node: str
    block: Block
    signatures: tuple[Signature, ...] = ()
    fstype: str = ""
    uuid: str = ""
    ambiguous: bool = False
    holders: tuple[str, ...] = ()
    swap: bool = False
    busy: bool = False


@dataclass(frozen=True)
class There:
    """What lies at a path: C(directory), C(link) or C(file); for a directory also its owner, and whether something is in it."""

    kind: str
    uid: int = 0
    gid: int = 0
    mode: int = 0o755
    empty: bool = True

    def owned(self) -> str:
        return f"{self.uid}:{self.gid} {self.mode:04o}"


@dataclass(frozen=True)
class Seen:
    """One node as it is. device: None when it is not there (or not asked for). path, children: None where nothing is.

    free: bytes that are free where C(path) lies. real: C(path) with every link on the way followed. sources: a source named in
    fstab, or noted there, to the device behind it, None where there is none.
    """

    mounts: tuple[Mount, ...]
    fstab: str
    path: There | None
    real: str
    free: int
    device: Device | None = None
    children: t.Mapping[str, There | None] = field(default_factory=dict, hash=False)
    sources: t.Mapping[str, str | None] = field(default_factory=dict, hash=False)
    tools: tuple[str, ...] = ()
    thp: str = ""
    synchronised: bool | None = None
