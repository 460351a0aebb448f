"""`verify`, `fsck` and `start_epoch` at the host's prompt: what they say, what they tell the log, and how they end."""

import base64
import json
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from audit.taxonomy import Event
from bench.guards import past_the_guards
from provenance.home import Home
from provenance.ids import uuid7
from tests import databases
from tests.audit import sealing
from tests.audit.sealing import WORKSPACE, seal
from tests.audit.telling import tell
from tests.audit.verifying import ORIGIN, OURS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.workspaces(WORKSPACE)]


@pytest.fixture
def configured(settings, anchor, tmp_path, monkeypatch):
    """The settings of a sealer's process, and a data directory to remember in."""
    settings.SEALER_DATABASE_URL = databases.role_url("sealer")
    seeds = {
        kid: base64.b64encode(seed).decode() for kid, seed in (("checkpoint-1", b"e" * 32), ("instance-1", b"m" * 32))
    }
    settings.LOG_SEEDS = SimpleNamespace(again=lambda: seeds)
    settings.LOG_ORIGIN, settings.LOG_ANCHOR = sealing.ORIGIN, anchor.directory
    settings.AUDIT_MAC_KEYS = {f"{name}-1": Home.locate().read_key(f"mac-{name}") for name in sealing.SIGNERS}
    monkeypatch.setattr(Home, "verified_file", property(lambda _home: tmp_path / "verified.json"))
    return tmp_path / "verified.json"


class TestCommand:
    def test_it_verifies_tells_remembers_and_records(self, configured, anchor, capsys):
        tell(WORKSPACE, 3)
        seal(anchor)
        call_command("verify")
        assert f"ok  {ORIGIN}: entries 0 to 3, 3 events, 3 details\n" in capsys.readouterr().out
        assert json.loads(configured.read_text())["logs"][ORIGIN]["size"] == 3
        seal(anchor)
        call_command("verify", "--json", "-")
        said = json.loads(capsys.readouterr().out)
        assert said["verified"] is True
        assert said["events"] == 1, "that it was verified is an event, and the next one verifies that"
        told = sealing.rows("SELECT actor_id, workspace_id FROM audit.event WHERE action = %s", Event.AUDIT_VERIFIED)
        assert told == [("audit.verify", None)] * 2

    def test_it_says_of_no_more_than_it_read_that_it_verifies(self, configured, anchor, capsys):
        tell(WORKSPACE, 3)
        seal(anchor)
        looks = [
            ("", "All of it verifies."),
            ("", "What came since the last time verifies; --full reads what was before once more."),
            ("--full", "All of it verifies."),
            (f"--workspace {WORKSPACE}", "What was asked for verifies."),
            (f"--workspace {WORKSPACE} --range 1..2", "What was asked for verifies."),
        ]
        for options, words in looks:
            call_command("verify", *options.split())
            assert words in capsys.readouterr().out

    def test_what_does_not_verify_ends_with_1_and_is_an_event(self, configured, anchor, capsys):
        ids = tell(WORKSPACE, 3)
        seal(anchor)
        sealing.tamper("UPDATE audit.event SET outcome = 'failure' WHERE id = %s", ids[1])
        with pytest.raises(SystemExit) as ended:
            call_command("verify", "--full")
        assert ended.value.code == 1
        said = capsys.readouterr().out
        assert f"index 1: outcome differs from the signed body (event {ids[1]})" in said
        assert ORIGIN not in json.loads(configured.read_text())["logs"]
        ((detail,),) = sealing.rows(
            "SELECT convert_from(detail.body, 'UTF8')::jsonb FROM audit.event JOIN audit.detail ON event_id = id"
            " WHERE action = %s",
            Event.AUDIT_VERIFICATION_FAILED,
        )
        assert (detail["log"], detail["first_index"], detail["kind"]) == (ORIGIN, 1, "event")

    @pytest.mark.parametrize("found", ["in a log", "outside of it"])
    def test_what_did_not_verify_as_a_whole_is_looked_at_again_by_the_next_one(self, configured, anchor, capsys, found):
        """Between two full looks come many at what is new, and none of these may say that all is well."""
        ids = tell(WORKSPACE, 3)
        seal(anchor)
        call_command("verify")
        if found == "in a log":
            sealing.tamper("UPDATE audit.event SET outcome = 'failure' WHERE id = %s", ids[1])
        else:
            sealing.tamper("INSERT INTO audit.leaf (log_id, idx, hash) VALUES (4711, 0, %s)", b"x" * 32)
        for options in (["--full"], [], []):
            with pytest.raises(SystemExit):
                call_command("verify", *options)
        assert "IT DOES NOT VERIFY" in capsys.readouterr().out.splitlines()[-1]
        if found == "in a log":
            sealing.tamper("UPDATE audit.event SET outcome = 'success' WHERE id = %s", ids[1])
        else:
            sealing.tamper("DELETE FROM audit.leaf WHERE log_id = 4711")
        call_command("verify")

    def test_what_was_found_is_said_though_the_log_takes_no_event(self, configured, anchor, capsys, monkeypatch):
        """As when the clock of the database is off: then least of all may the finding be lost."""
        ids = tell(WORKSPACE, 3)
        seal(anchor)
        sealing.tamper("UPDATE audit.event SET outcome = 'failure' WHERE id = %s", ids[1])
        ahead = UUID(int=uuid7().int + (3_600_000 << 80))  # by an hour, in milliseconds
        monkeypatch.setattr("audit.envelope.uuid7", lambda: ahead)
        with pytest.raises(SystemExit) as ended:
            call_command("verify")
        said = capsys.readouterr().out
        assert ended.value.code == 1
        assert "index 1: outcome differs from the signed body" in said
        assert "could not be told in the log" in said
        assert "the time in its id is more than 5 minutes from the clock of the database" in said

    def test_a_wall_that_is_down_is_found_with_it(self, configured, anchor, capsys):
        """What stands in a table's place could show to each who looks what they want to see."""
        tell(WORKSPACE, 1)
        seal(anchor)
        with databases.admin() as owner:
            owner.execute("ALTER TABLE audit.event DISABLE TRIGGER audit_immutable")
        try:
            with pytest.raises(SystemExit) as ended:
                call_command("verify")
        finally:
            with databases.admin() as owner:
                owner.execute("ALTER TABLE audit.event ENABLE ALWAYS TRIGGER audit_immutable")
        assert ended.value.code == 1
        assert "!!  a wall of the database: " in capsys.readouterr().out

    def test_a_database_that_does_not_answer_ends_with_2(self, configured, settings):
        settings.SEALER_DATABASE_URL = "postgresql:///nothing?host=/nowhere"
        for name in ("verify", "fsck"):
            with pytest.raises(CommandError, match=r"could not be read: .* Start it: \./manage\.py up") as ended:
                call_command(name)
            assert ended.value.returncode == 2
            assert "?." not in str(ended.value)

    def test_a_database_that_refuses_is_not_to_be_started(self, configured, settings, anchor):
        settings.SEALER_DATABASE_URL = databases.role_url("web")
        with pytest.raises(CommandError, match="could not be read: no workspace in scope") as ended:
            call_command("fsck")
        assert "./manage.py up" not in str(ended.value)

    def test_nothing_is_not_verified(self, configured, anchor):
        """A range after the end, and a log that there is not, end as what could not be looked at."""
        tell(WORKSPACE, 3)
        seal(anchor)
        for wish, says in (
            (
                ["--workspace", str(WORKSPACE), "--range", "1000..2000"],
                f"Nothing was verified from 1000 on: {ORIGIN} has 3",
            ),
            (["--workspace", str(uuid7())], "there is no such log"),
        ):
            with pytest.raises(CommandError, match=says) as refused:
                call_command("verify", *wish)
            assert refused.value.returncode == 2
        assert not sealing.rows("SELECT FROM audit.event WHERE action = %s", Event.AUDIT_VERIFIED)

    def test_a_short_name_is_taken_and_the_id_that_it_means_is_said(self, configured, anchor, capsys):
        tell(WORKSPACE, 3)
        seal(anchor)
        with databases.admin() as owner, past_the_guards(owner, "workspaces_workspace"):
            owner.execute("UPDATE workspaces_workspace SET slug = 'acme' WHERE id = %s", [WORKSPACE])
        call_command("verify", "--workspace", "acme", "--range", "1..3")
        said = capsys.readouterr()
        assert f"acme is the workspace {WORKSPACE}, as the database says" in said.err
        assert f"ok  {ORIGIN}: entries 1 to 3" in said.out
        with pytest.raises(CommandError, match="There is no workspace 'nobody'") as refused:
            call_command("verify", "--workspace", "nobody")
        assert refused.value.returncode == 2

    def test_a_range_needs_its_log(self, configured):
        with pytest.raises(CommandError, match="Name the log"):
            call_command("verify", "--range", "0..5")

    def test_fsck_says_what_does_not_fit(self, configured, anchor, capsys):
        tell(WORKSPACE, 3)
        seal(anchor)
        call_command("fsck")
        assert "fit together" in capsys.readouterr().out
        sealing.tamper(f"DELETE FROM audit.leaf WHERE {OURS} AND idx = 1")
        with pytest.raises(SystemExit):
            call_command("fsck", "--older-than", "0")
        assert f"{ORIGIN}, index 1: the leaf is missing" in capsys.readouterr().out

    def test_an_epoch_is_started_by_a_person_with_a_reason(self, configured, anchor, capsys):
        tell(WORKSPACE, 3)
        seal(anchor)
        with pytest.raises(CommandError, match="Nothing was begun anew"):
            call_command("start_epoch", reason="why not")
        with pytest.raises(CommandError, match="Give a reason"):
            call_command("start_epoch", reason="  ")
        sealing.tamper(f"DELETE FROM audit.leaf WHERE {OURS} AND idx = 1")
        call_command("start_epoch", reason="an administrator tried something")
        assert f"{ORIGIN}: begun anew as epoch 2" in capsys.readouterr().out
