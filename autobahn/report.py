"""One report out of those of many ``wstest`` processes.

Each process writes an index and, for each of its cases, a JSON and an HTML page.
The pages are taken as they are; the two indexes are made anew.

Layer: test tool. May import: judge.
"""

from __future__ import annotations

import html
import json
import pathlib
import shutil
from collections.abc import Iterable

from judge import AGENT, BadReport, Difference, Result, sort_cases

__all__ = ["merge", "write_page"]

STYLE = (
    "body{font:16px/1.4 system-ui,sans-serif;margin:2em auto;max-width:50em}"
    "td,th{padding:.1em 1em .1em 0;text-align:left}.bad{background:#fbb}"
)


def merge(parts: Iterable[pathlib.Path], folder: pathlib.Path) -> None:
    """Gather the reports ``parts`` in ``folder``, which is emptied before.

    A part without an index, because its process was ended early, is left out: its
    cases are missing then, and the judge says so.

    Raises:
        BadReport: If two parts hold the same case.

    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    merged: dict[str, dict[str, dict[str, object]]] = {}
    for part in parts:
        try:
            index = json.loads((part / "index.json").read_bytes())
        except (OSError, ValueError):
            continue
        for agent, cases in index.items():
            twice = sort_cases(merged.setdefault(agent, {}).keys() & cases.keys())
            if twice:
                raise BadReport(f"ran twice: {', '.join(twice)}")
            merged[agent].update(cases)
        for page in part.iterdir():
            if page.stem != "index":
                shutil.move(page, folder / page.name)
    text = json.dumps(merged, indent=1, sort_keys=True) + "\n"
    (folder / "index.json").write_text(text, encoding="utf-8")


def write_page(
    folder: pathlib.Path,
    results: dict[str, Result],
    differences: Iterable[Difference],
) -> None:
    """Write ``index.html``: a row for each case, with a link to its page."""
    wrong = {difference.case: difference for difference in differences}
    rows = []
    for case in sort_cases({*results, *wrong}):
        result = results.get(case)
        if result is None:
            cells = f"<td>{case}</td><td>did not run</td><td></td>"
        else:
            page = f"{AGENT}_case_{case.replace('.', '_')}.html"
            cells = (
                f'<td><a href="{page}">{case}</a></td>'
                f"<td>{html.escape(result.behavior)}</td>"
                f"<td>{html.escape(result.behavior_close)}</td>"
            )
        rows.append(f'<tr class="{"bad" if case in wrong else "good"}">{cells}</tr>')
    (folder / "index.html").write_text(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Autobahn: {AGENT}</title><style>{STYLE}</style></head><body>\n"
        f"<h1>Autobahn test suite: {AGENT}</h1>\n"
        f"<p>{len(results)} cases ran, {len(wrong)} differ from the expectation.</p>\n"
        "<table><tr><th>Case</th><th>Behaviour</th><th>Close</th></tr>\n"
        + "\n".join(rows)
        + "\n</table></body></html>\n",
        encoding="utf-8",
    )
