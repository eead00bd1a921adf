"""Policies of the whole test suite: what is quick, no skips in CI, no leaks."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from .integration.wire import Recorder
from .tools import IN_CI, wait_until

HEAVY = {"slow", "autobahn", "browser", "dart", "docker", "node", "packaging"}
BROWSER = Path(__file__).parent / "browser"
# Quick each, but together more than the inner loop has time for.
LONG = ("integration/attacks/", "integration/test_foreign", "docs/", "test_benchmarks")
INTEGRATION = Path(__file__).parent / "integration"

# What is about the accelerator alone has nothing to test in the run without it.
collect_ignore = (
    ["test_link_alone.py", "test_link_fan_out.py"]
    if os.environ.get("WEBSOCK_SPEEDUPS") == "skip"
    else []
)

# A time limit for each example would measure the machine, not the code.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, database=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.load_profile("ci" if IN_CI else "default")


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark that is set here, and never by hand; let Ctrl-C work."""
    config.addinivalue_line("markers", "quick: has none of the marks above")
    # Whatever runs in the background of a shell ignores Ctrl-C, and so would the
    # programs that tests start and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as quick what isn't heavy; run that first, and ``tests/browser`` last.

    The browsers of that folder keep an event loop in the main thread, beside which
    no other test could run one of its own.
    """
    for item in items:
        if str(item.path.relative_to(Path(__file__).parent)).startswith(LONG):
            item.add_marker("slow")
        if not HEAVY & {mark.name for mark in item.iter_markers()}:
            item.add_marker("quick")
    items.sort(
        key=lambda item: (
            BROWSER in item.path.parents,
            item.get_closest_marker("quick") is None,
        )
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a failure of each test that is skipped in CI."""
    report = yield
    # A test that is expected to fail counts as one, too.
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    """Make a failure of each module that is skipped in CI."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture
def recorder() -> Recorder:
    """Callbacks that note everything."""
    return Recorder()


def _descriptors() -> dict[int, str]:
    """Open descriptors, and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        # The descriptor that the listing itself used is gone.
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def _children() -> dict[int, str]:
    """Child processes, and their names."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # "pid (name) state parent ...", where name may have anything in it.
            pid, _, rest = stat.read_text().partition(" (")
        except (FileNotFoundError, ProcessLookupError):
            continue
        name, _, rest = rest.rpartition(") ")
        if int(rest.split()[1]) == os.getpid():
            found[int(pid)] = name
    return found


@pytest.fixture(autouse=True)
def _no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail an integration test that leaves threads, descriptors, or processes.

    What fixtures of a wider scope hold was there before, and is theirs.
    """
    if INTEGRATION not in request.path.parents:
        yield
        return
    threads = set(threading.enumerate())
    descriptors = set(_descriptors().items())
    children = set(_children())

    yield

    def leaks() -> list[str]:
        return [
            *(f"thread {t.name}" for t in set(threading.enumerate()) - threads),
            *(
                f"descriptor {number} ({what})"
                for number, what in set(_descriptors().items()) - descriptors
            ),
            *(
                f"process {pid} ({name})"
                for pid, name in _children().items()
                if pid not in children
            ),
        ]

    # The end of a thread or process takes a moment; garbage is nobody's leak.
    if leaks():
        gc.collect()
        if not wait_until(lambda: not leaks(), timeout=5):
            pytest.fail("left behind: " + ", ".join(leaks()), pytrace=False)
