"""Read gzip and zlib files to their end, where the checksum is.

Readers that stop at the last voxel miss damage.

Each call of zlib works outside Python's lock on megabytes; Python's ``gzip`` makes thousands of calls.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_READ_BYTES = 1 << 24
_BLOCK_BYTES = 1 << 26  # of what a block of a bomb becomes at once
MAGIC = b"\x1f\x8b"
_NO_END = "the compressed data end before their checksum"


def read_gzip(path: Path, start: int, length: int, *, to_end: bool = True) -> tuple[bytes, int]:
    """``length`` bytes of the decompressed content from ``start`` on.

    :param to_end: go on to the end of the file, so that its checksums are compared.
    :returns: the bytes, and how many bytes at the file's end do not belong to it (are neither gzip nor zero).
    :raises EOFError: if the content is shorter, or the file is cut short.
    :raises zlib.error: if it is damaged.
    """
    parts, position, tail = [], 0, 0
    for block in _blocks(path):
        if isinstance(block, int):
            tail = block
            break
        first, last = max(start - position, 0), min(start + length - position, len(block))
        if first < last:
            parts.append(block if (first, last) == (0, len(block)) else block[first:last])
        position += len(block)
        if not to_end and position >= start + length:
            break
    if position < start + length:
        raise EOFError(f"it holds {position} of {start + length} bytes")
    return b"".join(parts), tail


def inflated(stream: BinaryIO, wbits: int) -> Iterator[bytes]:
    """The content of the one compressed block that begins at the stream's position, to its checksum.

    The bytes read beyond it are lost.
    """
    member, pending = zlib.decompressobj(wbits=wbits), b""
    while not member.eof:
        pending = pending or stream.read(_READ_BYTES)
        if not pending:
            raise EOFError(_NO_END)
        yield member.decompress(pending, _BLOCK_BYTES)
        pending = member.unconsumed_tail


def _blocks(path: Path) -> Iterator[bytes | int]:
    """The decompressed content of all members, then the number of foreign bytes at the end, if any."""
    with path.open("rb") as stream:
        pending, began = stream.read(_READ_BYTES), False
        while True:
            pending = pending.lstrip(b"\0") if began else pending
            if not pending:
                pending = stream.read(_READ_BYTES)
                if not pending:
                    return
                continue
            if len(pending) < len(MAGIC):
                pending += stream.read(_READ_BYTES)
            if began and not pending.startswith(MAGIC):
                yield len(pending) + sum(len(more) for more in iter(lambda: stream.read(_READ_BYTES), b""))
                return
            member, began = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16), True
            while not member.eof:
                if not pending:
                    pending = stream.read(_READ_BYTES)
                    if not pending:
                        raise EOFError(_NO_END)
                yield member.decompress(pending, _BLOCK_BYTES)
                pending = member.unconsumed_tail
            pending = member.unused_data
