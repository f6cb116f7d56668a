# ruff: noqa: E501 - one group a line, so that each can be seen whole
"""Texts that have broken somebody's parser, made by rule: JSON that is valid, JSON that is not, and hostile strings.

Nothing here is a collection of known cases: each group is a rule that says what it makes, so that what is missing can
be seen. Forms are bytes, for half of what is hostile is no text.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

__all__ = ["hostile_texts", "invalid_forms", "valid_forms"]


def valid_forms() -> list[bytes]:
    """JSON values, one of each way in which one may be written."""
    return list(dict.fromkeys((*_numbers(), *_texts(), *_containers(), *_blanks())))


def _numbers() -> Iterator[bytes]:
    for sign, whole, fraction, exponent in product(
        (b"", b"-"), (b"0", b"7", b"120"), (b"", b".5"), (b"", b"e2", b"E-2")
    ):
        yield sign + whole + fraction + exponent
    yield from (b"1e+3", b"0e0", b"-0.0", b"123456789012345678", b"0.1234567890123456789", b"1E308", b"1e-400")


def _texts() -> Iterator[bytes]:
    for escape in b'"\\/bfnrt':
        yield b'"a\\' + bytes([escape]) + b'b"'
    for code in ("0041", "00e9", "20AC", "ffff", "2028", "007f", "0001", "200d"):
        yield f'"\\u{code}"'.encode()
    yield b'"\\ud83d\\ude00"'
    for raw in ("", "a", " ", "é", "€", "😀", "\x7f", "\u2028", "\ufeff", "\uffff", "/", "'", "</script>", "\u202e"):
        yield f'"{raw}"'.encode()


def _containers() -> Iterator[bytes]:
    yield from (
        b"[]",
        b"{}",
        b"[[]]",
        b"[{}]",
        b'{"a":{}}',
        b'{"a":[]}',
        b'[1,"a",null,true,false]',
        b"true",
        b"false",
        b"null",
    )
    yield from (b'{"":1}', b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b'{"a b":1}', b'{"\\n":1}', b'{"\xc3\xa9":1}')
    for depth in (2, 4, 6):
        yield b"[" * depth + b"1" + b"]" * depth
        yield b'{"a":' * depth + b"1" + b"}" * depth


def _blanks() -> Iterator[bytes]:
    for blank in (b" ", b"\t", b"\n", b"\r\n", b" \t\n "):
        yield b"[" + blank + b"1" + blank + b"," + blank + b"2" + blank + b"]"
        yield b"{" + blank + b'"a"' + blank + b":" + blank + b"1" + blank + b"}"


def invalid_forms() -> list[bytes]:
    """What is no JSON value, one of each way in which it fails to be one."""
    made = (*_bad_numbers(), *_bad_words(), *_bad_texts(), *_bad_lists(), *_bad_objects(), *_bad_wholes())
    return list(dict.fromkeys(made))


def _bad_numbers() -> Iterator[bytes]:
    for number in (b"1", b"0.5", b"12"):
        for before in (b"+", b"++", b"--", b"+-", b"0", b"00", b"\xef\xbc\x91", b"$"):
            yield before + number
        for after in (
            b".",
            b".e1",
            b"e",
            b"E",
            b"e+",
            b"e-",
            b"eE2",
            b"e2.5",
            b"e 2",
            b"_0",
            b"x",
            b" 2",
            b".5.5",
            b"L",
            b"%",
        ):
            yield number + after
    yield from (
        b"-",
        b".",
        b".5",
        b"-.5",
        b"e1",
        b"0x1F",
        b"0b1",
        b"0o7",
        b"1,5",
        b"- 1",
        b"-a",
        b"Inf",
        b"+Infinity",
        b"nan",
    )


def _bad_words() -> Iterator[bytes]:
    for word in (b"true", b"false", b"null"):
        yield from (word[:-1], word.capitalize(), word.upper(), word + b"x", word[0:1], b" ".join((word[:2], word[2:])))
    yield from (b"undefined", b"None", b"nil", b"yes", b"`a`", b"a", b"\\u0041")


def _bad_texts() -> Iterator[bytes]:
    for code in range(0x20):
        yield b'"a' + bytes([code]) + b'b"'
    for escape in (
        b"x41",
        b"'",
        b"a",
        b"0",
        b"u",
        b"u1",
        b"u12",
        b"u123",
        b"u12G4",
        b"U0041",
        b"u{41}",
        b" ",
        b"\xc3\xa9",
    ):
        yield b'"\\' + escape + b'"'
    yield from (b"'a'", b'"a', b'a"', b'"a""b"', b'"a" "b"', b'"\\"', b"\xe2\x80\x9ca\xe2\x80\x9d", b'"a\\', b'"')


def _bad_lists() -> Iterator[bytes]:
    yield from (
        b"[1,]",
        b"[,1]",
        b"[1,,2]",
        b"[,]",
        b"[1 2]",
        b"[1;2]",
        b"[1:2]",
        b"[1",
        b"[1,",
        b"1]",
        b"[1}",
        b"[}",
        b"[",
    )
    yield from (
        b'["a"',
        b'["a":1]',
        b"[[1]",
        b"[1]]",
        b"[1],",
        b"(1)",
        b"[1, // x\n 2]",
        b"[1 /* x */]",
        b"[...[1]]",
        b"[*]",
    )


def _bad_objects() -> Iterator[bytes]:
    for key in (b"a", b"'a'", b"1", b"null", b"[]", b"{}", b"a-b", b'"a'):
        yield b"{" + key + b":1}"
    yield from (
        b'{"a"}',
        b'{"a":}',
        b'{"a" 1}',
        b'{"a"::1}',
        b'{"a"=1}',
        b'{"a":1,}',
        b'{,"a":1}',
        b'{"a":1,,"b":2}',
        b'{"a",1}',
    )
    yield from (
        b'{"a":1 "b":2}',
        b'{"a":1;"b":2}',
        b'{"a":1',
        b'{"a":1]',
        b'{"a":',
        b'{"a"',
        b"{",
        b"}",
        b'{"a":1}}',
        b"{:1}",
    )
    yield from (
        b'{"a":1/*x*/}',
        b'{"a":1 # x\n}',
        b'{"a":tru}',
        b'{"a":[1}',
        b'{"a":{"b":1}',
        b'{"a":a}',
        b'{"a":1}{}',
        b'{"a":1} x',
    )


def _bad_wholes() -> Iterator[bytes]:
    yield from (
        b"<a/>",
        b"a=1&b=2",
        b"---\na: 1",
        b"\xff",
        b"\xfe\xff\x00",
        b"\x00",
        b"\x1b[0m",
        b"\xef\xbb\xbf{}",
        b"%7B%7D",
    )
    yield from (b"[" * 3000, b'{"a":' * 3000, b"[" * 3000 + b"]" * 3000, b"\\", b":", b"@", b"=", b"{{}}", b"[[[", b"*")
    yield from (b"9" * 50_000 + b"x", b'"' + b"a" * 50_000)


# ------------------------------------------------------------------ hostile strings


def hostile_texts() -> list[str]:
    """Strings that mean something to somebody: a terminal, a browser, a shell, a database, a spreadsheet, a person."""
    made = (*_characters(), *_reserved(), *_numeric(), *_injected(), *_shaped(), *_long())
    return list(dict.fromkeys(made))


def _characters() -> Iterator[str]:
    codes = (*range(0x20), *range(0x7F, 0xA1), 0xAD, 0x34F, 0x61C, 0x115F, 0x180E, *range(0x200B, 0x2010),
             *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0x3000, 0x3164, 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xFE0F, 0xFEFF,
             *range(0xFFF9, 0x10000), 0x1D173, 0xE0001, 0xE007F, 0xF0000, 0x10FFFF)  # fmt: skip
    for code in codes:
        yield f"a{chr(code)}b"
    for base, marks in product("az", (1, 20, 200)):
        yield base + "\u0301" * marks
    yield from (
        "👩‍👩‍👧‍👦",
        "🏴\U000e0067\U000e0062\U000e007f",
        "e\u0301 é",
        "ﬁ",
        "ǅ",
        "ı İ ß ẞ",
        "Ω Ω",
        "раураl",
        "١٢٣",
        "田中さん",
        "שלום‎abc",
        "\u202egnp.exe",
    )


def _reserved() -> Iterator[str]:
    for word in ("null", "undefined", "none", "nil", "true", "false", "nan", "inf", "infinity", "yes", "no", "on", "off",
                 "con", "aux", "prn", "nul", "lpt1", "constructor", "prototype", "hasownproperty", "tostring", "default"):  # fmt: skip
        yield from (word, word.upper(), word.capitalize())
    yield from (
        "__proto__",
        "[object Object]",
        "function(){}",
        "()",
        "{}",
        "[]",
        "\\",
        "\\\\",
        "''",
        '""',
        "``",
        "--",
        ";",
        "#",
    )


def _numeric() -> Iterator[str]:
    for number in ("0", "1", "-1", "1.0", "1e3", "0x10", "1/2", "1,000.5", "1.000,5", "1 000", "٣", "½", "²"):
        yield from (number, f"+{number}", f"${number}", f" {number} ", f"{number}%", f"-{number}")
    yield from (
        "9" * 20,
        "9" * 400,
        "0." + "0" * 400 + "1",
        "1e999",
        "-1e999",
        "0e0",
        "1_000",
        "00",
        "-0",
        "NaN",
        "2147483648",
        "9223372036854775808",
    )


def _injected() -> Iterator[str]:
    markup = (
        "<script>x()</script>",
        "<img src=x onerror=x()>",
        "<svg onload=x()>",
        "<a href=javascript:x()>a</a>",
        "<!--",
        "]]>",
        "<?x?>",
        "&lt;&#60;",
    )
    query = (
        "' OR 1=1--",
        '" OR ""="',
        "'; DROP TABLE events;--",
        "1); DELETE FROM log;--",
        "x' UNION SELECT 1--",
        "%' --",
        "\\'; --",
        "$gt",
        '{"$ne":null}',
    )
    shell = ("$(x)", "`x`", "| x", "; x", "&& x", "> /x", "${x}", "%x%", "\nx", "$'\\x41'", "*", "~root", "!!")
    wording = (
        "{{ 7*7 }}",
        "{% if x %}",
        "${7*7}",
        "#{7*7}",
        "<%= 7 %>",
        "{{x.__class__}}",
        "%s%n%x",
        "%(a)s",
        "{0}",
        "{a.b}",
        "@{x}",
    )
    paths = (
        "../../x",
        "..\\..\\x",
        "/dev/null",
        "C:\\x",
        "\\\\x\\y",
        "file:///x",
        "..%2f..%2fx",
        "%2e%2e/",
        "x\x00.png",
        "....//x",
    )
    cells = ("=1+1", "+1+1", "-1+1", "@x", "=HYPERLINK(x)", "\t=1", "\r=1", "=cmd|x")
    lines = ("a\r\nB: c", "a\nb", "a\r\n\r\nb", "a\u2028b", "a%0d%0ab", "a\x0bb", "a\x85b")
    wires = (
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://0x7f000001/",
        "gopher://x",
        "javascript:x",
        "data:text/html,x",
        "//x",
        "http://a@b@c/",
    )
    for group in (markup, query, shell, wording, paths, cells, lines, wires):
        for text in group:
            yield from (text, f"a{text}", f"{text}{text}")


def _shaped() -> Iterator[str]:
    yield from (
        "ann@example.com",
        "<ann@example.com>",
        "a@b",
        "@",
        "a@@b",
        '"a b"@c.d',
        "ann@例え.jp",
        "+49 30 123456",
        "(555) 0100",
        "4111 1111 1111 1111",
    )
    yield from (
        "2025-02-30",
        "0000-00-00",
        "25:61",
        "1970-01-01T00:00:00Z",
        "10000-01-01",
        "now",
        "P1D",
        "-P1Y",
        "2025-W54",
        "12/31/2025",
    )


def _long() -> Iterator[str]:
    for size, text in product((300, 5_000, 70_000), ("x", "é", "😀", "\\", '"', "\n", "<", "\u0301")):
        yield text * (size // len(text))
