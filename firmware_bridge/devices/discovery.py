"""Find miners in a network and on serial ports, and find out what a host is.

In stages: is a port open, then what does the one behind it say of itself. Silence is normal and never an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from firmware_bridge.devices import axeos, cgminer_api
from firmware_bridge.devices.cgminer_port import CgminerPort
from firmware_bridge.devices.http import HttpLink, Reply
from firmware_bridge.errors import DeviceError, ProtocolError, UnreachableError, UserError

log = logging.getLogger(__name__)

API_PORT, HTTP_PORT = cgminer_api.PORT, 80
CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 3.0
AT_ONCE = 128
"""Hosts looked at together; a home router drops connections beyond some hundred."""
MOST_HOSTS = 65_536


@dataclass(frozen=True, slots=True)
class Found:
    """A host that answered.

    Attributes:
        address: of the host.
        url: to give to the other commands, or None where no driver is known.
        model: of the driver, or None.
        evidence: what it said.
    """

    address: str
    url: str | None
    model: str | None
    evidence: str

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A serial port of this host.

    Attributes:
        path: to open it.
        description: as the system names it.
        hint: what kind of board has such an adapter, or None.
        url: to give to the other commands.
    """

    path: str
    description: str
    hint: str | None
    url: str

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


ADAPTERS = {
    (0x303A, 0x1001): "ESP32-S3 USB (Bitaxe class: its own firmware, use axeos://)",
    (0x1A86, 0x7523): "CH340 adapter",
    (0x1A86, 0x55D3): "CH343 adapter",
    (0x10C4, 0xEA60): "CP210x adapter",
    (0x0403, 0x6001): "FTDI adapter",
    (0x0403, 0x6015): "FTDI adapter",
    (0xC0DE, 0xCAFE): "bitaxe-raw firmware: control and data port",
}
"""USB vendor and product to what it is."""


def serial_ports() -> list[SerialPort]:
    """Serial ports of this host."""
    from serial.tools import list_ports

    ports = []
    for port in sorted(list_ports.comports()):
        hint = ADAPTERS.get((port.vid, port.pid)) if port.vid is not None else None
        ports.append(SerialPort(port.device, port.description, hint, f"bm1366://{port.device}"))
    return ports


async def scan(networks: Sequence[str], *, deadline_s: float = 60.0) -> list[Found]:
    """Look at every host of some networks.

    Args:
        networks: addresses or ranges, ``10.0.0.0/24``; private or loopback ones, since a probe of other people's
            machines is not ours to send.
        deadline_s: for all of it; what was not reached by then is left out.

    Raises:
        UserError: if a network is none, too large, or public.
    """
    hosts = _hosts(networks)
    gate = asyncio.Semaphore(AT_ONCE)
    found: list[Found] = []

    async def look(host: str) -> None:
        async with gate:
            try:
                answer = await probe(host)
            except Exception as error:  # a fault of ours costs this host, and is said
                log.exception("%s: could not be looked at", host)
                answer = Found(host, None, None, f"could not be looked at: {type(error).__name__}")
            if answer is not None:
                found.append(answer)

    tasks = [asyncio.ensure_future(look(host)) for host in hosts]
    if not tasks:
        return []
    _, late = await asyncio.wait(tasks, timeout=deadline_s)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return sorted(found, key=lambda f: ipaddress.ip_address(f.address))


def _hosts(networks: Iterable[str]) -> list[str]:
    hosts: list[str] = []
    for text in networks:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise UserError(f"{text!r} is no network; write it as 10.0.0.0/24 or 10.0.0.7") from None
        if not (network.is_private or network.is_loopback or network.is_link_local):
            raise UserError(
                f"{text}: only private networks are scanned, so that nobody else's machines are probed"
            )
        if network.num_addresses > MOST_HOSTS:
            raise UserError(f"{text}: {network.num_addresses} addresses are too many; at most {MOST_HOSTS}")
        hosts += [str(host) for host in network.hosts()]
    return hosts


async def _open(host: str, port: int) -> bool:
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
        return True
    return False


async def probe(host: str, api_port: int = API_PORT, http_port: int = HTTP_PORT) -> Found | None:
    """What a host is; None where nothing answers."""
    api, web = await asyncio.gather(_open(host, api_port), _open(host, http_port))
    page = await _page(host, http_port) if web else None
    if page is not None and (found := await _by_page(host, http_port, page)) is not None:
        return found
    if api and (found := await _by_api(host, api_port, web)) is not None:
        return found
    if not (api or web):
        return None
    open_ports = ", ".join(str(port) for port, there in ((api_port, api), (http_port, web)) if there)
    return Found(host, None, None, f"port {open_ports} is open; nothing known answered")


async def _page(host: str, port: int) -> Reply | None:
    return await _get(host, port, "/")


async def _get(host: str, port: int, target: str) -> Reply | None:
    link = HttpLink(f"http://{host}:{port}", timeout_s=ANSWER_TIMEOUT_S)
    try:
        return await link.request("GET", target)
    except DeviceError:
        return None
    finally:
        await link.aclose()


async def _by_page(host: str, port: int, page: Reply) -> Found | None:
    where = host if port == HTTP_PORT else f"{host}:{port}"
    body = page.body.lower()
    if b"axeos" in body or b"lucky miner" in body:
        reply = await _get(host, port, axeos.INFO)
        if reply is not None:
            with contextlib.suppress(ProtocolError):
                info = axeos.decode_info(reply.body)
                scheme = "lv06" if (info.model or "").startswith("LV") else "axeos"
                return Found(host, f"{scheme}://{where}", info.model or info.asic, f"AxeOS {info.version}")
    if b"cloud-box" in body:
        reply = await _get(host, port, "/mcb/status")
        if reply is not None and reply.status == 200:
            text = reply.body[:120].decode("utf-8", "replace")
            return Found(host, f"lb-box://{where}", "LB-Box", f"Goldshell: {text}")
    return None


async def _by_api(host: str, port: int, web: bool) -> Found | None:
    api = CgminerPort(host, port, timeout_s=ANSWER_TIMEOUT_S)
    try:
        answer = await api.ask("version")
    except DeviceError as error:
        return Found(host, None, None, str(error))
    row = (answer.rows("VERSION") or ({},))[0]
    said = (
        ", ".join(f"{name} {value}" for name, value in list(row.items())[:6])
        or "an API that names no version"
    )
    where = host if port == API_PORT else f"{host}:{port}"
    kind = str(row.get("Type", "")).upper()
    if "ANTMINER S9" in kind:
        return Found(host, f"s9://{where}", "Antminer S9", said)
    if any("BFGMINER" in str(x).upper() or "INTCHAINS" in str(x).upper() for x in (*row, *row.values())):
        return Found(host, f"lb-box://{host}" if web else None, "Goldshell", said)
    return Found(host, None, str(row.get("Type")) if row.get("Type") else None, said)


async def identify_host(host: str, port: int = HTTP_PORT) -> str:
    """URL of the driver for a host.

    Raises:
        DeviceError: if nothing that we know answers there.
    """
    found = await probe(host, http_port=port)
    if found is None:
        raise UnreachableError(f"{host}: neither port {API_PORT} nor port {port} answers")
    if found.url is None:
        raise DeviceError(
            f"{host}: {found.evidence}; no driver of ours fits. pyasic://{host} may know it, or name the model: "
            "s9://, lv06://, lb-box://"
        )
    return found.url
