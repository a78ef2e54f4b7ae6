# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What is to be done on one Kubernetes node so that its disk can hold volumes. Pure. PRIVATE to the collection.

Rules: nothing is ever erased; a device with any signature, mount or user is refused unless it is the very filesystem that fstab mounts
at this path. A run that is killed at any moment is continued by the next one: the UUID of a filesystem is chosen and noted in fstab, as
a comment, before it is made, so that the next run knows it from anybody else's.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .._cluster import quantity
from .._cluster.errors import ClusterError
from . import parse
from .seen import There

if t.TYPE_CHECKING:
    from .parse import Entry, Mount
    from .seen import Device, Seen
    from .wish import Wish

FILESYSTEMS = ("ext4", "xfs")
# The engine's installation guide recommends ext4 (and to keep off NFS, CIFS and Ceph).
DEFAULT_FILESYSTEM = "ext4"
DEFAULT_OPTIONS = ("noatime",)
PACKAGE = {"ext4": "e2fsprogs", "xfs": "xfsprogs"}
# mkfs.xfs makes nothing smaller than 300 MiB (xfsprogs 5.19 and later).
LEAST = {"ext4": 16 * 1024**2, "xfs": 300 * 1024**2}
VOLATILE = ("tmpfs", "ramfs")
REMOTE = ("nfs", "nfs4", "cifs", "ceph")


T = t.TypeVar("T")


def known(value: T | None) -> T:
    """What a plan of this kind always names."""
    if value is None:
        raise AssertionError("the plan does not name what it needs")
    return value


@dataclass(frozen=True)
class Step:
    """One thing to do: C(KIND) or C(KIND/WHICH), what it concerns, and that before and afterwards."""

    id: str
    what: str
    before: str
    after: str
    entry: Entry | None = None
    device: Device | None = None

    @property
    def kind(self) -> str:
        return self.id.partition("/")[0]


@dataclass(frozen=True)
class Plan:
    """Steps in order, what to warn of, and the filesystem that C(path) is on now."""

    steps: tuple[Step, ...]
    warnings: tuple[str, ...]
    mount: Mount | None


def _refuse(option: str, problem: str, reason: str) -> ClusterError:
    return ClusterError(f"{option}: {problem}", reason, option=option, resumable=False)


def mounted_at(mounts: t.Sequence[Mount], path: str) -> Mount | None:
    """What is mounted at exactly this path; the last mount covers those before it."""
    return next((mount for mount in reversed(mounts) if mount.target == path), None)


def holding(mounts: t.Sequence[Mount], path: str) -> Mount | None:
    """The mount on which a path lies."""
    found = None
    for mount in mounts:
        inside = path == mount.target or path.startswith(mount.target.rstrip("/") + "/")
        if inside and (found is None or len(mount.target) >= len(found.target)):
            found = mount
    return found


def decide(wish: Wish, seen: Seen, new_uuid: str) -> Plan:
    """What is left to do. new_uuid: that of a filesystem to be made. Raises ClusterError for everything that must not be touched."""
    warnings = _host_checks(wish, seen)
    _refuse_path(wish, seen)
    mount = mounted_at(seen.mounts, wish.path)
    lines = [entry for entry in parse.fstab(seen.fstab) if entry.target == wish.path]
    if len(lines) > 1:
        raise _refuse("path", f"/etc/fstab has {len(lines)} lines for {wish.path}. Leave one and run again.", "fstab")
    line = lines[0] if lines else None
    _refuse_missing_mount(wish, seen)
    steps, fresh, hidden = [], False, False
    if wish.device is None:
        where = holding(seen.mounts, wish.path)
        warnings += _filesystem_under(wish, where)
        capacity = seen.free
    else:
        device = _device(wish, seen.device)
        if mount is not None:
            _refuse_other_mount(wish, mount, device)
            where = mount
            steps += _fstab(wish, seen, device, mount.fstype, line)
            capacity = seen.free
        else:
            _refuse_in_use(wish, seen, device)
            ours, entry = _filesystem(wish, seen, device, line, new_uuid)
            _refuse_covered(wish, seen)
            where, capacity = None, device.block.size
            fresh, hidden = not ours, ours
            if seen.path is None:
                steps.append(Step("directory", wish.path, "absent", "directory 0:0 0755"))
            steps += _make_and_mount(wish, seen, device, entry, ours, line)
    root = There("directory") if fresh or (seen.path is None and not hidden) else seen.path
    if wish.device is None and seen.path is None:
        steps.append(Step("directory", wish.path, "absent", "directory 0:0 0755"))
    if not hidden:  # what a filesystem holds that is not mounted yet is seen afterwards
        steps += _owned(wish, "ownership", wish.path, known(root))
        steps += _directories(wish, {} if fresh else seen.children)
    warnings += _space(wish, capacity, steps, hidden)
    return Plan(tuple(steps), tuple(warnings), where)


def _host_checks(wish: Wish, seen: Seen) -> list[str]:
    """Transparent huge pages and the clock: refused or warned of, as asked."""
    found = []
    if wish.thp != "ignore" and seen.thp == "always":
        text = (
            "transparent_hugepages: they are 'always' on this node, which costs a database memory and pauses. Set them to madvise "
            "(/sys/kernel/mm/transparent_hugepage/enabled, and transparent_hugepage=madvise on the kernel's command line)."
        )
        if wish.thp == "fail":
            raise ClusterError(text, "huge_pages", option="transparent_hugepages", resumable=False)
        found.append(text)
    if wish.clock != "ignore" and not seen.synchronised:
        text = (
            "clock: the kernel "
            + (
                "says that this node's clock is not synchronised"
                if seen.synchronised is False
                else "does not tell whether this node's clock is synchronised"
            )
            + "; a database node whose clock is 400 ms off ends itself. Run chronyd (with rtcsync), systemd-timesyncd or ntpd, "
            "or set clock to ignore where something else keeps the time."
        )
        if wish.clock == "fail":
            raise ClusterError(text, "clock", option="clock", resumable=False)
        found.append(text)
    return found


def _refuse_path(wish: Wish, seen: Seen) -> None:
    if seen.path is not None and seen.path.kind != "directory":
        raise _refuse(
            "path",
            f"{wish.path} is a {seen.path.kind}, not a directory. Name another path, or move it away.",
            "path_kind",
        )
    if seen.real != wish.path:
        raise _refuse("path", f"{wish.path} leads to {seen.real} over a link. Name {seen.real} itself.", "path_kind")


def _refuse_missing_mount(wish: Wish, seen: Seen) -> None:
    """A disk that fstab mounts at the path, or above it, is away: what lies there now is not where it should be."""
    for entry in parse.fstab(seen.fstab):
        here = entry.target == wish.path
        above = wish.path.startswith(entry.target + "/") and "noauto" not in entry.options
        # A device that is asked for is mounted at the path by this very run.
        if (here and wish.device is None) or above:
            if mounted_at(seen.mounts, entry.target) is not None:
                continue
            raise _refuse(
                "path",
                f"/etc/fstab mounts {entry.source} at {entry.target}, but nothing is mounted there: what were made now would be hidden, or lost, later. "
                "Bring the disk back (mount it), or take that line out of fstab.",
                "not_mounted",
            )


def _filesystem_under(wish: Wish, where: Mount | None) -> list[str]:
    """The filesystem on which C(path) lies when no device is asked for."""
    fstype = where.fstype if where else ""
    if where and fstype in VOLATILE:
        raise _refuse(
            "path",
            f"{wish.path} lies on {where.target}, a {fstype}, which a restart empties. Name a path on a disk.",
            "volatile",
        )
    if wish.fstype and fstype != wish.fstype:
        raise _refuse(
            "fstype",
            f"{wish.path} lies on {where.target if where else '?'}, which is {fstype or 'unknown'}, not {wish.fstype}. "
            "Name the device that is to be mounted there, or leave fstype out.",
            "other_filesystem",
        )
    return (
        [f"path: {wish.path} lies on {fstype}; the database's guide says to keep off NFS, CIFS and Ceph."]
        if fstype in REMOTE
        else []
    )


def _device(wish: Wish, device: Device | None) -> Device:
    if device is None:
        raise _refuse(
            "device",
            f"there is no block device {wish.device} on this node. Look at lsblk and /dev/disk/by-id, and correct the name.",
            "device_missing",
        )
    return device


def _refuse_other_mount(wish: Wish, mount: Mount, device: Device) -> None:
    if mount.number != device.block.number:
        raise _refuse(
            "path",
            f"{wish.path} is mounted from {mount.source} ({mount.fstype}), not from {wish.device} ({device.node}). "
            "Correct device, or choose another path.",
            "other_mount",
        )
    if wish.fstype and mount.fstype != wish.fstype:
        raise _refuse(
            "fstype",
            f"{wish.device} is mounted at {wish.path} with {mount.fstype}, not {wish.fstype}; a filesystem is never made anew. "
            f"Set fstype to {mount.fstype}, or leave it out.",
            "other_filesystem",
        )


def _refuse_in_use(wish: Wish, seen: Seen, device: Device) -> None:
    """A device that anything uses is nobody's to give away."""
    name = wish.device if wish.device == device.node else f"{wish.device} ({device.node})"
    elsewhere = [mount.target for mount in seen.mounts if mount.number == device.block.number]
    if elsewhere:
        raise _refuse(
            "device",
            f"{name} is mounted at {elsewhere[0]}, not at {wish.path}. Name another device, or that path.",
            "device_mounted",
        )
    if device.swap:
        raise _refuse(
            "device", f"{name} is swapped to. Name another device, or free it by hand (swapoff).", "device_in_use"
        )
    if device.block.parts:
        raise _refuse(
            "device",
            f"{name} carries {', '.join(device.block.parts)}. Name an unused device, or one of them.",
            "device_in_use",
        )
    if device.holders:
        raise _refuse(
            "device", f"{name} is used by {', '.join(device.holders)}. Name an unused device.", "device_in_use"
        )
    if device.busy:
        raise _refuse(
            "device",
            f"{name} is in use: the kernel gives it to nobody else (another mount namespace, or a program, holds it). Name an unused device.",
            "device_in_use",
        )
    if device.block.read_only:
        raise _refuse("device", f"{name} is read-only. Name a device that can be written.", "device_read_only")


def _filesystem(wish: Wish, seen: Seen, device: Device, line: Entry | None, new_uuid: str) -> tuple[bool, Entry]:
    """Whether the device already holds the filesystem of this path, and the fstab entry it has or gets."""
    _refuse_other_line(wish, seen, device, line)
    noted = line or parse.intent(seen.fstab, wish.path)
    if device.signatures or device.fstype or device.ambiguous:
        known = noted is not None and (
            noted.source == f"UUID={device.uuid}" or seen.sources.get(noted.source) == device.node
        )
        only = (
            device.fstype != ""
            and not device.ambiguous
            and {found.type for found in device.signatures} <= {device.fstype}
        )
        if noted is None or not known or not only:
            what = ", ".join(map(str, device.signatures)) or device.fstype or "more than one signature"
            raise _refuse(
                "device",
                f"{wish.device} ({device.node}) is not empty, it has the signature of {what}. Name an empty device. If this is the disk of {wish.path}, "
                "mount it there by hand, or by fstab, and run again; if nobody needs what is in it, erase it by hand (wipefs --all).",
                "device_signature",
            )
        if wish.fstype and device.fstype != wish.fstype:
            raise _refuse(
                "fstype",
                f"{wish.device} holds {device.fstype}, not {wish.fstype}; a filesystem is never made anew. Set fstype to {device.fstype}, or leave it out.",
                "other_filesystem",
            )
        return True, line or noted
    if line is not None:
        raise _refuse(
            "path",
            f"/etc/fstab mounts {line.source} at {wish.path}, and {wish.device} ({device.node}) is empty: it is another disk. "
            "If it replaces the former one, take that line out of fstab and run again.",
            "fstab",
        )
    fstype = wish.fstype or DEFAULT_FILESYSTEM
    if f"mkfs.{fstype}" not in seen.tools:
        raise _refuse("fstype", f"mkfs.{fstype} is not on this node. Install the package {PACKAGE[fstype]}.", "no_tool")
    if device.block.size < LEAST[fstype]:
        raise _refuse(
            "device",
            f"{wish.device} ({device.node}) has {quantity.bytes_text(device.block.size)}; {fstype} needs {quantity.bytes_text(LEAST[fstype])}. "
            "Name a larger device.",
            "device_too_small",
        )
    # An earlier run may have come as far as to give the noted UUID to another device: of two with one UUID fstab could mount either.
    free = noted is not None and seen.sources.get(noted.source) in (None, device.node)
    return False, _entry(wish, noted.source if noted and free else f"UUID={new_uuid}", fstype, None)


def _refuse_other_line(wish: Wish, seen: Seen, device: Device, line: Entry | None) -> None:
    """fstab speaks for the device at another path, or for another device at this one."""
    for entry in parse.fstab(seen.fstab):
        same = entry.source == f"UUID={device.uuid}" or seen.sources.get(entry.source) == device.node
        if same and entry.target != wish.path:
            raise _refuse(
                "device",
                f"/etc/fstab mounts {wish.device} ({entry.source}) at {entry.target}, not at {wish.path}. Name another device, or that path.",
                "fstab",
            )
    if line is not None and seen.sources.get(line.source) not in (None, device.node):
        raise _refuse(
            "path",
            f"/etc/fstab mounts {line.source} ({seen.sources[line.source]}) at {wish.path}, not {wish.device} ({device.node}). "
            "Correct device, or choose another path.",
            "fstab",
        )


def _refuse_covered(wish: Wish, seen: Seen) -> None:
    if seen.path is not None and not seen.path.empty:
        raise _refuse(
            "path",
            f"{wish.path} is not empty, and mounting {wish.device} there would cover what is in it. Move it away, or choose another path.",
            "path_not_empty",
        )


def _entry(wish: Wish, source: str, fstype: str, there: Entry | None) -> Entry:
    """The line that fstab should have: its options are those asked for, else those that are there, else our own; always nofail."""
    asked = wish.mount_options if wish.mount_options is not None else there.options if there else DEFAULT_OPTIONS
    options = (*(option for option in asked if option not in ("defaults", "nofail")), "nofail")
    if there is None:
        return parse.Entry(source, wish.path, fstype, options, 0, 2 if fstype == "ext4" else 0)
    same = {*options} == {*there.options} - {"defaults"}  # their order means nothing
    return replace(there, source=source, options=there.options if same else options)


def _moves(source: str) -> bool:
    """Whether a source is a name that another disk may have after a restart."""
    return source.startswith("/dev/") and not source.startswith(("/dev/disk/", "/dev/mapper/"))


def _fstab(wish: Wish, seen: Seen, device: Device, fstype: str, line: Entry | None) -> list[Step]:
    """The fstab line of a device that holds its filesystem: right, mended, or added."""
    _refuse_other_line(wish, seen, device, line)
    if line is not None and seen.sources.get(line.source) is None and line.source != f"UUID={device.uuid}":
        raise _refuse(
            "path",
            f"/etc/fstab mounts {line.source} at {wish.path}, which is not there; {wish.device} ({device.node}) is mounted instead. "
            "Take that line out of fstab and run again.",
            "fstab",
        )
    source = line.source if line and not _moves(line.source) else f"UUID={device.uuid}"
    if source == "UUID=":
        raise _refuse(
            "device",
            f"{wish.device} ({device.node}) has no UUID to mount it by. Add its line to /etc/fstab by hand.",
            "fstab",
        )
    entry = _entry(wish, source, fstype, line or parse.intent(seen.fstab, wish.path))
    if line == entry:
        return []
    return [Step("fstab", f"/etc/fstab: {wish.path}", line.line() if line else "absent", entry.line(), entry=entry)]


def _make_and_mount(wish: Wish, seen: Seen, device: Device, entry: Entry, ours: bool, line: Entry | None) -> list[Step]:
    """Note the UUID, make the filesystem, write fstab, mount by fstab; or only what is left of it."""
    if ours:
        steps = _fstab(wish, seen, device, device.fstype, line)
    else:
        steps = [
            Step(
                "intent",
                f"/etc/fstab: {wish.path}",
                "absent",
                parse.INTENT.strip("# ") + f" {entry.line()}",
                entry=entry,
            ),
            Step(
                "filesystem",
                f"filesystem of {device.node}",
                "empty",
                f"{entry.fstype} {entry.source}",
                entry=entry,
                device=device,
            ),
            Step("fstab", f"/etc/fstab: {wish.path}", "absent", entry.line(), entry=entry),
        ]
        if parse.intent(seen.fstab, wish.path) == entry:
            steps = steps[1:]
    return [*steps, Step("mount", f"mount at {wish.path}", "nothing", f"{device.node} {entry.source}", device=device)]


def _owned(wish: Wish, name: str, path: str, there: There) -> list[Step]:
    """Owner, group and mode that were asked for, where they differ."""
    wanted = There(
        "directory",
        there.uid if wish.owner is None else wish.owner,
        there.gid if wish.group is None else wish.group,
        there.mode if wish.mode is None else wish.mode,
    )
    if wanted.owned() == there.owned():
        return []
    return [Step(name, path, f"directory {there.owned()}", f"directory {wanted.owned()}")]


def _directories(wish: Wish, children: t.Mapping[str, There | None]) -> list[Step]:
    """Directories for volumes; what lies in one is never touched."""
    steps = []
    for name in dict.fromkeys((*wish.directories, *wish.new)):
        path, there = f"{wish.path}/{name}", children.get(name)
        if there is None:
            steps.append(Step(f"directory/{name}", path, "absent", "directory 0:0 0755"))
            there = There("directory")
        elif there.kind != "directory":
            raise _refuse("directories", f"{path} is a {there.kind}, not a directory. Move it away.", "path_kind")
        elif name in wish.new and not there.empty:
            raise _refuse(
                "new_directories",
                f"{path} is not empty, and a new volume would hand what is in it to the database. Look whose it is and move it away.",
                "directory_not_empty",
            )
        steps += _owned(wish, f"ownership/{name}", path, there)
    return steps


def _space(wish: Wish, capacity: int, steps: t.Sequence[Step], hidden: bool) -> list[str]:
    """Too little space is refused before something new is made; later, with the data in it, it is only told."""
    if wish.min_free is None or hidden or capacity >= wish.min_free:
        return []
    text = f"min_free: {quantity.bytes_text(capacity)} are there for {wish.path}, {quantity.bytes_text(wish.min_free)} are asked for."
    if any(step.kind in ("directory", "filesystem", "mount") for step in steps):
        raise ClusterError(
            f"{text} Name a larger device, free space, or lower min_free.",
            "too_small",
            option="min_free",
            resumable=False,
        )
    return [text]
