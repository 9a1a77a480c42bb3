"""What this host adds to any timing: acknowledgement round trip, kernel-to-user lag and timer lateness.

Measured at the start of each run over loopback, through the same transport and event loop that miners use, and stored
as the run's ``jitter_floor``: no verdict may rest on effects below it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from firmware_bridge.clock import Clock
from firmware_bridge.stratum.kernel_time import Stamp, StampedTransport, enable_kernel_stamps

ROUND_TRIPS = 400
TIMERS = 100
TIMER_S = 0.001
_SUBMIT = b'{"id":4,"method":"mining.submit","params":["calibration","1","00000000","00000000","00000000"]}\n'
_ANSWER = b'{"id":4,"result":true,"error":null}\n'


def _percentiles(name: str, values_ns: Sequence[int]) -> dict[str, Any]:
    """Percentiles and number of readings in µs; None where there are none."""
    if not values_ns:
        return {f"{name}_us_p50": None, f"{name}_us_p99": None, f"{name}_us_max": None, f"{name}_n": 0}
    p50, p99, largest = np.percentile(np.asarray(values_ns, dtype=np.float64) / 1e3, [50, 99, 100])
    return {
        f"{name}_us_p50": round(float(p50), 3),
        f"{name}_us_p99": round(float(p99), 3),
        f"{name}_us_max": round(float(largest), 3),
        f"{name}_n": len(values_ns),
    }


def _ping(address: tuple[str, int], round_trips: list[int], warm_up: int) -> None:
    """Blocking client in a thread of its own: one submit, wait for the answer, again, until that side is closed."""
    # whoever stops a lab in its first half second closes that side at any moment
    with suppress(OSError), socket.create_connection(address, timeout=5.0) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(ROUND_TRIPS + warm_up):
            start = time.perf_counter_ns()
            sock.sendall(_SUBMIT)
            received = 0
            while received < len(_ANSWER):
                chunk = sock.recv(4096)
                if not chunk:
                    return
                received += len(chunk)
            if number >= warm_up:
                round_trips.append(time.perf_counter_ns() - start)


async def calibrate(clock: Clock) -> dict[str, Any]:
    """Measure this host's floor; takes about half a second.

    Returns:
        ``ack_rtt``, ``kernel_to_user`` and ``timer_jitter``, each as ``_us_p50``, ``_us_p99``, ``_us_max`` and ``_n``;
        ``kernel_to_user`` is None where the kernel gives no receive stamps.
    """
    loop = asyncio.get_running_loop()
    lags: list[int] = []
    round_trips: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        enable_kernel_stamps(listener)
        thread = threading.Thread(target=_ping, args=(listener.getsockname(), round_trips, 50), daemon=True)
        thread.start()
        listener.setblocking(False)
        sock, _ = await loop.sock_accept(listener)
        over: asyncio.Future[None] = loop.create_future()

        def answer(data: bytes, stamp: Stamp) -> None:
            transport.write(_ANSWER)
            if stamp.kernel_ns is not None:
                lags.append(stamp.wall_ns - stamp.kernel_ns)

        def closed(_: str) -> None:
            if not over.done():
                over.set_result(None)

        transport = StampedTransport(loop, sock, clock, answer, closed)
        transport.start()
        try:
            await asyncio.wait_for(over, 5.0)
        except TimeoutError:  # a host this slow: what was measured counts
            transport.abort("calibration took too long")
        except asyncio.CancelledError:
            transport.abort("calibration was cut short")
            raise
    late: list[int] = []
    for _ in range(TIMERS):
        start = clock.monotonic_ns()
        await asyncio.sleep(TIMER_S)
        late.append(clock.monotonic_ns() - start - round(TIMER_S * 1e9))
    return {
        **_percentiles("ack_rtt", round_trips),
        **_percentiles("kernel_to_user", lags[50:]),
        **_percentiles("timer_jitter", late),
    }
