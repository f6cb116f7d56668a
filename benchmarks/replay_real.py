"""Two public data sets imported, and the example shop's journeys tried on both.

    python benchmarks/replay_real.py [--rows N] [--only online-retail]

Each set is brought into a folder of its own by its ready mapping, as `wayline import` does, and every row is accounted
for; then the example's playbook is played over what was stored, with what the set does not say assumed aloud. The last
line is one JSON object. Data: $WAYLINE_DATA, or ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from wayline.runtime import importing
from wayline.runtime.assuming import Assumptions
from wayline.runtime.dryrun import DryRun, Options, dry_run
from wayline.runtime.dryrun_words import in_words
from wayline.runtime.folders import example_folder, read_playbook
from wayline.store.opening import open_store

ROOT = Path(__file__).resolve().parent.parent


class RealSet(Struct, frozen=True):
    """A public set: where it is, how it is read, and what must be assumed of it."""

    name: str
    path: str
    mapping: str
    assume: str
    treat: dict[str, str] = {}


SETS = (
    # Orders and returns of known customers: no browsing, no consent, no addresses, no stock.
    RealSet(
        "online-retail",
        "online-retail/transactions.parquet",
        "online-retail",
        "consent=email,addresses=yes,stock=in_stock,products=described",
    ),
    # Views, carts and orders of devices nobody logged in on: no prices, no checkout steps.
    RealSet(
        "retailrocket",
        "retailrocket-events/events.parquet",
        "retailrocket",
        "consent=email,addresses=yes,stock=in_stock,match=0.9,products=described,price=30",
        {"Product Added": "Checkout Step Viewed"},
    ),
)


def data_folder() -> Path:
    """Where the public sets are, if they are anywhere."""
    return Path(os.environ.get("WAYLINE_DATA") or ROOT.parent / "shared" / "data")


def first_rows(path: Path, rows: int, into: Path) -> Path:
    """A file of the first rows only."""
    import pyarrow.parquet as parquet

    short = into / path.name
    parquet.write_table(parquet.read_table(path).slice(0, rows), short)
    return short


def tried(real: RealSet, path: Path, folder: Path) -> tuple[importing.Report, float, DryRun]:
    """One set imported into a folder, and the example's journeys tried on what was stored."""
    said = replace(importing.read_in(path, real.mapping), received_at=datetime.now(UTC))
    said = replace(said, refused_path=folder / f"{real.name}.refused.csv")
    with open_store(folder / real.name) as store:
        began = time.monotonic()
        report = importing.import_table(said, store.log, store.vault, _counting)
        seconds = time.monotonic() - began
        run = dry_run(
            store.log.chronicle(),
            read_playbook(example_folder()),
            assume=Assumptions.read(real.assume),
            options=Options(treat=real.treat),
            products=store.state.products(),
            vault=store.vault,
            on_progress=lambda progress: _say(f"{real.name}: {progress.at:%-d %B %Y}, {progress.events:,} events"),
        )
    return report, seconds, run


def _counting(progress: importing.Progress) -> None:
    _say(f"{progress.rows:,} rows, {progress.messages:,} messages")


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}", end="\033[K", file=sys.stderr)


def measured(report: importing.Report, seconds: float, run: DryRun) -> dict[str, Any]:
    """The figures of one set, for machines."""
    return {
        "rows": report.rows,
        "stored": report.stored,
        "rows_passed_over": dict(report.skipped),
        "rows_refused": dict(report.refused),
        "left_out": dict(report.left_out),
        "import_seconds": round(seconds, 1),
        "import_rows_per_second": round(report.rows / seconds),
        "events": run.events,
        "people": run.people,
        "scheduled": run.scheduled,
        "dry_run_seconds": run.seconds,
        "dry_run_cpu_seconds": run.cpu_seconds,
        "memory_peak_mb": run.memory_peak_mb,
        "set_aside": run.set_aside,
        "journeys": {
            one.journey: {
                "entered": one.entered,
                "proposed": one.wishes,
                "to_be_sent": one.treated,
                "control": one.control,
                "never_sent": one.given_up,
                "held_back": {rule: held.wishes for rule, held in one.held.items()},
            }
            for one in run.journeys
            if one.asked
        },
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=0, help="only the first rows of each set")
    arguments.add_argument("--only", choices=[each.name for each in SETS])
    asked = arguments.parse_args()
    found: dict[str, Any] = {"benchmark": "replay_real"}
    for real in SETS:
        path = data_folder() / real.path
        if asked.only not in (None, real.name):
            continue
        if not path.exists():
            found[real.name] = f"skipped: no {path}; set WAYLINE_DATA to the folder that has it"
            print(found[real.name])
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = first_rows(path, asked.rows, Path(folder)) if asked.rows else path
            report, seconds, run = tried(real, path, Path(folder))
        _say("")
        print(f"\n==== {real.name}\n")
        print("\n".join(importing.in_words(replace(report, refused_path=""), is_rehearsal=False)))
        print(f"  imported in {seconds:.1f} s, {report.rows / seconds:,.0f} rows/s\n")
        print("\n".join(in_words(run)))
        found[real.name] = measured(report, seconds, run)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
