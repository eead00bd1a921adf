"""Two result files side by side, by ratios only: has our package lost ground?

``python -m benchmarks.compare OLD.json NEW.json``. Machines differ, and so do their
days, so no figure of one file is compared with one of the other: compared is how many
times what another server reached ours reached, then and now.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .figures import ratio

__all__ = ["changes", "compare", "main"]

OURS: Final = ("websock", "websock-pure")

WORSE: Final[Mapping[str, float]] = {
    "rate": 0.9,
    "p99_us": 1.25,
    "kib_per_client": 1.1,
}
"""From which change on a ratio counts as worse; above 1 where less is better."""


def changes(
    old: Mapping[str, Any], new: Mapping[str, Any], key: str
) -> dict[str, float]:
    """Return how our ratios of one workload changed: new divided by old.

    Args:
        old: The workload in the older file.
        new: The workload in the newer one.
        key: The figure that is compared.

    Returns:
        The median over all other servers that are in both files, by our server. A
        server that itself became faster moves one of the ratios, not all of them.

    """
    found = {}
    for ours in OURS:
        factors = []
        for peer in old["rounds"].keys() & new["rounds"].keys() - set(OURS):
            then, now = (
                ratio(side["rounds"].get(ours, ()), side["rounds"][peer], key)
                for side in (old, new)
            )
            if then and now:
                factors.append(now / then)
        if factors:
            found[ours] = statistics.median(factors)
    return found


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Return a line for each workload of both files, and whether one became worse."""
    lines = []
    worse = False
    for name, now in new["workloads"].items():
        then = old["workloads"].get(name)
        if then is None:
            continue
        for key, limit in WORSE.items():
            if not _has(then, key) or not _has(now, key):
                continue
            for ours, factor in changes(then, now, key).items():
                bad = factor > limit if limit > 1 else factor < limit
                worse = worse or bad
                mark = "  WORSE" if bad else ""
                lines.append(f"{name:16} {ours:13} {key:15} {factor:5.2f} x{mark}")
    return lines or ["the files have no workload and no server in common"], worse


def _has(workload: Mapping[str, Any], key: str) -> bool:
    return any(
        r is not None and key in r
        for rounds in workload["rounds"].values()
        for r in rounds
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare two files; return 1 if something became worse."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description="Compare our ratios to others in two result files: new / old.",
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args(arguments)
    old, new = (json.loads(p.read_text()) for p in (options.old, options.new))
    lines, worse = compare(old, new)
    print("\n".join(lines))
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
