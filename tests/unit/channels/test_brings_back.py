"""Each mail provider is given our decision's id in the header that it brings back with what becomes of the mail."""

from __future__ import annotations

import json
from email import message_from_bytes

import pytest
from tests.shop import NOON

from wayline.channels.email import EmailSettings, compose
from wayline.domain import Message
from wayline.sources.reports import decision_in

KEY = "63450f046478b0ddc279c448765261c8"
BRINGS = {"X-Mailgun-Variables", "X-PM-Metadata-wayline-decision", "X-SMTPAPI", "X-SES-MESSAGE-TAGS"}


def headers(host: str, provider: str = "") -> dict[str, str]:
    settings = EmailSettings(sender="Shop <shop@example.com>", host=host, provider=provider)  # type: ignore[arg-type]
    message = Message(decision_id=KEY, channel="email", to="ann@example.com", parts={"subject": "s", "text": "t"},
                      purpose="marketing")  # fmt: skip
    composed = message_from_bytes(compose(message, KEY, settings, NOON).content)
    assert decision_in(composed["Message-ID"]) == decision_in(composed["X-Wayline-Decision"]) == KEY
    return {name: str(composed[name]) for name in BRINGS if composed[name]}


@pytest.mark.parametrize(("host", "header"), [
    ("smtp.sendgrid.net", "X-SMTPAPI"),
    ("smtp.eu.mailgun.org", "X-Mailgun-Variables"),
    ("smtp.postmarkapp.com", "X-PM-Metadata-wayline-decision"),
    ("email-smtp.eu-central-1.amazonaws.com", "X-SES-MESSAGE-TAGS"),
])  # fmt: skip
def test_the_header_is_the_provider_s_own(host: str, header: str) -> None:
    (found,) = headers(host).items()
    assert found[0] == header and KEY in found[1]


def test_the_values_are_what_each_provider_reads() -> None:
    assert json.loads(headers("relay", "sendgrid")["X-SMTPAPI"]) == {"unique_args": {"wayline_decision": KEY}}
    assert json.loads(headers("relay", "mailgun")["X-Mailgun-Variables"]) == {"wayline_decision": KEY}
    assert headers("relay", "ses")["X-SES-MESSAGE-TAGS"] == f"wayline_decision={KEY}"


@pytest.mark.parametrize("host", ["smtp.larkfell.example", "sendgrid.net.evil.example", "notsendgrid.net"])
def test_others_are_given_none_for_they_would_pass_it_on(host: str) -> None:
    assert headers(host) == {}
