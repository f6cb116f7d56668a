"""The shop before anyone is written to: its shelf, its people, and every visit they will make of their own accord.

All of it is drawn once from the seed, in whole arrays. What people do unaided is therefore fixed before the first
message leaves: no message can change the luck of anybody else, and a shopper's two worlds, with and without a message,
share everything but the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from wayline.runtime.shop_rates import DAYS_FULL, START, Rates, conversion, is_cold, traffic

__all__ = [
    "CARE", "JACKETS", "LUCK_COUNT", "SCRIPTED", "VIEWS_MAX", "Plan", "Range", "Shoppers", "email_of", "iso", "name_of",
    "opening_stock", "place_of", "plan_visits", "shoppers", "styles", "traits_of",
]  # fmt: skip

_Floats: TypeAlias = NDArray[np.float64]
_Integers: TypeAlias = NDArray[np.int64]

VIEWS_MAX = 6  # products looked at in one visit
LUCK_COUNT = 14  # uniforms each visit owns
SCRIPTED = 5  # the first customers act the planted stories and do nothing else

# category, words, share of styles, price in minor units, sizes, share of demand
_CATEGORIES: tuple[tuple[str, tuple[str, ...], float, int, tuple[str, ...], float], ...] = (
    ("winter-jackets", ("Parka", "Down Jacket", "Winter Jacket"), 0.11, 16900, ("XS", "S", "M", "L", "XL"), 0.09),
    ("shells", ("Rain Shell", "Softshell", "Wind Shell"), 0.09, 10900, ("XS", "S", "M", "L", "XL"), 0.06),
    ("fleece", ("Fleece", "Fleece Vest", "Wool Hoodie"), 0.12, 5400, ("XS", "S", "M", "L", "XL"), 0.13),
    ("trousers", ("Trekking Trousers", "Thermal Tights"), 0.12, 6200, ("XS", "S", "M", "L", "XL"), 0.11),
    ("base-layers", ("Merino Top", "Merino Leggings"), 0.12, 3700, ("XS", "S", "M", "L", "XL"), 0.14),
    ("shirts", ("Trail Shirt", "Flannel Shirt"), 0.12, 3400, ("XS", "S", "M", "L", "XL"), 0.12),
    ("boots", ("Hiking Boot", "Winter Boot"), 0.08, 11900, ("37", "39", "41", "43", "45"), 0.05),
    ("socks", ("Merino Socks", "Trail Socks"), 0.08, 1400, ("36-39", "40-43", "44-47"), 0.12),
    ("hats-gloves", ("Beanie", "Touring Glove"), 0.08, 2300, ("S", "M", "L"), 0.11),
    ("packs", ("Day Pack", "Hip Pack"), 0.05, 6400, ("one",), 0.03),
    ("care", ("Down Wash", "Waterproofing Spray"), 0.03, 1300, ("one",), 0.04),
)
_NAMES = ("Fjell", "Tarn", "Skarv", "Lyng", "Kvist", "Rime", "Tinde", "Varde", "Myr", "Brim", "Heia", "Gneis")
_COLOURS = ("black", "moss", "slate", "rust")
_FIRST = ("Anna", "Ben", "Clara", "David", "Elif", "Finn", "Greta", "Hugo", "Ida", "Jonas", "Kaja", "Levi", "Mila")
_LAST = ("Adler", "Berg", "Costa", "Dahl", "Ebert", "Frank", "Groen", "Haas", "Ilic", "Jansen", "Keller", "Lang")
_PLACES = (
    ("DE", "Berlin", "Europe/Berlin", "de"),
    ("DE", "Hamburg", "Europe/Berlin", "de"),
    ("DE", "Munich", "Europe/Berlin", "de"),
    ("AT", "Vienna", "Europe/Vienna", "de"),
    ("NL", "Utrecht", "Europe/Amsterdam", "en"),
    ("IE", "Dublin", "Europe/Dublin", "en"),
)
JACKETS = "winter-jackets"
CARE = "care"


class Range(Struct, frozen=True):
    """All styles and size-colours of the shop, in arrays that belong together."""

    skus: tuple[str, ...]
    names: tuple[str, ...]
    variants: tuple[str, ...]
    categories: tuple[str, ...]
    style_of: tuple[int, ...]
    prices: tuple[int, ...]
    """Full price of each size-colour, minor units."""
    first: _Integers
    """Index of the first size-colour of each style; one more closes the last."""
    colours: _Integers
    category_of: _Integers
    """Index of the category of each style; styles of one category are neighbours, cheapest first."""
    category_first: _Integers

    def skus_of(self, style: int) -> range:
        """Indexes of the size-colours of a style."""
        return range(int(self.first[style]), int(self.first[style + 1]))


def styles(seed: int, rates: Rates) -> Range:
    """Draw the range: styles by category, priced around the category's price, each in sizes and colours."""
    luck = np.random.default_rng((seed, 1))
    rows: list[tuple[str, str, str, str, int, int]] = []
    first, category_first = [0], [0]
    colours: list[int] = []
    category_of: list[int] = []
    for index, (category, words, share, price, sizes, _) in enumerate(_CATEGORIES):
        count = max(2, round(rates.styles * share))
        for price_of_style in np.sort(price * np.exp(luck.normal(-0.08, 0.3, count))):
            style = len(category_of)
            palette = 1 if sizes == ("one",) else 1 + int(luck.random() < 0.62)
            step = 500 if price_of_style > 1500 else 100
            minor = round(price_of_style / step) * step + (490 if step == 500 else 0)
            name = f"{_NAMES[style % len(_NAMES)]} {words[style % len(words)]}"
            shades = [_COLOURS[(style + colour) % len(_COLOURS)] for colour in range(palette)]
            rows += [
                (f"st-{style:04d}-{shade}-{size}", name, f"{shade} {size}", category, style, minor)
                for shade, size in product(shades, sizes)
            ]
            first.append(len(rows))
            colours.append(palette)
            category_of.append(index)
        category_first.append(len(category_of))
    skus, names, variants, categories, style_of, prices = zip(*rows, strict=True)
    return Range(
        skus, names, variants, categories, style_of, prices,
        np.array(first), np.array(colours), np.array(category_of), np.array(category_first),
    )  # fmt: skip


class Shoppers(Struct, frozen=True):
    """Who may come: known customers first, then anonymous visitors. A row per shopper in each list."""

    known: int
    tastes: NDArray[np.int64]
    """Favourite and second category."""
    budgets: _Floats
    sizes: _Integers
    activity: _Floats
    sensitivity: list[float]
    """How strongly messages move them; 1 on average, below 0 for those whom messages put off."""
    hour: list[int]
    """Local hour at which they read best."""
    opens_by_machine: list[bool]
    bounces: list[bool]
    consents: list[tuple[bool, bool, bool]]
    """To marketing by e-mail, SMS and push."""
    names: list[int]
    places: list[int]

    def __len__(self) -> int:
        return len(self.hour)


def shoppers(seed: int, rates: Rates, customers: int, anonymous: int) -> Shoppers:
    """Draw the people: tastes, budgets, sizes, how often they come and how messages move them."""
    luck = np.random.default_rng((seed, 2))
    count = customers + anonymous
    demand = np.array([row[5] for row in _CATEGORIES])
    tastes = luck.choice(len(demand), size=(count, 2), p=demand / demand.sum())
    put_off = luck.random(count) < rates.put_off
    moved = np.minimum(luck.gamma(2.0, 0.5, count), 3.0)
    # Put-off people answer with -0.5, so the rest make up for them: the mean stays 1, effects mean what they say.
    moved *= (1 + 0.5 * put_off.mean()) / max(1e-9, float(moved[~put_off].sum()) / count)
    hours = luck.choice(24, size=count, p=np.array([0] * 7 + [2, 3, 2, 2, 2, 4, 4, 2, 2, 2, 3, 4, 5, 6, 5, 2, 0]) / 50)
    consents = luck.random((count, 3)) < np.array([rates.consent_email, rates.consent_sms, rates.consent_push])
    consents[:SCRIPTED] = (True, False, True)
    bounces = luck.random(count) < rates.bounces
    bounces[:SCRIPTED] = False
    return Shoppers(
        known=customers,
        tastes=tastes,
        budgets=luck.beta(2.2, 2.2, count),
        sizes=luck.integers(0, 5, count),
        activity=luck.gamma(0.3, 1.0, count),
        sensitivity=np.where(put_off, -0.5, moved).tolist(),
        hour=hours.tolist(),
        opens_by_machine=(luck.random(count) < rates.machine_openers).tolist(),
        bounces=bounces.tolist(),
        consents=[(bool(mail), bool(sms), bool(push)) for mail, sms, push in consents.tolist()],
        names=luck.integers(0, len(_FIRST) * len(_LAST), count).tolist(),
        places=luck.integers(0, len(_PLACES), count).tolist(),
    )


class Plan(Struct, frozen=True):
    """Every visit of the season that happens of its own accord, in order of time."""

    at: _Integers
    """Seconds since the start."""
    who: _Integers
    recognised: NDArray[np.bool_]
    mobile: NDArray[np.bool_]
    app: NDArray[np.bool_]
    depth: _Integers
    """How far it goes if the shelf allows: 0 leaves, 1 looks, 2 fills a cart, 3 checks out, 4 pays."""
    views: _Integers
    wants: _Integers
    """Size-colours it looks at, at most VIEWS_MAX."""
    luck: NDArray[np.float32]
    hours: _Integers
    """Index of the first visit of each hour; one more closes the last."""

    def rows(self, hour: int) -> list[tuple[Any, ...]]:
        """The visits of one hour, as plain tuples: index, at, who, recognised, mobile, app, depth, wants, luck."""
        span = slice(int(self.hours[hour]), int(self.hours[hour + 1]))
        wants = [row[:count] for row, count in zip(self.wants[span].tolist(), self.views[span].tolist(), strict=True)]
        columns = (self.at, self.who, self.recognised, self.mobile, self.app, self.depth)
        indexes = range(span.start, span.stop)
        rows = (column[span].tolist() for column in columns)
        return list(zip(indexes, *rows, wants, self.luck[span].tolist(), strict=True))


def plan_visits(seed: int, rates: Rates, people: Shoppers, shelf: Range, days: int) -> Plan:
    """Draw all unaided visits: when, by whom, on what, how deep and what they look at."""
    luck = np.random.default_rng((seed, 3))
    share = days / DAYS_FULL
    count = max(1, round(rates.visits * people.known * share))
    weights = np.array([traffic(rates, START + timedelta(hours=hour)) for hour in range(days * 24)])
    hour = np.sort(luck.choice(len(weights), size=count, p=weights / weights.sum()))
    at = np.sort(hour * 3600 + luck.integers(0, 3540, count))
    who = _who(luck, rates, people, count)
    is_known = who < people.known
    mobile = luck.random(count) < rates.mobile
    app = mobile & (luck.random(count) < rates.app)
    # A known shopper is not always recognised: the other device has never seen them.
    recognised = is_known & (luck.random(count) < min(1.0, rates.known_visits * count / max(1, int(is_known.sum()))))
    day = at // 86400
    by_day = np.array([conversion(rates, (START + timedelta(days=number)).date()) for number in range(days)])
    ready = np.where(mobile, rates.order_mobile, rates.order_desktop) * by_day[day]
    ready *= np.where(is_known, rates.known_factor, 1.0)
    depth = _depth(luck.random(count), ready / ready.mean(), rates)
    more = np.minimum(luck.geometric(0.34, count), VIEWS_MAX - 1) * (luck.random(count) < 0.87)
    views = np.where(depth > 0, 1 + more, 0)
    cold = np.array([is_cold((START + timedelta(days=number)).date()) for number in range(days)])[day]
    wants = np.stack([_want(luck, rates, people, shelf, (who, cold)) for _ in range(VIEWS_MAX)], axis=1)
    return Plan(
        at, who, recognised, mobile, app, depth, views, wants,
        luck.random((count, LUCK_COUNT), dtype=np.float32), np.searchsorted(at, np.arange(days * 24 + 1) * 3600),
    )  # fmt: skip


def _who(luck: np.random.Generator, rates: Rates, people: Shoppers, count: int) -> _Integers:
    anonymous = len(people) - people.known
    by_known = round(count * min(0.9, rates.known_visits / 0.71))
    activity = people.activity[: people.known].copy()
    activity[:SCRIPTED] = 0.0
    known = luck.choice(people.known, size=by_known, p=activity / activity.sum())
    once = np.arange(anonymous)[: count - by_known]
    again = luck.integers(0, max(1, anonymous), count - by_known - len(once))
    who = np.concatenate([known, people.known + once, people.known + again])
    return luck.permutation(who)


def _depth(chance: _Floats, ready: _Floats, rates: Rates) -> _Integers:
    # One uniform decides all stages, so they nest; each stage's mean is its rate, whatever the mix of visitors is.
    reach = np.ones_like(chance)
    depth = np.zeros(len(chance), dtype=np.int64)
    pays = rates.order * rates.order_direct
    stages = ((rates.product_view, 0.2), (rates.cart, 0.55), (rates.checkout, 0.8), (pays, 1.0))
    for stage, (rate, power) in enumerate(stages, start=1):
        shape = ready**power
        reach = np.minimum(reach, rate * shape / shape.mean())
        depth[chance < reach] = stage
    return depth


def _want(
    luck: np.random.Generator, rates: Rates, people: Shoppers, shelf: Range, visit: tuple[_Integers, NDArray[np.bool_]]
) -> _Integers:
    who, cold = visit
    count = len(who)
    demand = np.array([row[5] for row in _CATEGORIES])
    choice = luck.random(count)
    anything = luck.choice(len(demand), size=count, p=demand / demand.sum())
    category = np.where(choice < 0.45, people.tastes[who, 0], np.where(choice < 0.65, people.tastes[who, 1], anything))
    jackets = [row[0] for row in _CATEGORIES].index(JACKETS)
    share = float((category == jackets).mean())
    turned = share * (rates.cold_snap_jackets - 1) / max(1e-9, 1 - share)
    category = np.where(cold & (luck.random(count) < turned), jackets, category)
    first, last = shelf.category_first[category], shelf.category_first[category + 1]
    by_budget = np.clip(people.budgets[who] + luck.normal(0, 0.15, count), 0, 0.999)
    by_fame = luck.random(count) ** 3
    # Half look for what fits their purse, half for what everybody looks at.
    place = np.where(luck.random(count) < 0.5, by_budget, by_fame * 0.999)
    # Fame must not follow price: step through the category by a stride, so the famous are spread over all prices.
    span = last - first
    step = (place * span).astype(np.int64)
    style = first + np.where(place == by_budget, step, (step * 7) % span)
    sizes = (shelf.first[style + 1] - shelf.first[style]) // shelf.colours[style]
    colour = (luck.random(count) * shelf.colours[style]).astype(np.int64)
    wanted: _Integers = shelf.first[style] + colour * sizes + people.sizes[who] % sizes
    return wanted


def opening_stock(seed: int, shelf: Range, plan: Plan) -> list[int]:
    """What lies on the shelf when the season opens: about half of what will be wanted, so that some sizes run out."""
    wanted = np.bincount(plan.wants[plan.depth >= 2, 0], minlength=len(shelf.skus))
    luck = np.random.default_rng((seed, 4)).integers(0, 4, len(shelf.skus))
    return [int(count) for count in np.maximum(1, wanted // 4) + luck]


def place_of(people: Shoppers, who: int) -> tuple[str, str, str, str]:
    """Country, city, zone and language of a shopper."""
    return _PLACES[people.places[who]]


def name_of(people: Shoppers, who: int) -> tuple[str, str]:
    """First and last name of a shopper."""
    return (
        ("Jana", "Winter")
        if who == 0
        else (_FIRST[people.names[who] % len(_FIRST)], _LAST[people.names[who] // len(_FIRST)])
    )


def email_of(people: Shoppers, who: int) -> str:
    """The mailbox of a shopper: unique, and in a domain that can receive nothing."""
    first, last = name_of(people, who)
    return f"{first}.{last}.{who}@example.org".lower()


def traits_of(people: Shoppers, who: int) -> Mapping[str, Any]:
    """What the shop's customer register says of a shopper."""
    first, last = name_of(people, who)
    country, city, zone, language = place_of(people, who)
    traits: dict[str, Any] = {
        "email": email_of(people, who), "firstName": first, "lastName": last, "language": language, "timezone": zone,
        "address": {"country": country, "city": city},
    }  # fmt: skip
    if people.consents[who][1]:
        traits["phone"] = f"+49155{who:07d}"
    return traits


def iso(at: datetime) -> str:
    """The instant as the wire writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
