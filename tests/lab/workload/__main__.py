# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line: `python -m workload …` beside this package, or `python tests/lab/workload …`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import psycopg

from workload.control import Control, ask
from workload.run import Options, Workload, rows_line, verify_ledger
from workload.stats import Limits


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="workload", description=sys.modules["workload"].__doc__)
    commands = top.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="write and read until stopped, then look for every acknowledged row")
    verify = commands.add_parser("verify", help="look for the rows of a ledger")
    for command in (run, verify):
        command.add_argument("address", nargs="+", help="host:port or postgresql:// URL; several are taken in turn")
        command.add_argument("--statement-seconds", type=float, default=5, help="limit of one attempt (default 5)")
        command.add_argument("--verify-seconds", type=float, default=30, help="limit of the search (default 30)")
        command.add_argument("--summary", type=Path, help="write the JSON summary here, not to stdout")
    run.add_argument("--connections", type=int, default=4)
    run.add_argument("--tables", type=int, default=12)
    run.add_argument("--rate", type=float, default=100, help="statements a second in all (default 100)")
    run.add_argument("--max-seconds", type=float, default=1800, help="ends by itself after this (default 1800)")
    run.add_argument("--phase", default="start", help="name of the first phase")
    run.add_argument("--control", type=Path, help="Unix socket for `phase`, `status` and `stop`")
    run.add_argument("--ledger", type=Path, help="file that gets a line for each acknowledged row, for `verify`")
    run.add_argument("--need-rows", type=int, help="acknowledged rows that every phase must have")
    run.add_argument("--need-gap", type=float, help="seconds that no gap between acknowledgements may exceed")
    run.add_argument("--need-retries", type=int, help="failed retries that no phase may exceed")
    verify.add_argument("--ledger", type=Path, required=True)

    for name, text in (("phase", "begin a phase"), ("status", "figures so far"), ("stop", "end the run")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--control", type=Path, required=True, help="socket of the running workload")
        if name == "phase":
            command.add_argument("name")
    return top


def main(arguments: list[str] | None = None) -> int:
    """0 all rows found; 1 rows lost or read wrong; 2 could not run; 3 a --need-… was not met."""
    given = parser().parse_args(arguments)
    try:
        return {"run": run, "verify": verify}.get(given.command, control)(given)
    except (psycopg.Error, OSError) as error:
        print(f"workload: {error}", file=sys.stderr)
        return 2


def run(given: argparse.Namespace) -> int:
    """`run`."""
    workload = Workload(
        Options(
            given.address, given.connections, given.tables, given.rate, given.statement_seconds,
            verify_seconds=given.verify_seconds, max_seconds=given.max_seconds, phase=given.phase, ledger=given.ledger,
            limits=Limits(given.need_rows, given.need_gap, given.need_retries),
        )
    )  # fmt: skip
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: workload.stopped.set())
    workload.start()
    service = Control(workload, given.control) if given.control else None
    # Waiting in slices: a signal's handler runs only between waits.
    while not workload.stopped.wait(0.2):
        pass
    summary = workload.finish()
    if service:
        service.close()
    emit(given.summary, summary.as_dict())
    print("\n".join(summary.lines()), file=sys.stderr)
    return summary.exit_code


def verify(given: argparse.Namespace) -> int:
    """`verify`."""
    found = verify_ledger(
        given.ledger,
        Options(given.address, statement_seconds=given.statement_seconds, verify_seconds=given.verify_seconds),
    )
    emit(given.summary, found.as_dict())
    print(rows_line(found), file=sys.stderr)
    return 1 if found.lost else 0


def control(given: argparse.Namespace) -> int:
    """`phase`, `status`, `stop`."""
    request = {"command": given.command} | ({"name": given.name} if given.command == "phase" else {})
    answer = ask(given.control, request)
    print(json.dumps(answer))
    return 2 if "error" in answer else 0


def emit(target: Path | None, data: dict[str, object]) -> None:
    """The JSON summary."""
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    if target:
        target.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    sys.exit(main())
