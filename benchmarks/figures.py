"""What rounds say together: medians, and ratios of neighbours in time."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["BUSY", "Round", "cpu_us", "median", "ratio", "saturated"]

Round = Mapping[str, Any] | None
"""What one measurement gave; :obj:`None` if it failed."""

BUSY = 0.95
"""From this share of its core on, the load generator may be the limit."""


def median(rounds: Sequence[Round], key: str) -> float | None:
    """Return the median of a figure over the rounds that did not fail.

    Without an answer there are no waits, rather than waits of no length.
    """
    values = [r[key] for r in rounds if r is not None and _has(r, key)]
    return statistics.median(values) if values else None


def ratio(rounds: Sequence[Round], base: Sequence[Round], key: str) -> float | None:
    """Return how many times the base a peer reached.

    It is the median of the ratios round by round: two neighbours in time suffer
    from the same disturbances, two medians may not.
    """
    ratios = [
        mine[key] / theirs[key]
        for mine, theirs in zip(rounds, base, strict=False)
        if mine is not None
        and theirs is not None
        and theirs[key]
        and _has(mine, key)
        and _has(theirs, key)
    ]
    return statistics.median(ratios) if ratios else None


def _has(measured: Mapping[str, Any], key: str) -> bool:
    return bool(not key.endswith("_us") or measured["rate"])


def cpu_us(rounds: Sequence[Round]) -> float | None:
    """Return the server's CPU time per message, in microseconds; a median."""
    values = [r["server_cpu"] / r["rate"] * 1e6 for r in rounds if r and r["rate"]]
    return statistics.median(values) if values else None


def saturated(rounds: Sequence[Round]) -> bool:
    """Return whether the load generator was the limit, so that the rate is too low."""
    busy = median(rounds, "load_cpu")
    return busy is not None and busy >= BUSY
