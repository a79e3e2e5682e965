"""Zips: bombs, nested ones, one that holds itself, of a million names, and names that lead out."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence

from tests.hostile.kit import ANSWER, HTML, REFUSE, Hostile, cell, encoded
from tests.hostile.pictures import ENTITIES

MANY = 1_000_000  # names


def all_of() -> list[Hostile]:
    """`wants` tells whether any picture of it is answered; only good.zip can be imported as a dataset."""
    picture = encoded(cell(48))
    good = [(f"{'ab'[n % 2]}/{n}.png", encoded(cell(48, n))) for n in range(8)]
    nested = packed(good)
    for _ in range(20):
        nested = packed([("inside.zip", nested)])
    leading_out = ("../pwned.png", "/tmp/pwned.png", "a/../../pwned.png", "..\\pwned.png", "C:\\pwned.png",
                   "a/./../../../pwned")  # fmt: skip
    refused = {
        "nested.zip": nested, "holds-itself.zip": holding_itself(), "link.zip": linked(), "empty.zip": packed([]),
        "no-zip.zip": b"no zip at all", "cut.zip": packed(good)[:-30],
        "front.zip": b"MZ" + bytes(999) + packed(good)[:200],
        "bomb.zip": packed([("a/1.png", bytes(200 * 2**20)), ("b/1.png", picture)]),
        "many-small-bombs.zip": packed([(f"a/{n}.png", bytes(2**20)) for n in range(100)]),
        "overlap.zip": overlapping(3000), "million.zip": of_many_names(MANY), "lies.zip": lying(),
        "pictures-that-are-none.zip": packed([("a/1.png", HTML.encode()), ("b/1.png", ENTITIES.encode())]),
        "one-name-twice.zip": packed([("a/1.png", picture), ("a\\1.png", picture)], zipfile.ZIP_STORED),
        **{f"slip-{n}.zip": packed([("a/1.png", picture), (name, picture)]) for n, name in enumerate(leading_out)},
    }  # fmt: skip
    answered = {
        "good.zip": packed(good),
        "names-of-html.zip": packed([(f"{HTML}/1.png", picture), ("b/\x1b[31m.png", picture)]),
    }
    return [Hostile(name, data, wants) for wants, of in ((REFUSE, refused), (ANSWER, answered))
            for name, data in of.items()]  # fmt: skip


def packed(files: Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return out.getvalue()


def linked() -> bytes:
    """A zip that holds a link to the passwords."""
    info, out = zipfile.ZipInfo("a/link.png"), io.BytesIO()
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def _parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """A zip of one file: what stands before its list of files, the one entry of that list, and its end."""
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    return data[:start], data[start:end], data[end:]


def _with_list(before: bytes, entries: bytes, count: int, end: bytes) -> bytes:
    """A zip that lists that many files."""
    counts = struct.pack("<HHLL", count & 0xFFFF, count & 0xFFFF, len(entries), len(before))
    return before + entries + end[:8] + counts + end[20:]


def of_many_names(count: int) -> bytes:
    """A zip that lists so many files, all of them the same few bytes of it: 46 bytes and a name each."""
    before, entry, end = _parts(packed([("a/0000000.png", b"")], zipfile.ZIP_STORED))
    return _with_list(before, entry * count, count, end)


def overlapping(count: int) -> bytes:
    """Many files that are all one and the same stretch of the zip (after Fifield 2019)."""
    before, entry, end = _parts(packed([("a/00000.png", bytes(10**6))]))
    entries = b"".join(entry.replace(b"a/00000.png", b"a/%05d.png" % number) for number in range(count))
    return _with_list(before, entries, count, end)


def lying() -> bytes:
    """A zip that declares ten bytes where there are ten million."""
    one = packed([("a/1.png", bytes(10**7)), ("b/1.png", b"x")])
    return one.replace(struct.pack("<L", 10**7), struct.pack("<L", 10))


def holding_itself() -> bytes:
    """A zip whose only file is the rest of that very zip, its list of files too: unpacked it is again a zip of that.

    The file's checksum stands inside the file, so four bytes of it are chosen by what they make of the checksum.
    """
    wanted, name = 0x0BADCE11, b"again.zip"

    def build(patch: bytes) -> tuple[bytes, bytes]:
        size = 4 + 46 + len(name) + 22
        facts = struct.pack("<HHHHHLLLHH", 20, 0, 0, 0, 33, wanted, size, size, len(name), 0)
        header = b"PK\3\4" + facts + name
        entry = b"PK\1\2" + struct.pack("<H", 20) + facts + struct.pack("<HHHLL", 0, 0, 0, 0, 0) + name
        end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 1, 1, len(entry), len(header) + 4, 0)
        return header, patch + entry + end

    def sum_of(patch: int) -> int:
        return zlib.crc32(build(struct.pack("<L", patch))[1])

    # A checksum is linear in the bits: which of the 32 together make the wanted one is a matter of elimination.
    nothing, found = sum_of(0), 0
    rows = [(sum_of(1 << bit) ^ nothing, 1 << bit) for bit in range(32)]
    missing = nothing ^ wanted
    for place in range(32):
        pivot = next(row for row in rows if row[0] >> place & 1)
        rows = [(row[0] ^ pivot[0], row[1] ^ pivot[1]) if row[0] >> place & 1 else row for row in rows if row != pivot]
        if missing >> place & 1:
            missing, found = missing ^ pivot[0], found ^ pivot[1]
    return b"".join(build(struct.pack("<L", found)))
