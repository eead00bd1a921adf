"""The workloads: what clients do, what the server does, and what we want of it.

A goal is a ratio between two servers in one run, or a figure; it is reported, and
never decides a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["BEST", "WORKLOADS", "Goal", "Key", "Workload", "select"]

Key = Literal["rate", "p50_us", "p99_us", "kib_per_client"]
"""A figure of a measurement."""

BEST: Final = "the best peer"
"""Stands for the server in Python, other than ours, that does best."""


@dataclass(frozen=True)
class Goal:
    """A wish for one server, beside another one or as a figure."""

    peer: str
    """Whom it is about."""

    key: Key = "rate"
    """What it is about."""

    base: str = ""
    """Whom ``peer`` is compared with; nobody when empty."""

    least: float | None = None
    """Least figure, as a multiple of that of ``base``."""

    most: float | None = None
    """Most of it."""


@dataclass(frozen=True)
class Workload:
    """One row of the comparison."""

    name: str
    """What ``WORK=`` selects."""

    title: str
    """What the table says."""

    clients: int
    """How many there are."""

    kind: Literal["rate", "memory"] = "rate"
    """What is measured."""

    server: Literal["echo", "json", "broadcast", "wait"] = "echo"
    """What the server does with a message."""

    load: tuple[str, ...] = ()
    """More options of the load generator."""

    compression: Literal["none", "deflate"] = "none"
    """Whether permessage-deflate is offered and must be agreed."""

    stretch: float = 1.0
    """Factor of warm-up and measured time, where a turn of all clients takes long."""

    sweep: bool = False
    """Whether it is a point of the curves over the number of clients."""

    goals: tuple[Goal, ...] = ()
    """What we want."""


def _like_threads() -> tuple[Goal, ...]:
    """Return what a row wants whose limit is the switch of threads."""
    return (
        Goal("websock", base="floor-threads", least=0.95),
        Goal("websock", "p99_us", base="floor-threads", most=1.2),
    )


def _ahead_of(base: str, times: float = 1.0) -> Goal:
    return Goal("websock", base=base, least=times)


def _idle(name: str, clients: int, *load: str) -> Workload:
    agreed = "compression agreed" if "--deflate" in load else "no compression"
    return Workload(
        name,
        f"resident memory per idle client, {clients:,} clients, {agreed}",
        clients,
        kind="memory",
        load=("--work=idle", *load),
        compression="deflate" if "--deflate" in load else "none",
        goals=(Goal("websock", "kib_per_client", most=28),),
    )


def _echo(clients: int, *goals: Goal) -> Workload:
    title = f"32 B echo, {clients:,} clients"
    stretch = max(1.0, clients / 2500)
    return Workload(
        f"echo-{clients}", title, clients, stretch=stretch, sweep=True, goals=goals
    )


_ALL: Final[Sequence[Workload]] = (
    Workload(
        "echo-pipelined",
        "32 B echo, 1 client, 64 in flight",
        1,
        load=("--depth=64",),
        goals=(_ahead_of(BEST, 3),),
    ),
    _echo(10),
    _echo(100, *_like_threads()),
    _echo(1000, *_like_threads()),
    _echo(5000),
    _echo(10_000),
    Workload(
        "json-100",
        "JSON in, JSON out, 100 clients",
        100,
        server="json",
        load=("--content=json",),
        goals=(_ahead_of("picows", 0.85), _ahead_of("aiohttp")),
    ),
    Workload(
        "wait-100",
        "handler waits 5 ms, 100 clients",
        100,
        server="wait",
        # Each of 100 clients, 200 times per second: 20,000 is the limit.
        goals=(Goal("websock", least=0.93 * 20_000),),
    ),
    Workload(
        "echo-16k",
        "16 KiB echo, 10 clients",
        10,
        load=("--size=16384",),
        goals=(_ahead_of(BEST),),
    ),
    Workload(
        "echo-1m",
        "1 MiB text echo, 2 clients",
        2,
        load=("--size=1048576",),
        goals=(_ahead_of(BEST),),
    ),
    Workload(
        "broadcast-1000",
        "32 B broadcast to 1,000 clients, deliveries",
        1000,
        server="broadcast",
        load=("--work=broadcast",),
        goals=(_ahead_of(BEST),),
    ),
    Workload(
        "connect",
        "connect + echo + close, 50 at once",
        50,
        load=("--work=connect",),
        goals=(_ahead_of("picows"),),
    ),
    Workload(
        "deflate-100",
        "1 KiB deflated echo, 100 clients",
        100,
        load=("--content=words", "--size=1024", "--deflate"),
        compression="deflate",
        goals=(_ahead_of("socketify"),),
    ),
    Workload(
        "latency",
        "32 B echo, 1 client, 1 in flight",
        1,
        goals=(Goal("websock", "p50_us", base="floor-threads", most=1.02),),
    ),
    _idle("idle-2000", 2000, "--touch"),
    _idle("idle-10000", 10_000, "--touch"),
    _idle("idle-deflate", 2000, "--deflate"),
)

WORKLOADS: Final[Mapping[str, Workload]] = {w.name: w for w in _ALL}


def select(names: str | None) -> list[Workload]:
    """Return the workloads that a list of names means.

    Args:
        names: Names between commas or spaces; ``sweep`` means those of the curves
            over the number of clients; ``all``, :obj:`None` or nothing mean every
            workload.

    Raises:
        ValueError: If there is no such workload; it lists those there are.

    """
    wanted = (names or "").replace(",", " ").split()
    if wanted in ([], ["all"]):
        return list(_ALL)
    if wanted == ["sweep"]:
        return [w for w in _ALL if w.sweep]
    for name in wanted:
        if name not in WORKLOADS:
            known = ", ".join(WORKLOADS)
            raise ValueError(f"no workload {name!r}; there are: {known}")
    return [WORKLOADS[name] for name in wanted]
