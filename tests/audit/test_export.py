"""The bundle that leaves, and the verifier that knows nothing of us (C03, M112, M130, T30; audit.md 4.7)."""

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.core.management import call_command

from audit.bundles import DamagedLog
from audit.exports import export_bundle, export_instance, export_keys
from audit.proofs import AnotherLog, NotYetSealed, event_proof
from audit.selectors import EventFilters
from audit.services import Target, record
from audit.taxonomy import Event
from audit.tree import django_tree
from provenance.db import enter
from provenance.errors import Invalid, PermissionDenied
from tests.audit import bundles, sealing
from tests.audit.bundles import (
    bodies,
    exported,
    kinds,
    lines,
    members,
    memory,
    public_keys,
    verified,
    verified_apart,
)

pytestmark = pytest.mark.django_db(transaction=True)


def index_of(path, action):
    """Where the only event of this kind stands."""
    (found,) = [number for number, body in enumerate(bodies(path)) if body["action"] == action]
    return found


class TestExport:
    def test_it_holds_the_signed_bytes_in_the_order_of_the_log_and_verifies_in_another_process(self, bundle, key, macs):
        code, report = verified_apart(bundle, "--key", key, "--mac-keys", macs)
        assert (code, report["verdict"], report["complete"], report["not_checked"]) == (0, "ok", True, [])
        assert [line["idx"] for line in lines(bundle)] == list(range(report["size"]))
        assert report["events"] == report["size"] == len(lines(bundle))
        assert report["details"] == len(lines(bundle, "details.jsonl")) > 3

    def test_without_mac_keys_the_report_says_that_macs_were_not_checked(self, bundle, key):
        code, report = verified(bundle, "--key", key)
        assert (code, report["verdict"]) == (0, "ok")
        assert [text[:4] for text in report["not_checked"]] == ["MACs"]

    def test_without_a_public_key_it_is_never_ok(self, bundle, macs):
        """Consistent is not authentic: anybody can make a log of their own."""
        code, report = verified(bundle, "--mac-keys", macs)
        assert (code, report["verdict"]) == (3, "incomplete")
        assert any(text.startswith("who signed") for text in report["not_checked"])

    def test_what_is_not_sealed_is_not_in_it(self, bundle, workspace, auditor, tmp_path):
        with enter(workspace.id):
            record(actor=auditor, event=Event.SECRET_ACCESSED, target=Target("secret", "y"))
        with enter(workspace.id):
            again = exported(auditor, tmp_path, "again.zip")
        assert lines(again) == lines(bundle)

    def test_before_anything_is_sealed_there_is_nothing_to_export(self, workspace, auditor, events):
        with pytest.raises(NotYetSealed), enter(workspace.id):
            export_bundle(actor=auditor, out=memory())
        with enter(workspace.id):
            assert not events(Event.AUDIT_EXPORTED)

    def test_exporting_is_an_event_that_says_what_left(self, bundle, workspace, auditor, events):
        with enter(workspace.id):
            (event,) = events(Event.AUDIT_EXPORTED)
        assert (event.risk, event.actor_id) == ("high", auditor.id)

    def test_another_workspaces_events_are_not_in_it(self, bundle, other_workspace, stranger, tmp_path):
        sealing.seal()
        with enter(other_workspace.id):
            theirs = exported(stranger, tmp_path, "theirs.zip")
        assert {body["workspace"] for body in bodies(theirs)} == {str(other_workspace.id)}
        assert str(other_workspace.id) not in {body["workspace"] for body in bodies(bundle)}

    def test_without_the_permission_nothing_is_exported(self, history, workspace, viewer):
        with pytest.raises(PermissionDenied), enter(workspace.id):
            export_bundle(actor=viewer, out=memory())

    def test_keys_are_not_handed_to_people(self, workspace, admin):
        with pytest.raises(PermissionDenied, match="on the host"), enter(workspace.id):
            export_keys(actor=admin, out=memory())

    def test_it_says_how_far_it_is(self, history, workspace, auditor):
        told = []
        with enter(workspace.id):
            made = export_bundle(actor=auditor, out=memory(), progress=lambda done, total: told.append((done, total)))
        assert told[-1] == (made.manifest["end"], made.manifest["end"])

    def test_a_range_is_proved_to_stand_where_it_stands(self, bundle, workspace, auditor, key, tmp_path):
        with enter(workspace.id):
            part = exported(auditor, tmp_path, "part.zip", indices=(2, 5))
        code, report = verified(part, "--key", key)
        assert (code, report["first"], report["end"], report["complete"]) == (0, 2, 5, False)
        assert lines(part) == lines(bundle)[2:5]

    @pytest.mark.parametrize("indices", [(3, 3), (5, 2), (0, 10_000), (-1, 2)])
    def test_what_is_no_range_of_the_log_is_refused(self, history, workspace, auditor, indices):
        with pytest.raises(Invalid, match="is no range"), enter(workspace.id):
            export_bundle(actor=auditor, out=memory(), indices=indices)

    def test_an_erased_detail_leaves_everything_valid(self, bundle, workspace, auditor, key, macs, tmp_path):
        """T28, audit.md 6: what was erased cannot be guessed and takes nothing from the proof."""
        sealing.tamper(
            "UPDATE audit.detail SET salt = NULL, body = NULL, erased_at = now() WHERE workspace_id = %s", workspace.id
        )
        with enter(workspace.id):
            erased = exported(auditor, tmp_path, "erased.zip")
        code, report = verified(erased, "--key", key, "--mac-keys", macs)
        assert (code, report["findings"], report["details_unexplained"]) == (3, [], report["details_erased"])
        assert report["details_erased"] == report["details"]
        assert report["details"] > 3

    def test_a_leaf_that_was_taken_away_stops_the_export(self, bundle, workspace, auditor):
        sealing.tamper(
            "DELETE FROM audit.leaf WHERE idx = 1 AND log_id = (SELECT id FROM audit.log WHERE workspace_id = %s)",
            workspace.id,
        )
        with pytest.raises(DamagedLog), enter(workspace.id):
            export_bundle(actor=auditor, out=memory())


class TestFilters:
    def test_what_is_left_out_shows_as_a_bare_hash(self, bundle, workspace, auditor, key, macs, tmp_path):
        with enter(workspace.id):
            part = exported(auditor, tmp_path, "part.zip", filters=EventFilters(actions=["agent.updated"]))
        code, report = verified(part, "--key", key, "--mac-keys", macs)
        assert (code, report["verdict"], report["events"]) == (0, "ok", 1)
        assert report["omitted"] == report["size"] - 1
        assert len(members(part)["omitted.bin"]) == 32 * report["omitted"]
        assert report["filters"] == {"actions": ["agent.updated"]}
        assert index_of(bundle, "agent.updated") == lines(part)[0]["idx"]

    def test_times_are_those_of_the_events(self, bundle, workspace, auditor, tmp_path):
        soon = datetime.now(UTC) + timedelta(hours=1)
        with enter(workspace.id):
            made = [
                export_bundle(actor=auditor, out=memory(), filters=EventFilters(**{name: soon}))
                for name in ("since", "until")
            ]
        assert [one.events for one in made] == [0, len(lines(bundle))]

    def test_looking_ends_where_nothing_more_can_come(self, bundle, workspace, auditor, tmp_path):
        """An event may be sealed long after it happened, so a time alone ends nothing; that all were found does."""
        sealing.tamper("UPDATE audit.checkpoint SET at = at - interval '2 days'")
        with enter(workspace.id):
            record(actor=auditor, event=Event.SECRET_ACCESSED, target=Target("secret", "y"))
        sealing.seal()
        ids = [UUID(body["id"]) for body in bodies(bundle)]
        until = datetime.fromtimestamp((max(ids).int >> 80) / 1000 + 0.001, UTC)
        sealing.tamper("UPDATE audit.checkpoint SET at = %s WHERE size > %s", until + timedelta(hours=1), len(ids))
        with enter(workspace.id):
            made = export_bundle(actor=auditor, out=memory(), filters=EventFilters(until=until))
        assert made.events == len(ids)

    def test_a_filter_that_finds_nothing_is_all_hashes(self, bundle, workspace, auditor, key, tmp_path):
        with enter(workspace.id):
            none = exported(auditor, tmp_path, "none.zip", filters=EventFilters(run_id=UUID(int=1)))
        code, report = verified(none, "--key", key)
        assert (code, report["events"], report["omitted"]) == (0, 0, report["size"])

    def test_revisions_may_be_missing_then(self, bundle, workspace, auditor, key, tmp_path):
        with enter(workspace.id):
            part = exported(
                auditor, tmp_path, "part.zip", filters=EventFilters(actions=["agent.created", "agent.retired"])
            )
        assert verified(part, "--key", key)[0] == 0


class TestOlderCheckpoint:
    @pytest.fixture
    def older(self, bundle, tmp_path):
        path = tmp_path / "older.note"
        path.write_bytes(members(bundle)["checkpoint"])
        return path

    @pytest.fixture
    def grown(self, older, workspace, auditor):
        """The log after more events."""
        with enter(workspace.id):
            for number in range(5):
                record(actor=auditor, event=Event.SECRET_ACCESSED, target=Target("secret", str(number)))
        sealing.seal()

    def test_a_whole_log_shows_it_by_itself(self, grown, older, workspace, auditor, key, tmp_path):
        with enter(workspace.id):
            newer = exported(auditor, tmp_path, "newer.zip")
        code, report = verified(newer, "--key", key, "--since", older)
        assert (code, [text[:4] for text in report["not_checked"]]) == (0, ["MACs"])

    def test_an_older_checkpoint_may_have_been_kept_with_the_line_ends_of_a_mail(self, grown, older, bundle, key):
        older.write_bytes(older.read_bytes().replace(b"\n", b"\r\n"))
        assert verified(bundle, "--key", key, "--since", older)[0] == 0

    def test_a_part_shows_it_by_a_proof(self, grown, older, workspace, auditor, key, tmp_path):
        size = len(lines(tmp_path / "bundle.zip"))
        with enter(workspace.id):
            part = exported(auditor, tmp_path, "part.zip", indices=(size + 1, size + 4), since=older.read_text())
            bare = exported(auditor, tmp_path, "bare.zip", indices=(size + 1, size + 4))
        assert verified(part, "--key", key, "--since", older)[0] == 0
        code, report = verified(bare, "--key", key, "--since", older)
        assert (code, report["verdict"]) == (3, "incomplete")

    def test_another_history_is_found(self, grown, older, workspace, auditor, key, tmp_path):
        forged_note = older.read_text().split("\n")
        forged_note[2] = "A" * 43 + "="
        older.write_text("\n".join(forged_note))
        with enter(workspace.id):
            newer = exported(auditor, tmp_path, "newer.zip")
            with pytest.raises(AnotherLog, match="Keep it"):
                export_bundle(actor=auditor, out=memory(), since=older.read_text())
        code, report = verified(newer, "--key", key, "--since", older)
        assert code == 1
        assert kinds(report) == {"consistency"}

    def test_a_log_that_was_set_back_is_found(self, grown, bundle, workspace, auditor, key, tmp_path):
        """audit.md 4.5: the old bundle against the newer checkpoint that the auditor kept."""
        with enter(workspace.id):
            newer = exported(auditor, tmp_path, "newer.zip")
            with pytest.raises(AnotherLog, match="not 9999"):
                export_bundle(actor=auditor, out=memory(), since=9999)
        kept = tmp_path / "kept.note"
        kept.write_bytes(members(newer)["checkpoint"])
        code, report = verified(bundle, "--key", key, "--since", kept)
        assert (code, kinds(report)) == (1, {"consistency"})


CHANGES = (
    ("UPDATE audit.event SET body = replace(body, '\"risk\":', '\"risk\": ') WHERE id = %s", "malformed"),
    ("UPDATE audit.event SET mac = set_byte(mac, 0, get_byte(mac, 0) # 1) WHERE id = %s", "bad mac"),
    ("UPDATE audit.event SET action = 'run.failed' WHERE id = %s", "projection"),
    ("UPDATE audit.event SET actor_id = 'somebody' WHERE id = %s", "projection"),
    ("UPDATE audit.event SET changed = changed || 'more'::text WHERE id = %s", "projection"),
    ("UPDATE audit.event SET rev = COALESCE(rev, 0) + 1 WHERE id = %s", "projection"),
    ("UPDATE audit.event SET run_id = gen_random_uuid() WHERE id = %s", "projection"),
    ("UPDATE audit.event SET risk = 'critical', outcome = 'unknown' WHERE id = %s", "projection"),
    ("UPDATE audit.event SET kid = 'web-9' WHERE id = %s", "projection"),
    ("DELETE FROM audit.event WHERE id = %s", "missing"),
    ("UPDATE audit.leaf SET hash = sha256('x') WHERE event_id = %s", "leaf"),
    ("UPDATE audit.detail SET body = 'null' WHERE event_id = %s", "detail"),
    ("UPDATE audit.detail SET body = '\\xff'::bytea WHERE event_id = %s", "detail"),
    ("DELETE FROM audit.detail WHERE event_id = %s", "detail"),
)


class TestWithSuperuserRights:
    """What a database administrator changed after it was sealed shows in the next bundle, at its index."""

    @pytest.fixture
    def event_id(self, bundle):
        return bodies(bundle)[4]["id"]

    def test_it_is_found(self, bundle, event_id, workspace, auditor, key, macs, tmp_path):
        for statement, kind in CHANGES:
            with sealing.undone(event_id):
                assert sealing.tamper(statement, event_id) == 1
                with enter(workspace.id):
                    after = exported(auditor, tmp_path, "after.zip")
            code, report = verified(after, "--key", key, "--mac-keys", macs)
            assert (code, report["first_bad_index"]) == (1, 4), statement
            assert kind in kinds(report), statement

    def test_two_events_exchanged_in_the_tree_are_named(self, bundle, workspace, auditor, key, macs, tmp_path):
        one, other = (bodies(bundle)[index]["id"] for index in (2, 5))
        sealing.tamper("ALTER TABLE audit.leaf DROP CONSTRAINT leaf_event_id_key")
        try:
            sealing.tamper(
                "UPDATE audit.leaf SET event_id = CASE WHEN event_id = %s THEN %s ELSE %s END::uuid WHERE event_id IN (%s, %s)",
                *(one, other, one, one, other),
            )
        finally:
            sealing.tamper("ALTER TABLE audit.leaf ADD CONSTRAINT leaf_event_id_key UNIQUE (event_id)")
        with enter(workspace.id):
            after = exported(auditor, tmp_path, "after.zip")
        code, report = verified(after, "--key", key, "--mac-keys", macs)
        assert (code, report["first_bad_index"]) == (1, 2)

    def test_what_the_sealer_found_to_be_unsigned_is_told(
        self, bundle, event_id, workspace, auditor, key, macs, tmp_path
    ):
        """Sealed too, and told as an event: leaving it out would hide it."""
        with enter(workspace.id):
            record(actor=auditor, event=Event.SECRET_ACCESSED, target=Target("secret", "y"))
        sealing.tamper(
            "UPDATE audit.event SET mac = sha256('x') WHERE id = (SELECT max(id::text)::uuid FROM audit.event)"
        )
        sealing.seal()
        sealing.seal()
        with enter(workspace.id):
            after = exported(auditor, tmp_path, "after.zip")
        code, report = verified(after, "--key", key)
        assert (code, len(report["alarms"])) == (0, 1)
        code, report = verified(after, "--key", key, "--mac-keys", macs)
        assert (code, kinds(report)) == (1, {"bad mac"})


class TestProofOfOneEvent:
    @pytest.fixture
    def proof(self, bundle, workspace, tmp_path):
        with enter(workspace.id):
            text = event_proof(django_tree(), UUID(bodies(bundle)[4]["id"]))
        path = tmp_path / "event.tlog-proof"
        path.write_text(text)
        return path

    def test_it_verifies_alone(self, proof, bundle, key, macs):
        code, report = verified(proof, "--key", key, "--mac-keys", macs)
        assert (code, report["verdict"], report["index"]) == (0, "ok", 4)
        assert report["event"] == bodies(bundle)[4]

    def test_it_verifies_with_the_event_beside_it(self, proof, bundle, key, tmp_path):
        head, extra, *rest = proof.read_text().split("\n")
        assert extra.startswith("extra ")
        proof.write_text("\n".join([head, *rest]))
        beside = tmp_path / "event.json"
        beside.write_bytes(members(bundle)["events.jsonl"].splitlines()[4])
        assert verified(proof, "--key", key, "--event", beside)[0] == 0
        beside.write_bytes(members(bundle)["events.jsonl"].splitlines()[3])
        code, report = verified(proof, "--key", key, "--event", beside)
        assert (code, kinds(report)) == (1, {"inclusion"})

    @pytest.mark.parametrize(
        ("old", "new"), [("index 4", "index 3"), ("index 4", "index 99999"), ("log.test", "log.fake")]
    )
    def test_a_changed_one_is_found(self, proof, key, old, new):
        proof.write_text(proof.read_text().replace(old, new))
        assert verified(proof, "--key", key)[0] == 1

    def test_there_is_none_before_it_is_sealed(self, bundle, workspace, auditor):
        with enter(workspace.id):
            event = record(actor=auditor, event=Event.SECRET_ACCESSED, target=Target("secret", "y"))
            with pytest.raises(NotYetSealed):
                event_proof(django_tree(), event.id)


class TestTheLogOfTheInstance:
    def test_it_holds_every_workspaces_checkpoints_and_verifies(self, bundle, workspace, other_workspace, tmp_path):
        sealing.seal()
        path = tmp_path / "instance.zip"
        call_command("audit_export", "instance", str(path), stdout=io.StringIO())
        assert path.stat().st_mode & 0o777 == 0o600
        macs = tmp_path / "instance.keys"
        held = {kid: key.hex() for kid, key in sealing.all_keys().derived_keys(None).items()}
        macs.write_text(json.dumps({"workspace": "instance", "keys": held}))
        code, report = verified(path, "--key", public_keys(None, tmp_path), "--mac-keys", macs)
        assert (code, report["complete"], report["not_checked"]) == (0, True, [])
        assert len(report["signed_by"]) == 2
        noted = [line["checkpoint"] for line in lines(path) if "checkpoint" in line]
        assert members(bundle)["checkpoint"].decode().partition("\n\n")[0] + "\n" in noted
        assert len(noted) == report["checkpoints"] >= 2

    def test_a_changed_checkpoint_in_it_is_found(self, bundle, workspace, tmp_path):
        sealing.tamper(
            "UPDATE audit.checkpoint SET note = replace(note, E'\\n', E'\\n1') WHERE workspace_id = %s", workspace.id
        )
        path = tmp_path / "instance.zip"
        call_command("audit_export", "instance", str(path), stdout=io.StringIO())
        code, report = verified(path, "--key", public_keys(None, tmp_path))
        assert (code, "missing" in kinds(report)) == (1, True)

    def test_people_do_not_export_it(self, workspace, admin):
        with pytest.raises(PermissionDenied, match="on the host"):
            export_instance(actor=admin, out=memory(), source=None)


def test_the_verifier_shares_no_code_with_the_writer():
    source = bundles.VERIFIER.read_text().splitlines()
    imported = {line.split()[1].partition(".")[0] for line in source if line.strip().startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names | {"cryptography"}
    assert len([line for line in source if line.strip() and not line.strip().startswith("#")]) < 600
    assert len(source) < 700
