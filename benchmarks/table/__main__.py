"""The table: every figure that is promised, beside a bare server, the reference and the target.

    scripts/bench [--short] [--markdown] [ROW or GROUP ...]

Rows are measured in groups, each with a cluster of its own. `--short` takes smaller numbers; `--markdown` writes the
table into docs/performance.md. What needs root (real containers) is left out, and said, for other users.
"""

import argparse
import datetime
import importlib
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

import uvloop

from benchmarks.table.rows import BY_KEY, ROWS, Figure, Row, is_reached

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
GROUPS = {
    "life": ("start", "start-simulated", "idle-memory", "idle-memory-gateway", "idle-cpu"),
    "requests": (
        "create", "create-p99", "get", "list-2000", "list-none", "patch", "apply", "watch-50", "watch-50-p99",
        "watch-1000", "watch-1000-p99", "memory-after",
    ),
    "placing": ("deployment", "schedule-1000", "schedule-5000"),
    "real_pods": ("pod", "pods-100", "pods-500"),
    "inside": ("inside-first", "inside-start", "inside-fork", "inside-day"),
    "large": ("list-20000", "list-50000", "list-50000-pages", "restart", "memory-1000"),
    "custom": ("custom-create", "custom-list"),
    "nodes": ("nodes-start", "nodes-memory", "nodes-list", "nodes-schedule"),
    "restricted": ("restricted-get", "restricted-create"),
}  # fmt: skip
HEAD = ("", "measured", "of bare", "CPU ms (bare)", "PSS MB", "reference", "target", "reached")


def main() -> None:
    options = arguments()
    chosen = groups(options.rows)
    figures: dict[str, Figure] = {}
    for group in chosen:
        print(f"{group} ...", file=sys.stderr, flush=True)
        for figure in uvloop.run(collect(group, options.short)):
            figures[figure.key] = figure
            print(line(cells(BY_KEY[figure.key], figure)), flush=True)
    wanted = [row for row in ROWS if row.key in figures]
    print("\n" + "\n".join(text(wanted, figures)))
    if options.markdown:
        write(wanted, figures, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures Sampan and prints one table.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"rows or groups: {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--short", action="store_true", help="smaller numbers, for a first look")
    parser.add_argument("--markdown", action="store_true", help="write the table into docs/performance.md")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in GROUPS and name not in BY_KEY]
    if unknown:
        parser.error(f"no row or group is called {', '.join(unknown)}; rows: {', '.join(BY_KEY)}")
    return options


def groups(names: list[str]) -> list[str]:
    """The groups that the named rows are in, all without a name."""
    return [group for group, keys in GROUPS.items() if not names or group in names or set(keys) & set(names)]


async def collect(group: str, short: bool) -> list[Figure]:
    module = importlib.import_module(f"benchmarks.table.{group}")
    return [figure async for figure in module.measure(short)]


def cells(row: Row, figure: Figure) -> tuple[str, ...]:
    """A row of the table."""
    target = "no worse than bare" if row.no_worse else ""
    if row.target:
        target = f"{'<= ' if row.is_less else ''}{number(row.target)} {row.unit}"
        if row.wanted_ratio:
            target += f" ({share(row.wanted_ratio)} of bare)"
    reached = {True: "yes", False: "no", None: ""}[is_reached(row, figure)]
    measured = f"{number(figure.value)} {row.unit}" + (f" ({figure.note})" if figure.note else "")
    return (
        row.text,
        measured,
        share(figure.ratio) if figure.bare else "",
        processor(figure),
        f"{figure.pss_mb:.0f}" if figure.pss_mb else "",
        row.reference,
        target,
        reached,
    )


def processor(figure: Figure) -> str:
    """What one operation took of a core, and of the bare server's."""
    if not figure.cpu_ms:
        return ""
    return number(figure.cpu_ms) + (f" ({number(figure.bare_cpu_ms)})" if figure.bare_cpu_ms else "")


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def share(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.3f}"


def line(parts: Iterable[str]) -> str:
    return "  ".join(part.strip() for part in parts if part)


def text(rows: list[Row], figures: dict[str, Figure]) -> list[str]:
    """The table for a terminal."""
    lines = [HEAD, *(cells(row, figures[row.key]) for row in rows)]
    widths = [max(len(parts[n]) for parts in lines) for n in range(len(HEAD))]
    return ["  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip() for parts in lines]


def write(rows: list[Row], figures: dict[str, Figure], options: argparse.Namespace) -> None:
    """The table into the document, with how it was made."""
    words = ["scripts/bench", *(["--short"] if options.short else []), "--markdown", *options.rows]
    made = f"`{' '.join(words)}`, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine()}."
    lines = ["| " + " | ".join(parts) + " |" for parts in (HEAD, *(cells(row, figures[row.key]) for row in rows))]
    lines.insert(1, "|" + "---|" * len(HEAD))
    DOCUMENT.write_text(between_marks(DOCUMENT.read_text(), "\n".join((made, "", *lines))))


def between_marks(document: str, table: str) -> str:
    """The document with another table in it."""
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def machine() -> str:
    """What it was measured on, and how busy that was."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (each.partition(":")[2].strip() for each in lines if "model name" in each)
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    made = f"{os.cpu_count()} cores ({next(models, platform.machine())})", f"Linux {platform.release()}"
    return ", ".join((*made, f"Python {platform.python_version()}", load))


if __name__ == "__main__":
    main()
