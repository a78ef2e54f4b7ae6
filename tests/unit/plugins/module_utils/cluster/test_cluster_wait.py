# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Waits that know when to give up, the journal they leave, gates that refuse, rights that are missing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import context as under_test
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import rights
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.context import Context, Paused, utc
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.gates import Gate
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Plan, Step
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.rules import RULES, Rule
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.run import Run
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.verbs import VERBS
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.verdict import DONE, Verdict
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.errors import EngineError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    FAR,
    JOURNAL,
    NEW,
    REQUIRED,
    live,
    observed,
    plan,
    plan_of,
    pod,
    spec,
    spec_over,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.fakes import Client, Clock

PULL = Verdict(False, "pod kw-2 cannot start: ImagePullBackOff", "image_pull", 3.0, "kw-2", "kaiwudb")
LATER = Verdict(False, "pod kw-2 is Pending", pod="kw-2")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(under_test, "time", made)
    return made


def context(
    clock: Clock, *, journal: Journal = JOURNAL, seconds: float | None = None, carry: Any = None, **asked: Any
) -> tuple[Context, Client]:
    """carry: of the slice before; it has gone through Ansible's arguments, so it must be plain data."""
    client = Client(clock)
    handed = json.loads(json.dumps(carry))
    ctx = Context(client, spec(**asked), PROFILES["kwdb"], "ann", run_id="r1", seconds=seconds, carry=handed)  # type: ignore[arg-type]
    ctx.seen = live(journal=journal)
    return ctx, client


def judge(*verdicts: Verdict) -> Any:
    """Answers one after the other; the last one stays."""
    left = list(verdicts)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_done_at_once_costs_nothing(clock: Clock) -> None:
    ctx, client = context(clock)
    ctx.wait(judge(DONE), "settle")
    assert clock.now == 1000.0 and client.sent == []


def test_what_comes_true_is_waited_for(clock: Clock) -> None:
    ctx, client = context(clock)
    ctx.wait(judge(LATER, LATER, DONE), "settle", poll=3.0)
    assert clock.now == 1006.0 and [verb for verb, _kind, _name in client.sent] == ["list", "watch"] * 2
    assert ctx.lines == [], "quiet while it is short"


def test_a_long_wait_says_what_it_waits_for_once(clock: Clock) -> None:
    ctx, _client = context(clock)
    ctx.wait(judge(*[LATER] * 12, Verdict(False, "another"), DONE), "settle")
    assert ctx.lines == ["settle   pod kw-2 is Pending"]


def test_hopeless_ends_after_its_patience_with_the_evidence(clock: Clock) -> None:
    ctx, client = context(clock)
    client.event_list = [{"reason": f"Failed{number}", "message": "said"} for number in range(10)]
    client.log_text = {True: "old line\nlast line\n", False: "never read"}
    with pytest.raises(ClusterError) as error:
        ctx.wait(judge(PULL), "upgrade/kw-2")
    assert clock.now == 1003.0
    assert error.value.reason == "image_pull"
    assert error.value.msg.startswith(
        "pod kw-2 cannot start: ImagePullBackOff (3 s). Correct image (or the registry, or image_pull_secrets)"
    )
    assert error.value.msg.endswith("Last events: Failed7: said; Failed8: said; Failed9: said. Last log: last line")
    facts = error.value.facts
    assert (facts["step"], facts["node"], facts["waited"]) == ("upgrade/kw-2", "kw-2", 3)
    assert facts["evidence"] == {
        "events": [f"Failed{number}: said" for number in range(2, 10)],
        "log": ["old line", "last line"],
    }


@pytest.mark.parametrize(("storage", "until"), [("local", 46.0), ("dynamic", 14.0)])
def test_a_local_volume_is_there_so_its_claim_is_bound_sooner_or_later(
    clock: Clock, storage: str, until: float
) -> None:
    """Where the volume controller missed it, with its next resync."""
    ctx, _client = context(clock, storage=storage)
    text = "pod kw-2 cannot be scheduled: 0/5 nodes are available: pod has unbound immediate PersistentVolumeClaims"
    with pytest.raises(ClusterError) as error:
        ctx.wait(judge(Verdict(False, text, "unschedulable", 14.0, "kw-2")), "create/StatefulSet/kw")
    assert error.value.reason == "unschedulable" and until - 1 <= clock.now - 1000.0 <= until


def test_a_hopeless_sight_that_passes_is_none(clock: Clock) -> None:
    """ErrImagePull, then for a moment something else, then again: its patience begins anew."""
    ctx, _client = context(clock)
    ctx.wait(judge(PULL, PULL, PULL, LATER, PULL, PULL, DONE), "upgrade/kw-2")
    assert ctx.lines == []


def test_without_patience_it_ends_at_once(clock: Clock) -> None:
    ctx, client = context(clock)
    client.fail["events", "Event"] = KubeError(403, "Forbidden", "no")
    with pytest.raises(
        ClusterError, match=r"gone for good \(0 s\)\. Look at the evidence, mend it and run again\."
    ) as error:
        ctx.wait(judge(Verdict(False, "gone for good", "of_a_new_kind", 0.0, "kw-1")), "settle")
    assert clock.now == 1000.0 and error.value.facts["evidence"]["events"][0].startswith("could not be read: ")


def test_a_store_that_the_process_before_still_holds_is_waited_for(clock: Clock) -> None:
    """Pods deleted by force: the new one starts while the old one still ends, and crashes until it is gone."""
    busy = "could not lock temporary directory /data, may still be in use: IO error: lock: Resource temporarily unavailable"
    crash = Verdict(False, "pod kw-2 cannot start: CrashLoopBackOff", "container_crash", 0.0, "kw-2", "kaiwudb")
    ctx, client = context(clock, wait_timeout=60)
    client.log_text = {True: f"start\n{busy}\nFailed running start\n", False: ""}
    ctx.wait(judge(crash, crash, LATER, crash, DONE), "settle")
    with pytest.raises(ClusterError) as error:
        ctx.wait(judge(crash), "settle")
    assert error.value.reason == "timeout", "but not for ever"
    client.log_text[True] = "unknown flag"
    with pytest.raises(ClusterError) as error:
        ctx.wait(judge(crash), "settle")
    assert error.value.reason == "container_crash"


GONE = 'MountVolume.NewMounter initialization failed for volume "db.kw-2": path "/data/db.kw-2" does not exist'


def mounting(clock: Clock, *, message: str = GONE, uid: str | None = "pod-2", reason: str = "FailedMount") -> Context:
    """Pod kw-2 waits, and an event says that its volume could not be mounted."""
    ctx, client = context(clock, wait_timeout=60)
    about = {"involvedObject": {"uid": uid}} if uid else {}
    client.event_list = [{"reason": "Scheduled", "message": "x"}, {"reason": reason, "message": message, **about}]
    return ctx


@pytest.mark.parametrize("uid", ["pod-2", None])
def test_a_directory_that_does_not_exist_shows_in_events_only(clock: Clock, uid: str | None) -> None:
    ctx = mounting(clock, uid=uid)
    with pytest.raises(ClusterError) as error:
        ctx.wait(judge(LATER), "create/StatefulSet/kw")
    assert error.value.reason == "volume_mount" and error.value.msg.startswith(
        f"pod kw-2 cannot mount its volume: {GONE} ("
    )
    assert "/var/lib/kaiwudb/db.kw-2 on w3 held" in error.value.msg and "Do not make an empty one" in error.value.msg
    assert under_test.QUIET < clock.now - 1000 <= under_test.QUIET + 6


def test_a_short_lived_pod_s_volume_too(clock: Clock) -> None:
    ctx, client = context(clock, wait_timeout=60)
    client.put({"kind": "Pod", "metadata": {"name": "kw-volume-2", "uid": "helper"}})
    client.event_list = [{"reason": "FailedMount", "message": GONE, "involvedObject": {"uid": "helper"}}]
    with pytest.raises(ClusterError) as error:
        ctx.wait(judge(Verdict(False, "pod kw-volume-2 is Pending", pod="kw-volume-2")), "scale_in/kw-2")
    assert error.value.reason == "volume_mount"


@pytest.mark.parametrize(
    "message",
    [
        'MountVolume.SetUp failed for volume "host" : hostPath type check failed: /data/db.kw-2 is not a directory',
        'MountVolume.SetUp failed for volume "host" : mkdir /data: not a directory',
    ],
)
def test_a_file_where_a_directory_should_be_is_no_use_either(clock: Clock, message: str) -> None:
    with pytest.raises(ClusterError) as error:
        mounting(clock, message=message).wait(judge(LATER), "volume/kw-2")
    assert error.value.reason == "volume_mount" and message in error.value.msg


def test_where_no_pod_is_waited_for_no_events_are_read(clock: Clock) -> None:
    ctx, client = context(clock)
    ctx.wait(judge(*[Verdict(False, "3 pods are ending")] * 12, DONE), "remove/pods")
    assert ("events", "Event", "") not in client.sent and ctx.lines == ["remove/pods   3 pods are ending"]


@pytest.mark.parametrize("event", [{"message": "timed out"}, {"uid": "of the pod before"}, {"reason": "Other"}])
def test_other_troubles_of_mounting_pass(clock: Clock, event: dict[str, Any]) -> None:
    ctx = mounting(clock, **event)
    with pytest.raises(ClusterError) as error:
        ctx.wait(judge(LATER), "create/StatefulSet/kw")
    assert error.value.reason == "timeout"


def test_nothing_moves_for_too_long(clock: Clock) -> None:
    ctx, _client = context(clock, wait_timeout=60)
    with pytest.raises(ClusterError) as error:
        ctx.wait(judge(LATER), "settle")
    assert error.value.reason == "timeout" and error.value.facts["waited"] == 62 and error.value.facts["node"] == "kw-2"
    assert error.value.msg.startswith(
        "pod kw-2 is Pending, unchanged for 62 s. The run stopped where it is; run it again"
    )


def test_movement_begins_the_limit_anew(clock: Clock) -> None:
    ctx, _client = context(clock, wait_timeout=60)
    moving = [Verdict(False, f"{number} left") for number in range(40) for _again in range(20)]
    ctx.wait(judge(*moving, DONE), "remove/pods")
    assert clock.now == 1000.0 + 2 * len(moving)


def test_a_slice_that_ends_hands_on_since_when_nothing_moved(clock: Clock) -> None:
    working = Journal(cluster_id="id", operation={"name": "upgrade", "step": "upgrade/kw-2"})
    ctx, client = context(clock, journal=working, seconds=5, wait_timeout=60)
    with pytest.raises(Paused):
        ctx.wait(judge(LATER), "upgrade/kw-2")
    assert clock.now == 1005.0, "never beyond the slice's end"
    assert ctx.carry == {
        "waiting": {"step": "upgrade/kw-2", "why": "pod kw-2 is Pending", "since": 1.7e9 + 1000.0, "said": False}
    }
    assert "apply" not in [verb for verb, _kind, _name in client.sent], "it dies with the run, so it is written nowhere"
    clock.now += 58
    following, _client = context(clock, carry=ctx.carry, seconds=5, wait_timeout=60)
    with pytest.raises(ClusterError) as error:
        following.wait(judge(LATER), "upgrade/kw-2")
    assert error.value.reason == "timeout" and error.value.facts["waited"] == 63
    other, _client = context(clock, carry=ctx.carry, seconds=5, wait_timeout=60)
    with pytest.raises(Paused):
        other.wait(judge(LATER), "upgrade/kw-1")
    assert other.carry["waiting"]["step"] == "upgrade/kw-1" and other.carry["waiting"]["since"] == 1.7e9 + 1063.0


def test_over_slices_a_wait_is_said_once(clock: Clock) -> None:
    carry, lines = {}, []
    for _slice in range(8):
        ctx, _client = context(clock, carry=carry, seconds=5, wait_timeout=600)
        with pytest.raises(Paused):
            ctx.wait(judge(LATER), "upgrade/kw-2")
        carry = ctx.carry
        lines += ctx.lines
    assert lines == ["upgrade/kw-2   pod kw-2 is Pending"], (
        "also where a slice is shorter than the quiet at its beginning"
    )


def test_over_many_slices_a_wait_ends(clock: Clock) -> None:
    carry: Any = {}
    for _slice in range(12):
        ctx, _client = context(clock, carry=carry, seconds=5, wait_timeout=60)
        with pytest.raises(Paused):
            ctx.wait(judge(LATER), "upgrade/kw-2")
        carry = ctx.carry
    ctx, _client = context(clock, carry=carry, seconds=5, wait_timeout=60)
    with pytest.raises(ClusterError, match="pod kw-2 is Pending, unchanged for 6"):
        ctx.wait(judge(LATER), "upgrade/kw-2")


@pytest.mark.parametrize("ahead", [-3600.0, 58.0, 3600.0])
def test_another_runs_clock_is_not_trusted(clock: Clock, ahead: float) -> None:
    """Killed, and run again later or on another machine: its wait begins anew, whatever the journal says."""
    waiting = {"step": "upgrade/kw-2", "why": LATER.why, "since": clock.time() - ahead, "run": "r0", "whole_since": 5.0}
    left = Journal(cluster_id="id", operation={"name": "upgrade", "step": "upgrade/kw-2", "waiting": waiting})
    ctx, _client = context(clock, journal=left, seconds=5, wait_timeout=10)
    with pytest.raises(Paused):
        ctx.wait(judge(LATER), "upgrade/kw-2")
    assert ctx.carry["waiting"]["since"] == 1.7e9 + 1000.0 and "whole_since" not in ctx.carry


def test_a_hopeless_cause_is_believed_also_when_that_takes_longer_than_a_slice(clock: Clock) -> None:
    silent = Verdict(False, "its Kubernetes node does not answer", "pod_stays", 60.0, "kw-2")
    began, carry = clock.now, None
    for _slice in range(10):
        ctx, _client = context(clock, seconds=20.0, carry=carry)
        try:
            ctx.wait(judge(silent), "detach/kw-2")
        except Paused:
            carry = ctx.carry
        except ClusterError as error:
            assert error.reason == "pod_stays" and 60 <= clock.now - began < 70
            return
    pytest.fail("it was never believed")


def test_a_hopeless_cause_of_an_earlier_wait_is_no_news_of_the_next(clock: Clock) -> None:
    ctx, _client = context(clock)
    silent = Verdict(False, "its Kubernetes node does not answer", "pod_stays", 60.0, "kw-2")
    for _wait in range(2):
        ctx.wait(judge(*[silent] * 40, DONE), "detach/kw-2")
    assert "hopeless" not in ctx.carry


def test_a_wait_that_is_over_leaves_nothing_for_the_next(clock: Clock) -> None:
    """A pod is restarted twice in one run when its upgrade is rolled back: the same step, the same reason."""
    ctx, _client = context(clock, seconds=50, wait_timeout=60)
    with pytest.raises(Paused):
        ctx.wait(judge(LATER), "upgrade/kw-2")
    following, _client = context(clock, carry=ctx.carry, wait_timeout=60)
    following.wait(judge(LATER, DONE), "upgrade/kw-2")
    began = clock.now
    with pytest.raises(ClusterError) as error:
        following.wait(judge(LATER), "upgrade/kw-2")
    assert clock.now - began > 60 and error.value.facts["waited"] < 65


def test_how_far_several_pods_have_come_is_said_when_it_moves(clock: Clock) -> None:
    ctx, _client = context(clock)

    def at(done: int) -> Verdict:
        return Verdict(False, f"pod kw-{done} is Pending", progress=f"{done} of 5 pods ready")

    ctx.wait(judge(at(1), at(1), at(2), at(3), at(3), at(3), at(4), DONE), "create/StatefulSet/kw", poll=2.0)
    ctx.wait(judge(at(4), *[LATER] * 4, DONE), "create/StatefulSet/kw", poll=1.0)
    # 1 is where it began, 3 came within five seconds of 2; and where nothing is counted there is nothing to say
    assert ctx.lines == ["create/StatefulSet/kw   2 of 5 pods ready", "create/StatefulSet/kw   4 of 5 pods ready"]


def test_a_slice_without_an_operation_writes_nothing(clock: Clock) -> None:
    ctx, client = context(clock, seconds=1)
    with pytest.raises(Paused):
        ctx.wait(judge(LATER), "settle")
    assert "apply" not in [verb for verb, _kind, _name in client.sent]


def test_a_lost_lock_ends_the_wait(clock: Clock) -> None:
    ctx, _client = context(clock)
    ctx.lost = lambda: "eve/9"
    with pytest.raises(
        ClusterError, match="the lock of kw was taken over by eve/9; this run stops where it is"
    ) as error:
        ctx.wait(judge(LATER), "settle")
    assert error.value.reason == "lock_lost"


def test_a_watch_that_expired_is_only_a_shorter_pause(clock: Clock) -> None:
    ctx, client = context(clock)
    client.fail["watch", "Pod"] = KubeError(410, "Expired", "too old")
    ctx.pause()
    client.fail["watch", "Pod"] = KubeError(500, "InternalError", "no")
    with pytest.raises(KubeError):
        ctx.pause()


def test_ready_pods_are_asked_lowest_first(clock: Clock) -> None:
    ctx, _client = context(clock)
    ctx.seen = live(11, pods=[pod(10), pod(2), pod(1, ready=False), pod(0)])
    assert ctx._serving() == ["kw-0", "kw-2", "kw-10"]


def test_lines_are_said_once(clock: Clock) -> None:
    ctx, _client = context(clock)
    for text in ("a", "a", "b", "a"):
        ctx.say(text)
    assert ctx.lines == ["a", "b", "a"]
    assert utc(0) == "1970-01-01T00:00:00Z"


def test_the_journal_is_written_only_when_it_differs(clock: Clock) -> None:
    ctx, client = context(clock)
    ctx.write_journal(JOURNAL)
    assert client.sent == [("apply", "ConfigMap", "kw-journal")], "there is none yet"
    ctx.write_journal(JOURNAL)
    assert len(client.sent) == 1
    ctx.write_journal(replace(JOURNAL, cluster_id="other"))
    assert len(client.sent) == 2 and ctx.seen.journal.cluster_id == "other"
    assert Journal.read(client.objects["ConfigMap", "kw-journal"]) == ctx.seen.journal


def test_a_journal_that_somebody_deleted_is_written_again(clock: Clock) -> None:
    ctx, client = context(clock)
    known = replace(JOURNAL, options=ctx.seen.noted)
    ctx.seen = replace(ctx.seen, journal=known)
    ctx.write_journal(known)
    assert client.sent == [("apply", "ConfigMap", "kw-journal")]


def test_the_journal_keeps_the_options_in_force(clock: Clock) -> None:
    """Should somebody delete the StatefulSet, or its annotation, the next run still knows them."""
    ctx, _client = context(clock)
    ctx.seen = live(of=spec(cache="1GiB"))
    ctx.write_journal(JOURNAL)
    assert ctx.seen.journal.options["cache"] == "1GiB"
    ctx.seen = replace(live(without=["StatefulSet/kw"]), journal=ctx.seen.journal)
    ctx.write_journal(replace(ctx.seen.journal, cluster_id="other"))
    assert ctx.seen.journal.options["cache"] == "1GiB", "without one they stay what they were"


# ---- since when all ranges have been whole


class Sql:
    """Answers what a deep look asks; the ranges are on these nodes, or nobody answers."""

    profile = PROFILES["kwdb"]
    replicas: str | None = "{1,2,3}"

    def sql_rows(self, statement: str) -> Any:
        if self.replicas is None:
            raise EngineError("hung", "sql did not answer", "kw-0", "sql")
        row = {
            "range_id": "1",
            "start_pretty": "/Table/60",
            "database_name": "bank",
            "table_name": "accounts",
            "replicas": self.replicas,
        }
        return [row] if "ranges_no_leases" in statement else []


def steady(clock: Clock, **how: Any) -> tuple[Context, Sql]:
    ctx, _client = context(clock, **how)
    sql = Sql()
    ctx.engine = sql  # type: ignore[assignment]
    return ctx, sql


def whole_for(ctx: Context) -> float:
    found = ctx.deep()
    assert found is not None and found.apart == 15.0
    return found.whole_for


def test_whole_is_counted_from_the_first_of_readings_that_all_say_so(clock: Clock) -> None:
    ctx, sql = steady(clock)
    assert whole_for(ctx) == 0.0
    clock.now += 9
    assert whole_for(ctx) == 9.0
    sql.replicas = "{1,2}"
    clock.now += 9
    assert whole_for(ctx) == 0.0
    sql.replicas = "{1,2,3}"
    clock.now += 9
    assert whole_for(ctx) == 0.0, "from now on"
    clock.now += 20
    assert whole_for(ctx) == 20.0


def test_a_reading_that_nobody_answers_is_not_whole(clock: Clock) -> None:
    ctx, sql = steady(clock)
    whole_for(ctx)
    sql.replicas = None
    assert ctx.deep() is None
    sql.replicas = "{1,2,3}"
    clock.now += 30
    assert whole_for(ctx) == 0.0
    ctx.seen = replace(ctx.seen, nodes=None)
    clock.now += 30
    assert whole_for(ctx) == 0.0, "without rows nobody knows who lives"


def test_what_was_read_before_a_restart_does_not_count(clock: Clock) -> None:
    ctx, _sql = steady(clock)
    whole_for(ctx)
    clock.now += 30
    ctx.disturbed()
    assert whole_for(ctx) == 0.0


def test_a_clock_that_is_set_back_begins_anew(clock: Clock) -> None:
    ctx, _sql = steady(clock)
    whole_for(ctx)
    clock.now -= 500
    assert whole_for(ctx) == 0.0
    clock.now += 16
    assert whole_for(ctx) == 16.0


def at_the_gate(clock: Clock) -> dict[str, Any]:
    """What a slice hands on that ended while a step waited for its gates, 12 s after the first whole reading."""
    ctx, _sql = steady(clock, seconds=12)
    with pytest.raises(Paused):
        ctx.wait(lambda: (whole_for(ctx), LATER)[1], "upgrade/kw-2")
    return ctx.carry


def test_readings_outlive_a_slice_of_the_run_and_nothing_else(clock: Clock) -> None:
    handed = at_the_gate(clock)
    assert handed["whole_since"] == 1.7e9 + 1000.0
    clock.now += 3
    assert whole_for(steady(clock, carry=handed)[0]) == 15.0
    assert whole_for(steady(clock)[0]) == 0.0, "another run has read nothing yet"


def test_readings_from_before_a_restart_do_not_come_back(clock: Clock) -> None:
    """The step's gate held, its pod was restarted, and the same step waits for it."""
    ctx, _sql = steady(clock, carry=at_the_gate(clock))
    clock.now += 3
    ctx.wait(judge(DONE), "upgrade/kw-2")
    ctx.disturbed()
    ctx.wait(judge(DONE), "upgrade/kw-2")
    assert "whole_since" not in ctx.carry and whole_for(ctx) == 0.0


def test_how_long_something_lasts_is_counted_over_slices(clock: Clock) -> None:
    ctx, _client = context(clock)
    assert ctx.lasting("upgrade/kw-2", True) == 0.0
    clock.now += 20
    assert ctx.lasting("upgrade/kw-2", True) == 20.0 and ctx.lasting("upgrade/kw-1", True) == 0.0
    clock.now += 5
    following, _client = context(clock, carry=ctx.carry)
    assert following.lasting("upgrade/kw-2", True) == 25.0
    assert following.lasting("upgrade/kw-2", False) == 0.0
    clock.now += 7
    assert following.lasting("upgrade/kw-2", True) == 0.0, "it began anew"
    assert following.lasting("upgrade/kw-1", True) == 12.0, "the other one did not"
    clock.now -= 500
    assert following.lasting("upgrade/kw-1", True) == 0.0, "a clock that was set back is no negative time"


# ---- gates


def _gate(name: str, holds: bool = False) -> Gate:
    return Gate(name, "1", "0", holds, "It is not so.")


def test_the_first_gate_that_refuses(clock: Clock) -> None:
    ctx, _client = context(clock, waive=["nodes_live"])
    step = Step("upgrade/kw-2", "x", pod="kw-2")
    ctx.prove([_gate("space", True), _gate("nodes_live")], step)
    with pytest.raises(ClusterError) as error:
        ctx.prove([_gate("nodes_live"), _gate("jobs_running"), _gate("space")], step)
    assert error.value.msg == "refused upgrade/kw-2: gate jobs_running: It is not so. Nothing was changed."
    assert (error.value.reason, error.value.facts["node"], error.value.facts["resumable"]) == (
        "jobs_running",
        "kw-2",
        True,
    )
    assert [item["waived"] for item in error.value.facts["gates"]] == [True, False, False]
    with pytest.raises(ClusterError) as late:
        ctx.prove([_gate("nodes_needed")], step, changed=True)
    assert "Nothing was changed" not in late.value.msg and late.value.facts["resumable"] is False


def test_what_mends_itself_is_waited_for(clock: Clock) -> None:
    ctx, _client = context(clock)
    step = Step("upgrade/kw-2", "x", pod="kw-2")
    turns = [[_gate("ranges_underreplicated")], [_gate("nodes_settled")], [_gate("jobs_running", True)]]
    ctx.prove_in_time(lambda: turns.pop(0) if len(turns) > 1 else turns[0], step)
    assert clock.now == 1006.0
    with pytest.raises(ClusterError) as error:
        ctx.prove_in_time(lambda: [_gate("ranges_underreplicated")], step)
    assert error.value.reason == "ranges_underreplicated" and error.value.msg.startswith(
        "refused upgrade/kw-2: gate ranges_underreplicated"
    )
    assert 60 < clock.now - 1006 <= 66, "after a minute without any change it refuses after all"


def _refused_by_the_next_slice(carry: Any, resumable: bool = True) -> str:
    """What a slice says that is refused as soon as it looks."""
    run = Run(Client(Clock()), REQUIRED, run_id="r1", carry=carry)  # type: ignore[arg-type]

    def refuse() -> Any:
        raise ClusterError("kw is paused. Nothing was changed. Set it.", "paused", resumable=resumable)

    run.slice = refuse  # type: ignore[method-assign]
    with pytest.raises(ClusterError) as error:
        run.go()
    assert str(error.value) == error.value.msg
    return error.value.msg


@pytest.mark.parametrize(("step", "changed"), [("upgrade/kw-2", True), ("settle", False)])
def test_a_later_slice_of_a_run_that_changed_something_does_not_say_that_nothing_was(
    clock: Clock, step: str, changed: bool
) -> None:
    ctx, client = context(clock)
    run = Run(client, REQUIRED, run_id="r1")  # type: ignore[arg-type]
    assert run._try(ctx, Step(step, "x"), Plan("kw", ()), lambda: None)
    says = "What had been done until then stays" if changed else "Nothing was changed"
    again = "; run again to continue" if changed else ""
    assert _refused_by_the_next_slice(ctx.carry) == f"kw is paused. {says}{again}. Set it."
    assert _refused_by_the_next_slice(ctx.carry, resumable=False) == f"kw is paused. {says}. Set it."


@pytest.mark.parametrize("begun", [False, True])
def test_a_slice_that_ends_while_the_gates_are_waited_for_has_changed_nothing(clock: Clock, begun: bool) -> None:
    ctx, client = context(clock)
    ctx.deadline = clock.now + 5
    run, step = Run(client, REQUIRED, run_id="r1"), Step("upgrade/kw-2", "x", pod="kw-2")  # type: ignore[arg-type]

    def act() -> None:
        ctx.prove_in_time(lambda: [_gate("jobs_running", begun)], step)
        ctx.wait(judge(LATER), step.id)

    assert not run._try(ctx, step, Plan("kw", ()), act)
    assert ("Nothing was changed" in _refused_by_the_next_slice(ctx.carry)) is not begun


@pytest.mark.parametrize("rule", [rule for rule in RULES if not rule.mends], ids=lambda rule: rule.name)
def test_what_does_not_mend_itself_refuses_at_once(clock: Clock, rule: Rule) -> None:
    ctx, _client = context(clock)
    with pytest.raises(ClusterError) as error:
        ctx.prove_in_time(lambda: [_gate("jobs_running"), _gate(rule.name)], Step("scale_in/kw-3", "x"))
    assert error.value.reason == rule.name and clock.now == 1000.0
    assert error.value.msg.endswith(" Nothing was changed.")


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.mends], ids=lambda rule: rule.name)
def test_what_mends_itself_is_given_its_time(clock: Clock, rule: Rule) -> None:
    ctx, _client = context(clock)
    turns = [[_gate(rule.name)], [_gate(rule.name, True)]]
    ctx.prove_in_time(lambda: turns.pop(0) if len(turns) > 1 else turns[0], Step("scale_in/kw-3", "x"))
    assert clock.now > 1000.0
    with pytest.raises(ClusterError) as error:
        ctx.prove_in_time(lambda: [_gate(rule.name)], Step("scale_in/kw-3", "x"))
    assert error.value.facts["resumable"] is True, "the same run later may pass"


# The same question will be refused again, whatever anybody waits for.
NEVER_AGAIN = {
    "nodes_needed",
    "zone_constraints",
    "version_path",
    "template_expected",
    "never_initialised",
    "confirmed",
    "protected",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_whether_the_same_run_may_pass_later(clock: Clock, rule: Rule) -> None:
    ctx, _client = context(clock)
    with pytest.raises(ClusterError) as error:
        ctx.prove([_gate(rule.name)], Step("scale_in/kw-3", "x"))
    assert error.value.facts["resumable"] is (rule.name not in NEVER_AGAIN)


def test_figures_that_are_not_known_yet_are_waited_for(clock: Clock) -> None:
    ctx, _client = context(clock)
    turns = [[Gate("space", "unknown", "known", False)], [_gate("space", True)]]
    ctx.prove_in_time(lambda: turns.pop(0) if len(turns) > 1 else turns[0], Step("scale_in/kw-3", "x"))
    assert clock.now > 1000.0
    with pytest.raises(ClusterError):
        ctx.prove_in_time(lambda: [Gate("space", "unknown", "known", False)], Step("scale_in/kw-3", "x"))


def test_a_waived_gate_is_not_waited_for(clock: Clock) -> None:
    ctx, _client = context(clock, waive=["jobs_running"])
    ctx.prove_in_time(lambda: [_gate("jobs_running")], Step("scale_in/kw-3", "x"))
    assert clock.now == 1000.0


# ---- rights


def verbs(plan: Plan) -> list[str]:
    return [f"{verb} {resource}" for verb, resource, _group, _namespaced in rights.needed(plan)]


RUN = ["create leases", "patch leases", "patch configmaps"]


def _steps(names: Iterable[str]) -> Plan:
    return Plan("", tuple(Step(name, "") for name in names))


@pytest.mark.parametrize(
    ("step", "needed"),
    [
        ("create/Namespace/db", "create namespaces"), ("create/Service/kw", "patch services"), ("repair/PodDisruptionBudget/b", "patch poddisruptionbudgets"),
        ("create/ServiceAccount/kw", "patch serviceaccounts"), ("create/StatefulSet/kw", "patch statefulsets"), ("delete/Service/kw-ui", "delete services"),
        ("volume/kw-0", "patch persistentvolumes"), ("volume/kw-0", "create pods"), ("reuse/kw-0", "delete persistentvolumes"),
        ("initialize", "create pods/exec"),
        ("initialize", "patch persistentvolumeclaims"), ("remember", "create pods/exec"), ("scale_out/kw-3", "patch statefulsets"),
        ("settle", "create pods/exec"),
        ("scale_in/kw-3", "delete persistentvolumeclaims"), ("reconfigure/kw-2", "patch statefulsets"), ("upgrade/kw-2", "create pods/exec"),
        ("preserve", "create pods/exec"), ("prepull", "create pods"), ("prepull", "delete pods"), ("prepull", "get pods/log"),
        ("finalize", "create pods/exec"), ("release", "create pods/exec"), ("pause", "patch statefulsets"), ("resume", "patch statefulsets"),
        ("reclaim/kw-1", "delete pods"), ("reclaim/kw-1", "patch persistentvolumes"), ("reclaim/kw-1", "patch persistentvolumeclaims"),
        ("reclaim/kw-1", "create pods/exec"), ("scale_out/kw-3", "patch persistentvolumeclaims"),
        ("upgrade/kw-2", "delete pods"), ("reconfigure/kw-2", "delete pods"), ("repair/Pod/kw-1", "patch pods"),
        ("recommission/kw-3", "create pods/exec"), ("decommission/4", "create pods/exec"), ("remove/pods", "delete pods"),
        ("leave/kw-2", "create pods/exec"), ("detach/kw-2", "delete pods"), ("detach/kw-2", "delete persistentvolumeclaims"),
        ("clear/kw-2", "create pods"), ("rejoin/kw-2", "patch persistentvolumeclaims"), ("empty/kw-2", "create pods/exec"),
        ("extend/w3", "create pods/exec"), ("cordon/w3", "patch nodes"), ("uncordon/w3", "patch nodes"), ("evict/kw-2", "create pods/eviction"),
        ("return/w3", "create pods/exec"), ("restore/window", "create pods/exec"), ("whole/w3", "create pods/exec"),
    ],
)  # fmt: skip
def test_each_step_needs_its_rights(step: str, needed: str) -> None:
    found = verbs(_steps([step]))
    assert found[:3] == RUN and needed in found[3:]


def test_directories_that_are_there_need_no_right_to_pods() -> None:
    for prepare, wanted in (("pod", True), ("ssh", False), ("none", False)):
        grown = plan(replicas=4, local_pv_prepare=prepare)
        alone = replace(grown, steps=tuple(step for step in grown.steps if step.id == "volume/kw-3"))
        assert ("create pods" in verbs(alone)) is wanted and "patch persistentvolumes" in verbs(alone)


def test_a_local_volume_whose_node_leaves_needs_its_rights() -> None:
    """It is marked, and by policy put aside or erased by a pod; a storage class needs none of that."""
    local, dynamic = (
        verbs(plan(live(4, of=spec(replicas=4, storage=kind)), replicas=3)) for kind in ("local", "dynamic")
    )
    assert {"patch persistentvolumes", "delete persistentvolumes", "create pods"} <= set(local)
    assert not {"patch persistentvolumes", "delete persistentvolumes", "create pods"} & set(dynamic)
    assert "delete persistentvolumeclaims" in local and "delete persistentvolumeclaims" in dynamic


def test_what_belongs_to_all_namespaces_is_asked_for_there() -> None:
    """Else a right that no Role can give would be looked for in the namespace, and found missing."""
    made = [
        "create/Namespace/db",
        "create/Service/kw",
        "repair/PodDisruptionBudget/b",
        "delete/Service/x",
        "repair/Pod/kw-1",
    ]
    everywhere = {
        (resource, namespaced)
        for _verb, resource, _group, namespaced in rights.needed(
            _steps([*made, *VERBS.keys() - {"create", "repair", "delete"}])
        )
    }
    assert {resource for resource, namespaced in everywhere if not namespaced} == {
        "persistentvolumes",
        "namespaces",
        "nodes",
    }
    assert not {resource for resource, namespaced in everywhere if namespaced} & {
        "persistentvolumes",
        "namespaces",
        "nodes",
    }


def test_closing_what_is_over_needs_only_what_every_run_needs() -> None:
    assert verbs(_steps(["close"])) == RUN


def test_each_right_is_asked_for_once_and_where_it_counts(clock: Clock) -> None:
    client = Client(clock)
    rights.refuse_missing(client, plan_of(spec(), observed()), "db")  # type: ignore[arg-type]
    assert len(client.asked) == len(set(client.asked))
    assert ("patch", "persistentvolumes", "", None) in client.asked and (
        "patch",
        "statefulsets",
        "apps",
        "db",
    ) in client.asked
    assert ("patch", "poddisruptionbudgets", "policy", "db") in client.asked


def test_what_is_missing_is_named(clock: Clock) -> None:
    client = Client(clock)
    client.allowed = lambda verb, resource, *_rest: (
        (verb, resource) not in (("patch", "statefulsets"), ("patch", "persistentvolumes"))
    )
    with pytest.raises(ClusterError) as error:
        rights.refuse_missing(client, plan_of(spec(), observed()), "db")  # type: ignore[arg-type]
    assert error.value.msg.startswith(
        "these rights are missing: patch persistentvolumes cluster-wide; patch statefulsets in namespace db. Nothing was changed."
    )
    assert (error.value.reason, error.value.facts) == (
        "forbidden", {"missing": ["patch persistentvolumes", "patch statefulsets"], "resumable": False})  # fmt: skip


def test_every_step_a_plan_can_hold_has_rights(clock: Clock) -> None:
    for asked in (
        {"replicas": 5},
        {"image": NEW},
        {"cache": "1GiB"},
        {"ui": "nodeport"},
        {"paused": True},
        {"image": FAR},
    ):
        seen = live()
        assert len(verbs(plan_of(spec_over(seen, **asked), seen))) > len(RUN)
