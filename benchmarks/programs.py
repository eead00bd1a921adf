"""The programs that are measured, and the one that measures: made when absent.

C programs are compiled into the cache folder, once per content. Packages of other
people go to a virtual environment in the cache folder. Our own package is copied
and built for each run, so that edits during a run change nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .machine import cache_folder

__all__ = [
    "PROGRAMS",
    "Program",
    "Site",
    "compile_c",
    "installed_environment",
    "requirements",
    "select",
]

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent

LOAD: Final = (
    "main.c",
    "load.c",
    "client.c",
    "reader.c",
    "message.c",
    "deflate.c",
    "histogram.c",
)
"""Sources of the load generator."""

WORKS: Final = frozenset({"echo", "json", "broadcast", "wait"})
"""All that a server can be told to do."""

COMPILER: Final = "apt-get install gcc libc6-dev zlib1g-dev"
"""How to have what C programs need."""

COMPLETE: Final = "complete"
"""File of an environment that has all its packages."""

SECONDS: Final = 300.0
"""Most time for one step of the preparation: a slow network, a small machine."""


@dataclass(frozen=True)
class Program:
    """One server."""

    name: str
    """What ``PEERS=`` selects."""

    title: str
    """What it is."""

    python: str = ""
    """Its file, if it is in Python."""

    sources: tuple[str, ...] = ()
    """Its files, if it is in C."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables added to the environment."""

    threads: bool = False
    """Whether it has a thread for each client."""

    ours: bool = False
    """Whether it imports this package."""

    works: frozenset[str] = WORKS
    """What it can do."""

    compressions: frozenset[str] = frozenset({"none", "deflate"})
    """What it can agree on."""


_ALL: Final[Sequence[Program]] = (
    Program(
        "websock", "this package", python="websock_server.py", threads=True, ours=True
    ),
    Program(
        "websock-pure",
        "this package without what is in C",
        python="websock_server.py",
        environment={"WEBSOCK_SPEEDUPS": "skip"},
        threads=True,
        ours=True,
    ),
    Program(
        "websockets-sync",
        "websockets, threaded server",
        python="websockets_sync.py",
        threads=True,
    ),
    Program(
        "websockets-asyncio",
        "websockets, asyncio server on uvloop",
        python="websockets_asyncio.py",
    ),
    Program(
        "picows",
        "picows on uvloop",
        python="picows_server.py",
        compressions=frozenset({"none"}),
    ),
    Program("socketify", "socketify, uWebSockets in C++", python="socketify_server.py"),
    Program("aiohttp", "aiohttp on uvloop", python="aiohttp_server.py"),
    Program(
        "simple-websocket",
        "simple-websocket, a thread each",
        python="simple_websocket_server.py",
        threads=True,
    ),
    Program(
        "floor-threads",
        "C, a thread each",
        sources=("floor_threads.c", "floor.c", "deflate.c", "sha1.c"),
        threads=True,
        works=frozenset({"echo", "broadcast", "wait"}),
    ),
    Program(
        "floor-epoll",
        "C, one epoll",
        sources=("floor_epoll.c", "floor.c", "deflate.c", "sha1.c"),
        # Its one thread would wait for one client after the other.
        works=frozenset({"echo", "broadcast"}),
    ),
)

PROGRAMS: Final[Mapping[str, Program]] = {p.name: p for p in _ALL}


def select(names: str | None) -> list[Program]:
    """Return the programs that a list of names means.

    Args:
        names: Names between commas or spaces; ``all``, :obj:`None` or nothing mean
            every program.

    Raises:
        ValueError: If there is no such program; it lists those there are.

    """
    wanted = (names or "").replace(",", " ").split()
    if wanted in ([], ["all"]):
        return list(_ALL)
    for name in wanted:
        if name not in PROGRAMS:
            known = ", ".join(PROGRAMS)
            raise ValueError(f"no peer {name!r}; there are: {known}")
    return [PROGRAMS[name] for name in wanted]


def compile_c(name: str, folder: Path, sources: Sequence[str], cache: Path) -> Path:
    """Compile C files into the cache folder, unless that was done before.

    Args:
        name: Name of the program.
        folder: Where the sources are, and all headers.
        sources: Files to compile.
        cache: Where the program goes.

    Raises:
        RuntimeError: If there is no compiler, or if it complains.

    """
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.h"), *(folder / s for s in sources)]):
        digest.update(path.read_bytes())
    program = cache / f"{name}-{digest.hexdigest()[:16]}"
    if program.exists():
        return program
    cache.mkdir(parents=True, exist_ok=True)
    made = program.with_suffix(f".{os.getpid()}")
    command = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
    try:
        _run([*command, "-o", str(made), *(str(folder / s) for s in sources), "-lz"])
    except FileNotFoundError:
        raise RuntimeError(f"gcc is missing: {COMPILER}") from None
    except RuntimeError as error:
        if "zlib.h" in str(error):
            raise RuntimeError(f"zlib is missing: {COMPILER}") from None
        raise
    # Somebody else may be doing the same.
    made.replace(program)
    return program


def _run(command: Sequence[str], cwd: Path | None = None) -> None:
    """Run a step of the preparation quietly, and show all of it when it fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}")


def requirements() -> list[str]:
    """Return what the Python programs need.

    The servers are the group ``bench`` of pyproject.toml; h11 is what our package
    depends on, and setuptools builds what is in C.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [
        *project["dependency-groups"]["bench"],
        *project["project"]["dependencies"],
        *project["build-system"]["requires"],
    ]


def installed_environment(cache: Path) -> Path | None:
    """Return the interpreter that has what is required, if there is one."""
    folder = _environment(cache)
    return folder / "bin" / "python" if (folder / COMPLETE).exists() else None


def _environment(cache: Path) -> Path:
    digest = hashlib.sha256("\n".join(requirements()).encode()).hexdigest()[:8]
    return cache / f"venv-{sys.version_info.major}.{sys.version_info.minor}-{digest}"


class Site:
    """Where the programs of one run are."""

    def __init__(self, scratch: Path) -> None:
        """Use ``scratch``, a folder that lives as long as the run."""
        self._scratch = scratch
        self._cache = cache_folder()
        self._copy: Path | None = None
        self._python: Path | None = None
        self.notes: list[str] = []

    def load_generator(self) -> Path:
        """Return the load generator."""
        return compile_c("load", HERE / "load", LOAD, self._cache)

    def command(self, program: Program) -> list[str]:
        """Return the start of the command that runs ``program``."""
        if program.sources:
            built = compile_c(
                program.name, HERE / "peers", program.sources, self._cache
            )
            return [str(built)]
        return [str(self.python()), str(HERE / "peers" / program.python)]

    def environment(self, program: Program) -> dict[str, str]:
        """Return the environment that ``program`` runs in."""
        environment = dict(os.environ)
        # The reader's shell doesn't decide what is measured.
        environment.pop("WEBSOCK_SPEEDUPS", None)
        # The built copy comes before the tree, which is there for `benchmarks`.
        folders = [self.copy(), ROOT] if program.ours else [ROOT]
        environment["PYTHONPATH"] = os.pathsep.join(map(str, folders))
        return {**environment, **program.environment}

    def python(self) -> Path:
        """Return the interpreter of the environment with other people's packages."""
        if self._python is not None:
            return self._python
        python = installed_environment(self._cache)
        if python is None:
            folder = _environment(self._cache)
            python = folder / "bin" / "python"
            _run([sys.executable, "-m", "venv", "--clear", str(folder)])
            _run([str(python), "-m", "pip", "install", "-q", *requirements()])
            (folder / COMPLETE).touch()
        self._python = python
        return python

    def copy(self) -> Path:
        """Return a folder with a built copy of our package."""
        if self._copy is not None:
            return self._copy
        folder = self._scratch / "package"
        shutil.copytree(
            ROOT / "websock",
            folder / "websock",
            ignore=shutil.ignore_patterns("*.so", "__pycache__"),
        )
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            if (ROOT / name).exists():
                shutil.copy(ROOT / name, folder)
        build = "import setuptools; setuptools.setup()"
        start = ["setup.py"] if (folder / "setup.py").exists() else ["-c", build]
        try:
            _run([str(self.python()), *start, "build_ext", "--inplace"], cwd=folder)
        except RuntimeError as error:
            self.notes.append(f"the C twin could not be built: {error}")
        self._copy = folder
        return folder
