"""Benchmarks: goals, losses, and how ratios changed since an older run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare, goals, workloads
from benchmarks.figures import Round


def a_round(rate: float, p99: float = 1000) -> dict[str, float]:
    """Return figures of a round."""
    return {"rate": rate, "p50_us": p99 / 2, "p99_us": p99}


def lines(name: str, results: Mapping[str, Sequence[Round]]) -> str:
    """Return the goals of a workload."""
    return "\n".join(goals.goal_lines(workloads.WORKLOADS[name], results))


@pytest.mark.parametrize(
    ("name", "results", "verdict"),
    [
        (
            "echo-100",
            {"websock": [a_round(95)], "floor-threads": [a_round(100)]},
            "websock at least 0.95 x floor-threads: met (0.95 x)",
        ),
        (
            "echo-100",
            {"websock": [a_round(94)], "floor-threads": [a_round(100)]},
            "websock at least 0.95 x floor-threads: MISSED (0.94 x)",
        ),
        (
            "echo-100",
            {"websock": [a_round(99, 1300)], "floor-threads": [a_round(99, 1000)]},
            "websock p99 at most 1.2 x floor-threads: MISSED (1.30 x)",
        ),
        (
            "echo-100",
            {"websock": [None], "floor-threads": [a_round(100)]},
            "websock at least 0.95 x floor-threads: not measured",
        ),
        (
            "echo-pipelined",
            {
                "websock": [a_round(900)],
                "picows": [a_round(200)],
                "socketify": [a_round(300)],
                "floor-epoll": [a_round(2000)],
            },
            "websock at least 3 x the best peer (socketify): met (3.00 x)",
        ),
        (
            "wait-100",
            {"websock": [a_round(18_000)]},
            "websock at least 18,600/s: MISSED (18,000.0/s)",
        ),
        (
            "latency",
            {"websock": [a_round(9, 110)], "floor-threads": [a_round(9, 100)]},
            "websock p50 at most 1.02 x floor-threads: MISSED (1.10 x)",
        ),
        (
            "idle-2000",
            {"websock": [{"kib_per_client": 27.9}]},
            "websock memory per client at most 28 KiB: met (27.9 KiB)",
        ),
        (
            "echo-10",
            {"websock-pure": [a_round(16)], "websockets-sync": [a_round(10)]},
            "websock-pure at least 1.5 x websockets-sync: met (1.60 x)",
        ),
    ],
)
def test_goals_are_reported(
    name: str, results: Mapping[str, Sequence[Round]], verdict: str
) -> None:
    """It is told where we are not yet as we want to be."""
    assert f"  goal: {verdict}" in lines(name, results)


def test_goal_of_an_absent_peer_is_not_told() -> None:
    """A comparison of others says nothing of ours, nor does ours alone."""
    assert lines("echo-100", {"floor-threads": [a_round(1)]}) == ""
    assert lines("echo-pipelined", {"websock": [a_round(1)]}) == ""


def test_rivals_are_servers_in_python_of_others() -> None:
    """Neither ours nor the floors are peers to beat."""
    assert {"picows", "websockets-sync"} < set(goals.rivals())
    assert not [name for name in goals.rivals() if name.startswith(("websock-", "fl"))]


def test_whoever_is_better_is_told() -> None:
    """In rate or in p99; a nose's length doesn't count."""
    results: dict[str, list[Round]] = {
        "websock": [a_round(100, 1000)],
        "websock-pure": [a_round(300)],
        "picows": [a_round(130, 2000)],
        "socketify": [a_round(90, 500)],
        "aiohttp": [a_round(101, 1000)],
        "floor-epoll": [None],
    }

    text = goals.losses(workloads.WORKLOADS["echo-10"], results)

    assert text == (
        "  better than websock: picows (rate 1.30 x); socketify (p99 2.00 x)"
    )


def test_short_waits_of_a_few_clients_are_no_gain() -> None:
    """A server that lets the others starve has them."""
    results = {"websock": [a_round(100, 1000)], "aiohttp": [a_round(40, 10)]}

    assert goals.losses(workloads.WORKLOADS["echo-10"], results) == ""


def test_whoever_needs_less_memory_is_told() -> None:
    """Less is better there."""
    idle = workloads.WORKLOADS["idle-2000"]
    ours = [{"kib_per_client": 20.0}]

    assert "picows (memory 2.00 x)" in goals.losses(
        idle, {"websock": ours, "picows": [{"kib_per_client": 10.0}]}
    )
    assert goals.losses(idle, {"websock": ours, "picows": ours}) == ""


def results_with(**rates: float) -> dict[str, Any]:
    """Return what a result file holds."""
    rounds = {name.replace("_", "-"): [a_round(rate)] for name, rate in rates.items()}
    return {"workloads": {"echo-10": {"rounds": rounds}}}


def test_faster_machine_changes_nothing() -> None:
    """Ratios are compared, never rates."""
    old = results_with(websock=100, picows=50, aiohttp=40)
    new = results_with(websock=1000, picows=500, aiohttp=400)

    told, worse = compare.compare(old, new)

    assert not worse
    assert any("rate" in line and "1.00 x" in line for line in told)


def test_lost_ground_is_noticed() -> None:
    """Ours fell behind all others."""
    old = results_with(websock=100, picows=50, aiohttp=40)
    new = results_with(websock=80, picows=50, aiohttp=40)

    told, worse = compare.compare(old, new)

    assert worse
    assert any("0.80 x  WORSE" in line for line in told)


def test_longer_waits_are_lost_ground() -> None:
    """A rate counts only with its p99."""
    old = results_with(websock=100, picows=50)
    new = results_with(websock=100, picows=50)
    new["workloads"]["echo-10"]["rounds"]["websock"] = [a_round(100, 2000)]

    told, worse = compare.compare(old, new)

    assert worse
    assert any("p99_us" in line and "2.00 x  WORSE" in line for line in told)


def test_one_peer_that_became_faster_is_not_our_loss() -> None:
    """The median of the ratios' changes counts."""
    old = results_with(websock=100, picows=50, aiohttp=40, floor_epoll=200)
    new = results_with(websock=100, picows=90, aiohttp=40, floor_epoll=200)

    assert not compare.compare(old, new)[1]


def test_nothing_in_common_is_said() -> None:
    """Silence would look like success."""
    old = results_with(websock=100, picows=50)

    assert compare.compare(old, {"workloads": {}}) == (
        ["the files have no workload and no server in common"],
        False,
    )
    (told,), _ = compare.compare(old, results_with(websock=1, aiohttp=1))
    assert told.startswith("the files have no")


@pytest.mark.parametrize(("rate", "status"), [(100, 0), (10, 1)])
def test_two_files_are_compared(
    rate: float, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is for scripts that want to know."""
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(results_with(websock=100, picows=50)))
    new.write_text(json.dumps(results_with(websock=rate, picows=50)))

    assert compare.main([str(old), str(new)]) == status
    assert "echo-10" in capsys.readouterr().out
