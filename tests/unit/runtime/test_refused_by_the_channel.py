"""A message that provably never arrived leaves nothing behind that could keep another from going."""

from __future__ import annotations

import pytest
from tests.shop import NOON, Shop, happened

from wayline.domain import Receipt


def ordered(shop: Shop, order_id: str) -> None:
    lines = [{"sku": "jacket", "quantity": 1, "price": 16900}]
    shop.tell(happened("Order Completed", order_id=order_id, revenue=16900, currency="EUR", products=lines))


def marks(shop: Shop) -> list[str]:
    address = shop.store.state.address("email", "mail-ann")
    return [contact.content for contact in address.contacts] if address else []


@pytest.mark.parametrize("outcome, kept", [("sent", 1), ("unknown", 1), ("refused", 0)])
def test_only_what_may_have_arrived_marks_the_mailbox(outcome: str, kept: int) -> None:
    shop = Shop()
    shop.consent()
    shop.answers["email"] = Receipt(outcome, NOON, "the server's words")
    ordered(shop, "A1")
    shop.after(hours=2)  # what is owed and may not have arrived is offered again, a few times
    rows = [(row.state, row.content) for row in shop.deliveries() if row.content == "order-confirmation"]
    assert rows == [(outcome, "order-confirmation")]
    assert marks(shop).count("order-confirmation") == kept


def test_a_mailbox_keeps_the_marks_of_other_messages() -> None:
    shop = Shop()
    shop.consent()
    ordered(shop, "A1")
    shop.answers["email"] = Receipt("refused", NOON, "550 5.7.1 not now")
    ordered(shop, "A2")
    assert marks(shop).count("order-confirmation") == 1
