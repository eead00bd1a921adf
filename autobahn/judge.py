"""Verdict on a report of the Autobahn test suite.

``wstest`` exits with status 0 whatever the server did, and writes an empty index
when there was no server at all. So nothing counts but this: each case that the
suite knows is in the report, and behaved as the committed expectation says, while
talking and while closing.

Layer: test tool. May import: nothing of the project.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = [
    "AGENT",
    "FORCED",
    "BadReport",
    "Difference",
    "Result",
    "compare",
    "explain",
    "read_expectation",
    "read_report",
    "sort_cases",
    "write_expectation",
]

AGENT = "websock"
"""Name of our server in the reports."""

FORCED = ("7.1.6", "7.13.1", "7.13.2")
"""Cases that the suite itself makes INFORMATIONAL, whatever a server does."""


class BadReport(Exception):
    """The report can't be judged: it is empty, broken, or of somebody else."""


class Result(NamedTuple):
    """How a server did in one case."""

    behavior: str
    """Outcome of the exchange of messages: ``OK``, ``NON-STRICT``, ``FAILED``, …"""

    behavior_close: str
    """Outcome of the closing handshake."""

    def __str__(self) -> str:
        """Both outcomes, as the summary prints them."""
        return f"{self.behavior}, close {self.behavior_close}"


@dataclasses.dataclass(frozen=True)
class Difference:
    """A case that went otherwise than expected; ``None`` where there's nothing."""

    case: str
    expected: Result | None
    actual: Result | None

    def __str__(self) -> str:
        """One line for a human."""
        actual = self.actual or "did not run"
        return f"{self.case}: {actual} (expected: {self.expected or 'unknown'})"


def sort_cases(cases: Iterable[str]) -> list[str]:
    """Put identifiers in the order of the suite: 1.2.9 before 1.2.10."""
    return sorted(cases, key=lambda case: [int(part) for part in case.split(".")])


def read_report(folder: pathlib.Path) -> dict[str, Result]:
    """Read the outcomes from the ``index.json`` of a report.

    Raises:
        BadReport: If there is no such file, it is broken or empty, or holds other
            servers than ours.

    """
    path = folder / "index.json"
    try:
        index = json.loads(path.read_bytes())
        agents = list(index)
        if not agents:
            raise BadReport(f"{path} is empty: no case reached the server")
        if agents != [AGENT]:
            raise BadReport(f"{path} is about {agents}, not about {AGENT!r}")
        results = {
            case: Result(entry["behavior"], entry["behaviorClose"])
            for case, entry in index[AGENT].items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as exc:
        raise BadReport(f"{path} is not a report: {exc!r}") from exc
    if not results:
        raise BadReport(f"{path} is empty: no case reached the server")
    return results


def read_expectation(path: pathlib.Path) -> dict[str, Result]:
    """Read the committed expectation."""
    return {case: Result(*pair) for case, pair in json.loads(path.read_bytes()).items()}


def write_expectation(path: pathlib.Path, results: Mapping[str, Result]) -> None:
    """Write the expectation, one case a line, so that diffs can be read."""
    lines = [
        f"{json.dumps(case)}: {json.dumps(list(results[case]))}"
        for case in sort_cases(results)
    ]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def compare(
    expected: Mapping[str, Result | None], actual: Mapping[str, Result]
) -> list[Difference]:
    """Compare two sets of outcomes, case by case.

    A case that did better than expected is a difference, too: the expectation is
    wrong then, and the next fall back to it would pass unseen. ``None`` as the
    expectation says that the case exists, and it's a difference whatever happened.
    """
    return [
        Difference(case, expected.get(case), actual.get(case))
        for case in sort_cases({*expected, *actual})
        if expected.get(case) is None or expected.get(case) != actual.get(case)
    ]


def explain(folder: pathlib.Path, case: str) -> str:
    """Tell what was expected and received in a case, from its own report."""
    path = folder / f"{AGENT}_case_{case.replace('.', '_')}.json"
    try:
        detail: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as exc:
        return f"    no detail: {exc}"
    keys = [
        *("description", "expectation", "result", "resultClose"),
        *("expected", "received", "expectedClose", "remoteCloseCode"),
        *("remoteCloseReason", "wasNotCleanReason", "duration"),
    ]
    return "\n".join(
        f"    {key}: {str(detail[key])[:600]}"
        for key in keys
        if detail.get(key) not in (None, "")
    )
