# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The engines as data: binary, ports, start arguments, views, version rules.

Pure: imports neither kubernetes nor Ansible. Facts come from the public sources KWDB/KWDB (tags V2.2.2 to V3.2.1) and
KWDB/docs (branch 3.2.1), and for ``bini`` from its closest public relative, Yangjxxxxx/ZNBase; what is only inferred
says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

Version = tuple[int, ...]


class Needs(NamedTuple):
    """A cluster setting that must have a value before an upgrade, and for how many seconds at least."""

    setting: str
    value: str
    seconds: int


@dataclass(frozen=True)
class VersionRule:
    """Holds for a way from ``source`` (at least, below) to ``target`` (at least, below); None is no bound."""

    source: tuple[Version | None, Version | None]
    target: tuple[Version | None, Version | None]
    allowed: bool
    why: str
    needs: tuple[Needs, ...] = ()


@dataclass(frozen=True)
class PathVerdict:
    """Whether one version may follow another. downgrade: only good as the undo of an upgrade that is not finalised."""

    allowed: bool
    why: str
    needs: tuple[Needs, ...] = ()
    downgrade: bool = False


@dataclass(frozen=True)
class Profile:
    """One engine. ports: SQL (and RPC), HTTP, brpc (None: the engine has none).

    start, start_single: subcommands. columns: of ``node status`` without flags, in order; the other two are those
    that ``--ranges`` and ``--decommission`` add. library_path: LD_LIBRARY_PATH that the binary needs, None for none.
    store: directory of the data in the container.
    versions: (at least, below) of images this profile serves. has_admin_ui: whether ``/`` serves an Admin UI.
    liveness_seconds: how long a dead node still counts as live (the largest of the versions served).
    rules: of ways between versions; the first that fits counts. cluster_versions: from which version on a binary brings which
    cluster version ("" where that is not known yet); a store that has reached one cannot be opened by a binary of a lower one.
    """

    name: str
    binary: str
    start: str
    start_single: str
    sql_port: int
    http_port: int
    brpc_port: int | None
    virtual_schema: str
    columns: tuple[str, ...]
    ranges_columns: tuple[str, ...]
    decommission_columns: tuple[str, ...]
    has_admin_ui: bool
    versions: tuple[Version | None, Version | None]
    library_path: str | None = None
    store: str = "/kaiwudb/deploy/kaiwudb-container"
    liveness_seconds: int = 15
    privileged: bool = False
    rules: tuple[VersionRule, ...] = ()
    cluster_versions: tuple[tuple[Version, str], ...] = ()

    @property
    def has_brpc(self) -> bool:
        return self.brpc_port is not None

    def start_command(
        self,
        *,
        advertise: str,
        join: Sequence[str] = (),
        store: str | None = None,
        single_node: bool = False,
        certs_dir: str | None = None,
        cache: str = ".25",
        max_sql_memory: str = ".25",
        locality: str | None = None,
        binary: str | None = None,
        sql_port: int | None = None,
        http_port: int | None = None,
        brpc_port: int | None = None,
        extra: Sequence[str] = (),
    ) -> list[str]:
        """The container's ``command``: one list entry an argument, no shell, so that SIGTERM reaches the engine.

        advertise: host[:port] that other nodes dial; may hold Kubernetes' ``$(POD_NAME)``. join: host:port of first
        nodes; it stays ONE argument (a comma list split by YAML ends in ``unknown command``). certs_dir: None is
        ``--insecure``. cache, max_sql_memory: part of the memory (``.25``) or a size. Every address is 0.0.0.0 and not
        empty: brpc takes its bind host from --listen-addr and refuses an empty one (engine addr_validation.go,
        br_mgr.cpp).
        """
        sql = sql_port or self.sql_port
        http = http_port or self.http_port
        brpc = brpc_port or self.brpc_port
        host, _colon, port = advertise.partition(":")
        words = [binary or self.binary, self.start_single if single_node else self.start, "--logtostderr"]
        words.append(f"--certs-dir={certs_dir}" if certs_dir else "--insecure")
        words += [
            f"--listen-addr=0.0.0.0:{sql}",
            f"--advertise-addr={host}:{port or sql}",
            f"--http-addr=0.0.0.0:{http}",
        ]
        if self.brpc_port and not single_node:  # start-single-node sets it to 127.0.0.1 itself
            words.append(f"--brpc-addr=0.0.0.0:{brpc}")
        words += [f"--store={store or self.store}", f"--cache={cache}", f"--max-sql-memory={max_sql_memory}"]
        if locality:
            words.append(f"--locality={locality}")
        if not single_node:
            words.append(f"--join={','.join(join)}")
        return [*words, *extra]


_RANGES = ("replicas_leaders", "replicas_leaseholders", "ranges", "ranges_unavailable", "ranges_underreplicated")
_DECOMMISSION = ("gossiped_replicas", "is_decommissioning", "is_draining")
_KWBASE = (
    "id",
    "address",
    "sql_address",
    "build",
    "started_at",
    "updated_at",
    "locality",
    "start_mode",
    "is_available",
    "is_live",
)

# KWDB/docs 3.2.1, db-operation/db-upgrade.md: no in-place way between major versions; before 3.2 the raft log of time
# series is only synced every 10 s, which 3.2 cannot recover from.
_SYNC = Needs("ts.raft_log.sync_period", "0s", 300)
_RULES: tuple[VersionRule, ...] = (
    VersionRule((None, (3, 0)), ((3, 0), None), False, "2.x to 3.x is not possible in place: export and import"),
    VersionRule(((3, 0), None), (None, (3, 0)), False, "3.x to 2.x is not possible: export and import"),
    VersionRule((None, (2, 1)), ((2, 1), (3, 0)), False, "2.0 to later 2.x: export and import only"),
    VersionRule(((3, 0), (3, 2)), ((3, 2), None), True, "needs ts.raft_log.sync_period = 0s for 5 minutes", (_SYNC,)),
)
# KWDB/docs release notes and KWDB/KWDB clusterversion/cockroach_versions.go: what each release brings; later ones are not known.
_CLUSTER_VERSIONS: tuple[tuple[Version, str], ...] = (
    ((2, 0), "20.1"),
    ((2, 1), "20.1-1"),
    ((3, 0), "20.1-3"),
    ((3, 3), ""),
)

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="kwdb",
            binary="/kaiwudb/bin/kwbase",
            start="start",
            start_single="start-single-node",
            sql_port=26257,
            http_port=8080,
            brpc_port=27257,
            virtual_schema="kwdb_internal",
            columns=_KWBASE,
            ranges_columns=_RANGES,
            decommission_columns=_DECOMMISSION,
            has_admin_ui=False,
            versions=((3, 0), None),
            library_path="/kaiwudb/lib",
            rules=_RULES,
            cluster_versions=_CLUSTER_VERSIONS,
        ),
        Profile(
            name="kwdb2",
            binary="/kaiwudb/bin/kwbase",
            start="start",
            start_single="start-single-node",
            sql_port=26257,
            http_port=8080,
            brpc_port=None,  # up to 2.2.2 "unknown flag: --brpc-addr"
            virtual_schema="kwdb_internal",
            columns=_KWBASE,
            ranges_columns=_RANGES,
            decommission_columns=_DECOMMISSION,
            has_admin_ui=False,
            versions=((2, 0), (3, 0)),
            library_path="/kaiwudb/lib",
            liveness_seconds=9,
            privileged=True,  # 2.x mounts squashfs images
            rules=_RULES,
            cluster_versions=_CLUSTER_VERSIONS,
        ),
        Profile(
            # The image's entrypoint is the binary; its path is not public: inferred, and overridable.
            name="bini",
            binary="/bini/bini",
            start="start",
            start_single="start",
            sql_port=26257,
            http_port=8080,
            brpc_port=None,
            virtual_schema="crdb_internal",  # inferred: as in its relatives
            columns=("id", "address", "build", "started_at", "updated_at", "is_available", "is_live"),
            ranges_columns=_RANGES,
            decommission_columns=_DECOMMISSION,
            has_admin_ui=True,
            versions=(None, None),
            store="/bini/data",
        ),
    )
}


def version_of(text: str | None) -> Version | None:
    """Numbers of a version or build: ``V3.2.1-28-ga5c90efc1`` is (3, 2, 1), ``20.1-3`` is (20, 1); None without any."""
    match = re.match(r"\s*(?:[vV]|release)?(\d+(?:\.\d+){1,3})", text or "")
    return tuple(int(x) for x in match[1].split(".")) if match else None


def version_from_image(image: str) -> Version | None:
    """The version in an image's tag (``kwdb/kwdb:3.2.1``, ``bini:release2.0``); None for a digest, latest or a name."""
    name = image.partition("@")[0]
    tag = name.rpartition("/")[2].partition(":")[2]
    return version_of(tag)


def profile_for(image: str) -> Profile:
    """The profile that an image's name and version suggest; kwdb when they suggest nothing."""
    repository = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    if repository.startswith("bini"):
        return PROFILES["bini"]
    version = version_from_image(image)
    return PROFILES["kwdb2"] if version and (2,) <= version < (3,) else PROFILES["kwdb"]


def serves(profile: Profile, version: Version | None) -> bool:
    """Whether the profile fits the version; an unknown version fits (only the engine itself can tell)."""
    return version is None or _within(version, profile.versions)


def version_path(profile: Profile, source: Version | None, target: Version | None) -> PathVerdict:
    """Whether ``target`` may replace ``source`` in place (one node at a time)."""
    if source is None or target is None:
        return PathVerdict(True, "one of the versions is not known")
    if same_release(source, target):
        return PathVerdict(True, "same version")
    for rule in profile.rules:
        if _within(source, rule.source) and _within(target, rule.target):
            return PathVerdict(rule.allowed, rule.why, rule.needs)
    if target < source:
        return PathVerdict(True, "older than what runs: only to undo an upgrade", downgrade=True)
    return PathVerdict(True, "one node at a time")


def same_release(one: Version, other: Version) -> bool:
    """Whether two versions are the same as far as both say it: a tag C(3.3) is a build V3.3.0."""
    parts = min(len(one), len(other), 3)
    return one[:parts] == other[:parts]


def cluster_version(profile: Profile, version: Version | None) -> str:
    """The cluster version that a release brings, such as ``20.1-3``; "" where that is not known."""
    known = [name for least, name in profile.cluster_versions if version is not None and version >= least]
    return known[-1] if known else ""


def older(one: str, other: str) -> bool:
    """Whether one cluster version is below the other: ``20.1`` below ``20.1-3``."""

    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text)]

    return numbers(one) < numbers(other)


def _within(version: Version, bounds: tuple[Version | None, Version | None]) -> bool:
    least, below = bounds
    return (least is None or version >= least) and (below is None or version < below)
