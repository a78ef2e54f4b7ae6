# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Pods that do one thing on one node: what they may reach, and what their scripts do to a directory."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import short_lived_pods
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.fingerprint import ASIDE
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    LABELS,
    OLD,
    POD_LABELS,
    spec,
)


@pytest.mark.parametrize("action", ["make", "look", "archive", "gone"])
def test_the_pod_that_prepares_a_directory(action: str) -> None:
    made = short_lived_pods.preparer(
        spec(image_pull_secrets=["s"]), 1, "w2", "/data/db.kw-1", action, "20261123-100000"
    )
    assert made["metadata"] == {
        "name": "kw-volume-1",
        "namespace": "db",
        "labels": {**LABELS, "app.kubernetes.io/component": "volume"},
    }
    assert (
        made["spec"]["nodeName"] == "w2"
        and made["spec"]["restartPolicy"] == "Never"
        and made["spec"]["tolerations"] == [{"operator": "Exists"}]
    )
    assert made["spec"]["imagePullSecrets"] == [{"name": "s"}]
    container = made["spec"]["containers"][0]
    mounted = "/data/db.kw-1" if action == "make" else "/data"
    read_only = {"readOnly": True} if action == "look" else {}
    assert container["image"] == OLD
    assert container["volumeMounts"] == [{"name": "host", "mountPath": mounted, **read_only}]
    assert container["command"] == [
        "/bin/sh",
        "-c",
        short_lived_pods.SCRIPTS[action],
        "sh",
        "/data/db.kw-1",
        "20261123-100000",
    ]
    assert made["spec"]["volumes"] == [{"name": "host", "hostPath": {"path": mounted, "type": "DirectoryOrCreate"}}]
    assert not all(made["metadata"]["labels"].get(key) == value for key, value in POD_LABELS.items()), (
        "a Service would route to it"
    )


@pytest.mark.parametrize(
    ("engine", "binary"), [("kwdb", "/kaiwudb/bin/kwbase"), ("kwdb2", "/kaiwudb/bin/kwbase"), ("bini", "/bini/bini")]
)
def test_the_pod_that_runs_the_new_image_once(engine: str, binary: str) -> None:
    of = spec(engine=engine, image="x:2", image_pull_policy="Always", image_pull_secrets=["s"])
    made = short_lived_pods.puller(of, PROFILES[engine], 2, "w7")
    assert (made["kind"], made["apiVersion"]) == ("Pod", "v1")
    assert made["metadata"] == {
        "name": "kw-pull-2",
        "namespace": "db",
        "labels": {**LABELS, "app.kubernetes.io/component": "pull"},
    }
    body = made["spec"]
    (container,) = body["containers"]
    assert (container["image"], container["imagePullPolicy"], container["command"]) == (
        "x:2",
        "Always",
        [binary, "version"],
    )
    library = [] if engine == "bini" else [{"name": "LD_LIBRARY_PATH", "value": "/kaiwudb/lib"}]
    assert container.get("env", []) == library
    assert (
        body["nodeName"] == "w7"
        and body["restartPolicy"] == "Never"
        and body["tolerations"] == [{"operator": "Exists"}]
    )
    assert body["imagePullSecrets"] == [{"name": "s"}] and body["automountServiceAccountToken"] is False
    assert body["enableServiceLinks"] is False and body["terminationGracePeriodSeconds"] == 1
    assert "volumes" not in body and "volumeMounts" not in container and "securityContext" not in container, (
        "it touches nothing on the node"
    )
    assert not all(made["metadata"]["labels"].get(key) == value for key, value in POD_LABELS.items()), (
        "a Service would route to it"
    )


def test_the_pod_that_runs_another_binary() -> None:
    made = short_lived_pods.puller(spec(binary="/opt/kw"), PROFILES["kwdb"], 0, "w1")
    assert made["spec"]["containers"][0]["command"] == ["/opt/kw", "version"] and "imagePullSecrets" not in made["spec"]


def _script(action: str, directory: Path, suffix: str = "s", before: str = "") -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", "-c", before + short_lived_pods.SCRIPTS[action], "sh", str(directory), suffix]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)


def test_scripts_do_what_they_say(tmp_path: Path) -> None:
    directory = tmp_path / "-odd name; touch x"
    assert _script("archive", directory).returncode == 0 and _script("gone", directory).returncode == 0
    unreadable = _script("make", directory)
    assert unreadable.returncode not in (0, 3) and not directory.exists(), "the kubelet makes it"
    directory.mkdir()
    for _again in range(2):
        assert _script("make", directory).returncode == 0
    for name in ("-n", "\\c"):  # which echo would swallow
        (directory / name).write_text("data")
        assert _script("make", directory).returncode == 3
        (directory / name).unlink()
    (directory / ".store").write_text("data")
    refused = _script("make", directory)
    assert refused.returncode == 3 and refused.stdout.startswith("not empty:") and ".store" in refused.stdout
    assert (directory / ".store").read_text() == "data"
    assert _script("archive", directory).returncode == 0
    assert not directory.exists() and (tmp_path / f"{directory.name}.s" / ".store").read_text() == "data"
    assert _script("gone", tmp_path / f"{directory.name}.s").returncode != 0, "only what is empty goes"
    shutil.rmtree(tmp_path / f"{directory.name}.s")
    directory.mkdir()
    assert _script("gone", directory).returncode == 0 and list(tmp_path.iterdir()) == []


def test_erasing_is_proven(tmp_path: Path) -> None:
    """By the script itself: it fails while anything is left; the directory goes only where it was made by such a pod."""
    mount, host = tmp_path / "claim", tmp_path / "host dir"

    def wipe(*words: str) -> subprocess.CompletedProcess[str]:
        argv = ["/bin/sh", "-c", short_lived_pods.SCRIPTS["wipe"], "sh", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    mount.mkdir()
    for name in ("plain", ".hidden", "..odd", "-rf", "with space"):
        (mount / name).write_text("data")
    (mount / "deep" / ".er").mkdir(parents=True)
    assert wipe(str(mount), "").returncode == 0 and list(mount.iterdir()) == []
    assert wipe(str(mount), "").returncode == 0, "again"
    host.mkdir()
    assert wipe(str(mount), str(host)).returncode == 0 and not host.exists() and mount.exists()
    host.mkdir()
    (host / "other").write_text("data")
    assert wipe(str(mount), str(host)).returncode == 0 and (host / "other").exists(), (
        "never what the claim does not reach"
    )
    assert wipe(str(tmp_path / "missing"), "").returncode == 4
    stays = short_lived_pods.SCRIPTS["wipe"].replace("rm -rf", "true")
    (mount / "stays").write_text("data")
    done = subprocess.run(["/bin/sh", "-c", stays, "sh", str(mount), ""], capture_output=True, text=True, check=False)
    assert done.returncode == 4 and done.stdout == "not erased: stays\n"


def test_erased_on_the_node_is_proven_too(tmp_path: Path) -> None:
    """What no claim reaches any more: only the directory itself, which goes where such a pod made it."""
    for prepare, stays in (("pod", False), ("ssh", True), ("none", True)):
        directory, beside = tmp_path / "db.kw-1", tmp_path / "db.kw-2"
        for place in (directory, beside):
            place.mkdir(exist_ok=True)
            (place / ".store").write_text("data")
        made = short_lived_pods.preparer(
            spec(local_pv_prepare=prepare), 1, "w1", str(directory), "erase", "20261123-100000"
        )
        words = made["spec"]["containers"][0]["command"]
        for _again in range(2):
            assert subprocess.run(words, check=False, timeout=10).returncode == 0
            assert directory.exists() is stays and list(tmp_path.glob("db.kw-1/*")) == []
        assert (beside / ".store").read_text() == "data"
        directory.mkdir(exist_ok=True)
        (directory / ".store").write_text("data")
        left = subprocess.run(
            [*words[:2], "rm() { :; }; " + words[2], *words[3:]], capture_output=True, text=True, check=False
        )
        assert (left.returncode, left.stdout) == (4, "not erased: .store\n")


def test_the_pod_that_erases_reaches_nothing_but_the_claim() -> None:
    made = short_lived_pods.wiper(spec(), 2, "w3", None)["spec"]
    assert made["nodeName"] == "w3" and made["volumes"] == [
        {"name": "claim", "persistentVolumeClaim": {"claimName": "datadir-kw-2"}}
    ]
    assert made["containers"][0]["command"][-2:] == ["/claim", ""]
    own = short_lived_pods.wiper(spec(), 2, "w3", "/data/db.kw-2")["spec"]
    assert own["volumes"][1] == {"name": "host", "hostPath": {"path": "/data", "type": "Directory"}}
    assert own["containers"][0]["command"][-1] == "/data/db.kw-2"
    assert "nodeName" not in short_lived_pods.wiper(spec(storage="dynamic"), 2, None, None)["spec"]


def test_the_mount_point_of_a_disk_is_fresh_when_empty_and_stays_when_wiped(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    assert _script("make", tmp_path).returncode == 0, "as mkfs leaves it"
    (tmp_path / ".store").write_text("data")
    assert _script("make", tmp_path).returncode == 3
    busy = "rmdir() { return 1; }; "  # as for a directory on which something is mounted
    words = ["/bin/sh", "-c", busy + short_lived_pods.SCRIPTS["wipe"], "sh", str(tmp_path), str(tmp_path)]
    assert subprocess.run(words, check=False, timeout=10).returncode == 0 and list(tmp_path.iterdir()) == []


def test_erased_is_proven_whatever_rm_says(tmp_path: Path) -> None:
    (tmp_path / ".store").write_text("data")
    words = ["/bin/sh", "-c", "rm() { return 0; }; " + short_lived_pods.SCRIPTS["wipe"], "sh", str(tmp_path), ""]
    left = subprocess.run(words, capture_output=True, text=True, check=False, timeout=10)
    assert left.returncode == 4 and left.stdout == "not erased: .store\n"


@pytest.mark.parametrize("prepare", ["ssh", "none"])
def test_a_directory_that_an_administrator_made_stays(tmp_path: Path, prepare: str) -> None:
    of = spec(local_pv_prepare=prepare)
    scripts = {
        action: short_lived_pods.preparer(of, 0, "w1", "/data/x", action)["spec"]["containers"][0]["command"][2]
        for action in ("archive", "make", "look")
    }
    assert scripts == {
        "archive": short_lived_pods.SCRIPTS["archive_content"],
        "make": short_lived_pods.SCRIPTS["make"],
        "look": short_lived_pods.SCRIPTS["look"],
    }
    directory = tmp_path / "-odd name; touch x"
    directory.mkdir(mode=0o710)
    directory.chmod(0o2710)
    for name in (".store", "..odd", "-x", "a"):
        (directory / name).mkdir()
        (directory / name / "data").write_text("row")
    assert _script("archive_content", directory).returncode == 0
    aside = tmp_path / f"{directory.name}.s"
    assert (
        directory.stat().st_mode == aside.stat().st_mode
        and list(directory.iterdir()) == []
        and len(list(aside.iterdir())) == 4
    )
    assert _script("archive_content", directory).returncode == 0 and len(list(tmp_path.iterdir())) == 2, "done already"
    assert _script("archive_content", directory, suffix="t").returncode == 0, "nothing in it, so nothing to keep"
    assert sorted(tmp_path.iterdir()) == [directory, aside]
    directory.rmdir()
    assert _script("archive_content", directory).returncode == 0 and directory.is_dir(), "killed between the two"
    for _again in range(2):
        assert _script("wipe", aside, suffix="").returncode == 0
        assert aside.stat().st_mode == directory.stat().st_mode and list(aside.iterdir()) == []
    assert sorted(tmp_path.iterdir()) == [directory, aside]


@pytest.mark.parametrize("action", ["archive", "archive_content"])
def test_nothing_is_put_into_an_archive_that_is_there(tmp_path: Path, action: str) -> None:
    directory, aside = tmp_path / "x", tmp_path / "x.s"
    for place in (directory, aside):
        place.mkdir()
        (place / "data").write_text(place.name)
    refused = _script(action, directory)
    assert refused.returncode and "is there already" in refused.stdout
    assert [(place / "data").read_text() for place in (directory, aside)] == ["x", "x.s"]


@pytest.mark.parametrize("action", ["archive", "archive_content"])
def test_what_could_not_be_moved_is_not_archived(tmp_path: Path, action: str) -> None:
    """As with a mount point."""
    directory = tmp_path / "x"
    directory.mkdir()
    (directory / "data").write_text("row")
    assert _script(action, directory, before="mv() { return 1; }; ").returncode
    assert (directory / "data").read_text() == "row"


def _archive_mounted(action: str, directory: Path, suffix: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """As where a disk is mounted at the directory itself."""
    mounts = directory.parent / "mountinfo"
    mounts.write_text(
        f"1 0 8:0 / / rw - ext4 /dev/sda rw\n2 1 8:1 {directory} /elsewhere rw\n3 1 8:2 / {directory} rw - ext4 /dev/sdb rw\n"
    )
    script = before + short_lived_pods.SCRIPTS[action].replace(short_lived_pods.MOUNTS, str(mounts))
    words = ["/bin/sh", "-c", script, "sh", str(directory), suffix]
    return subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)


@pytest.mark.parametrize("action", ["archive", "archive_content"])
def test_a_mount_point_is_archived_in_itself(tmp_path: Path, action: str) -> None:
    """It cannot be renamed (EBUSY). What was put aside is no later store's, nor erased with one."""
    directory = tmp_path / "db.kw-1"
    for name in ("lost+found", ".store", "..odd", "-x", "a b"):
        (directory / name).mkdir(parents=True)
        (directory / name / "data").write_text("row")
    (directory / "dangling").symlink_to("nowhere")
    inside = {".store", "..odd", "-x", "a b", "dangling"}
    for _again in range(2):
        assert _archive_mounted(action, directory, "1").returncode == 0
        assert {item.name for item in directory.iterdir()} == {"lost+found", ASIDE}
        assert [item.name for item in (directory / ASIDE).iterdir()] == ["1"]
        assert {item.name for item in (directory / ASIDE / "1").iterdir()} == inside
    assert _script("make", directory).returncode == 0, "as good as a new one"
    assert _archive_mounted(action, directory, "2").returncode == 0, "nothing in it, so nothing to keep"
    (directory / "next").write_text("data")
    refused = _archive_mounted(action, directory, "1")
    assert refused.returncode == 1 and "is there already" in refused.stdout and (directory / "next").exists()
    assert _archive_mounted(action, directory, "3").returncode == 0
    assert sorted(item.name for item in (directory / ASIDE).iterdir()) == ["1", "3"]
    (directory / "next").write_text("data")
    assert _script("wipe", directory, suffix="").returncode == 0
    assert [item.name for item in directory.iterdir()] == [ASIDE] and (
        directory / ASIDE / "1" / ".store" / "data"
    ).exists()
    assert _script("erase", directory, suffix=str(directory)).returncode == 0 and (directory / ASIDE / "3").exists()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["db.kw-1", "mountinfo"]


def test_an_archive_in_itself_is_complete_or_not_there(tmp_path: Path) -> None:
    """Killed or refused half-way, it has another name, and the same order again ends it."""
    directory = tmp_path / "x"
    for name in ("a", "b", "c"):
        (directory / name).mkdir(parents=True)
    once = 'mv() { case "$2" in */b) return 1 ;; esac; command mv "$@"; }; '
    assert _archive_mounted("archive", directory, "1", before=once).returncode == 1
    assert not (directory / ASIDE / "1").exists() and (directory / "b").exists() and (directory / "c").exists()
    assert _script("make", directory).returncode == 3, "nobody takes the rest for a fresh directory"
    assert _archive_mounted("archive", directory, "1").returncode == 0
    assert sorted(item.name for item in (directory / ASIDE / "1").iterdir()) == ["a", "b", "c"]
    (directory / ASIDE / "1").rename(directory / ASIDE / ".2")  # all moved, but not named yet
    assert _archive_mounted("archive", directory, "2").returncode == 0 and (directory / ASIDE / "2" / "a").exists()
