# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m careless careless|careful [--kwbase BINARY | --image IMAGE]`: exit code 1 when rows were lost.

Local processes, or with --image pods of the cluster that KUBECONFIG names, in a namespace that is deleted afterwards.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from careless.kind_driver import KindDriver
from careless.local_driver import LocalDriver
from careless.scenarios import SCENARIOS, Driver
from local.cluster import Cluster, build_binary
from workload import Options, Workload
from workload.run import Summary


def measure(driver: Driver, scenario: str, rows: int = 300) -> Summary:
    """Writes at least `rows` rows, then again as many after the scenario has been played; looks for all of them.

    The workload pauses for the scenario: what is lost was acknowledged by a cluster in good health. A careless scenario
    may leave nobody to write to, so the second phase is given a bounded time and no minimum.
    """
    driver.await_whole()
    options = Options(driver.addresses(), rate=200, verify_seconds=10, statement_seconds=3, phase="before")
    workload = Workload(options)
    workload.start()
    try:
        if not workload.await_rows(rows, 60):
            raise RuntimeError(f"no {rows} rows in 60 s before the scenario: {workload.status()}")
        driver.await_whole()
        workload.phase(scenario)
        SCENARIOS[scenario](driver)
        workload.phase("after")
        workload.await_rows(rows, 15)
    finally:
        summary = workload.finish()
    return summary


def play_local(scenario: str, binary: Path | None) -> Summary:
    """With four processes of this binary, or of the stand-in as it is built now."""
    with tempfile.TemporaryDirectory() as place:
        binary = binary or build_binary(Path(place) / "kwbase")
        # The stand-in moves a replica every 2.5 s; this control is about data, not about patience.
        env = {"KWDB_LAB_MOVE_INTERVAL": "300ms"}
        with Cluster(binary.resolve(), Path(place) / "data", env=env) as cluster:
            driver = LocalDriver(cluster)
            driver.form()
            return measure(driver, scenario)


def play_pods(scenario: str, image: str) -> Summary:
    """With four pods; their namespace is deleted whatever happens."""
    driver = KindDriver(image, namespace=f"lab-{scenario}")
    try:
        driver.form()
        return measure(driver, scenario)
    finally:
        driver.close()


def main() -> int:
    """0 nothing lost; 1 rows lost."""
    parser = argparse.ArgumentParser(prog="careless", description=__doc__)
    parser.add_argument("scenario", choices=sorted(SCENARIOS))
    parser.add_argument("--kwbase", type=Path, help="binary (default: the stand-in, built from engine/)")
    parser.add_argument("--image", help="play it with pods of this image instead of processes")
    given = parser.parse_args()
    summary = play_pods(given.scenario, given.image) if given.image else play_local(given.scenario, given.kwbase)
    print("\n".join(summary.lines()))
    for table, error in summary.rows.unreadable.items():
        print(f"{table}: {error}")
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(main())
