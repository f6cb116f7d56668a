"""Amounts: money as authors write it, in the minor units that facts hold.

`cart_value >= 20` means twenty euros, and `cart_value` is 1999 when it holds 19.99. So each number that is compared
with an amount is turned into minor units here, once, exactly; what is compared at run time, in Python and in SQL, is
whole numbers. `explain` says both as people write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from msgspec.structs import replace

from wayline.conditions.tree import And, Between, Compare, In, Literal, Name, Node, Not, Or, Sum, Value

__all__ = ["in_minor_units"]


def in_minor_units(node: Node, digits: Mapping[str, int]) -> Node:
    """The same tree with every number that is compared with one of these names in its minor units."""
    match node:
        case And(parts=parts):
            return And(tuple(in_minor_units(part, digits) for part in parts))
        case Or(parts=parts):
            return Or(tuple(in_minor_units(part, digits) for part in parts))
        case Not(part=part):
            return Not(in_minor_units(part, digits))
        case Compare() | Between() | In():
            return _compared(node, digits)
        case Name():
            return _named(node, digits)
        case _:
            return node


def _compared(node: Compare | Between | In, digits: Mapping[str, int]) -> Node:
    match node:
        case Compare(left=left, sign=sign, right=right):
            left, right = _together((left, right), digits)
            return Compare(left, sign, right)
        case Between(value=value, low=low, high=high):
            return Between(*_together((value, low, high), digits))
        case In(value=value, options=options):
            value, *scaled = _together((value, *options), digits)
            return In(value, tuple(option for option in scaled if isinstance(option, Literal)))


def _together(sides: tuple[Value, ...], digits: Mapping[str, int]) -> tuple[Value, ...]:
    amounts = [digits[side.name] for side in sides if isinstance(side, Name) and side.name in digits]
    if not amounts:
        return sides
    return tuple(_side(side, digits, amounts[0]) for side in sides)


def _side(side: Value, digits: Mapping[str, int], places: int) -> Value:
    match side:
        case Literal(value=float() as number):
            # By its decimal text: 19.99 is 1999, though as a binary float it is a little less than 19.99.
            return Literal(float(Decimal(repr(number)).scaleb(places)), places)
        case Name():
            return _named(side, digits)
        case Literal() | Sum() | _:
            return side


def _named(name: Name, digits: Mapping[str, int]) -> Name:
    return replace(name, digits=digits.get(name.name, 0))
