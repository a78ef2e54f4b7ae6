# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The requests about a namespace that is made with the cluster and goes with it: the first of deploy and the last of remove."""

from __future__ import annotations

import copy
import itertools
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from kindlab import ACCOUNT, IMAGE, REPO, Place, kubectl

from faults.kill.chain import Broken, Chain
from faults.kill.state import Wanted
from faults.kill.test_kill import NOTHING, REMOVE
from faults.runner import MODES, Kill

FIRST = 4  # Namespace, journal, lock, and one beyond
LAST = 5  # the journal's end, Namespace, lock, and some before


def elsewhere(home: Place) -> Place:
    """A namespace that does not exist yet, for the account of another one: the shipped rights, everywhere."""
    rules = [
        rule
        for file in ("role.yml", "clusterrole.yml")
        for rule in yaml.safe_load((REPO / "examples" / "rbac" / file).read_text(encoding="utf-8"))["rules"]
    ]
    name, api = f"{home.namespace}-{ACCOUNT}", "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{api}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
    kubectl("apply", "--filename=-", stdin=yaml.safe_dump(role))  # widens the role that the account is bound to
    there = copy.copy(home)
    there.namespace = f"{home.namespace}-made"
    there.defaults = {**home.defaults, "namespace": there.namespace, "create_namespace": "true"}
    return there


@pytest.mark.quick
def test_a_namespace_that_was_made_goes_whenever_its_run_is_killed(
    kind_cluster: None, every: int, tmp_path: Path
) -> None:
    chain = Chain("namespace", "before", every, tmp_path)
    with chain.living():
        home = chain.place
        chain.place = elsewhere(home)
        try:
            chain.plain()
            whole = len(chain.plain(**REMOVE).counted)
            points = [("deploy", number) for number in range(1, FIRST + 1)]
            points += [("remove", number) for number in range(whole - LAST + 1, whole + 1)]
            for (operation, number), mode in itertools.islice(itertools.product(points, MODES), 0, None, every):
                row, kill = f"{operation}: killed {mode} answer {number}", Kill(number, mode)
                chain.cluster_id = ""
                with suppress(Broken):  # its failure is kept
                    if operation == "deploy":
                        chain.strike(row, kill, Wanted(3, IMAGE))
                        chain.plain(**REMOVE)
                    else:
                        chain.plain()
                        chain.strike(row, kill, NOTHING, **REMOVE)
                if kubectl("get", "namespace", chain.place.namespace, "--ignore-not-found"):
                    chain.failures.append(f"{row}: namespace {chain.place.namespace}, made with the cluster, is left")
                    chain.place.clean()
        finally:
            chain.place.clean()
            chain.place = home
    assert not chain.failures, "\n".join(chain.failures)
