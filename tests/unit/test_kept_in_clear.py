"""Canaries: a personal value sent where it does not belong stands in no file, no listing and no complaint."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.shop import NOON
from tests.unit.serving.test_signal_routes import Api
from typer.testing import CliRunner, Result

from wayline.cli import app
from wayline.domain import Event
from wayline.errors import Rejected, SenderError
from wayline.measurement.earnings import Earnings
from wayline.observation.events import parse
from wayline.runtime import reviewing
from wayline.runtime.arrivals import fitting
from wayline.runtime.collecting import Collector, Delivered
from wayline.runtime.folders import KEPT, copy_example
from wayline.runtime.importing import forget_refused
from wayline.serving.alarms import alarms
from wayline.serving.records import Counts
from wayline.sources.mapping import SETS, ready_mapping
from wayline.store.opening import open_store

MAIL, PHONE, NAME = "leak.canary@example.com", "+49 170 5550666", "Leakname Quuxley"
CANARIES = ("leak.canary", "5550666", "Leakname", "Quuxley")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def order(number: int, **properties: Any) -> dict[str, Any]:
    said = {"order_id": "7", "revenue": 1, **properties}
    return {
        "type": "track",
        "event": "Order Completed",
        "userId": "u-1",
        "messageId": f"m-{number}",
        "properties": said,
    }


def leaking() -> list[dict[str, Any]]:
    """Each names someone where that is refused."""
    fields = ("price", "currency", "quantity", "revenue", "as_of", "double_opt_in", "products", "filters")
    made = [order(number, **{field: value}) for value in (MAIL, PHONE, NAME) for number, field in enumerate(fields)]
    for value in (MAIL, PHONE, NAME):
        made += [{**order(1), "timestamp": value}, {**order(1), "type": value}, order(1, products=[{"price": value}])]
    made += [{**order(1), "event": MAIL}, {**order(1), "event": PHONE}, {**order(1), "event": "0170 5550666"}]
    made += [order(1, revenue=491705550666000000000), order(1, **{MAIL: {"a": float("nan")}})]
    return [{**one, "messageId": f"m-{place}/{MAIL}"} for place, one in enumerate(made)]


def bytes_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def none_in(text: str | bytes) -> None:
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    assert [canary for canary in CANARIES if canary in said] == []


def test_a_rejection_shows_no_value_without_reveal(tmp_path: Path) -> None:
    copy_example(tmp_path)
    messages = leaking()
    with open_store(tmp_path / KEPT) as store:
        done = Collector(store.log, store.vault).collect(Delivered(messages, "web", NOON))
        assert len(done.rejected) == len(messages), "each is refused"
    none_in(bytes_below(tmp_path / KEPT))
    listed = run("rejects", tmp_path, "--count", "1000")
    assert listed.exit_code == 0 and listed.output.count("\n") == len(messages)
    none_in(listed.output)
    none_in(run("doctor", tmp_path).output)
    none_in(run("rejects", tmp_path, "--again", "all").output)
    assert MAIL in run("rejects", tmp_path, "--reveal", "--count", "1000").output


def test_scope_read_sees_shapes_and_scope_admin_values() -> None:
    api = Api()
    api.collector.collect(Delivered(leaking(), "web", NOON))
    none_in(api.ask("GET", "/v1/rejects?limit=1000").text)
    none_in(api.ask("GET", "/v1/signals").text)
    assert MAIL in api.ask("GET", "/v1/rejects/bodies?limit=1000", key="admin-key").text


def test_an_alarm_shows_no_value() -> None:
    for message in leaking():
        with open_store() as store:
            Collector(store.log, store.vault).collect(Delivered([message], "web", NOON))
            nothing = Earnings(orders=(), basis="revenue")
            said = str(alarms(Counts(), {}, nothing, [], (store.state, store.log)))
        assert "Rejected data" in said
        none_in(said)


@pytest.mark.parametrize("name", [MAIL, PHONE, "0170 5550666", f"call {PHONE}"])
def test_a_name_that_names_someone_is_refused(name: str) -> None:
    with pytest.raises(Rejected) as refused:
        event_of({**order(1), "event": name})
    assert refused.value.code == "personal_name"


def event_of(raw: dict[str, Any]) -> Event:
    return parse(raw, source="web", received_at=NOON, keyed=lambda kind, value: "f00d").event


@pytest.mark.parametrize("key", ["name", "category", "status", "coupon", "step"])
def test_a_telephone_number_does_not_stay_in_a_known_text(key: str) -> None:
    for text in (f"call {PHONE}", f"{NAME}, 0170 5550666", "01705550666"):
        parsed = parse(
            order(1, **{key: text}, products=[{key: text, "sku": "a"}]),
            source="web", received_at=NOON, keyed=lambda kind, value: "f00d",
        )  # fmt: skip
        assert b"5550666" not in json.dumps(parsed.event.properties).encode()
        assert parsed.personal[key] == parsed.personal[f"products.0.{key}"] == text
    for text in ("Levi's 501 1234", "4006381333931", "GTIN 04006381333931", "Sale 01.02.2024", "10 + 5"):
        assert event_of(order(1, **{key: text})).properties[key] == text


# ------------------------------------------------------------------ files

ROW = f"{PHONE};{NAME};{MAIL}\n"


@pytest.mark.parametrize("row", [ROW, f"{NAME};0170 5550666\n", f"{NAME};19,90\n"])
def test_a_file_without_a_header_shows_no_row(tmp_path: Path, row: str) -> None:
    file = tmp_path / "export.csv"
    file.write_text(row.replace(";", ","))
    for candidates in ([ready_mapping(name) for name in SETS["pos"]], [ready_mapping(SETS["klaviyo"][0])]):
        with pytest.raises(SenderError, match="looks like a row, not like the names of columns") as refused:
            fitting(file, candidates)
        none_in(str(refused.value))
        assert str(refused.value).count("looks like a row") == 1


def test_what_a_file_has_is_said_once(tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    file.write_text("#,colour,weight,\n1,red,7,\n")
    mappings = [each for each in map(ready_mapping, SETS["pos"])]
    with pytest.raises(SenderError) as refused:
        fitting(file, [*mappings, *mappings])
    assert str(refused.value).count("The file has: '', '#', 'colour', 'weight'") == 1


MAPPING = """
mapping: sales
source: till
columns: {receipt: id, amount: money, at: time}
messages:
  - event: Store Purchase
    group_by: receipt
    user_id: receipt
    time: at
    properties: {receipt_id: receipt, total: {sum: [amount]}}
"""


def imported(folder: Path, *more: str | Path) -> Result:
    """A file of one good row and one that is refused."""
    (folder / "mapping.yaml").write_text(MAPPING)
    file = folder.parent / "sales.csv"
    file.write_text(f"receipt,amount,at,who\n1,2.00,2025-10-07T07:00:00Z,ann\n2,1.00,no time,{NAME} {MAIL}\n")
    done = run("import", file, "--mapping", folder / "mapping.yaml", "--into", folder, *more)
    assert done.exit_code == 0 and "rows refused" in done.output, (done.output, done.exception)
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_example(tmp_path / "shop")
    return tmp_path / "shop"


def test_a_rehearsal_keeps_no_refused_rows_unless_it_is_told_where(folder: Path) -> None:
    assert "Refused rows, with reasons" not in imported(folder, "--dry-run").output
    none_in(bytes_below(folder))
    imported(folder, "--dry-run", "--refused", folder.parent / "here.csv")
    assert NAME in (folder.parent / "here.csv").read_text()
    imported(folder)
    assert NAME in (folder / KEPT / "imports" / "sales.refused.csv").read_text(), "an import says what to put right"


def test_refused_rows_go_after_thirty_days(folder: Path) -> None:
    imported(folder)
    kept = folder / KEPT / "imports" / "sales.refused.csv"
    old = kept.with_name("older.refused.csv")
    old.write_text(NAME)
    long_ago = (datetime.now(UTC) - timedelta(days=31)).timestamp()
    os.utime(old, (long_ago, long_ago))
    imported(folder)
    assert kept.exists() and not old.exists()
    forget_refused(folder, datetime.now(UTC) + timedelta(days=29))
    assert kept.exists()
    forget_refused(folder, datetime.now(UTC) + timedelta(days=31))
    assert not kept.exists()


def test_a_new_folder_keeps_what_people_told_out_of_version_control(tmp_path: Path) -> None:
    assert run("init", tmp_path / "mine").exit_code == 0
    ignored = (tmp_path / "mine" / ".gitignore").read_text().splitlines()
    assert f"{KEPT}/" in ignored and "inbox/" in ignored


# ------------------------------------------------------------------ judgements


@pytest.mark.parametrize("said", [MAIL, PHONE, "she called from 0170 5550666", f"her address is {MAIL}"])
def test_a_judgement_takes_no_address_and_no_number(said: str) -> None:
    state = open_store().state
    plain = {"by": "iris", "why": "two sisters"}
    for field in plain:
        told = {**plain, field: said}
        with pytest.raises(SenderError, match=rf"{field}: .* kept in clear .* Write "):
            reviewing.merged(state, "k-1", "k-2", at=NOON, **told)
        with pytest.raises(SenderError, match=rf"{field}: .* kept in clear .* Write "):
            reviewing.split(state, "k-1", at=NOON, **told)
    with pytest.raises(SenderError, match="no customer of that id"):
        reviewing.merged(state, "k-1", "k-2", at=NOON, **plain)


@pytest.mark.parametrize("answer", [True, False])
def test_an_answer_is_not_signed_with_an_address(answer: bool) -> None:
    state = open_store().state
    asked = reviewing.propose_review(state, "k-1", "k-2", confidence=0.8, evidence=["one street"], at=NOON)
    assert asked is not None
    with pytest.raises(SenderError, match=r"by: .* Write your name or initials"):
        reviewing.answered(state, asked.review_id, accept=answer, by=MAIL, at=NOON)
