"""What a host is found out to be, and that a hostile or silent one costs its time limit and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest

from firmware_bridge.devices import discovery
from firmware_bridge.errors import UserError
from tests.devices.conftest import emulated


@contextlib.asynccontextmanager
async def answering(answer: bytes, *, hang: bool = False) -> AsyncIterator[int]:
    """A server that says this to whatever it is asked."""
    writers: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError):
            await reader.read(4096)
            writer.write(answer)
            await writer.drain()
        if not hang:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def closed_port() -> int:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


@pytest.mark.parametrize(("model", "scheme"), [("s9", "s9"), ("lv06", "lv06"), ("lb-box", "lb-box")])
async def test_emulated_devices_are_told_apart(model: str, scheme: str) -> None:
    async with emulated(model) as (_, ready):
        parts = urlsplit(ready["url"])
        query = parse_qs(parts.query)
        shut = await closed_port()
        if model == "s9":
            api, http = parts.port or 0, int(query.get("http", [str(shut)])[0])
        else:
            api, http = int(query.get("api", [str(shut)])[0]), parts.port or 0
        found = await discovery.probe("127.0.0.1", api, http)
    assert found is not None
    assert found.url is not None
    assert found.url.startswith(f"{scheme}://127.0.0.1")
    assert found.evidence


async def test_nobody_there_is_nothing() -> None:
    assert await discovery.probe("127.0.0.1", await closed_port(), await closed_port()) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0" * 100,
        b"SSH-2.0-OpenSSH_9\r\n",
        b"{" * 5000,
        b'{"VERSION":[1]}\0',
        b"HTTP/1.1 200\r\n\r\n\xff",
    ],
)
async def test_a_stranger_is_found_as_one(answer: bytes) -> None:
    async with answering(answer) as api, answering(answer) as http:
        found = await discovery.probe("127.0.0.1", api, http)
    assert found is not None
    assert (found.url, found.model) == (None, None)
    assert found.evidence


async def test_hosts_that_never_answer_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "ANSWER_TIMEOUT_S", 0.2)
    async with answering(b"", hang=True) as api, answering(b"", hang=True) as http, asyncio.timeout(60):
        found = await discovery.probe("127.0.0.1", api, http)
    assert found is not None
    assert found.url is None


async def test_the_deadline_holds_for_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(host: str) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(discovery, "probe", slow)
    async with asyncio.timeout(60):
        assert await discovery.scan(["127.0.0.0/24"], deadline_s=0.05) == []


async def test_a_fault_while_looking_at_a_host_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(host: str) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr(discovery, "probe", broken)
    found = await discovery.scan(["127.0.0.1"])
    assert [(f.url, f.model) for f in found] == [(None, None)]
    assert "ValueError" in found[0].evidence


async def test_no_network_is_nothing_found() -> None:
    assert await discovery.scan([]) == []


@pytest.mark.parametrize("network", ["8.8.8.8", "2001:4860::/120", "10.0.0.0/8", "nowhere"])
async def test_other_peoples_networks_are_not_scanned(network: str) -> None:
    with pytest.raises(UserError, match=r"only private|too many|no network"):
        await discovery.scan([network])
