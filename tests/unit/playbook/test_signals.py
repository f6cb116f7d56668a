"""signals.yaml: what is agreed of events, compiled, and whose word counts in the registers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.shop import NOON

from wayline.domain import Event, Playbook
from wayline.interpretation import facets
from wayline.playbook import check_playbook, compile_playbook

SHOP = """
[shop]
name = "Larkfell"
url = "https://larkfell.example"
currency = "EUR"
zone = "UTC"
languages = ["en"]
postal_address = "Kiel"
[sources.shop]
secret_key_sha256 = "%s"
[sources.web]
write_key = "web-key-0001"
""" % ("a" * 64)
FACETS = """
orders:
  {kind: latest_per_key, events: [Order Completed, Order Shipped], priority: [Order Shipped], key: order_id,
   fields: [revenue]}
spent: {kind: derived, of: orders, read: sum, value: revenue}
"""
SIGNALS = """
Order Completed:
  requires: [order_id, revenue]
  values: {currency: [EUR]}
  broken: refused
  truth: [shop, web]
  every: 1 day
Inventory Changed: {truth: shop}
Our Own Thing: {requires: thing}
"""


def compiled(signals: str = SIGNALS) -> Playbook:
    return compile_playbook({"wayline.toml": SHOP, "facets.yaml": FACETS, "signals.yaml": signals})


def problems(signals: str) -> list[str]:
    checked = check_playbook({"wayline.toml": SHOP, "facets.yaml": FACETS, "signals.yaml": signals})
    return [str(problem) for problem in checked.problems]


def test_what_is_agreed_is_compiled() -> None:
    playbook = compiled()
    order = playbook.signals["Order Completed"]
    assert (order.requires, order.refuses, order.truth, order.every) == (
        ("order_id", "revenue"), True, ("shop", "web"), timedelta(days=1),
    )  # fmt: skip
    assert order.values == {"currency": ("EUR",)}
    assert playbook.signals["Our Own Thing"].requires == ("thing",)


def test_mistakes_are_told_with_their_line_and_a_way_out() -> None:
    said = "Order Completed:\n  truth: [shopp]\n  broken: maybe\n  values: {currency: [{a: 1}], subject: [x]}\n"
    told = problems(said)
    assert any("signals.yaml:2: signal 'Order Completed' trusts the source 'shopp'" in each for each in told)
    assert any("signals.yaml:3: expected what becomes of an event" in each for each in told)
    assert any("'currency' may have texts, numbers, true or false" in each for each in told)


def completed(source: str, revenue: int, minutes: int = 0, name: str = "Order Completed") -> Event:
    at = NOON + timedelta(minutes=minutes)
    return Event(
        event_id=f"{source}{minutes}{name}", source=source, name=name, occurred_at=at, received_at=at,
        properties={"order_id": "7", "revenue": revenue},
    )  # fmt: skip


def spent(playbook: Playbook, *events: Event) -> Any:
    states: Any = {}
    for event in events:
        states = facets.fold(states, event, playbook.folding[event.name])
    return facets.read(states, playbook.facets["spent"], playbook.facets, NOON + timedelta(days=1))


def test_the_more_trusted_sources_word_stands_in_whatever_order_they_tell() -> None:
    playbook = compiled()
    shop, web, till = completed("shop", 50), completed("web", 70, minutes=5), completed("till", 90, minutes=9)
    for told in ((shop, web, till), (till, web, shop), (web, till, shop)):
        assert spent(playbook, *told) == 50
    assert spent(playbook, till, web) == 70
    assert spent(playbook, till) == 90
    shipped = completed("web", 60, minutes=20, name="Order Shipped")
    assert spent(playbook, shop, shipped) == 60, "the name counts before the source"
    untrusting = compile_playbook({"wayline.toml": SHOP, "facets.yaml": FACETS})
    assert spent(untrusting, shop, web, till) == 90, "without agreement the newest stands"


def test_memories_are_folded_again_when_trust_changes() -> None:
    other = compiled(SIGNALS.replace("[shop, web]", "[web, shop]"))
    first, second = (facets.fingerprint(tuple(each.facets.values())) for each in (compiled(), other))
    assert first != second
