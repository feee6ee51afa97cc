"""Writes the tables and plots of docs/performance.md from the results that are kept: no figure is typed by hand.

A block begins with `<!-- figures: NAME … -->`, which names its benchmarks, and ends with `<!-- end of figures -->`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import plots, table
from benchmarks.result import FOLDER, Result, read_results

DOCS: Final = FOLDER.parent.parent / "docs"
_BLOCK: Final = re.compile(r"(<!-- figures: ([\w\- ]+) -->\n).*?(<!-- end of figures -->)", re.S)


def write(docs: Path = DOCS) -> None:
    """Write the page and the plots in this folder."""
    kept, page = _full_first(read_results()), docs / "performance.md"
    drawn = plots.write(_first_of_each(kept), docs / "performance")
    text = _BLOCK.sub(lambda found: _filled(found, kept, drawn), page.read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")


def _filled(found: re.Match[str], kept: Sequence[Result], drawn: Sequence[str]) -> str:
    names = found[2].split()
    shown = [one for name in names for one in kept if one.benchmark == name]
    measured = {one.benchmark for one in shown}
    parts = [table.markdown(shown)] if shown else []
    if missing := [f"`{name}`" for name in names if name not in measured]:
        parts.append(f"Not measured yet: {', '.join(missing)}.")
    alone = {one.benchmark for one in shown if not one.is_native}
    if lacking := [f"`{name}`" for name in names if name in measured - alone]:
        parts.append(f"Not measured with PyNaCl alone: {', '.join(lacking)}.")
    parts += [f"![{plots.PLOTS[one].title}](performance/{one}.svg)" for one in drawn if plots.is_of(one, names)]
    return "\n\n".join([f"{found[1].rstrip()}", *parts, found[3]])


def _full_first(kept: Sequence[Result]) -> list[Result]:
    """Without quick runs of what was fully measured."""
    full = {(one.benchmark, one.is_native) for one in kept if not one.is_quick}
    return [one for one in kept if not one.is_quick or (one.benchmark, one.is_native) not in full]


def _first_of_each(kept: Sequence[Result]) -> dict[str, Result]:
    """A result a benchmark; of those with several verifiers, the native one's."""
    return {one.benchmark: one for one in sorted(kept, key=lambda one: one.is_native)}
