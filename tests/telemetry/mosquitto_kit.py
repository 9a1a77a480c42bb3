"""A real Mosquitto of the test's own, on a free loopback port, that can be killed and started again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from random import SystemRandom

import pytest

PATIENCE_S = 60.0
PORTS = range(15_000, 30_000)
"""Below what systems hand out by themselves, so that the port is still free after a kill."""


def mosquitto() -> str:
    """The broker's binary, or a skip that says what to install."""
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin" + os.pathsep + "/usr/local/sbin"
    found = shutil.which("mosquitto", path=path)
    if found is None:
        pytest.skip("mosquitto is not installed; on Debian: apt-get install mosquitto")
    return found


class Mosquitto:
    """A broker without persistence.

    Args:
        folder: for its configuration.
        users: name to password; anybody is let in where it is None.
        tls: certificate and key of the server.
        extra: further lines of its configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        users: dict[str, str] | None = None,
        tls: tuple[Path, Path] | None = None,
        extra: tuple[str, ...] = (),
    ) -> None:
        self._binary = mosquitto()
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        lines = ["persistence false", "log_type all", *extra]
        if users is None:
            lines.append("allow_anonymous true")
        else:
            lines += ["allow_anonymous false", f"password_file {self._passwords(folder, users)}"]
        if tls is not None:
            lines += [f"certfile {tls[0]}", f"keyfile {tls[1]}"]
        if os.geteuid() == 0:
            lines.append("user root")
        self._lines = lines
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def _passwords(self, folder: Path, users: dict[str, str]) -> Path:
        tool = shutil.which("mosquitto_passwd")
        if tool is None:
            pytest.skip("mosquitto_passwd is not installed; on Debian: apt-get install mosquitto")
        file = folder / "passwords"
        file.write_text("")
        file.chmod(0o600)
        for user, password in users.items():
            subprocess.run([tool, "-b", str(file), user, password], check=True, capture_output=True)
        return file

    def start(self) -> None:
        """Listen on a free port, or on the one from before."""
        until = time.monotonic() + PATIENCE_S
        while True:
            port = self.port or SystemRandom().choice(PORTS)
            if self._try(port):
                self.port = port
                return
            assert time.monotonic() < until, self._log.read_text(errors="replace")
            time.sleep(0.05)

    def _try(self, port: int) -> bool:
        self._config.write_text("\n".join([f"listener {port} 127.0.0.1", *self._lines]) + "\n")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._binary, "-c", str(self._config)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and self._process.poll() is None:
            text = self._log.read_text(errors="replace")
            if "running" in text:
                with socket.socket() as probe:
                    probe.settimeout(PATIENCE_S)
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        return True
            time.sleep(0.01)
        self.kill()
        return False

    def kill(self) -> None:
        """SIGKILL: what it has not delivered is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(PATIENCE_S)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def url(self, user: str | None = None, *, scheme: str = "mqtt", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{'' if user is None else user + '@'}{host}:{self.port}"


@contextmanager
def running(folder: Path, **options: object) -> Iterator[Mosquitto]:
    """A started broker, killed at the end."""
    folder.mkdir(exist_ok=True)
    broker = Mosquitto(folder, **options)  # type: ignore[arg-type]
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


def certificates(folder: Path, host: str = "127.0.0.1") -> tuple[Path, Path, Path]:
    """A throwaway authority, and a server's certificate and key signed by it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.now(UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def build(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )

    def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    folder.mkdir(exist_ok=True)
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    signed = (
        build("test authority", "test authority", authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority, hashes.SHA256())
    )
    leaf = (
        build(host, "test authority", server)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(host))]), critical=False)
        .sign(authority, hashes.SHA256())
    )
    files = (folder / "ca.pem", folder / "server.pem", folder / "server.key")
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    files[2].write_bytes(pem(server))
    return files
