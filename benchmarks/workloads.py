"""The workloads: what clients do, what the server does, and what we want of it.

A goal is a ratio between two servers in one run, or a size; it is reported, and
never decides a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["WORKLOADS", "Goal", "Workload", "select"]


@dataclass(frozen=True)
class Goal:
    """A wish for one server, beside another one or as a size."""

    peer: str
    """Whom it is about."""

    ratio: float | None = None
    """Least rate, as a multiple of the rate of ``base``."""

    base: str = "websockets-sync"
    """Whom ``peer`` is compared with."""

    most_kib: float | None = None
    """Most resident memory per client, in KiB."""


@dataclass(frozen=True)
class Workload:
    """One row of the comparison."""

    name: str
    """What ``WORK=`` selects."""

    title: str
    """What the table says."""

    kind: Literal["rate", "memory"] = "rate"
    """What is measured."""

    server: Literal["echo", "broadcast", "wait"] = "echo"
    """What the server does with a message."""

    load: tuple[str, ...] = ()
    """Options of the load generator."""

    compression: Literal["none", "deflate"] = "none"
    """Whether permessage-deflate is offered and must be agreed."""

    chosen: bool = True
    """Whether it runs when ``WORK=`` says nothing."""

    goal: Goal | None = None
    """What we want."""


_ALL: Final[Sequence[Workload]] = (
    Workload(
        "echo-pipelined",
        "32 B echo, 1 client, 64 in flight",
        load=("--clients=1", "--depth=64"),
    ),
    Workload(
        "echo-100",
        "32 B echo, 100 clients",
        load=("--clients=100",),
        goal=Goal("websock", ratio=2),
    ),
    Workload(
        "echo-1000",
        "32 B echo, 1,000 clients",
        load=("--clients=1000",),
        goal=Goal("websock", ratio=10),
    ),
    Workload(
        "broadcast-1000",
        "32 B broadcast to 1,000 clients, deliveries",
        server="broadcast",
        load=("--work=broadcast", "--clients=1000"),
        goal=Goal("websock", ratio=1),
    ),
    Workload(
        "idle",
        "resident memory per idle client, no compression",
        kind="memory",
        load=("--work=idle", "--clients=1000", "--touch"),
        goal=Goal("websock", most_kib=40),
    ),
    Workload(
        "idle-deflate",
        "resident memory per idle client, compression agreed",
        kind="memory",
        load=("--work=idle", "--clients=1000", "--deflate"),
        compression="deflate",
        goal=Goal("websock", most_kib=40),
    ),
    Workload(
        "latency",
        "32 B echo, 1 client, 1 in flight",
        load=("--clients=1",),
        chosen=False,
    ),
    Workload(
        "wait-100",
        "handler waits 5 ms, 100 clients",
        server="wait",
        load=("--clients=100",),
        chosen=False,
    ),
    Workload(
        "echo-16k",
        "16 KiB echo, 10 clients",
        load=("--clients=10", "--size=16384"),
        chosen=False,
    ),
    Workload(
        "echo-1m",
        "1 MiB text echo, 2 clients",
        load=("--clients=2", "--size=1048576"),
        chosen=False,
    ),
)

WORKLOADS: Final[Mapping[str, Workload]] = {w.name: w for w in _ALL}


def select(names: str | None) -> list[Workload]:
    """Return the workloads that a list of names means.

    Args:
        names: Names between commas or spaces; ``all`` means every workload, and
            :obj:`None` or nothing those of the foundation.

    Raises:
        ValueError: If there is no such workload; it lists those there are.

    """
    wanted = (names or "").replace(",", " ").split()
    if not wanted:
        return [w for w in _ALL if w.chosen]
    if wanted == ["all"]:
        return list(_ALL)
    for name in wanted:
        if name not in WORKLOADS:
            known = ", ".join(WORKLOADS)
            raise ValueError(f"no workload {name!r}; there are: {known}")
    return [WORKLOADS[name] for name in wanted]
