# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The stages of ``make test``: what each runs and what it counts. A stage whose subject does not exist yet is skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import workspace as ws
from summary import FAILED, PASSED, SKIPPED, Check, from_go, from_junit

ENGINE = ws.REPO / "tests" / "lab" / "engine"
IMAGES = (
    "kwdb-standin:3.2.1",
    "kwdb-standin:3.2.2",
    "kwdb-standin:3.2.3-crash",
    "kwdb-standin:3.3.0",
    "bini-standin:release2.0",
)


@dataclass(frozen=True)
class Stage:
    """``work(log, echo)`` runs the stage; ``after_lab``: only when the lab's build no longer takes the processors;
    ``nodes``: it needs the cluster's nodes; ``newer``: it uses the newer Python; ``beside``: it mostly waits, and what follows
    does not mind its company up to the stage of this name."""

    name: str
    work: Callable[[Path, bool], list[Check]]
    after_lab: bool = False
    nodes: bool = False
    newer: bool = False
    beside: str = ""


def first() -> ws.Python:
    environment = ws.python("first")
    assert environment is not None  # `venv first` fails rather than say that there is none
    return environment


def _checked(name: str, argv: Sequence[object], log: Path, echo: bool, **options: object) -> Check:
    """A command that is one check: exit code 0 passes."""
    code = ws.run(argv, log, echo=echo, **options)
    return Check(name, PASSED) if code == 0 else Check(name, FAILED, f"exit code {code}: {ws.tail_of(log, 6)}")


def _pytest(
    log: Path, echo: bool, targets: Sequence[Path], *, environment: ws.Python, cwd: Path, path: Sequence[Path] = (),
    options: Sequence[str] = (), env: dict[str, str] | None = None, seconds: float = 1200,
) -> list[Check]:  # fmt: skip
    """pytest over the targets that exist, with its own count; ``path`` is what Python finds beside them."""
    there = [target for target in targets if target.exists()]
    if not there:
        return [Check(str(targets[0].name), SKIPPED, "does not exist yet")]
    junit = log.with_suffix(".xml")
    junit.unlink(missing_ok=True)
    variables = {
        **ws.ansible_env(environment),
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "KAIWUDB_LAB_BIN": str(ws.BIN),
        **(env or {}),
    }
    argv = [
        environment.venv / "bin" / "python",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--color=no",
        f"--junitxml={junit}",
    ]
    code = ws.run([*argv, *options, *there], log, cwd=cwd, env=variables, echo=echo, seconds=seconds)
    checks = from_junit([junit]) if junit.exists() else []
    if code not in (0, 1, 5) or (code == 1 and not any(check.outcome == FAILED for check in checks)):
        checks.append(Check("pytest", FAILED, f"exit code {code}: {ws.tail_of(log, 6)}"))
    return checks or [Check("pytest", SKIPPED, "no tests were collected")]


def lint(log: Path, echo: bool) -> list[Check]:
    environment, tree = first(), ws.sync_tree()
    tool = environment.venv / "bin"
    options = {"env": ws.ansible_env(environment, ws.TREE)}
    checks = [
        _checked("ruff", [tool / "ruff", "check", "--no-cache", "--output-format=concise", ws.REPO], log, echo),
        _checked(
            "ansible-lint (production)",
            [tool / "ansible-lint", "--offline", "--profile=production"],
            log,
            echo,
            cwd=tree,
            **options,
        ),
    ]
    if (tree / "changelogs" / "config.yaml").exists():
        checks.append(
            _checked("antsibull-changelog lint", [tool / "antsibull-changelog", "lint"], log, echo, cwd=tree, **options)
        )
    docs = [tool / "antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", "."]
    checks.append(_checked("antsibull-docs lint", docs, log, echo, cwd=tree, **options))
    checks.append(_importer(environment, log, echo))
    generator = ws.REPO / "tests" / "tools" / "generate.py"
    if generator.exists():
        checks.append(
            _checked("generated files are current", [tool / "python", generator, "--check"], log, echo, **options)
        )
    return checks


def _importer(environment: ws.Python, log: Path, echo: bool) -> Check:
    """galaxy-importer on the tarball: what Galaxy and Automation Hub would say to it (its ansible-lint has just run)."""
    name = "galaxy-importer"
    try:
        tarball = ws.build(environment, log)
    except ws.StageError as error:
        return Check(name, FAILED, str(error))
    config = ws.LAB / "galaxy-importer.cfg"
    config.write_text(
        "[galaxy-importer]\nCHECK_REQUIRED_TAGS = True\nCHECK_CHANGELOG = True\nRUN_ANSIBLE_LINT = False\n"
        "RUN_ANSIBLE_TEST = False\nANSIBLE_LOCAL_TMP = ~/.ansible/tmp\n",
        encoding="utf-8",
    )
    env = {**ws.ansible_env(environment), "GALAXY_IMPORTER_CONFIG": str(config)}
    work = ws.LAB / "importer"
    work.mkdir(exist_ok=True)
    before = len(log.read_text(encoding="utf-8", errors="replace"))
    check = _checked(
        name, [environment.venv / "bin" / "python", "-m", "galaxy_importer.main", tarball], log, echo, cwd=work, env=env
    )
    said = log.read_text(encoding="utf-8", errors="replace")[before:]
    if check.outcome == PASSED and "ERROR: " in said:
        return Check(name, FAILED, said[said.index("ERROR: ") :][:300])
    return check


def typing(log: Path, echo: bool) -> list[Check]:
    environment = first()
    ws.sync_tree()
    target = Path("ansible_collections/kaiwudb/kubernetes/plugins/module_utils")
    if not any((ws.TREE / target).rglob("*.py")):
        return [Check("mypy", SKIPPED, "plugins/module_utils does not exist yet")]
    argv = [
        environment.venv / "bin" / "mypy", "--strict", "--config-file", ws.REPO / "pyproject.toml",
        f"--cache-dir={ws.LAB / 'mypy'}", target,
    ]  # fmt: skip
    return [
        _checked("mypy --strict plugins/module_utils", argv, log, echo, cwd=ws.TREE, env=ws.ansible_env(environment))
    ]


def units(log: Path, echo: bool, which: str = "first") -> list[Check]:
    environment = ws.python(which)
    if environment is None:
        return [Check("units", SKIPPED, "no second, newer Python was found")]
    tree = ws.sync_tree()
    checks = _pytest(
        log, echo, [tree / "tests" / "unit"], environment=environment, cwd=tree, path=[ws.TREE],
        options=["-n", "2", "--import-mode=importlib"], seconds=600,
    )  # fmt: skip
    if which == "first" and (tree / "tests" / "unit" / "plugins").exists():
        checks.append(_ansible_test("units", environment, log, echo))
    return checks


def _ansible_test(command: str, environment: ws.Python, log: Path, echo: bool) -> Check:
    """``ansible-test units`` as one check: the same tests by the official runner."""
    shutil.rmtree(ws.COLLECTION / "tests" / "output", ignore_errors=True)
    argv = [
        environment.venv / "bin" / "ansible-test",
        command,
        "--local",
        f"--python={environment.venv.name.removeprefix('venv-')}",
    ]
    return _checked(f"ansible-test {command}", argv, log, echo, cwd=ws.COLLECTION, env=ws.ansible_test_env(environment))


def sanity(log: Path, echo: bool, which: str = "first") -> list[Check]:
    environment = ws.python(which)
    if environment is None:
        return [Check("sanity", SKIPPED, "no second, newer Python was found")]
    tree = ws.sync_tree()
    output = tree / "tests" / "output"
    shutil.rmtree(output, ignore_errors=True)
    version = environment.venv.name.removeprefix("venv-")
    argv = [
        environment.venv / "bin" / "ansible-test",
        "sanity",
        "--local",
        f"--python={version}",
        "--junit",
        "--color=no",
    ]
    code = ws.run(argv, log, cwd=tree, env=ws.ansible_test_env(environment), echo=echo, seconds=1500)
    checks = from_junit((output / "junit").glob("*.xml"))
    shutil.rmtree(output, ignore_errors=True)  # a rest of it would fail the next run
    if code and not any(check.outcome == FAILED for check in checks):
        checks.append(Check("ansible-test sanity", FAILED, f"exit code {code}: {ws.tail_of(log, 6)}"))
    return checks


def engine(log: Path, echo: bool) -> list[Check]:
    """go vet and the Go tests of the database's stand-in."""
    if not (ENGINE / "go.mod").exists():
        return [Check("engine", SKIPPED, "tests/lab/engine does not exist yet")]
    if not shutil.which("go"):
        return [Check("engine", FAILED, "Go is needed (https://go.dev)")]
    vet = _checked("go vet", ["go", "vet", "./..."], log, echo, cwd=ENGINE)
    events = log.with_suffix(".json")
    events.unlink(missing_ok=True)
    code = ws.run(["go", "test", "-json", "./..."], events, cwd=ENGINE, seconds=900)
    checks = from_go(events.read_text(encoding="utf-8", errors="replace").splitlines())
    if code and not any(check.outcome == FAILED for check in checks):
        checks.append(Check("go test", FAILED, f"exit code {code}: {ws.tail_of(events, 6)}"))
    return [vet, *checks]


def harness(log: Path, echo: bool) -> list[Check]:
    """The lab's own tests: API server, counter, summary, workload, local clusters, and the stand-in's honesty about data."""
    lab = ws.REPO / "tests" / "lab"
    return _pytest(
        log, echo, [lab / name for name in ("apiserver", "env", "workload", "local", "honesty")], environment=first(), cwd=ws.REPO,
        path=[ws.REPO, lab, lab / "apiserver", lab / "env"], options=["-n", "2", "-p", "plain_api", "--import-mode=importlib"],
    )  # fmt: skip


def conformance(log: Path, echo: bool) -> list[Check]:
    """The stand-in against the product's recorded answers; the list of all blocks is kept beside the logs."""
    lab = ws.REPO / "tests" / "lab"
    report = f"--conformance-report={log.with_suffix('.md')}"
    return _pytest(
        log, echo, [lab / "conformance"], environment=first(), cwd=ws.REPO, path=[ws.REPO, lab], options=[report], seconds=1500,
    )  # fmt: skip


def careless(log: Path, echo: bool) -> list[Check]:
    """The control: a careless script loses rows and turns its check red, with processes and with pods."""
    lab = ws.REPO / "tests" / "lab"
    env = {**ws.cluster_env(), "KAIWUDB_CARELESS_IMAGE": os.environ.get("KAIWUDB_IMAGE") or IMAGES[0]}
    return _pytest(
        log, echo, [lab / "careless"], environment=first(), cwd=ws.REPO, path=[ws.REPO, lab], options=["-n", "2"], env=env, seconds=1500,
    )  # fmt: skip


def modules(log: Path, echo: bool, which: str = "first") -> list[Check]:
    """The modules, installed from the tarball, against a kube-apiserver without nodes."""
    environment = ws.python(which)
    if environment is None:
        return [Check("modules", SKIPPED, "no second, newer Python was found")]
    tests = ws.REPO / "tests" / "integration"
    if not tests.exists():
        return [Check("modules", SKIPPED, "tests/integration does not exist yet")]
    ws.install(first(), log)
    lab = ws.REPO / "tests" / "lab"
    return _pytest(
        log, echo, [tests], environment=environment, cwd=ws.REPO, path=[ws.COLLECTIONS, lab / "apiserver"],
        options=["-n", "2", "--dist", "loadfile", "-p", "plain_api", "--import-mode=importlib", f"--ignore={tests / 'kind'}"],
    )  # fmt: skip


# They label the Kubernetes nodes of everybody, or take them away.
ALONE = ("test_zones.py", "test_maintain_node.py", "test_lost_worker.py")
# They take the longest: begun first, none of them is left to run alone at the end.
LONG = (
    "test_replace_node.py",
    "test_check_mode.py",
    "test_upgrades.py",
    "test_volumes.py",
    "test_highest_pod.py",
    "test_two_runs.py",
)


def behaviour(log: Path, echo: bool, alone: bool = False, thorough: bool = False) -> list[Check]:
    """What the modules do on the real cluster: check mode, idempotence, refusals, hopeless waits, two runs at once.

    alone: the tests that treat the cluster's own nodes, one after the other; else all but those, four files at a time.
    thorough: also those marked so, for which `make test` has no time.
    """
    tests = ws.REPO / "tests" / "integration" / "kind"
    if not tests.exists():
        return [Check("behaviour", SKIPPED, "tests/integration/kind does not exist yet")]
    environment = first()
    ws.install(environment, log)
    names = sorted(path.name for path in tests.glob("test_*.py"))
    together = [*LONG, *(name for name in names if name not in (*LONG, *ALONE))]
    options = ["--import-mode=importlib"]
    options += [] if alone else ["-n", "4", "--dist", "loadfile", "--no-loadscope-reorder"]
    options += [] if thorough else ["-m", "not thorough"]
    return _pytest(
        log, echo, [tests / name for name in (ALONE if alone else together)], environment=environment, cwd=ws.REPO,
        path=[ws.COLLECTIONS, ws.REPO / "tests" / "lab" / "apiserver"], options=options, env=ws.cluster_env(), seconds=2400,
    )  # fmt: skip


def faults(log: Path, echo: bool, part: str = "quick") -> list[Check]:
    """The matrices of kills, misoperations and faults, and the control, on the cluster under a workload; then tables and figures.

    part: ``quick`` for the marked part of each, ``all`` for every row.
    """
    lab = ws.REPO / "tests" / "lab"
    environment = first()
    ws.install(environment, log)
    record = ws.RESULTS / f"faults-{part}.jsonl"
    record.unlink(missing_ok=True)
    if part == "all" and not shutil.which("faketime"):  # wrong clocks; the quick part has none
        ws.run(
            ["sh", "-c", "apt-get install -qy faketime || { apt-get update -q && apt-get install -qy faketime; }"],
            log,
            seconds=300,
        )
    # Faults that disturb the Kubernetes cluster as a whole have it to themselves.
    parts = (
        (["-n", "4", "--dist", "loadgroup", "-m", "quick", "--every", "36"],)
        if part == "quick"
        else (["-n", "4", "--dist", "loadgroup", "-k", "not whole-"], ["-k", "whole-"])
    )
    checks = []
    for options in parts:
        checks += _pytest(
            log, echo, [lab / "faults"], environment=environment, cwd=ws.REPO,
            path=[ws.COLLECTIONS, ws.REPO, lab, lab / "apiserver"], options=["--import-mode=importlib", *options],
            env={**ws.cluster_env(), "KAIWUDB_COLLECTIONS": str(ws.COLLECTIONS), "KAIWUDB_FAULTS_RECORD": str(record)},
            seconds=1500 if part == "quick" else 5 * 3600,
        )  # fmt: skip
    told = _checked(
        "tables and figures", [environment.venv / "bin" / "python", lab / "faults" / "report.py", log.with_suffix(".md"), record,
                               *(["--retries"] if part == "all" else [])],
        log, echo,
    )  # fmt: skip
    return [*checks, told]


def lab_up(log: Path, echo: bool) -> list[Check]:
    """The cluster, and the images in it."""
    return [_checked("cluster", [ws.KIND / "up"], log, echo, seconds=2400), *images(log, echo)]


def images(log: Path, echo: bool) -> list[Check]:
    """Builds (or, for the real product, pulls) the database's images and loads them into the nodes."""
    named = [os.environ[name] for name in ("KAIWUDB_IMAGE", "KAIWUDB_UPGRADE_IMAGE") if os.environ.get(name)]
    wanted = list(dict.fromkeys(named))
    if len(named) < 2:  # what is not the product is the stand-in
        build = ENGINE / "image" / "build.sh"
        if not build.exists():
            return [Check("images", SKIPPED, "tests/lab/engine/image/build.sh does not exist yet")]
        built = _checked("build the stand-in's images", [build], log, echo, seconds=1200, env={"DOCKER_BUILDKIT": "0"})
        if built.outcome == FAILED:
            return [built]
        wanted += IMAGES
    for image in named:
        if ws.run(["docker", "image", "inspect", "-f", "{{.Id}}", image], log):
            pulled = _checked(f"pull {image}", ["docker", "pull", "-q", image], log, echo, seconds=900)
            if pulled.outcome == FAILED:
                return [pulled]
    return [_checked("load the images", [ws.KIND / "load", *wanted], log, echo, seconds=300)]


def molecule(scenario: str) -> Callable[[Path, bool], list[Check]]:
    """One Molecule scenario with the installed collection: converge, idempotence, verify."""

    def work(log: Path, echo: bool) -> list[Check]:
        if not (ws.REPO / "extensions" / "molecule" / scenario).is_dir():
            return [Check(scenario, SKIPPED, f"extensions/molecule/{scenario} does not exist yet")]
        environment = first()
        # Scenarios that share a state would otherwise keep it at one place, also two at a time.
        home = {"ANSIBLE_HOME": ws.LAB / "ansible" / scenario}
        env = {**ws.ansible_env(environment), **ws.cluster_env(), **home}
        argv = [environment.venv / "bin" / "molecule", "test", "-s", scenario]
        return [_checked(scenario, argv, log, echo, env=env, seconds=900)]

    return work


def demo(log: Path, echo: bool) -> list[Check]:
    """The article from its first line to its last."""
    script = ws.REPO / "tests" / "lab" / "demo" / "run"
    if not script.exists():
        return [Check("demo", SKIPPED, "tests/lab/demo/run does not exist yet")]
    environment = first()
    return [
        _checked("demo", [script], log, echo, env={**ws.ansible_env(environment), **ws.cluster_env()}, seconds=2400)
    ]


def _scenario(name: str, beside: str = "") -> Stage:
    return Stage(f"molecule-{name}", molecule(name), after_lab=True, nodes=True, beside=beside)


# The cheap ones first; what needs the cluster (or an undisturbed machine) after it is there. What measures times, gaps and
# retries on the cluster (behaviour, careless, faults, scale, upgrade) has nothing of the cluster beside it. What waits for
# Kubernetes nodes to go and come leaves room for what needs no cluster and installs nothing.
STAGES = (
    Stage("lint", lint),
    Stage("typing", typing),
    Stage("units", units),
    Stage("units-newer", lambda log, echo: units(log, echo, "newer"), newer=True),
    Stage("engine", engine),
    Stage("lab", lab_up, after_lab=True),
    Stage("modules", modules, after_lab=True),
    Stage("modules-newer", lambda log, echo: modules(log, echo, "newer"), after_lab=True, newer=True),
    Stage("harness", harness, after_lab=True),
    Stage("behaviour", behaviour, after_lab=True, nodes=True),
    Stage("conformance", conformance, after_lab=True, beside="behaviour-nodes"),
    Stage("sanity", sanity, beside="behaviour-nodes"),
    Stage("behaviour-nodes", lambda log, echo: behaviour(log, echo, alone=True), after_lab=True, nodes=True),
    Stage("careless", careless, after_lab=True, nodes=True),
    Stage("faults", faults, after_lab=True, nodes=True),
    _scenario("scale"),
    _scenario("upgrade"),
    _scenario("fleet", beside="molecule-prepare_ssh"),
    _scenario("volume_policy", beside="molecule-prepare_ssh"),
    *map(_scenario, ("local_pv", "deploy", "article_bini", "sql", "remove", "prepare_ssh")),
    Stage("sanity-newer", lambda log, echo: sanity(log, echo, "newer"), newer=True, beside="molecule-maintain_node"),
    *map(_scenario, ("placement", "replace_node", "maintain_node")),  # change the Kubernetes nodes of everybody
)
ON_DEMAND = (
    Stage("lab-images", images),
    Stage("demo", demo, after_lab=True),
    Stage("thorough", lambda log, echo: behaviour(log, echo, thorough=True), after_lab=True, nodes=True),
    Stage(
        "thorough-nodes", lambda log, echo: behaviour(log, echo, alone=True, thorough=True), after_lab=True, nodes=True
    ),
    Stage("faults-all", lambda log, echo: faults(log, echo, "all"), after_lab=True, nodes=True),
)
