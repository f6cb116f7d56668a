"""A standing is bounded, and what is let go of to keep it so is nothing that a rule still needs."""

from __future__ import annotations

from tests.shop import MARKETING, Shop, happened, written

from wayline.domain import CONTACTS_MAX

POLICY = """\
gates: [caps]
slot: 1 minute
stock: {unknown: in_stock}
caps: {a-week: {at_most: 1, per: 7 days}}
"""
HELLO = """\
enters_on: Product Viewed
reentry: after 1 minute
steps:
  say: {propose: [{action: say, channel: email, content: %s}], patience: 1 minute, then: end, otherwise: end}
"""
ORDERED = """\
stage: fulfillment
purpose: transactional
owner: {business: b, technical: t, qa: q}
goal: Order Delivered
reentry: per order_id
control: {none: a test}
enters_on: Order Completed
steps:
  say: {propose: [{action: say, channel: email, content: thanks}], patience: 1 day, then: end, otherwise: end}
"""


def test_many_owed_messages_free_no_cap() -> None:
    marketing = MARKETING.replace("reentry: after 1 day\n", "")
    again = (HELLO % "again").replace("Product Viewed", "Product Added")
    journeys = {"hello": marketing + HELLO % "hello", "again": marketing + again, "ordered": ORDERED}
    shop = Shop(written(journeys, policy=POLICY, hello="email", again="email", thanks="email"))
    shop.consent()
    shop.tell(happened("Product Viewed", sku="jacket"))
    for number in range(CONTACTS_MAX + 10):
        shop.tell(happened("Order Completed", order_id=f"A{number}", revenue=1, currency="EUR", products=[]))
    shop.after(hours=1)
    shop.tell(happened("Product Added", sku="jacket", price=1, quantity=1))
    assert len(shop.customer().standing.contacts) <= CONTACTS_MAX
    assert [row.content for row in shop.deliveries() if row.lane == "marketing"] == ["hello"]
    assert ("caps", "again") in shop.refusals("again")
