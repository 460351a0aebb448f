"""Bundles and proofs that stay as they are, and what each verifier must say of them and of what a forger makes of them.

Two verifiers that share nothing, ours in Python and one in JavaScript, agree on every case: a mistake that writer and
verifier share would show (M112, T30; audit.md 4.7, 7.2, 7.11).
"""

import json
import shutil
import zipfile

import pytest

from tests.audit.bundles import fitting, forged, kinds, members, packed, verified
from tests.vectors import make_bundles, mutations
from tests.vectors.cases import EXPIRED, GOOD, PLACE, case, said
from tests.vectors.forgeries import FORGED, claims, erase, erase_besides, with_another_checksum, with_broken_packing
from tests.vectors.second_verifier import NODE, agree


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Every case by its name: file and options of the verifiers."""
    found = GOOD | {"expired": EXPIRED}
    for number, (name, (source, change, _kind, _index)) in enumerate(FORGED.items()):
        place = tmp_path_factory.mktemp(f"case{number}")
        found[name] = {**found[source], "file": forged(shutil.copy(PLACE / f"{source}.zip", place), change)}
    place = tmp_path_factory.mktemp("erased")
    found["erased"] = case(forged(shutil.copy(PLACE / "whole.zip", place), erase))
    place = tmp_path_factory.mktemp("besides")
    found["erased besides"] = case(forged(shutil.copy(PLACE / "whole.zip", place), erase_besides))
    proof = (PLACE / "event.tlog-proof").read_text()
    for name, old, new in (
        ("another index", "index 7", "index 6"),
        ("an index too far", "index 7", "index 99"),
        ("another note", "\n13\n", "\n14\n"),
    ):
        place = tmp_path_factory.mktemp("proof") / "event.tlog-proof"
        place.write_text(proof.replace(old, new))
        found[name] = case(place)
    for name, content in (("nothing", b""), ("no zip", b"PK\x03\x04" + bytes(500)), ("text", b"text")):
        place = tmp_path_factory.mktemp("broken") / "bundle.zip"
        place.write_bytes(content)
        found[name] = case(place)
    other = tmp_path_factory.mktemp("broken") / "bundle.zip"
    with zipfile.ZipFile(other, "w", zipfile.ZIP_BZIP2) as out:
        for name, data in members(PLACE / "whole.zip").items():
            out.writestr(name, data)
    found["packed in another way"] = case(other)
    trailing = tmp_path_factory.mktemp("broken") / "bundle.zip"
    trailing.write_bytes((PLACE / "whole.zip").read_bytes() + b"more")
    found["something after the zip"] = case(trailing)
    for name, member in (("a damaged checksum", "events.jsonl"), ("a damaged checkpoint", "checkpoint")):
        place = tmp_path_factory.mktemp("damaged") / "bundle.zip"
        place.write_bytes(with_another_checksum(member))
        found[name] = case(place)
    torn = tmp_path_factory.mktemp("damaged") / "bundle.zip"
    torn.write_bytes(with_broken_packing("events.jsonl"))
    found["a damaged packing"] = case(torn)
    return found


@pytest.fixture(scope="module")
def told(cases):
    """What our verifier says of each."""
    return {name: said(**options) for name, options in cases.items()}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_good_verifies_with_nothing_left_out(told, name):
    claim = "that the filters find what is here and nothing of the 7 left out"
    assert (told[name]["verdict"], told[name]["not_checked"]) == ("ok", [claim] if name == "filtered" else [])


def test_what_expired_is_never_complete(told):
    """Only the log of the instance can show that bodies left after seven years: nothing in the bundle does."""
    report = told["expired"]
    assert (report["verdict"], report["complete"], report["omitted"], report["findings"]) == (
        "incomplete",
        False,
        4,
        [],
    )
    assert "4 of [0, 3] expired" in "".join(report["not_checked"])


def test_what_was_erased_without_an_event_that_tells_of_it_is_not_silently_fine(told):
    """T28. Two were erased before an event said so, and one after it."""
    report = told["erased"]
    assert (report["verdict"], report["details_erased"], report["details_unexplained"]) == ("incomplete", 3, 1)
    assert (report["findings"], report["not_checked"]) == (
        [],
        ["why 1 details were erased: no event of this bundle tells of it"],
    )


def test_an_event_that_tells_of_other_erasures_excuses_none(told):
    """T28. Whoever hands the bundle over blanks what stood before an erasure that was in order."""
    report = told["erased besides"]
    assert (report["verdict"], report["details_erased"], report["details_unexplained"]) == ("incomplete", 3, 1)


def test_only_the_whole_log_is_complete(told):
    assert {name for name, report in told.items() if name in GOOD and report.get("complete")} == {
        "whole",
        "since",
        "rotated",
        "instance",
        "continued",
    }


@pytest.mark.parametrize("name", FORGED)
def test_what_was_forged_is_found_for_its_reason(told, name):
    _source, _change, kind, index = FORGED[name]
    assert told[name]["verdict"] in {"failed", "unusable"}
    if kind:
        assert kind in kinds(told[name])
        assert told[name]["first_bad_index"] == index


@pytest.mark.parametrize("name", ["another index", "an index too far", "another note"])
def test_a_proof_that_was_changed_is_found(told, name):
    assert told[name]["verdict"] == "failed"


@pytest.mark.parametrize("name", ["nothing", "no zip", "text", "something after the zip", "packed in another way"])
def test_what_is_no_bundle_is_unusable(told, name):
    assert told[name]["verdict"] == "unusable"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a damaged checksum", " (events.jsonl)"),
        ("a damaged checkpoint", " (checkpoint)"),
        ("a damaged packing", " (events.jsonl)"),
    ],
)
def test_what_was_damaged_on_its_way_is_to_be_had_again(told, name, place):
    message = f"The file was changed or damaged after it was made{place}: get it again."
    assert told[name] == {"verdict": "unusable", "message": message}


def test_two_members_of_one_name_are_refused(tmp_path):
    """T30: two readers could each see another one."""
    path = shutil.copy(PLACE / "whole.zip", tmp_path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as out:
        out.writestr("events.jsonl", b"")
    assert said(path)["verdict"] == "unusable"


def test_a_pack_of_evidence_is_told_from_its_bundle(tmp_path):
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as out:
        out.write(PLACE / "whole.zip", "bundle.zip")
    report = said(tmp_path / "pack.zip", key=PLACE / "workspace.pub")
    assert (report["verdict"], "its bundle.zip is the bundle" in report["message"]) == ("unusable", True)


def test_a_whole_log_that_was_cut_to_a_part_says_so(tmp_path):
    """Whoever cuts the tail and makes a proof for what is left has a part: it verifies, and tells that it is one."""
    whole = members(PLACE / "whole.zip")
    items = [make_bundles.event(index) for index in range(13)]
    leaves = [leaf for _line, _detail, leaf in items]
    cut = b"".join(line + b"\n" for line in whole["events.jsonl"].splitlines()[:11])
    details = b"".join(line + b"\n" for line in whole["details.jsonl"].splitlines() if json.loads(line)["idx"] < 11)
    made = whole | {
        "events.jsonl": cut,
        "details.jsonl": details,
        "range.proof": make_bundles.range_proof(leaves, 0, 11).encode(),
    }
    made["MANIFEST.json"] = fitting(json.loads(whole["MANIFEST.json"]) | {"end": 11}, made)
    report = said(**{**GOOD["whole"], "file": packed(made, tmp_path / "cut.zip")})
    assert (report["verdict"], report["complete"], report["end"], report["size"]) == ("ok", False, 11, 13)


def test_an_old_bundle_shown_as_a_new_one_tells_its_age(tmp_path):
    """Whoever hands out what was true once can write any date into the manifest, and no event."""
    old = forged(shutil.copy(PLACE / "whole.zip", tmp_path), claims(created_at="2027-06-01T00:00:00Z"))
    report = said(old, key=PLACE / "workspace.pub")
    assert (report["verdict"], report["size"], report["newest_event_at"]) == ("ok", 13, "2026-11-30 09:00:12+00:00")
    assert report["only_claimed"]["created_at"] == "2027-06-01T00:00:00Z"


def test_a_checkpoint_of_another_epoch_is_another_log(tmp_path):
    report = said(PLACE / "continued.zip", key=PLACE / "continued.pub", since=PLACE / "older.note")
    assert (report["verdict"], kinds(report)) == ("failed", {"consistency"})
    assert report["findings"][0]["message"].endswith(f"and this one of {report['origin']}")


@pytest.mark.skipif(NODE is None, reason="Node is not installed: nothing holds the second verifier against the first")
def test_the_second_verifier_says_the_same_of_every_case(cases, told, tmp_path):
    agree(cases, told, tmp_path)


@pytest.mark.skipif(NODE is None, reason="Node is not installed: nothing holds the second verifier against the first")
def test_both_refuse_what_chance_makes_of_a_bundle(tmp_path):
    """Nobody thought of these cases: the two readers see the same in all of them, and nothing that changed is fine."""
    sources = {name: members(PLACE / f"{name}.zip") for name in mutations.SOURCES}
    found, told = {}, {}
    for number in range(400):
        name, files = mutations.mutated(number, sources)
        if mutations.is_another(files, sources[name]):
            options = EXPIRED if name == "expired" else GOOD[name]
            found[number] = options | {"file": packed(files, tmp_path / f"{number}.zip")}
            told[number] = said(**found[number])
    assert len(found) > 300
    assert not [number for number, report in told.items() if report["verdict"] in {"ok", "incomplete"}]
    agree(found, told, tmp_path)


def test_the_vectors_are_made_again_byte_for_byte(tmp_path, monkeypatch):
    kept = {path.name: path.read_bytes() for path in PLACE.iterdir()}
    shutil.copytree(PLACE, tmp_path / "bundles")
    monkeypatch.setattr(make_bundles, "PLACE", tmp_path / "bundles")
    make_bundles.make()
    assert {path.name: path.read_bytes() for path in (tmp_path / "bundles").iterdir()} == kept


def test_a_file_that_is_not_the_one_of_the_manifest_is_told_without_the_digests_of_all(tmp_path):
    path = shutil.copy(PLACE / "whole.zip", tmp_path)
    digests = json.loads(members(path)["MANIFEST.json"])["files"]
    swapped = forged(path, claims(files={**digests, "events.jsonl": digests["details.jsonl"]}))
    _code, report = verified(swapped, "--key", PLACE / "workspace.pub")
    (finding,) = report["findings"]
    assert finding["message"].startswith("files: {")
    assert len(finding["message"]) < 250
