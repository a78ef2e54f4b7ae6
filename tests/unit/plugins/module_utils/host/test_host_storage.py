# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to a node's disk, and what is refused: every branch of the decision, without a disk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError, InputError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host.parse import Block, Mount, Signature
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host.seen import Device, Seen, There
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host.storage import decide
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._host.wish import Wish, check, mode_of, numbered

GIB = 1024**3
PATH = "/data/kaiwudb"
NAME = "/dev/disk/by-id/nvme-1"
ROOT = Mount("/", "/dev/vda", "ext4", "254:0")
MOUNTED = Mount(PATH, "/dev/sdb", "ext4", "8:16")
BLANK = Device("/dev/sdb", Block("8:16", "disk", 100 * GIB, False))
EXT4 = replace(BLANK, signatures=(Signature("ext4", "0x438", "OLD", "orders"),), fstype="ext4", uuid="OLD")
LINE = f"UUID=OLD {PATH} ext4 noatime,nofail 0 2\n"
INTENT = f"# kaiwudb_host_storage makes: {LINE}"
SYSTEM = "UUID=SYS / ext4 defaults 0 1\n"
EMPTY = There("directory")


def wish(**options: Any) -> Wish:
    return Wish(**{"path": PATH, "device": NAME, **options})


def plain(**options: Any) -> Wish:
    """Without a device."""
    return wish(device=None, **options)


def seen(**facts: Any) -> Seen:
    usual = {
        "mounts": (ROOT,),
        "fstab": SYSTEM,
        "path": None,
        "real": PATH,
        "free": 50 * GIB,
        "device": BLANK,
        "sources": {"UUID=SYS": "/dev/vda"},
        "tools": ("mkfs.ext4", "mkfs.xfs"),
        "thp": "madvise",
        "synchronised": True,
    }
    return Seen(**{**usual, **facts})


def settled(**facts: Any) -> Seen:
    """After a run."""
    return seen(**{"mounts": (ROOT, MOUNTED), "fstab": SYSTEM + LINE, "path": EMPTY, "device": replace(EXT4, busy=True),
                   "sources": {"UUID=SYS": "/dev/vda", "UUID=OLD": "/dev/sdb"}, **facts})  # fmt: skip


def unmounted(**facts: Any) -> Seen:
    return settled(mounts=(ROOT,), **{"device": EXT4, **facts})


def ids(wanted: Wish, found: Seen) -> list[str]:
    return [step.id for step in decide(wanted, found, "NEW").steps]


def refused(wanted: Wish, found: Seen) -> tuple[str, str, str]:
    with pytest.raises(ClusterError) as error:
        decide(wanted, found, "NEW")
    assert error.value.msg.startswith(f"{error.value.facts['option']}: ") and error.value.facts["resumable"] is False
    return error.value.reason, error.value.facts["option"], error.value.msg


# ---- a device of its own


def test_an_empty_device_gets_all_of_it() -> None:
    plan = decide(wish(), seen(), "NEW")
    assert [step.id for step in plan.steps] == ["directory", "intent", "filesystem", "fstab", "mount"]
    entries = {step.kind: step.entry for step in plan.steps if step.entry}
    assert {entry.line() for entry in entries.values()} == {f"UUID=NEW {PATH} ext4 noatime,nofail 0 2"}
    assert plan.steps[2].device == BLANK and plan.warnings == () and plan.mount is None


def test_what_is_asked_for_reaches_filesystem_and_line() -> None:
    plan = decide(wish(fstype="xfs", mount_options=("defaults", "discard")), seen(path=EMPTY), "NEW")
    assert [step.id for step in plan.steps] == ["intent", "filesystem", "fstab", "mount"]
    assert plan.steps[1].entry.line() == f"UUID=NEW {PATH} xfs discard,nofail 0 0"


def test_a_new_filesystem_belongs_to_root_until_it_is_given_away() -> None:
    found = ids(wish(owner=1000, mode=0o750, new=("db.kw-0",)), seen())
    assert found[5:] == ["ownership", "directory/db.kw-0", "ownership/db.kw-0"]
    assert ids(wish(owner=0, group=0, mode=0o755), seen())[5:] == []


def test_a_second_run_does_nothing() -> None:
    plan = decide(wish(), settled(), "NEW")
    assert plan.steps == () and plan.warnings == () and plan.mount == MOUNTED


def test_volumes_in_use_change_nothing() -> None:
    """The kubelet binds directories of the device elsewhere while pods run, and the path is not empty any more."""
    bound = Mount("/var/lib/kubelet/pods/1/volumes/kubernetes.io~local-volume/db.kw-0", "/dev/sdb", "ext4", "8:16")
    there = settled(
        mounts=(ROOT, MOUNTED, bound),
        path=replace(EMPTY, empty=False),
        children={"db.kw-0": replace(EMPTY, empty=False)},
    )
    assert ids(wish(directories=("db.kw-0",)), there) == []


@pytest.mark.parametrize(
    ("fstab", "left"),
    [
        (SYSTEM + INTENT.replace("OLD", "NOTED"), ["filesystem", "fstab", "mount"]),
        (SYSTEM, ["intent", "filesystem", "fstab", "mount"]),
    ],
    ids=["killed before the filesystem", "killed before anything"],
)
def test_killed_early(fstab: str, left: list[str]) -> None:
    plan = decide(wish(), seen(fstab=fstab, path=EMPTY), "NEW")
    assert [step.id for step in plan.steps] == left
    assert plan.steps[-2].entry.source == ("UUID=NOTED" if "NOTED" in fstab else "UUID=NEW")


def test_a_uuid_that_another_device_has_got_is_not_given_twice() -> None:
    """Killed between filesystem and line, and another device is asked for: fstab could mount either."""
    noted = SYSTEM + INTENT.replace("OLD", "NOTED")
    for holder, left, uuid in (("/dev/sdc", ["intent", "filesystem", "fstab", "mount"], "NEW"),
                               ("/dev/sdb", ["filesystem", "fstab", "mount"], "NOTED")):  # fmt: skip
        plan = decide(wish(), seen(fstab=noted, path=EMPTY, sources={"UUID=NOTED": holder}), "NEW")
        assert [step.id for step in plan.steps] == left
        assert {step.entry.source for step in plan.steps if step.entry} == {f"UUID={uuid}"}


def test_killed_after_the_filesystem() -> None:
    assert ids(wish(), unmounted(fstab=SYSTEM + INTENT)) == ["fstab", "mount"]
    assert ids(wish(), unmounted()) == ["mount"]
    assert ids(wish(owner=7, directories=("a",)), unmounted()) == ["mount"], "what is in it is seen after the mount"
    assert ids(wish(), unmounted(path=None)) == ["directory", "mount"]


def test_a_mount_without_a_line_gets_one() -> None:
    plan = decide(wish(), settled(fstab=SYSTEM), "NEW")
    assert [step.entry.line() for step in plan.steps] == [LINE.strip()]


@pytest.mark.parametrize(
    ("line", "options", "wanted"),
    [
        (f"/dev/sdb {PATH} ext4 noatime,nofail 0 2", None, LINE.strip()),
        (f"LABEL=orders {PATH} ext4 noatime,nofail 0 2", None, None),
        (f"/dev/disk/by-id/nvme-1 {PATH} auto nofail,discard 0 0", None, None),
        (f"UUID=OLD {PATH} ext4 defaults,discard 1 0", None, f"UUID=OLD {PATH} ext4 discard,nofail 1 0"),
        (f"UUID=OLD {PATH} ext4 nofail,noatime 0 2", ("noatime",), None),
        (f"UUID=OLD {PATH} ext4 discard,nofail 0 2", ("noatime",), LINE.strip()),
    ],
)
def test_a_line_that_is_there_is_kept_or_mended(line: str, options: tuple[str, ...] | None, wanted: str | None) -> None:
    names = {
        "/dev/sdb": "/dev/sdb",
        "LABEL=orders": "/dev/sdb",
        "/dev/disk/by-id/nvme-1": "/dev/sdb",
        "UUID=OLD": "/dev/sdb",
    }
    plan = decide(wish(mount_options=options), settled(fstab=f"{line}\n", sources=names), "NEW")
    assert [step.entry.line() for step in plan.steps] == ([wanted] if wanted else [])


# ---- refusals about the device


@pytest.mark.parametrize(
    ("device", "reason", "says"),
    [
        (None, "device_missing", f"there is no block device {NAME} on this node"),
        (EXT4, "device_signature", "the signature of ext4 (at 0x438, UUID OLD, label orders)"),
        (replace(BLANK, signatures=(Signature("gpt", "0x200"), Signature("PMBR", "0x1fe"))), "device_signature", "gpt (at 0x200), PMBR (at 0x1fe)"),
        (replace(BLANK, fstype="xfs", uuid="X"), "device_signature", "the signature of xfs"),
        (replace(BLANK, ambiguous=True), "device_signature", "more than one signature"),
        (replace(BLANK, swap=True), "device_in_use", "is swapped to"),
        (replace(BLANK, holders=("dm-0", "md0")), "device_in_use", "is used by dm-0, md0"),
        (replace(BLANK, busy=True), "device_in_use", "the kernel gives it to nobody else"),
        (replace(BLANK, block=Block("8:16", "disk", GIB, False, ("sdb1 (part)",))), "device_in_use", "carries sdb1 (part)"),
        (replace(BLANK, block=Block("8:16", "disk", GIB, True)), "device_read_only", "is read-only"),
        (replace(BLANK, block=Block("8:16", "disk", 1024**2, False)), "device_too_small", "has 1.0 MiB; ext4 needs 16.0 MiB"),
    ],
)  # fmt: skip
def test_a_device_that_is_not_free(device: Device | None, reason: str, says: str) -> None:
    found = refused(wish(), seen(device=device))
    assert found[:2] == (reason, "device") and says in found[2]


def test_an_old_filesystem_is_never_taken_for_ours() -> None:
    for fstab in (
        INTENT.replace("OLD", "OTHER"),
        INTENT.replace(PATH, "/data/other"),
        "",
        LINE.replace("OLD", "OTHER"),
    ):
        assert refused(wish(), unmounted(fstab=fstab))[0] == "device_signature"
    twice = replace(EXT4, signatures=(*EXT4.signatures, Signature("LVM2_member", "0x218")))
    assert refused(wish(), unmounted(device=twice))[0] == "device_signature", "a second signature makes it doubtful"
    assert refused(wish(), unmounted(device=replace(EXT4, ambiguous=True)))[0] == "device_signature"


def test_a_device_that_is_mounted_elsewhere() -> None:
    found = refused(wish(), settled(mounts=(ROOT, replace(MOUNTED, target="/mnt"))))
    assert found[:2] == ("device_mounted", "device") and "is mounted at /mnt" in found[2]
    assert refused(wish(), seen(mounts=(ROOT, replace(MOUNTED, target="/mnt"))))[0] == "device_mounted"


def test_fstab_gives_the_device_to_another_path() -> None:
    for source in ("UUID=OLD", "LABEL=orders"):
        elsewhere = unmounted(fstab=f"{source} /mnt ext4 defaults 0 0\n", sources={source: "/dev/sdb"})
        assert refused(wish(), elsewhere)[:2] == ("fstab", "device")


def test_no_program_to_make_it() -> None:
    found = refused(wish(fstype="xfs"), seen(tools=("mkfs.ext4",)))
    assert found[:2] == ("no_tool", "fstype") and "Install the package xfsprogs" in found[2]
    assert ids(wish(), unmounted(tools=())) == ["mount"], "none is needed where nothing is made"


# ---- refusals about the path


def test_another_device_is_mounted_there() -> None:
    found = refused(wish(), settled(mounts=(ROOT, replace(MOUNTED, source="/dev/sdc", number="8:32"))))
    assert found[:2] == ("other_mount", "path") and "is mounted from /dev/sdc (ext4), not from" in found[2]
    covered = settled(mounts=(ROOT, MOUNTED, replace(MOUNTED, number="8:32")))
    assert refused(wish(), covered)[0] == "other_mount", "the last mount is the one that counts"


def test_fstab_gives_the_path_to_another_device() -> None:
    there = seen(fstab=LINE, sources={"UUID=OLD": "/dev/sdc"})
    assert refused(wish(), there)[:2] == ("fstab", "path")
    gone = seen(fstab=LINE, sources={"UUID=OLD": None})
    found = refused(wish(), gone)
    assert found[:2] == ("fstab", "path") and "it is another disk" in found[2]
    mounted = settled(fstab=LINE.replace("OLD", "GONE"), sources={"UUID=GONE": None})
    assert refused(wish(), mounted)[:2] == ("fstab", "path")
    assert refused(wish(), settled(fstab=LINE + LINE))[:2] == ("fstab", "path")


def test_a_filesystem_is_never_made_anew() -> None:
    for there in (settled(), unmounted(), unmounted(fstab=INTENT)):
        assert refused(wish(fstype="xfs"), there)[:2] == ("other_filesystem", "fstype")


def test_a_mount_would_cover_something() -> None:
    for there in (seen(path=replace(EMPTY, empty=False)), unmounted(path=replace(EMPTY, empty=False))):
        assert refused(wish(), there)[:2] == ("path_not_empty", "path")


def test_a_path_that_is_no_directory() -> None:
    assert refused(wish(), seen(path=There("file")))[:2] == ("path_kind", "path")
    assert "Name /mnt/big itself" in refused(plain(), seen(real="/mnt/big"))[2]


def test_a_path_whose_disk_is_missing() -> None:
    found = refused(plain(), seen(device=None, fstab=LINE, path=EMPTY))
    assert found[:2] == ("not_mounted", "path") and "mounts UUID=OLD" in found[2]


def test_a_disk_above_the_path_is_missing() -> None:
    """With nofail the node starts without it, and what is made then lies on the system's own disk."""
    above = "UUID=BIG /data/ ext4 noatime,nofail 0 2\n"
    big = Mount("/data", "/dev/sdc", "ext4", "8:32")
    for wanted, there in ((plain(new=("db.kw-0",)), seen(device=None)), (wish(), seen()), (wish(), settled())):
        away = replace(there, fstab=there.fstab + above)
        found = refused(wanted, away)
        assert (
            found[:2] == ("not_mounted", "path")
            and "mounts UUID=BIG at /data, but nothing is mounted there" in found[2]
        )
        back = replace(away, mounts=(there.mounts[0], big, *there.mounts[1:]))
        assert ids(wanted, back) == ids(wanted, there)
        unasked = replace(there, fstab=there.fstab + above.replace("nofail", "noauto"))
        assert ids(wanted, unasked) == ids(wanted, there), "nobody said that it is mounted"
    for other in ("/data/kaiwudb/db.kw-0", "/data/kai", "none", "/"):
        fstab = SYSTEM.replace("SYS / ", f"SYS {other} ")
        assert ids(plain(), seen(device=None, fstab=fstab, mounts=())) == ["directory"]


# ---- without a device


def test_a_directory_on_what_is_there() -> None:
    assert ids(plain(), seen(device=None)) == ["directory"]
    assert ids(plain(mode=0o700, directories=("a",)), seen(device=None)) == [
        "directory",
        "ownership",
        "directory/a",
        "ownership/a",
    ]
    there = seen(device=None, path=replace(EMPTY, uid=5, empty=False), children={"a": EMPTY})
    assert ids(plain(directories=("a",)), there) == [], "what is not asked for stays"
    assert ids(plain(owner=0, directories=("a",)), there) == ["ownership"]
    assert ids(plain(owner=0, group=0, mode=0o755), seen(device=None, path=EMPTY)) == []


def test_the_filesystem_below() -> None:
    nfs = Mount("/data", "nas:/x", "nfs4", "0:60")
    assert (
        decide(plain(), seen(device=None, mounts=(ROOT, nfs)), "NEW")
        .warnings[0]
        .startswith("path: /data/kaiwudb lies on nfs4")
    )
    assert refused(plain(), seen(device=None, mounts=(ROOT, replace(nfs, fstype="tmpfs"))))[:2] == ("volatile", "path")
    assert refused(plain(fstype="xfs"), seen(device=None))[:2] == ("other_filesystem", "fstype")
    assert ids(plain(fstype="ext4"), seen(device=None)) == ["directory"]
    beside = Mount("/data/kaiwudb-old", "tmpfs", "tmpfs", "0:61")
    assert ids(plain(), seen(device=None, mounts=(ROOT, beside))) == ["directory"]


# ---- directories of volumes, space, the node


def test_a_new_volume_needs_an_empty_directory() -> None:
    full = settled(children={"a": replace(EMPTY, empty=False)})
    assert refused(wish(new=("a",)), full)[:2] == ("directory_not_empty", "new_directories")
    assert ids(wish(directories=("a",)), full) == []
    assert refused(wish(directories=("a",), new=("a",)), full)[0] == "directory_not_empty"
    assert ids(wish(new=("a",)), settled(children={"a": EMPTY})) == []
    assert refused(wish(directories=("a",)), settled(children={"a": There("link")}))[0] == "path_kind"


def test_space_is_refused_before_and_told_afterwards() -> None:
    found = refused(wish(min_free=200 * GIB), seen())
    assert found[:2] == ("too_small", "min_free") and "100.0 GiB are there" in found[2]
    assert ids(wish(min_free=100 * GIB), seen())[0] == "directory"
    assert refused(wish(min_free=60 * GIB, new=("a",)), settled())[0] == "too_small"
    plan = decide(wish(min_free=60 * GIB, owner=3), settled(), "NEW")
    assert [step.id for step in plan.steps] == ["ownership"] and plan.warnings[0].startswith(
        "min_free: 50.0 GiB are there"
    )
    assert refused(plain(min_free=60 * GIB), seen(device=None))[0] == "too_small"
    assert ids(wish(min_free=60 * GIB), unmounted()) == ["mount"], "how full it is shows when it is mounted"


@pytest.mark.parametrize(
    ("option", "facts", "reason", "says"),
    [
        ("thp", {"thp": "always"}, "huge_pages", "transparent_hugepages: they are 'always'"),
        (
            "clock",
            {"synchronised": False},
            "clock",
            "clock: the kernel says that this node's clock is not synchronised",
        ),
        ("clock", {"synchronised": None}, "clock", "clock: the kernel does not tell"),
    ],
)
def test_pages_and_clock(option: str, facts: dict[str, Any], reason: str, says: str) -> None:
    (warning,) = decide(wish(), settled(**facts), "NEW").warnings
    assert warning.startswith(says)
    assert decide(wish(**{option: "ignore"}), settled(**facts), "NEW").warnings == ()
    found = refused(wish(**{option: "fail"}), settled(**facts))
    assert found[0] == reason and found[2].startswith(says)
    assert decide(wish(**{option: "fail"}), settled(), "NEW").steps == ()


# ---- input


@pytest.mark.parametrize(
    ("options", "option"),
    [
        *(({"path": path}, "path") for path in ("data", "/data/", "/data/../etc", "/", "//data", "/var/lib", "/etc/x", "/tmp/x", "/var/lib/kubelet/x")),
        ({"device": "sdb"}, "device"),
        *(({"directories": (name,)}, "directories") for name in ("", "..", "a/b", ".x", "a b")),
        ({"new": ("a/b",)}, "new_directories"),
        *(({"mount_options": (word,)}, "mount_options") for word in ("", "a b", "noauto", "ro", "a#b")),
    ],
)  # fmt: skip
def test_bad_input(options: dict[str, Any], option: str) -> None:
    with pytest.raises(InputError, match=rf"^{option}: .*allowed") as error:
        check(wish(**options))
    assert error.value.facts["option"] == option


def test_good_input() -> None:
    for path in ("/data", "/var/lib/kaiwudb", "/mnt/disk1", "/tmpfs"):
        check(
            wish(
                path=path,
                directories=("db.kw-0",),
                new=("a_b",),
                mount_options=("noatime", "x-systemd.device-timeout=5s"),
            )
        )


def test_quantities_and_modes() -> None:
    assert numbered("min_free", "1.5Gi") == 3 * GIB // 2 and numbered("min_free", "") is None
    assert mode_of("0750") == 0o750 and mode_of(None) is None
    for bad in ("750", "488", "0800", "u=rwx", "00750"):
        with pytest.raises(InputError):
            mode_of(bad)
    for bad in ("much", "-1"):
        with pytest.raises(InputError):
            numbered("min_free", bad)
