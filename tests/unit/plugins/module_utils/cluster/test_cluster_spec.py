# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Every kind of option: what it accepts, what it becomes, and what a refusal says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import InputError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.options import (
    BY_NAME,
    OPERATIONS,
    OPTIONS,
    VOLUME_OPTIONS,
    argument_spec,
)
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.rules import RULES, WAIVABLE
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.spec import COERCE, parse_asked, resolve
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    DEFAULT,
    OLD,
    REQUIRED,
    spec,
)

DIGEST = "sha256:" + "a" * 64
GOOD: list[tuple[str, Any, Any]] = [
    ("name", "kw", "kw"), ("name", "k" * 40, "k" * 40), ("name", "k-1", "k-1"),
    ("namespace", "db", "db"), ("namespace", "7" * 63, "7" * 63),
    *[("create_namespace", text, True) for text in (True, "true", "True", "yes", "ON", "1", "y", "t", 1, " true ")],
    *[("create_namespace", text, False) for text in (False, "false", "No", "off", "0", "n", "f", 0)],
    ("replicas", "4", 4), ("replicas", 3, 3), ("replicas", " 5 ", 5),
    ("engine", "bini", "bini"), ("engine", "kwdb2", "kwdb2"), ("security", "insecure", "insecure"),
    ("image", "kwdb/kwdb:3.2.1", "kwdb/kwdb:3.2.1"), ("image", "r.example:5000/a/b:1", "r.example:5000/a/b:1"),
    ("image", f"a@{DIGEST}", f"a@{DIGEST}"), ("image", f" a:1@{DIGEST} ", f"a:1@{DIGEST}"), ("image", "a:" + "t" * 128, "a:" + "t" * 128),
    ("image_pull_policy", "Never", "Never"),
    ("image_pull_secrets", ["a", "b.c"], ("a", "b.c")), ("image_pull_secrets", "a, b.c ,", ("a", "b.c")), ("image_pull_secrets", [], ()),
    ("storage_size", "500Gi", "500Gi"), ("storage_size", " 1e3 ", "1e3"), ("cpu", "0.5", "0.5"), ("cpu", 2, "2"), ("memory", "512Mi", "512Mi"),
    ("storage", "dynamic", "dynamic"), ("storage_class", "fast.ssd", "fast.ssd"),
    ("local_path", "/data/", "/data"), ("local_path", "/var/lib/k_w.b-1", "/var/lib/k_w.b-1"),
    ("local_nodes", "w1,w2", ("w1", "w2")), ("local_pv_prepare", "none", "none"), ("volumes", "archive", "archive"),
    ("binary", "/bin/kw", "/bin/kw"), ("cache", "64MiB", "64MiB"), ("cache", 0.25, "0.25"),
    ("extra_args", "--vmodule=a=2,--x", ("--vmodule=a=2", "--x")), ("extra_args", ["--a=1,2"], ("--a=1,2",)),
    ("sql_port", "26257", 26257), ("sql_port", 1, 1), ("http_port", 65535, 65535), ("ui_node_port", "30080", 30080),
    ("cluster_domain", "corp.example", "corp.example"), ("anti_affinity", "preferred", "preferred"),
    ("node_selector", {"a": "b"}, {"a": "b"}), ("node_selector", '{"a": "b"}', {"a": "b"}),
    ("tolerations", '[{"operator": "Exists"}]', [{"operator": "Exists"}]), ("tolerations", [], []),
    ("pre_stop_seconds", "0", 0), ("termination_grace_period", 1, 1), ("max_runtime", "0", 0), ("wait_timeout", 10, 10),
    ("service_type", "LoadBalancer", "LoadBalancer"), ("ui", "nodeport", "nodeport"), ("deletion_protection", "no", False),
    ("operations", "create,upgrade", ("create", "upgrade")), ("operations", ["remove"], ("remove",)),
    ("waive", "nodes_live", ("nodes_live",)), ("waive", list(WAIVABLE), WAIVABLE), ("confirm", "kw", "kw"), ("operations", "finalize", ("finalize",)),
    ("pause_after", "1", 1), ("pause_after", 0, 0), ("pre_pull", "no", False), ("on_failure", "rollback", "rollback"), ("paused", "true", True),
    ("paused", False, False), ("restart_id", 20261124, "20261124"), ("restart_id", "2026-11-24 a", "2026-11-24 a"), ("stall_timeout", "10", 10),
]  # fmt: skip


@pytest.mark.parametrize(("option", "given", "value"), GOOD)
def test_accepted(option: str, given: Any, value: Any) -> None:
    found = parse_asked({"name": "kw", "namespace": "db", option: given})[option]
    assert found == value and type(found) is type(value)


LABEL = "is no DNS label; allowed are at most {} of a-z, 0-9 and -, beginning and ending with a letter or digit"
NO_NUMBER = "is no whole number"
BAD: list[tuple[str, Any, str]] = [
    *[("name", text, LABEL.format(40)) for text in ("Kw", "k_w", "k.w", "-kw", "kw-", "k" * 41, "k w", "kw\n", "ü")],
    ("name", "7kw", "must begin with a letter, as Service names do"),
    ("name", "kwbase", "'kwbase' is not allowed: a Service of that name sets KWBASE_PORT in other pods"),
    ("namespace", "n" * 64, LABEL.format(63)), ("namespace", "a.b", LABEL.format(63)),
    ("create_namespace", "maybe", "'maybe' is no boolean; allowed are true and false"),
    ("create_namespace", 2, "2 is no boolean"), ("single_node", "solo", "is no boolean"),
    ("engine", "mysql", "'mysql' is not allowed; allowed are kwdb, kwdb2, bini"), ("engine", "KWDB", "allowed are kwdb, kwdb2, bini"),
    *[("image", text, f"{text!r} has neither tag nor digest, or is no image reference; allowed are NAME:TAG and NAME@sha256:…")
      for text in ("kwdb/kwdb", "r.example:5000/kwdb", "a:", "a@sha256:1", "a b:1", ":1", "a:1/", "a:" + "t" * 129)],
    ("image_pull_policy", "ifnotpresent", "allowed are Always, IfNotPresent, Never"),
    ("image_pull_secrets", ["a", "B"], "'B' is no DNS name; allowed are labels of a-z, 0-9 and - joined by dots"),
    ("image_pull_secrets", {"a": 1}, "is no list"),
    ("security", "none", "'none' is not allowed; allowed are insecure"),
    *[("replicas", number, f"{number} is not allowed: two nodes lose their quorum with either of them; allowed are 3 and more")
      for number in (0, 2, -3, "2", "0")],
    ("replicas", "many", "'many' is no whole number; allowed are 3 and more, or 1 with single_node"), ("replicas", "3.0", NO_NUMBER),
    ("replicas", 1, "1 is not allowed without single_node=true"),
    *[(option, text, f"{text!r} is no quantity; allowed are positive numbers with one of the units m k M G T P E Ki Mi Gi Ti Pi Ei or none")
      for option in ("storage_size", "cpu", "memory") for text in ("ten", "0", "-1Gi", "10GB", "1 Gi")],
    ("storage", "nfs", "allowed are local, dynamic"), ("storage_class", "Fast", "is no DNS name"), ("storage_class", "a." * 127 + "b", "is no DNS name"),
    *[("local_path", text, f"{text!r} is no absolute path of plain names; allowed is such as /var/lib/kaiwudb")
      for text in ("data", "/", "/a/../b", "/a b", "//a", "/a//b", "/$HOME", "..")],
    ("local_nodes", "W1", "is no DNS name"), ("local_pv_prepare", "sftp", "allowed are pod, ssh, none"),
    ("volumes", "keep", "allowed are retain, archive, delete, wipe"),
    *[(option, port, f"{port} is no port; allowed are 1 to 65535")
      for option in ("sql_port", "http_port", "brpc_port", "sql_node_port", "ui_node_port") for port in (0, 65536, -1)],
    ("sql_port", "http", NO_NUMBER),
    ("cluster_domain", "a..b", "is no DNS name"), ("priority_class", "High", "is no DNS name"),
    ("anti_affinity", "none", "allowed are required, preferred"), ("locality", "rack", "allowed are zone, none"),
    *[(option, "[1]", "must be a dict") for option in
      ("env", "node_selector", "pod_labels", "pod_annotations", "pod_security_context", "container_security_context", "pod_overrides",
       "service_annotations", "resources")],
    ("env", "a=b", "is neither a dict nor JSON of one"), ("env", 3, "must be a dict"), ("tolerations", "x", "is neither a list nor JSON of one"),
    ("tolerations", {"a": 1}, "must be a list"),
    ("extra_args", 3, "is no list"), ("pre_stop_seconds", -1, "-1 is too small; allowed are 0 and more"), ("pre_stop_seconds", "x", NO_NUMBER),
    ("termination_grace_period", 0, "allowed are 1 and more"), ("service_type", "ExternalName", "allowed are ClusterIP, NodePort, LoadBalancer"),
    ("ui", "ingress", "allowed are none, nodeport"), ("deletion_protection", "perhaps", "is no boolean"),
    ("operations", "create,destroy", "destroy not allowed; allowed are create, initialize, reconfigure, scale_out, scale_in, upgrade, finalize, remove"),
    ("waive", ["nodes_needed"], f"nodes_needed not allowed; allowed are {', '.join(WAIVABLE)}"),
    ("max_runtime", -1, "allowed are 0 and more"), ("wait_timeout", 9, "allowed are 10 and more"), ("stall_timeout", 9, "allowed are 10 and more"),
    ("soak", -1, "allowed are 0 and more"), ("pause_after", -1, "-1 is too small; allowed are 0 and more"), ("pause_after", "one", NO_NUMBER),
    ("pre_pull", "maybe", "is no boolean"), ("on_failure", "retry", "'retry' is not allowed; allowed are stop, rollback"), ("paused", "x", "is no boolean"),
    *[("waive", name, f"{name} not allowed") for name in ("ranges_unavailable", "zone_constraints", "version_path", "claims_kept", "emptied", "one_build",
                                                          "never_initialised", "confirmed", "protected", "rollout_idle")],
    ("max_runtime", "soon", NO_NUMBER),
]  # fmt: skip


@pytest.mark.parametrize(("option", "given", "says"), BAD)
def test_refused_with_option_and_allowed_values(option: str, given: Any, says: str) -> None:
    with pytest.raises(InputError) as error:
        parse_asked({"name": "kw", "namespace": "db", option: given})
    assert error.value.msg.startswith(f"{option}: ") and says in error.value.msg
    assert (error.value.reason, error.value.facts) == ("invalid_option", {"option": option, "resumable": False})


def test_every_option_that_can_be_wrong_is_refused_above() -> None:
    anything = {"binary", "cache", "max_sql_memory", "confirm", "restart_id"}
    assert {option for option, _given, _says in BAD} == {option.name for option in OPTIONS} - anything


@pytest.mark.parametrize("option", [option.name for option in OPTIONS if option.name not in ("name", "namespace")])
@pytest.mark.parametrize("empty", [None, "", [""]])
def test_an_empty_answer_of_a_survey_is_none(option: str, empty: Any) -> None:
    assert parse_asked({"name": "kw", "namespace": "db", option: empty}) == {"name": "kw", "namespace": "db"}


def test_zero_and_false_are_answers() -> None:
    asked = parse_asked({"name": "kw", "pre_stop_seconds": 0, "deletion_protection": False, "soak": "0"})
    assert asked == {"name": "kw", "pre_stop_seconds": 0, "deletion_protection": False, "soak": 0}


@pytest.mark.parametrize("option", ["name", "namespace"])
def test_name_and_namespace_must_be_said(option: str) -> None:
    with pytest.raises(InputError, match=f"^{option}: must be given"):
        parse_asked({"name": "kw", "namespace": "db", option: ""})


def test_one_node_only_as_a_single_node() -> None:
    base = {"name": "kw", "namespace": "db"}
    assert parse_asked({**base, "replicas": "1", "single_node": "true"})["replicas"] == 1
    assert parse_asked({**base, "single_node": True})["single_node"] is True
    with pytest.raises(InputError, match=r"replicas: 3 is not allowed with single_node=true; allowed is 1"):
        parse_asked({**base, "replicas": 3, "single_node": True})
    with pytest.raises(
        InputError, match=r"replicas: 1 is not allowed without single_node=true .*; allowed are 3 and more"
    ):
        parse_asked({**base, "replicas": 1, "single_node": False})


@pytest.mark.parametrize("engine", ["kwdb2", "bini"])
def test_the_second_port_only_where_the_engine_has_one(engine: str) -> None:
    with pytest.raises(InputError, match=rf"brpc_port: engine {engine} has no such port; leave it out"):
        parse_asked({"name": "kw", "engine": engine, "brpc_port": 27257})
    assert parse_asked({"name": "kw", "engine": "kwdb", "brpc_port": 27257})["brpc_port"] == 27257


# ---- what was asked over what is remembered over the defaults


def test_a_new_cluster_takes_the_defaults() -> None:
    made = spec()
    assert made.asked == frozenset(REQUIRED)
    assert dict(made.values) == {**DEFAULT, **REQUIRED, "storage_class": "kaiwudb-local"}
    assert made.replicas == 3 and spec(storage="dynamic").storage_class is None
    assert spec(storage_class="mine").storage_class == "mine" and spec(single_node=True).replicas == 1


@pytest.mark.parametrize(
    ("option", "says"),
    [("image", "must be given to create a cluster"), ("security", "must be given to create a cluster: insecure")],
)
def test_what_a_new_cluster_cannot_do_without(option: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        resolve({name: value for name, value in REQUIRED.items() if name != option}, None)
    assert error.value.msg == f"{option}: {says}"


def test_volumes_alone_need_less() -> None:
    assert resolve({"name": "kw", "namespace": "db"}, None, required=()).image is None
    with pytest.raises(InputError, match="image: must be given"):
        resolve({"name": "kw", "namespace": "db"}, None, required=("image",))


def test_what_is_not_asked_for_stays_as_it_is() -> None:
    remembered = {**spec(cache="1GiB", replicas=5).remembered(), "image": OLD, "replicas": 5}
    again = resolve({"name": "kw", "namespace": "db", "memory": "1Gi"}, remembered)
    assert (again.cache, again.replicas, again.image, again.memory) == ("1GiB", 5, OLD, "1Gi")
    assert again.asked == {"name", "namespace", "memory"}


def test_what_is_remembered_comes_back_as_the_same_values() -> None:
    made = spec(tolerations=[{"operator": "Exists"}], env={"A": "1"}, extra_args=["--a=1,2"], image_pull_secrets=["s"], pre_stop_seconds=0,
                deletion_protection=False)  # fmt: skip
    again = resolve({"name": "kw", "namespace": "db"}, {**made.remembered(), "image": OLD, "replicas": 3})
    shown = {option.name for option in OPTIONS if option.scope != "run"}
    assert {name: again.values[name] for name in shown} == {name: made.values[name] for name in shown}


def test_remembered_is_what_lasts_and_no_more() -> None:
    kept = spec(soak=5, confirm="kw", waive=["space"], volumes="wipe", extra_args=["--a"], env={}, pause_after=1, on_failure="rollback", paused=False,
                pre_pull=False, stall_timeout=20).remembered()  # fmt: skip
    assert not {
        "soak",
        "confirm",
        "waive",
        "volumes",
        "operations",
        "name",
        "namespace",
        "image",
        "replicas",
        "env",
        "pause_after",
        "on_failure",
        "paused",
        "pre_pull",
        "stall_timeout",
        "restart_id",
    } & set(kept)
    assert spec(restart_id="1").remembered()["restart_id"] == "1", "or the next run would not know another text"
    assert kept["extra_args"] == ["--a"] and kept["storage_size"] == "10Gi" and kept["single_node"] is False


def test_an_option_of_a_newer_version_is_passed_over() -> None:
    assert resolve({"name": "kw", "namespace": "db"}, {"of_the_future": 1, "image": OLD}).image == OLD


FIXED = {"engine": "kwdb2", "single_node": True, "storage": "dynamic", "storage_class": "other", "sql_port": 26258, "http_port": 8081,
         "brpc_port": 27258, "cluster_domain": "corp.example"}  # fmt: skip


@pytest.mark.parametrize(("option", "other"), FIXED.items())
def test_what_is_fixed_cannot_change(option: str, other: Any) -> None:
    made = spec(storage_class="mine")
    remembered = {**made.remembered(), "image": OLD, "replicas": 3}
    now = made.values[option]
    assert resolve({"name": "kw", "namespace": "db", option: now}, remembered).values[option] == now
    with pytest.raises(InputError) as error:
        resolve({"name": "kw", "namespace": "db", option: other}, remembered)
    assert error.value.msg == (
        f"{option}: cannot change while the cluster lives: it is {now!r}, asked is {other!r}; allowed is {now!r}"
    )


def test_what_was_forgotten_is_no_refusal() -> None:
    """A lost annotation, or a removal asked for again, remembers nothing: what is asked for stands."""
    for remembered in ({}, {"image": OLD, "replicas": 3}):
        assert resolve({**REQUIRED, "engine": "bini", "sql_port": 5}, remembered).engine == "bini"


def test_all_fixed_options_are_tried_above() -> None:
    assert set(FIXED) | {"name", "namespace", "security"} == {option.name for option in OPTIONS if option.fixed}


def test_the_local_default_class_may_be_said_too() -> None:
    remembered = {**spec().remembered(), "image": OLD, "replicas": 3}
    assert resolve({"storage_class": "kaiwudb-local"}, remembered).storage_class == "kaiwudb-local"


def test_a_spec_knows_its_options_and_nothing_else() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        assert spec().nonsense


# ---- the table itself


def test_scalars_reach_the_spec_as_strings() -> None:
    made = argument_spec()
    assert list(made) == [option.name for option in OPTIONS]
    assert {name for name, entry in made.items() if entry.get("required")} == {"name", "namespace"}
    for option in OPTIONS:
        entry = dict(made[option.name])
        entry.pop("required", None)
        # a name of a Secret is no secret; without this Ansible warns of its name
        assert entry.pop("no_log", None) is (False if option.name == "image_pull_secrets" else None)
        if option.kind in ("names", "strings", "operations", "gates"):
            assert entry == {"type": "list", "elements": "str"}
        elif option.kind in ("dict", "list"):
            assert entry == {"type": "raw"}
        else:
            assert entry == {"type": "str"}


def test_a_part_of_the_options() -> None:
    assert list(argument_spec("name", "waive")) == ["name", "waive"]
    assert set(VOLUME_OPTIONS) <= set(BY_NAME) and len(set(VOLUME_OPTIONS)) == len(VOLUME_OPTIONS)


def test_the_table_is_sound() -> None:
    assert len(BY_NAME) == len(OPTIONS)
    for option in OPTIONS:
        assert option.kind in COERCE and option.scope in ("identity", "template", "object", "volume", "run"), (
            option.name
        )
        assert option.text and all(re.search(r"[.:;,]$", line) for line in option.text), option.name
        if option.default is not None:  # a default is what its own check makes of it
            assert COERCE[option.kind](option, option.default) == option.default, option.name
    # What cannot be undone must be named.
    assert set(BY_NAME["operations"].default) == set(OPERATIONS) - {"remove", "finalize"}


def test_what_could_lose_data_cannot_be_waived() -> None:
    assert WAIVABLE == (
        "nodes_live",
        "nodes_settled",
        "ranges_underreplicated",
        "ranges_steady",
        "jobs_running",
        "space",
        "template_expected",
    )
    assert len({rule.name for rule in RULES}) == len(RULES)
