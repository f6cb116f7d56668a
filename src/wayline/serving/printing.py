"""The report in a terminal, in the order people need it: money, sent and held, journeys, a story, what to do, truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from wayline.measurement.verdicts import money, signed_money
from wayline.serving.findings import JourneyLine
from wayline.serving.records import HeldRule
from wayline.serving.report import Report
from wayline.serving.timeline import Story

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_sections"]

_HELD_ROWS_MAX = 10  # rules told of in the terminal, those that held most
_WIDE_MIN = 110  # columns of a terminal in which a sentence beside a table is still read with ease

_COLOURS: Mapping[str, str] = {
    "works": "green",
    "too early": "yellow",
    "costs money": "red",
    "use the simpler one": "magenta",
}
_MARKS: Mapping[str, tuple[str, str]] = {
    "sent": ("●", "green"),
    "shown": ("●", "green"),
    "order": ("◆", "cyan"),
    "control": ("○", "blue"),
    "held": ("✕", "yellow"),
    "unclear": ("?", "red"),
    "pending": ("…", "dim"),
    "idle": ("·", "dim"),
    "event": ("·", "dim"),
}


def print_sections(report: Report, console: Console) -> None:
    """Every section, the simulator's truth last and labelled."""
    _print_money(report, console)
    _print_sent(report, console)
    _print_held(report, console)
    _print_journeys(report, console)
    if report.story is not None:
        _print_story(report.story, console)
    _print_needs(report, console)
    _print_assumptions(report, console)
    if report.truth:
        _print_truth(report, console)


def _head(console: Console, title: str) -> None:
    console.print()
    console.rule(f"[bold]{title}[/bold]", align="left", style="dim")


def _print_money(report: Report, console: Console) -> None:
    from rich.markup import escape
    from rich.panel import Panel

    _head(console, escape(f"{report.shop}: {report.period}"))
    lines = [f"[bold]{escape(report.money.sentence)}[/bold]"]
    if report.money.standing:
        lines.append(escape(report.money.standing))
    console.print(Panel("\n".join(lines), border_style="green", padding=(0, 1)))


def _print_sent(report: Report, console: Console) -> None:
    from rich.markup import escape

    _head(console, "Sent, held, and why")
    n = report.counts
    channels = ", ".join(f"{count:,} by {escape(channel)}" for channel, count in report.channels.items())
    console.print(
        f"From {n['events']:,} events of {n['customers']:,} people: [green]{n['sent']:,} sent[/green]"
        f" ({n['marketing']:,} marketing, {n['owed']:,} owed{'; ' + channels if channels else ''}),"
        f" {n['shown']:,} shown on the website, [blue]{n['control']:,} withheld from the control group[/blue],"
        f" [yellow]{n['held']:,} held back[/yellow]."
    )
    unclear = f"[red]{_count(n['unclear'], 'delivery')} unclear[/red], " if n["unclear"] else ""
    console.print(
        f"{unclear}{n['waiting']:,} waiting to leave. {n['held_at_the_door']:,} of the held were stopped as they were"
        f" about to leave. {_count(n['not_let_in'], 'person')} who wanted into a journey again had to wait."
    )


def _count(number: int, noun: str) -> str:
    plural = {"delivery": "deliveries", "person": "people"}[noun]
    return f"{number:,} {noun if number == 1 else plural}"


def _print_held(report: Report, console: Console) -> None:
    from rich.table import Table

    if not report.held:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("Held back", justify="right")
    table.add_column("Why")
    table.add_column("For example", overflow="fold")
    for rule in report.held[:_HELD_ROWS_MAX]:
        table.add_row(f"{rule.count:,}", _why(rule), _example(rule))
    console.print(table)
    rest = report.held[_HELD_ROWS_MAX:]
    if rest:
        console.print(f"[dim]and {sum(rule.count for rule in rest):,} more under {len(rest)} other rules[/dim]")


def _why(rule: HeldRule) -> str:
    from rich.markup import escape

    return f"{escape(rule.label)}{' [dim](legal rule, always on)[/dim]' if rule.is_legal else ''}"


def _example(rule: HeldRule) -> str:
    from rich.markup import escape

    if not rule.examples:
        return ""
    example = rule.examples[-1]
    until = f", until {example.until}" if example.until else ""
    told = f"{example.when}: {example.message} to {example.customer_id[:8]}: {example.reason} ({example.fact}{until})"
    return f"[dim]{escape(told)}[/dim]"


def _print_journeys(report: Report, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    _head(console, "Journeys, and whether they work")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("Journey", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Sent", justify="right")
    table.add_column("Control", justify="right")
    table.add_column("Claimed", justify="right", no_wrap=True)
    table.add_column("Caused", justify="right", no_wrap=True)
    is_wide = console.width >= _WIDE_MIN
    if is_wide:
        table.add_column("In words", overflow="fold")
    for line in report.journeys:
        colour = _COLOURS.get(line.word, "dim")
        cells = (
            escape(line.name),
            f"[{colour}]{line.word}[/{colour}]",
            f"{line.sent:,}",
            f"{line.withheld:,}",
            money(line.claimed, report.currency),
            _caused(line, report.currency),
        )
        table.add_row(*cells, *((escape(line.sentence),) if is_wide else ()))
    console.print(table)
    if not is_wide:
        _print_sentences(report, console)


def _print_sentences(report: Report, console: Console) -> None:
    """What the table's last column would say, below it: each sentence once, with the journeys it is said of."""
    from rich.markup import escape

    said: dict[str, list[str]] = {}
    for line in report.journeys:
        said.setdefault(line.sentence, []).append(line.name)
    console.print()
    for sentence, names in said.items():
        console.print(f"[bold]{escape(', '.join(names))}[/bold]: {escape(sentence)}")


def _caused(line: JourneyLine, currency: str) -> str:
    return "[dim]-[/dim]" if line.caused is None else signed_money(line.caused, currency)


def _print_story(story: Story, console: Console) -> None:
    from rich.markup import escape
    from rich.padding import Padding

    _head(console, f"One shopper's story ({story.customer_id[:8]})")
    console.print(
        f"[dim]Same person? {escape(story.same_person)}. {escape('; '.join(story.consents) or 'no consents')}.[/dim]"
    )
    for line in story.lines:
        sign, colour = _MARKS[line.mark]
        note = f" [dim]({line.note})[/dim]" if line.note else ""
        console.print(
            Padding(f"[dim]{line.when}[/dim]  [{colour}]{sign}[/{colour}] {escape(line.text)}{note}", (0, 0, 0, 2))
        )
    if story.more:
        console.print("  [dim]Earlier and later days are on the shopper's own page.[/dim]")


def _print_needs(report: Report, console: Console) -> None:
    from rich.markup import escape

    _head(console, "What needs a person")
    if not report.needs:
        console.print("Nothing needs you today.")
    for number, alarm in enumerate(report.needs, 1):
        console.print(f"{number}. [bold]{escape(alarm.title)}[/bold] {escape(alarm.text)}")
    if report.more_needs:
        console.print(f"[dim]Less urgent: {escape('; '.join(alarm.title for alarm in report.more_needs))}.[/dim]")


def _print_assumptions(report: Report, console: Console) -> None:
    from rich.markup import escape

    console.print()
    for line in report.assumptions:
        console.print(f"[dim]{escape(line)}[/dim]")


def _print_truth(report: Report, console: Console) -> None:
    from rich.markup import escape
    from rich.panel import Panel

    body = "\n".join(
        [escape(report.truth_sentence), *(f"{escape(one.journey)}: {escape(one.sentence)}" for one in report.truth)]
    )
    console.print()
    console.print(
        Panel(
            body, title="simulation only: what really happened, which no shop can know", title_align="left", style="dim"
        )
    )
