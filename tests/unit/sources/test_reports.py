"""Which opens and clicks no person made, by the program that made them and by how soon they came."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.shop import NOON

from wayline.observation.feedback import is_made_by_machine
from wayline.sources.reports import decision_in, report

MACHINES = """
Mozilla/5.0 | Googlebot/2.1 (+http://www.google.com/bot.html) | Slackbot-LinkExpanding 1.0 | python-requests/2.31
curl/8.4 | Go-http-client/2.0 | Mozilla/5.0 (compatible; Barracuda Sentinel) | BingPreview/1.0b | okhttp/4.9
Mozilla/5.0 HeadlessChrome/120.0 | Mimecast URL Scanner | Java/1.8.0_292 | Proofpoint URL Defense
Mozilla/5.0 (compatible; Trellix) | virustotal | facebookexternalhit/1.1 | WhatsApp/2.1 | WinHttp-Autoproxy
aiohttp/3.9 | Selenium 4 | FortiGuard fortinet | SkypeUriPreview | Microsoft Office Existence Discovery | Perl 5
UptimeMonitor
"""
PEOPLE = """
Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148
Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)
Mozilla/5.0 (Linux; Android 9; CUBOT X18) AppleWebKit/537.36 Chrome/116.0 Mobile Safari/537.36
Microsoft Outlook 16.0.5134
"""


@pytest.mark.parametrize("agent", [each.strip() for each in MACHINES.replace("\n", "|").split("|") if each.strip()])
def test_s23_a_scanner_is_known_by_its_name(agent: str) -> None:
    assert is_made_by_machine(agent) is True


@pytest.mark.parametrize("agent", [*PEOPLE.strip().split("\n"), "", None, 7])
def test_s23_what_people_read_with_and_what_says_nothing_is_no_machine(agent: object) -> None:
    assert is_made_by_machine(agent) is None


@pytest.mark.parametrize(("after", "expected"), [(1.4, True), (1.6, None)])
def test_s23_nobody_opens_within_a_second_and_a_half(after: float, expected: bool | None) -> None:
    assert is_made_by_machine("Outlook", sent_at=NOON, at=NOON + timedelta(seconds=after)) is expected


def test_a_reason_names_no_address_and_has_an_end() -> None:
    told = report(
        "Email Bounced", email="a@b.example", at=NOON, event_id="1", reason="no <a@b.example> here " + "x" * 900
    )
    assert told["properties"]["reason"].startswith("no <address> here x") and len(told["properties"]["reason"]) == 300


@pytest.mark.parametrize(
    "text", ["<63450f046478b0ddc279c448765261c8@shop.example>", ["63450f046478b0ddc279c448765261c8"]]
)
def test_our_decision_is_found_as_sent_along_or_in_the_name_of_the_mail(text: object) -> None:
    assert decision_in(None, 7, [], "<other@shop>", text) == "63450f046478b0ddc279c448765261c8"
