"""What came from outside, said by its shape; and telephone numbers told from article numbers."""

from __future__ import annotations

import pytest

from wayline.observation.masking import PERSONAL, holds_number, safe_field, safe_name, safe_reason


@pytest.mark.parametrize(
    "text",
    [
        "call +49 170 5550666", "Leakname Quuxley, 0170 5550666", "+491705550666", "01705550666", "0170-555 06 66",
        "(0170) 5550666", "+49 (0)170 5550666", "0049 170 5550666", "01.12.34.56.78", "tel:0170/5550666",
    ],
)  # fmt: skip
def test_a_telephone_number_is_found(text: str) -> None:
    assert holds_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "Levi's 501 1234", "4006381333931", "GTIN 04006381333931", "UPC 012345678905", "ISBN 0306406152",
        "Cable 0.75 1000 m", "Sale 01.02.2024", "01/02/2024 10:30", "Since 08.01.24", "2024-11-29T08:00:00Z", "092/098",
        "Save 10 + 5", "iPhone 15 Pro 256GB", "Top 100", "A4 210 x 297 1000 sheets", "SKU-000012345678", "",
    ],
)  # fmt: skip
def test_article_numbers_dates_and_sizes_are_none(text: str) -> None:
    assert not holds_number(text)


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("expected a number, got 'USD'", "expected a number, got 'USD'"),
        ("expected an amount such as 19.99, got '19,99 €'", "expected an amount such as 19.99, got '19,99 €'"),
        ("expected an amount, got 'kim@mail.example'", "expected an amount, got 'aaa@aaaa.aaaaaaa'"),
        ("expected a number, got '+49 170 5550666'", "expected a number, got '+99 999 9999999'"),
        ("expected a string, got 491705550666", "expected a string, got 999999999999"),
        ("expected a number, got 'Kim Lessname'", "expected a number, got 'Aaa Aaaaaaaa'"),
        ('expected a number, got "Kim O\'Lessname"', 'expected a number, got "Aaa A\'Aaaaaaaa"'),
        ("currency is 'USD', not 'EUR'", "currency is 'USD', not 'EUR'"),
        ("it may not tell 'Order Completed'", "it may not tell 'Order Completed'"),
        ("expected a userId or an anonymousId", "expected a userId or an anonymousId"),
    ],
)  # fmt: skip
def test_a_verdict_shows_the_shape_of_what_it_quotes(reason: str, shown: str) -> None:
    assert safe_reason(reason) == shown


def test_a_quote_that_was_cut_off_hides_all_the_same() -> None:
    value = "kim.secret@example.com, +49 170 5550666, and much more than fits"
    assert "secret" not in safe_reason(f"expected a message type, got {value!r:.60}. Defined: 'alias', 'track'.")
    assert "5550666" not in safe_reason(f"expected a message type, got {value!r:.60}. Defined: 'alias', 'track'.")


def test_names_and_fields_that_name_someone_are_masked() -> None:
    assert (
        safe_name("kim@mail.example") == safe_name("0170 5550666") == safe_name("of c-123", "personal_name") == PERSONAL
    )
    assert safe_name("x" * 201) == PERSONAL
    assert safe_name("Gift Sent", "bad_amount") == "Gift Sent"
    assert safe_field("properties.products.0.price") == "properties.products.0.price"
    assert safe_field("properties.kim@mail.example") == "properties.aaa@aaaa.aaaaaaa"
