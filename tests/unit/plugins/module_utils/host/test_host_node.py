# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a node and changing it, with commands that answer from a record; and the module's way from one to the other."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host import node as under_test
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host import parse
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host.node import Node
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host.seen import There
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host.wish import Wish
from ansible_collections.kaiwudb.kubernetes.plugins.modules import kaiwudb_host_storage as module

UUID = "11111111-2222-3333-4444-555555555555"


class Machine:
    """A machine with one disk, /dev/sdz: answers as the tools do, and remembers what it was told."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = tmp_path / "data" / "kaiwudb"
        self.fstab = tmp_path / "fstab"
        self.fstab.write_text("UUID=SYS / ext4 defaults 0 1\n")
        self.fstab.chmod(0o640)
        self.said: list[list[str]] = []
        self.made = ""
        self.mounted = False
        self.dies_at = ""
        self.parse_errors = 0
        monkeypatch.setattr(under_test, "FSTAB", str(self.fstab))
        monkeypatch.setattr(under_test, "LOCK", str(tmp_path / "lock"))
        monkeypatch.setattr(under_test, "_tool", lambda name: name)
        monkeypatch.setattr(under_test, "_busy", lambda _node: self.mounted)
        monkeypatch.setattr(under_test, "synchronised", lambda: True)
        read = under_test._read
        monkeypatch.setattr(
            under_test, "_read", lambda path: self.mountinfo() if path == "/proc/self/mountinfo" else read(path)
        )
        is_block = under_test._is_block
        monkeypatch.setattr(under_test, "_is_block", lambda path: path == "/dev/sdz" or is_block(path))
        monkeypatch.setattr(under_test, "SYSTEMD", str(tmp_path / "systemd"))
        self.node = Node(self.run, os.replace)

    def mountinfo(self) -> str:
        lines = "1 0 254:0 / / rw - ext4 /dev/vda rw\n"
        return lines + (f"2 1 8:400 / {self.path} rw - ext4 /dev/sdz rw\n" if self.mounted else "")

    def run(self, args: list[str], **_options: Any) -> tuple[int, str, str]:
        self.said.append(args)
        if args[0] == self.dies_at:
            raise KeyboardInterrupt
        if args[0] == "lsblk":
            return (
                0,
                '{"blockdevices": [{"name": "sdz", "maj:min": "8:400", "type": "disk", "size": 107374182400, "ro": false}]}',
                "",
            )
        if args[0] == "blkid":
            return (0, f"TYPE=ext4\nUUID={self.made}\n", "") if self.made else (2, "", "")
        if args[0] == "wipefs":
            return 0, f"0x438,{self.made},,ext4\n" if self.made else "", ""
        if args[0] == "findfs":
            return (
                (0, "/dev/sdz\n", "") if self.made and args[1] == f"UUID={self.made}" else (1, "", "unable to resolve")
            )
        if args[0] == "findmnt":
            return (
                1,
                f"{self.parse_errors if args[-1] != str(self.fstab) else 0} parse errors, 1 error, 0 warnings\n",
                "",
            )
        if args[0] == "mkfs.ext4":
            self.made = args[args.index("-U") + 1]
            return 0, "", ""
        if args[0] == "mount":
            lines = [entry for entry in parse.fstab(self.fstab.read_text()) if entry.target == args[1]]
            if [entry.source for entry in lines] != [f"UUID={self.made}"]:
                return 32, "", "mount: can't find it in /etc/fstab"
            self.mounted = True
            return 0, "", ""
        if args == ["systemctl", "daemon-reload"]:
            return 0, "", ""
        raise AssertionError(args)

    def work(self, check_mode: bool = False, **options: Any) -> dict[str, Any]:
        return module.work(self.node, Wish(str(self.path), device="/dev/sdz", thp="ignore", **options), check_mode)

    def told(self, *names: str) -> list[str]:
        return [args[0] for args in self.said if args[0] in names]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_from_an_empty_disk_to_a_settled_node(machine: Machine) -> None:
    result = machine.work(directories=("db.kw-0",))
    assert (
        result["steps"] == ["directory", "intent", "filesystem", "fstab", "mount", "directory/db.kw-0"]
        and result["changed"]
    )
    line = f"UUID={machine.made} {machine.path} ext4 noatime,nofail 0 2\n"
    assert machine.fstab.read_text() == "UUID=SYS / ext4 defaults 0 1\n" + line
    assert result["storage"] == {
        **result["storage"],
        "mount": str(machine.path),
        "source": "/dev/sdz",
        "fstype": "ext4",
        "uuid": machine.made,
    }
    assert result["diff"]["after"].endswith(f"{machine.path}/db.kw-0: directory 0:0 0755\n")
    machine.said.clear()
    again = machine.work(directories=("db.kw-0",))
    assert (again["changed"], again["steps"], again["msg"]) == (False, [], f"{machine.path}: nothing to do")
    assert machine.told("mkfs.ext4", "mount", "findmnt") == []


def test_systemd_is_told_of_a_new_fstab(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    machine.work()
    assert machine.told("systemctl", "mkfs.ext4", "mount") == ["systemctl", "mkfs.ext4", "systemctl", "mount"]


def test_check_mode_only_looks(machine: Machine) -> None:
    before = machine.fstab.read_text()
    result = machine.work(check_mode=True)
    assert result["steps"] == ["directory", "intent", "filesystem", "fstab", "mount"] and result["changed"]
    assert "would do" in result["msg"]
    assert machine.fstab.read_text() == before and not machine.path.exists() and not machine.made
    assert {args[0] for args in machine.said} <= {"lsblk", "blkid", "wipefs", "findfs"}


@pytest.mark.parametrize("moment", ["findmnt", "mkfs.ext4", "mount"])
def test_killed_and_run_again(machine: Machine, moment: str) -> None:
    machine.dies_at = moment
    with pytest.raises(KeyboardInterrupt):
        machine.work()
    assert sorted(path.name for path in machine.fstab.parent.iterdir()) == ["data", "fstab"], "no temporary file stays"
    machine.dies_at = ""
    noted = parse.intent(machine.fstab.read_text(), str(machine.path))
    result = machine.work()
    assert not result.get("failed") and result["steps"][-1] == "mount"
    if moment == "mkfs.ext4":
        assert noted is not None and noted.source == f"UUID={machine.made}", (
            "the UUID that was noted is the one that is made"
        )
    assert machine.work()["changed"] is False


def test_killed_right_after_the_filesystem(machine: Machine) -> None:
    machine.work()
    made, machine.mounted = machine.made, False
    text = machine.fstab.read_text()
    machine.fstab.write_text(text.replace(f"UUID={made}", f"{parse.INTENT}UUID={made}"))
    assert machine.work()["steps"] == ["fstab", "mount"] and machine.made == made
    assert machine.fstab.read_text() == text


def test_who_has_the_uuid_that_was_noted(machine: Machine) -> None:
    noted = parse.Entry(f"UUID={UUID}", str(machine.path), "ext4", ("noatime", "nofail"), 0, 2)
    machine.fstab.write_text(parse.fstab_with(machine.fstab.read_text(), noted, as_intent=True))
    wish = Wish(str(machine.path), device="/dev/sdz")
    assert machine.node.look(wish).sources == {"UUID=SYS": None, f"UUID={UUID}": None}
    machine.made = UUID
    assert machine.node.look(wish).sources[f"UUID={UUID}"] == "/dev/sdz"


def test_a_disk_that_fills_between_the_look_and_the_filesystem(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mkfs.ext4 overwrites what it finds when there is no terminal to ask."""
    write = machine.node._write_fstab

    def meanwhile(text: str) -> None:
        machine.made = "SOMEBODY"
        write(text)

    monkeypatch.setattr(machine.node, "_write_fstab", meanwhile)
    result = machine.work()
    assert result["failed"] and result["reason"] == "device_changed" and machine.told("mkfs.ext4") == []
    assert result["msg"].endswith("Done before: directory, intent.") and result["steps"] == ["directory", "intent"]


def test_an_fstab_that_cannot_be_read_is_not_written(machine: Machine) -> None:
    machine.parse_errors = 1
    before = machine.fstab.read_text()
    result = machine.work()
    assert result["failed"] and result["reason"] == "fstab" and machine.fstab.read_text() == before
    assert machine.told("mkfs.ext4") == [] and len(list(machine.fstab.parent.glob(".fstab*"))) == 0


def test_systemd_may_be_faster(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    run = machine.run

    def faster(args: list[str], **options: Any) -> tuple[int, str, str]:
        if args[0] == "mount":
            machine.mounted = True
            return 32, "", "already mounted"
        return run(args, **options)

    machine.node._run_command = faster
    assert machine.work()["steps"][-1] == "mount"
    machine.mounted = False
    machine.node._run_command = lambda args, **options: (
        (32, "", "wrong fs type") if args[0] == "mount" else run(args, **options)
    )
    result = machine.work()
    assert result["failed"] and result["reason"] == "command_failed" and "wrong fs type" in result["msg"]


def test_what_is_seen_after_the_mount_is_done_in_a_second_pass(machine: Machine) -> None:
    machine.work()
    machine.mounted = False
    owner, group = os.getuid(), os.getgid()
    assert machine.work(owner=owner, group=group, mode=0o700)["steps"] == ["mount", "ownership"]
    assert stat.S_IMODE(machine.path.stat().st_mode) == 0o700


def test_what_never_settles_ends(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test.os, "chmod", lambda *_args, **_more: None)
    result = machine.work(mode=0o711)
    assert result["failed"] and result["reason"] == "not_settled"


def test_two_runs_at_once(machine: Machine) -> None:
    with machine.node.alone():
        with pytest.raises(ClusterError) as error, machine.node.alone():
            pass
        assert error.value.reason == "locked"
    with machine.node.alone():
        pass


def test_a_file_is_no_device(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(ClusterError) as error:
        machine.node.look(Wish(str(machine.path), device=str(machine.fstab)))
    assert error.value.reason == "device_kind"
    assert machine.node.look(Wish(str(machine.path), device=str(tmp_path / "none"))).device is None


def test_what_lies_at_a_path(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("")
    (tmp_path / "l").symlink_to("d")
    assert under_test._there(str(tmp_path / "none")) is None and under_test._there(str(tmp_path / "f" / "x")) is None
    assert under_test._there(str(tmp_path / "f")) == There("file") and under_test._there(str(tmp_path / "l")) == There(
        "link"
    )
    there = under_test._there(str(tmp_path / "d"))
    assert there is not None and there.kind == "directory" and there.empty
    (tmp_path / "d" / "lost+found").mkdir()
    there = under_test._there(str(tmp_path / "d"))
    assert there is not None and there.empty, "as mkfs leaves it"
    (tmp_path / "d" / "kaiwudb.kubernetes.archive").mkdir()
    there = under_test._there(str(tmp_path / "d"))
    assert there is not None and not there.empty, "a mount would cover it"
    there = under_test._there(str(tmp_path / "d"), "kaiwudb.kubernetes.archive")
    assert there is not None and there.empty, "put aside where a volume is a mount point, and in no store's way"
    (tmp_path / "d" / ".hidden").write_text("")
    there = under_test._there(str(tmp_path / "d"))
    assert there is not None and not there.empty


def test_the_kernel_says_whether_the_clock_is_synchronised() -> None:
    assert under_test.synchronised() in (True, False, None)


def test_accounts() -> None:
    params = {name: option.get("default") for name, option in module.ARGUMENTS.items()}
    assert module.wish_of({**params, "owner": "root", "group": "12"}) == Wish("/var/lib/kaiwudb", owner=0, group=12)
    assert module.wish_of({**params, "mount_options": ["noatime"], "min_free": "1Ki"}).min_free == 1024
    with pytest.raises(ClusterError, match=r"^owner: there is no owner 'nobody-of-that-name'"):
        module.wish_of({**params, "owner": "nobody-of-that-name"})
