"""The demo's command: a season of the simulated shop, played with the days ticking by, and its report."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import msgspec

from wayline.errors import OperatorError
from wayline.runtime.demo import Day, Demo, Played, play
from wayline.runtime.folders import KEPT, copy_example, keep_versions, read_files
from wayline.serving.report import Report, Truth, build, print_report, to_json
from wayline.store.opening import open_store

__all__ = ["MARK", "kept_report", "play_and_report"]

MARK = ".simulated-shop"
"""A file that says this folder was made by the demo, and so may be made anew by it."""

_REPORT = "report.json"


def play_and_report(folder: Path, *, customers: int, days: int, seed: int) -> Report:
    """Play into the folder with visible progress, print the report, return it."""
    from rich.console import Console

    console = Console(highlight=False)
    _make_anew(folder)
    files = read_files(folder)
    season = Demo(customers=customers, days=days, seed=seed, folder=folder / KEPT)
    began = time.monotonic()
    with open_store(folder / KEPT, known_key=season.known_key) as store:
        playbook = keep_versions(files, store.state)
        console.print(
            f"{playbook.settings['shop']['name']}: a simulated shop, {customers:,} known customers, {days} days from "
            f"1 October. Every message below was decided by the real engine.\n"
        )
        played = play(season, store, playbook, on_day=lambda day: console.print(_day_line(day)))
    took = time.monotonic() - began
    with open_store(folder / KEPT) as store:
        report = build(
            store.state,
            store.log,
            playbook,
            now=played.until,
            truth=_truths(played),
            shop=playbook.settings["shop"]["name"],
        )
    (folder / KEPT / _REPORT).write_bytes(to_json(report))
    console.print()
    print_report(report, console)
    console.print(
        f"\n{played.events:,} events and {played.messages:,} messages in {took:.0f} s; kept in {folder}.", style="dim"
    )
    return report


def kept_report(folder: Path) -> Report | None:
    """The report of a season as it was printed, the simulator's truth included; None if there is none to be read."""
    try:
        return msgspec.json.decode((folder / KEPT / _REPORT).read_bytes(), type=Report)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None  # the season was cut off, or another version of Wayline played it: it is built anew


def _day_line(day: Day) -> str:
    """One day in one line: what happened, what was sent, what was held back."""
    counts = day.counts
    held = {name[5:]: count for name, count in counts.items() if name.startswith("held:")}
    most = sorted(held.items(), key=lambda entry: (-entry[1], entry[0]))[:3]
    told = ", ".join(f"{count:,} {_HELD.get(name, name)}" for name, count in most)
    occasion = f", {day.occasion}" if day.occasion else ""
    return (
        f"{day.date:%d %b}{occasion}: {day.events:,} events, {counts.get('sent', 0):,} messages sent, "
        f"{counts.get('withheld', 0):,} kept back for control" + (f"; held: {told}" if told else "")
    )


_HELD = {
    "caps": "capped",
    "suppression": "not now",
    "claims": "no longer true",
    "consent": "without consent",
    "quiet_hours": "in quiet hours",
    "outranked": "outranked",
    "confidence": "too unsure",
    "address": "without an address",
    "repeat": "sent before",
    "slot": "one at a time",
    "placement": "waiting for the website",
    "products": "with nothing to show",
    "objection": "objected",
}


def _make_anew(folder: Path) -> None:
    """The example's playbook in a fresh folder; a folder the demo did not make is left alone."""
    if folder.exists() and not folder.is_dir():
        raise OperatorError(f"{folder}: it is a file. Name a folder: wayline demo --folder DIR")
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MARK).exists():
            raise OperatorError(
                f"{folder}: it is not empty and was not made by the demo, so it is left alone. "
                f"Name another folder: wayline demo --folder DIR"
            )
        shutil.rmtree(folder)
    copy_example(folder)
    (folder / MARK).write_text("made by wayline demo; made anew each time\n", encoding="utf-8")


def _truths(played: Played) -> list[Truth]:
    return [
        Truth(
            journey=truth.journey,
            people=truth.people,
            margin_caused=truth.margin_caused,
            margin_per_person=truth.margin_per_person,
        )
        for truth in played.truth.values()
        if truth.people
    ]
