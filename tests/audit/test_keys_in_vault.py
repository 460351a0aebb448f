"""Keys of the log that are kept in HashiCorp Vault, against a fake of its few endpoints (4.3)."""

import pytest

from audit import rotation
from audit.notes import Checkpoint, opened, signed_note
from audit.sealing.log_keys import log_signer
from audit.signing import KeyRing
from audit.succession import Succession
from provenance.actor import Actor
from provenance.held_keys import HeldKeys
from provenance.home import Home
from provenance.keyfiles import KeyRefused
from provenance.role_keys import MAC_KEYS_OF
from provenance.vault import Vault, VaultKv, VaultTransit
from tests.audit import sealing
from tests.audit.keys import as_migrator, copied_home, forget_rotations, keys_of
from tests.audit.sealing import rows
from tests.audit.telling import in_a_new_workspace
from tests.fakes.vault import TOKEN, fake_vault
from tests.provenance.environments import key, load_several

HOST = Actor.system("rotate_keys", None)


@pytest.fixture
def fake():
    with fake_vault() as running:
        real = Home.locate()
        for name in MAC_KEYS_OF["keys"]:
            running.put(f"secret/provenance/mac/{name}", **{f"{name}-1": real.read_key(f"mac-{name}")})
        yield running


@pytest.fixture
def vault(fake):
    made = Vault(fake.url, TOKEN)
    yield made
    made.close()


@pytest.fixture
def kv(vault):
    return VaultKv(vault, "secret/provenance/mac")


@pytest.fixture
def transit(vault):
    return VaultTransit(vault, "transit/provenance-log")


class TestRootKeys:
    def test_a_role_reads_its_own_and_those_it_verifies_with(self, fake, kv):
        held = HeldKeys(kv, MAC_KEYS_OF["worker"])
        assert sorted(held) == sorted(f"{name}-1" for name in MAC_KEYS_OF["worker"])
        asked = {request.line.split()[1].rpartition("/")[2] for request in fake.server.requests}
        assert asked == set(MAC_KEYS_OF["worker"]) < set(MAC_KEYS_OF["keys"])

    @pytest.mark.django_db
    def test_are_replaced_there(self, fake, kv, instance_events):
        with as_migrator():
            done = rotation.rotate(actor=HOST, process="web", keys=HeldKeys(kv, MAC_KEYS_OF["keys"]))
        fields, version = fake.secrets["secret/provenance/mac/web"]
        assert sorted(fields) == ["web-1", "web-2"]
        assert version == 3
        assert done.left_to_do.startswith("Restart web before the old key ends")
        assert [event.kid for event in instance_events("audit.key_rotated")] == ["web-1", "web-2"]

    @pytest.mark.django_db
    def test_a_verifier_asks_for_a_key_it_has_not_and_once(self, fake, kv, settings):
        settings.AUDIT_MAC_KEYS = HeldKeys(kv, MAC_KEYS_OF["gateway"])
        ring = KeyRing.from_settings("gateway")
        with as_migrator():
            rotation.rotate(actor=HOST, process="web", keys=HeldKeys(kv, MAC_KEYS_OF["keys"]))
        assert ring.key("web-2", None) is not None
        before = len(fake.server.requests)
        assert all(ring.key("web-7", None) is None for _ in range(3))
        assert len(fake.server.requests) - before == len(MAC_KEYS_OF["gateway"])

    def test_somebody_elses_change_meanwhile_is_not_undone(self, fake, kv):
        read = kv._read
        kv._read = lambda process: (read(process), fake.put("secret/provenance/mac/web", **{"web-1": key()}))[0]
        with pytest.raises(KeyRefused, match="answered 400"):
            kv.announce("web-2", key())

    def test_vault_that_fails_later_stops_nobody(self, fake, kv):
        held = HeldKeys(kv, MAC_KEYS_OF["gateway"])
        before = dict(held)
        fake.is_sealed = True
        assert held.again() == before


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    made = Home(tmp_path_factory.mktemp("home").resolve()).ensure()
    made.ensure_keys()
    return made.root


FAULTS = {
    "sealed": ({"is_sealed": True}, "it is sealed"),
    "denied": ({"denied": {"secret/data/provenance/mac/web"}}, "the token may not do this"),
    "empty": ({"secrets": {}}, "vault kv put secret/provenance/mac/web web-1="),
    "a key of another": ({"secrets": {"secret/provenance/mac/web": ({"worker-1": key()}, 1)}}, "no key of web"),
    "a weak key": ({"secrets": {"secret/provenance/mac/web": ({"web-1": key(bytes(32))}, 1)}}, "all zeros"),
    "no Vault": ({"raw_answer": b"<html>"}, "is no Vault"),
    "a list": ({"raw_answer": b'{"data": []}'}, "is no Vault"),
}


@pytest.mark.parametrize(("faults", "says"), FAULTS.values(), ids=list(FAULTS))
def test_what_is_wrong_is_said_with_what_to_do(fake, kv, faults, says):
    for name, value in faults.items():
        setattr(fake, name, value)
    with pytest.raises(KeyRefused, match=says) as refused:
        HeldKeys(kv, ("web",))
    assert TOKEN not in str(refused.value)


def test_a_vault_that_is_not_there_is_said(tmp_path):
    with pytest.raises(KeyRefused, match="does not answer"):
        VaultKv(Vault("http://127.0.0.1:9", TOKEN), "secret/mac").load(["web"])


@pytest.mark.parametrize("address", ["http://vault.example:8200", "ftp://127.0.0.1", "vault:8200", ""])
def test_keys_do_not_travel_in_the_open(address):
    with pytest.raises(KeyRefused, match="keys travel over https"):
        Vault(address, TOKEN)


class TestTransit:
    checkpoint = Checkpoint("log.test/instance", 1, bytes(32))

    @pytest.fixture
    def signer(self, transit, settings, tmp_path):
        settings.LOG_TRANSIT = transit
        home = copied_home(tmp_path / "home")
        from provenance.home import write_once

        write_once(home.key_path("log-mldsa44"), key())
        settings.LOG_SEEDS = keys_of(home, "log")
        return log_signer

    def test_the_key_signs_there_and_never_leaves(self, fake, signer):
        made = signer()
        note = signed_note(self.checkpoint, made.sign(self.checkpoint, is_instance=True))
        for verifier in made.verifiers(self.checkpoint.origin):
            opened(note, [verifier])
        assert [kept.kid for kept in made.keys] == ["checkpoint-1", "instance-1"]
        private = fake.transit[0].private_bytes_raw()
        assert private not in repr(made.keys).encode()

    def test_a_new_version_follows_by_a_word_of_the_old(self, fake, transit, signer):
        assert transit.rotate() == 2
        made = signer()
        old, new = made.keys[:2]
        from datetime import UTC, datetime

        assert Succession.signed_by(old, new, "log.test", datetime.now(UTC)).holds()

    def test_a_signature_that_does_not_hold_is_not_taken(self, fake, signer):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        made = signer()
        fake.signs_with = Ed25519PrivateKey.generate()
        with pytest.raises(KeyRefused, match="something else than version 1"):
            made.sign(self.checkpoint, is_instance=False)

    @pytest.mark.parametrize(
        ("facts", "says"),
        [
            ({"type": "ed25519", "exportable": True}, "may leave Vault"),
            ({"type": "ed25519", "allow_plaintext_backup": True}, "may leave Vault"),
            ({"type": "ecdsa-p256"}, "must be of type ed25519"),
            ({"type": "ed25519", "derived": True}, "not derived"),
        ],
    )
    def test_a_key_that_could_leave_is_refused(self, fake, transit, facts, says):
        fake.facts = facts
        with pytest.raises(KeyRefused, match=says):
            transit.public_keys()

    @pytest.mark.django_db(transaction=True)
    def test_the_sealer_seals_on_while_vault_is_away_and_signs_later(self, fake, signer):
        forget_rotations()
        sealing.tamper("DELETE FROM audit.key WHERE purpose = 'checkpoint'")
        try:
            workspace = in_a_new_workspace()
            made = signer()
            fake.is_sealed = True
            with sealing.sealer(signer=made) as one:
                one.work()
            unsigned = rows("SELECT signatures IS NULL FROM audit.checkpoint WHERE workspace_id = %s", workspace)
            fake.is_sealed = False
            with sealing.sealer(signer=made) as one:
                one.work()
            signed = rows("SELECT signatures IS NULL FROM audit.checkpoint WHERE workspace_id = %s", workspace)
        finally:
            sealing.tamper("DELETE FROM audit.key WHERE purpose = 'checkpoint'")
        assert (unsigned, signed) == ([(True,)], [(False,)])


CHOICES = [
    ({"AUDIT_KEY_SOURCE": "cloud"}, "AUDIT_KEY_SOURCE is 'cloud'. Set it to one of"),
    ({"AUDIT_KEY_SOURCE": "vault"}, "VAULT_ADDR is not set"),
    ({"AUDIT_KEY_SOURCE": "vault", "VAULT_ADDR": "https://vault.example"}, "VAULT_TOKEN is not set"),
    ({"AUDIT_KEY_SOURCE": "vault", "AUDIT_MAC_KEYS": f"web-1:{key()}"}, "Set one of them"),
    ({"AUDIT_KEY_SOURCE": "environment"}, "AUDIT_MAC_KEYS is empty"),
    (
        {"PROVENANCE_ROLE": "sealer", "LOG_KEY_SOURCE": "vault", "VAULT_ADDR": "http://vault.example"},
        "travel over https",
    ),
]


def test_each_source_is_one_setting_and_a_wrong_one_stops_the_start(home, fake):
    at = {"PROVENANCE_HOME": str(home), "PROVENANCE_ROLE": "web"}
    right = {"AUDIT_KEY_SOURCE": "vault", "LOG_KEY_SOURCE": "vault", "VAULT_ADDR": fake.url, "VAULT_TOKEN": TOKEN}
    chosen, *wrong = load_several(
        {**at, **right, "PROVENANCE_ROLE": "sealer"}, *({**at, **environ} for environ, _says in CHOICES)
    )
    assert "'AUDIT_MAC_KEYS': {" in chosen["settings"], chosen["stopped"]
    assert "'sealer-1': …" in chosen["settings"]
    assert "VaultTransit(" in chosen["settings"]
    assert TOKEN not in chosen["settings"]
    assert [says in answer["stopped"] for answer, (_environ, says) in zip(wrong, CHOICES, strict=True)] == [True] * 6
