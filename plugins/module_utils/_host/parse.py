# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What lsblk, blkid, wipefs, the kernel and fstab say, as data. Pure. PRIVATE to the collection.

Formats: lsblk(8), blkid(8), wipefs(8) of util-linux; proc_pid_mountinfo(5), fstab(5).
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass


@dataclass(frozen=True)
class Mount:
    """One line of C(/proc/self/mountinfo). number: C(MAJOR:MINOR) of what is mounted; names may change, it does not."""

    target: str
    source: str
    fstype: str
    number: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signature:
    """One thing that C(wipefs) finds on a device: C(ext4), C(gpt), C(LVM2_member), C(swap) … at a byte offset."""

    type: str
    offset: str
    uuid: str = ""
    label: str = ""

    def __str__(self) -> str:
        told = "".join(f", {name} {value}" for name, value in (("UUID", self.uuid), ("label", self.label)) if value)
        return f"{self.type} (at {self.offset}{told})"


@dataclass(frozen=True)
class Block:
    """What C(lsblk) says about one device. parts: what lies on it (partitions, volumes, arrays), C(NAME (TYPE))."""

    number: str
    kind: str
    size: int
    read_only: bool
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One line of fstab."""

    source: str
    target: str
    fstype: str
    options: tuple[str, ...]
    dump: int = 0
    passno: int = 0

    def line(self) -> str:
        return f"{_escape(self.source)} {_escape(self.target)} {self.fstype} {','.join(self.options)} {self.dump} {self.passno}"


def _unescape(text: str) -> str:
    """Octal escapes of fstab and mountinfo: C(\\040) is a space."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)


def _escape(text: str) -> str:
    return "".join(f"\\{ord(char):03o}" if char in " \t\n\\" else char for char in text)


def mountinfo(text: str) -> tuple[Mount, ...]:
    """Every mount, in the order in which they were made: of two at one place the last one counts."""
    found = []
    for line in text.splitlines():
        head, _dash, tail = line.partition(" - ")
        fields, kind = head.split(), tail.split()
        if len(fields) < 6 or len(kind) < 2:
            continue
        found.append(
            Mount(
                _unescape(fields[4]), _unescape(kind[1]), kind[0], fields[2], tuple(fields[5].split(","))
            )
        )  # fmt: skip
    return tuple(found)


def lsblk(text: str) -> Block:
    """The device of C(lsblk --json --bytes --output NAME,MAJ:MIN,TYPE,SIZE,RO DEVICE). Older versions write numbers as text.

    Raises ValueError when the text holds no device.
    """
    devices = json.loads(text).get("blockdevices") or []
    if not devices:
        raise ValueError("lsblk shows no device")
    top = devices[0]

    def below(device: t.Mapping[str, t.Any]) -> t.Iterator[str]:
        for child in device.get("children") or []:
            yield f"{child['name']} ({child['type']})"
            yield from below(child)

    return Block(
        str(top["maj:min"]).strip(),
        str(top["type"]),
        int(top["size"]),
        top["ro"] in (True, 1, "1"),
        tuple(below(top)),
    )


def blkid(text: str) -> dict[str, str]:
    """Key to value of C(blkid --probe --output export DEVICE); empty when it found nothing."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found[key] = re.sub(r"\\(.)", r"\1", value)
    return found


def wipefs(text: str) -> tuple[Signature, ...]:
    """Every signature of C(wipefs --no-act --parsable DEVICE), one a line: offset, UUID, label (a comma in it is not escaped), type."""
    found = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            # Whatever a line looks like, it is a signature: none may be overlooked.
            offset, uuid, *label, kind = [*line.split(","), "", ""] if line.count(",") < 2 else line.split(",")
            found.append(Signature(kind or "something", *map(_hexless, (offset, uuid, ",".join(label)))))
    return tuple(found)


def _hexless(text: str) -> str:
    return re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found.group(1), 16)), text)


def swaps(text: str) -> tuple[str, ...]:
    """Device names of C(/proc/swaps)."""
    return tuple(_unescape(line.split()[0]) for line in text.splitlines()[1:] if line.strip())


def fstab(text: str) -> tuple[Entry, ...]:
    """Every entry; comments and lines that are none are left out."""
    return tuple(entry for line in text.splitlines() if (entry := _entry(line)) is not None)


def _entry(line: str) -> Entry | None:
    fields = line.split()
    if not fields or fields[0].startswith("#") or len(fields) < 4:
        return None
    numbers = [int(field) if field.isdigit() else 0 for field in (*fields[4:6], "0", "0")][:2]
    target = _unescape(fields[1])
    return Entry(
        _unescape(fields[0]),
        target.rstrip("/") or target,
        fields[2],
        tuple(fields[3].split(",")),
        *numbers,
    )


INTENT = "# kaiwudb_host_storage makes: "


def intent(text: str, path: str) -> Entry | None:
    """The filesystem that an earlier run, maybe a killed one, was about to make for C(path): its entry as a comment."""
    for line in text.splitlines():
        entry = _entry(line[len(INTENT) :]) if line.startswith(INTENT) else None
        if entry is not None and entry.target == path:
            return entry
    return None


def fstab_with(text: str, entry: Entry, *, as_intent: bool = False) -> str:
    """fstab with C(entry) in place of what it says about that path, or at its end; every other line as it is."""
    line = (INTENT if as_intent else "") + entry.line()
    lines, done = [], False
    for old in text.splitlines():
        there = _entry(old[len(INTENT) :] if old.startswith(INTENT) else old)
        if there is None or there.target != entry.target:
            lines.append(old)
        elif not done:
            lines.append(line)
            done = True
    if not done:
        lines.append(line)
    return "\n".join(lines) + "\n"


def huge_pages(text: str) -> str:
    """The chosen word of C(/sys/kernel/mm/transparent_hugepage/enabled), such as C(madvise); empty when there is none."""
    found = re.search(r"\[(\w+)\]", text)
    return found.group(1) if found else ""


def parse_errors(text: str) -> int:
    """The number of lines that C(findmnt --verify) cannot read."""
    found = re.search(r"(\d+) parse errors?", text)
    return int(found.group(1)) if found else 0
