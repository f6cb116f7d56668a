"""STOP in the words of people: the law takes any of them, and a question about a parcel is none."""

from __future__ import annotations

import pytest

from wayline.observation.stopping import asks_to_stop

STOPS = """
STOP | stop. | Stop! | STOPP | Stop please | please stop | StopAll | unsubscribe | UNSUBSCRIBE ME | opt out | opt-out
please stop texting me | do not text me again | Don't message me anymore! | don’t send this | no more texts
take me off your list | remove me | leave me alone | I revoke my consent to these messages | cancel | quit | END
abmelden | Bitte abmelden | keine SMS mehr | bitte keine weiteren Nachrichten | Ich möchte keine Werbung | Hört auf!
arrêt | ARRETEZ | plus de sms svp | ne m'envoyez plus rien | désabonner | baja | no me escriban más | darme de baja
basta | basta messaggi | non scrivetemi più | cancellami | afmelden | geen berichten meer | schrijf me uit
СТОП | 停止 | 退订 | parar | sair | dur | avsluta | wypisz | hi, stop | stop stop stop
"""
GOES_ON = """
When does my parcel arrive? | yes | ok thanks | Stop by at five? | I can't stop loving this jacket, size M please
is the store open | Danke! | Wann kommt das Paket? | Bis Ende der Woche? | how do I return it | merci beaucoup
this is the end of the season, right? | START | JA | |  👍
"""


@pytest.mark.parametrize("text", [each.strip() for each in STOPS.replace("\n", "|").split("|") if each.strip()])
def test_p13_stop_is_heard_however_it_is_said(text: str) -> None:
    assert asks_to_stop(text)


@pytest.mark.parametrize("text", [each.strip() for each in GOES_ON.replace("\n", "|").split("|")])
def test_an_answer_of_another_kind_withdraws_nothing(text: str) -> None:
    assert not asks_to_stop(text)
