"""Where checkpoints are carried, as the settings say: the directory always, whatever else was set besides."""

from django.conf import settings

from audit.anchors import Place
from audit.anchors.bucket import LockedBucket
from audit.anchors.command import CommandAnchor
from audit.anchors.couriers import Connect
from audit.anchors.directory import DirectoryAnchor
from audit.anchors.mailed import AuditorMail
from audit.anchors.timestamps import FOLDER, TimeStampAuthority
from audit.anchors.witnesses import Witness
from audit.notes import BadNote


def places_from_settings(connect: Connect) -> list[Place]:
    """Every place, in the order of its kind. Exits with a sentence when a key or a certificate that was named is none."""
    found: list[Place] = [DirectoryAnchor(settings.LOG_ANCHOR)]
    if settings.LOG_ANCHOR_COMMAND:
        found.append(CommandAnchor(settings.LOG_ANCHOR_COMMAND))
    try:
        found += [Witness.of(url, vkeys, connect) for url, vkeys in settings.LOG_WITNESSES]
    except BadNote as problem:
        raise SystemExit(f"A key in PROVENANCE_WITNESSES is not one: {problem}.") from problem
    if stamps := settings.LOG_TIME_STAMPS:
        directory = settings.LOG_ANCHOR / FOLDER
        try:
            found.append(TimeStampAuthority.of(stamps.url, stamps.authorities, directory, stamps.every_seconds))
        except ValueError as problem:
            raise SystemExit(f"PROVENANCE_ANCHOR_TSA_CA_FILE holds no certificate (PEM): {problem}.") from problem
    if bucket := settings.LOG_BUCKET:
        found.append(
            LockedBucket(bucket.url, bucket.region, bucket.credentials, settings.LOG_ORIGIN, bucket.every_seconds)
        )
    if settings.LOG_AUDITORS:
        found.append(AuditorMail(settings.EMAIL_URL, settings.EMAIL_FROM, settings.LOG_AUDITORS))
    return found
