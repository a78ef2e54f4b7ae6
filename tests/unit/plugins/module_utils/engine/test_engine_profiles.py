# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Start arguments and version rules."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine import profiles
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES

JOIN = [f"kw-{i}.kw.db.svc.cluster.local:26257" for i in range(3)]
ADVERTISE = "$(POD_NAME).kw.db.svc.cluster.local:26257"


def test_start_command_of_kwdb() -> None:
    assert PROFILES["kwdb"].start_command(advertise=ADVERTISE, join=JOIN, store="/data", cache="256MiB") == [
        "/kaiwudb/bin/kwbase",
        "start",
        "--logtostderr",
        "--insecure",
        "--listen-addr=0.0.0.0:26257",
        "--advertise-addr=$(POD_NAME).kw.db.svc.cluster.local:26257",
        "--http-addr=0.0.0.0:8080",
        "--brpc-addr=0.0.0.0:27257",
        "--store=/data",
        "--cache=256MiB",
        "--max-sql-memory=.25",
        f"--join={JOIN[0]},{JOIN[1]},{JOIN[2]}",
    ]


def test_older_engines_get_no_brpc() -> None:
    for name in ("kwdb2", "bini"):
        assert not PROFILES[name].has_brpc
        assert not any("brpc" in word for word in PROFILES[name].start_command(advertise=ADVERTISE, join=JOIN))


def test_single_node_neither_joins_nor_names_brpc() -> None:
    words = PROFILES["kwdb"].start_command(advertise=ADVERTISE, single_node=True)
    assert words[1] == "start-single-node"
    assert not any(word.startswith(("--join", "--brpc")) for word in words)


def test_own_ports_certificates_and_extra_words() -> None:
    words = PROFILES["kwdb"].start_command(
        advertise="kw-0.kw", join=["kw-0.kw"], certs_dir="/certs", sql_port=1, http_port=2, brpc_port=3, extra=["--x=y"]
    )
    assert "--certs-dir=/certs" in words and "--insecure" not in words
    assert "--advertise-addr=kw-0.kw:1" in words and "--http-addr=0.0.0.0:2" in words
    assert "--brpc-addr=0.0.0.0:3" in words and words[-1] == "--x=y"


@pytest.mark.parametrize(
    ("image", "version", "profile"),
    [
        ("kwdb/kwdb:3.2.1", (3, 2, 1), "kwdb"),
        ("registry:5000/kwdb/kwdb:v3.2.1-ubuntu", (3, 2, 1), "kwdb"),
        ("registry:5000/kwdb/kwdb", None, "kwdb"),
        ("kwdb/kwdb:2.2.2", (2, 2, 2), "kwdb2"),
        ("kwdb/kwdb:latest", None, "kwdb"),
        ("kwdb/kwdb@sha256:0123", None, "kwdb"),
        ("kwdb/kwdb:3.1.0@sha256:0123", (3, 1, 0), "kwdb"),
        ("bini:release2.0", (2, 0), "bini"),
    ],
)
def test_version_and_profile_of_an_image(image: str, version: tuple[int, ...] | None, profile: str) -> None:
    assert profiles.version_from_image(image) == version
    assert profiles.profile_for(image).name == profile


def test_version_of_builds() -> None:
    assert profiles.version_of("V3.2.1-28-ga5c90efc1") == (3, 2, 1)
    assert profiles.version_of("20.1-3") == (20, 1)
    assert profiles.version_of("unknown") is None and profiles.version_of(None) is None


# ---- from one version to another

SYNC = ["ts.raft_log.sync_period"]


@pytest.mark.parametrize("profile", ["kwdb", "kwdb2"])
@pytest.mark.parametrize(
    ("source", "target", "allowed", "downgrade", "needs"),
    [
        ((3, 2, 1), (3, 2, 2), True, False, []), ((3, 2, 1), (3, 2, 1), True, False, []), ((3, 0, 0), (3, 1, 0), True, False, []),
        ((3, 0, 0), (3, 2, 1), True, False, SYNC), ((3, 1, 0), (3, 2, 0), True, False, SYNC), ((3, 1, 9), (3, 3, 0), True, False, SYNC),
        ((3, 2, 0), (3, 3, 0), True, False, []),
        ((2, 2, 2), (3, 2, 1), False, False, []), ((3, 2, 1), (2, 2, 2), False, False, []), ((2, 2, 2), (3, 0), False, False, []),
        ((2, 2, 0), (2, 2, 2), True, False, []), ((2, 0, 4), (2, 2, 2), False, False, []), ((2, 0, 4), (2, 1), False, False, []),
        ((2, 0, 0), (2, 0, 4), True, False, []),
        ((3, 2, 2), (3, 2, 1), True, True, []), ((3, 3, 0), (3, 2, 2), True, True, []), ((2, 2, 2), (2, 1, 0), True, True, []),
        ((3, 2), (3, 2, 1), True, False, []), ((3, 2, 1), (3, 2), True, False, []),  # a tag of two parts says no more
        ((3, 0), (3, 1), True, False, []), ((2, 1), (2, 2, 2), True, False, []), ((3, 1), (3, 2), True, False, SYNC),  # each bound itself
        (None, (3, 2, 1), True, False, []), ((3, 2, 1), None, True, False, []), (None, None, True, False, []),
    ],
)  # fmt: skip
def test_version_path(
    profile: str,
    source: tuple[int, ...] | None,
    target: tuple[int, ...] | None,
    allowed: bool,
    downgrade: bool,
    needs: list[str],
) -> None:
    verdict = profiles.version_path(PROFILES[profile], source, target)
    assert (verdict.allowed, verdict.downgrade) == (allowed, downgrade)
    assert [need.setting for need in verdict.needs] == needs
    assert verdict.why


def test_what_must_be_set_before_is_said_with_its_time() -> None:
    (need,) = profiles.version_path(PROFILES["kwdb"], (3, 1, 0), (3, 2, 1)).needs
    assert need == ("ts.raft_log.sync_period", "0s", 300)


def test_rules_are_the_profiles_own() -> None:
    """The older product counts its versions for itself: its 2.0 is not KWDB's 2.0."""
    assert PROFILES["bini"].rules == ()
    for source, target in (((2, 0), (3, 2, 1)), ((2, 0), (2, 1)), ((3, 1), (3, 2))):
        verdict = profiles.version_path(PROFILES["bini"], source, target)
        assert verdict.allowed and not verdict.needs and not verdict.downgrade
    back = profiles.version_path(PROFILES["bini"], (2, 1), (2, 0))
    assert back.allowed and back.downgrade


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((3, 3), (3, 3, 0), True), ((3, 3, 0), (3, 3), True), ((3, 3, 1), (3, 3, 0), False), ((3, 3, 0, 7), (3, 3, 0, 8), True),
        ((3, 2), (3, 3, 0), False), ((2,), (2, 0, 4), True), ((2, 0), (2, 0), True),
    ],
)  # fmt: skip
def test_the_same_release_as_far_as_both_say_it(one: tuple[int, ...], other: tuple[int, ...], same: bool) -> None:
    assert profiles.same_release(one, other) is same


@pytest.mark.parametrize(
    ("profile", "version", "known"),
    [
        ("kwdb", (3, 0, 0), "20.1-3"), ("kwdb", (3, 2, 1), "20.1-3"), ("kwdb", (3, 2, 99), "20.1-3"),
        ("kwdb", (3, 3), ""), ("kwdb", (3, 3, 0), ""), ("kwdb", (4, 0), ""),
        ("kwdb2", (2, 0, 4), "20.1"), ("kwdb2", (2, 1, 0), "20.1-1"), ("kwdb2", (2, 2, 2), "20.1-1"),
        ("kwdb", (1, 9), ""), ("kwdb", None, ""), ("bini", (2, 0), ""), ("bini", (3, 2, 1), ""), ("bini", None, ""),
    ],
)  # fmt: skip
def test_the_cluster_version_that_a_release_brings(profile: str, version: tuple[int, ...] | None, known: str) -> None:
    assert profiles.cluster_version(PROFILES[profile], version) == known


def test_cluster_versions_rise_with_the_releases() -> None:
    for profile in PROFILES.values():
        least = [version for version, _name in profile.cluster_versions]
        names = [name for _version, name in profile.cluster_versions if name]
        assert least == sorted(least) and all(profiles.older(*pair) for pair in itertools.pairwise(names))


@pytest.mark.parametrize(
    ("one", "other", "older"),
    [
        ("20.1", "20.1-1", True), ("20.1-1", "20.1", False), ("20.1-1", "20.1-3", True), ("20.1-3", "20.1-3", False), ("20.1-3", "20.2", True),
        ("20.1-9", "20.1-10", True), ("20.1-10", "20.1-9", False), ("19.2-14", "20.1", True), ("20.2", "20.1-3", False), ("20.1-3", "", False),
    ],
)  # fmt: skip
def test_one_cluster_version_below_another(one: str, other: str, older: bool) -> None:
    assert profiles.older(one, other) is older


def test_profiles_know_their_versions() -> None:
    assert profiles.serves(PROFILES["kwdb"], (3, 2, 1)) and not profiles.serves(PROFILES["kwdb"], (2, 2, 2))
    assert profiles.serves(PROFILES["kwdb2"], (2, 2, 2)) and not profiles.serves(PROFILES["kwdb2"], (3, 0, 0))
    assert profiles.serves(PROFILES["kwdb"], None)
