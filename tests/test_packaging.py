"""What users get: the source distribution, the wheel, and an installation of each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from .tools import ROOT

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

ECHO = """
import threading
from websockets.sync.client import connect
from websock import WebSocketServer

server = WebSocketServer("127.0.0.1", 0, on_data_receive=lambda c, d: c.send(d))
thread = threading.Thread(target=server.serve_forever)
thread.start()
assert server.wait_ready(10)
with connect("ws://%s:%d/" % server.address[:2]) as client:
    client.send("Hello")
    assert client.recv(10) == "Hello"
server.shutdown(10)
thread.join(10)
assert not thread.is_alive()
"""


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a command outside the repository; return what it printed."""
    environment = {
        name: value
        for name, value in os.environ.items()
        # Neither our settings nor those of the run that we are in.
        if not name.startswith(("COV", "PYTEST", "PYTHON", "WEBSOCK"))
    }
    result = subprocess.run(
        command,
        cwd=cwd,
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, f"{command}:\n{result.stdout}"
    return result.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both distributions, the wheel from the sdist; return their folder."""
    folder = tmp_path_factory.mktemp("dist")
    run(
        *(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT),
        cwd=folder,
        WEBSOCK_SPEEDUPS=os.environ.get("WEBSOCK_SPEEDUPS", ""),
    )
    return folder


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    """Build the source distribution."""
    (path,) = dist.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """Build the wheel."""
    (path,) = dist.glob("*.whl")
    return path


def metadata_of(wheel: Path) -> Message:
    """Read the metadata of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def clean_environment(folder: Path, distribution: Path, **variables: str) -> Path:
    """Make a virtual environment with the package in it; return its Python.

    What the package and its tests need comes from the environment of this run, so that
    no package index is asked.
    """
    venv.create(folder)
    python = folder / "bin" / "python"
    # Such a file adds a folder, and none of the packages in the tree that it may name.
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "beside.pth").write_text(sysconfig.get_path("purelib"))
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "-q"),
        *("--no-index", "--no-build-isolation", "--no-deps", "--force-reinstall"),
        distribution,
        cwd=folder,
        **variables,
    )
    run(sys.executable, "-m", "pip", "--python", python, "check", cwd=folder)
    where = run(python, "-c", "import websock; print(websock.__file__)", cwd=folder)
    assert Path(where).is_relative_to(site)
    return python


def test_sdist_has_what_building_and_testing_needs(sdist: Path) -> None:
    """Every file that git knows is in it, but for what serves git alone."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    tracked = run("git", "ls-files", cwd=ROOT).splitlines()
    assert {
        name
        for name in set(tracked) - names
        if name != ".gitignore" and not name.startswith("benchmarks/results/")
    } == set()


def test_sdist_has_nothing_that_was_built(sdist: Path) -> None:
    """No byte code, no binaries, nothing of the tools."""
    with tarfile.open(sdist) as archive:
        names = archive.getnames()

    assert [
        name
        for name in names
        if re.search(
            r"\.(so|pyc)$|/__pycache__|/node_modules|/\.venv|/_build|_cache/", name
        )
    ] == []


def test_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    """Python files, the type marker, the stubs, and perhaps what is in C."""
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}

    expected = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.py", "*.pyi", "py.typed")
        for path in (ROOT / "websock").rglob(pattern)
    }
    stubs = {"websock/_link.pyi", "websock/_speedups.pyi"}
    built = {n for n in names if n.endswith((".so", ".pyd"))}
    assert names - built == expected
    assert expected >= stubs
    assert {f"{n.partition('.')[0]}.pyi" for n in built} <= stubs


def test_wheel_needs_h11_alone(wheel: Path) -> None:
    """At run time there is one dependency; there are no extras."""
    metadata = metadata_of(wheel)

    requirements = metadata.get_all("Requires-Dist", [])
    assert [re.split(r"[^\w-]", line)[0] for line in requirements] == ["h11"]
    assert metadata.get_all("Provides-Extra", []) == []
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"


def test_wheel_passes_the_tests_when_installed(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    """The quick tests of the sdist pass on the wheel, in a clean environment."""
    run("tar", "-xf", sdist, cwd=tmp_path)
    (folder,) = tmp_path.glob("websock-*")
    shutil.rmtree(folder / "websock")
    python = clean_environment(tmp_path / "venv", wheel)

    output = run(
        *(python, "-m", "pytest", "-q", "-m", "quick", "-n", "2"),
        "--hypothesis-profile=quick",
        cwd=folder,
    )

    assert re.search(r"^\d+ passed", output.splitlines()[-1]), output


def test_types_of_the_wheel_are_seen_by_users(wheel: Path, tmp_path: Path) -> None:
    """Programs of users are checked with the types of the installed package."""
    python = clean_environment(tmp_path / "venv", wheel)
    programs = shutil.copytree(ROOT / "tests" / "typing", tmp_path / "programs")

    output = run(
        *(sys.executable, "-m", "mypy", "--strict", "--python-executable", python),
        *programs.glob("*.py"),
        cwd=programs,
    )

    assert "Success" in output


def test_package_works_without_a_compiler(sdist: Path, tmp_path: Path) -> None:
    """The package is installed without the twin, and serves."""
    python = clean_environment(tmp_path / "venv", sdist, CC="/nonexistent/cc")

    check = "from websock._masking import SPEEDUPS; assert not SPEEDUPS"
    run(python, "-c", check, cwd=tmp_path)
    run(python, "-W", "error", "-c", ECHO, cwd=tmp_path)


def test_installation_fails_if_the_twin_is_required(
    sdist: Path, tmp_path: Path
) -> None:
    """Whoever needs the speed hears that it isn't there."""
    variables = {"CC": "/nonexistent/cc", "WEBSOCK_SPEEDUPS": "require"}

    with pytest.raises(AssertionError, match="nonexistent"):
        clean_environment(tmp_path / "venv", sdist, **variables)
