"""Zips that two readers read differently (T30): what was verified must be what whoever unpacks it elsewhere sees."""

import io
import struct
import zipfile
import zlib

import pytest

from tests.vectors.cases import case, said
from tests.vectors.make_bundles import PLACE
from tests.vectors.second_verifier import NODE, agree

WHOLE = (PLACE / "whole.zip").read_bytes()
DIRECTORY = WHOLE.index(b"PK\x01\x02")
HIDDEN = b"a-false-name\n"
# A whole member, which readers find that go from one header to the next.
MEMBER = struct.pack(
    "<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 33, zipfile.crc32(HIDDEN), len(HIDDEN), len(HIDDEN), 12, 0
)
MEMBER += b"events.jsonl" + HIDDEN


def moved(zipped, at, by):
    """The zip of which everything from that place on was moved: its directory says so."""
    made = bytearray(zipped)
    place = zipped.index(b"PK\x01\x02")
    while made[place : place + 4] == b"PK\x01\x02":
        if (offset := int.from_bytes(made[place + 42 : place + 46], "little")) >= at:
            made[place + 42 : place + 46] = (offset + by).to_bytes(4, "little")
        place += 46 + sum(struct.unpack_from("<3H", made, place + 28))
    made[-6:-2] = (DIRECTORY + by).to_bytes(4, "little")
    return bytes(made)


def inserted(at):
    """Another member at this place, of which the directory does not know."""
    made = moved(WHOLE, at, len(MEMBER))
    return made[:at] + MEMBER + made[at:]


def in_directory(field, data):
    """More in the directory about the first member: an extra field (30) or a comment (32)."""
    made = bytearray(WHOLE)
    after = DIRECTORY + 46 + len(b"events.jsonl")
    made[DIRECTORY + field : DIRECTORY + field + 2] = len(data).to_bytes(2, "little")
    made[after:after] = data
    made[-10:-6] = (len(WHOLE) - 22 - DIRECTORY + len(data)).to_bytes(4, "little")
    return bytes(made)


def in_header(field, data):
    """The header before the first member, with other bytes at this place."""
    return WHOLE[:field] + data + WHOLE[field + len(data) :]


def large(**lies):
    """The same zip with an end of the large form, which not all readers believe, before the other one."""
    told = {"count": 8, "size": len(WHOLE) - 22 - DIRECTORY, "place": DIRECTORY, "end": len(WHOLE) - 22} | lies
    record = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, told["count"], told["count"], told["size"], told["place"]
    )
    return WHOLE[:-22] + record + struct.pack("<4sLQL", b"PK\x06\x07", 0, told["end"], 1) + WHOLE[-22:]


def at_end(place, data):
    """Another number in the last 22 bytes: 8 and 10 are how many members there are, 16 is where the directory begins."""
    place += len(WHOLE) - 22
    return WHOLE[:place] + data + WHOLE[place + len(data) :]


def packed(data, size=None, crc=None, **more):
    """The zip whose first member is packed as these bytes; the directory and its header say what they said of it, or this."""
    made, start = bytearray(WHOLE), 30 + len(b"events.jsonl")
    told = struct.pack("<L", crc or FIRST.CRC) + struct.pack("<2L", len(data), size or FIRST.file_size)
    made[DIRECTORY + 16 : DIRECTORY + 28] = made[14:26] = told
    for place in (DIRECTORY + 10, 8):
        made[place] = more.get("method", 8)
    grown = moved(bytes(made), SECOND, len(data) - FIRST.compress_size)
    return grown[:start] + data + grown[start + FIRST.compress_size :]


def at_both_flags(flags):
    """The first member with these flags, in its header and in the directory."""
    made = bytearray(WHOLE)
    made[6:8] = made[DIRECTORY + 8 : DIRECTORY + 10] = struct.pack("<H", flags)
    return bytes(made)


SECOND = WHOLE.index(b"PK\x03\x04", 4)
with zipfile.ZipFile(io.BytesIO(WHOLE)) as _opened:
    FIRST, EVENTS = _opened.infolist()[0], _opened.read("events.jsonl")
STREAM = WHOLE[30 + len(b"events.jsonl") :][: FIRST.compress_size]
MORE = zlib.compress(EVENTS + HIDDEN)[2:-4]
TRICKS = {
    "fewer members for who counts them": at_end(8, struct.pack("<2H", 3, 3)),
    "fewer members on this disk": at_end(8, struct.pack("<H", 3)),
    "more disks": at_end(4, struct.pack("<2H", 1, 1)),
    "a directory elsewhere for who goes there": at_end(16, struct.pack("<L", DIRECTORY - 9)),
    "all of it elsewhere for who goes there": moved(WHOLE, 0, 100),
    "more packed behind the stream of a member": packed(STREAM + MEMBER),
    "a stream of more than the directory says": packed(MORE),
    "a stream of more, with the checksum of all": packed(MORE, crc=zlib.crc32(EVENTS + HIDDEN)),
    "a stream that does not end": packed(STREAM[:-1] + bytes([STREAM[-1] & 0xF0])),
    "a stored member of more than the directory says": packed(EVENTS + HIDDEN, method=0),
    "another checksum before the member": in_header(14, bytes(4)),
    "a mask for who reads it": at_both_flags(0x2000),
    "a patch for who reads it": at_both_flags(0x20),
    "another count in the large form": large(count=9),
    "another place in the large form": large(place=DIRECTORY + 1),
    "the large form elsewhere": large(end=0),
    "a name behind the lengths of the large form": in_directory(
        30, struct.pack("<2H", 1, 0) + struct.pack("<2HBL", 0x7075, 6, 1, zlib.crc32(b"events.jsonl")) + b"x"
    ),
    "a name that ends early for some": WHOLE[:DIRECTORY]
    + WHOLE[DIRECTORY:].replace(b"events.jsonl", b"events.jsonl\0x", 1).replace(b"\x0c\0", b"\x0e\0", 1)[:-10]
    + struct.pack("<2LH", len(WHOLE) - 22 - DIRECTORY + 2, DIRECTORY, 0),
    "a member before the first": MEMBER + WHOLE,
    "a member before the first, of which the directory knows the length": inserted(0),
    "a member between two": inserted(SECOND),
    "a member before the directory": inserted(DIRECTORY),
    "a name of its own for who reads it": in_directory(30, struct.pack("<2HBL", 0x7075, 6, 1, 0) + b"x"),
    "a comment": in_directory(32, b"another story"),
    "another name before the member": in_header(30, b"evidence.txt"),
    "another size before the member": in_header(18, struct.pack("<L", 9)),
    "another packing before the member": in_header(8, struct.pack("<H", 0)),
    "a length that follows the member": in_header(6, struct.pack("<H", 8)),
}


@pytest.mark.parametrize("name", TRICKS)
def test_a_zip_that_another_reader_reads_otherwise_is_refused(tmp_path, name):
    path = tmp_path / "tricky.zip"
    path.write_bytes(TRICKS[name])
    told = said(**case(path))
    assert told["verdict"] == "unusable"
    if NODE:
        agree({name: case(path)}, {name: told}, tmp_path)


def test_what_the_product_writes_is_none_of_them(tmp_path):
    """It writes members in the large form, whose lengths stand in an extra field."""
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(PLACE / "whole.zip") as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name in whole.namelist():
            with out.open(name, "w", force_zip64=True) as member:
                member.write(whole.read(name))
    told = said(**case(path))
    assert told["verdict"] == "ok"
    if NODE:
        agree({"large": case(path)}, {"large": told}, tmp_path)


def test_both_ends_may_stand_there_and_say_the_same(tmp_path):
    path = tmp_path / "large.zip"
    path.write_bytes(large())
    told = said(**case(path))
    assert told["verdict"] == "ok"
    if NODE:
        agree({"large": case(path)}, {"large": told}, tmp_path)


def test_what_the_product_writes_from_two_gigabytes_on_is_none_of_them(tmp_path, monkeypatch):
    """Both ends then stand there though the place of the directory still fits into the smaller one."""
    path = tmp_path / "large.zip"
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    with zipfile.ZipFile(PLACE / "whole.zip") as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name in whole.namelist():
            with out.open(name, "w", force_zip64=True) as member:
                member.write(whole.read(name))
    assert b"PK\x06\x06" in path.read_bytes()
    assert said(**case(path))["verdict"] == "ok"


@pytest.mark.parametrize("option", ["key", "mac-keys", "since"])
def test_an_empty_file_is_not_taken_for_none(tmp_path, option):
    """What was to be checked against it would be left out in silence."""
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert said(**case("whole.zip") | {option: empty})["verdict"] == "unusable"
