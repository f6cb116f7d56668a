"""STOP, in the words of people: whether an answer asks not to be written to again.

The law takes any reasonable wording (47 CFR 64.1200(a)(10), as an engineer reads it), so a keyword is not enough. In
doubt the answer is yes: who is wrongly taken at their word misses an advertisement; who is not heard has been ignored.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["asks_to_stop"]

_WORDS: Final = frozenset(
    [
        "stop",
        "stopall",
        "stopp",
        "stopper",
        "stoppen",
        "stopsms",
        "smsstop",
        "unsubscribe",
        "cancel",
        "end",
        "quit",
        "revoke",
        "optout",
        "remove",
        "abmelden",
        "abbestellen",
        "austragen",
        "abbruch",
        "ende",
        "arret",
        "arreter",
        "arretez",
        "desabonner",
        "desabonnement",
        "desinscrire",
        "resilier",
        "baja",
        "darsedebaja",
        "cancelar",
        "parar",
        "detener",
        "salir",
        "alto",
        "ferma",
        "fermare",
        "cancella",
        "cancellami",
        "disiscrivi",
        "disiscrivimi",
        "annulla",
        "basta",
        "afmelden",
        "uitschrijven",
        "avregistrera",
        "avsluta",
        "avmeld",
        "avmelding",
        "frameld",
        "afmeld",
        "slutt",
        "sluta",
        "slut",
        "wypisz",
        "zatrzymaj",
        "rezygnuje",
        "anuluj",
        "koniec",
        "odhlasit",
        "zrusit",
        "pare",
        "sair",
        "descadastrar",
        "dur",
        "durdur",
        "iptal",
        "ret",
        "peru",
        "lopeta",
        "leiratkozas",
        "стоп",
        "отписаться",
        "отмена",
        "停止",
        "退订",
        "配信停止",
        "توقف",
    ]
)
"""An answer that is this and nothing else; without accents, and in one word what is written in two."""

_STRONG: Final = frozenset(
    ["stop", "stopp", "unsubscribe", "optout", "abmelden", "abbestellen", "desabonner", "baja", "стоп"]
)
"""An answer of few words that begins or ends so."""

_FEW: Final = 3  # words of such an answer, greetings not counted
_GREETINGS: Final = frozenset(
    ["please", "bitte", "svp", "hi", "hello", "hallo", "ok", "now", "danke", "thanks", "merci"]
)
_PHRASES: Final = re.compile(
    "|".join(
        (
            r"\b(stop|quit|cease) (text|send|messag|contact|sms|writ|these|this|it\b|all\b|now\b)",
            r"\b(stop|quit|cease) (please|bitte|svp|por favor)\b",
            r"\bplease stop\b|\bunsubscribe\b|\bopt(ing)? (me )?out\b|\btake me off\b|\bremove (me|my number)\b",
            r"\b(do not|dont|don t|never) (text|contact|message|sms|write|send)\b|\bno more (text|messag|sms)",
            r"\bleave me alone\b|\bi (revoke|withdraw)\b",
            r"\b(keine|nicht) (weiteren |mehr )?(sms|nachricht|werbung)",
            r"\b(sms|nachrichten|werbung) (mehr )?(abbestellen|stoppen)\b|\bwill keine\b|\bmich abmelden\b",
            r"\bbitte (stoppen|abmelden|aufhoren|austragen)\b|\bhort auf\b|\blasst mich in ruhe\b",
            r"\b(plus|pas) de (sms|messages?|publicite)|\bme desabonner\b|\bdesinscri",
            r"\bne (m )?(envoyez|ecrivez|contactez)\b|\barretez de\b",
            r"\bno (me )?(escriban|envien|manden|contacten|mas mensajes|mas sms)|\bdar(me|se)? de baja\b|\bdejen de\b",
            r"\bnon (scrivetemi|contattatemi|inviate|voglio piu)|\bbasta (sms|messaggi)|\bsmettete\b",
            r"\bgeen (sms|berichten) meer\b|\bschrijf me uit\b|\bstuur (me )?(niets|geen)",
        )
    )
)


def asks_to_stop(text: str) -> bool:
    """Whether an answer, however it is put, asks not to be written to again."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    words = re.findall(r"\w+", "".join(each for each in folded if not unicodedata.combining(each)))
    meant = [word for word in words if word not in _GREETINGS]
    if 0 < len(meant) <= _FEW:
        if "".join(meant) in _WORDS:
            return True
        # "Stop by at five?" is an invitation.
        if meant[:2] != ["stop", "by"] and (meant[0] in _STRONG or meant[-1] in _STRONG):
            return True
    return _PHRASES.search(" ".join(words)) is not None
