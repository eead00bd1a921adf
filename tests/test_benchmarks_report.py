"""Benchmarks: the command, the machine and the report around the measurements."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import command, machine, measure, programs, report, workloads

from .tools import ROOT, require_tool

CORE = min(os.sched_getaffinity(0))


def test_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    """The last lines of its complaint are in the error."""
    program = [sys.executable, "-c", "raise SystemExit('no room')"]

    with (
        pytest.raises(measure.MeasurementError, match=r"it ended; no room"),
        measure.running(program, CORE, tmp_path / "log", os.environ),
    ):
        pass


def test_server_and_generator_have_cores_of_their_own() -> None:
    """They don't take time from each other, if there is a second core."""
    cores = machine.choose_cores({2, 5, 7})

    assert (cores.server, cores.load) == (2, 5)
    assert cores.note == "server on core 2, load generator on core 5"


def test_one_core_is_enough_and_is_told() -> None:
    """With one core the figures are worse, and say so."""
    cores = machine.choose_cores({3})

    assert (cores.server, cores.load) == (3, 3)
    assert "share it" in cores.note


def test_selections_know_their_names() -> None:
    """Commas and spaces separate names; nothing means the usual ones."""
    assert [w.name for w in workloads.select("idle, echo-100")] == ["idle", "echo-100"]
    assert [p.name for p in programs.select("websock floor-epoll")] == [
        "websock",
        "floor-epoll",
    ]
    assert "wait-100" not in [w.name for w in workloads.select("")]
    assert len(workloads.select("all")) == len(workloads.WORKLOADS)
    assert "websock-pure" not in [p.name for p in programs.select(None)]


@pytest.mark.parametrize("select", [workloads.select, programs.select])
def test_unknown_names_are_errors_that_list_the_known(
    select: Callable[[str], Any],
) -> None:
    """A slip of the pen doesn't measure something else."""
    with pytest.raises(ValueError, match=r"'nonsense'; there are: \w+"):
        select("nonsense")


def test_rounds_alternate_between_peers() -> None:
    """Each round has every peer once, and another one first."""
    peers = programs.select("websock,websockets-sync,floor-epoll")

    orders = [[p.name for p in command.rounds_order(peers, n)] for n in range(3)]

    assert [order[0] for order in orders] == [p.name for p in peers]
    assert all(sorted(order) == sorted(orders[0]) for order in orders)


def some_round(rate: float, **more: float) -> dict[str, float]:
    """Return what a measurement gives."""
    return {
        "rate": rate,
        "messages": rate,
        "clients": 10,
        "client_min": rate / 20,
        "p50_us": 500,
        "p99_us": 1500,
        "max_us": 2000,
        "oldest_pending_us": 0,
        "server_cpu": 1,
        "load_cpu": 0.5,
        **more,
    }


def test_ratio_is_that_of_neighbours_in_time() -> None:
    """A slow minute of the machine meets both sides of a ratio."""
    mine = [some_round(200), some_round(30), None, some_round(180)]
    theirs = [some_round(100), some_round(10), some_round(1), None]

    assert report.ratio(mine, theirs, "rate") == pytest.approx(2.5)
    assert report.median(mine, "rate") == 180
    assert report.ratio([None], [None], "rate") is None


def test_table_has_rate_waits_and_fairness() -> None:
    """A rate comes with its p99, the worst wait, and the least client's share."""
    results: dict[str, list[report.Round]] = {
        "websock": [some_round(3000, oldest_pending_us=90_000)],
        "websockets-sync": [some_round(1000)],
        "floor-epoll": [None],
    }

    text = report.table(
        workloads.WORKLOADS["echo-100"],
        results,
        "websockets-sync",
        {"floor-epoll": "it ended"},
    )

    ours = next(line for line in text.splitlines() if line.startswith("  websock "))
    assert ours.split() == [
        *["websock", "3,000", "3,000", "to", "3,000"],
        *["0.500", "1.5", "90.0", "0.50", "333.3", "100%", "50%", "3.00", "x"],
    ]
    assert "  ! floor-epoll: it ended" in text


@pytest.mark.parametrize(
    ("name", "mine", "verdict"),
    [
        ("echo-100", [some_round(2000)], "at least 2 x websockets-sync: met (2.00 x)"),
        ("echo-1000", [some_round(2000)], "MISSED (2.00 x)"),
        ("echo-1000", [None], "not measured"),
        ("idle", [{"kib_per_client": 39.9}], "at most 40 KiB: met (39.9 KiB)"),
        ("idle", [{"kib_per_client": 40.1}], "MISSED (40.1 KiB)"),
        ("idle", [None], "not measured"),
    ],
)
def test_goals_are_reported(name: str, mine: list[report.Round], verdict: str) -> None:
    """It is told where we are not yet as we want to be."""
    base: list[report.Round] = [some_round(1000)]
    results = {"websock": mine, "websockets-sync": base}

    assert verdict in report.goal_line(workloads.WORKLOADS[name], results)


def test_goal_of_an_absent_peer_is_not_told() -> None:
    """A comparison of others says nothing of ours."""
    assert report.goal_line(workloads.WORKLOADS["echo-100"], {}) == ""


def test_generator_is_shown_not_to_be_the_bottleneck() -> None:
    """Its load tells, and the epoll floor what it could do."""
    ours = {"websock": [some_round(100)]}
    both = {**ours, "floor-epoll": [some_round(450)]}

    assert "used 50% of its core with websock" in report.bottleneck_note(ours)
    assert "it reached 450/s, 4.5 x as many" in report.bottleneck_note(both)
    assert "unknown" in report.bottleneck_note({"websock": [None]})


def test_command_measures_and_leaves_results(tmp_path: Path) -> None:
    """The whole way: build, start, load, table, file; from any folder."""
    require_tool("gcc", apt="gcc libc6-dev")
    cache = tmp_path / "bench"
    cache.mkdir()
    done = subprocess.run(
        [
            *[sys.executable, str(ROOT / "benchmarks/run.py"), "--work=echo-100"],
            *["--peers=floor-epoll", "--rounds=1", "--seconds=0.1", "--warm-up=0"],
        ],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert done.returncode == 0, done.stderr
    assert "32 B echo, 100 clients" in done.stdout
    (written,) = (tmp_path / "websock-tools" / "bench" / "results").glob("*.json")
    (only,) = json.loads(written.read_text())["workloads"]["echo-100"]["rounds"][
        "floor-epoll"
    ]
    assert only["clients"] == 100
    assert only["messages"] > 0


def test_command_refuses_what_it_does_not_know(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is built or measured for a wrong name."""
    with pytest.raises(SystemExit) as ended:
        command.main(["--work=nonsense"])

    assert ended.value.code == 2
    assert "no workload 'nonsense'" in capsys.readouterr().err
