"""Run the Autobahn test suite against our server, and judge every case.

``python autobahn/run.py`` runs all cases and compares them with ``expected.json``;
the report is left in ``autobahn/report/``. Exit status: 0 when each case is as
expected, 1 when one isn't, 2 when the suite can't be had.

Layer: test tool. May import: judge, processes, report, suite.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fnmatch
import json
import os
import pathlib
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence

import judge
import report
from processes import Pool, RunFailed, started_server
from suite import Suite, Unavailable, find_suite

HERE = pathlib.Path(__file__).resolve().parent
EXPECTED = HERE / "expected.json"


def main() -> int:
    """Run, judge, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="*", help="patterns, such as '1.*,2.*'")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--timeout", type=float, default=3600, help="seconds, for all")
    parser.add_argument("--update", action="store_true", help="rewrite expected.json")
    parser.add_argument("--report", type=pathlib.Path, default=HERE / "report")
    parser.add_argument("--url", help="judge this server instead of starting ours")
    options = parser.parse_args()
    # SIGTERM must pass through the `finally` clauses that end our processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    try:
        return check(options)
    except Unavailable as exc:
        print(exc, file=sys.stderr)
        return 2
    except (RunFailed, judge.BadReport) as exc:
        print(f"FAILED: {exc}", file=sys.stderr)
        return 1


def check(options: argparse.Namespace) -> int:
    """Run the cases that were asked for; return the exit status."""
    suite = find_suite()
    started = time.monotonic()
    deadline = started + options.timeout
    failure: RunFailed | None = None
    with tempfile.TemporaryDirectory(prefix="websock-autobahn-") as name:
        folder = pathlib.Path(name)
        cases = select_cases(list_cases(suite, folder / "list", deadline), options)
        specs = [folder / group / "spec.json" for group in make_groups(cases)]
        try:
            with contextlib.ExitStack() as stack:
                url = options.url or stack.enter_context(started_server())
                for spec, group in zip(specs, make_groups(cases).values(), strict=True):
                    write_spec(spec, url, group)
                pool = stack.enter_context(Pool(suite, deadline))
                pool.run_all(specs, options.jobs)
        except RunFailed as exc:
            # What was reported until then tells more than this sentence.
            failure = exc
        report.merge([spec.parent / "report" for spec in specs], options.report)
    try:
        results = judge.read_report(options.report)
    except judge.BadReport as exc:
        raise failure or exc from None
    if options.update:
        update(cases, results)
    expected = judge.read_expectation(EXPECTED)
    wanted = {case: expected.get(case) for case in select_cases(expected, options)}
    # Whatever the suite has is wanted, also when the expectation doesn't know it.
    differences = judge.compare({**dict.fromkeys(cases), **wanted}, results)
    report.write_page(options.report, results, differences)
    for difference in differences:
        print(difference)
        if difference.actual is not None:
            print(judge.explain(options.report, difference.case))
    print(
        f"{len(results)} of {len(cases)} cases ran in "
        f"{time.monotonic() - started:.0f} s, {len(differences)} differ; "
        f"report: {options.report / 'index.html'}"
    )
    if failure is not None:
        raise failure
    return 1 if differences else 0


def update(cases: Sequence[str], results: Mapping[str, judge.Result]) -> None:
    """Rewrite the expectation for the cases that were asked for.

    Raises:
        RunFailed: If one of them did not run.

    """
    missing = judge.sort_cases(set(cases) - set(results))
    if missing:
        raise RunFailed(f"not updated, for these did not run: {', '.join(missing)}")
    kept = judge.read_expectation(EXPECTED) if EXPECTED.exists() else {}
    judge.write_expectation(EXPECTED, {**kept, **results})
    print(f"{EXPECTED.name} is rewritten: read the difference before committing")


def select_cases(cases: Iterable[str], options: argparse.Namespace) -> list[str]:
    """Select identifiers by patterns for whole identifiers, separated by commas."""
    patterns = [pattern.strip() for pattern in options.cases.split(",")]
    return judge.sort_cases(
        case
        for case in cases
        if any(fnmatch.fnmatchcase(case, pattern) for pattern in patterns)
    )


def make_groups(cases: Sequence[str]) -> dict[str, list[str]]:
    """Split the cases into named groups, one for each process.

    Cases 1 to 10 wait more than they work. 12 and 13 are nine tenths of the work;
    each of their twelve subsections makes two groups, with small and large messages
    in both.
    """
    groups: dict[str, list[str]] = {}
    for case in cases:
        section, subsection, *rest = case.split(".")
        name = section
        if section in ("9", "12", "13"):
            name += f".{subsection}"
        if section in ("12", "13"):
            name += ".odd" if int(rest[0]) % 2 else ".even"
        groups.setdefault(name, []).append(case)
    return groups


def write_spec(spec: pathlib.Path, url: str, cases: Sequence[str]) -> None:
    """Write a specification for ``wstest``, which reports beside it."""
    spec.parent.mkdir()
    servers = [{"agent": judge.AGENT, "url": url}]
    content = {
        "outdir": str(spec.parent / "report"),
        "servers": servers,
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    spec.write_text(json.dumps(content), encoding="utf-8")


def list_cases(suite: Suite, folder: pathlib.Path, deadline: float) -> list[str]:
    """Ask the suite which cases it has.

    It prints them before it connects; the port is ours and refuses connections.
    """
    with socket.socket() as closed, Pool(suite, deadline) as pool:
        closed.bind(("127.0.0.1", 0))
        url = "ws://{}:{}".format(*closed.getsockname())
        write_spec(folder / "spec.json", url, ["*"])
        log = pool.run(folder / "spec.json")
    found = re.search(r"^Cases = (\[.*\])$", log, re.MULTILINE)
    if not found:
        raise RunFailed(f"wstest does not say its cases:\n{log[-2000:]}")
    cases: list[str] = ast.literal_eval(found[1])
    return cases


if __name__ == "__main__":
    sys.exit(main())
