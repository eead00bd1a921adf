"""Whether goals are met, and where somebody else is better. Nothing here decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from .figures import Round, median, ratio
from .programs import PROGRAMS
from .workloads import BEST, Goal, Workload

__all__ = ["goal_lines", "losses", "rivals"]

PURE: Final = Goal("websock-pure", base="websockets-sync", least=1.5)
"""What is wanted without what is in C, wherever a server can be faster at all."""

NOTABLE: Final = 1.02
"""How many times better somebody must be, to be told."""

ENOUGH: Final = 0.5
"""Least rate beside ours with which a shorter p99 is told: whoever serves a few clients
and lets the others starve has short waits."""

UNITS: Final = {
    "rate": "/s",
    "p50_us": " us",
    "p99_us": " us",
    "kib_per_client": " KiB",
}

WORDS: Final = {
    "rate": "",
    "p50_us": " p50",
    "p99_us": " p99",
    "kib_per_client": " memory per client",
}


def rivals() -> list[str]:
    """Return the names of the servers in Python that are not ours."""
    return [name for name, p in PROGRAMS.items() if p.python and not p.ours]


def _goals(workload: Workload) -> tuple[Goal, ...]:
    # Nobody beats the clock or an idle machine.
    bounded = workload.server == "wait" or workload.name == "latency"
    more = () if bounded or workload.kind == "memory" else (PURE,)
    return (*workload.goals, *more)


def _base(goal: Goal, results: Mapping[str, Sequence[Round]]) -> str | None:
    """Return whom a goal compares with, if that one was measured."""
    if goal.base != BEST:
        return goal.base if goal.base in results else None
    found = {
        name: value
        for name in rivals()
        if (value := median(results.get(name, ()), goal.key)) is not None
    }
    if not found:
        return None
    pick = max if goal.least is not None else min
    return pick(found, key=lambda name: found[name])


def _line(goal: Goal, results: Mapping[str, Sequence[Round]]) -> str:
    """Return one goal with its verdict; nothing if it is not comparable."""
    base = _base(goal, results) if goal.base else ""
    if goal.peer not in results or base is None:
        return ""
    mine = results[goal.peer]
    limit = goal.least if goal.least is not None else goal.most
    assert limit is not None
    if base:
        who = base if goal.base == base else f"{goal.base} ({base})"
        unit = " x"
        aim = f"{limit:g} x {who}"
        value = ratio(mine, results[base], goal.key)
    else:
        unit = UNITS[goal.key]
        aim = f"{limit:,.6g}{unit}"
        value = median(mine, goal.key)
    bound = "at least" if goal.least is not None else "at most"
    start = f"  goal: {goal.peer}{WORDS[goal.key]} {bound} {aim}"
    if value is None:
        return f"{start}: not measured"
    met = value >= limit if goal.least is not None else value <= limit
    shown = f"{value:.2f}" if base else f"{value:,.1f}"
    return f"{start}: {'met' if met else 'MISSED'} ({shown}{unit})"


def goal_lines(workload: Workload, results: Mapping[str, Sequence[Round]]) -> list[str]:
    """Return what we want of a workload, and whether we have it."""
    lines = (_line(goal, results) for goal in _goals(workload))
    return [line for line in lines if line]


def losses(workload: Workload, results: Mapping[str, Sequence[Round]]) -> str:
    """Return who does better than our package, and in what; nothing if nobody does."""
    ours = results.get("websock", ())
    better = []
    for peer, rounds in results.items():
        if PROGRAMS[peer].ours:
            continue
        if workload.kind == "memory":
            wins = {"memory": ratio(ours, rounds, "kib_per_client")}
        else:
            rate = ratio(rounds, ours, "rate")
            wins = {"rate": rate}
            if rate is not None and rate >= ENOUGH:
                wins["p99"] = ratio(ours, rounds, "p99_us")
        told = [
            f"{what} {times:.2f} x"
            for what, times in wins.items()
            if times is not None and times >= NOTABLE
        ]
        if told:
            better.append(f"{peer} ({', '.join(told)})")
    return f"  better than websock: {'; '.join(better)}" if better else ""
