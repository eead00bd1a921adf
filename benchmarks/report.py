"""From rounds to a table: medians, spread, ratios side by side."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from .figures import Round, cpu_us, median, ratio, saturated
from .workloads import Workload

__all__ = ["bottleneck_note", "table"]


def _milliseconds(microseconds: float | None) -> str:
    if microseconds is None:
        return "none"
    value = microseconds / 1000
    return f"{value:.3f}" if value < 1 else f"{value:.1f}"


def _rate_row(rounds: Sequence[Round]) -> list[str]:
    good = [r for r in rounds if r is not None]
    rates = sorted(r["rate"] for r in good)
    # Who never got an answer is not among the answers' waits.
    worst = max(max(r["max_us"], r["oldest_pending_us"]) for r in good)
    # Of the least favoured client, as a multiple of its fair share of the answers.
    fewest = statistics.median(
        r["client_min"] * r["clients"] / max(1, r["messages"]) for r in good
    )
    return [
        f"{statistics.median(rates):,.0f}",
        f"{rates[0]:,.0f} to {rates[-1]:,.0f}",
        _milliseconds(median(rounds, "p50_us")),
        _milliseconds(median(rounds, "p99_us")),
        _milliseconds(worst),
        f"{fewest:.2f}",
        "none" if (cpu := cpu_us(rounds)) is None else f"{cpu:.1f}",
        f"{statistics.median(r['server_cpu'] for r in good):.0%}",
        f"{statistics.median(r['load_cpu'] for r in good):.0%}"
        + ("!" if saturated(rounds) else ""),
    ]


def _memory_row(rounds: Sequence[Round]) -> list[str]:
    good = [r for r in rounds if r is not None]
    sizes = sorted(r["kib_per_client"] for r in good)
    return [
        f"{statistics.median(sizes):.1f}",
        f"{sizes[0]:.1f} to {sizes[-1]:.1f}",
        f"{statistics.median(r['threads_per_client'] for r in good):.2f}",
    ]


_RATE_HEAD = [
    "per second",
    "rounds",
    "p50 ms",
    "p99 ms",
    "worst ms",
    "least share",
    "CPU us",
    "server CPU",
    "load CPU",
]
_MEMORY_HEAD = ["KiB per client", "rounds", "threads per client"]


def table(
    workload: Workload,
    results: Mapping[str, Sequence[Round]],
    base: str | None,
    failures: Mapping[str, str],
) -> str:
    """Return the table of one workload.

    Args:
        workload: What was done.
        results: Rounds by peer.
        base: The peer that ratios refer to; :obj:`None` for no ratios.
        failures: What went wrong, by peer.

    """
    memory = workload.kind == "memory"
    key = "kib_per_client" if memory else "rate"
    head = ["peer", *(_MEMORY_HEAD if memory else _RATE_HEAD), "ratio"]
    lines = [head]
    for peer, rounds in results.items():
        if any(r is not None for r in rounds):
            row = (_memory_row if memory else _rate_row)(rounds)
        else:
            row = ["failed", *[""] * (len(head) - 3)]
        times = None
        if base is not None and base in results:
            times = ratio(rounds, results[base], key)
        lines.append([peer, *row, "" if times is None else f"{times:.2f} x"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = [workload.title]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
        text.append("  " + "  ".join(cells).rstrip())
    text += [f"  ! {peer}: {what}" for peer, what in failures.items()]
    return "\n".join(text)


def bottleneck_note(results: Mapping[str, Sequence[Round]]) -> str:
    """Return what tells whether the load generator is what was measured."""
    floor = median(results.get("floor-epoll", ()), "rate")
    rates = {
        peer: rate
        for peer, rounds in results.items()
        if not peer.startswith("floor-")
        and (rate := median(rounds, "rate")) is not None
    }
    if not rates:
        return "  the generator's own limit is unknown"
    fastest = max(rates, key=lambda peer: rates[peer])
    busy = median(results[fastest], "load_cpu")
    note = f"  the generator used {busy:.0%} of its core with {fastest}"
    if floor is not None:
        times = floor / rates[fastest]
        note += f"; it reached {floor:,.0f}/s, {times:.1f} x as many, with floor-epoll"
    limited = [peer for peer, rounds in results.items() if saturated(rounds)]
    if limited:
        names = ", ".join(limited)
        note += f"\n  ! the generator was the limit, and they can do more: {names}"
    return note
