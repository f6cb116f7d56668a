"""What a column is, and what is compared of it."""

from __future__ import annotations

import pytest

from wayline.errors import AuthorError
from wayline.observation.matching import Seen, columns_of, comparisons_of, keys_of


def seen(name: str, **said: float) -> Seen:
    return Seen(name=name, filled=900, distinct=400, **said)  # type: ignore[arg-type]  # shares only


@pytest.mark.parametrize(
    "name, role",
    [
        ("first_name", "given_name"), ("givenName", "given_name"), ("Vorname", "given_name"), ("fname", "given_name"),
        ("Last Name", "surname"), ("family_name", "surname"), ("nachname", "surname"),
        ("full_name", "full_name"), ("name", "full_name"), ("middle_name", "middle_name"),
        ("dob", "birth"), ("date_of_birth", "birth"), ("birthday", "birth"),
        ("address_1", "street"), ("street_address", "street"), ("street_number", "street_number"),
        ("suburb", "city"), ("birth_place", "city"), ("town", "city"), ("state", "region"),
        ("postcode", "postcode"), ("zip", "postcode"), ("plz", "postcode"), ("postcode_fake", "postcode"),
        ("email", "email"), ("e-mail", "email"), ("mobile", "phone"), ("phone_number", "phone"),
        ("soc_sec_id", "national_id"), ("ssn", "national_id"), ("loyalty_card", "national_id"),
        ("rec_id", "ignored"), ("unique_id", "ignored"), ("id", "ignored"), ("cluster", "ignored"),
        ("gender", "category"), ("occupation", "text"),
    ],
)  # fmt: skip
def test_a_column_is_what_its_name_says(name: str, role: str) -> None:
    (column,) = columns_of([seen(name, dates=1.0 if role == "birth" else 0.0)], 1_000)
    assert column.role == role


@pytest.mark.parametrize(
    "said, role",
    [
        ({"emails": 0.9}, "email"), ({"dates": 0.95}, "birth"), ({"phones": 0.9, "numbers": 0.4}, "phone"),
        ({"numbers": 1.0}, "number"), ({}, "text"),
    ],
)  # fmt: skip
def test_a_column_whose_name_says_nothing_is_what_is_in_it(said: dict[str, float], role: str) -> None:
    (column,) = columns_of([seen("x7", **said)], 1_000)
    assert column.role == role


def test_a_number_that_every_record_has_for_itself_says_nothing_of_a_person() -> None:
    (column,) = columns_of([Seen(name="x7", filled=1_000, distinct=1_000, numbers=1.0)], 1_000)
    assert column.role == "ignored"


def test_what_is_declared_counts_and_is_checked() -> None:
    (column,) = columns_of([seen("city")], 1_000, {"city": "surname"})
    assert (column.role, column.why) == ("surname", "declared")
    with pytest.raises(AuthorError, match=r"no such column.*Did you mean 'city'"):
        columns_of([seen("city")], 1_000, {"citty": "city"})
    with pytest.raises(AuthorError, match=r"no such role.*Did you mean 'surname'"):
        columns_of([seen("city")], 1_000, {"city": "surnam"})


def test_a_whole_name_is_not_counted_beside_its_parts() -> None:
    columns = columns_of([seen("first_name"), seen("surname"), seen("full_name")], 1_000)
    assert [column.role for column in columns] == ["given_name", "surname", "ignored"]


def test_names_in_each_others_place_are_told_once() -> None:
    given, surname = comparisons_of(columns_of([seen("first_name"), seen("surname")], 1_000))
    exchanged = [level.is_silent for each in (given, surname) for level in each.levels if level.is_apart]
    assert sorted(exchanged) == [False, True]


def test_no_one_field_need_be_right_for_two_records_to_meet() -> None:
    columns = columns_of([seen("first_name"), seen("surname"), seen("dob", dates=1.0), seen("zip")], 1_000)
    keys = keys_of(columns)
    for wrong in columns:
        assert any(all(wrong.sql not in part for part in key.parts) for key in keys), wrong.name
