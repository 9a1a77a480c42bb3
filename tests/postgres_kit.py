"""A real PostgreSQL server of the tests' own: a cluster in a folder in /tmp, on a free loopback port and a socket."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import SystemRandom
from typing import Any

PATIENCE_S = 120.0
PORTS = range(15_000, 30_000)
"""Below what systems hand out by themselves, so that the port is still free after a restart."""

USER, PASSWORD = "lab", "open-sesame-7"
VARIABLE = "ASICLAB_TEST_DATABASE"


class AbsentError(Exception):
    """What a server of one's own needs is not installed; the message says how to get it."""


def programs() -> Path:
    """Folder of the server's programs.

    Raises:
        AbsentError: if they, or the driver, are not installed.
    """
    if importlib.util.find_spec("psycopg") is None:
        raise AbsentError("psycopg is not installed: pip install 'asic-reservoir-lab[postgres]'")
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: -float(p.parent.name))
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise AbsentError(f"no PostgreSQL server; on Debian: apt-get install postgresql, or set {VARIABLE}")


class Server:
    """A cluster whose superuser comes in by the socket without, by TCP with a password.

    Args:
        folder: of its own, which must be deleted by whoever made it.
        durable: whether it syncs; tests kill the server, never the machine.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self._durable = durable
        self._programs = programs()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._names = count()
        self.port = 0
        # the server refuses to run as root
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            self._user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        self._run(
            "initdb", "-D", "data", "-U", USER, "--pwfile", "password", "--auth-local=trust",
            "--auth-host=scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions",
        )  # fmt: skip

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self._folder, capture_output=True, text=True, check=False, **self._user,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Listen on a free port, or on the one from before."""
        until = time.monotonic() + PATIENCE_S
        while not self._try(self.port or SystemRandom().choice(PORTS)):
            assert time.monotonic() < until, (self._folder / "log").read_text(errors="replace")

    def _try(self, port: int) -> bool:
        import psycopg

        options = {
            "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": str(self._folder),
            **({} if self._durable else {"fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB"}),
        }  # fmt: skip
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(self._programs / "postgres"), "-D", str(self._folder / "data"),
                    *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
                ],
                cwd=self._folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **self._user,
            )  # fmt: skip
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                psycopg.connect(host=str(self._folder), port=port, user=USER, dbname="postgres").close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                self.port = port
                return True
        self.stop()
        return False

    def stop(self) -> None:
        """End it at once, as a crash does: the log is replayed at the next start."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGQUIT)
            process.wait(PATIENCE_S)

    def database(self) -> str:
        """Name of a new, empty database."""
        name = f"lab{next(self._names)}"
        self.sql(f"CREATE DATABASE {name}")
        return name

    def sql(self, statement: str, database: str = "postgres") -> None:
        """Run a statement outside of any transaction."""
        import psycopg

        with psycopg.connect(
            host=str(self._folder), port=self.port, user=USER, dbname=database, autocommit=True
        ) as connection:
            connection.execute(statement)

    def url(
        self, database: str, *, user: str = USER, password: str = PASSWORD, port: int | None = None
    ) -> str:
        """By TCP, with a password."""
        return f"postgresql://{user}:{password}@127.0.0.1:{port or self.port}/{database}"

    def socket_url(self, database: str) -> str:
        """By the socket, without one."""
        return f"postgresql+psycopg://{USER}@/{database}?host={self._folder}&port={self.port}"


@contextmanager
def running(*, durable: bool = False) -> Iterator[Server]:
    """A started server in a folder of its own, ended and removed at the end.

    Raises:
        AbsentError: if it is not installed.
    """
    programs()
    folder = Path(tempfile.mkdtemp(prefix="asiclab-pg-"))  # the path of a socket must be short
    try:
        server = Server(folder, durable=durable)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def database_beside(url: str) -> Iterator[str]:
    """A new database on the server of a URL, dropped at the end."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url

    from firmware_bridge.trace.store import locate

    where = locate(url).url
    name = f"asiclab_test_{SystemRandom().randrange(16**8):08x}"
    engine = create_engine(where, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield make_url(where).set(database=name).render_as_string(hide_password=False)
        finally:
            with engine.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        engine.dispose()
