"""Tables and plots from a result file, for README and documentation.

``python -m benchmarks.publish RESULTS.json FOLDER`` writes ``table.rst``, a plot for
each workload, and two over the number of clients.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .figures import Round, cpu_us, median, ratio, saturated
from .programs import PROGRAMS
from .svg import Bar, Panel, bars, curves
from .workloads import WORKLOADS, Workload

__all__ = ["main", "plots", "short", "table"]

Results = Mapping[str, Sequence[Round]]

OURS: Final = "websock"
LIMITED: Final = "†"


def short(value: float) -> str:
    """Return a number as people read it: three digits, thousands as ``k``."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size * 0.9995:
            return (
                f"{value / size:.3g}{unit}" if value < 999.5 * size else f"{value:,.0f}"
            )
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def _wait(microseconds: float) -> str:
    """Return a wait with its unit."""
    if microseconds < 999.5:
        return f"{microseconds:.3g} us"
    if microseconds < 999_500:
        return f"{microseconds / 1000:.3g} ms"
    return f"{microseconds / 1e6:.3g} s"


def _workloads(results: Mapping[str, Any]) -> list[tuple[Workload, Results]]:
    """Return the rows of a file in their order, without those that are no more."""
    measured = results["workloads"]
    return [
        (workload, measured[name]["rounds"])
        for name, workload in WORKLOADS.items()
        if name in measured
    ]


def _peers(results: Mapping[str, Any]) -> list[str]:
    found = {peer for _, rows in _workloads(results) for peer in rows}
    return [name for name in PROGRAMS if name in found]


def _cell(workload: Workload, rows: Results, peer: str) -> str:
    """Return figure, p99 and ratio to ours; bold if it is better than ours."""
    rounds = rows.get(peer, ())
    if all(r is None for r in rounds):
        return "failed" if rounds else "–"
    memory = workload.kind == "memory"
    key = "kib_per_client" if memory else "rate"
    value = median(rounds, key)
    assert value is not None
    text = f"{value:.1f} KiB" if memory else short(value)
    times = ratio(rounds, rows.get(OURS, ()), key)
    if times is not None and peer != OURS and (times < 1 if memory else times > 1):
        text = f"**{text}**"
    if not memory:
        p99 = median(rounds, "p99_us")
        wait = "no answer" if p99 is None else _wait(p99)
        text += f"{LIMITED if saturated(rounds) else ''} ({wait})"
    return text if times is None or peer == OURS else f"{text} {times:.2f} ×"


def table(results: Mapping[str, Any]) -> str:
    """Return the table in reStructuredText, with machine and versions."""
    peers = _peers(results)
    lines = [
        ".. list-table::",
        "   :header-rows: 1",
        "   :stub-columns: 1",
        "",
        *_row(["per second (p99)", *peers]),
    ]
    flagged = False
    for workload, rows in _workloads(results):
        lines += _row([workload.title, *(_cell(workload, rows, p) for p in peers)])
        flagged = flagged or any(saturated(rounds) for rounds in rows.values())
    machine = results["machine"]
    versions = [results["versions"][p] for p in peers if p in results["versions"]]
    lines += [
        "",
        f"× is the ratio to {OURS}; bold is better than {OURS}. Medians of "
        f"{results['rounds']} rounds of {results['seconds']:g} s.",
    ]
    if flagged:
        lines.append(f"{LIMITED} The load generator was the limit.")
    lines += [
        "",
        f"{results['date'][:10]}, {machine['processor']}, {machine['cores']} cores, "
        f"Linux {machine['kernel']}. {'; '.join(versions)}.",
        "",
    ]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> list[str]:
    first, *others = cells
    return [f"   * - {first}", *(f"     - {cell}" for cell in others)]


def _bars(rows: Results, key: str, shown: Callable[[float], str]) -> list[Bar]:
    found = []
    for peer in PROGRAMS:
        value = median(rows.get(peer, ()), key)
        if value is not None:
            # Not of rounds without an answer, which have no waits.
            ends = [median([r], key) for r in rows[peer]]
            values = [end for end in ends if end is not None]
            low, high = min(values), max(values)
            found.append(Bar(peer, value, low, high, shown(value), peer == OURS))
    return found


def _workload_plot(workload: Workload, rows: Results) -> str:
    if workload.kind == "memory":
        kib = _bars(rows, "kib_per_client", lambda v: f"{v:.1f}")
        panels = [Panel("KiB per client", kib)]
    else:
        panels = [
            Panel("per second", _bars(rows, "rate", short)),
            Panel("p99, logarithmic", _bars(rows, "p99_us", _wait), log=True),
        ]
    return bars(workload.title, panels)


def _sweep(
    results: Mapping[str, Any], figure: Callable[[Sequence[Round]], float | None]
) -> dict[str, list[tuple[float, float]]]:
    """Return a figure over the number of clients, by server."""
    series: dict[str, list[tuple[float, float]]] = {}
    for peer in _peers(results):
        points = []
        for workload, rows in _workloads(results):
            value = figure(rows.get(peer, ())) if workload.sweep else None
            if value:
                points.append((float(workload.clients), value))
        if points:
            series[peer] = points
    return series


def plots(results: Mapping[str, Any]) -> dict[str, str]:
    """Return all plots by the names of their files."""
    files = {
        f"{workload.name}.svg": _workload_plot(workload, rows)
        for workload, rows in _workloads(results)
        if any(r is not None for rounds in rows.values() for r in rounds)
    }
    for name, title, unit, figure in (
        ("cpu", "CPU time of the server per echo", "us", cpu_us),
        ("memory", "Resident memory of the server, busy", "MiB", _mib),
    ):
        series = _sweep(results, figure)
        if series:
            files[f"{name}.svg"] = curves(title, ("clients", unit), series)
    return files


def _mib(rounds: Sequence[Round]) -> float | None:
    kib = median(rounds, "server_kib")
    return None if kib is None else kib / 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Write table and plots."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.publish",
        description="Make a table and plots from a file of results.",
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path, help="made if it is absent")
    options = parser.parse_args(arguments)
    results = json.loads(options.results.read_text())
    options.folder.mkdir(parents=True, exist_ok=True)
    files = {"table.rst": table(results), **plots(results)}
    for name, text in files.items():
        (options.folder / name).write_text(text)
    print(f"{len(files)} files in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
