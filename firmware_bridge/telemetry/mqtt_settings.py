"""Which broker, who we are there, and how it is made sure that it is the right one."""

from __future__ import annotations

import os
import platform
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from firmware_bridge.errors import UserError
from firmware_bridge.password_file import read_password
from firmware_bridge.telemetry.topics import LONGEST_LEVEL_BYTES, level_fault

PASSWORD_VARIABLE = "ASICLAB_MQTT_PASSWORD"
PORTS = {"mqtt": 1883, "mqtts": 8883}
LARGEST_PAYLOAD = 64 << 10
"""Bytes of a message that is taken, by default."""
NOT_WELCOME = {
    132: "it does not speak MQTT 3.1.1",
    133: "the client id",
    134: "user or password",
    135: "not authorised",
}
"""Reasons of a refusal that trying again does not change."""


@dataclass(frozen=True)
class MqttSettings:
    """A connection to a broker.

    Attributes:
        host: name or address.
        port: TCP port.
        username: None where the broker asks for none.
        password: never shown, stored or logged.
        tls: whether to speak TLS; host name and certificate are always checked then.
        ca_file: PEM of the authorities to trust instead of the system's.
        cert_file: PEM of our own certificate, where the broker asks for one.
        key_file: PEM of its key.
        lab: name of the lab in topics.
        client_id: what the broker knows us by; made anew by each client where empty.
        keepalive_s: longest silence before the connection is tried.
        max_payload: largest message that is sent or taken, bytes.
    """

    host: str = "127.0.0.1"
    port: int = PORTS["mqtt"]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    lab: str = "lab"
    client_id: str = ""
    keepalive_s: int = 15
    max_payload: int = LARGEST_PAYLOAD

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        lab: str | None = None,
        password_file: Path | None = None,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        client_id: str = "",
        max_payload: int = LARGEST_PAYLOAD,
        environment: Mapping[str, str] = os.environ,
    ) -> MqttSettings:
        """Settings from ``mqtt://user@host:port`` or ``mqtts://…``.

        The password stands in the URL, in the first line of ``password_file``, or in ``ASICLAB_MQTT_PASSWORD``; the
        first of these that there is counts.

        Raises:
            UserError: if the URL, the lab's name or a file is not usable.
        """
        shown = _shown(url)
        try:
            parts = urlsplit(url if "://" in url else f"mqtt://{url}")
            host, port = parts.hostname, parts.port
        except ValueError:
            raise UserError(f"{shown}: not the URL of a broker; write mqtt://user@host:1883") from None
        if parts.scheme not in PORTS or not host or parts.path.strip("/") or parts.query or parts.fragment:
            raise UserError(f"{shown}: not the URL of a broker; write mqtt://user@host:1883 or mqtts://…")
        tls = parts.scheme == "mqtts"
        if not tls and (ca_file or cert_file or key_file):
            raise UserError(f"{shown}: certificates need TLS; write mqtts://{host}")
        if (cert_file is None) != (key_file is None):
            raise UserError("our own certificate needs both its file and the file of its key")
        username = None if parts.username is None else unquote(parts.username)
        password = None if parts.password is None else unquote(parts.password)
        if password_file is not None and password is None:
            if username is None:
                raise UserError(f"{shown}: a password needs a user; write {parts.scheme}://user@{host}")
            password = read_password(password_file)
        if password is None and username is not None:
            password = environment.get(PASSWORD_VARIABLE) or None
        name = default_lab() if lab is None else lab
        if fault := level_fault(name):
            raise UserError(
                f"{name[:80]!r} cannot name a lab in MQTT topics: {fault}; give another with --lab"
            )
        return cls(
            host=host,
            port=PORTS[parts.scheme] if port is None else port,
            username=username,
            password=password,
            tls=tls,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            lab=name,
            client_id=client_id,
            max_payload=max_payload,
        )

    @property
    def address(self) -> str:
        """The broker as a URL, without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = "" if self.username is None else f"{self.username}@"
        return f"{'mqtts' if self.tls else 'mqtt'}://{user}{host}:{self.port}"

    def to_json(self) -> dict[str, Any]:
        """What may be stored of it: nothing secret."""
        return {"broker": self.address, "lab": self.lab, "max_payload": self.max_payload}

    def tls_context(self) -> ssl.SSLContext | None:
        """The client's side of TLS, or None where there is none.

        Raises:
            UserError: if a file cannot be used.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.ca_file}: cannot be used as certificate authority ({_why(error)})"
            ) from error
        if self.cert_file is not None and self.key_file is not None:
            try:
                context.load_cert_chain(self.cert_file, self.key_file, password="")
            except (OSError, ValueError) as error:
                raise UserError(
                    f"{self.cert_file}, {self.key_file}: cannot be used as our certificate ({_why(error)}); "
                    "both are PEM files, and the key has no passphrase"
                ) from error
        return context


def refusal(settings: MqttSettings, error: Exception) -> str | None:
    """What is wrong with us in the broker's eyes, or None where trying again may help."""
    where = settings.address
    code = getattr(error, "rc", None)
    value = int(getattr(code, "value", 0) or 0)
    if value in (134, 135):
        return (
            f"{where}: the broker refused user {settings.username or '(none)'}: {NOT_WELCOME[value]}; "
            f"put the user into the URL and the password into {PASSWORD_VARIABLE} or a password file"
        )
    if value in NOT_WELCOME:
        return f"{where}: the broker refused us: {NOT_WELCOME[value]}"
    text = str(error)
    if "certificate verify failed" in text.lower().replace("_", " "):
        return (
            f"{where}: its certificate is not to be trusted ({text}); name its authority with --mqtt-ca FILE"
        )
    return None


def default_lab() -> str:
    """Name of a lab that was given none: the host's, without what a topic does not take."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", platform.node().split(".")[0])
    return name.encode()[:LONGEST_LEVEL_BYTES].decode() or "lab"


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _shown(url: str) -> str:
    """A URL as it may be shown: without a login."""
    scheme, mark, rest = url.rpartition("://")
    return (scheme + mark + rest.rpartition("@")[2])[:200]
