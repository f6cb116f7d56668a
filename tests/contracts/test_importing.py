"""An import accounts for every row, stores nothing twice, and loses nothing when it is stopped: over every store."""

from __future__ import annotations

import contextlib
import csv
import os
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wayline.domain import Event, Signal
from wayline.errors import OperatorError, StoreUnavailable
from wayline.runtime import importing
from wayline.runtime.importing import Import, Progress, import_table, preview_table, rehearse_table
from wayline.sources.mapping import TableMapping, read_mapping, ready_mapping
from wayline.store import Appended, Log, Rejection
from wayline.store.opening import Store, open_store

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
HEADER = "order,sku,count,price,at,who,mail"
MAPPING = """
mapping: orders
source: shop
currency: EUR
zone: Europe/Berlin
columns: {order: id, sku: id, count: whole, price: money, at: time, who: id?, mail: text?}
skip: {"no customer": who IS NULL}
messages:
  - event: Order Completed
    group_by: order
    user_id: who
    time: at
    properties:
      order_id: order
      revenue: {sum: [count, price]}
      products: {each: {sku: sku, quantity: count, price: price}}
    traits: {email: mail}
"""


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "shop" if request.param == "sqlite" else None) as opened:
        yield opened


@pytest.fixture
def mapping() -> TableMapping:
    return read_mapping(MAPPING)


def rows(count: int) -> list[str]:
    return [f"A{n // 2},s{n},1,9.99,2026-11-0{1 + n % 9} 10:00,c{n // 2},c{n // 2}@example.com" for n in range(count)]


def told(folder: Path, mapping: TableMapping, lines: Sequence[str], **options: Any) -> Import:
    path = folder / "orders.csv"
    path.write_text("\n".join([HEADER, *lines, ""]))
    fields = {"refused_path": folder / "refused.csv", "token_path": folder / "token"}
    return Import(path=path, mapping=mapping, received_at=NOW, **fields | options)


def events(log: Log) -> list[Event]:
    return log.read(0, 100_000)


def test_every_row_is_accounted_for(store: Store, tmp_path: Path, mapping: TableMapping) -> None:
    lines = [*rows(20), "B1,hat,1,1,2026-11-01,,", "B2,hat,one,1,2026-11-01,eve,", "B3,hat", "B4,hat,1,1,2026-11-01,0,"]
    report = import_table(told(tmp_path, mapping, lines), store.log, store.vault)
    assert (report.rows, report.messages, report.accepted, report.stored) == (24, 11, 10, 10)
    assert report.skipped == {"no customer": 1}
    assert report.refused == {"bad_cell": 1, "wrong_width": 1, "no_identifier": 1}
    with Path(report.refused_path).open() as opened:
        refused = list(csv.DictReader(opened))
    assert [(row["wayline_place"], row["wayline_code"]) for row in refused] == [
        ("23", "bad_cell"), ("24", "wrong_width"), ("25", "no_identifier"),
    ]  # fmt: skip
    assert refused[0]["count"] == "one" and refused[1]["wayline_text"] == "B3,hat" and refused[2]["order"] == "B4"
    assert all(row["wayline_reason"] for row in refused)
    assert stat.S_IMODE(Path(report.refused_path).stat().st_mode) == 0o600


def test_imported_history_is_remembered_and_starts_nothing_unless_asked(
    store: Store, tmp_path: Path, mapping: TableMapping
) -> None:
    import_table(told(tmp_path, mapping, rows(2)), store.log, store.vault)
    import_table(told(tmp_path, mapping, ["Z1,hat,1,2.50,2026-11-01,zoe,"], fires=True), store.log, store.vault)
    first, second = events(store.log)
    assert (first.fires, second.fires) == (False, True)
    assert first.occurred_at == datetime(2026, 11, 1, 9, tzinfo=UTC) and first.received_at == NOW
    assert first.properties["revenue"] == 1998 and second.properties["revenue"] == 250


def test_an_address_goes_to_the_vault_and_nowhere_else(store: Store, tmp_path: Path, mapping: TableMapping) -> None:
    import_table(told(tmp_path, mapping, rows(2)), store.log, store.vault)
    (event,) = events(store.log)
    kept = store.vault.get([f"{each.kind}:{each.value}" for each in event.identifiers])
    assert any(values.get("email") == "c0@example.com" for values in kept.values())
    assert b"c0@example" not in msgspec.json.encode(event)


def test_running_it_again_stores_nothing_twice(store: Store, tmp_path: Path, mapping: TableMapping) -> None:
    first = import_table(told(tmp_path, mapping, rows(30)), store.log, store.vault)
    again = import_table(told(tmp_path, mapping, rows(30)), store.log, store.vault)
    assert (first.stored, again.stored, again.duplicates, again.conflicts) == (15, 0, 15, 0)
    assert len(events(store.log)) == 15


def test_rows_put_right_are_imported_from_the_file_of_refused_ones(
    store: Store, tmp_path: Path, mapping: TableMapping
) -> None:
    lines = [row.replace(",9.99,", ",9.99 EUR,") if number == 3 else row for number, row in enumerate(rows(6))]
    report = import_table(told(tmp_path, mapping, lines), store.log, store.vault)
    assert report.stored == 2 and report.refused == {"bad_cell": 1, "broken_message": 1}
    corrected = Path(report.refused_path).read_text().replace("9.99 EUR", "9.99")
    path = tmp_path / "corrected.csv"
    path.write_text(corrected)
    again = import_table(Import(path=path, mapping=mapping, received_at=NOW), store.log, store.vault)
    assert (again.stored, again.refused) == (1, {})
    assert sorted(len(event.properties["products"]) for event in events(store.log)) == [2, 2, 2]


class Full:
    """A log whose disk is full after some batches."""

    def __init__(self, log: Log, batches: int) -> None:
        self._log = log
        self._left = batches

    def append(self, events: Sequence[Event], rejections: Sequence[Rejection] = ()) -> Appended:
        if not self._left:
            raise StoreUnavailable("the disk is full")
        self._left -= 1
        return self._log.append(events, rejections)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH_MAX", 4)


@pytest.mark.usefixtures("small_batches")
def test_an_import_that_was_stopped_goes_on_where_it_was(store: Store, tmp_path: Path, mapping: TableMapping) -> None:
    with pytest.raises(StoreUnavailable):
        import_table(told(tmp_path, mapping, rows(40)), Full(store.log, 3), store.vault)
    assert len(events(store.log)) == 12
    report = import_table(told(tmp_path, mapping, rows(40)), store.log, store.vault)
    assert (report.already, report.stored, report.duplicates) == (12, 8, 0)
    assert not (tmp_path / "token").exists() and len(events(store.log)) == 20


TWICE = """
mapping: both
source: tool
currency: EUR
columns: {who: id, at: time, mail: text?}
messages:
  - {type: identify, goes_on: true, user_id: who, time: at, traits: {email: mail}}
  - {event: Consent Granted, user_id: who, time: at, properties: {channel: {value: email}}}
"""


def test_a_row_of_several_messages_is_not_torn_where_an_import_was_stopped(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_MAX", 3)
    path = tmp_path / "people.csv"
    path.write_text("who,at,mail\n" + "".join(f"c{n},2026-11-01 10:00,c{n}@example.com\n" for n in range(9)))
    said = Import(path=path, mapping=read_mapping(TWICE), received_at=NOW, token_path=tmp_path / "token")
    for batches in (1, 1, 2, 99):
        with contextlib.suppress(StoreUnavailable):
            import_table(said, Full(store.log, batches), store.vault)
    names = Counter(event.name for event in events(store.log))
    assert names == {"Identify": 9, "Consent Granted": 9}


@pytest.mark.usefixtures("small_batches")
def test_what_was_refused_before_an_import_was_stopped_is_still_told(
    store: Store, tmp_path: Path, mapping: TableMapping
) -> None:
    lines = rows(24)
    for number in (0, 1):  # names nobody: refused by the collector, with its order
        lines[number] = f"A0,s{number},1,9.99,2026-11-01 10:00,0,"
    lines[23] = lines[23].replace("9.99", "much")
    said = told(tmp_path, mapping, lines)
    with pytest.raises(StoreUnavailable):
        import_table(said, Full(store.log, 2), store.vault)
    import_table(said, store.log, store.vault)
    assert said.refused_path is not None
    with said.refused_path.open() as opened:
        places = [int(row["wayline_place"]) for row in csv.DictReader(opened)]
    assert sorted(places) == [2, 3, 24, 25]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("spoil", ["{", '{"about": "another file", "place": 99}'])
def test_a_token_of_another_file_or_none_costs_time_and_nothing_else(
    store: Store, tmp_path: Path, mapping: TableMapping, spoil: str
) -> None:
    (tmp_path / "token").write_text(spoil)
    report = import_table(told(tmp_path, mapping, rows(40)), store.log, store.vault)
    assert (report.already, report.stored) == (0, 20)


@pytest.mark.usefixtures("small_batches")
def test_progress_only_grows_and_ends_at_the_whole(store: Store, tmp_path: Path, mapping: TableMapping) -> None:
    seen: list[Progress] = []
    report = import_table(told(tmp_path, mapping, rows(40)), store.log, store.vault, seen.append)
    assert [each.messages for each in seen] == [4, 8, 12, 16, 20] and seen[-1].messages == report.messages
    assert [each.place for each in seen] == sorted(each.place for each in seen)


BROKEN = {"Order Completed": Signal(name="Order Completed", values={"revenue": (1998,)}, refuses=True)}


def test_a_row_that_breaks_what_signals_yaml_refuses_is_refused_with_that_reason(
    store: Store, tmp_path: Path, mapping: TableMapping
) -> None:
    said = told(tmp_path, mapping, [*rows(4), "Z1,hat,1,2.50,2026-11-01,zoe,"], signals=BROKEN)
    (shown,) = [each for each in preview_table(said, 5) if each.message["userId"] == "zoe"]
    assert shown.event is None and "signals.yaml" in shown.refusal
    rehearsed = rehearse_table(said)
    report = import_table(said, store.log, store.vault)
    assert (rehearsed.refused, rehearsed.accepted) == (report.refused, report.accepted) == ({"contract": 1}, 2)
    assert [event.properties["revenue"] for event in events(store.log)] == [1998, 1998]
    assert [(each.code, each.name) for each in store.log.rejections()] == [("contract", "Order Completed")]
    assert "signals.yaml" in (tmp_path / "refused.csv").read_text()


def test_a_row_that_breaks_what_is_only_noted_is_kept_with_the_note(
    store: Store, tmp_path: Path, mapping: TableMapping
) -> None:
    noted = {"Order Completed": Signal(name="Order Completed", requires=("shipping",))}
    said = told(tmp_path, mapping, rows(2), signals=noted)
    assert import_table(said, store.log, store.vault).accepted == rehearse_table(said).accepted == 1
    assert events(store.log)[0].notes[-1] == "contract: it lacks shipping"


def test_a_rehearsal_judges_alike_and_stores_nothing(store: Store, tmp_path: Path, mapping: TableMapping) -> None:
    lines = [*rows(20), "B2,hat,one,1,2026-11-01,eve,", "B4,hat,1,1,2026-11-01,0,"]
    rehearsed = rehearse_table(told(tmp_path, mapping, lines))
    assert (rehearsed.stored, events(store.log), (tmp_path / "token").exists()) == (0, [], False)
    done = import_table(told(tmp_path, mapping, lines), store.log, store.vault)
    as_rehearsed = msgspec.structs.replace(done, stored=0)
    assert rehearsed == as_rehearsed and done.stored == done.accepted == 10


def test_a_preview_shows_messages_and_what_they_would_be(tmp_path: Path, mapping: TableMapping) -> None:
    shown = preview_table(told(tmp_path, mapping, ["B4,hat,1,1,2026-11-01,0,", *rows(40)]), 3)
    assert [each.event is None for each in shown] == [True, False, False]
    assert "'who' or 'mail'" in shown[0].refusal and shown[1].message["properties"]["order_id"] == "A0"
    assert shown[1].event.properties["revenue"] == 1998


def test_refused_rows_that_cannot_be_written_stop_the_import_aloud(
    store: Store, tmp_path: Path, mapping: TableMapping
) -> None:
    with pytest.raises(OperatorError, match="refused rows cannot be written"):
        import_table(told(tmp_path, mapping, ["B3,hat"], refused_path=tmp_path), store.log, store.vault)


# ------------------------------------------------------------------ at the command line


def wayline(*words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(importing.__file__).parents[2])}
    command = [sys.executable, "-m", "wayline.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    assert wayline("init", tmp_path / "shop").returncode == 0
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    return tmp_path / "shop"


def test_the_command_previews_rehearses_and_imports(shop: Path, tmp_path: Path, mapping: TableMapping) -> None:
    file = told(tmp_path, mapping, [*rows(4), "B3,hat"]).path
    said = ("import", file, "--mapping", tmp_path / "mapping.yaml", "--into", shop)
    assert "would become" in wayline(*said, "--preview", "1").stdout
    assert "2  would be stored" in wayline(*said, "--dry-run").stdout
    done = wayline(*said, "--json")
    report = msgspec.json.decode(done.stdout)
    assert (done.returncode, report["stored"], report["refused"]) == (0, 2, {"wrong_width": 1})
    assert Path(report["refused_path"]).read_text().splitlines()[1].endswith('"B3,hat"')
    assert "2  stored before: duplicates" in wayline(*said).stdout


def test_the_command_refuses_what_the_shop_s_signals_yaml_refuses(shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("\n".join([HEADER, *rows(2), "Z1,hat,1,2.50,2026-11-01,zoe,"]))
    (shop / "signals.yaml").write_text("Order Completed: {values: {revenue: [1998]}, broken: refused}\n")
    said = ("import", file, "--mapping", tmp_path / "mapping.yaml", "--into", shop)
    for more, count in (("--dry-run", "would be stored"), ("--replay", "stored")):
        done = wayline(*said, more)
        assert f"1  {count}" in done.stdout and "1  rows refused: contract" in done.stdout, done.stdout + done.stderr
    tried = wayline("simulate", shop, "--history", file, "--mapping", tmp_path / "mapping.yaml")
    assert tried.returncode == 0 and "1  rows refused: contract" in tried.stderr


@pytest.mark.parametrize(
    "words, told_how",
    [
        (("nothing.csv", "--mapping", "online-retail"), "nothing.csv cannot be read: No such file"),
        (("nothing.csv", "--mapping", "online-retial"), "no mapping can be read here"),
        (("mapping.yaml", "--mapping", "online-retail"), "no column 'InvoiceNo'"),
    ],
)
def test_the_command_says_what_it_lacks_and_makes_nothing(
    shop: Path, tmp_path: Path, words: tuple[str, ...], told_how: str
) -> None:
    ended = wayline("import", tmp_path / words[0], *words[1:], "--into", shop)
    assert (ended.returncode, ended.stdout) == (1, "") and told_how in ended.stderr and "Traceback" not in ended.stderr
    assert not (shop / ".wayline").exists()


REAL: dict[str, tuple[str, str, Callable[[importing.Report], Any], Any]] = {
    "online-retail": (
        "online-retail/transactions.parquet",
        "online-retail",
        lambda report: (report.rows, report.stored, report.skipped["no customer is named"], report.refused),
        (541_909, 21_788, 135_080, {}),
    ),
    "retailrocket": (
        "retailrocket-events/events.parquet",
        "retailrocket",
        lambda report: (report.rows, report.stored, report.skipped, report.refused),
        (46_350, 46_182, {}, {"no_identifier": 3}),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_public_data_are_imported_with_every_row_counted(
    tmp_path: Path, real_data: Callable[[str], Path], name: str
) -> None:
    file, mapping, figures, expected = REAL[name]
    said = Import(path=real_data(file), mapping=ready_mapping(mapping), received_at=NOW)
    with open_store(tmp_path / "shop") as store:
        report = import_table(said, store.log, store.vault)
        assert figures(report) == expected
        assert store.log.counts()["stored"] == report.stored
