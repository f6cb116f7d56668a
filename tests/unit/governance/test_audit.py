"""Law 11: each refused action names rule and fact; every decision is explained from its record alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wayline.domain import Action, Decision, Estimate, Journey, Owner, Playbook, Policy, Ranked, Refusal, Verdict
from wayline.governance.audit import RULE_LABELS, described, explain, how_sure, label_of, rule_of
from wayline.governance.consent import GUARDS
from wayline.orchestration.gates import GATES

NOW = datetime(2025, 11, 27, 13, 5, tzinfo=UTC)
BERLIN = Playbook(version="p1", policy=Policy(zone="Europe/Berlin"))

alternatives = Action("alternatives", content="cart-alternatives", journey="cart-recovery", needs={"affinity": 0.6})
reminder = Action("reminder", content="cart-reminder", journey="cart-recovery")
push = Action("reminder", channel="push", content="cart-push", journey="cart-recovery")


def decision(**changes: object) -> Decision:
    record = Decision("d1", "c1", NOW, "marketing", "wake:2025-11-27T13:00:00+00:00", reminder)
    return msgspec.structs.replace(record, **changes)


def text(record: Decision, playbook: Playbook = BERLIN) -> str:
    return "\n".join(explain(record, playbook))


def test_the_jacket_shopper_reads_why_the_plainer_reminder_went() -> None:
    record = decision(
        considered=(
            Verdict(
                alternatives, "confidence", Refusal("too unsure about affinity (needs 0.60)", "affinity 0.42 < 0.60")
            ),
            Verdict(reminder, score=499.0),
        ),
        estimates={
            "affinity": Estimate(
                "affinity", (Ranked("J2", 3.0), Ranked("J7", 1.0)), 0.42, "rule", "r1", NOW, ("viewed jackets twice",)
            )
        },
        facts={
            "match_confidence": 0.83,
            "cart_value": 11900,
            "contacts": [],
            "trigger:cart-recovery:": {},
            "address.email": "9f3a",
        },
        probability=0.5,
        assignments={"journey:cart-recovery": "treatment"},
    )
    assert explain(record, BERLIN) == (
        "On 27 Nov 14:05 'cart-reminder' by e-mail for the journey 'cart-recovery' was chosen.",
        "Asked because a waiting time was over (27 Nov 14:00).",
        "Held back: 'cart-alternatives' by e-mail. Sending rule 'not sure enough': "
        "too unsure about affinity (needs 0.60); found: affinity 0.42 < 0.60.",
        "Nothing spoke against 'cart-reminder' by e-mail. Rank 499. Rule or model: by rule, no model had a say.",
        "What would have let 'cart-alternatives' by e-mail through this rule: a surer answer: affinity 0.42 < 0.60.",
        "Chance this option was picked: 50%; experiments: journey:cart-recovery gets it.",
        "Prediction affinity: J2, J7; how sure: low (0.42); by a rule, because viewed jackets twice.",
        "Same person? How sure: high (0.83).",
        "Remembered facts it looked at: address.email is known; cart_value is 11900.",
    )


def test_nothing_is_a_decision_with_reasons_until_and_count() -> None:
    capped = Refusal("cap weekly: at most 2 in 7 days", "2 already", NOW + timedelta(days=2))
    record = decision(
        action=None,
        considered=(
            Verdict(reminder, "caps", capped),
            Verdict(push, "consent", Refusal("no consent for marketing by push", "no grant is on record")),
        ),
        until=NOW + timedelta(days=2),
        count=14,
    )
    told = text(record)
    assert "Waiting: on 27 Nov 14:05 nothing was sent, since every option was held back. Looked at 14 times" in told
    assert (
        "Sending rule 'message limit reached': cap weekly: at most 2 in 7 days; found: 2 already. Until 29 Nov 14:05."
        in told
    )
    assert "Legal rule (always on) 'no consent': no consent for marketing by push" in told
    assert "through this rule: a consent for marketing in this channel." in told
    assert "Looked at again on 29 Nov 14:05, or earlier if the facts change." in told


def test_the_control_group_is_said_to_be_one() -> None:
    told = text(decision(arm="control", assignments={"journey:cart-recovery": "control"}, probability=0.5))
    assert told.startswith("Control group: on 27 Nov 14:05 'cart-reminder' by e-mail")
    assert "not sent, to have something to compare with" in told
    assert "journey:cart-recovery control group" in told


def test_a_refusal_the_world_lifts_names_what_would() -> None:
    sold_out = Verdict(reminder, "claims", Refusal("J1 must be in stock", "sold out", topic="stock:J1"))
    assert "found: sold out. Until J1 is in stock again." in text(decision(action=None, considered=(sold_out,)))


def test_no_answer_is_called_no_answer() -> None:
    silent = Estimate("churn_risk", None, 0.0, "model", "m3", NOW, ("the model was late",))
    told = text(decision(estimates={"churn_risk": silent}))
    assert "Prediction churn_risk: no answer, so nothing was built on it (the model was late)." in told


def test_a_model_that_had_a_say_is_named() -> None:
    sure = Estimate("hesitation", 0.71, 0.9, "model", "m3", NOW)
    told = text(decision(considered=(Verdict(reminder, score=1.5, basis="model"),), estimates={"hesitation": sure}))
    assert "Rule or model: a model had a say." in told
    assert "Prediction hesitation: 0.71; how sure: high (0.90); by a model (m3)." in told


def test_the_owner_is_named_while_the_playbook_knows_the_journey_and_missing_does_no_harm() -> None:
    journey = Journey(
        name="cart-recovery", version="v1", stage="purchase", purpose="marketing", lane="marketing",
        owner=Owner(business="growth"), goal="Order Completed", enters_on=("Cart Viewed",), steps={}, start="x",
    )  # fmt: skip
    record = decision(versions={"journey": "v1"})
    known = Playbook(version="p1", journeys={"v1": journey})
    assert "Questions about 'cart-recovery' go to growth." in text(record, known)
    assert explain(record, Playbook(version="p2", policy=Policy(zone="No/Where")))


@pytest.mark.parametrize(
    ("stimulus", "says"),
    [
        ("event:17", "something happened (number 17 in the log)"),
        ("ask:r-9", "a website request (r-9)"),
        ("hand_over:d0:refused", "an earlier message (d0:refused) was about to leave"),
        ("wake:soon", "a waiting time was over (soon)"),
        ("import", "Asked by import."),
    ],
)
def test_what_asked_is_said(stimulus: str, says: str) -> None:
    assert says in text(decision(stimulus=stimulus))


def test_every_rule_of_the_product_has_words() -> None:
    assert set(GUARDS) | set(GATES) <= set(RULE_LABELS)
    assert label_of("my_own_rule") == "My own rule" and label_of(None) == "Held back"


def test_the_rule_of_a_late_refusal_is_read_from_the_deliverys_note() -> None:
    assert rule_of("claims: the cart must still be open; the cart is empty") == "claims"
    assert rule_of("550 no such mailbox") == ""


def test_how_sure_has_three_words() -> None:
    assert [how_sure(x) for x in (0.9, 0.8, 0.6, 0.49, 0)] == ["high", "high", "medium", "low", "low"]


words = st.text("abc def", min_size=1, max_size=12)
instants = st.datetimes(datetime(2025, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC))
actions = st.builds(
    Action, name=words, channel=st.sampled_from(["email", "sms", "push", "onsite"]), content=words, journey=words,
    shows=st.lists(words, max_size=2).map(tuple), placement=st.sampled_from(["", "banner"]),
)  # fmt: skip
refusals = st.builds(
    Refusal, words, words, st.none() | instants, st.none() | st.sampled_from(["stock:J1", "price:J1", "odd"])
)
refused = st.builds(Verdict, actions, st.sampled_from([*RULE_LABELS, "own", None]), refusals)
standing = st.builds(Verdict, actions, score=st.floats(0, 9e5), basis=st.sampled_from(["rule", "model"]))
facts = st.dictionaries(
    words,
    st.none() | st.booleans() | st.floats(allow_nan=False) | words | st.lists(st.dictionaries(words, words)) | instants,
    max_size=20,
)
decisions = st.builds(
    Decision, words, words, instants, st.sampled_from(["owed", "marketing", "onsite"]), words,
    st.none() | actions, considered=st.lists(refused | standing, max_size=5).map(tuple), facts=facts,
    until=st.none() | instants, count=st.integers(1, 99), probability=st.floats(0, 1),
    arm=st.sampled_from(["control", "treatment"]),
    assignments=st.dictionaries(words, st.sampled_from(["control", "treatment"])),
)  # fmt: skip


@settings(max_examples=100)
@given(decisions)
def test_law_11_every_refusal_names_its_rule_and_fact_from_the_record_alone(record: Decision) -> None:
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Decision)
    lines = explain(stored, BERLIN)
    assert all((line and line[-1] in ".;") or line.endswith(".") for line in lines)
    for verdict in record.considered:
        if verdict.refusal is not None:
            assert any(
                described(verdict.action) in line and verdict.refusal.reason in line and verdict.refusal.fact in line
                and label_of(verdict.gate).lower() in line.lower()
                for line in lines if line.startswith("Held back")
            )  # fmt: skip
    assert f"{record.probability:.0%}" in "\n".join(lines)
