# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tools of a Linux machine say, read. The texts are recorded: Debian 12, util-linux 2.38.1."""

from __future__ import annotations

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host import parse
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host.parse import Block, Entry, Mount, Signature

LSBLK_GPT = """{
   "blockdevices": [
      {
         "name": "loop0",
         "maj:min": "7:0",
         "type": "loop",
         "size": 67108864,
         "ro": false,
         "children": [
            {
               "name": "loop0p1",
               "maj:min": "259:0",
               "type": "part",
               "size": 33554432,
               "ro": false
            }
         ]
      }
   ]
}
"""
LSBLK_READ_ONLY = """{
   "blockdevices": [
      {
         "name": "loop4",
         "maj:min": "7:4",
         "type": "loop",
         "size": 33554432,
         "ro": true
      }
   ]
}
"""
BLKID_EXT4 = """DEVNAME=/dev/loop1
LABEL=my,\\ data
UUID=84e2f152-823d-4b44-b066-74f6136e4890
VERSION=1.0
BLOCK_SIZE=1024
TYPE=ext4
USAGE=filesystem
"""
MOUNTINFO = """1501 1400 254:0 / / rw,relatime - ext4 /dev/vda rw
1517 1501 7:1 / /mnt/a\\040b rw,relatime shared:3 master:1 - ext4 /dev/loop1 rw
1518 1501 0:52 / /mnt/x rw,nosuid - tmpfs tmpfs rw,size=65536k
"""
FSTAB = """# /etc/fstab: static file system information.

UUID=1111 / ext4 errors=remount-ro 0 1
UUID=2222\t/data/a\\040b/\txfs\tnoatime
broken
/dev/sdz none swap sw x y
"""


def test_lsblk() -> None:
    assert parse.lsblk(LSBLK_GPT) == Block("7:0", "loop", 67108864, False, ("loop0p1 (part)",))
    assert parse.lsblk(LSBLK_READ_ONLY) == Block("7:4", "loop", 33554432, True)


def test_lsblk_before_2_33_writes_numbers_as_text() -> None:
    text = (
        '{"blockdevices": [{"name": "sdb", "maj:min": "8:16 ", "type": "disk", "size": "64", "ro": "1", '
        '"children": [{"name": "a", "type": "lvm", "children": [{"name": "b", "type": "crypt"}]}]}]}'
    )
    assert parse.lsblk(text) == Block("8:16", "disk", 64, True, ("a (lvm)", "b (crypt)"))
    assert not parse.lsblk(text.replace('"ro": "1"', '"ro": "0"')).read_only


@pytest.mark.parametrize("text", ["{}", '{"blockdevices": []}', ""])
def test_lsblk_without_a_device(text: str) -> None:
    with pytest.raises(ValueError):
        parse.lsblk(text)


def test_blkid() -> None:
    found = parse.blkid(BLKID_EXT4)
    assert (found["TYPE"], found["UUID"], found["LABEL"]) == (
        "ext4",
        "84e2f152-823d-4b44-b066-74f6136e4890",
        "my, data",
    )
    assert parse.blkid("") == {}
    assert "TYPE" not in parse.blkid("DEVNAME=/dev/loop0\nPTUUID=c84597e7\nPTTYPE=gpt\n")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0x438,84e2f152,my,\\x20data,ext4\n", None),
        ("0x200,,,gpt\n0x3fffe00,,,gpt\n0x1fe,,,PMBR\n", ["gpt (at 0x200)", "gpt (at 0x3fffe00)", "PMBR (at 0x1fe)"]),
        ("# offset,uuid,label,type\n0x218,cNpzi7,,LVM2_member\n", ["LVM2_member (at 0x218, UUID cNpzi7)"]),
        ("0xff6,5f66c57b,,swap\n", ["swap (at 0xff6, UUID 5f66c57b)"]),
        ("0x438,1,a\\x20b,ext4\n", ["ext4 (at 0x438, UUID 1, label a b)"]),
        ("strange\n", ["something (at strange)"]),
        ("", []),
    ],
)
def test_wipefs(text: str, found: list[str] | None) -> None:
    signatures = parse.wipefs(text)
    if found is None:  # a label with a comma in it, as 2.38 writes it
        assert signatures == (Signature("ext4", "0x438", "84e2f152", "my, data"),)
    else:
        assert [str(signature) for signature in signatures] == found


def test_mountinfo() -> None:
    assert parse.mountinfo(MOUNTINFO) == (
        Mount("/", "/dev/vda", "ext4", "254:0", ("rw", "relatime")),
        Mount("/mnt/a b", "/dev/loop1", "ext4", "7:1", ("rw", "relatime")),
        Mount("/mnt/x", "tmpfs", "tmpfs", "0:52", ("rw", "nosuid")),
    )
    assert parse.mountinfo("nonsense\n") == ()


def test_swaps() -> None:
    text = "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n/dev/sdc2                               partition\t1048572\t0\t-2\n"
    assert parse.swaps(text) == ("/dev/sdc2",) and parse.swaps("") == ()


def test_fstab() -> None:
    assert parse.fstab(FSTAB) == (
        Entry("UUID=1111", "/", "ext4", ("errors=remount-ro",), 0, 1),
        Entry("UUID=2222", "/data/a b", "xfs", ("noatime",), 0, 0),
        Entry("/dev/sdz", "none", "swap", ("sw",), 0, 0),
    )


def test_fstab_gets_one_line_and_keeps_all_others() -> None:
    entry = Entry("UUID=3", "/data/new one", "ext4", ("noatime", "nofail"), 0, 2)
    line = "UUID=3 /data/new\\040one ext4 noatime,nofail 0 2\n"
    assert parse.fstab_with(FSTAB, entry) == FSTAB + line
    assert parse.fstab_with("UUID=1 / ext4 defaults 0 1", entry) == "UUID=1 / ext4 defaults 0 1\n" + line, (
        "the last line had no end"
    )
    assert parse.fstab_with("", entry) == line
    again = parse.fstab_with(FSTAB + line, entry)
    assert again == FSTAB + line
    other = Entry("UUID=4", "/data/a b", "xfs", ("nofail",))
    assert parse.fstab_with(FSTAB, other) == FSTAB.replace(
        "UUID=2222\t/data/a\\040b/\txfs\tnoatime", "UUID=4 /data/a\\040b xfs nofail 0 0"
    )


def test_an_intent_is_a_comment_until_it_becomes_the_line() -> None:
    entry = Entry("UUID=3", "/data", "ext4", ("nofail",), 0, 2)
    noted = parse.fstab_with(FSTAB, entry, as_intent=True)
    assert noted == FSTAB + "# kaiwudb_host_storage makes: UUID=3 /data ext4 nofail 0 2\n"
    assert parse.fstab(noted) == parse.fstab(FSTAB)
    assert (
        parse.intent(noted, "/data") == entry
        and parse.intent(noted, "/other") is None
        and parse.intent(FSTAB, "/data") is None
    )
    assert parse.fstab_with(noted, entry) == FSTAB + entry.line() + "\n"


def test_huge_pages() -> None:
    assert [parse.huge_pages(text) for text in ("always [madvise] never\n", "[always] madvise never\n", "")] == [
        "madvise",
        "always",
        "",
    ]


def test_findmnt_verify() -> None:
    text = (
        "findmnt: /tmp/fstab: parse error at line 2 -- ignored\n/data\n   [E] unreachable on boot required source: UUID=1\n\n"
        "1 parse error, 1 error, 0 warnings\n"
    )
    assert parse.parse_errors(text) == 1
    assert parse.parse_errors("\n0 parse errors, 1 error, 0 warnings\n") == 0
    assert parse.parse_errors("Success, no errors or warnings detected\n") == 0
