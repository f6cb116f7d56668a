"""A drop folder takes in what is whole, once, whatever happens meanwhile: over every store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.test_importing import wayline
from tests.contracts.test_serving import replaced, serve, shop_folder

from wayline.domain import Signal
from wayline.errors import AuthorError, StoreUnavailable
from wayline.runtime import dropping, importing
from wayline.runtime.dropping import Drop, Dropped, Dropping, begun, drops_of, once, settled, take_in
from wayline.store.opening import Store, open_store

HEADER = "store_id,receipt_id,sold_at,sku,quantity,price,customer_id"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "kept" if request.param == "sqlite" else None) as opened:
        yield opened


def settings(**said: Any) -> dict[str, Any]:
    shop = {"currency": "EUR", "zone": "Europe/Berlin"}
    return {"shop": shop, "sources": {"till": {"kind": "drop", "mapping": "pos", **said}}}


@pytest.fixture
def drop(tmp_path: Path) -> Drop:
    (found,) = drops_of(tmp_path, settings(), {})
    return found


def receipts(*numbers: int, price: str = "9.99") -> str:
    return "\n".join([HEADER, *(f"kiel,{n},2026-11-24 10:00,socks,1,{price},c{n}" for n in numbers), ""])


def put(drop: Drop, name: str, text: str, *, age: float = 60) -> Path:
    drop.inbox.mkdir(parents=True, exist_ok=True)
    path = drop.inbox / name
    path.write_text(text)
    at = NOW.timestamp() - age
    os.utime(path, (at, at))
    return path


def looked(drop: Drop, store: Store, now: datetime = NOW) -> list[Dropped]:
    """One look by hand."""
    return once(drop, store, now, lambda progress: None)[0]


def stored(store: Store) -> list[str]:
    return [event.event_id for event in store.log.read(0, 10_000)]


def test_a_file_is_taken_in_fires_as_its_source_and_moves_to_done(drop: Drop, store: Store) -> None:
    put(drop, "monday.csv", receipts(1, 2))
    (taken,) = looked(drop, store)
    assert taken.moved_to == drop.inbox / "done" / "monday.csv" and taken.moved_to.exists()
    events = store.log.read(0, 10)
    assert [(event.name, event.source, event.fires) for event in events] == [("Store Purchase", "till", True)] * 2
    assert events[0].properties["revenue"] == 999 and events[0].occurred_at.hour == 9
    assert sorted(path.name for path in drop.inbox.iterdir()) == ["done", "refused", "working"]


def test_history_starts_nothing_where_the_source_says_so(tmp_path: Path, store: Store) -> None:
    (drop,) = drops_of(tmp_path, settings(fires=False), {})
    put(drop, "old.csv", receipts(1))
    looked(drop, store)
    assert [event.fires for event in store.log.read(0, 10)] == [False]


def test_a_file_dropped_twice_or_with_more_in_it_stores_only_what_is_new(drop: Drop, store: Store) -> None:
    for name, numbers in (("a.csv", (1, 2)), ("b.csv", (1, 2)), ("a.csv", (1, 2, 3))):
        put(drop, name, receipts(*numbers))
        looked(drop, store)
    assert stored(store) == [f"store-purchase:kiel:{n}" for n in (1, 2, 3)]
    assert sorted(path.name for path in (drop.inbox / "done").iterdir()) == ["a-2.csv", "a.csv", "b.csv"]


def test_one_bad_row_is_refused_with_its_reason_and_its_neighbours_are_kept(drop: Drop, store: Store) -> None:
    put(drop, "a.csv", receipts(1, 2) + "kiel,3,yesterday,socks,1,9.99,c3\n")
    (taken,) = looked(drop, store)
    assert taken.refused == 1 and taken.moved_to == drop.inbox / "refused" / "a.csv"
    refused = drop.inbox / "refused" / "a.csv.refused.csv"
    assert "kiel,3,yesterday" in refused.read_text() and "expected a time" in refused.read_text()
    assert len(stored(store)) == 2
    # Put right and dropped again, it is what was missing.
    put(drop, "a.refused.csv", refused.read_text().replace("yesterday", "2026-11-24 10:00"))
    (again,) = looked(drop, store)
    assert again.refused == 0 and stored(store)[2:] == ["store-purchase:kiel:3"]


def test_a_file_that_is_none_is_refused_as_a_whole_and_the_next_one_goes_on(drop: Drop, store: Store) -> None:
    put(drop, "a.csv", "what,ever\n1,2\n", age=70)
    put(drop, "b.csv", receipts(1))
    bad, good = looked(drop, store)
    assert "none of these mappings" in bad.problem and good.problem == ""
    assert "none of these mappings" in (drop.inbox / "refused" / "a.csv.reason.txt").read_text()
    assert stored(store) == ["store-purchase:kiel:1"]


def test_what_may_still_be_written_is_left_alone(drop: Drop, store: Store) -> None:
    put(drop, "growing.csv", receipts(1), age=3)
    for name in ("half.csv.part", ".hidden.csv", "~lock.csv", "half.tmp"):
        put(drop, name, receipts(2))
    (drop.inbox / "link.csv").symlink_to(put(drop, ".elsewhere", receipts(3)))
    assert looked(drop, store) == [] and settled(drop, NOW)[1] == [drop.inbox / "growing.csv"]
    assert [each.file for each in looked(drop, store, NOW + timedelta(seconds=8))] == ["growing.csv"]


def test_where_markers_are_used_a_file_waits_for_its_own(tmp_path: Path, store: Store) -> None:
    (drop,) = drops_of(tmp_path, settings(complete="marker"), {})
    put(drop, "a.csv", receipts(1))
    assert looked(drop, store) == []
    put(drop, "a.csv.done", "")
    assert [each.file for each in looked(drop, store)] == ["a.csv"]
    assert not (drop.inbox / "a.csv.done").exists()


def test_what_breaks_what_signals_yaml_refuses_is_refused_from_a_file_too(tmp_path: Path, store: Store) -> None:
    signals = {"Store Purchase": Signal(name="Store Purchase", values={"revenue": (999,)}, refuses=True)}
    (drop,) = drops_of(tmp_path, settings(), signals)
    put(drop, "a.csv", receipts(1) + "kiel,2,2026-11-24 10:00,socks,1,5.00,c2\n")
    (taken,) = looked(drop, store)
    assert stored(store) == ["store-purchase:kiel:1"] and taken.reports[0].refused == {"contract": 1}
    assert "signals.yaml" in (drop.inbox / "refused" / "a.csv.refused.csv").read_text()


class Killed(BaseException):
    """As if the process had died here."""


def test_killed_half_way_it_goes_on_and_stores_nothing_twice(
    drop: Drop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_MAX", 10)
    put(drop, "a.csv", receipts(*range(35)) + "kiel,99,yesterday,socks,1,9.99,c3\n")

    def die(progress: importing.Progress) -> None:
        if progress.messages == 20:
            raise Killed

    (path,) = begun(drop, settled(drop, NOW)[0])
    with pytest.raises(Killed):
        take_in(drop, store, path, NOW, die)
    assert len(stored(store)) == 20
    put(drop, "b.csv", receipts(99), age=10)
    first, second = looked(drop, store)
    assert (first.file, first.reports[0].duplicates, first.refused, second.file) == ("a.csv", 20, 1, "b.csv")
    assert len(stored(store)) == len(set(stored(store))) == 36


def test_done_files_are_not_kept_for_ever(drop: Drop, store: Store) -> None:
    put(drop, "a.csv", receipts(1))
    looked(drop, store, datetime.now(UTC))
    assert (drop.inbox / "done" / "a.csv").exists()
    looked(drop, store, datetime.now(UTC) + timedelta(days=31))
    assert list((drop.inbox / "done").iterdir()) == []


def bad(day: int) -> str:
    return receipts() + f"kiel,{day},yesterday,socks,1,9.99,c{day}\n"


def lying(drop: Drop, where: str) -> list[str]:
    return sorted(path.name for path in (drop.inbox / where).iterdir())


def test_each_day_s_refused_rows_and_reasons_lie_beside_that_day_s_file(drop: Drop, store: Store) -> None:
    for day in (1, 2):
        put(drop, "stock.csv", bad(day))
        looked(drop, store)
    put(drop, "stock.csv", "what,ever\n3,3\n")
    looked(drop, store)
    assert lying(drop, "refused") == [
        "stock-2.csv", "stock-2.csv.refused.csv", "stock-3.csv", "stock-3.csv.reason.txt", "stock.csv",
        "stock.csv.refused.csv",
    ]  # fmt: skip
    for name, day in (("stock.csv", 1), ("stock-2.csv", 2)):
        assert f"kiel,{day},yesterday" in (drop.inbox / "refused" / name).read_text()
        assert f"kiel,{day},yesterday" in (drop.inbox / "refused" / f"{name}.refused.csv").read_text()
    # Whoever takes the file away and leaves its refused rows does not lose them to the next day either.
    (drop.inbox / "refused" / "stock.csv").unlink()
    put(drop, "stock.csv", bad(4))
    (taken,) = looked(drop, store)
    assert taken.moved_to.name == "stock-4.csv"
    assert "kiel,1,yesterday" in (drop.inbox / "refused" / "stock.csv.refused.csv").read_text()


def test_killed_half_way_its_refused_rows_lie_beside_it_once_and_whole(
    drop: Drop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_MAX", 2)
    put(drop, "a.csv", bad(1))
    looked(drop, store)
    put(drop, "a.csv", bad(7) + "\n".join(receipts(*range(20, 26)).splitlines()[1:]) + "\n")

    def die(progress: importing.Progress) -> None:
        raise Killed

    (path,) = begun(drop, settled(drop, NOW)[0])
    with pytest.raises(Killed):
        take_in(drop, store, path, NOW, die)
    (taken,) = looked(drop, store)
    assert lying(drop, "refused") == ["a-2.csv", "a-2.csv.refused.csv", "a.csv", "a.csv.refused.csv"]
    assert (taken.refused, len(stored(store))) == (1, 6)
    assert (drop.inbox / "refused" / "a-2.csv.refused.csv").read_text().count("kiel,7,yesterday") == 1


def test_nothing_that_lies_in_done_is_written_over(drop: Drop, store: Store) -> None:
    put(drop, "a.csv", receipts(1))
    (path,) = begun(drop, settled(drop, NOW)[0])
    (drop.inbox / "done" / "a.csv").write_text("put there by hand meanwhile")
    assert take_in(drop, store, path, NOW, lambda progress: None).moved_to.name == "a-2.csv"
    assert (drop.inbox / "done" / "a.csv").read_text() == "put there by hand meanwhile"


def test_a_directory_or_a_file_that_cannot_be_deleted_stops_no_source(
    drop: Drop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = datetime.now(UTC) + timedelta(days=60)
    put(drop, "a.csv", receipts(1))
    looked(drop, store)
    for where in ("done", "refused", "working"):
        (drop.inbox / where / "by-hand").mkdir()
    (drop.inbox / "done" / "link.csv").symlink_to(drop.inbox / "nowhere")
    put(drop, "b.csv", receipts(2))
    assert [each.file for each in looked(drop, store, later)] == ["b.csv"]
    assert lying(drop, "done") == ["by-hand", "link.csv"] and lying(drop, "working") == ["by-hand"]

    delete = Path.unlink

    def kept(path: Path, **how: Any) -> None:
        if path.name == "c.csv":
            raise PermissionError(13, "Permission denied")
        delete(path, **how)

    put(drop, "c.csv", receipts(3))
    looked(drop, store)
    put(drop, "d.csv", receipts(4))
    monkeypatch.setattr(Path, "unlink", kept)
    serving = Dropping(store, [drop], clock=lambda: later + timedelta(days=60))
    serving._watches[0].whole = lambda now: settled(drop, NOW)[0]  # type: ignore[method-assign]
    serving._run(serving._watches)
    assert len(stored(store)) == 4 and "d.csv" in lying(drop, "done")


def test_refused_files_and_their_companions_are_not_kept_for_ever_either(drop: Drop, store: Store) -> None:
    put(drop, "a.csv", bad(1))
    put(drop, "b.csv", "what,ever\n1,2\n")
    looked(drop, store)
    assert lying(drop, "refused") == ["a.csv", "a.csv.refused.csv", "b.csv", "b.csv.reason.txt"]
    looked(drop, store, datetime.now(UTC) + timedelta(days=29))
    assert len(lying(drop, "refused")) == 4
    looked(drop, store, datetime.now(UTC) + timedelta(days=31))
    assert lying(drop, "refused") == []


def waited(until: Any, seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.01)


def test_served_it_waits_until_a_file_has_stood_still_by_its_own_clock(tmp_path: Path, store: Store) -> None:
    (drop,) = drops_of(tmp_path, settings(settle="20 seconds", every="1 second"), {})
    now = [NOW]
    told: list[int] = []
    serving = Dropping(store, [drop], on_stored=lambda: told.append(1), clock=lambda: now[0])

    def look(seconds: float) -> None:
        now[0] += timedelta(seconds=seconds)
        serving.look(now[0])
        waited(lambda: serving._thread is None or not serving._thread.is_alive())

    put(drop, "a.csv", receipts(1), age=-86_400)  # whoever wrote it has a clock a day ahead
    look(2)
    look(10)
    put(drop, "a.csv", receipts(1, 2), age=-86_400)
    look(15)
    assert stored(store) == []
    look(21)
    assert len(stored(store)) == 2 and told
    assert serving.close()


def test_a_store_that_cannot_be_written_makes_a_file_wait(
    drop: Drop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(drop, "a.csv", receipts(1))

    def full(*told: Any) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(type(store.log), "append", full)
        serving = Dropping(store, [drop], clock=lambda: NOW)
        serving._watches[0].drop = drop
        for path in begun(drop, settled(drop, NOW)[0]):
            serving._take(drop, path, NOW)
    assert [path.name for path in (drop.inbox / "working").iterdir()] == ["a.csv"]
    assert [each.file for each in looked(drop, store)] == ["a.csv"] and len(stored(store)) == 1


# ------------------------------------------------------------------ as it is run


def till_shop(folder: Path) -> Path:
    shop = shop_folder(folder)
    with (shop / "wayline.toml").open("a") as settings_file:
        settings_file.write(
            '\n[sources.till]\nkind = "drop"\nmapping = "pos"\nsettle = "1 second"\nevery = "1 second"\n'
        )
    return shop


def test_a_served_shop_takes_in_what_a_till_drops(tmp_path: Path) -> None:
    shop = till_shop(tmp_path / "shop")
    inbox = shop / "inbox" / "till"
    (shop / "signals.yaml").write_text("Store Purchase: {values: {revenue: [999]}, broken: refused}\n")
    with serve(shop) as (running, _):
        waited(inbox.is_dir, 20)
        (inbox / ".a.csv").write_text(receipts(1, 2))
        (inbox / ".a.csv").rename(inbox / "a.csv")
        waited((inbox / "done" / "a.csv").exists, 20)
        (inbox / "b.csv").write_text(receipts(3, price="5.00"))
        waited((inbox / "refused" / "b.csv").exists, 20)
        running.terminate()
        assert running.wait(20) == 0
    with open_store(shop / ".wayline") as kept:
        assert [event.source for event in kept.log.read(0, 10)] == ["till", "till"]
        assert len(list(kept.state.customer_ids())) == 2


def test_the_command_takes_in_what_lies_there_and_says_what_became_of_it(tmp_path: Path) -> None:
    shop = till_shop(tmp_path / "shop")
    (shop / "inbox" / "till").mkdir(parents=True)
    (shop / "inbox" / "till" / "a.csv").write_text(receipts(1) + "kiel,3,yesterday,socks,1,9.99,c3\n")
    soon = time.time() + 60
    os.utime(shop / "inbox" / "till" / "a.csv", (soon, soon))
    left = wayline("sources", "drop", shop)
    assert "a.csv changed a moment ago" in left.stdout and "nothing to take in" in left.stdout, left.stderr
    done = wayline("sources", "drop", shop, "--at-once")
    assert done.returncode == 0 and "refused: bad_cell" in done.stdout and "refused/a.csv" in done.stdout
    (shop / "signals.yaml").write_text("Store Purchase: {values: {revenue: [1]}, broken: refused}\n")
    (shop / "inbox" / "till" / "b.csv").write_text(receipts(2))
    assert "1  rows refused: contract" in wayline("sources", "drop", shop, "--at-once").stdout
    none = wayline("sources", "drop", shop, "--only", "web")
    assert none.returncode == 3 and 'kind = "drop"' in none.stderr


def test_check_tells_what_is_wrong_with_a_mapping_a_source_names(tmp_path: Path) -> None:
    shop = till_shop(tmp_path / "shop")
    (shop / "mappings").mkdir()
    (shop / "mappings" / "till.yaml").write_text(TILL)
    replaced(shop / "wayline.toml", 'mapping = "pos"', 'mapping = ["pos-stock", "mappings/till.yaml"]')
    fine = wayline("check", shop)
    assert fine.returncode == 0 and "till.yaml" not in fine.stdout + fine.stderr
    (shop / "mappings" / "till.yaml").write_text(TILL.replace("time: transaction_timestamp", "time: whenever"))
    bad = wayline("check", shop)
    assert bad.returncode == 1 and "till.yaml:12: no column 'whenever' is declared" in bad.stderr


TILL = """
mapping: grocer
source: till
currency: USD
zone: America/New_York
columns: {household_id: id, store_id: id, basket_id: id, product_id: id, quantity: number, sales_value: money,
          transaction_timestamp: time}
messages:
  - event: Store Purchase
    group_by: [store_id, basket_id]
    user_id: household_id
    time: transaction_timestamp
    properties:
      order_id: {text: "{store_id}-{basket_id}"}
      store_id: store_id
      revenue: {sum: [sales_value]}
      products: {each: {sku: product_id, quantity: quantity}}
"""


def test_a_grocer_s_tills_are_read_by_a_mapping_of_their_own(
    store: Store, tmp_path: Path, real_data: Callable[[str], Path]
) -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(real_data("complete-journey/transactions_sample.parquet")).slice(0, 2000)
    (tmp_path / "till.yaml").write_text(TILL)
    (drop,) = drops_of(tmp_path, settings(mapping="till.yaml", fires=False), {})
    drop.inbox.mkdir(parents=True)
    for name, part in (("a", rows.slice(0, 1500)), ("b", rows)):
        pq.write_table(part, drop.inbox / f"{name}.parquet")
        os.utime(drop.inbox / f"{name}.parquet", (NOW.timestamp() - 60, NOW.timestamp() - 60))
        (taken,) = looked(drop, store)
        assert taken.problem == "" and taken.refused == 0
    baskets = {(row["store_id"], row["basket_id"]) for row in rows.to_pylist()}
    events = store.log.read(0, 10_000)
    assert len(events) == len(baskets)
    part = sum(round(value * 100) for value in rows.slice(0, 1500)["sales_value"].to_pylist())
    whole = sum(round(value * 100) for value in rows["sales_value"].to_pylist())
    # Baskets that the second file tells with more lines are kept as they came first, and flagged.
    assert part <= sum(event.properties["revenue"] for event in events) <= whole


def test_a_mapping_nobody_made_is_told_before_anything_is_served(tmp_path: Path) -> None:
    with pytest.raises(AuthorError, match="no mapping can be read here"):
        drops_of(tmp_path, settings(mapping="tills.yaml"), {})
    assert dropping.KINDS[0] == "drop"
