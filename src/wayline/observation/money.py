"""Money as integer minor units: 19.99 EUR is 1999, 500 JPY is 500, 1.234 KWD is 1234.

Binary floats never reach the rest of the house. A float is read by its shortest decimal text, which is what the
sender wrote; what lies beyond the currency's smallest coin is rounded half up, since no one can pay it.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from types import MappingProxyType
from typing import Final

from wayline.errors import kind_of

__all__ = ["AMOUNT_MAX", "EXPONENTS", "exponent", "minor"]

AMOUNT_MAX: Final = 10**15
"""Largest amount in minor units: beyond it a sender has mixed up a field, and floats lose their last digit."""

_TWO = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW
CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN
NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC
SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
"""
_ZERO = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_FOUR = "CLF UYW"

EXPONENTS: Final = MappingProxyType(
    {code: digits for digits, codes in ((2, _TWO), (0, _ZERO), (3, _THREE), (4, _FOUR)) for code in codes.split()}
)
"""ISO 4217 code to the digits behind the point."""


_SCALE: Final = (1, 10, 100, 1000, 10000)


def exponent(currency: str) -> int:
    """How many digits this currency has behind the point; KeyError if there is no such currency."""
    return EXPONENTS[currency]


def minor(amount: object, digits: int) -> int:
    """The amount in minor units of a currency with that many digits; ValueError says what is wrong with it."""
    if type(amount) is float:
        scaled = amount * _SCALE[digits]
        if abs(scaled) < 1e9:
            # Near a whole number of coins the float can only mean that number: same answer as by Decimal, 8x faster.
            whole = round(scaled)
            if abs(scaled - whole) < 1e-6:
                return whole
    elif type(amount) is int and -AMOUNT_MAX < amount < AMOUNT_MAX:
        return _bounded(amount * _SCALE[digits])
    return _by_decimal(amount, digits)


def _by_decimal(amount: object, digits: int) -> int:
    if isinstance(amount, bool) or not isinstance(amount, int | float | str | Decimal):
        raise ValueError(f"expected an amount such as 19.99, got {kind_of(amount)}")
    text = str(amount).strip()
    # "1_000", "１９", "Infinity": Decimal would take them, no shop writes them.
    if not text.isascii() or "_" in text:
        raise ValueError(f"expected an amount such as 19.99, got {text[:40]!r}")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"expected an amount with a decimal point, such as 19.99, got {text[:40]!r}") from None
    if not number.is_finite():
        raise ValueError(f"expected a finite amount, got {text[:40]!r}")
    if number.adjusted() > 18:
        raise ValueError(f"expected less than {AMOUNT_MAX} minor units, got {text[:40]!r}")
    return _bounded(int(number.scaleb(digits).to_integral_value(ROUND_HALF_UP)))


def _bounded(amount: int) -> int:
    if abs(amount) > AMOUNT_MAX:
        raise ValueError(f"expected at most {AMOUNT_MAX} minor units, got {amount}")
    return amount
