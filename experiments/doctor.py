"""What a machine needs for each device and mode, tried out rather than looked up where that is possible."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiments.config import database_folder
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.trace.store import Location

State = Literal["ok", "limited", "missing"]

NEEDED_FREE_BYTES = 2 * 1024**3
NEEDED_DESCRIPTORS = 1024
MINERS_PER_DESCRIPTOR_LIMIT = 64


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        name: what was looked at.
        needed_for: devices and modes that need it.
        state: ok, limited (it works, less well) or missing.
        found: what is there.
        remedy: how to get what lacks, or None.
    """

    name: str
    needed_for: tuple[str, ...]
    state: State
    found: str
    remedy: str | None = None

    @property
    def mark(self) -> str:
        """The state in one word for people."""
        return {"ok": "ok", "limited": "limited", "missing": "MISSING"}[self.state]

    def to_json(self) -> dict[str, Any]:
        """The finding as plain data."""
        return asdict(self)


def examine(database_url: str) -> list[Finding]:
    """Run every check.

    Args:
        database_url: where a trace would be written; the disk under it is looked at.
    """
    checks: list[Callable[[], Finding]] = [
        _python,
        _processors,
        _numba,
        _hash_rate,
        _kernel_stamps,
        _clock_source,
        _time_synchronisation,
        _stratum_port,
        lambda: _place_of_traces(database_url),
        _descriptors,
        _serial_ports,
        _low_ports,
        _other_miners,
        _mqtt,
        _columnar,
        _other_databases,
    ]
    return [check() for check in checks]


def _python() -> Finding:
    version = platform.python_version()
    fine = sys.version_info >= (3, 11)
    return Finding(
        "Python",
        ("everything",),
        "ok" if fine else "missing",
        f"{version} at {sys.executable}",
        None if fine else "install Python 3.11 or newer (Debian 12: apt-get install python3 python3-venv)",
    )


def _processors() -> Finding:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding(
        "processor cores",
        ("emulators in wall time beside a bridge",),
        "ok" if count >= 2 else "limited",
        str(count),
        None if count >= 2 else "an emulator that hashes disturbs the bridge's timing: use --time virtual",
    )


def _numba() -> Finding:
    needed = ("emulated s9 and lv06",)
    remedy = "pip install --upgrade numba (wheels exist for Python 3.11 to 3.14 on x86-64 and ARM64)"
    try:
        import llvmlite
        import numba
    except ImportError as error:
        return Finding("numba", needed, "missing", str(error), remedy)
    return Finding("numba", needed, "ok", f"numba {numba.__version__}, llvmlite {llvmlite.__version__}")


def _hash_rate() -> Finding:
    """Measure this CPU's scan rate and hold it against what the emulated miners need in wall time."""
    from experiments.cli.options import parse_scale
    from experiments.demo import SCALE
    from firmware_bridge.emulator.model import get_model

    needed = ("emulated s9 and lv06 in wall time",)
    try:
        scale = parse_scale(SCALE)
        rate = measure_hash_rate(scale)
    except ImportError as error:
        return Finding("hash rate", needed, "missing", str(error), "mend numba first")
    demand = sum(get_model(name).capacity_ths for name in ("s9", "lv06")) * 1e12 * scale
    found = f"{rate / 1e6:.2f} MH/s on one core; the demo's miners need {demand / 1e6:.2f} MH/s"
    if rate > demand:
        return Finding("hash rate", needed, "ok", found)
    return Finding("hash rate", needed, "limited", found, "use a smaller --scale, or --time virtual")


def measure_hash_rate(scale: float, seconds: float = 0.3) -> float:
    """Hashes per second of one core in the scan order of an emulated S9, the compilation not counted."""
    from firmware_bridge.emulator.model import get_model
    from firmware_bridge.emulator.span import Hasher, PreparedJob
    from firmware_bridge.headers import Job

    job = Job("0", "00" * 32, "00" * 60, "00" * 60, (), "20000000", "1d00ffff", "00000000", "00000000")
    prepared = PreparedJob.of(job, 1e9)
    code = get_model("s9").code
    Hasher(code, 1.0, scale, prepared, 0.0).run(1e9, 1000)
    hasher = Hasher(code, 1.0, scale, prepared, 0.0)
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        hasher.run(math.inf, 20_000)
    return hasher.hashes / (time.perf_counter() - begin)


def _kernel_stamps() -> Finding:
    needed = ("bridge: kernel receive timestamps",)
    remedy = "run the bridge on Linux; elsewhere the trace keeps user-space stamps and says so"
    try:
        lag_ns = kernel_stamp_lag_ns()
    except OSError as error:
        return Finding("SO_TIMESTAMPNS", needed, "limited", f"not offered here ({error})", remedy)
    if lag_ns is None:
        return Finding(
            "SO_TIMESTAMPNS", needed, "limited", "accepted, but no stamp came with the data", remedy
        )
    return Finding(
        "SO_TIMESTAMPNS", needed, "ok", f"works on TCP; user space read it {lag_ns / 1e3:.0f} µs later"
    )


def kernel_stamp_lag_ns() -> int | None:
    """Send bytes over loopback; user-space wall clock minus kernel stamp in ns, None where no stamp comes."""
    from firmware_bridge.clock import SystemClock
    from firmware_bridge.stratum.kernel_time import enable_kernel_stamps, receive

    with socket.create_server(("127.0.0.1", 0)) as server:
        enable_kernel_stamps(server)
        with socket.create_connection(server.getsockname()) as client:
            accepted, _ = server.accept()
            with accepted:
                accepted.settimeout(2.0)
                enable_kernel_stamps(accepted)
                for _ in range(3):  # the kernel starts to stamp a moment after it was asked
                    client.sendall(b"x")
                    _, stamp = receive(accepted, SystemClock())
                    if stamp.kernel_ns is not None:
                        return stamp.wall_ns - stamp.kernel_ns
    return None


def _clock_source() -> Finding:
    needed = ("every timing",)
    resolution_ns = time.get_clock_info("monotonic").resolution * 1e9
    source = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    name = source.read_text().strip() if source.is_file() else platform.system()
    slow = name in ("acpi_pm", "jiffies", "refined-jiffies", "pit")
    return Finding(
        "clock",
        needed,
        "limited" if slow or resolution_ns > 1000 else "ok",
        f"{name}, resolution {resolution_ns:.0f} ns",
        "boot with clocksource=tsc or hpet" if slow else None,
    )


def _time_synchronisation() -> Finding:
    """Whether something steers the wall clock: it may step, and several machines can only be compared where it is."""
    needed = ("comparing wall clocks of several machines",)
    if shutil.which("timedatectl"):
        answer = subprocess.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        if answer.returncode == 0 and answer.stdout.strip() == "yes":
            return Finding("NTP", needed, "ok", "synchronised")
    remedy = "run chrony or systemd-timesyncd (apt-get install chrony); intervals do not need it"
    return Finding("NTP", needed, "limited", "not synchronised, or it cannot be told", remedy)


def _stratum_port(port: int = 3333) -> Finding:
    needed = ("bridge on its default port",)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return Finding(
                f"port {port}", needed, "limited", str(error.strerror), "give another one with --port"
            )
    return Finding(f"port {port}", needed, "ok", "free")


def _place_of_traces(database_url: str) -> Finding:
    from firmware_bridge.trace.store import locate

    where = locate(database_url)
    return _server(where) if where.is_server else _disk(database_folder(database_url))


def _server(where: Location) -> Finding:
    """Whether the server of a database lets this user in."""
    from sqlalchemy.exc import DBAPIError

    from firmware_bridge.trace.store import reading_engine, unreachable

    needed = (f"traces in {where}",)
    try:
        engine = reading_engine(where, timeout_s=5.0)
        with engine.connect() as connection:
            version = ".".join(map(str, connection.dialect.server_version_info or ()))
        engine.dispose()
    except UserError as error:
        return Finding("database", needed, "missing", str(error), "give another place with --db")
    except DBAPIError as error:
        said, _, remedy = str(unreachable(where, error)).rpartition("; ")
        return Finding("database", needed, "missing", said, remedy)
    return Finding("database", needed, "ok", f"{where.url.get_backend_name()} {version} answers")


def _disk(folder: Path) -> Finding:
    needed = ("every trace (about 150 bytes per share)",)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    folder = folder.resolve()
    if not os.access(folder, os.W_OK):
        return Finding(
            "disk", needed, "missing", f"{folder} cannot be written", "give another place with --db"
        )
    free = shutil.disk_usage(folder).free
    found = f"{free / 1024**3:.1f} GiB free in {folder}"
    if free >= NEEDED_FREE_BYTES:
        return Finding("disk", needed, "ok", found)
    return Finding("disk", needed, "limited", found, "make room, or give another place with --db")


def _descriptors() -> Finding:
    needed = (f"more than {MINERS_PER_DESCRIPTOR_LIMIT} miners on one bridge",)
    try:
        import resource
    except ImportError:
        return Finding("file descriptors", needed, "limited", f"unknown on {platform.system()}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    state: State = "ok" if soft >= NEEDED_DESCRIPTORS else "limited"
    remedy = (
        None if state == "ok" else f"ulimit -n {min(hard, 65536) if hard > 0 else 65536} before the bridge"
    )
    return Finding("file descriptors", needed, state, f"{soft} (at most {hard})", remedy)


def _serial_ports() -> Finding:
    """Serial ports and whether this user may open them."""
    needed = ("BM1366 chains: bridge --serial",)
    try:
        from serial.tools import list_ports
    except ImportError as error:
        return Finding("serial ports", needed, "limited", str(error), "pip install pyserial")
    ports = [port.device for port in list_ports.comports()]
    if not ports:
        return Finding(
            "serial ports", needed, "limited", "none", "plug the adapter in; its driver names it /dev/ttyUSB0"
        )
    closed = [port for port in ports if not os.access(port, os.R_OK | os.W_OK)]
    if closed:
        remedy = "add yourself to its group and log in again: sudo usermod -aG dialout $USER"
        return Finding("serial ports", needed, "limited", f"no permission for {', '.join(closed)}", remedy)
    return Finding("serial ports", needed, "ok", ", ".join(ports))


def _low_ports() -> Finding:
    """Whether an emulated device may have its model's own web port."""
    needed = ("emulated devices on port 80",)
    remedy = "give them another port: asiclab emulate lv06 --http-port 8080"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.99", 80))
        except OSError as error:
            return Finding("port 80", needed, "limited", f"cannot be bound ({error.strerror})", remedy)
    return Finding("port 80", needed, "ok", "can be bound on loopback addresses")


def _other_miners() -> Finding:
    needed = ("pyasic://HOST: telemetry of miners of other makes",)
    if importlib.util.find_spec("pyasic") is None:
        remedy = "pip install 'asic-reservoir-lab[miners]'"
        return Finding("pyasic", needed, "limited", "not installed", remedy)
    return Finding("pyasic", needed, "ok", importlib.metadata.version("pyasic"))


def _mqtt() -> Finding:
    needed = ("telemetry and commands over MQTT", "asiclab broker")
    names = ("aiomqtt", "amqtt")
    lacking = [name for name in names if importlib.util.find_spec(name) is None]
    if lacking:
        remedy = 'pip install "asic-reservoir-lab[broker]"'
        return Finding("MQTT", needed, "limited", f"{', '.join(lacking)} not installed", remedy)
    return Finding("MQTT", needed, "ok", ", ".join(f"{n} {importlib.metadata.version(n)}" for n in names))


def _columnar() -> Finding:
    needed = ("export and import of Parquet", "fast exact reading of long traces")
    lacking = [name for name in ("pyarrow", "adbc_driver_sqlite") if importlib.util.find_spec(name) is None]
    if lacking:
        remedy = 'pip install "asic-reservoir-lab[columnar]"'
        return Finding("columnar extra", needed, "limited", f"{', '.join(lacking)} not installed", remedy)
    return Finding("columnar extra", needed, "ok", "pyarrow and adbc-driver-sqlite installed")


def _other_databases() -> Finding:
    needed = ("traces in PostgreSQL (--db postgresql://...)",)
    if importlib.util.find_spec("psycopg") is None:
        remedy = 'pip install "asic-reservoir-lab[postgres]"'
        return Finding("postgres extra", needed, "limited", "psycopg not installed", remedy)
    return Finding("postgres extra", needed, "ok", "psycopg installed")
