"""Every server that benchmarks measure does every kind of work, and rightly.

Small loads; the generator compares each byte of each answer. Nothing here is timed.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import machine, measure, programs, workloads
from benchmarks.programs import Program
from benchmarks.workloads import Workload

from .generator import build_load
from .tools import ROOT, missing

CORES = machine.choose_cores()
FEW = 3
"""Clients of each row here."""

# Rows that differ in the number of clients alone are one.
ROWS = {
    dataclasses.replace(w, name="echo", title="", clients=FEW, goals=(), sweep=False)
    if w.sweep
    else dataclasses.replace(w, clients=FEW)
    for w in workloads.WORKLOADS.values()
    if w.kind == "rate"
}
KINDS = sorted({(row.server, row.compression) for row in ROWS})
PAIRS = [
    (program, server, compression)
    for program in programs.PROGRAMS.values()
    for server, compression in KINDS
    if server in program.works and compression in program.compressions
]


@pytest.fixture(scope="session")
def load() -> Path:
    """The load generator."""
    return build_load()


def start_of(program: Program) -> list[str]:
    """Return the command of a server, which imports our package from this tree."""
    cache = machine.cache_folder()
    folder = ROOT / "benchmarks" / "peers"
    if program.sources:
        built = programs.compile_c(program.name, folder, program.sources, cache)
        return [str(built), "--port=0"]
    python = programs.installed_environment(cache)
    if python is None:
        missing("the benchmarks' environment", "python -m benchmarks --prepare")
    return [str(python), str(folder / program.python), "--port=0"]


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[measure.Server]:
    """A server that does one kind of work."""
    program, work, compression = request.param
    options = [f"--work={work}", f"--compression={compression}"]
    command = [*start_of(program), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **program.environment}
    with measure.running(
        command, CORES.server, tmp_path / "server.log", environment
    ) as ready:
        yield ready


@pytest.mark.parametrize(
    ("server", "rows"),
    [
        (
            pair,
            sorted(
                (row for row in ROWS if (row.server, row.compression) == pair[1:]),
                key=lambda row: row.name,
            ),
        )
        for pair in PAIRS
    ],
    ids=[f"{p.name}-{work}-{compression}" for p, work, compression in PAIRS],
    indirect=["server"],
)
def test_server_answers_every_row(
    server: measure.Server, rows: list[Workload], load: Path, tmp_path: Path
) -> None:
    """Each message is answered as it must be, and each connection closed."""
    for row in rows:
        result = measure.measure(
            row, server, load, CORES, tmp_path / "log", warm_up=0, seconds=0.02
        )

        assert result["unanswered"] == 0, row.name
        assert result["closed"] == FEW, row.name
        assert result["server_kib"] > 0
        assert result["before_kib"] > 0


@pytest.mark.parametrize(
    "name", [w.name for w in workloads.WORKLOADS.values() if w.kind == "memory"]
)
def test_memory_of_idle_clients_is_measured(
    name: str, load: Path, tmp_path: Path
) -> None:
    """All clients are there when the server's memory is read."""
    row = dataclasses.replace(workloads.WORKLOADS[name], clients=FEW)
    program = programs.PROGRAMS["websockets-sync"]
    command = [*start_of(program), f"--compression={row.compression}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    with measure.running(
        command, CORES.server, tmp_path / "server.log", environment
    ) as server:
        result = measure.measure(
            row, server, load, CORES, tmp_path / "log", warm_up=0, seconds=0.02
        )

    assert result["clients"] == FEW
    assert result["threads_per_client"] >= 1
    assert result["after_kib"] > result["before_kib"] > 0


def test_packages_of_the_servers_are_pinned() -> None:
    """Figures of other versions would be other figures."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    pinned = project["dependency-groups"]["bench"]

    assert all("==" in requirement for requirement in pinned)
    assert set(pinned) < set(programs.requirements())


def test_environment_counts_only_when_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was interrupted is made again; other requirements are another one."""
    ran = []
    monkeypatch.setattr(programs, "_run", lambda command: ran.append(command))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = machine.cache_folder()

    assert programs.installed_environment(cache) is None
    python = programs.Site(tmp_path).python

    with pytest.raises(FileNotFoundError):
        python()  # our _run() makes no folder to mark
    assert programs.installed_environment(cache) is None
    Path(ran[0][-1]).mkdir(parents=True)
    made = python()
    assert programs.installed_environment(cache) == made
    monkeypatch.setattr(programs, "requirements", lambda: ["other==1"])
    assert programs.installed_environment(cache) is None


def test_missing_header_is_told_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generator needs zlib's header, which Debian has in a package of its own."""

    def complain(command: object) -> None:
        raise RuntimeError("fatal error: zlib.h: No such file or directory")

    monkeypatch.setattr(programs, "_run", complain)

    with pytest.raises(RuntimeError, match=r"zlib is missing: apt-get install .*zlib"):
        programs.compile_c("load", ROOT / "benchmarks/load", ["deflate.c"], tmp_path)
