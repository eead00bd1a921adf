"""The command: which rounds run, in which order, and what becomes of the results."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from . import programs, report, workloads
from .compare import compare
from .figures import Round
from .goals import goal_lines, losses
from .machine import (
    Cores,
    cache_folder,
    choose_cores,
    facts,
    raise_descriptor_limit,
    shortage,
)
from .measure import MeasurementError, measure, running
from .programs import Program, Site
from .workloads import Workload

__all__ = ["main", "rounds_order"]

RESULTS = Path(__file__).resolve().parent / "results"


def _parser() -> argparse.ArgumentParser:
    variables = os.environ
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this package beside other servers, in one run.",
        epilog="WORK, PEERS, ROUNDS and SECONDS in the environment do the same: "
        "make bench WORK=echo-100 PEERS=websock,websockets-sync ROUNDS=3",
    )
    parser.add_argument(
        "--work",
        default=variables.get("WORK"),
        help=f"names between commas, or all: {', '.join(workloads.WORKLOADS)}",
    )
    parser.add_argument(
        "--peers",
        default=variables.get("PEERS"),
        help=f"names between commas, or all: {', '.join(programs.PROGRAMS)}",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=variables.get("ROUNDS") or 5,
        help="how often each peer is measured (default: 5)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=variables.get("SECONDS") or 2.0,
        help="measured time of a round (default: 2)",
    )
    parser.add_argument(
        "--warm-up",
        type=float,
        default=0.5,
        help="time before that, in seconds (default: 0.5)",
    )
    parser.add_argument(
        "--nice",
        type=int,
        default=0,
        help="niceness of servers and generator (default: 0); negative for root only, "
        "on a machine that others use too",
    )
    parser.add_argument(
        "--base", default="websock", help="whom ratios refer to (default: websock)"
    )
    parser.add_argument(
        "--save",
        metavar="NAME",
        help="write to benchmarks/results/NAME.json, to be committed; otherwise the "
        "results go to the cache folder",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="OLD.json",
        help="tell afterwards how our ratios to others changed since then",
    )
    parser.add_argument(
        "--prepare",
        action="store_true",
        help="build and install what is absent, and measure nothing",
    )
    return parser


def rounds_order(peers: Sequence[Program], number: int) -> list[Program]:
    """Return whom round ``number`` measures, in which order.

    Every peer once per round, so that whatever else the machine does meets all of
    them; another one first in each round, so that nobody always follows the same.
    """
    start = number % len(peers)
    return [*peers[start:], *peers[:start]]


class Bench:
    """One run."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        """Prepare for ``options``; files go to ``scratch``."""
        self._options = options
        self._scratch = scratch
        self.site = Site(scratch)
        self.cores: Cores = choose_cores(nice=options.nice)
        self.versions: dict[str, str] = {}
        self.failed = False

    def prepare(self, peers: Sequence[Program]) -> None:
        """Build and install what is absent and stays for other runs."""
        self.site.load_generator()
        for peer in peers:
            self.site.command(peer)

    def build(self, peers: Sequence[Program]) -> None:
        """Build our package as it is now, before any time is measured."""
        for peer in peers:
            self.site.environment(peer)

    def _one(self, workload: Workload, peer: Program) -> dict[str, Any]:
        command = [
            *self.site.command(peer),
            "--port=0",
            f"--work={workload.server}",
            f"--compression={workload.compression}",
        ]
        log = self._scratch / "server.log"
        environment = self.site.environment(peer)
        with running(
            command, self.cores.server, log, environment, self.cores.nice
        ) as server:
            about = ", ".join(server.notes)
            self.versions[peer.name] = f"{server.name} {server.version} ({about})"
            return measure(
                workload,
                server,
                self.site.load_generator(),
                self.cores,
                self._scratch / "load.log",
                warm_up=self._options.warm_up,
                seconds=self._options.seconds,
            )

    def _refuse(self, workload: Workload, peers: Sequence[Program]) -> dict[str, str]:
        """Return for whom the machine is too small, and why."""
        lacks = {p.name: shortage(workload.clients, p.threads) for p in peers}
        return {name: lack for name, lack in lacks.items() if lack}

    def workload(self, workload: Workload, peers: Sequence[Program]) -> dict[str, Any]:
        """Run all rounds of one workload, and print its table."""
        able = [
            peer
            for peer in peers
            if workload.server in peer.works
            and workload.compression in peer.compressions
        ]
        results: dict[str, list[Round]] = {peer.name: [] for peer in able}
        failures = self._refuse(workload, able)
        self.failed = self.failed or bool(failures)
        able = [peer for peer in able if peer.name not in failures]
        for number in range(self._options.rounds if able else 0):
            for peer in rounds_order(able, number):
                _tell(f"{workload.name}: round {number + 1}, {peer.name}")
                try:
                    results[peer.name].append(self._one(workload, peer))
                except MeasurementError as error:
                    results[peer.name].append(None)
                    failures[peer.name] = str(error)
                    self.failed = True
        _tell("")
        self._print(workload, results, failures)
        return {"rounds": results, "failures": failures}

    def _print(
        self,
        workload: Workload,
        results: dict[str, list[Round]],
        failures: dict[str, str],
    ) -> None:
        base = self._options.base
        print(report.table(workload, results, base, failures))
        better = losses(workload, results)
        for line in [*([better] if better else []), *goal_lines(workload, results)]:
            print(line)
        if workload.kind == "rate":
            print(report.bottleneck_note(results))
        print(flush=True)


def _tell(what: str) -> None:
    """Show on a terminal what goes on."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{what}")
        sys.stderr.flush()


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _write(results: dict[str, Any], name: str | None) -> Path:
    folder = RESULTS if name else cache_folder() / "results"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name or time.strftime('%Y-%m-%d-%H%M%S')}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that the command line selects; return the exit status.

    The status is 1 if a server could not be measured, for example because an echo
    was wrong. Figures decide it only with ``--compare``, and there only ratios.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        works = workloads.select(options.work)
        peers = programs.select(options.peers)
        if options.rounds < 1 or options.seconds <= 0 or options.warm_up < 0:
            raise ValueError("rounds and seconds must be positive")
        old = json.loads(options.compare.read_text()) if options.compare else None
    except (OSError, ValueError) as error:
        parser.error(str(error))
    # Children end by our `finally` clauses, so a polite end must run them.
    signal.signal(signal.SIGTERM, _end)
    limit = raise_descriptor_limit()
    with (
        tempfile.TemporaryDirectory(prefix="websock-bench-") as scratch,
        contextlib.suppress(KeyboardInterrupt),
    ):
        bench = Bench(options, Path(scratch))
        try:
            bench.prepare(peers)
            if options.prepare:
                return 0
            bench.build(peers)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        results = _measure(bench, options, works, peers, limit)
        return _finish(results, old) or int(bench.failed)
    return 130


def _measure(
    bench: Bench,
    options: argparse.Namespace,
    works: Sequence[Workload],
    peers: Sequence[Program],
    limit: int,
) -> dict[str, Any]:
    """Measure, print, and write; return what was written."""
    machine = facts()
    times = [work.stretch * (options.warm_up + options.seconds) + 1.0 for work in works]
    minutes = sum(times) * len(peers) * options.rounds / 60
    notes = [
        f"{time.strftime('%Y-%m-%d')}, {machine['processor']}, "
        f"{machine['cores']} cores, Linux {machine['kernel']}, {machine['python']}",
        bench.cores.note,
        f"load average at the start {machine['load_average']:.1f}; {limit} descriptors",
        f"{options.rounds} alternating rounds of {options.seconds:g} s, medians; "
        f"ratios to {options.base} are medians of the rounds' ratios",
        *bench.site.notes,
    ]
    print("\n".join(notes))
    print(f"about {minutes:.0f} minutes or more", end="\n\n", flush=True)
    results = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": machine,
        "notes": notes,
        "versions": bench.versions,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "workloads": {w.name: bench.workload(w, peers) for w in works},
    }
    for name, version in bench.versions.items():
        print(f"{name}: {version}")
    print(f"written to {_write(results, options.save)}")
    return results


def _finish(results: dict[str, Any], old: dict[str, Any] | None) -> int:
    """Compare with older results, if that is wanted; return the exit status."""
    if old is None:
        return 0
    lines, worse = compare(old, results)
    print("\n".join(["", "our ratios to others, now / then:", *lines]))
    return 1 if worse else 0
