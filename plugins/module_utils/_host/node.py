# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""One Kubernetes node's disks: looking at them and changing them. Everything that touches the node is here. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import stat
import struct
import tempfile
import typing as t

from .._cluster.errors import ClusterError
from .._cluster.fingerprint import ASIDE
from . import parse
from .seen import Device, Seen, There
from .storage import known

if t.TYPE_CHECKING:
    from .storage import Step
    from .wish import Wish

FSTAB = "/etc/fstab"
LOCK = "/run/kaiwudb-host-storage.lock"
SYSTEMD = "/run/systemd/system"  # there where systemd is the init system: sd_booted(3)
HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"
_UNSYNCHRONISED = 0x40  # STA_UNSYNC of adjtimex(2)


class Run(t.Protocol):
    """C(AnsibleModule.run_command): arguments to exit code, stdout, stderr."""

    def __call__(self, args: list[str], **options: t.Any) -> tuple[int, str, str]: ...


class Node:
    """The node this runs on. run: runs a command. move: replaces a file by another one at once, keeping owner and mode."""

    def __init__(self, run: Run, move: t.Callable[[str, str], None]) -> None:
        self._run_command = run
        self._move = move

    def look(self, wish: Wish) -> Seen:
        """Everything that decides, read without changing anything. Raises ClusterError when a tool fails."""
        text = _read(FSTAB)
        device = None if wish.device is None else self._device(wish.device)
        noted = parse.intent(text, wish.path)
        named = (*parse.fstab(text), *([noted] if noted else ()))
        sources = {} if device is None else {entry.source: self._resolve(entry.source) for entry in named}
        return Seen(
            mounts=parse.mountinfo(_read("/proc/self/mountinfo")),
            fstab=text,
            path=_there(wish.path),
            real=os.path.realpath(wish.path),
            free=_free(wish.path),
            device=device,
            children={name: _there(f"{wish.path}/{name}", ASIDE) for name in (*wish.directories, *wish.new)},
            sources=sources,
            tools=tuple(name for name in ("mkfs.ext4", "mkfs.xfs") if _tool(name)),
            thp=parse.huge_pages(_read(HUGE_PAGES)),
            synchronised=synchronised(),
        )

    @contextlib.contextmanager
    def alone(self) -> t.Iterator[None]:
        """Keeps a second run off this node: both would find the same device empty."""
        with open(LOCK, "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ClusterError(
                    "another run prepares this node at this moment. Wait for it and run again.", "locked"
                ) from error
            yield

    def do(self, step: Step, wish: Wish) -> None:
        """Do one step of the plan. Raises ClusterError when it fails."""
        path = step.what
        if step.kind in ("intent", "fstab"):
            self._write_fstab(parse.fstab_with(_read(FSTAB), known(step.entry), as_intent=step.kind == "intent"))
        elif step.kind == "filesystem":
            self._make_filesystem(step, wish)
        elif step.kind == "mount":
            self._mount(step, wish)
        elif step.kind == "directory":
            os.makedirs(path, mode=0o755, exist_ok=True)
            os.chmod(path, 0o755)  # noqa: S103 - whatever the umask says; kubelets and databases must get in
        elif step.kind == "ownership":
            os.chown(path, -1 if wish.owner is None else wish.owner, -1 if wish.group is None else wish.group)
            if wish.mode is not None:
                os.chmod(path, wish.mode)
        else:
            raise AssertionError(step.id)

    def _run(self, *args: str, allowed: t.Sequence[int] = (0,), **options: t.Any) -> tuple[int, str]:
        """Exit code and output of a command. Raises ClusterError when it is not there, or ends with another code."""
        program = _tool(args[0])
        if program is None:
            raise ClusterError(
                f"{args[0]} is not on this node. Install it (util-linux, e2fsprogs, xfsprogs) and run again.", "no_tool"
            )
        code, out, err = self._run_command([program, *args[1:]], **options)
        if code not in allowed:
            raise ClusterError(f"{' '.join(args)} failed ({code}): {(err or out).strip()}", "command_failed")
        return code, out

    def _device(self, name: str) -> Device | None:
        node = os.path.realpath(name)
        if (kind := _is_block(node)) is None:
            return None
        if not kind:
            raise ClusterError(
                f"device: {name} is no block device. Look at lsblk, and correct the name.",
                "device_kind",
                option="device",
                resumable=False,
            )
        _code, listed = self._run("lsblk", "--json", "--bytes", "--output", "NAME,MAJ:MIN,TYPE,SIZE,RO", node)
        # --probe looks at the device itself; the cache may tell what was there before. 2: nothing, 8: more than one thing.
        code, probed = self._run("blkid", "--probe", "--output", "export", node, allowed=(0, 2, 8))
        _code, wiped = self._run("wipefs", "--no-act", "--parsable", node)
        block, found = parse.lsblk(listed), parse.blkid(probed)
        holders = f"/sys/dev/block/{block.number}/holders"
        return Device(
            node=node,
            block=block,
            signatures=parse.wipefs(wiped),
            fstype=found.get("TYPE", ""),
            uuid=found.get("UUID", ""),
            ambiguous=code == 8,
            holders=tuple(sorted(os.listdir(holders))) if os.path.isdir(holders) else (),
            swap=node in [os.path.realpath(swap) for swap in parse.swaps(_read("/proc/swaps"))],
            busy=_busy(node),
        )

    def _resolve(self, source: str) -> str | None:
        """The device behind a source that fstab names; None when there is none."""
        if source.startswith("/dev/"):
            return os.path.realpath(source) if os.path.exists(source) else None
        if "=" not in source:
            return None
        code, out = self._run("findfs", source, allowed=(0, 1, 2))
        return os.path.realpath(out.strip()) if code == 0 else None

    def _write_fstab(self, text: str) -> None:
        """Replace fstab at once, when findmnt reads the new one no worse than the old one."""
        handle, new = tempfile.mkstemp(dir=os.path.dirname(FSTAB), prefix=".fstab.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            before, after = self._parse_errors(FSTAB), self._parse_errors(new)
            if after > before:
                raise ClusterError(
                    "findmnt cannot read the line that was to be added to /etc/fstab; it was left as it is.", "fstab"
                )
            if not os.path.exists(FSTAB):
                os.chmod(new, 0o644)
            self._move(new, FSTAB)
        finally:
            if os.path.exists(new):
                os.unlink(new)
        if os.path.isdir(SYSTEMD):  # else systemd goes on with the units of the old fstab
            self._run("systemctl", "daemon-reload")

    def _parse_errors(self, path: str) -> int:
        """Only what cannot be read counts: that a disk of another line is away, nofail or not, is not ours to judge."""
        if not os.path.exists(path):
            return 0
        _code, out, err = self._run_command(["findmnt", "--verify", "--tab-file", path])
        return parse.parse_errors(out + err)

    def _make_filesystem(self, step: Step, wish: Wish) -> None:
        """Without a terminal mkfs.ext4 asks nobody and overwrites what it finds; so look again, at the last moment."""
        entry, device, asked = known(step.entry), known(step.device), known(wish.device)
        if self._device(asked) != device:
            raise ClusterError(
                f"device: {asked} has changed since this run looked at it; it was left alone.", "device_changed"
            )
        uuid = entry.source.partition("=")[2]
        given = ["-m", f"uuid={uuid}"] if entry.fstype == "xfs" else ["-U", uuid]
        self._run(f"mkfs.{entry.fstype}", "-q", *given, device.node, data="n\n")

    def _mount(self, step: Step, wish: Wish) -> None:
        """By its fstab line alone, which so is proven. Where systemd has been faster, that is as good."""
        device = known(step.device)
        try:
            self._run("mount", wish.path)
        except ClusterError:
            mounts = parse.mountinfo(_read("/proc/self/mountinfo"))
            if not any(mount.target == wish.path and mount.number == device.block.number for mount in mounts):
                raise


def synchronised() -> bool | None:
    """Whether the kernel's clock is disciplined (adjtimex(2), what timedatectl shows); None when it does not say."""
    buffer = ctypes.create_string_buffer(512)  # struct timex, with modes 0: read only
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    # Its first five fields are an int and four longs; then comes status.
    return not struct.unpack_from("i", buffer, 5 * ctypes.sizeof(ctypes.c_long))[0] & _UNSYNCHRONISED


def _read(path: str) -> str:
    """A file's text; empty when there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _tool(name: str) -> str | None:
    """Where a program is; the path of a login over SSH often lacks sbin."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin")


def _there(path: str, *aside: str) -> There | None:
    """What lies there. aside: names in it that do not count."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISDIR(found.st_mode):
        return There("link" if stat.S_ISLNK(found.st_mode) else "file")
    with os.scandir(path) as entries:
        # lost+found comes with a file system, and is nobody's data.
        empty = all(entry.name in ("lost+found", *aside) for entry in entries)
    return There("directory", found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), empty)


def _free(path: str) -> int:
    """Bytes free where C(path) lies or will lie."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _is_block(node: str) -> bool | None:
    """Whether something is a block device; None when there is nothing."""
    try:
        return stat.S_ISBLK(os.stat(node).st_mode)
    except FileNotFoundError:
        return None


def _busy(node: str) -> bool:
    """Whether the kernel refuses to hand the device out alone: mounted in any namespace, swap, part of something."""
    try:
        os.close(os.open(node, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise ClusterError(f"device: {node} cannot be opened: {error}", "device_unreadable") from error
        return True
    return False
