"""Law: whom the events lead to as they come is whom they lead to when the log is read again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.shop import NOON, Shop, happened

from wayline.domain import Event, Identifier, Memory
from wayline.observation.claims import CLAIMED, CLICK_TOKEN, UNVERIFIED
from wayline.observation.directory import Directory
from wayline.observation.identity import customer_id_of
from wayline.runtime.parting import resolved_anew
from wayline.runtime.refolding import refold

USERS = [Identifier("user_id", f"user-{name}") for name in "ab"]
ADDRESSES = [Identifier("email", f"mail-{name}") for name in "ab"]
BROWSERS = [Identifier("anonymous_id", f"browser-{name}") for name in "abcdefghi"]
CARTS = ["cart-1", "cart-2"]

_some = {
    "user": st.sampled_from(USERS),
    "address": st.sampled_from(ADDRESSES),
    "browser": st.sampled_from(BROWSERS),
    "cart": st.sampled_from(CARTS),
}


def _said(name: str, who: tuple[Identifier, ...], public: bool, **properties: Any) -> tuple[Any, ...]:
    return name, who, public, properties


def _claim(address: Identifier) -> Identifier:
    return Identifier(CLAIMED[address.kind], address.value)


acts = st.one_of(
    st.builds(lambda b, a, c: _said("Checkout Step Viewed", (b, _claim(a)), True, step=1, cart_id=c),
              _some["browser"], _some["address"], _some["cart"]),
    st.builds(lambda b, c: _said("Checkout Step Viewed", (b,), True, step=2, cart_id=c),
              _some["browser"], _some["cart"]),
    st.builds(lambda u, b, public: _said("Product Viewed", (u, b), public, sku="jacket"),
              _some["user"], _some["browser"], st.booleans()),
    st.builds(lambda u, a: _said("Identify", (u, a), False), _some["user"], _some["address"]),
    st.builds(lambda a, c: _said("Order Completed", (a,), False, order_id="o1", cart_id=c),
              _some["address"], _some["cart"]),
    st.builds(lambda u, a, c: _said("Order Completed", (u, a), False, order_id="o2", cart_id=c),
              _some["user"], _some["address"], _some["cart"]),
    st.builds(lambda a: _said("Consent Granted", (a,), False, channel="email", purpose="marketing", double_opt_in=True),
              _some["address"]),
    st.builds(lambda b, to: _said("Page Viewed", (b, Identifier(CLICK_TOKEN, customer_id_of(to))), True),
              _some["browser"], st.one_of(_some["user"], _some["browser"])),
)  # fmt: skip
lives = st.lists(acts, min_size=2, max_size=24)
log_ins = st.builds(
    lambda b, by: _said("Product Viewed", (b,) if by == "nobody" else (USERS[0], b), by != "server", sku="jacket"),
    _some["browser"],
    st.sampled_from(["browser", "browser", "server", "nobody"]),
)
many_log_ins = st.lists(log_ins, min_size=9, max_size=30)
law = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


def _events(life: Sequence[Any]) -> list[Event]:
    return [
        replace(
            happened(name, who, at=NOON + timedelta(minutes=number), event_id=f"act-{number}", **properties),
            notes=(UNVERIFIED,) if public else (),
        )
        for number, (name, who, public, properties) in enumerate(life)
    ]


def _memories(shop: Shop) -> dict[str, Memory]:
    ids = list(shop.store.state.customer_ids())
    return {each: replace(shop.engine.customer(each).memory, position=0) for each in ids}


@law
@given(st.one_of(lives, many_log_ins), st.integers(1, 5))
def test_whom_events_lead_to_live_is_whom_they_lead_to_when_read_again(life: list[Any], at_once: int) -> None:
    shop = Shop()
    events = _events(life)
    shop.now = events[-1].occurred_at
    for start in range(0, len(events), at_once):
        shop.tell(*events[start : start + at_once])
    state, log = shop.store.state, shop.store.log
    anew = resolved_anew(log.read(0, 100), Directory())
    handles = [*USERS, *ADDRESSES, *BROWSERS]
    assert state.resolve(handles) == anew.directory.resolve(handles)
    for one, tie in state.ties(handles).items():
        assert tie.confidence == anew.directory.sure(one), one
    before = _memories(shop)
    refold(log, state, shop.playbook, customers_max=1000)
    shop.restart()
    assert _memories(shop) == before
