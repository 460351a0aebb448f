"""`audit_export` and what goes with a bundle, at the host's prompt."""

import io
from base64 import b64encode
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from audit.sealing.log_keys import log_signer
from audit.taxonomy import Event
from provenance.db import enter
from provenance.home import Home
from tests import databases
from tests.audit import sealing
from tests.audit.bundles import exported, lines, verified
from tests.audit.keys import forget_rotations

pytestmark = pytest.mark.django_db(transaction=True)


class TestCommands:
    @pytest.fixture
    def host(self, settings, tmp_path):
        """What the sealer's commands are given; the log's keys are replaced once, after what was sealed before."""
        seeds = {"checkpoint-1": b"e" * 32, "checkpoint-2": b"f" * 32, "instance-1": b"m" * 32}
        texts = {kid: b64encode(seed).decode() for kid, seed in seeds.items()}
        settings.LOG_SEEDS = SimpleNamespace(again=lambda: texts)
        settings.LOG_ANCHOR = tmp_path / "anchor"
        settings.SEALER_DATABASE_URL = databases.role_url("sealer")
        settings.AUDIT_MAC_KEYS = {"sealer-1": Home.locate().read_key("mac-sealer")}
        yield
        forget_rotations()

    def test_a_bundle_of_a_workspace_is_made_on_the_host(self, bundle, workspace, key, tmp_path, events):
        path = tmp_path / "host.zip"
        call_command("audit_export", workspace.slug, str(path), stdout=io.StringIO())
        assert lines(path)[: len(lines(bundle))] == lines(bundle)
        assert verified(path, "--key", key)[0] == 0
        with enter(workspace.id):
            assert events(Event.AUDIT_EXPORTED)[-1].actor_id == "audit_export"

    def test_what_exists_is_not_written_over_and_nothing_half_made_stays(self, workspace, tmp_path):
        path = tmp_path / "host.zip"
        with pytest.raises(CommandError, match="sealed yet"):
            call_command("audit_export", workspace.slug, str(path))
        assert not path.exists()
        path.write_text("mine")
        with pytest.raises(CommandError, match="exists"):
            call_command("audit_export", workspace.slug, str(path))
        assert path.read_text() == "mine"

    @pytest.mark.parametrize("name", ["audit_export", "audit_keys", "audit_vkeys"])
    def test_a_place_where_no_file_can_be_made_is_said_in_a_sentence(self, workspace, tmp_path, name, events):
        with pytest.raises(
            CommandError, match=r"No file can be made in .*/nowhere: there is no such directory"
        ) as refused:
            call_command(name, workspace.slug, str(tmp_path / "nowhere" / "file"))
        assert refused.value.returncode == 1
        with pytest.raises(CommandError, match="is a directory; name a file in it"):
            call_command(name, workspace.slug, str(tmp_path))
        with enter(workspace.id):
            assert not events(Event.AUDIT_EXPORTED)

    def test_an_older_checkpoint_that_is_not_there_is_said_before_anything_is_made(self, workspace, tmp_path):
        path = tmp_path / "host.zip"
        with pytest.raises(CommandError, match=r"The older checkpoint .* cannot be read"):
            call_command("audit_export", workspace.slug, str(path), "--since", str(tmp_path / "older.note"))
        assert not path.exists()

    def test_public_keys_are_of_a_workspace_that_there_is(self, host, tmp_path):
        with pytest.raises(CommandError, match="There is no workspace 'no-such'"):
            call_command("audit_vkeys", "no-such", str(tmp_path / "log.pub"))
        assert not (tmp_path / "log.pub").exists()

    def test_one_file_of_public_keys_verifies_bundles_from_before_and_after_a_rotation(
        self, bundle, workspace, auditor, host, tmp_path
    ):
        """M112: whoever kept a bundle from before is not told that nobody signed it."""
        with sealing.sealer(signer=log_signer()) as one:
            while one.work():
                pass
        with enter(workspace.id):
            after = exported(auditor, tmp_path, "after.zip")
        public = tmp_path / "log.pub"
        call_command("audit_vkeys", workspace.slug, str(public), stdout=io.StringIO())
        by_id = tmp_path / "by-id.pub"
        call_command("audit_vkeys", str(workspace.id), str(by_id), stdout=io.StringIO())
        assert by_id.read_text() == public.read_text()
        newer, older = ("+".join(key.split("+", 2)[:2]) for key in public.read_text().split())
        assert verified(bundle, "--key", public)[1]["signed_by"] == [older]
        code, report = verified(after, "--key", public)
        assert (code, newer in report["signed_by"]) == (0, True)
