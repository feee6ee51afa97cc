"""Figures as tables: on the terminal, and in docs/performance.md."""

from collections.abc import Iterator, Sequence

from benchmarks.result import Figure, Result, number

_HEAD = ("figure", "target", "measured", "met?")


def rows(results: Sequence[Result]) -> list[tuple[str, str, str, str]]:
    """A row a figure: name, target, measured, whether that meets it; figures that are absent come with the reason."""
    return [row for one in results for row in _rows_of(one)]


def text(results: Sequence[Result], *, only_targets: bool = False) -> str:
    """The rows in columns; `only_targets` leaves out what has none."""
    shown = [_HEAD, *(one for one in rows(results) if one[1] or not only_targets)]
    widths = [max(len(row[column]) for row in shown) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown
    )


def markdown(results: Sequence[Result]) -> str:
    """A table for the documentation, and where its figures were taken."""
    lines = [
        "| `make bench ARGS=…` | figure | what is compared | goal | measured | met? |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in results:
        for each in one.figures:
            cells = (_full_name(each), each.compared, str(each.goal or ""), measured(each), _met(each))
            lines.append(f"| {_kind(one)} | {' | '.join(cells)} |")
        lines += [f"| {_kind(one)} | {gap.name} | absent: {gap.reason} | | | |" for gap in one.absent]
    return "\n".join([*lines, "", *_origins(results)])


def measured(one: Figure) -> str:
    """Median, and the range of the rounds."""
    unit = f" {one.unit}" if one.unit else ""
    spread = f" ({number(one.low)} to {number(one.high)}; {len(one.rounds)})" if len(one.rounds) > 1 else ""
    return f"{number(one.median)}{unit}{spread}"


def _rows_of(one: Result) -> Iterator[tuple[str, str, str, str]]:
    for each in one.figures:
        yield f"{one.benchmark}: {_full_name(each)}", str(each.goal or ""), measured(each), _met(each)
    for gap in one.absent:
        yield f"{one.benchmark}: {gap.name}", "–", f"absent: {gap.reason}", "–"


def _full_name(one: Figure) -> str:
    return one.name if one.at is None else f"{one.name} at {number(one.at)}"


def _met(one: Figure) -> str:
    return "" if one.goal is None else "yes" if one.goal.is_met(one.median) else "no"


def _kind(one: Result) -> str:
    """The benchmark, whether signatures were verified natively, and whether the run was a quick one."""
    more = [word for word, is_so in (("native", one.is_native), ("quick", one.is_quick)) if is_so]
    return ", ".join((f"`{one.benchmark}`", *more))


def _origins(results: Sequence[Result]) -> list[str]:
    """A line for each run that figures come from: commit, verifier, machine."""
    runs: dict[str, list[str]] = {}
    for one in results:
        machine = f"{one.cores} cores, {one.processor}, Python {one.python}"
        run = f"at commit {one.commit} on {one.taken_at[:10]}, verified by {one.verifier}, {machine}"
        runs.setdefault(run, []).append(f"`{one.benchmark}`{' (quick)' if one.is_quick else ''}")
    return [f"Taken {run}: {', '.join(names)}." for run, names in runs.items()]
