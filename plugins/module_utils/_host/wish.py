# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What is asked of one Kubernetes node's disk, and what no node can be asked for. Pure. PRIVATE to the collection."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from .._cluster import quantity
from .._cluster.errors import InputError

# Directories of the system itself, and places below which nothing lasts or nothing of ours belongs.
SYSTEM = ("/", "/home", "/opt", "/srv", "/mnt", "/media", "/var", "/var/lib", "/var/log")
BELOW = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",  # noqa: S108
    "/usr",
    "/var/lib/kubelet",
    "/var/run",
    "/var/tmp",  # noqa: S108
)


@dataclass(frozen=True)
class Wish:
    """What is asked of one node. None: not asked, so what is there stays.

    path: where volumes get their directories. device: block device that is mounted there. owner, group: numbers. min_free: bytes.
    directories: names below C(path); new: those that must hold nothing. thp, clock: C(warn), C(fail) or C(ignore).
    """

    path: str
    device: str | None = None
    fstype: str | None = None
    mount_options: tuple[str, ...] | None = None
    owner: int | None = None
    group: int | None = None
    mode: int | None = None
    min_free: int | None = None
    directories: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    thp: str = "warn"
    clock: str = "warn"


def numbered(option: str, text: str | None) -> int | None:
    """Bytes of a quantity; raises InputError."""
    if not text:
        return None
    try:
        number = quantity.parse(text)
    except ValueError as error:
        raise InputError(option, f"{error}; allowed is a Kubernetes quantity, such as 500Gi") from None
    if number < 0:
        raise InputError(option, f"{text} is negative; allowed is a Kubernetes quantity, such as 500Gi")
    return int(number)


def mode_of(text: str | None) -> int | None:
    """Permission bits of C(0750); raises InputError."""
    if not text:
        return None
    if not re.fullmatch(r"0[0-7]{3}", text):
        raise InputError("mode", f"{text!r} is no mode; allowed are four octal digits in quotes, such as '0750'")
    return int(text, 8)


def check(wish: Wish) -> None:
    """Refuse what no node can have. Raises InputError."""
    path = wish.path
    if not path.startswith("/") or posixpath.normpath(path) != path or path.startswith("//"):
        raise InputError(
            "path", f"{path!r} is not allowed; allowed is an absolute path without . and .., and without / at its end"
        )
    if path in SYSTEM or any(path == top or path.startswith(top + "/") for top in BELOW):
        raise InputError(
            "path", f"{path} belongs to the system; allowed is a directory of its own, such as /data/kaiwudb"
        )
    if wish.device is not None and not wish.device.startswith("/dev/"):
        raise InputError(
            "device", f"{wish.device!r} is no device; allowed is a path such as /dev/disk/by-id/…, or /dev/sdb"
        )
    for option, name in [
        *(("directories", name) for name in wish.directories),
        *(("new_directories", name) for name in wish.new),
    ]:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise InputError(option, f"{name!r} is not allowed; allowed are names of letters, digits, '.', '-' and '_'")
    for option in wish.mount_options or ():
        if not re.fullmatch(r"[^\s,#]+", option):
            raise InputError(
                "mount_options", f"{option!r} is not allowed; allowed are words of mount(8), such as noatime"
            )
        if option in ("noauto", "ro", "user", "users", "bind", "loop"):
            raise InputError(
                "mount_options", f"{option} is not allowed: the volumes must be there, and writable, after a restart"
            )
