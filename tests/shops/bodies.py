"""Resources of a shop as the platforms document them, with the members that matter, each to be changed by a test."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

DAY = datetime(2025, 11, 3, 9, 30, tzinfo=UTC)


def at(minutes: float = 0) -> str:
    """An instant as Shopify writes it: in the shop's own zone."""
    return (DAY + timedelta(minutes=minutes)).isoformat()


def signature(body: bytes, secret: str) -> str:
    """Base64 of HMAC-SHA256, as both platforms sign."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def line(sku: str = "FJ-GREEN", price: str = "119.00", quantity: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": 866550311766439020,
        "product_id": 7001,
        "variant_id": 7101,
        "sku": sku,
        "title": "Fjord jacket",
        "variant_title": "green / M",
        "vendor": "Larkfell",
        "quantity": quantity,
        "price": price,
        "total_discount": "0.00",
        "properties": [{"name": "Engraving", "value": "For Anna"}],
        "tax_lines": [],
        **more,
    }


def order(order_id: int = 5001, minutes: float = 0, **more: Any) -> dict[str, Any]:
    """An order of one jacket, prices with 19 % tax inside, 4.90 shipping."""
    return {
        "id": order_id,
        "admin_graphql_api_id": f"gid://shopify/Order/{order_id}",
        "name": f"#{order_id - 4000}",
        "order_number": order_id - 4000,
        "email": "Anna.Berg@example.com",
        "contact_email": "anna.berg@example.com",
        "phone": None,
        "created_at": at(),
        "processed_at": at(),
        "updated_at": at(minutes),
        "cancelled_at": None,
        "cancel_reason": None,
        "closed_at": None,
        "currency": "EUR",
        "presentment_currency": "EUR",
        "total_price": "123.90",
        "subtotal_price": "119.00",
        "total_tax": "19.78",
        "total_discounts": "0.00",
        "taxes_included": True,
        "total_price_set": {
            "shop_money": {"amount": "123.90", "currency_code": "EUR"},
            "presentment_money": {"amount": "123.90", "currency_code": "EUR"},
        },
        "financial_status": "paid",
        "fulfillment_status": None,
        "source_name": "web",
        "location_id": None,
        "cart_token": f"cart-{order_id}",
        "checkout_token": f"checkout-{order_id}",
        "discount_codes": [{"code": "AUTUMN", "amount": "0.00", "type": "percentage"}],
        "line_items": [line()],
        "shipping_lines": [{"price": "4.90", "title": "DHL", "tax_lines": [{"price": "0.78", "rate": 0.19}]}],
        "billing_address": {"first_name": "Anna", "last_name": "Berg", "phone": None},
        "shipping_address": {"first_name": "Anna", "last_name": "Berg", "phone": None},
        "customer": {"id": 900000001, "email": "anna.berg@example.com", "first_name": "Anna", "last_name": "Berg"},
        "fulfillments": [],
        "refunds": [],
        "note": "Please ring at the door of Berg",
        **more,
    }


def fulfillment(fulfillment_id: int = 6001, order_id: int = 5001, minutes: float = 60, **more: Any) -> dict[str, Any]:
    return {
        "id": fulfillment_id,
        "order_id": order_id,
        "status": "success",
        "shipment_status": None,
        "created_at": at(minutes),
        "updated_at": at(minutes),
        "tracking_company": "DHL",
        "tracking_number": "JD0001",
        "tracking_url": "https://track.example/JD0001",
        "line_items": [line()],
        **more,
    }


def refund(refund_id: int = 8001, order_id: int = 5001, minutes: float = 600, **more: Any) -> dict[str, Any]:
    return {
        "id": refund_id,
        "order_id": order_id,
        "created_at": at(minutes),
        "note": "too small",
        "refund_line_items": [
            {"id": 1, "quantity": 1, "restock_type": "return", "subtotal": "100.00", "line_item": line()}
        ],
        "transactions": [{"kind": "refund", "status": "success", "amount": "119.00", "currency": "EUR"}],
        **more,
    }


def customer(customer_id: int = 900000001, minutes: float = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": customer_id,
        "email": "anna.berg@example.com",
        "phone": "+4915112345678",
        "first_name": "Anna",
        "last_name": "Berg",
        "created_at": at(-1000),
        "updated_at": at(minutes),
        "state": "enabled",
        "tags": "club, loden",
        "note": None,
        "verified_email": True,
        "default_address": {"city": "Kiel", "province_code": "SH", "country_code": "DE", "phone": None},
        "email_marketing_consent": {
            "state": "subscribed",
            "opt_in_level": "confirmed_opt_in",
            "consent_updated_at": at(-900),
        },
        "sms_marketing_consent": None,
        **more,
    }


def product(product_id: int = 7001, minutes: float = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": product_id,
        "title": "Fjord jacket",
        "handle": "fjord-jacket",
        "vendor": "Larkfell",
        "product_type": "jackets",
        "status": "active",
        "tags": "rain, autumn",
        "created_at": at(-5000),
        "updated_at": at(minutes),
        "body_html": "<p>Warm.</p>",
        "images": [{"id": 1, "src": "https://cdn.example/fjord.jpg"}],
        "variants": [variant(), variant(7102, "FJ-BLUE", "129.00", 0, inventory_item_id=7202)],
        **more,
    }


def variant(
    variant_id: int = 7101, sku: str = "FJ-GREEN", price: str = "119.00", quantity: int = 5, **more: Any
) -> dict[str, Any]:
    return {
        "id": variant_id,
        "title": "green / M",
        "sku": sku,
        "price": price,
        "compare_at_price": "149.00",
        "inventory_item_id": 7201,
        "inventory_management": "shopify",
        "inventory_policy": "deny",
        "inventory_quantity": quantity,
        "image_id": None,
        **more,
    }


def checkout(token: str = "checkout-5001", minutes: float = 2, **more: Any) -> dict[str, Any]:
    return {
        "token": token,
        "cart_token": token.replace("checkout", "cart"),
        "created_at": at(-5),
        "updated_at": at(minutes),
        "completed_at": None,
        "currency": "EUR",
        "total_price": "123.90",
        "total_discounts": "0.00",
        "email": "anna.berg@example.com",
        "customer": {"id": 900000001, "email": "anna.berg@example.com"},
        "shipping_address": {"first_name": "Anna", "last_name": "Berg"},
        "shipping_lines": [],
        "line_items": [line()],
        **more,
    }


# ------------------------------------------------------------------ WooCommerce


def gmt(minutes: float = 0) -> str:
    """An instant as WooCommerce writes it: in UTC and without saying so."""
    return (DAY + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S")


def woo_order(order_id: int = 727, status: str = "processing", minutes: float = 0, **more: Any) -> dict[str, Any]:
    """An order of two mugs at 11.90 with 19 % tax inside, 4.90 shipping."""
    return {
        "id": order_id,
        "number": str(order_id),
        "status": status,
        "currency": "EUR",
        "created_via": "checkout",
        "date_created_gmt": gmt(),
        "date_modified_gmt": gmt(minutes),
        "date_paid_gmt": gmt() if status in ("processing", "completed", "refunded") else None,
        "date_completed_gmt": gmt(minutes) if status == "completed" else None,
        "discount_total": "0.00",
        "shipping_total": "4.12",
        "shipping_tax": "0.78",
        "total": "28.70",
        "total_tax": "4.58",
        "prices_include_tax": True,
        "customer_id": 26,
        "payment_method": "bacs",
        "customer_note": "Ring at Berg",
        "billing": {
            "first_name": "Anna",
            "last_name": "Berg",
            "email": "anna.berg@example.com",
            "phone": "+4915112345678",
            "city": "Kiel",
            "state": "DE-SH",
            "country": "DE",
        },
        "shipping": {"first_name": "Anna", "last_name": "Berg"},
        "line_items": [
            {
                "product_id": 93,
                "variation_id": 0,
                "sku": "MUG",
                "name": "Mug",
                "quantity": 2,
                "subtotal": "20.00",
                "subtotal_tax": "3.80",
                "total": "20.00",
                "total_tax": "3.80",
            }
        ],
        "shipping_lines": [{"method_title": "DHL"}],
        "coupon_lines": [{"code": "autumn"}],
        "refunds": [],
        **more,
    }


def woo_product(product_id: int = 93, minutes: float = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": product_id,
        "parent_id": 0,
        "name": "Mug",
        "permalink": "https://mugs.example/product/mug/",
        "type": "simple",
        "status": "publish",
        "sku": "MUG",
        "price": "11.90",
        "regular_price": "14.90",
        "on_sale": True,
        "manage_stock": True,
        "stock_quantity": 4,
        "stock_status": "instock",
        "backorders": "no",
        "date_created_gmt": gmt(-5000),
        "date_modified_gmt": gmt(minutes),
        "categories": [{"id": 9, "name": "Kitchen"}],
        "tags": [{"name": "gift"}],
        "images": [{"src": "https://mugs.example/mug.jpg"}],
        "attributes": [],
        **more,
    }


def woo_customer(customer_id: int = 26, minutes: float = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": customer_id,
        "email": "anna.berg@example.com",
        "first_name": "Anna",
        "last_name": "Berg",
        "role": "customer",
        "username": "anna.berg",
        "date_created_gmt": gmt(-1000),
        "date_modified_gmt": gmt(minutes),
        "billing": {"phone": "+4915112345678", "city": "Kiel", "country": "DE"},
        **more,
    }
