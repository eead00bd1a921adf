"""Benchmarks: the command, the machine and the report around the measurements."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import command, figures, machine, measure, programs, report, workloads
from benchmarks.figures import Round

from .tools import ROOT, require_tool

CORE = min(os.sched_getaffinity(0))


def test_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    """The last lines of its complaint are in the error."""
    program = [sys.executable, "-c", "raise SystemExit('no room')"]

    with (
        pytest.raises(measure.MeasurementError, match=r"it ended; no room"),
        measure.running(program, CORE, tmp_path / "log", os.environ),
    ):
        pass


def test_server_and_generator_have_cores_of_their_own() -> None:
    """They don't take time from each other, if there is a second core."""
    cores = machine.choose_cores({2, 5, 7})

    assert (cores.server, cores.load) == (2, 5)
    assert cores.note == "server on core 2, load generator on core 5"


def test_one_core_is_enough_and_is_told() -> None:
    """With one core the figures are worse, and say so."""
    cores = machine.choose_cores({3})

    assert (cores.server, cores.load) == (3, 3)
    assert "share it" in cores.note


def test_selections_know_their_names() -> None:
    """Commas and spaces separate names; nothing means all of them."""
    assert [w.name for w in workloads.select("connect, echo-100")] == [
        "connect",
        "echo-100",
    ]
    assert [p.name for p in programs.select("websock floor-epoll")] == [
        "websock",
        "floor-epoll",
    ]
    points = [w.clients for w in workloads.select("sweep")]
    assert points == [10, 100, 1000, 5000, 10_000]
    for everything in ("all", "", None):
        assert len(workloads.select(everything)) == len(workloads.WORKLOADS)
        assert len(programs.select(everything)) == len(programs.PROGRAMS)


@pytest.mark.parametrize("select", [workloads.select, programs.select])
def test_unknown_names_are_errors_that_list_the_known(
    select: Callable[[str], Any],
) -> None:
    """A slip of the pen doesn't measure something else."""
    with pytest.raises(ValueError, match=r"'nonsense'; there are: \w+"):
        select("nonsense")


def test_rounds_without_an_answer_have_no_waits() -> None:
    """A wait of no length would be the best of all."""
    starved = some_round(0, p99_us=0)
    rounds: list[Round] = [starved, some_round(100), starved]

    assert figures.median(rounds, "p99_us") == 1500
    assert figures.median([starved], "p99_us") is None
    assert figures.ratio([starved], [some_round(1)], "p99_us") is None
    assert figures.cpu_us([starved]) is None
    assert figures.cpu_us(rounds) == pytest.approx(10_000)
    text = report.table(
        workloads.WORKLOADS["echo-100"], {"websock": [starved]}, "websock", {}
    )
    assert text.count(" none ") == 3


def test_rounds_alternate_between_peers() -> None:
    """Each round has every peer once, and another one first."""
    peers = programs.select("websock,websockets-sync,floor-epoll")

    orders = [[p.name for p in command.rounds_order(peers, n)] for n in range(3)]

    assert [order[0] for order in orders] == [p.name for p in peers]
    assert all(sorted(order) == sorted(orders[0]) for order in orders)


def some_round(rate: float, **more: float) -> dict[str, float]:
    """Return what a measurement gives."""
    return {
        "rate": rate,
        "messages": rate,
        "clients": 10,
        "client_min": rate / 20,
        "p50_us": 500,
        "p99_us": 1500,
        "max_us": 2000,
        "oldest_pending_us": 0,
        "server_cpu": 1,
        "load_cpu": 0.5,
        **more,
    }


def test_ratio_is_that_of_neighbours_in_time() -> None:
    """A slow minute of the machine meets both sides of a ratio."""
    mine = [some_round(200), some_round(30), None, some_round(180)]
    theirs = [some_round(100), some_round(10), some_round(1), None]

    assert figures.ratio(mine, theirs, "rate") == pytest.approx(2.5)
    assert figures.median(mine, "rate") == 180
    assert figures.ratio([None], [None], "rate") is None


def test_table_has_rate_waits_and_fairness() -> None:
    """A rate comes with its p99, the worst wait, and the least client's share."""
    results: dict[str, list[Round]] = {
        "websock": [some_round(3000, oldest_pending_us=90_000)],
        "websockets-sync": [some_round(1000)],
        "floor-epoll": [None],
    }

    text = report.table(
        workloads.WORKLOADS["echo-100"],
        results,
        "websockets-sync",
        {"floor-epoll": "it ended"},
    )

    ours = next(line for line in text.splitlines() if line.startswith("  websock "))
    assert ours.split() == [
        *["websock", "3,000", "3,000", "to", "3,000"],
        *["0.500", "1.5", "90.0", "0.50", "333.3", "100%", "50%", "3.00", "x"],
    ]
    assert "  ! floor-epoll: it ended" in text


def test_generator_is_shown_not_to_be_the_bottleneck() -> None:
    """Its load tells, and the epoll floor what it could do."""
    ours = {"websock": [some_round(100)]}
    both = {**ours, "floor-epoll": [some_round(450)]}

    assert "used 50% of its core with websock" in report.bottleneck_note(ours)
    assert "it reached 450/s, 4.5 x as many" in report.bottleneck_note(both)
    assert "unknown" in report.bottleneck_note({"websock": [None]})


def test_row_that_the_generator_limits_is_flagged() -> None:
    """Its rate is what the generator can do, so it says nothing of the server."""
    results: dict[str, list[Round]] = {
        "websock": [some_round(300, load_cpu=0.94)],
        "floor-epoll": [some_round(900, load_cpu=0.96)],
    }

    text = report.table(workloads.WORKLOADS["echo-100"], results, "websock", {})
    note = report.bottleneck_note(results)

    assert " 94% " in text
    assert " 96%! " in text
    assert note.endswith("they can do more: floor-epoll")


def test_too_few_descriptors_are_told_before_the_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message says what to set, and to what."""
    monkeypatch.setattr("resource.getrlimit", lambda what: (1024, 1024))

    assert machine.shortage(900, threads=False) == ""
    assert machine.shortage(10_000, threads=False) == (
        "10,000 clients need `ulimit -n 10100`; the limit is 1024"
    )


def test_too_few_threads_are_told_before_the_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread takes two mappings of memory; a coroutine takes none."""
    monkeypatch.setattr("resource.getrlimit", lambda what: (1 << 20, 1 << 20))
    monkeypatch.setattr(
        machine, "_number", lambda path: 20_000 if "max_map" in path else 1 << 20
    )

    assert machine.shortage(10_000, threads=False) == ""
    assert machine.shortage(9000, threads=True) == ""
    assert machine.shortage(10_000, threads=True) == (
        "10,000 threads need `sysctl vm.max_map_count=21000`; it is 20000"
    )


@pytest.fixture
def dry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The command in this process, without programs, measurements or signals."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    monkeypatch.setattr(command, "raise_descriptor_limit", lambda: 20_000)
    monkeypatch.setattr(command, "shortage", lambda clients, threads: "")
    monkeypatch.setattr(command.Bench, "prepare", lambda self, peers: None)
    monkeypatch.setattr(command.Bench, "build", lambda self, peers: None)
    monkeypatch.setattr(command.Bench, "_one", lambda self, work, peer: some_round(9))
    return monkeypatch


def test_server_that_does_not_fit_is_not_started(
    dry: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are measured; the exit status tells that the table has a hole."""
    dry.setattr(
        command, "shortage", lambda clients, threads: "too few" if threads else ""
    )

    status = command.main(["--work=echo-10", "--peers=websock,floor-epoll"])

    told = capsys.readouterr().out
    assert status == 1
    assert "  ! websock: too few" in told
    assert "  floor-epoll " in told


def test_results_have_the_name_that_is_wanted(
    dry: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They are there with machine and versions, for others to read."""
    dry.setattr(command, "RESULTS", tmp_path)

    status = command.main(
        ["--work=echo-10", "--peers=floor-epoll", "--rounds=2", "--save=some-machine"]
    )

    results = json.loads((tmp_path / "some-machine.json").read_text())
    assert status == 0
    assert results["machine"]["processor"]
    assert results["workloads"]["echo-10"]["rounds"] == {
        "floor-epoll": [some_round(9)] * 2
    }


def test_older_results_are_compared_with(
    dry: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here everything stayed as it was; only then ratios decide the exit status."""
    dry.setattr(command, "RESULTS", tmp_path)
    what = ["--work=echo-10", "--peers=websock,picows", "--rounds=1"]

    assert command.main([*what, "--save=old"]) == 0
    assert command.main([*what, f"--compare={tmp_path / 'old.json'}"]) == 0
    assert "our ratios to others, now / then:" in capsys.readouterr().out

    dry.setattr(
        command.Bench,
        "_one",
        lambda self, work, peer: some_round(9 if peer.ours else 18),
    )
    assert command.main([*what, f"--compare={tmp_path / 'old.json'}"]) == 1
    assert "WORSE" in capsys.readouterr().out


def test_older_results_that_are_not_there_are_an_error_at_once(
    dry: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not after an hour of measuring."""
    with pytest.raises(SystemExit) as ended:
        command.main([f"--compare={tmp_path / 'absent.json'}"])

    assert ended.value.code == 2


def test_prepare_measures_nothing(
    dry: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It makes what the tests of other servers need."""
    prepared = []
    dry.setattr(command.Bench, "prepare", lambda self, peers: prepared.extend(peers))

    assert command.main(["--prepare"]) == 0
    assert len(prepared) == len(programs.PROGRAMS)
    assert capsys.readouterr().out == ""


def test_command_measures_and_leaves_results(tmp_path: Path) -> None:
    """The whole way: build, start, load, table, file; from any folder."""
    require_tool("gcc", apt="gcc libc6-dev zlib1g-dev")
    cache = tmp_path / "bench"
    cache.mkdir()
    done = subprocess.run(
        [
            *[sys.executable, str(ROOT / "benchmarks/run.py"), "--work=echo-100"],
            *["--peers=floor-epoll", "--rounds=1", "--seconds=0.1", "--warm-up=0"],
        ],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert done.returncode == 0, done.stderr
    assert "32 B echo, 100 clients" in done.stdout
    (written,) = (tmp_path / "websock-tools" / "bench" / "results").glob("*.json")
    (only,) = json.loads(written.read_text())["workloads"]["echo-100"]["rounds"][
        "floor-epoll"
    ]
    assert only["clients"] == 100
    assert only["messages"] > 0


def test_command_refuses_what_it_does_not_know(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is built or measured for a wrong name."""
    with pytest.raises(SystemExit) as ended:
        command.main(["--work=nonsense"])

    assert ended.value.code == 2
    assert "no workload 'nonsense'" in capsys.readouterr().err
