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
from . import absent, gates, growing, lock, observe, placement, present, rights, undo
from . import volumes as planned
from .context import Context, Paused, utc
from .errors import ClusterError
from .journal import Journal
from .manifests import names_of
from .names import Names
from .observe import Observed
from .operations import create, grow, initialize, lost, maintenance, members, remove, rollout, stamp, volumes
from .plan import Plan, Step
from .progress import about
from .spec import Spec, resolve

if t.TYPE_CHECKING:
    from .._kube.client import Client


def _close(ctx: Context, step: Step) -> None:
    """The end of an operation whose run was killed right after its last step, and of orders to leave that nobody gives any more."""
    ctx.write_journal(_ordered(ctx).end(utc(), "done").replaced(step.pod))


def _ordered(ctx: Context) -> Journal:
    """The journal with only those pods still leaving that are there, unless they are wanted and known to stay; and replaced only those that are there.

    One that is wanted and still marked, or of which a silent engine tells nothing, is put back by a later run: this one's size is remembered.
    """
    journal, expected = ctx.seen.journal, ctx.seen.expected_pods()
    for pod in journal.leaving_pods:
        node = ctx.seen.node_of(pod)
        stays = pod in expected[: ctx.spec.replicas] and node is not None and not node.is_decommissioning
        if stays or pod not in expected:
            journal = journal.left(pod)
    for pod in set(journal.replacing).difference(expected):
        journal = journal.replaced(pod)
    return replace(journal, leaving={**journal.leaving, "replicas": ctx.spec.replicas}) if journal.leaving else journal


DO: dict[str, t.Callable[[Context, Step], None]] = {
    "create": create.create,
    "repair": create.mend,
    "delete": create.delete,
    "settle": create.settle,
    "close": _close,
    "pause": create.pause,
    "resume": create.pause,
    "reclaim": volumes.reclaim,
    "reuse": volumes.reuse,
    "drop": volumes.drop,
    "template": grow.template,
    "rebind": grow.rebind,
    "renew": grow.renew,
    "stamp": lambda ctx, _step: stamp.stamp(ctx),
    "initialize": initialize.initialize,
    "remember": initialize.remember,
    "scale_out": members.scale_out,
    "scale_in": members.scale_in,
    "recommission": members.recommission,
    "preserve": rollout.preserve,
    "prepull": rollout.prepull,
    "upgrade": rollout.roll,
    "reconfigure": rollout.roll,
    "revert": rollout.revert,
    "finalize": rollout.finalize,
    "release": rollout.finalize,
    "leave": lost.leave,
    "detach": lost.detach,
    "clear": lost.clear,
    "rejoin": lost.rejoin,
    "empty": lost.empty,
    "extend": maintenance.extend,
    "restore": maintenance.restore,
    "cordon": maintenance.cordon,
    "uncordon": maintenance.uncordon,
    "evict": maintenance.evict,
    "kept": maintenance.kept,
    "return": maintenance.come_back,
    "whole": maintenance.whole,
    "remove/statefulset": remove.statefulset,
    "remove/pods": remove.pods,
    "remove/objects": remove.objects,
    "remove/claims": remove.claims,
    "remove/volumes": remove.local_volumes,
    "remove/journal": remove.journal,
    "remove/namespace": remove.namespace,
    "remove/lock": remove.lock,
}

# Steps that are done all at once where they follow each other.
TOGETHER: dict[str, t.Callable[[Context, t.Sequence[Step]], None]] = {
    "volume": volumes.make,
    "free": volumes.take_back,
    "expand": grow.expand,
}

# The gates before a step, by its verb.
GATES: dict[str, t.Callable[[Context, Step], list[gates.Gate]]] = {
    "initialize": initialize.before,
    "reclaim": volumes.before,
    "rebind": volumes.before,
    "renew": grow.before_renew,
    "scale_in": members.before,
    "upgrade": rollout.before,
    "reconfigure": rollout.before,
    "revert": rollout.before,
    "finalize": rollout.before_final,
    "leave": lost.before,
    "detach": lost.before,
    "evict": maintenance.before,
}
REPAIRS = ("replace_node", "maintain_node")  # what is done for its own sake in the middle of another operation
# After these the next step begins with a fresh look.
LOOK_AFTER = (
    "create",
    "initialize",
    "remember",
    "reclaim",
    "template",
    "expand",
    "rebind",
    "renew",
    "scale_out",
    "scale_in",
    "upgrade",
    "reconfigure",
    "revert",
    "recommission",
    "leave",
    "detach",
    "rejoin",
    "empty",
    "evict",
    "return",
)
# Steps that change nothing the gates of a later step judge.
HARMLESS = (
    "create",
    "repair",
    "delete",
    "remember",
    "stamp",
    "template",
    "expand",
    "resume",
    "preserve",
    "prepull",
    "extend",
    "restore",
    "cordon",
)


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
        self.carry = carry
        self.kept = bool((carry or {}).get("locked"))  # whether the slice before kept the lock for this one
        self.client, self.asked, self.state, self.check = client, asked, state, check
        self.who, self.run_id, self.seconds, self.volumes_only, self.sliced = who, run_id, seconds, volumes_only, sliced
        self.started = time.monotonic()
        self.done: list[str] = []
        self.times: list[dict[str, t.Any]] = []  # of the steps done, not yet in the journal
        self.whole: bool | None = (
            None  # whether all ranges were whole when the work was done; not asked when there was none
        )

    # ---- the way through

    def go(self) -> dict[str, t.Any]:
        """The module's result. ClusterError and KubeError carry what the module fails with."""
        try:
            return self.slice()
        finally:
            if (
                self.kept
            ):  # this slice ended before it came so far as to take the lock again: refused, or nothing left to do
                with contextlib.suppress(KubeError):
                    lock.Lock(self.client, Names(self.asked["name"], self.asked["namespace"]), self.holder).release()

    @property
    def holder(self) -> str:
        """As the lock knows this run."""
        return f"{self.who}/{self.run_id}"

    def slice(self) -> dict[str, t.Any]:
        """One slice of it."""
        ctx = self._context()
        plan = self.plan(ctx)
        if self.check or not plan.steps:
            return self._result(ctx, plan, plan, finished=True)
        if not plan.writes:
            return self._work(ctx, plan, plan)
        if ctx.seen.namespace is None and self.state == "present":
            # The lock needs its namespace; making it is the one step that must come first.
            create.create(ctx, plan.steps[0])
            ctx.look()

        def work() -> dict[str, t.Any]:
            if self.state == "present":
                ctx.look()
            else:
                ctx.look_at_objects()
            return self._work(ctx, self.plan(ctx, look=False), plan)

        if ctx.seen.namespace is None:
            return work()  # volumes of a cluster whose namespace is gone: there is nothing left to hold a lock in
        result = locked(self, ctx, work)
        if self.state == "absent" and not result["in_progress"] and not self.volumes_only:
            self.client.delete("Lease", ctx.names.lock, ctx.names.namespace)
        return result

    def _context(self) -> Context:
        """Look once, then lay what was asked over what is remembered."""
        names = Names(self.asked["name"], self.asked["namespace"], self.asked.get("cluster_domain", "cluster.local"))
        seen = observe.look_at_objects(self.client, names, volumes=self.asked.get("storage") != "dynamic")
        remembered = seen.remembered
        if self.state == "absent" and seen.statefulset is None:
            remembered = seen.removed_options or remembered or {}
        # Volumes alone need an image only for the pods that make their directories.
        required = (
            (("image",) if self.asked.get("local_pv_prepare", "pod") == "pod" else ())
            if self.volumes_only
            else self.required
        )
        spec = resolve(self.asked, remembered, required)
        if self.state == "absent" and "operations" not in self.asked:
            spec = replace(spec, values={**spec.values, "operations": ("remove",)})
        if (seen.journal.operation.get("undoing") or {}).get("run") == self.run_id:
            spec = undo.before(spec, seen.journal)  # an earlier slice of this run has begun to go back
        ctx = Context(
            self.client,
            spec,
            PROFILES[spec.engine],
            self.who,
            run_id=self.run_id,
            seconds=self.seconds,
            carry=self.carry,
        )
        ctx.seen = replace(seen, names=names_of(spec), sql_port=spec.sql_port)
        # A removal asks the engine only whether it holds tables; without protection nobody needs its answer.
        if self.state == "present" or spec.deletion_protection:
            ctx.seen = observe.ask_engine(ctx.engine, ctx.seen)
        return ctx

    def plan(self, ctx: Context, *, look: bool = True) -> Plan:
        """The plan with the gates of its first disruptive step; refuses what must not be done before anything is touched."""
        spec, seen = ctx.spec, ctx.seen
        if self.state == "absent":
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
        if seen.namespace is not None and not usable(seen.namespace):
            raise ClusterError(
                f"namespace {spec.namespace} is being deleted. Nothing was changed. Run again when it is gone.",
                "namespace_missing",
            )
        adding = planned.ordinals_without_volume(spec, seen)
        places = (
            spec.locality == "zone" and "locality" in spec.asked and ctx.names.topology not in seen.objects["ConfigMap"]
        )
        nodes = self._kube_nodes(spec, seen) if adding or places else None
        if seen.statefulset is None and not seen.pods:
            spec = ctx.spec = placement.decided(spec, nodes)
        if nodes is not None and not self.volumes_only and spec.storage == "dynamic":
            present.refuse_few_nodes(spec, nodes)
        expands = spec.storage == "local" or not growing.behind(spec, seen) or self._expands(seen)
        plan = present.present(spec, seen, ctx.profile, kube_nodes=nodes, expands=expands)
        if self.volumes_only:
            kept = tuple(
                step
                for step in plan.steps
                if step.id.split("/")[0] in ("volume", "reuse", "free", "create")
                and (step.id.startswith("create/Namespace") or not step.id.startswith("create/"))
            )
            plan = replace(
                plan,
                steps=kept,
                remaining=(),
                headline=f"{spec.name}: {len(kept)} volumes to make" if kept else f"{spec.name}: nothing to do",
                changes={
                    key: value
                    for key, value in plan.changes.items()
                    if key.startswith(("PersistentVolume/", "Namespace/"))
                },
            )
        if plan.steps and look:
            self._refuse_foreign(ctx, plan)
            if seen.namespace is not None:
                rights.refuse_missing(self.client, plan, spec.namespace)
        return self._gated(ctx, plan)

    def _refuse_foreign(self, ctx: Context, plan: Plan) -> None:
        """ClusterError when something that the plan makes exists and is not this cluster's."""
        for step in plan.steps:
            if step.id.startswith("create/") and not step.id.startswith("create/Namespace"):
                create.refuse_foreign(
                    ctx,
                    step.facts.get("object")
                    or {"kind": "StatefulSet", "metadata": {"name": ctx.names.name, "namespace": ctx.names.namespace}},
                )
            elif step.id.startswith("volume/"):
                create.refuse_foreign(
                    ctx, {"kind": "PersistentVolume", "metadata": {"name": ctx.names.volume(step.facts["ordinal"])}}
                )

    def _gated(self, ctx: Context, plan: Plan) -> Plan:
        """The plan with the gates of its first gated step judged on what was just seen."""
        step = next((step for step in plan.steps if _verb(step) in GATES), None)
        silent = ctx.seen.nodes is None and not ctx.seen.initialized
        if step is None or (silent and _verb(step) != "initialize"):
            return plan
        node = ctx.seen.node_of(step.pod)
        going_on = (
            node is not None and node.is_decommissioning and (step.operation == "scale_in" or _verb(step) == "renew")
        )
        judged = gates.judge(GATES[_verb(step)](ctx, step), ctx.spec.waive)
        ahead = plan.steps[: plan.steps.index(step)]
        if not going_on and all(_verb(item) in HARMLESS for item in ahead):
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
                return self._result(ctx, plan, first, finished=False, at=step)
            queue = queue[len(batch) :]
            if _verb(step) == "scale_in" and any(_verb(item) == "scale_out" for item in queue):
                # What an earlier run left of a pod that is wanted again: its volume is another one now, or none.
                return self._work(ctx, self.plan(ctx, look=False), first)
            self._say_how_far(ctx, step, [*queue, *(plan.remaining if plan.held else ())])
        undoing = ctx.seen.journal.operation.get("undoing") or {}
        if operation and self.state == "present" and not self.volumes_only:
            back = any(_verb(step) == "recommission" for step in plan.steps)
            outcome = "rolled back" if undoing else "held" if plan.held else "undone" if back else "done"
            took = round(time.monotonic() - self.started, 1)
            journal = _ordered(ctx).timed(self.times)
            if operation == "replace_node":
                journal = journal.replaced(str(journal.operation.get("pod")))
            ctx.write_journal(journal.end(utc(), outcome, took=took))
        if self.state == "present":
            ctx.look()
            deep = ctx.deep() if ctx.seen.nodes else None
            self.whole = deep.wholeness(ctx.seen).whole if deep else None
        if undoing.get("run") == self.run_id:
            raise ClusterError(
                f"{undoing['msg']} It was rolled back: every pod runs {ctx.spec.image} as before.",
                undoing["reason"],
                step=undoing["step"],
                node=undoing.get("node"),
                rolled_back=True,
                steps=self.done,
                plan=first.result(),
                progress=ctx.lines,
            )
        if any(_verb(step) in ("upgrade", "reconfigure") for step in plan.steps):
            rollout.refuse_down(ctx, steps=self.done, plan=first.result(), progress=ctx.lines)
        return self._result(ctx, plan, first, finished=True)

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
        step, began = batch[0], time.time()
        self._note(ctx, plan, step)
        known = ctx.seen.journal.operation.get("at_step") or {}
        if known.get("id") == step.id and known.get("run") == self.run_id:
            began = float(known["since"])  # in an earlier slice
        if _verb(step) in TOGETHER:
            TOGETHER[_verb(step)](ctx, batch)
        else:
            (DO.get(step.id) or DO[_verb(step)])(ctx, step)
        self.done += [item.id for item in batch]
        if _verb(step) in ("scale_in", "recommission"):
            journal = ctx.seen.journal
            ctx.write_journal(journal.left(step.pod) if _verb(step) == "scale_in" else journal.stays(step.pod))
        seconds = round(max(0.0, time.time() - began), 1)
        self.times += [{"step": item.id, "at": utc(began), "seconds": seconds} for item in batch]
        if _verb(step) in LOOK_AFTER:
            ctx.look()

    def _try(self, ctx: Context, step: Step, first: Plan, act: t.Callable[[], None]) -> bool:
        """Whether C(act) came to its end in this slice; its failure gets the run's fields."""
        try:
            ctx.check_time()
            act()
            return True
        except Paused:
            return False
        except EngineError as error:
            raise ClusterError(
                f"{error}. What had been done until then stays; run again to continue.",
                f"engine_{error.reason}",
                step=step.id,
                node=error.pod or None,
                steps=self.done,
                plan=first.result(),
                progress=ctx.lines,
            ) from error
        except KubeError as error:
            raise ClusterError(
                f"{error}. What had been done until then stays; run again to continue.".replace("..", "."),
                f"api_{error.reason}".lower(),
                step=step.id,
                node=step.pod or None,
                status=error.status,
                steps=self.done,
                plan=first.result(),
                progress=ctx.lines,
            ) from error
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
        if _verb(step) == "scale_in":
            pods = {item.pod for item in plan.steps if _verb(item) == "scale_in"} | set(journal.leaving_pods)
            journal = replace(journal, leaving={"pods": sorted(pods), "replicas": ctx.spec.replicas})
        self.times = []
        known = journal.operation.get("at_step") or {}
        if (known.get("id"), known.get("run")) != (step.id, self.run_id):
            facts["at_step"] = {"id": step.id, "run": self.run_id, "since": time.time()}
        facts.update(step.facts.get("remember", {}))
        if "lost" in step.facts:
            journal = journal.replaces(step.facts["lost"].kept(), self.who, utc())
        if journal.operation and journal.operation.get("name") != name:
            # A repair comes between, or is interrupted itself: the one may still be undone, the other goes on.
            goes_on = {name, journal.operation["name"]}.intersection(REPAIRS) or any(
                item.operation == journal.operation.get("name") for item in plan.steps[plan.steps.index(step) :]
            )
            journal = journal.end(utc(), "interrupted" if goes_on else "done")
        if (journal.operation.get("undoing") or {}).get("run") not in (None, self.run_id):
            facts["undoing"] = {}  # of a run that went back and was killed; this one goes where it was asked to
        if name in ("upgrade", "reconfigure") and (
            "from" not in journal.operation or journal.operation.get("name") != name
        ):
            facts["from"] = undo.origin(ctx.seen, name)
        ctx.write_journal(journal.begin(name, self.who, utc(), **facts))

    # ---- the answer

    def _result(
        self, ctx: Context, plan: Plan, first: Plan, *, finished: bool, at: Step | None = None
    ) -> dict[str, t.Any]:
        steps = [step.id for step in plan.steps] if self.check else self.done
        did = (
            "nothing to do"
            if not first.steps
            else ("would: " if self.check else "") + ", ".join(_shorten(steps))
            if steps
            else "waiting"
        )
        return {
            "changed": any(step != "settle" for step in steps),
            "steps": steps,
            "plan": first.result(),
            "plan_lines": first.lines(),
            "remaining": [step.id for step in first.remaining],
            "in_progress": not finished,
            "held": finished and first.held,
            "at": at.id if at else None,
            "carry": {} if finished else ctx.carry,
            "progress": ctx.lines,
            "figures": ctx.figures,
            "cluster": {**summary(ctx), "ranges_whole": self.whole},
            "did": did,
            "diff": first.diff(),
            "server": self.client.server,
            "context": self.client.context,
            "requests": dict(self.client.counts),
            "seconds": round(time.monotonic() - self.started, 1),
            "msg": f"{ctx.spec.name}: {did}"
            + ("" if finished else f"; still at {at.id if at else '?'}, run again to continue"),
        }


def _verb(step: Step) -> str:
    return step.id.split("/")[0]


def _together(queue: t.Sequence[Step]) -> t.Sequence[Step]:
    """The first step, with those of its verb that follow it where such are done at once."""
    verb = _verb(queue[0])
    return list(itertools.takewhile(lambda item: _verb(item) == verb, queue)) if verb in TOGETHER else queue[:1]


def usable(namespace: t.Mapping[str, t.Any] | None) -> bool:
    """Whether things can be made in it: it exists (or we may not look) and is not on its way out."""
    return namespace is not None and not namespace.get("metadata", {}).get("deletionTimestamp")


def locked(run: Run, ctx: Context, work: t.Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
    """C(work) under the cluster's lock. A slice that ends keeps it for the next one; everything else gives it up."""
    held = lock.Lock(run.client, ctx.names, run.holder)
    held.take(lambda: _describe(ctx.seen), ctx.say)
    run.kept = False
    ctx.lost = lambda: held.lost
    try:
        result = work()
    except BaseException:
        held.release()
        raise
    if result["in_progress"] and run.sliced:
        held.hold()
        result["carry"] = {**result["carry"], "locked": True}
    else:
        held.release()
    return result


def _shorten(steps: t.Sequence[str]) -> list[str]:
    """Step ids for one line: C(create ×5, initialize, upgrade ×3)."""
    verbs = [step.split("/")[0] for step in steps]
    return [verb if verbs.count(verb) == 1 else f"{verb} ×{verbs.count(verb)}" for verb in dict.fromkeys(verbs)]


def _describe(seen: Observed) -> str:
    """The operation under way, for whoever is refused because of it."""
    operation = seen.journal.operation
    moving = operation.get("moving") or {}
    left = f", {moving['left']} of {moving['first']} replicas left" if {"left", "first"} <= set(moving) else ""
    return " ".join(str(operation[key]) for key in ("name", "step") if operation.get(key)) + left


def summary(ctx: Context) -> dict[str, t.Any]:
    """The cluster in a few words; small, and without secrets."""
    seen = ctx.seen
    live = seen.live() if seen.nodes is not None else None
    ui = seen.objects["Service"].get(seen.names.ui)
    return {
        "name": ctx.spec.name,
        "namespace": ctx.spec.namespace,
        "replicas": seen.replicas,
        "image": seen.image,
        "ready": sum(observe.ready(pod) for pod in seen.pods.values()),
        "nodes_live": None if live is None else len(live),
        "version": live[0].build if live else None,
        "initialized": seen.initialized,
        "cluster_id": seen.cluster_id,
        "ui_node_port": ui["spec"]["ports"][0].get("nodePort") if ui else None,
    }
