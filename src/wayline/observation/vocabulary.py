"""The words events may use: names, their properties, the shape of each property, and what is personal.

Names and properties are open: an unknown one is kept, and `check` and `doctor` tell of it. Shapes are strict: a known
property of the wrong type makes the event a rejected one. The reference page of the documents is written from these
tables by `reference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from msgspec import Struct

__all__ = [
    "ALIASES", "CONTEXT_DROPPED", "CONTEXT_OBJECTS", "CONTEXT_TEXTS", "DEVICES", "DOCUMENTS", "GROUPS", "KINDS",
    "LIMITS", "NOTES", "PERSONAL_NAMES", "PERSONAL_TRAITS", "PERSONLESS", "REJECTIONS", "SECRET_ONLY", "SHAPES",
    "SHAPE_MEANINGS", "TRAIT_NAMES", "VOCABULARY",
    "Group", "Shape",
    "reference",
]  # fmt: skip

Shape: TypeAlias = Literal[
    "id", "text", "label", "scanned", "personal", "url", "link", "money", "currency", "number", "yes_no", "instant",
    "date", "products", "rows", "texts", "open",
]  # fmt: skip

SHAPE_MEANINGS: Final[Mapping[Shape, str]] = MappingProxyType({
    "id": "a string (a number becomes one); an empty one counts as absent; one that holds an identifier is hashed",
    "text": "a string; with an e-mail address or a telephone number in it, it goes to the vault",
    "label": "a string or a number, kept as it came",
    "scanned": "a string; it goes to the vault if an e-mail address or a telephone number stands in it",
    "personal": "goes to the vault, whatever it says",
    "url": "a string; kept without query and fragment, the whole goes to the vault if it had any",
    "link": "a string, kept whole: it is shown to the person it belongs to",
    "money": "a number or a text such as \"19.99\"; stored as an integer of minor units of the event's currency",
    "currency": "an ISO 4217 code, stored in capitals",
    "number": "a finite number, or a text of one",
    "yes_no": "true or false",
    "instant": "ISO 8601; stored in UTC as 2024-11-29T08:00:00Z",
    "date": "ISO 8601; stored as 2024-11-29",
    "products": "a list of product objects",
    "rows": "a list of objects",
    "texts": "a list of strings",
    "open": "any JSON value; what looks personal in it goes to the vault",
})  # fmt: skip

KINDS: Final = MappingProxyType(
    {
        "track": "",
        "identify": "Identify",
        "page": "Page Viewed",
        "screen": "Screen Viewed",
        "group": "Group",
        "alias": "Alias",
    }
)
"""Message type to the name of its event; a track call names its own."""

PERSONLESS: Final = frozenset(
    {"Inventory Changed", "Price Changed", "Privacy Requested", "Product Changed", "Store Purchase"}
)
"""Events about the shelf or a whole shop, and till sales to nobody we know: they need no identifier of a person."""

SECRET_ONLY: Final = frozenset(
    {"Email Bounced", "Email Delivered", "Email Marked as Spam", "Inventory Changed", "Message Sent",
     "Order Cancelled", "Order Delayed", "Order Delivered", "Order Refunded", "Order Shipped", "Pickup Completed",
     "Pickup Ready", "Price Changed", "Privacy Requested", "Product Changed", "Return Received", "Reward Earned",
     "Reward Expiring", "SMS Delivered", "SMS Failed", "SMS Received", "Store Purchase", "Ticket Closed",
     "Ticket Updated", "Tier Changed"}
)  # fmt: skip
"""Events a browser has no business to tell: they close a mailbox, move the shelf, or have us write to a customer about
an order, with a link out of the event. A public key that sends one is refused."""

DEVICES: Final = frozenset(
    {"anonymous_id", "device_id", "push_token", "advertising_id", "ga_client_id", "cross_domain_id"}
)
"""Kinds of identifiers that name a device or browser: they can change hands."""

DOCUMENTS: Final = frozenset({"order_id", "cart_id", "checkout_id"})
"""Kinds of identifiers that name what a person left behind: one has any number of them, and they stay in the event."""

ALIASES: Final = MappingProxyType(
    {
        "Checkout Started Webhook": "Checkout Started",
        "Order Created": "Order Completed",
        "Order Canceled": "Order Cancelled",
    }
)
"""Names other systems use for the same event. The name stored is ours, the note `alias:` keeps theirs."""

LIMITS: Final = MappingProxyType(
    {
        "bytes_max": 512 * 1024,
        "bytes_noted": 32 * 1024,
        "depth_max": 8,
        "identifiers_max": 16,
        "identifier_characters_max": 512,
        "items_max": 1000,
        "name_characters_max": 200,
        "products_max": 500,
    }
)
"""What one event may be at most, each with its own rejection code."""


REJECTIONS: Final = MappingProxyType(
    {
        "ancient": "a time before 1990, or one that becomes so when the client's clock is corrected",
        "bad_amount": "not an amount: a comma for the point, a currency sign, too large, a price below zero",
        "bad_identifier": "an id with characters that cannot be printed",
        "contract": "it breaks what signals.yaml says of the signal, which refuses what is broken",
        "bad_time": "not ISO 8601, or beyond the calendar",
        "lone_surrogate": "half of a surrogate pair",
        "mixed_currencies": "a product in another currency than its event",
        "no_identifier": "neither userId nor anonymousId, or only values that name nobody",
        "no_name": "a track call without `event`",
        "no_sku": "a row of a catalogue without sku and product_id",
        "not_an_object": "the message is no JSON object",
        "not_finite": "NaN or infinity",
        "not_json": "a value JSON has not, or an integer of more than 64 bits",
        "needs_secret_key": "a public key told what acts on a customer, a mailbox or the shelf",
        "nul_character": "the character U+0000",
        "oversize": "more bytes than `bytes_max`",
        "personal_name": "an event's name that holds an identifier, an address or a telephone number",
        "too_deep": "nested deeper than `depth_max`",
        "too_long": "a name, messageId or identifier longer than its limit",
        "too_many": "more items, products or identifiers than the limit",
        "unknown_currency": "no ISO 4217 code",
        "unknown_type": "a `type` other than track, identify, page, screen, group, alias",
        "wrong_type": "a known property, or a member of the message, of another type than expected",
    }
)
"""Code of a verdict to what was wrong; the verdict itself names the field, what came and what to do."""

NOTES: Final = MappingProxyType(
    {
        "alias: ...": "the name the sender used",
        "identity token: ...": "why a signed identity did not count",
        "contract: ...": "what it breaks of what signals.yaml says of the signal; it is kept and counted",
        "event_id assigned": "there was no messageId; a retry of a dated message gets the same one again",
        "... blocked: ...": "an identifier that names nobody (`0`, `-1`, `null`, `undefined`) was left out",
        "... is no email": "an identifier of the wrong form was left out; it is in the vault",
        "large: n bytes": "more than `bytes_noted`",
        "occurred_at clamped: ...": "it lay more than five minutes in the future, and is when we received it",
        "occurred_at is received_at": "the sender did not say when it happened",
        "revenue from ...": "what the revenue was taken or worked out from: `revenue`, `total`, `lines`",
        "claim: ...": "an address a public key told: it serves that browser's own cart until it is confirmed",
        "unverified: ...": "told by a public key and kept nowhere: a card, or personal values without a device",
        "unverified": "it came by a public key without a signed identity: what it says of a person is a claim",
    }
)
"""What an event's notes say, for whoever looks at it."""


class Group(Struct, frozen=True):
    """Events that belong together on the reference page, and what reads them."""

    title: str
    feeds: str
    events: Mapping[str, tuple[str, ...]]


def _of(text: str, *more: tuple[str, ...]) -> tuple[str, ...]:
    return (*text.split(), *(name for names in more for name in names))


_ITEM = _of("product_id sku category name brand variant price quantity coupon position url image_url")
_ORDER = _of("checkout_id order_id affiliation subtotal total revenue shipping tax discount coupon currency products")


GROUPS: Final[tuple[Group, ...]] = (
    Group("Browsing", "affinity, popular products, hesitation", {
        "Products Searched": _of("query"),
        "Product List Viewed": _of("list_id category products"),
        "Product List Filtered": _of("list_id filters sorts products"),
        "Page Viewed": _of("name category path title url referrer search"),
        "Screen Viewed": _of("name category"),
    }),
    Group("Promotion", "what was shown, what was clicked", {
        "Promotion Viewed": _of("promotion_id creative name position"),
        "Promotion Clicked": _of("promotion_id creative name position"),
    }),
    Group("Product", "affinity, cart, price and name of the product", {
        "Product Clicked": _of("query", _ITEM),
        "Product Viewed": _of("currency value", _ITEM),
        "Product Added": _of("cart_id", _ITEM),
        "Product Removed": _of("cart_id", _ITEM),
        "Cart Viewed": _of("cart_id products"),
        "Cart Emptied": _of("cart_id"),
    }),
    Group("Checkout", "hesitation, cart recovery, checkout help", {
        "Checkout Started": _of("order_id affiliation value revenue shipping tax discount coupon currency products"),
        "Checkout Step Viewed": _of("checkout_id step shipping_method payment_method"),
        "Checkout Step Completed": _of("checkout_id step shipping_method payment_method"),
        "Checkout Lingered": _of("cart_id checkout_id step seconds topic"),
        "Checkout Exited": _of("cart_id checkout_id step seconds topic"),
        "Payment Info Entered": _of("checkout_id order_id step shipping_method payment_method"),
        "Payment Failed": _of("order_id checkout_id reason retryable"),
    }),
    Group("Order", "goals, revenue, suppression after a purchase; a till purchase stops cart recovery", {
        "Order Updated": _of("status", _ORDER),
        "Order Completed": _ORDER,
        "Order Refunded": _of("order_id refund_id total currency products"),
        "Order Cancelled": _ORDER,
        "Store Purchase": _of("store_id till_id receipt_id", _ORDER),
    }),
    Group("Delivery and pickup", "order updates, delay message, review request, replenishment, claim `pickup_ready`", {
        "Order Shipped": _of("order_id shipment_id carrier tracking_number tracking_url promised_on products"),
        "Order Delivered": _of("order_id shipment_id carrier tracking_number tracking_url promised_on products"),
        "Order Delayed": _of("order_id shipment_id reason promised_on new_promised_on"),
        "Pickup Ready": _of("order_id store_id expires_at products"),
        "Pickup Completed": _of("order_id store_id expires_at products"),
    }),
    Group("Returns", "keeps returned items out of recommendations; service state", {
        "Return Requested": _of("return_id order_id reason products refund currency"),
        "Return Received": _of("return_id order_id reason products refund currency"),
    }),
    Group("Coupon", "offers", {
        name: _of("order_id cart_id coupon_id coupon_name discount reason")
        for name in ("Coupon Entered", "Coupon Applied", "Coupon Denied", "Coupon Removed")
    }),
    Group("Wishlist, sharing, review", "affinity, advocacy; what was written goes to the vault", {
        "Product Added to Wishlist": _of("wishlist_id wishlist_name", _ITEM),
        "Product Removed from Wishlist": _of("wishlist_id wishlist_name", _ITEM),
        "Wishlist Product Added to Cart": _of("wishlist_id wishlist_name cart_id", _ITEM),
        "Product Shared": _of("share_via share_message recipient", _ITEM),
        "Cart Shared": _of("share_via share_message recipient cart_id products"),
        "Product Reviewed": _of("product_id sku review_id review_body rating"),
    }),
    Group("E-mail", "clicks and unsubscribes; opens are kept and never branched on, machines open too. `decision_id` "
                    "settles a message of ours; what is `automated` counts nowhere; `bounce_type` is hard or soft", {
        name: _of("email_id email_subject campaign_id campaign_name decision_id", more)
        for name, more in {
            "Email Delivered": (), "Email Opened": ("automated",), "Email Link Clicked": ("url", "automated"),
            "Email Bounced": ("reason", "bounce_type"), "Email Marked as Spam": (), "Unsubscribed": ("channel",),
        }.items()
    }),
    Group("Text messages", "settle a message of ours, close a number that fails; answers go to the vault", {
        "SMS Delivered": _of("decision_id campaign_id"),
        "SMS Failed": _of("decision_id campaign_id reason bounce_type"),
        "SMS Received": _of("text"),
    }),
    Group("Messages of other tools", "count in caps, repeats and contradictions as ours do", {
        "Message Sent": _of("channel purpose tool campaign_id content claims"),
    }),
    Group("Service desk and help", "an open ticket holds marketing; support deflection", {
        **{
            name: _of("ticket_id order_id topic priority channel resolution sentiment status")
            for name in ("Ticket Opened", "Ticket Updated", "Ticket Closed")
        },
        "Help Viewed": _of("topic cart_id checkout_id"),
    }),
    Group("Shelf", "claims `in_stock` and `price_is`, back in stock, price drop; about no person", {
        "Inventory Changed": _of("product_id sku store_id available quantity as_of"),
        "Price Changed": _of("product_id sku price was currency as_of"),
        "Product Changed": _of(
            "was unit_cost currency availability available as_of page_url attributes inventory_item_id", _ITEM
        ),
        "Back In Stock Requested": _of("product_id sku"),
    }),
    Group("Loyalty", "loyalty reminders, stage figures", {
        "Reward Earned": _of("points balance tier reward_id expires_on"),
        "Reward Expiring": _of("points balance tier reward_id expires_on"),
        "Reward Redeemed": _of("reward_id points balance"),
        "Tier Changed": _of("from to"),
        "Referral Made": _of("referred"),
    }),
    Group("Consent", "guards and proof of consent; `Consent Claimed` is a grant by a public key, kept without effect", {
        name: _of("channel purpose method wording_version proof_id double_opt_in")
        for name in ("Consent Granted", "Consent Withdrawn", "Consent Claimed")
    }),
    Group("Requests about personal values", "told to whoever runs this, with the day they are due", {
        "Privacy Requested": _of("topic"),
    }),
    Group("Person", "traits and identifiers; made from identify, group and alias calls", {
        "Identify": (), "Group": _of("group_id"), "Alias": _of("previous_id"),
    }),
)  # fmt: skip

VOCABULARY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {name: properties for group in GROUPS for name, properties in group.events.items()}
)
"""Event name to the properties it is expected to carry; none is required, others are kept."""

_SHAPED: Mapping[Shape, str] = {
    "id": """product_id sku order_id cart_id checkout_id list_id promotion_id coupon_id wishlist_id review_id
        shipment_id return_id refund_id inventory_item_id
        ticket_id store_id till_id receipt_id reward_id proof_id email_id campaign_id
        tracking_number group_id previous_id decision_id""",
    "text": """category name brand variant coupon creative affiliation shipping_method payment_method coupon_name
        wishlist_name campaign_name carrier channel purpose method wording_version topic priority sentiment tier from
        to share_via status path title source medium term content tool availability bounce_type""",
    "label": "position step",
    "scanned": "query reason resolution",
    "personal": "review_body share_message recipient referred email_subject search text",
    "url": "url referrer",
    "link": "image_url page_url tracking_url",
    "money": "price unit_cost revenue total subtotal tax shipping discount value was refund",
    "currency": "currency",
    "number": "quantity rating points balance seconds available",
    "yes_no": "double_opt_in retryable automated",
    "instant": "as_of expires_at",
    "date": "promised_on new_promised_on expires_on",
    "products": "products",
    "rows": "filters sorts",
    "texts": "claims",
    "open": "attributes",
}
SHAPES: Final[Mapping[str, Shape]] = MappingProxyType(
    {name: shape for shape, names in _SHAPED.items() for name in names.split()}
)
"""Property name to its shape, wherever it occurs."""

CONTEXT_OBJECTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "campaign": (),
        "page": (),
        "referrer": (),
        "device": ("type", "manufacturer", "model"),
        "app": ("name", "version", "build"),
        "os": ("name", "version"),
    }
)
"""Objects kept of an event's context, and which of their fields (none named: all, read as properties are).

`ip`, `userAgent` and `traits` are read apart. A key that neither Segment nor RudderStack knows is the sender's
own, and is kept as an unknown property is.
"""

CONTEXT_TEXTS: Final = frozenset({"locale", "timezone", "channel", "sessionId"})
"""Texts kept of an event's context."""

CONTEXT_DROPPED: Final = frozenset(
    {"active", "externalIds", "groupId", "identityToken", "integrations", "library", "network", "screen", "traits",
     "userAgentData", "userId", "anonymousId"}
)  # fmt: skip
"""Keys of an event's context that are kept nowhere: nothing reads them, or they are read as identifiers."""

TRAIT_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "firstName": "first_name", "lastName": "last_name", "createdAt": "created_at", "postalCode": "postal_code",
        "dateOfBirth": "birthday",
    }
)  # fmt: skip
"""Reserved traits in camel case, and the name they are stored under."""

PERSONAL_TRAITS: Final = frozenset(
    _of("email phone first_name last_name name title username avatar birthday website description id company")
)
"""Traits that go to the vault, besides those whose name says so anyway."""

PERSONAL_NAMES: Final = frozenset(
    _of(
        """
    email emailaddress mail phone phonenumber mobile mobilephone telephone tel fax firstname lastname middlename
    fullname surname givenname familyname maidenname nickname street street1 street2 streetname streetaddress
    housenumber address1 address2 addressline1 addressline2 postalcode postcode zip zipcode iban bic birthday
    birthdate dateofbirth dob ip ipaddress useragent password passwd token accesstoken authtoken secret sessiontoken
    customerid userid memberid accountid clientid anonymousid deviceid username login ssn passport passportnumber
    taxid cardnumber creditcard creditcardnumber cvv comment comments message note notes body freetext reviewbody
    reviewtext review giftmessage giftnote feedback answer subject text customernote customernotes ordernote ordernotes
    deliverynote deliverynotes deliveryinstructions specialinstructions engraving inscription personalization
    personalisation latitude longitude
    """
    )
)
"""Property names, in lower case without `_` and `-`, whose value goes to the vault whatever it looks like."""


def reference() -> str:
    """The reference page of events, as Markdown."""
    lines = [
        "# Events",
        "",
        "Written from the vocabulary in `wayline.observation.vocabulary`; a test compares them.",
        "",
        "Names and properties are open: others than these are kept and folded like any. Shapes are strict: an",
        "event with a known property of the wrong type is rejected, with the field and the way out, and its neighbours",
        "pass. Names are case-sensitive.",
        "",
    ]
    for group in GROUPS:
        lines += [f"## {group.title}", "", f"Feeds: {group.feeds}.", "", "| event | properties |", "|---|---|"]
        lines += [f"| `{name}` | {', '.join(properties) or '-'} |" for name, properties in group.events.items()]
        lines.append("")
    return "\n".join([*lines, *_shapes_page(), *_names_page()]) + "\n"


def _shapes_page() -> list[str]:
    lines = ["## Shapes", "", "| shape | what is accepted and stored | properties |", "|---|---|---|"]
    for shape, meaning in SHAPE_MEANINGS.items():
        names = ", ".join(f"`{name}`" for name, its in SHAPES.items() if its == shape)
        lines.append(f"| {shape} | {meaning} | {names} |")
    return [*lines, ""]


def _names_page() -> list[str]:
    sealed = "These traits go to the vault: " + _named(PERSONAL_TRAITS)
    named = "So does a property of any of these names, in any case, with or without `_` and `-`: " + _named(
        PERSONAL_NAMES
    )
    return [
        *_table("Aliases", "accepted", "stored as", {f"`{theirs}`": f"`{ours}`" for theirs, ours in ALIASES.items()}),
        "## Only by a secret key",
        "",
        f"A public key may tell every event but these: {_named(SECRET_ONLY)}.",
        "Its `Consent Granted` is kept as `Consent Claimed`, which has no effect; its `Consent Withdrawn` counts.",
        "",
        *_table("Limits of one event", "limit", "value", LIMITS),
        *_table("Why an event is rejected", "code", "what was wrong", REJECTIONS),
        *_table("What an event's notes say", "note", "meaning", NOTES),
        "## Personal values",
        "",
        f"Identifiers are hashed with the installation's key. {sealed}.",
        "",
        f"{named}.",
        "",
        "So does any unknown text that looks like an e-mail address or a telephone number, or that is long or has",
        "several lines. No identifier of an event's own person stays in any byte of it.",
    ]


def _table(title: str, left: str, right: str, rows: Mapping[str, object]) -> list[str]:
    lines = [f"| {key} | {value} |" for key, value in rows.items()]
    return [f"## {title}", "", f"| {left} | {right} |", "|---|---|", *lines, ""]


def _named(names: frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
