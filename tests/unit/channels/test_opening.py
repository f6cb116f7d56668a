"""The channels a shop has set up: what is opened, what is said of the rest, what could never work."""

from __future__ import annotations

from typing import Any

import pytest

from wayline.channels.dryrun import DryRun
from wayline.channels.email import Email
from wayline.channels.opening import open_channels
from wayline.errors import OperatorError

SENDER = "Larkfell <hello@larkfell.example>"


def test_mail_with_a_server_is_opened_and_nothing_is_said() -> None:
    opened = open_channels({"email": {"from": SENDER, "host": "localhost"}, "onsite": {}}, {})
    assert isinstance(opened.by_name["email"], Email) and opened.closed == ()
    opened.close()


@pytest.mark.parametrize("name, said", [("email", {"from": SENDER}), ("sms", {}), ("push", {}), ("webhook", {})])
def test_a_channel_that_cannot_deliver_is_named_with_the_way_out(name: str, said: dict[str, Any]) -> None:
    opened = open_channels({name: said}, {})
    assert opened.by_name == {}
    (sentence,) = opened.closed
    assert name in sentence and "dry_run" in sentence


def test_a_dry_run_is_said_aloud() -> None:
    opened = open_channels({"sms": {"dry_run": True}, "email": {"dry_run": True, "host": "localhost"}}, {})
    assert {type(channel) for channel in opened.by_name.values()} == {DryRun}
    assert len(opened.closed) == 2 and all("thrown away" in sentence for sentence in opened.closed)


@pytest.mark.parametrize(
    "said, wrong",
    [
        ({"host": "localhost"}, "from"),
        ({"host": "localhost", "from": "nobody"}, "sender"),
        ({"host": "localhost", "from": SENDER, "password_env": "LARKFELL"}, "LARKFELL is not set"),
        ({"host": "mail.example", "from": SENDER, "username": "x", "security": "none"}, "in the clear"),
    ],
)
def test_what_could_never_work_is_found_at_the_start(said: dict[str, Any], wrong: str) -> None:
    with pytest.raises(OperatorError, match=wrong):
        open_channels({"email": said}, {"OTHER": "x"})


def test_the_password_comes_from_the_environment() -> None:
    said = {"host": "localhost", "from": SENDER, "username": "shop", "password_env": "LARKFELL"}
    opened = open_channels({"email": said}, {"LARKFELL": "secret"})
    assert "email" in opened.by_name
