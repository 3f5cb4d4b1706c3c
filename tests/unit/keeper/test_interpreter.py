"""What a program that is there needs to be executed, and is not there."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest

from fcgipm.keeper.instances.interpreter import what_is_missing


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def elf(loader: bytes, *, bits: int = 64, order: str = "<", at: int = 0x200, count: int = 2) -> bytes:
    """Return the beginning of an ELF program that names *loader*, in its second segment."""
    wide = bits == 64
    first = 0x40
    size = 56 if wide else 32
    header = bytearray(at + len(loader) + 1)
    header[:6] = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2])
    struct.pack_into(order + ("Q" if wide else "I"), header, 0x20 if wide else 0x1C, first)
    struct.pack_into(order + "HH", header, 0x36 if wide else 0x2A, size, count)
    segment = first + size
    struct.pack_into(order + "I", header, segment, 3)
    offset, length, form = (8, 32, "Q") if wide else (4, 16, "I")
    struct.pack_into(order + form, header, segment + offset, at)
    struct.pack_into(order + form, header, segment + length, len(loader) + 1)
    header[at : at + len(loader)] = loader
    return bytes(header)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"#!/nonexistent\n", "/nonexistent"),
        (b"#!  /nonexistent/perl\t-w\n", "/nonexistent/perl"),
        (b"#!/nonexistent", "/nonexistent"),
        (b"#!/bin/sh\r\necho\r\n", "'/bin/sh\\r'"),
    ],
)
def test_a_script_whose_interpreter_is_not_there(tmp_path: Path, line: bytes, name: str) -> None:
    assert what_is_missing(written(tmp_path / "a", line)) == f"its interpreter {name} is missing"


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_program_whose_loader_is_not_there(tmp_path: Path, bits: int, order: str) -> None:
    path = written(tmp_path / "a", elf(b"/lib/ld-nonexistent.so.1", bits=bits, order=order))

    assert what_is_missing(path) == "its loader /lib/ld-nonexistent.so.1 is missing"


def test_a_real_program_whose_loader_has_another_name(tmp_path: Path) -> None:
    content = Path("/bin/true").resolve().read_bytes()
    begin = content.index(b"/ld-")
    loader = content[content.rindex(b"\0", 0, begin) + 1 : content.index(b"\0", begin)]
    changed = content.replace(loader, b"/x" + loader[2:])

    assert what_is_missing("/bin/true") == ""
    assert what_is_missing(written(tmp_path / "a", changed)).startswith("its loader /x")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"#!", b"#!/bin/sh\n", b"#! relative\n", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 4000, b"MZ\x90\0",
        elf(b"/lib/none", count=1), elf(b"/lib/none", at=5000), b"\x7fELF\x02\x01" + b"\0" * 4000,
    ],
)  # fmt: skip
def test_where_nothing_is_seen_nothing_is_said(tmp_path: Path, content: bytes) -> None:
    assert what_is_missing(written(tmp_path / "a", content)) == ""


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    assert what_is_missing(str(tmp_path / "fifo")) == what_is_missing(str(tmp_path)) == ""
    assert what_is_missing(str(tmp_path / "absent")) == ""


def test_in_a_chroot_it_is_looked_for_there(tmp_path: Path) -> None:
    written(tmp_path / "a", b"#!/bin/sh\n")
    assert what_is_missing("/a", str(tmp_path)) == "its interpreter /bin/sh is missing"

    (tmp_path / "bin").mkdir()
    shutil.copy("/bin/sh", tmp_path / "bin" / "sh")
    assert what_is_missing("/a", str(tmp_path)) == ""
