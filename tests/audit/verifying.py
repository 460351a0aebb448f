"""Verification of the log of these tests, as the sealer's host does it, and what it found."""

from dataclasses import replace

from audit.verifying.fsck import Fsck
from audit.verifying.verification import Verification, Wanted
from tests import databases
from tests.audit import sealing
from tests.audit.sealing import WORKSPACE

ORIGIN, INSTANCE = f"{sealing.ORIGIN}/{WORKSPACE}", f"{sealing.ORIGIN}/instance"
OURS = f"log_id = (SELECT id FROM audit.log WHERE origin = '{ORIGIN}')"
"""Which rows of leaves, tiles and checkpoints are those of the first log."""


def verification(*anchors, signer=sealing.SIGNER, **changes):
    made = Verification(
        connect=lambda: databases.login("sealer"),
        keys=sealing.all_keys(),
        signer=signer,
        installation=sealing.ORIGIN,
        anchors=anchors,
    )
    return replace(made, **changes)


def verify(*anchors, wanted=None, **changes):
    return verification(*anchors, **changes).run(wanted or Wanted())


def flaws(report, origin=ORIGIN):
    return [(flaw.index, flaw.kind) for log in report.logs if log.origin == origin for flaw in log.flaws]


def fsck():
    with databases.login("sealer") as connection:
        return [(defect.index, defect.problem) for defect in Fsck(connection).run(0)]
