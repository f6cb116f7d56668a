"""Streams of events and one facet of every kind and reading: what the laws of remembering are tried on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from wayline.conditions import parse
from wayline.domain import Event, Facet
from wayline.interpretation.readings import READINGS

START = datetime(2026, 11, 27, 23, 0, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

NAMES = ("Viewed", "Added", "Removed", "Emptied", "Ordered", "Shipped", "Other")
SKUS = st.sampled_from(["a", "b", "c", 7, "7", "", None, True, 1.5])
NUMBERS = st.one_of(
    st.integers(-2, 3), st.sampled_from([0.5, 2.0, 1e300, 2**60, "4", True, None, 10**6, -0.0]), st.just([1])
)
TEXTS = st.sampled_from(["x", "y", "ü", "x" * 300, "", None, 3, False, "o'k", '"q"'])
PRODUCT = st.fixed_dictionaries({}, optional={"sku": SKUS, "quantity": NUMBERS, "price": NUMBERS, "kind": TEXTS})


def _nested(properties: dict[str, Any]) -> dict[str, Any]:
    return properties | {"deep": {"kind": properties.get("kind"), "n": 1}}


PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "sku": SKUS,
        "quantity": NUMBERS,
        "price": NUMBERS,
        "kind": TEXTS,
        "order_id": st.sampled_from(["o1", "o2", 3, "3", None]),
        "products": st.one_of(st.lists(PRODUCT, max_size=3), st.none()),
        "ok": st.sampled_from([True, False, None, "yes"]),
    },
).map(_nested)
INSTANTS = st.one_of(
    st.integers(0, 90).map(lambda minutes: START + timedelta(minutes=minutes)),
    st.integers(0, 120).map(lambda hours: START - hours * HOUR),
    st.just(START),
)


@st.composite
def streams(draw: st.DrawFn, size_max: int = 14) -> list[Event]:
    """Events of one customer in the order they arrived, each with its own id: late, tied and odd ones among them."""
    drawn = draw(
        st.lists(st.tuples(st.sampled_from(NAMES), INSTANTS, PROPERTIES, st.sampled_from("st")), max_size=size_max)
    )
    ids = draw(st.permutations([f"e{n}" for n in range(len(drawn))]))
    return [
        Event(
            event_id=ids[n],
            source=source,
            name=name,
            occurred_at=at,
            received_at=START + 2 * HOUR,
            properties=properties,
            position=n + 1,
        )
        for n, (name, at, properties, source) in enumerate(drawn)
    ]


_ROWS = (
    Facet(name="recent", kind="recent", events=("Viewed", "Added"),
          fields=("sku", "price", "deep.kind", "quantity"), size_max=4),
    Facet(name="recent_window", kind="recent", events=("Viewed", "Ordered"),
          value="products[].sku", window=2 * DAY, size_max=5),
    Facet(name="recent_plain", kind="recent", events=("Viewed", "Shipped"), size_max=6),
    Facet(name="per_key", kind="latest_per_key", events=("Ordered", "Shipped", "Other"),
          priority=("Shipped", "Ordered"), key="order_id", fields=("$name", "price", "quantity", "kind", "ok"),
          size_max=4),
    Facet(name="per_line", kind="latest_per_key", events=("Ordered", "Viewed"), key="order_id + products[].sku",
          fields=("products[].price", "products[].quantity", "ok"), window=3 * DAY, size_max=6),
    Facet(name="per_trust", kind="latest_per_key", events=("Ordered", "Shipped", "Other"), priority=("Shipped",),
          trust=(("Ordered", ("t", "s")), ("Other", ("t",))), key="order_id", fields=("$name", "price"), size_max=4),
    Facet(name="ledger", kind="ledger", events=("Added",), removes=("Removed",),
          resets=("Emptied", "Ordered"), key="sku", fields=("price", "quantity", "kind"), size_max=7),
    Facet(name="ledger_lines", kind="ledger", events=("Added", "Viewed"), removes=("Ordered",), resets=("Viewed",),
          key="products[].sku", fields=("products[].sku", "products[].price"), window=4 * DAY),
    Facet(name="ledger_where", kind="ledger", events=("Added",), removes=("Removed",), resets=("Emptied",), key="sku",
          fields=("quantity", "price"), where=parse("price > 0 OR event = 'Removed'")),
)  # fmt: skip

_PLAIN = (
    Facet(name="last", kind="last", events=("Viewed", "Added"), value="kind"),
    Facet(name="last_seen", kind="last", events=NAMES),
    Facet(name="last_name", kind="last", events=("Ordered", "Shipped"), value="$name", where=parse("ok IS NOT NULL")),
    Facet(
        name="first",
        kind="first",
        events=("Viewed", "Ordered"),
        value="price",
        where=parse("price >= 1 AND NOT (sku = 'b')"),
    ),
    Facet(name="first_seen", kind="first", events=NAMES),
    Facet(name="count", kind="count", events=("Viewed", "Added"), where=parse("kind IN ('x', 'y', 'ü') OR ok")),
    Facet(name="count_values", kind="count", events=("Ordered", "Viewed"), value="products[].sku"),
    Facet(name="count_window", kind="count", events=NAMES, window=DAY, tile=timedelta(minutes=30)),
    Facet(name="sum", kind="sum", events=("Ordered", "Added"), value="price"),
    Facet(
        name="sum_window",
        kind="sum",
        events=("Ordered", "Added"),
        value="products[].quantity",
        window=2 * DAY,
        tile=HOUR,
    ),
)

_FIELDS = {"sum": "price", "min": "price", "max": "price", "spread": "price", "mean": "price", "distinct": "kind",
           "top": "kind", "newest": "kind"}  # fmt: skip
_CONDITIONS = ("price > 0", "at > now - 1 day", "kind = 'x' OR price IS NULL", "key <> 'a'", "event = 'Shipped'")


def _derived() -> list[Facet]:
    found = []
    for of in _ROWS:
        has = {path.split(".")[-1].replace("$name", "event") for path in (*of.fields, of.value) if path} | {"at"}
        has |= {"key"} if of.kind != "recent" else set()
        for read in (
            READINGS if of.name in ("recent", "per_key", "per_trust", "ledger") else ("value", "newest", "first_at")
        ):
            value = _FIELDS.get(read, "")
            if value and value not in has:
                value = "sku" if "sku" in has else "price" if "price" in has else ""
                if not value and of.kind == "recent":
                    continue
            if (read == "keys" and of.kind == "recent") or (read == "amount" and "price" not in has):
                continue
            found.append(Facet(name=f"{of.name}_{read}", kind="derived", of=of.name, read=read, value=value))
        for n, text in enumerate(_CONDITIONS):
            where = parse(text)
            if where.names - {"now"} <= has:
                found.append(
                    Facet(name=f"{of.name}_w{n}", kind="derived", of=of.name, read="value", where=where, window=2 * DAY)
                )
    for of, reads in {"last": ("value", "at", "age"), "first": ("at",), "count_window": ("count", "visits", "value"),
                      "sum_window": ("sum", "visits"), "count": ("count",)}.items():  # fmt: skip
        for read in reads:
            found.append(Facet(name=f"{of}_{read}", kind="derived", of=of, read=read))
    found.append(Facet(name="visits_short", kind="derived", of="count_window", read="visits", window=6 * HOUR))
    found.append(Facet(name="keys_of_recent", kind="derived", of="recent", read="keys", value="kind"))
    return found


KEPT: tuple[Facet, ...] = (*_PLAIN, *_ROWS)
ALL: dict[str, Facet] = {facet.name: facet for facet in (*KEPT, *_derived())}
