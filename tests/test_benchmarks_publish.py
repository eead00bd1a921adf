"""Benchmarks: tables and plots from a file of results."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from benchmarks import publish, svg
from benchmarks.programs import PROGRAMS


def a_round(rate: float, **more: float) -> dict[str, float]:
    """Return what a measurement gives."""
    return {
        "rate": rate,
        "p99_us": 2500,
        "server_cpu": 0.9,
        "load_cpu": 0.4,
        "server_kib": 20_480,
        **more,
    }


def some_results() -> dict[str, Any]:
    """Return what a result file holds."""
    echoes = {
        "websock": [a_round(1000), a_round(1200)],
        "picows": [a_round(1500, load_cpu=0.99), a_round(1800, load_cpu=0.99)],
        "aiohttp": [a_round(500), None],
        "simple-websocket": [None, None],
        "websockets-sync": [a_round(0, p99_us=0)] * 2,
    }
    idle = {
        "websock": [{"kib_per_client": 20.0}],
        "picows": [{"kib_per_client": 30.0}],
        "aiohttp": [{"kib_per_client": 10.0}],
    }
    return {
        "date": "2026-01-02T03:04:05+0000",
        "machine": {"processor": "A Processor", "cores": 2, "kernel": "6.1"},
        "versions": {"websock": "websock 2", "picows": "picows 1 (uvloop 2)"},
        "rounds": 2,
        "seconds": 0.5,
        "workloads": {
            "echo-10": {"rounds": echoes},
            "echo-100": {"rounds": echoes},
            "idle-2000": {"rounds": idle},
            "row of old": {"rounds": echoes},
        },
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7.25, "7.25"),
        (999.4, "999"),
        (1000, "1k"),
        (1234, "1.23k"),
        (117_000, "117k"),
        (999_400, "999k"),
        (999_900, "1M"),
        (1_137_000, "1.14M"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    """Three digits are more than rounds agree on."""
    assert publish.short(value) == text


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(54, "54 us"), (999.9, "1 ms"), (2345, "2.35 ms"), (1_400_000, "1.4 s")],
)
def test_waits_have_their_unit(microseconds: float, text: str) -> None:
    """Servers differ so much that one unit would not do."""
    results = some_results()
    results["workloads"]["echo-10"]["rounds"]["websock"] = [
        a_round(1000, p99_us=microseconds)
    ]

    assert f"     - 1k ({text})\n" in publish.table(results)


def test_table_has_rates_with_p99_and_ratios() -> None:
    """Bold is who is better than ours; a dagger, whom the generator limited."""
    text = publish.table(some_results())

    row = text[text.index("32 B echo, 10 clients") :].splitlines()[1:6]
    assert row == [
        "     - 1.1k (2.5 ms)",
        "     - 0 (no answer) 0.00 ×",
        "     - **1.65k**† (2.5 ms) 1.50 ×",
        "     - 500 (2.5 ms) 0.50 ×",
        "     - failed",
    ]
    assert "† The load generator was the limit." in text
    assert "2026-01-02, A Processor, 2 cores, Linux 6.1. websock 2; picows 1" in text
    assert "row of old" not in text


def test_less_memory_is_better() -> None:
    """There, whoever needs less is bold; who has no such row has a dash."""
    text = publish.table(some_results())

    row = text[text.index("resident memory per idle client") :].splitlines()[1:6]
    assert row == [
        "     - 20.0 KiB",
        "     - –",
        "     - 30.0 KiB 1.50 ×",
        "     - **10.0 KiB** 0.50 ×",
        "     - –",
    ]


def test_table_is_restructuredtext() -> None:
    """Documentation includes it, and is built with warnings as errors."""
    docutils = pytest.importorskip("docutils.core")

    html = docutils.publish_string(
        publish.table(some_results()),
        writer="html5",
        settings_overrides={"halt_level": 2, "input_encoding": "unicode"},
    ).decode()

    assert html.count("<tr") == 4
    assert "<strong>1.65k</strong>" in html


def texts(document: str) -> list[str]:
    """Return the texts of a plot, which must be XML."""
    root = ElementTree.fromstring(document)
    return [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_each_workload_has_a_plot_of_rate_and_p99() -> None:
    """A rate counts only with its p99. Whoever failed has no bar."""
    plots = publish.plots(some_results())

    shown = texts(plots["echo-10.svg"])

    assert set(plots) == {
        "echo-10.svg",
        "echo-100.svg",
        "idle-2000.svg",
        "cpu.svg",
        "memory.svg",
    }
    assert {"per second", "p99, logarithmic", "1.1k", "1.65k", "2.5 ms"} < set(shown)
    assert "simple-websocket" not in shown


def test_curves_are_over_the_number_of_clients() -> None:
    """One for each server that answered, through each row of the sweep."""
    plots = publish.plots(some_results())

    for name in ("cpu.svg", "memory.svg"):
        root = ElementTree.fromstring(plots[name])
        lines = root.findall("{http://www.w3.org/2000/svg}polyline")
        assert len(lines) >= 3
        assert all(len(line.attrib["points"].split()) == 2 for line in lines)
    assert "websockets-sync" not in texts(plots["cpu.svg"])


def test_no_sweep_no_curves() -> None:
    """A file of other rows has none to show."""
    results = some_results()
    for name in ("echo-10", "echo-100"):
        del results["workloads"][name]

    assert set(publish.plots(results)) == {"idle-2000.svg"}


def test_bars_stay_in_their_panel() -> None:
    """From nothing to the highest, linear or logarithmic; names are escaped."""
    values = [0.0, 1.0, 50.0, 1000.0]
    rows = [svg.Bar(f"<{v}>", v, v, v, f"{v} & more", v == 50) for v in values]

    document = svg.bars("a < b", [svg.Panel("1", rows), svg.Panel("2", rows, log=True)])

    root = ElementTree.fromstring(document)
    rects = root.findall("{http://www.w3.org/2000/svg}rect")[1:]
    widths = [float(rect.attrib["width"]) for rect in rects]
    assert all(0 <= width <= svg.BAR_WIDTH for width in widths)
    for panel in (widths[:4], widths[4:]):
        assert panel == sorted(panel)
        assert panel[-1] == svg.BAR_WIDTH
    assert "<50.0>" in texts(document)


def test_every_server_has_a_curve_of_its_own() -> None:
    """No two look the same."""
    looks = [
        (svg.COLORS[n % len(svg.COLORS)], svg.DASHES[n // len(svg.COLORS)])
        for n in range(len(PROGRAMS))
    ]

    assert len(set(looks)) == len(looks)


def test_command_writes_table_and_plots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into a folder that need not exist."""
    file = tmp_path / "some.json"
    file.write_text(json.dumps(some_results()))
    folder = tmp_path / "a" / "folder"

    assert publish.main([str(file), str(folder)]) == 0
    assert (folder / "table.rst").read_text() == publish.table(some_results())
    assert len(list(folder.glob("*.svg"))) == 5
    assert "6 files" in capsys.readouterr().out
