"""The HTTP server of emulated devices: digest authentication, bounded and broken requests, against a foreign client."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from firmware_bridge.emulator import http_server
from firmware_bridge.emulator.http_server import DigestAuth, HttpAnswer, HttpRequest, HttpServer

DIGEST = DigestAuth("antMiner Configuration", "root", "pass,word")


async def handler(request: HttpRequest) -> HttpAnswer:
    if request.path.startswith("/closed"):
        refused = DIGEST.refuse(request)
        if refused is not None:
            return refused
    return HttpAnswer.of(
        {
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "body": request.json(),
            "length": len(request.body),
        }
    )


async def raw(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()


@pytest.fixture
async def port():
    server = HttpServer(handler)
    number = await server.start("127.0.0.1", 0)
    yield number
    await server.stop()


async def test_a_client_gets_what_it_asks_over_one_connection(port: int) -> None:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        first = await client.get("/a%20b", params={"x": "1", "empty": ""})
        second = await client.patch("/", json={"k": [1, None]})
        third = await client.post("/", content=b"no json")
        head = await client.head("/")
    assert first.json() == {
        "method": "GET", "path": "/a b", "query": {"x": "1", "empty": ""}, "body": None, "length": 0,
    }  # fmt: skip
    assert second.json()["body"] == {"k": [1, None]}
    assert (third.json()["body"], third.json()["length"]) == (None, 7)
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("target", ["/closed", "/closed?columns=a,b&x=%20"])
async def test_the_right_digest_opens_and_others_do_not(port: int, target: str) -> None:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        bare = await client.get(target)
        right = await client.get(target, auth=httpx2.DigestAuth("root", "pass,word"))
        wrong = await client.get(target, auth=httpx2.DigestAuth("root", "root"))
        stranger = await client.get(target, auth=httpx2.DigestAuth("admin", "pass,word"))
        basic = await client.get(target, auth=httpx2.BasicAuth("root", "pass,word"))
    assert [r.status_code for r in (bare, right, wrong, stranger, basic)] == [401, 200, 401, 401, 401]
    assert bare.headers["www-authenticate"].startswith('Digest realm="antMiner Configuration", nonce="')
    assert "pass,word" not in bare.text


async def test_an_answer_to_another_challenge_or_for_another_page_opens_nothing(port: int) -> None:
    seen: list[str] = []

    async def note(request: httpx2.Request) -> None:
        seen.append(request.headers.get("authorization", ""))

    hooks = {"request": [note]}
    async with httpx2.AsyncClient(trust_env=False, event_hooks=hooks) as client:
        base = f"http://127.0.0.1:{port}"
        assert (
            await client.get(f"{base}/closed", auth=httpx2.DigestAuth("root", "pass,word"))
        ).status_code == 200
        right = seen[-1]
        assert right.startswith("Digest ")
        assert (await client.get(f"{base}/closed", headers={"authorization": right})).status_code == 200
        assert (await client.get(f"{base}/closed?x=1", headers={"authorization": right})).status_code == 401
        assert (await client.post(f"{base}/closed", headers={"authorization": right})).status_code == 401
    stranger = DigestAuth(
        "antMiner Configuration", "root", "pass,word"
    )  # the same password, its own challenge
    request = HttpRequest("GET", "/closed", {}, {"authorization": right}, b"", "/closed")
    assert DIGEST.refuse(request) is None
    assert stranger.refuse(request) is not None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01 no http\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\nHost: x\r\n\r\n", 400),
        (b"GET //[x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400),
        (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000, 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
async def test_a_broken_or_too_long_request_is_refused_and_the_next_one_served(
    port: int, data: bytes, status: int
) -> None:
    try:
        answer = await raw(port, data)
    except ConnectionError:
        assert status in (413, 431)  # hung up while the rest was still on its way
    else:
        assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"200" in (await raw(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))[:20]


async def test_half_a_request_gets_no_answer_and_holds_nothing(port: int) -> None:
    assert b"HTTP/1.1 200" not in await raw(
        port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"
    )
    assert await raw(port, b"") == b""


async def test_who_says_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(http_server, "IDLE_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    writer.close()
