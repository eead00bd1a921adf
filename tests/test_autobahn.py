"""The Autobahn test suite: its judge, and with the marker ``autobahn`` the whole run.

The judge is tested here because a judge that never says no looks like a server that
never fails.
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping
from types import ModuleType

import pytest

from .tools import ROOT, missing

FOLDER = ROOT / "autobahn"


def load(name: str) -> ModuleType:
    """Import a module of the folder, which isn't a package."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def judge() -> ModuleType:
    """Return the judge."""
    return load("judge")


def write_index(
    folder: pathlib.Path, cases: Mapping[str, tuple[str, str]], agent: str = "websock"
) -> None:
    """Write the index of a report, as the suite does."""
    entries = {
        case: {
            "behavior": behavior,
            "behaviorClose": close,
            "remoteCloseCode": 1000,
            "duration": 1,
            "reportfile": f"{agent}_case_{case.replace('.', '_')}.json",
        }
        for case, (behavior, close) in cases.items()
    }
    folder.mkdir(exist_ok=True)
    (folder / "index.json").write_text(json.dumps({agent: entries}))


OK = ("OK", "OK")


def test_as_expected_is_no_difference(
    judge: ModuleType, tmp_path: pathlib.Path
) -> None:
    """A report that equals the expectation is accepted."""
    write_index(tmp_path, {"1.1.1": OK, "7.1.6": ("INFORMATIONAL", "INFORMATIONAL")})

    results = judge.read_report(tmp_path)

    expected = {
        "1.1.1": judge.Result(*OK),
        "7.1.6": judge.Result("INFORMATIONAL", "INFORMATIONAL"),
    }
    assert judge.compare(expected, results) == []


@pytest.mark.parametrize(
    "outcome",
    [
        ("FAILED", "OK"),
        ("NON-STRICT", "OK"),
        ("UNIMPLEMENTED", "OK"),
        ("INFORMATIONAL", "OK"),
        ("OK", "FAILED"),
        ("OK", "UNCLEAN"),
        ("OK", "WRONG CODE"),
        ("FAILED", "FAILED"),
    ],
)
def test_other_outcome_is_a_difference(
    judge: ModuleType, tmp_path: pathlib.Path, outcome: tuple[str, str]
) -> None:
    """Anything but OK is refused, in the messages or in the closing handshake."""
    write_index(tmp_path, {"1.1.1": OK, "1.1.2": outcome})

    differences = judge.compare(
        dict.fromkeys(["1.1.1", "1.1.2"], judge.Result(*OK)),
        judge.read_report(tmp_path),
    )

    (difference,) = differences
    assert difference.case == "1.1.2"
    assert str(difference) == (
        f"1.1.2: {outcome[0]}, close {outcome[1]} (expected: OK, close OK)"
    )


def test_improvement_is_a_difference(judge: ModuleType) -> None:
    """A case that is better than its expectation is told, so that it's kept."""
    better = judge.compare(
        {"7.1.5": judge.Result("FAILED", "OK")}, {"7.1.5": judge.Result(*OK)}
    )

    assert [difference.case for difference in better] == ["7.1.5"]


def test_missing_case_is_a_difference(judge: ModuleType) -> None:
    """A case that did not run is refused: nothing is known about it."""
    expected = dict.fromkeys(["1.1.1", "1.1.2"], judge.Result(*OK))

    (difference,) = judge.compare(expected, {"1.1.1": judge.Result(*OK)})

    assert str(difference) == "1.1.2: did not run (expected: OK, close OK)"


@pytest.mark.parametrize("expected", [{}, {"1.1.1": None}], ids=["absent", "none"])
def test_unknown_case_is_a_difference(
    judge: ModuleType, expected: dict[str, None]
) -> None:
    """A case that the expectation doesn't know is told, even when it is OK."""
    (difference,) = judge.compare(expected, {"1.1.1": judge.Result(*OK)})

    assert str(difference) == "1.1.1: OK, close OK (expected: unknown)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "no case reached the server"),
        ('{"websock": {}}', "no case reached the server"),
        ('{"other": {"1.1.1": {"behavior": "OK"}}}', "not about 'websock'"),
        ('{"websock": {}, "other": {}}', "not about 'websock'"),
        ("", "is not a report"),
        ("[]", "is empty"),
        ('["websock"]', "is not a report"),
        ('{"websock": {"1.1.1": {"behavior": "OK"}}}', "is not a report"),
    ],
)
def test_report_that_says_nothing_is_refused(
    judge: ModuleType, tmp_path: pathlib.Path, content: str, message: str
) -> None:
    """The empty index of an unreachable server, and broken ones, are no success."""
    (tmp_path / "index.json").write_text(content)

    with pytest.raises(judge.BadReport, match=message):
        judge.read_report(tmp_path)


def test_absent_report_is_refused(judge: ModuleType, tmp_path: pathlib.Path) -> None:
    """Without an index, there's nothing to judge."""
    with pytest.raises(judge.BadReport, match="is not a report"):
        judge.read_report(tmp_path)


def test_parts_are_merged(judge: ModuleType, tmp_path: pathlib.Path) -> None:
    """The reports of several processes become one; one without an index is missing."""
    report = load("report")
    write_index(tmp_path / "a", {"1.1.1": OK})
    write_index(tmp_path / "b", {"1.1.2": ("FAILED", "OK")})
    (tmp_path / "b" / "websock_case_1_1_2.html").write_text("detail")
    parts = [tmp_path / "a", tmp_path / "b", tmp_path / "killed"]

    report.merge(parts, tmp_path / "all")

    results = judge.read_report(tmp_path / "all")
    assert results == {
        "1.1.1": judge.Result(*OK),
        "1.1.2": judge.Result("FAILED", "OK"),
    }
    assert (tmp_path / "all" / "websock_case_1_1_2.html").read_text() == "detail"


def test_page_marks_what_differs(judge: ModuleType, tmp_path: pathlib.Path) -> None:
    """The page has a row for each case, also for one that did not run."""
    report = load("report")
    expected = dict.fromkeys(["1.1.1", "1.1.2"], judge.Result(*OK))
    results = {"1.1.1": judge.Result(*OK)}

    report.write_page(tmp_path, results, judge.compare(expected, results))

    page = (tmp_path / "index.html").read_text()
    assert page.count("<tr class=") == 2
    assert '<tr class="bad"><td>1.1.2</td><td>did not run</td>' in page


def test_expectation_survives_a_round_trip(
    judge: ModuleType, tmp_path: pathlib.Path
) -> None:
    """The expectation is written in the order of the suite, and read back as it was."""
    path = tmp_path / "expected.json"
    results = {"1.1.10": judge.Result(*OK), "1.1.9": judge.Result("FAILED", "OK")}

    judge.write_expectation(path, results)

    assert judge.read_expectation(path) == results
    assert list(judge.read_expectation(path)) == ["1.1.9", "1.1.10"]


def test_expectation_is_strict(judge: ModuleType) -> None:
    """All 517 cases are expected to be OK, but the three that no server can pass."""
    expected = judge.read_expectation(FOLDER / "expected.json")

    others = {case: pair for case, pair in expected.items() if pair != OK}

    assert len(expected) == 517
    assert others == dict.fromkeys(
        judge.FORCED, judge.Result("INFORMATIONAL", "INFORMATIONAL")
    )


@pytest.mark.autobahn
@pytest.mark.timeout(3700)
def test_server_passes_every_case() -> None:
    """Each case of the suite ends as expected, against the server that we ship."""
    command = [sys.executable, str(FOLDER / "run.py")]

    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    if done.returncode == 2:
        missing("the Autobahn test suite", f"see autobahn/README.md\n{done.stdout}")
    assert done.returncode == 0, done.stdout
    assert "517 of 517 cases ran" in done.stdout
