"""Zips that two readers read differently (T30): what was verified must be what whoever unpacks it elsewhere sees."""

import struct
import zipfile

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


def large():
    """The same zip with an end of the large form, which not all readers believe."""
    count, size = 8, len(WHOLE) - 22 - DIRECTORY
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, DIRECTORY)
    return WHOLE[:-22] + record + struct.pack("<4sLQL", b"PK\x06\x07", 0, len(WHOLE) - 22, 1) + WHOLE[-22:]


SECOND = WHOLE.index(b"PK\x03\x04", 4)
TRICKS = {
    "a member before the first": MEMBER + WHOLE,
    "a member before the first, of which the directory knows the length": inserted(0),
    "a member between two": inserted(SECOND),
    "a member before the directory": inserted(DIRECTORY),
    "another directory for who reads the large form": large(),
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


@pytest.mark.parametrize("option", ["key", "mac-keys", "since"])
def test_an_empty_file_is_not_taken_for_none(tmp_path, option):
    """What was to be checked against it would be left out in silence."""
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert said(**case("whole.zip") | {option: empty})["verdict"] == "unusable"
