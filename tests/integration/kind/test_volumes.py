# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What becomes of claim, volume and directory when a node leaves, by each policy; and that an old store never comes back.

The tests are one walk over a cluster that goes 4→3→4 again and again. Directories are looked at on the Kubernetes node.
"""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from kindlab import Place, Result, on_node, store_of, until

NAME = "kw"
LAST = 3
RETIRED = "kaiwudb.kubernetes/retired"
FILE = "kaiwudb.kubernetes.json"
ASIDE = "kaiwudb.kubernetes.archive"

pytestmark = pytest.mark.skipif(
    not shutil.which("docker"), reason="looks into the kind nodes through Docker, which is not here"
)


@pytest.fixture(scope="module")
def four(place: Place) -> None:
    """A cluster of four nodes."""
    place.good(NAME, replicas="4")


def directory(place: Place) -> str:
    return f"{place.local_path}/{place.namespace}.{NAME}-{LAST}"


def listing(node: str, path: str) -> list[str]:
    """What lies in a directory of a Kubernetes node; [] when it does not exist."""
    return on_node(node, "ls", "-A", path, check=False).split()


def found_in(place: Place, node: str) -> list[str]:
    """The directories of the last ordinal on that node, archived ones too."""
    stem = directory(place).rsplit("/", 1)[1]
    return sorted(name for name in listing(node, place.local_path) if name.startswith(stem))


def scale_in(place: Place, **how: Any) -> Result:
    """Four become three; what every policy has in common."""
    place.when_allowed(NAME, replicas="3", operations=["scale_in"], **how)
    result = place.good(NAME, replicas="3", operations=["scale_in"], **how)
    assert result.steps == [f"scale_in/{NAME}-{LAST}"]
    assert any("0 replicas, confirmed twice" in line for line in result.data["progress"])
    assert place.get("statefulset", NAME)["spec"]["replicas"] == 3
    assert f"{NAME}-{LAST}" not in place.pods(NAME)
    assert place.get("persistentvolumeclaim", f"datadir-{NAME}-{LAST}") is None
    row = place.row_of(NAME, LAST)
    assert row is not None and row["is_decommissioning"] == "true" and row["gossiped_replicas"] == "0"
    return result


def scale_out(place: Place, before: int, **how: Any) -> Result:
    """Three become four, on an empty store: the node's id is a new one."""
    result = place.good(NAME, replicas="4", operations=["scale_out"], **how)
    assert result.steps[-1] == f"scale_out/{NAME}-{LAST}"
    assert result.data["cluster"]["nodes_live"] == 4
    row = place.row_of(NAME, LAST)
    assert row is not None and int(row["id"]) > before, "it came back as the node that had left"
    assert row["is_decommissioning"] == "false"
    return result


def node_id(place: Place) -> int:
    row = place.row_of(NAME, LAST)
    assert row is not None
    return int(row["id"])


def test_retain_keeps_volume_and_data_and_refuses_their_return(four: None, place: Place) -> None:
    node, old = place.pinned_to(NAME, LAST), node_id(place)
    scale_in(place, volumes="retain")
    volume = place.volume(NAME, LAST)
    assert volume is not None and volume["metadata"]["annotations"][RETIRED]
    mark = store_of(volume)
    assert (mark["cluster_id"], mark["node_id"], mark["ordinal"]) == (place.journal(NAME)["cluster_id"], old, LAST)
    assert (mark["store_id"], mark["cluster"]) == (old, f"{place.namespace}/{NAME}")
    assert json.loads(on_node(node, "cat", f"{directory(place)}/{FILE}")) == mark, "the same beside the store"
    assert listing(node, directory(place)), "the data is gone"
    refused = place.refused(NAME, "store_retired", replicas="4", operations=["scale_out"])
    assert refused.writes == []
    assert f"node {old} of cluster {mark['cluster_id']}" in refused.msg, "with its origin"
    assert "archive" in refused.msg and "wipe" in refused.msg and refused.data["node"] == f"{NAME}-{LAST}"


def test_a_retained_store_is_archived_when_told(four: None, place: Place) -> None:
    node, old = place.pinned_to(NAME, LAST), node_id(place)
    inside = listing(node, directory(place))
    result = scale_out(place, old, volumes="archive")
    assert result.steps == [f"reuse/{NAME}-{LAST}", f"volume/{NAME}-{LAST}", f"scale_out/{NAME}-{LAST}"]
    archived = [name for name in found_in(place, node) if name != directory(place).rsplit("/", 1)[1]]
    assert len(archived) == 1
    assert listing(node, f"{place.local_path}/{archived[0]}") == inside, "the archive is not what the store was"
    volume = place.volume(NAME, LAST)
    assert volume is not None and RETIRED not in volume["metadata"]["annotations"]


@pytest.mark.thorough
def test_a_retained_store_is_erased_when_told(four: None, place: Place) -> None:
    old = node_id(place)
    scale_in(place, volumes="retain")
    scale_out(place, old, volumes="wipe")


def test_delete_drops_the_objects_only_and_no_one_takes_the_data_for_a_fresh_directory(
    four: None, place: Place
) -> None:
    node, old = place.pinned_to(NAME, LAST), node_id(place)
    scale_in(place, volumes="delete")
    assert place.volume(NAME, LAST) is None
    inside = listing(node, directory(place))
    assert inside, "the data is gone"
    refused = place.run(NAME, replicas="4", operations=["scale_out"], local_nodes=[node], anti_affinity=None)
    assert refused.failed and refused.data["reason"] == "volume_not_empty", refused.msg
    assert directory(place) in refused.msg and node in refused.msg
    assert f"it holds the store of node {old} of cluster" in refused.msg, "whose it is, by the file beside the store"
    assert listing(node, directory(place)) == inside
    assert place.volume(NAME, LAST) is None and place.get("statefulset", NAME)["spec"]["replicas"] == 3
    on_node(node, "mv", directory(place), f"{place.local_path}/moved-by-hand")
    scale_out(place, old)


@pytest.mark.thorough
def test_archive_keeps_the_data_under_another_name(four: None, place: Place) -> None:
    node, old = place.pinned_to(NAME, LAST), node_id(place)
    before, inside = found_in(place, node), listing(node, directory(place))
    scale_in(place, volumes="archive")
    assert place.volume(NAME, LAST) is None
    assert listing(node, directory(place)) == []
    fresh = [name for name in found_in(place, node) if name not in before]
    assert len(fresh) == 1 and set(listing(node, f"{place.local_path}/{fresh[0]}")) & set(inside)
    scale_out(place, old)


def test_wipe_erases_the_data_too(four: None, place: Place) -> None:
    node = place.pinned_to(NAME, LAST)
    before = found_in(place, node)
    assert listing(node, directory(place))
    scale_in(place, volumes="wipe")
    assert place.volume(NAME, LAST) is None
    assert found_in(place, node) == [name for name in before if name != directory(place).rsplit("/", 1)[1]]
    assert place.good(NAME, replicas="3").writes == []


@pytest.mark.thorough
def test_where_pods_do_not_make_directories_the_empty_one_stays(four: None, place: Place) -> None:
    """Somebody else made it (it may be a mount); the claim is all that is needed to erase what is in it."""
    old = node_id(place)
    scale_out(place, old)
    node = place.pinned_to(NAME, LAST)
    scale_in(place, volumes="wipe", local_pv_prepare="none")
    assert place.volume(NAME, LAST) is None
    assert (
        on_node(node, "stat", "--format=%F", directory(place)).strip() == "directory"
        and listing(node, directory(place)) == []
    )


def mount(place: Place, path: str, **how: Any) -> str:
    """The Kubernetes node that the last ordinal goes to next, with a disk of its own there."""
    if f"{NAME}-{LAST}" in place.pods(NAME):
        scale_in(place, volumes="wipe")
    planned = place.good(NAME, check=True, replicas="4", operations=["scale_out"], **how).data["plan"]["new_volumes"]
    assert [volume["directory"] for volume in planned] == [directory(place)]
    node: str = planned[0]["node"]
    on_node(node, "mkdir", "-p", path)
    on_node(node, "mount", "-t", "tmpfs", "-o", "mode=0711", "kaiwudb-test", path)
    return node


def unmount(node: str, path: str) -> None:
    """Whatever still uses it, so that the place can be cleaned."""

    def gone() -> bool:
        on_node(node, "umount", "--lazy", path, check=False)
        return f" {path} " not in on_node(node, "cat", "/proc/mounts")

    until(f"{path} is unmounted", gone, 30, 1)


@pytest.mark.thorough
@pytest.mark.parametrize("prepare", ["pod", "none"])
def test_a_mount_point_is_archived_in_itself(four: None, place: Place, prepare: str) -> None:
    """As where each volume has a disk of its own: it cannot be renamed. Neither the next store nor `wipe` takes what was put aside for its own."""
    node = mount(place, directory(place), local_pv_prepare=prepare)
    old, aside = max(int(row["id"]) for row in place.node_rows(NAME)), f"{directory(place)}/{ASIDE}"
    try:
        scale_out(place, old, local_pv_prepare=prepare)
        assert place.pinned_to(NAME, LAST) == node
        mark, old = json.loads(on_node(node, "cat", f"{directory(place)}/{FILE}")), node_id(place)
        inside = set(listing(node, directory(place)))
        before = found_in(place, node)
        scale_in(place, volumes="archive", local_pv_prepare=prepare)
        assert place.volume(NAME, LAST) is None
        assert listing(node, directory(place)) == [ASIDE] and found_in(place, node) == before
        archives = listing(node, aside)
        assert len(archives) == 1 and set(listing(node, f"{aside}/{archives[0]}")) & inside
        assert json.loads(on_node(node, "cat", f"{aside}/{archives[0]}/{FILE}")) == mark, "whose store it was"
        scale_out(place, old, local_pv_prepare=prepare)
        assert place.pinned_to(NAME, LAST) == node and set(listing(node, directory(place))) >= {ASIDE, FILE}
        scale_in(place, volumes="wipe", local_pv_prepare=prepare)
        assert listing(node, directory(place)) == [ASIDE] and listing(node, aside) == archives
        assert json.loads(on_node(node, "cat", f"{aside}/{archives[0]}/{FILE}")) == mark
        assert on_node(node, "stat", "--format=%a", directory(place)).strip() == "711", "as its administrator made it"
    finally:
        unmount(node, directory(place))


@pytest.mark.thorough
def test_a_disk_mounted_above_keeps_its_archives_by_name(four: None, place: Place) -> None:
    """As `prepare_nodes` mounts it, at `local_path`: there a volume's directory is none but a directory, and is renamed."""
    node = mount(place, place.local_path)
    try:
        scale_out(place, max(int(row["id"]) for row in place.node_rows(NAME)))
        assert place.pinned_to(NAME, LAST) == node
        scale_in(place, volumes="archive")
        archived = found_in(place, node)
        assert len(archived) == 1 and archived[0].startswith(f"{directory(place).rsplit('/', 1)[1]}.")
        assert FILE in listing(node, f"{place.local_path}/{archived[0]}")
    finally:
        unmount(node, place.local_path)
