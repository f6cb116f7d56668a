"""The one client that asks other systems: where it goes, what it takes back, and what it never does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.shops.platform import served

from wayline.sources.calling import Barred, Caller, Unanswered, is_inward

INWARD = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.2.1",
    "198.51.100.7",
    "203.0.113.9",
    "192.88.99.1",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%lo",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001::1",
    "2001:db8::1",
    "100::1",
]
SPELLINGS = [
    "127.1",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "0x7f.1",
    "127.0.0.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "localhost",
]


class Elsewhere:
    """A server that must never be asked, and one that may be; both are on loopback."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.target = "http://169.254.169.254/latest"

    def app(self) -> Starlette:
        async def there(request: Request) -> Response:
            self.asked.append((request.headers["host"], request.headers.get("x-secret", "")))
            return JSONResponse({"path": request.url.path, "query": request.url.query})

        def moved(request: Request) -> Response:
            self.asked.append((request.headers["host"], ""))
            return RedirectResponse(self.target, 302)

        def endless(request: Request) -> Response:
            def parts() -> Iterator[bytes]:
                while True:
                    yield b"x" * 65536

            return StreamingResponse(parts())

        return Starlette(routes=[Route("/a/moved", moved), Route("/a/endless", endless), Route("/{rest:path}", there)])


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[tuple[Elsewhere, str]]:
    one = Elsewhere()
    with served(one.app()) as url:
        yield one, url


def test_it_asks_the_host_that_was_set_up_with_its_secret(elsewhere: tuple[Elsewhere, str]) -> None:
    one, url = elsewhere
    caller = Caller(f"{url}/a", {"X-Secret": "s"}, allow_private=True)
    assert caller.ask("GET", "/orders.json?limit=5").body == b'{"path":"/a/orders.json","query":"limit=5"}'
    assert one.asked[-1] == (url.removeprefix("http://"), "s")
    caller.close()


@pytest.mark.parametrize("address", INWARD)
def test_x01_addresses_that_lie_inward(address: str) -> None:
    assert is_inward(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111"])
def test_addresses_that_do_not(address: str) -> None:
    assert not is_inward(address)


@pytest.mark.parametrize("host", SPELLINGS)
def test_x01_no_spelling_of_this_machine_is_asked(host: str, elsewhere: tuple[Elsewhere, str]) -> None:
    before = len(elsewhere[0].asked)
    caller = Caller(f"https://{host}/a", {})
    with pytest.raises((Barred, Unanswered)):
        caller.ask("GET", "/orders.json")
    assert len(elsewhere[0].asked) == before


def test_x01_one_inward_address_among_others_bars_the_call() -> None:
    for addresses in (["93.184.215.14", "10.0.0.7"], ["64:ff9b::7f00:1"], ["169.254.169.254"]):
        caller = Caller("https://shop.example/a", {}, resolve=lambda host, port, found=addresses: found)
        with pytest.raises(Barred, match="leads inward"):
            caller.ask("GET", "/orders.json")


def test_x01_a_name_that_is_rebound_between_two_calls_is_looked_at_each_time(elsewhere: tuple[Elsewhere, str]) -> None:
    one, url = elsewhere
    port = url.rpartition(":")[2]
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    looked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        looked.append(host)
        return next(answers)

    caller = Caller(f"http://shop.test:{port}/a", {}, allow_private=True, resolve=resolve)
    caller.ask("GET", "/one")
    assert one.asked[-1][0] == f"shop.test:{port}"  # the name is kept, the address is the one looked at
    caller.close()
    with pytest.raises(Barred, match="https alone"):
        caller.ask("GET", "/two")
    assert looked == ["shop.test", "shop.test"]


@pytest.mark.parametrize(
    "url",
    ["http://shop.example/a", "ftp://shop.example/a", "https://", "https://user:pw@shop.example/a", "file:///etc/passwd",
     "https://shop.example:8443/a", "https://shop.example/a?x=1", "shop.example"],
)  # fmt: skip
def test_x01_addresses_that_are_no_api(url: str) -> None:
    with pytest.raises(Barred):
        Caller(url, {})


@pytest.mark.parametrize("path", ["//evil.example/x", "https://evil.example/x", "@evil.example", "/a\r\nX: y", "/\x00"])
def test_x01_a_path_cannot_lead_to_another_host(path: str, elsewhere: tuple[Elsewhere, str]) -> None:
    with pytest.raises(Barred):
        Caller(f"{elsewhere[1]}/a", {}, allow_private=True).ask("GET", path)


def test_x01_redirects_are_not_followed(elsewhere: tuple[Elsewhere, str]) -> None:
    one, url = elsewhere
    for target in ("http://169.254.169.254/latest", f"{url}/a/there", "//evil.example/"):
        one.target, before = target, len(one.asked)
        with pytest.raises(Barred, match="redirects"):
            Caller(f"{url}/a", {"X-Secret": "s"}, allow_private=True).ask("GET", "/moved")
        assert len(one.asked) == before + 1


def test_an_answer_is_bounded(elsewhere: tuple[Elsewhere, str]) -> None:
    caller = Caller(f"{elsewhere[1]}/a", {}, allow_private=True, bytes_max=1 << 20)
    with pytest.raises(Unanswered, match="more than 1048576 bytes"):
        caller.ask("GET", "/endless")
    caller.close()


def test_nobody_there_is_no_answer() -> None:
    with pytest.raises(Unanswered, match="gave no answer"):
        Caller("http://127.0.0.1:9/a", {}, allow_private=True).ask("GET", "/x")
