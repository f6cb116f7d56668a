"""What the commands say where something is missing, mistyped or already running: the very words a person needs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace
from tests.shop import NOON
from typer.testing import CliRunner

from wayline.cli import app, incoming
from wayline.cli.catalog import _count
from wayline.errors import AuthorError, Rejected, SenderError, WaylineError, kind_of, why_no_json
from wayline.observation.events import parse
from wayline.observation.vocabulary import LIMITS
from wayline.playbook.settings import read_sources
from wayline.runtime.arrivals import fitting, mappings_called
from wayline.runtime.folders import KEPT, copy_example
from wayline.runtime.importing import Import, preview_table
from wayline.runtime.match_evaluation import Asked, evaluate, in_words
from wayline.serving.alarms import _said
from wayline.sources import Call
from wayline.sources.mapping import for_shop, read_mapping
from wayline.sources.tickets import TicketForms
from wayline.store import Rejection
from wayline.store.opening import open_store

PEOPLE = "id,first,last,city,person\n" + "".join(
    f"{number},Ann{number % 40},Miller{number % 40},Town{number % 7},{number % 40}\n" for number in range(80)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_example(tmp_path / "shop")
    return tmp_path / "shop"


@pytest.fixture
def people(tmp_path: Path) -> Path:
    (tmp_path / "people.csv").write_text(PEOPLE)
    return tmp_path / "people.csv"


def said(*words: str | Path) -> str:
    """What a command prints, or the error it ends with."""
    ended = CliRunner().invoke(app, [str(word) for word in words])
    return str(ended.exception) if isinstance(ended.exception, WaylineError) else ended.output


def judged(people: Path, *rows: str) -> Asked:
    labels = people.with_name("labels.csv")
    labels.write_text("\n".join(["id_l,id_r,match", *rows, ""]))
    return Asked(left=people, labels=labels)


# ------------------------------------------------------------------ judged pairs


@pytest.mark.parametrize("label", ["maybe", "", "2", "-1", "nan"])
def test_a_label_that_judges_nothing_is_told_with_its_line(people: Path, label: str) -> None:
    with pytest.raises(AuthorError, match=rf"labels\.csv:3: match: expected 1 for one person.*found '{label}'"):
        evaluate(judged(people, "1,41,1", f"1,2,{label}"))


def test_labels_of_nobody_are_told(people: Path) -> None:
    with pytest.raises(AuthorError, match="no line names two records"):
        evaluate(judged(people))
    made, _ = evaluate(judged(people, "1,41,yes", "1,2,0", "1,none,1"))
    assert made.labelled is not None and (made.labelled.pairs, made.labelled.unknown) == (2, 1)
    assert any("1 line of the labels passed over" in line for line in in_words(made))


@pytest.mark.parametrize("rows", [0, 1])
def test_one_record_is_too_few_to_tell_apart(people: Path, rows: int) -> None:
    people.write_text("".join(PEOPLE.splitlines(keepends=True)[: rows + 1]))
    with pytest.raises(AuthorError, match="at least 2 are needed"):
        evaluate(Asked(left=people, truth="person"))


def test_a_seed_is_no_negative_number(people: Path) -> None:
    assert "greater than or equal to 0" in said("identity", "evaluate", people, "--truth", "person", "--seed", "-5")


# ------------------------------------------------------------------ sources, looked at before they are served


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('kind = "sendgrid"\npublic_key = "xx"', "source odd: public_key"),
        ('kind = "postmark"\nsecret_env = "HOOK"', r"source odd \(environment variable HOOK\): Postmark's secret"),
        ('kind = "postmark"\nsecret_env = "HOOK"\nnetworks = ["nope"]', "expected networks such as"),
        ('kind = "webhook"\nsecret_env = "HOOK"', r"source odd \(environment variable HOOK\): a webhook secret"),
        ('kind = "webhook"\nsecret_env = "UNSET"\nmapping = "gone.yaml"', "source odd: gone.yaml cannot be read"),
        ('kind = "drop"\nmapping = "gone.yaml"', "source odd: .*gone.yaml: no mapping can be read here: No such file"),
    ],
)
def test_check_tells_what_serving_would_refuse(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lines: str, words: str
) -> None:
    monkeypatch.setenv("HOOK", "ab:c!")
    path = folder / "wayline.toml"
    before = path.read_text().rstrip()
    path.write_text(f"{before}\n\n[sources.odd]\n{lines}\n")
    told = said("check", folder)
    found = re.search(rf"wayline\.toml:(\d+): .*{words}", told)
    assert found and int(found[1]) > before.count("\n"), told


def test_a_secret_that_is_not_set_here_is_only_warned_of(folder: Path) -> None:
    path = folder / "wayline.toml"
    path.write_text(f'{path.read_text().rstrip()}\n\n[sources.odd]\nkind = "zendesk"\nsecret_env = "UNSET"\n')
    ended = CliRunner().invoke(app, ["check", str(folder)])
    assert ended.exit_code == 0 and "UNSET is not set" in ended.output


def test_a_kind_that_is_not_known_is_told_once() -> None:
    with pytest.raises(AuthorError) as told:
        read_sources('[sources.odd]\nkind = "fax"\nnumber = "1"\n')
    assert [each.line for each in told.value.problems if "shop" not in each.text[:25]] == [2]
    assert "'fax'" in str(told.value) and "no key" not in str(told.value)


def test_a_mapping_never_speaks_as_the_engine() -> None:
    text = "mapping: odd\nsource: wayline\ncolumns: {at: time}\nmessages: [{event: Ticket Opened, time: at}]\n"
    with pytest.raises(AuthorError, match=r"mapping\.yaml:2: 'wayline' is what the engine's own events carry"):
        read_mapping(text)


# ------------------------------------------------------------------ keys, rejected messages, the tail


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--source", "bad name!"), "--source 'bad name!'"),
        (("--source", "web", "--expires-on", "tomorrow"), "--expires-on 'tomorrow'"),
        (("--source", "web", "--expires-on", "2020-01-01"), "that day is over"),
    ],
)
def test_a_key_that_could_never_work_is_not_made(folder: Path, words: tuple[str, ...], told: str) -> None:
    before = (folder / "wayline.toml").read_text()
    assert told in said("keys", "new", folder, "--write", *words)
    assert (folder / "wayline.toml").read_text() == before


def test_rejected_messages_that_are_not_there_are_named(folder: Path) -> None:
    with open_store(folder / KEPT):
        pass
    ended = CliRunner().invoke(app, ["rejects", str(folder), "--again", "99999"])
    assert isinstance(ended.exception, SenderError) and "99999" in str(ended.exception)
    assert "--again" in said("rejects", folder, "--patch", "{}")


def test_a_refusal_of_the_server_is_told_in_its_own_words() -> None:
    refused = httpx.Response(403, json={"code": "no_scope", "message": "give it the scope 'read'"})
    with pytest.raises(ValueError, match="it answered 403 no_scope: give it the scope 'read'") as told:
        incoming._told(refused)
    assert "mozilla" not in str(told.value)


@pytest.mark.parametrize(
    ("words", "instead"),
    [(("tail",), "--server"), (("rejects",), "/v1/rejects"), (("identity", "review"), "/v1/identity/review")],
)
def test_a_folder_being_served_says_how_to_ask_the_server(folder: Path, words: tuple[str, ...], instead: str) -> None:
    with open_store(folder / KEPT):
        assert instead in said(*words, folder)


def test_a_rejection_without_a_name_reads_as_a_sentence() -> None:
    bare = Rejection(
        source="sh", event_id="", name="", code="not_an_object", field="", reason="expected an object",
        received_at=NOON, body=b"1",
    )  # fmt: skip
    assert _said(bare) == "a message without a name: expected an object"
    assert _said(replace(bare, name="Order Placed", field="sku")) == "'Order Placed', sku: expected an object"


# ------------------------------------------------------------------ what was sent, in the words of JSON


def test_what_came_is_named_as_json_names_it() -> None:
    told = [kind_of(each) for each in (None, True, 1, 1.5, "a", [], {})]
    assert told == ["nothing (null)", "true or false", "a number", "a number", "text", "a list", "an object"]


def test_why_no_json_says_nothing_of_python() -> None:
    with pytest.raises(ValueError) as many_digits:
        json.loads("9" * 5000)
    assert why_no_json(many_digits.value) == "a number in it has too many digits"
    assert why_no_json(RecursionError("maximum recursion depth exceeded")) == "it is nested too deeply"


def test_what_goes_to_the_vault_weighs_too() -> None:
    said = {"type": "track", "event": "Ticket Opened", "userId": "ann", "messageId": "m"}
    long = {**said, "properties": {"ticket_id": "t", "message": "word " * 120_000}}
    with pytest.raises(Rejected) as refused:
        parse(long, source="web", received_at=NOON, keyed=lambda kind, value: f"{kind}-{len(value)}")
    assert refused.value.code == "oversize" and LIMITS["bytes_max"] < 600_000


# ------------------------------------------------------------------ files and tickets that tell nothing


def test_a_file_that_no_mapping_can_read_says_why_once(tmp_path: Path) -> None:
    junk = tmp_path / "sales.parquet"
    junk.write_bytes(b"PAR1junk")
    with pytest.raises(SenderError) as told:
        fitting(junk, mappings_called("pos"))
    assert str(told.value).count("no whole Parquet file") == 1


def test_a_row_about_nobody_is_refused_in_the_words_of_its_columns(tmp_path: Path) -> None:
    rows = tmp_path / "pickups.csv"
    rows.write_text("store_id,order_id,pickup_status,at\n1,7,ready,2025-11-05T10:00:00Z\n")
    (mapping,) = mappings_called("pos-pickups")
    (shown,) = preview_table(Import(path=rows, mapping=for_shop(mapping, "EUR", "UTC"), received_at=NOON), 1)
    assert "'customer_id' or 'email' or 'phone'" in shown.refusal and "userId" not in shown.refusal


def test_a_ticket_without_an_id_is_told_so() -> None:
    desk = TicketForms(["whsec_" + "QUFB" * 8])
    with pytest.raises(Rejected, match="ticket_id: expected the id of a ticket"):
        desk.messages(Call(headers={}, body=b"{}", url="", peer="", received_at=NOON))


def test_stock_below_nothing_is_shown_as_nothing() -> None:
    assert _count(-5, NOON, NOON).startswith("0 in stock (told as -5")
    assert _count(5, NOON, NOON).startswith("5 in stock;")
