# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""One slice of a run: observe, plan, lock, observe and plan again, then step by step. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
import typing as t
from dataclasses import replace

from .._engine.errors import EngineError
from .._engine.profiles import PROFILES
from .._kube.errors import KubeError
from . import absent, answer, gates, going, growing, lock, observe, placement, present, rights, rolling, undo
from . import volumes as planned
from .context import Context, Paused, utc
from .deeds import DEEDS
from .errors import HICCUPS, LAST_TRY, ClusterError, failure
from .manifests import names_of
from .names import Names
from .observe import Observed
from .operations import create, remove, rollout
from .operations.close import ordered
from .plan import Plan, Step
from .progress import about
from .spec import Spec, resolve

if t.TYPE_CHECKING:
    from .._kube.client import Client


REPAIRS = ("replace_node", "maintain_node")  # what is done for its own sake in the middle of another operation


class Run:
    """What a module asks for, on one cluster.

    asked: coerced options. state: present or absent. who: for the journal and the lock; run_id: the same for all slices
    of one run. seconds: how long this slice may take, None for as long as it takes. volumes_only: plan nothing else.
    sliced: another slice of this run follows one that ends early, so it keeps the lock. carry: what the slice before handed on.
    """

    required: tuple[str, ...] | None = (
        None  # options without which there is nothing to look for; None: as to create a cluster
    )

    def __init__(
        self,
        client: Client,
        asked: t.Mapping[str, t.Any],
        *,
        state: str = "present",
        check: bool = False,
        who: str = "somebody",
        run_id: str = "",
        seconds: float | None = None,
        volumes_only: bool = False,
        sliced: bool = False,
        carry: t.Mapping[str, t.Any] | None = None,
    ) -> None:
        self.carry: dict[str, t.Any] = dict(carry or {})
        self.begun = bool(carry)  # in an earlier slice
        self.kept = bool(self.carry.get("locked"))  # whether the slice before kept the lock for this one
        self.client, self.asked, self.state, self.check = client, asked, state, check
        self.who, self.run_id, self.seconds, self.volumes_only, self.sliced = who, run_id, seconds, volumes_only, sliced
        self.started = time.monotonic()
        self.changed = bool(self.carry.get("changed"))  # whether this run did anything to the cluster, in any slice
        self.undoes = run_id  # the run whose way back this one goes: its own, or an earlier one's
        self.done: list[str] = []
        self.times: list[dict[str, t.Any]] = []  # of the steps done, not yet in the journal
        self.whole: bool | None = (
            None  # whether all ranges were whole when the work was done; not asked when there was none
        )

    # ---- the way through

    def go(self) -> dict[str, t.Any]:
        """The module's result; ClusterError carries what the module fails with.

        A failure that another slice may mend hands on what this one knew (C(carry)), the lock with it.
        """
        try:
            return self.slice()
        except (ClusterError, EngineError, KubeError) as error:
            failed = error if isinstance(error, ClusterError) else failure(error)
            if self.changed:
                failed.after_work()
            if self.passes(failed):
                failed.facts["carry"] = {**self.carry, "locked": self.kept, "changed": self.changed}
                self.kept = False
            if failed is error:
                raise
            raise failed from error
        finally:
            # This slice ended before it came so far as to take the lock again: refused, or nothing left to do.
            if self.kept:
                with contextlib.suppress(KubeError):
                    lock.Lock(self.client, Names(self.asked["name"], self.asked["namespace"]), self.holder).release()

    def passes(self, error: BaseException) -> bool:
        """Whether another slice of this run looks again and goes on: at a moment's trouble, once something was begun."""
        if isinstance(error, (EngineError, KubeError)):
            error = failure(error)
        return (
            isinstance(error, ClusterError)
            and self.sliced
            and not self.carry.get(LAST_TRY)
            and error.reason in HICCUPS
            and bool(self.begun or error.facts.get("step"))
            and error.result()["resumable"]
        )

    @property
    def holder(self) -> str:
        """As the lock knows this run."""
        return f"{self.who}/{self.run_id}"

    def slice(self) -> dict[str, t.Any]:
        """One slice of it."""
        ctx = self._context()
        plan = self.plan(ctx)
        self._count_ended(ctx, plan)
        if self.check or not plan.steps:
            for line in going.notes(ctx.seen):
                ctx.say(line)
            return self._result(ctx, plan, plan, finished=True)
        if not plan.writes:
            return self._work(ctx, plan, plan)
        if ctx.seen.namespace is None and self.state == "present":
            # The lock needs its namespace; making it is the one step that must come first.
            create.create(ctx, plan.steps[0])
            self._did(ctx)
            ctx.look()

        def work() -> dict[str, t.Any]:
            if self.state == "present":
                ctx.look()
            else:
                ctx.look_at_objects()
            now = self.plan(ctx, look=False)
            self._count_ended(ctx, now)  # perhaps while the lock was taken
            return self._work(ctx, now, plan)

        if ctx.seen.namespace is None or (self.state == "absent" and not usable(ctx.seen.namespace)):
            return work()  # the namespace is gone or goes, and with it whatever could hold a lock
        result = lock.locked(self, ctx, work)
        if self.state == "absent" and not result["in_progress"] and not self.volumes_only:
            self.client.delete("Lease", ctx.names.lock, ctx.names.namespace)
        return result

    def _did(self, ctx: Context) -> None:
        """Something was done to the cluster; later slices of this run are told so."""
        self.changed = ctx.carry["changed"] = True

    def _count_ended(self, ctx: Context, plan: Plan) -> None:
        """The step in whose middle this run's slice before ended is done, too, when it has come to its end since."""
        at = ctx.seen.journal.operation.get("at_step") or {}
        still = {step.id for step in (*plan.steps, *plan.remaining)}.union(self.done)
        if at.get("run") == self.run_id and at["id"] not in still:
            self._ended([at["id"]], at)

    def _at(self, ctx: Context, step: Step) -> dict[str, t.Any]:
        """The step and since when this run is at it: noted in the journal by an earlier slice, or now."""
        known = ctx.seen.journal.operation.get("at_step") or {}
        if (known.get("id"), known.get("run")) == (step.id, self.run_id):
            return dict(known)
        return {"id": step.id, "run": self.run_id, "since": time.time()}

    def _ended(self, steps: t.Sequence[str], at: t.Mapping[str, t.Any]) -> None:
        """These were done together, begun as C(at) says."""
        self.done += steps
        seconds = round(max(0.0, time.time() - at["since"]), 1)
        self.times += [{"step": step, "at": utc(at["since"]), "seconds": seconds} for step in steps]

    def _context(self) -> Context:
        """Look once, then lay what was asked over what is remembered."""
        names = Names(self.asked["name"], self.asked["namespace"], self.asked.get("cluster_domain", "cluster.local"))
        seen = observe.look_at_objects(self.client, names, volumes=self.asked.get("storage") != "dynamic")
        remembered = seen.remembered
        if self.state == "absent" and seen.statefulset is None:
            remembered = seen.removed_options or remembered or seen.left_options
        # Volumes alone need an image only for the pods that make their directories.
        required = (
            (("image",) if self.asked.get("local_pv_prepare", "pod") == "pod" else ())
            if self.volumes_only
            else self.required
        )
        spec = resolve(self.asked, remembered, required)
        if self.state == "absent" and "operations" not in self.asked:
            spec = replace(spec, values={**spec.values, "operations": ("remove",)})
        back = undo.goes_on(spec, seen.journal, self.run_id)
        if back:
            self.undoes = seen.journal.operation["undoing"].get("run")
            spec = undo.before(spec, seen.journal)
        ctx = Context(
            self.client,
            spec,
            PROFILES[spec.engine],
            self.who,
            run_id=self.run_id,
            seconds=self.seconds,
            carry=self.carry,
        )
        self.carry = ctx.carry
        ctx.seen = replace(seen, names=names_of(spec), sql_port=spec.sql_port)
        if back and self.undoes != self.run_id:
            why = seen.journal.operation["undoing"]
            ctx.say(f"{why['step']} failed ({why['reason']}) in the run before: goes on rolling back to {spec.image}")
        # A removal asks the engine only whether it holds tables; without protection nobody needs its answer.
        if self.state == "present" or spec.deletion_protection:
            ctx.seen = observe.ask_engine(ctx.engine, ctx.seen)
        return ctx

    def plan(self, ctx: Context, *, look: bool = True) -> Plan:
        """The plan with the gates of its first disruptive step; refuses what must not be done before anything is touched."""
        if self.state == "absent":
            return self._removal(ctx, look)
        if not self.volumes_only and rolling.asks_what_is_held(ctx.spec, ctx.seen, ctx.profile):
            with contextlib.suppress(EngineError):  # then the journal's word is the best there is
                held = ctx.engine.setting("cluster.preserve_downgrade_option")
                ctx.seen = replace(ctx.seen, journal=rolling.with_hold(ctx.seen.journal, held))
        spec, seen = ctx.spec, ctx.seen
        planned.refuse_other_storage(spec, seen)
        if seen.namespace is not None and not usable(seen.namespace):
            raise ClusterError(
                f"namespace {spec.namespace} is being deleted. Nothing was changed. Run again when it is gone.",
                "namespace_missing",
            )
        adding = planned.ordinals_without_volume(spec, seen)
        # A map that is missing or was emptied costs this one read more; what its lines should say only the nodes' labels could tell.
        places = spec.locality == "zone" and not (seen.objects["ConfigMap"].get(ctx.names.topology) or {}).get("data")
        nodes = self._kube_nodes(spec, seen) if adding or places else None
        if seen.statefulset is None and not seen.pods:
            spec = ctx.spec = placement.decided(spec, nodes)
        if nodes is not None and not self.volumes_only and spec.storage == "dynamic":
            present.refuse_few_nodes(spec, nodes)
        expands = spec.storage == "local" or not growing.behind(spec, seen) or self._expands(seen)
        plan = present.present(
            spec, seen, ctx.profile, kube_nodes=nodes, expands=expands, volumes_only=self.volumes_only
        )
        if self.volumes_only:
            plan = self._volumes_alone(ctx, plan)
        if plan.steps and look:
            self._refuse_foreign(ctx, plan)
            if seen.namespace is not None:
                rights.refuse_missing(self.client, plan, spec.namespace)
        return self._gated(ctx, plan)

    def _removal(self, ctx: Context, look: bool) -> Plan:
        """The plan that takes the cluster away, judged once: before the first of it goes."""
        spec, seen = ctx.spec, ctx.seen
        there = usable(seen.namespace) and seen.statefulset is None and not seen.objects["ConfigMap"]
        lock = there and self.client.get("Lease", ctx.names.lock, ctx.names.namespace) is not None
        plan = absent.absent(spec, seen, volumes_only=self.volumes_only, lock=lock)
        if plan.steps and spec.volumes in ("archive", "wipe") and seen.volumes and not usable(seen.namespace):
            raise ClusterError(
                f"namespace {spec.namespace}, in which pods would {spec.volumes} the volumes, does not exist or is being deleted. "
                "Nothing was changed. Make it, or set volumes to delete to drop the API objects only.",
                "namespace_missing",
            )
        # Pods that lost their StatefulSet serve on; those of a removal that was interrupted were judged when it began.
        orphans = seen.pods and seen.journal.operation.get("name") != "remove"
        if plan.steps and (seen.statefulset is not None or orphans):
            judged = [gates.confirmed(spec.name, spec.confirm), remove.protected(ctx)]
            plan = replace(plan, gates=tuple(judged))
            ctx.prove(judged, plan.steps[0])
        if plan.steps and look:
            rights.refuse_missing(self.client, plan, spec.namespace)
        return plan

    def _volumes_alone(self, ctx: Context, plan: Plan) -> Plan:
        """What of the plan makes volumes, and the namespace that their claims need."""
        kept = tuple(step for step in plan.steps if step.known.volumes or step.id.startswith("create/Namespace"))
        name = ctx.spec.name
        return replace(
            plan,
            steps=kept,
            remaining=(),
            headline=f"{name}: {len(kept)} volumes to make" if kept else f"{name}: nothing to do",
            changes={
                key: value for key, value in plan.changes.items() if key.startswith(("PersistentVolume/", "Namespace/"))
            },
        )

    def _refuse_foreign(self, ctx: Context, plan: Plan) -> None:
        """ClusterError when something that the plan makes exists and is not this cluster's."""
        for step in plan.steps:
            if step.verb == "create" and not step.id.startswith("create/Namespace"):
                create.refuse_foreign(
                    ctx,
                    step.facts.get("object")
                    or {"kind": "StatefulSet", "metadata": {"name": ctx.names.name, "namespace": ctx.names.namespace}},
                )
            elif step.verb == "volume":
                create.refuse_foreign(
                    ctx, {"kind": "PersistentVolume", "metadata": {"name": ctx.names.volume(step.facts["ordinal"])}}
                )

    def _gated(self, ctx: Context, plan: Plan) -> Plan:
        """The plan with the gates of its first gated step judged on what was just seen."""
        step = next((step for step in plan.steps if DEEDS[step.verb].before), None)
        silent = ctx.seen.nodes is None and not ctx.seen.initialized
        if step is None or (silent and step.disruptive):
            return plan
        node = ctx.seen.node_of(step.pod)
        going_on = (
            node is not None and node.is_decommissioning and (step.operation == "scale_in" or step.verb == "renew")
        )
        judged = gates.judge(DEEDS[step.verb].gates(ctx, step), ctx.spec.waive)
        ahead = plan.steps[: plan.steps.index(step)]
        if not going_on and all(item.known.harmless for item in ahead):
            ctx.prove([gate for gate in judged if not gate.mends], step)
        return replace(plan, gates=tuple(judged))

    def _expands(self, seen: Observed) -> bool:
        """Whether the claims' storage class expands volumes; where it may not be read, the API server itself will say so."""
        names = {claim["spec"].get("storageClassName") for claim in seen.claims.values()} - {None, ""}
        try:
            found = [self.client.get("StorageClass", str(name)) or {} for name in sorted(map(str, names))]
        except KubeError as error:
            if error.status == 403:
                return True
            raise
        return bool(found) and all(item.get("allowVolumeExpansion") for item in found)

    def _kube_nodes(self, spec: Spec, seen: Observed) -> list[dict[str, t.Any]] | None:
        """Kubernetes nodes; None when they may not be listed but local_nodes names them."""
        try:
            return self.client.list("Node")[0]
        except KubeError as error:
            if error.status == 403 and (
                spec.local_nodes or spec.storage == "dynamic" or not planned.ordinals_without_volume(spec, seen)
            ):
                return None
            raise

    def _work(self, ctx: Context, plan: Plan, first: Plan) -> dict[str, t.Any]:
        """Execute the steps; a slice that ends early says so."""
        operation = next((step.operation for step in plan.steps if step.operation), "")
        queue = list(plan.steps)
        undoing = self._undoing(ctx)
        if first is not plan:
            self.done += [
                step.id
                for step in first.steps
                if step.id.startswith("create/Namespace") and step.id not in {item.id for item in queue}
            ]
        while queue:
            step = queue[0]
            batch = _together(queue)
            try:
                ended = self._try(ctx, step, first, functools.partial(self._do, ctx, plan, batch))
            except ClusterError as error:
                if not undo.begins(ctx, step, error):
                    raise
                return self._work(ctx, self.plan(ctx, look=False), first)
            if not ended:
                # The journal would still name the step before, and the next slice would do that one again.
                self._note(ctx, plan, step)
                if undoing:
                    undo.pauses(ctx)
                return self._result(ctx, plan, first, finished=False, at=step)
            queue = queue[len(batch) :]
            if step.verb == "scale_in" and any(item.verb == "scale_out" for item in queue):
                # What an earlier run left of a pod that is wanted again: its volume is another one now, or none.
                return self._work(ctx, self.plan(ctx, look=False), first)
            self._say_how_far(ctx, step, [*queue, *(plan.remaining if plan.held else ())])
        if operation and self.state == "present" and not self.volumes_only:
            back = any(step.verb == "recommission" for step in plan.steps)
            outcome = "rolled back" if undoing else "held" if plan.held else "undone" if back else "done"
            journal = ordered(ctx).timed(self.times)
            if operation == "replace_node":
                journal = journal.replaced(str(journal.operation.get("pod")))
            ctx.write_journal(journal.end(utc(), outcome))
        if self.state == "present":
            ctx.look()
            deep = ctx.deep() if ctx.seen.nodes else None
            self.whole = deep.wholeness(ctx.seen).whole if deep else None
        if undoing:
            down = rollout.still_down(ctx)
            who = f"{', '.join(down)} is still down, and every other pod" if down else "every pod"
            raise ClusterError(
                f"{undoing['msg']} It was rolled back: {who} runs {ctx.spec.image} as before.",
                undoing["reason"],
                step=undoing["step"],
                node=undoing.get("node"),
                rolled_back=True,
                steps=self.done,
                plan=first.result(),
                progress=ctx.lines,
            )
        if any(step.known.rolls for step in plan.steps):
            rollout.refuse_down(ctx, steps=self.done, plan=first.result(), progress=ctx.lines)
        return self._result(ctx, plan, first, finished=True)

    def _undoing(self, ctx: Context) -> dict[str, t.Any]:
        """Why this run goes back, as the journal is to have it; empty where it does not, whatever a run that was killed had begun."""
        noted = ctx.seen.journal.operation.get("undoing") or {}
        if noted.get("run") not in (self.run_id, self.undoes):
            return {}
        return {**{key: value for key, value in noted.items() if key != "paused"}, "run": self.run_id}

    def _say_how_far(self, ctx: Context, step: Step, left: t.Sequence[Step]) -> None:
        """After a pod: how many are done, and about how long the others take."""
        if step.operation not in ("upgrade", "reconfigure") or not step.pod:
            return
        count = sum(item.id.startswith(f"{step.operation}/") for item in left)
        known = [*ctx.seen.journal.operation.get("steps", ()), *self.times]
        took = [item["seconds"] for item in known if item["step"].startswith(f"{step.operation}/")]
        total = min(ctx.seen.replicas, ctx.spec.replicas)
        if count and took:
            ctx.say(f"{total - count} of {total} pods done   about {about(count * sum(took) / len(took))} left")

    def _do(self, ctx: Context, plan: Plan, batch: t.Sequence[Step]) -> None:
        """One step, or all volumes at once."""
        step = batch[0]
        self._note(ctx, plan, step)
        at = self._at(ctx, step)
        DEEDS[step.verb].do(ctx, batch)
        self._ended([item.id for item in batch], at)
        if step.verb in ("scale_in", "recommission"):
            journal = ctx.seen.journal
            ctx.write_journal(journal.left(step.pod) if step.verb == "scale_in" else journal.stays(step.pod))
        if step.known.look:
            ctx.look()

    def _try(self, ctx: Context, step: Step, first: Plan, act: t.Callable[[], None]) -> bool:
        """Whether C(act) came to its end in this slice; its failure gets the run's fields."""
        try:
            ctx.untouched = True
            ctx.check_time()
            ctx.untouched = False
            act()
            if step.known.writes:
                self._did(ctx)
            return True
        except Paused:
            if step.known.writes and not ctx.untouched:
                self._did(ctx)
            return False
        except (EngineError, KubeError) as error:
            told = {"steps": self.done, "plan": first.result(), "progress": ctx.lines}
            raise failure(error, step.id, step.pod, **told) from error
        except ClusterError as error:
            error.facts["step"] = error.facts.get("step") or step.id
            error.facts.update(steps=self.done, plan=first.result(), progress=ctx.lines)
            raise

    def _note(self, ctx: Context, plan: Plan, step: Step) -> None:
        """Intent before the deed: what this run is about to do, and where it stands."""
        if not plan.writes or self.state != "present" or self.volumes_only:
            return
        facts: dict[str, t.Any] = {"step": step.id, "image": ctx.spec.image, "replicas": ctx.spec.replicas}
        if step.id == "close" or not step.operation:
            return
        name, journal = step.operation, ctx.seen.journal.timed(self.times)
        if step.verb == "scale_in":
            pods = {item.pod for item in plan.steps if item.verb == "scale_in"} | set(journal.leaving_pods)
            journal = replace(journal, leaving={"pods": sorted(pods), "replicas": ctx.spec.replicas})
        self.times = []
        facts["at_step"] = self._at(ctx, step)
        facts.update(step.facts.get("remember", {}))
        if "lost" in step.facts:
            journal = journal.replaces(step.facts["lost"].kept(), self.who, utc())
        while journal.operation and journal.operation.get("name") != name:  # one may be within another
            # A repair comes between, or is interrupted itself: the one may still be undone, the other goes on.
            goes_on = {name, journal.operation["name"]}.intersection(REPAIRS) or any(
                item.operation == journal.operation.get("name") for item in plan.steps[plan.steps.index(step) :]
            )
            journal = journal.end(utc(), "interrupted" if goes_on else "done")
        if journal.operation.get("undoing"):
            facts["undoing"] = self._undoing(ctx)
        begins = journal.operation.get("name") != name
        if name in ("upgrade", "reconfigure") and (begins or "from" not in journal.operation):
            facts["from"] = undo.origin(ctx.seen, name)
        if begins:
            origin = facts.get("from") or {"image": ctx.seen.image}
            facts["was"] = {"image": origin.get("image"), "replicas": ctx.seen.replicas}
        ctx.write_journal(journal.begin(name, self.who, utc(), **facts))

    def _result(
        self, ctx: Context, plan: Plan, first: Plan, *, finished: bool, at: Step | None = None
    ) -> dict[str, t.Any]:
        steps = [step.id for step in plan.steps] if self.check else self.done
        found = answer.answer(ctx, first, steps, check=self.check, finished=finished, at=at)
        return {
            **found,
            # A step in whose middle this slice ends may have done much already.
            "changed": found["changed"] or (self.changed and not self.check),
            "cluster": {**answer.summary(ctx), "ranges_whole": self.whole},
            "server": self.client.server,
            "context": self.client.context,
            "requests": dict(self.client.counts),
            "seconds": round(time.monotonic() - self.started, 1),
        }


def _together(queue: t.Sequence[Step]) -> t.Sequence[Step]:
    """The first step, with those of its verb that follow it where such are done at once."""
    verb = queue[0].verb
    return list(itertools.takewhile(lambda item: item.verb == verb, queue)) if DEEDS[verb].together else queue[:1]


def usable(namespace: t.Mapping[str, t.Any] | None) -> bool:
    """Whether things can be made in it: it exists (or we may not look) and is not on its way out."""
    return namespace is not None and not namespace.get("metadata", {}).get("deletionTimestamp")
