"""Plots of results as SVG, for a light page and for a dark one."""

import io
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from benchmarks.result import Result, number

Results = Mapping[str, Result]

_INK: Final = "#010203"
"""Becomes the page's own colour of text."""
_STYLE: Final = """<style>
 svg { color: #1f2328; background: #ffffff; }
 @media (prefers-color-scheme: dark) { svg { color: #d1d7e0; background: #0d1117; } }
</style>"""
_COLOURS: Final = ("#2f81f7", "#d9822b", "#2ea36b", "#b36ae2")
_SETTINGS: Final[Any] = {
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.12,
    "font.family": "sans-serif",
    "font.size": 10,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "tallystick",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def write(results: Results, folder: Path) -> list[str]:
    """Draw what there are figures for; names of the files, which are of the same bytes for the same figures."""
    folder.mkdir(exist_ok=True)
    names = [name for name in PLOTS if is_of(name, results)]
    for name in names:
        (folder / f"{name}.svg").write_bytes(_drawn(results, PLOTS[name].panels))
    return names


def is_of(name: str, benchmarks: Container[str]) -> bool:
    """Whether the figures of a plot are those of these benchmarks."""
    return all(one in benchmarks for one in PLOTS[name].benchmarks)


def _drawn(results: Results, panels: "tuple[Panel, ...]") -> bytes:
    with mpl.rc_context(_SETTINGS):
        canvas, data = Canvas(figsize=(1.4 + 4.1 * len(panels), 3.3), layout="constrained"), io.StringIO()
        for panel, axes in zip(panels, canvas.subplots(1, len(panels), squeeze=False)[0], strict=True):
            axes.set_prop_cycle(color=_COLOURS)
            panel(results, axes)
        canvas.savefig(data, format="svg", metadata={"Date": None, "Creator": None})
    head, tag, rest = data.getvalue().replace(_INK, "currentColor").partition("<defs>")
    return "\n".join(line.rstrip() for line in f"{head}{_STYLE}\n {tag}{rest}".splitlines()).encode() + b"\n"


# ---- panels ---------------------------------------------------------------------------------------------------------

Panel = Callable[[Results, Axes], None]


def _bars(benchmark: str, name: str, title: str) -> Panel:
    """One bar a system; the line over its end is the range of the rounds."""

    def draw(results: Results, axes: Axes) -> None:
        bars = [one for one in results[benchmark].figures if one.name.startswith(f"{name}, ")][::-1]
        labels = [one.name.removeprefix(f"{name}, ") for one in bars]
        spread = [[one.median - one.low for one in bars], [one.high - one.median for one in bars]]
        colours = _COLOURS[: len(bars)][::-1]
        axes.barh(labels, [one.median for one in bars], color=colours, xerr=spread, ecolor=_INK, height=0.6)
        for place, one in enumerate(bars):
            axes.annotate(number(one.median), (one.high, place), (5, 0), textcoords="offset points", va="center")
        axes.margins(x=0.2)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(lambda value, _: number(value))
        axes.set_title(f"{title} ({bars[0].unit})")

    return draw


def _latencies(results: Results, axes: Axes) -> None:
    """Shares of the records that were final after so many milliseconds."""
    for one in results["latency"].figures:
        if one.name.startswith("samples, "):
            axes.ecdf(one.rounds, label=one.name.removeprefix("samples, "), linewidth=1.8)
    axes.set(xscale="log", xlabel="ms from handing in to final (logarithmic)", ylabel="share of records")
    axes.set_title("Four idle nodes, one record at a time")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3, fontsize=9)
    axes.xaxis.set_major_formatter(lambda value, _: number(value))
    axes.minorticks_off()


def _curves(benchmark: str, names: tuple[str, ...], title: str, along: str) -> Panel:
    """Medians against what the figures were taken at, the range of the rounds shaded."""

    def draw(results: Results, axes: Axes) -> None:
        unit, most = "", 0.0
        for name in names:
            points = [one for one in results[benchmark].figures if one.name == name]
            places = [one.at or 0.0 for one in points]
            axes.plot(places, [one.median for one in points], marker="o", markersize=4, label=name)
            axes.fill_between(places, [one.low for one in points], [one.high for one in points], alpha=0.2, linewidth=0)
            axes.set_xticks(places, [_short(one) for one in places])
            unit, most = points[0].unit, max(most, *(one.high for one in points))
        axes.set(xlabel=along, title=f"{title} ({unit})" if unit else title)
        axes.set_ylim(0, 1.1 * most)
        if len(names) > 1:
            axes.legend(fontsize=9)

    return draw


def _on_log_scale(panel: Panel) -> Panel:
    def draw(results: Results, axes: Axes) -> None:
        axes.set_xscale("log", base=2)
        panel(results, axes)
        axes.minorticks_off()

    return draw


def _short(value: float) -> str:
    return f"{value / 1e6:.3g} M" if value >= 1e6 else f"{value / 1e3:.3g} k" if value >= 1e4 else number(value)


class Plot(NamedTuple):
    """Panels side by side."""

    title: str
    benchmarks: tuple[str, ...]
    """Whose results it takes."""
    panels: tuple[Panel, ...]


PLOTS: Final[Mapping[str, Plot]] = {
    "throughput": Plot(
        "Final records a second at four nodes, and processor time of a record",
        ("throughput",),
        (_bars("throughput", "rate", "Final at four nodes"), _bars("throughput", "processor time", "Processor time")),
    ),
    "latency": Plot("Time from handing a record in until it is final", ("latency",), (_latencies,)),
    "length": Plot(
        "Cost of a certificate by the ledger's length, and by the size of a batch",
        ("length", "batch"),
        (
            _on_log_scale(_curves("length", ("cost",), "Cost of a certificate", "certificates on the ledger")),
            _on_log_scale(_curves("batch", ("cost",), "Cost of a certificate", "certificates a message and block")),
        ),
    ),
    "members": Plot(
        "Cost of a block, and bytes sent, by the number of members",
        ("agreement", "traffic"),
        (
            _curves("agreement", ("cost",), "Cost of a block at each member", "members"),
            _curves("traffic", ("all", "certificates", "votes"), "Bytes sent / certificates' own", "members"),
        ),
    ),
    "memory": Plot(
        "Memory of a node by the ledger's length",
        ("length",),
        (
            _on_log_scale(
                _curves("length", ("memory", "memory, whole"), "Memory of a node", "certificates on the ledger")
            ),
        ),
    ),
}
