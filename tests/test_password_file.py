"""A password is the first line of its file, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge.errors import UserError
from firmware_bridge.password_file import read_password


@pytest.mark.parametrize(
    ("data", "password"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"a b \r\nnote\n", "a b "),
        ("gruß\n".encode(), "gruß"),
    ],
)
def test_the_first_line_is_the_password(tmp_path: Path, data: bytes, password: str) -> None:
    (tmp_path / "p").write_bytes(data)
    assert read_password(tmp_path / "p") == password


@pytest.mark.parametrize(("data", "why"), [(b"", "empty"), (b"\nx", "empty"), (b"\xff\xfe", "UTF-8")])
def test_a_file_without_one_is_named(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "p").write_bytes(data)
    with pytest.raises(UserError, match=f"{tmp_path}/p: .*{why}"):
        read_password(tmp_path / "p")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing: the password cannot be read"):
        read_password(tmp_path / "missing")
