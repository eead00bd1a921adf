"""One measurement: a fresh server, a fresh load generator, and what came out."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .machine import Cores, in_child, resident_kib, status_field
from .workloads import Workload

__all__ = ["MeasurementError", "Server", "measure", "read_line", "running"]

READY_SECONDS = 20.0
"""Most time for a server to listen, or for a step to answer."""

FINISH_SECONDS = 80.0
"""Most time of the generator besides warm-up and measuring: its own limits for
opening, draining and closing are 60, 10 and 5 seconds."""

SETTLE_SECONDS = 5.0
"""Most time to wait for memory that stands still."""


class MeasurementError(Exception):
    """A server or the generator did not do what it must."""


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    pid: int
    port: int
    name: str
    version: str
    notes: tuple[str, ...]


def read_line(stream: IO[str], timeout: float) -> str:
    """Return the next line of a pipe.

    Raises:
        MeasurementError: If there is none within ``timeout`` seconds.

    """
    deadline = time.monotonic() + timeout
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise MeasurementError(f"nothing was said within {timeout:g} s")
            piece = os.read(stream.fileno(), 1)
            if not piece:
                raise MeasurementError("it ended")
            line += piece
    return line.decode()


@contextmanager
def _process(
    command: Sequence[str],
    core: int,
    log: Path,
    environment: Mapping[str, str],
    nice: int = 0,
) -> Iterator[subprocess.Popen[str]]:
    """Run a program on a core; whatever happens, it is gone afterwards."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=dict(environment),
            preexec_fn=in_child(core, nice),
        )
    with process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()


def _complain(what: str, error: object, log: Path) -> MeasurementError:
    said = log.read_text(errors="replace").strip().splitlines()
    return MeasurementError("; ".join([f"{what}: {error}", *said[-3:]]))


@contextmanager
def running(
    command: Sequence[str],
    core: int,
    log: Path,
    environment: Mapping[str, str],
    nice: int = 0,
) -> Iterator[Server]:
    """Run a server, from its ready line on.

    Raises:
        MeasurementError: If it doesn't get ready; with the last it said.

    """
    with _process(command, core, log, environment, nice) as process:
        assert process.stdout is not None
        try:
            line = json.loads(read_line(process.stdout, READY_SECONDS))
        except (MeasurementError, ValueError) as error:
            raise _complain("the server is not ready", error, log) from None
        yield Server(
            process.pid,
            line["port"],
            line["name"],
            line["version"],
            tuple(line["notes"]),
        )


def _run_load(
    command: Sequence[str], cores: Cores, log: Path, timeout: float
) -> dict[str, Any]:
    with _process(command, cores.load, log, os.environ, cores.nice) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise _complain("the load generator", "it takes too long", log) from None
    if process.returncode != 0:
        raise _complain("the load generator", "it gave up", log)
    result: dict[str, Any] = json.loads(output)
    return result


def _settled_kib(pid: int) -> int:
    """Return the resident memory, when two looks at it agree."""
    deadline = time.monotonic() + SETTLE_SECONDS
    last = resident_kib(pid)
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = resident_kib(pid)
        if now == last:
            break
        last = now
    return last


def _measure_memory(
    server: Server, load: Path, workload: Workload, core: int, log: Path
) -> dict[str, Any]:
    start = [str(load), f"--port={server.port}"]
    # What the first clients load and allocate for all is not theirs.
    deflate = [option for option in workload.load if option == "--deflate"]
    first = ["--work=idle", "--clients=20", *deflate]
    all_ = [f"--clients={workload.clients}", *workload.load]
    with _process([*start, *first], core, log, os.environ) as process:
        assert process.stdout is not None
        read_line(process.stdout, READY_SECONDS)
        process.communicate(timeout=READY_SECONDS)
    before = _settled_kib(server.pid)
    threads = int(status_field(server.pid, "Threads"))
    with _process([*start, *all_], core, log, os.environ) as process:
        assert process.stdout is not None
        try:
            opened = json.loads(read_line(process.stdout, FINISH_SECONDS))["open"]
            after = _settled_kib(server.pid)
            more = int(status_field(server.pid, "Threads")) - threads
            process.communicate(timeout=READY_SECONDS)
        except (MeasurementError, subprocess.TimeoutExpired) as error:
            raise _complain("the load generator", error, log) from None
    return {
        "clients": opened,
        "before_kib": before,
        "after_kib": after,
        "kib_per_client": (after - before) / opened,
        "threads_per_client": more / opened,
    }


def measure(
    workload: Workload,
    server: Server,
    load: Path,
    cores: Cores,
    log: Path,
    *,
    warm_up: float,
    seconds: float,
) -> dict[str, Any]:
    """Put one workload on a server that is ready, and return what came out.

    Args:
        workload: What to do; it may stretch the times.
        server: Whom to measure.
        load: The load generator.
        cores: Where it runs.
        log: File for what the generator complains about.
        warm_up: Time before the measured time, in seconds.
        seconds: Measured time.

    Raises:
        MeasurementError: If any answer is wrong, or one is missing in the end.

    """
    if workload.kind == "memory":
        return _measure_memory(server, load, workload, cores.load, log)
    warm_up *= workload.stretch
    seconds *= workload.stretch
    command = [
        str(load),
        f"--port={server.port}",
        f"--server={server.pid}",
        f"--warm-up={warm_up}",
        f"--time={seconds}",
        f"--clients={workload.clients}",
        *workload.load,
    ]
    before = resident_kib(server.pid)
    timeout = warm_up + seconds + FINISH_SECONDS
    return {**_run_load(command, cores, log, timeout), "before_kib": before}
