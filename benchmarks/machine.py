"""What a measurement needs from the machine: cores, descriptors, memory, facts."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Cores",
    "cache_folder",
    "choose_cores",
    "facts",
    "in_child",
    "raise_descriptor_limit",
    "resident_kib",
    "shortage",
    "status_field",
]


def cache_folder() -> Path:
    """Return the folder for what is built once: programs and environments."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "websock-tools" / "bench"


@dataclass(frozen=True)
class Cores:
    """Where the server and the load generator run, and how eagerly."""

    server: int
    load: int
    nice: int = 0

    @property
    def note(self) -> str:
        """What a reader of the results must know."""
        if self.server == self.load:
            return (
                f"only core {self.server} may be used: server and load generator "
                "share it, so rates are too low and waits too long"
            )
        note = f"server on core {self.server}, load generator on core {self.load}"
        return f"{note}, both at niceness {self.nice}" if self.nice else note


def choose_cores(available: set[int] | None = None, nice: int = 0) -> Cores:
    """Give the server the first core, and the generator the second one, if any.

    Args:
        available: Numbers of the cores; by default those of this process.
        nice: Niceness of both.

    """
    cores = sorted(os.sched_getaffinity(0) if available is None else available)
    return Cores(server=cores[0], load=cores[min(1, len(cores) - 1)], nice=nice)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of descriptors to the hard one, and return it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


SPARE = 100
"""What a process needs besides its clients: descriptors, or threads."""


def _number(path: str) -> int:
    """Return the number in a file of /proc or /sys; a large one if there is none."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path(path).read_text())
    return 1 << 62


def shortage(clients: int, threads: bool) -> str:
    """Return what the machine lacks for so many clients, and how to have it.

    Args:
        clients: How many connections one process has.
        threads: Whether each of them has a thread, which takes two mappings of
            memory: its stack and the guard page below.

    Returns:
        A sentence; nothing if nothing is known to lack.

    """
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if 0 <= descriptors < clients + SPARE:
        need = f"ulimit -n {clients + SPARE}"
        return f"{clients:,} clients need `{need}`; the limit is {descriptors}"
    if not threads:
        return ""
    for setting, least in (
        ("vm.max_map_count", 2 * clients + 10 * SPARE),
        ("kernel.threads-max", clients + 10 * SPARE),
        ("kernel.pid_max", clients + 10 * SPARE),
    ):
        value = _number(f"/proc/sys/{setting.replace('.', '/')}")
        if value < least:
            need = f"`sysctl {setting}={least}`"
            return f"{clients:,} threads need {need}; it is {value}"
    return ""


def _set_priority(nice: int) -> None:
    """Set the niceness of the calling process, and that of its group."""
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    # Where the kernel shares time between sessions first (sched_autogroup),
    # niceness counts within a session only, so there must be one of our own.
    os.setsid()
    with contextlib.suppress(FileNotFoundError):
        Path("/proc/self/autogroup").write_text(str(nice))


def in_child(core: int, nice: int = 0) -> Callable[[], None]:
    """Return what a child runs before its program: one core, and no life alone.

    Args:
        core: The core that it may use.
        nice: Its niceness; below that of others who use the machine, their work
            disturbs less. Below 0 takes root.

    """
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def prepare() -> None:
        os.sched_setaffinity(0, {core})
        if nice:
            _set_priority(nice)
        # PR_SET_PDEATHSIG: end with the parent, however it ends. It may have ended
        # before the call.
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def resident_kib(pid: int) -> int:
    """Return the resident memory of a process, in KiB.

    It is that of the kernel's walk over the pages; the counter in ``status`` lags
    behind by some pages per thread.
    """
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1])
    return int(status_field(pid, "VmRSS").split()[0])


def status_field(pid: int, name: str) -> str:
    """Return a field of ``/proc/<pid>/status``, or nothing."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _compiler() -> str:
    done = subprocess.run(["gcc", "--version"], capture_output=True, text=True)
    return done.stdout.partition("\n")[0]


def facts() -> dict[str, object]:
    """Return what the numbers depend on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler": _compiler(),
        "load_average": os.getloadavg()[0],
    }
