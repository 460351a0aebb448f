"""Events in the Open Cybersecurity Schema Framework, version 1.9 (https://schema.ocsf.io). Pure.

Three classes carry everything: what is done to people and their roles is User Management (3007, which 1.9 has in place of
the deprecated Account Change), a change of anything else that is configured is Entity Management (3004), and whatever is
called, run, decided or read is API Activity (6003). The profile `record_integrity` says where the record belongs.
"""

import base64
import hashlib
from typing import Any, NamedTuple

from provenance.canonical import canonical_json
from provenance.ids import public_id
from provenance.risk import Risk
from streams.records import Entry

VERSION = "1.9.0"
PRODUCT = {"name": "Provenance", "vendor_name": "Provenance"}


class _Class(NamedTuple):
    uid: int
    name: str
    category_uid: int
    category_name: str


API_ACTIVITY = _Class(6003, "API Activity", 6, "Application Activity")
ENTITY_MANAGEMENT = _Class(3004, "Entity Management", 3, "Identity & Access Management")
USER_MANAGEMENT = _Class(3007, "User Management", 3, "Identity & Access Management")

_PEOPLE = frozenset({"user", "membership", "invitation"})
# What happens, as opposed to what is set up: also where a governed row changes with it.
_HAPPENS = frozenset({"run", "step", "approval", "approval_request", "approval_decision", "tool_call", "call"})
_OTHER = 99
_SEVERITIES = {
    Risk.LOW: (2, "Low"),
    Risk.MEDIUM: (3, "Medium"),
    Risk.HIGH: (4, "High"),
    Risk.CRITICAL: (5, "Critical"),
}
_STATUSES = {"success": (1, "Success"), "failure": (2, "Failure"), "blocked": (2, "Failure"), "unknown": (0, "Unknown")}
_CHANGES = {"insert": (1, "Create"), "read": (2, "Read"), "update": (3, "Update"), "delete": (4, "Delete")}
_PEOPLE_CHANGES = {"insert": (1, "Create"), "update": (2, "Update"), "delete": (3, "Delete")}
_PEOPLE_ACTIONS = {
    "member.role_changed": (16, "Assign Roles"),
    "member.removed": (5, "Disable"),
    "user.password_changed": (8, "Password Change"),
    "user.authenticator_added": (12, "Enable MFA Factors"),
    "user.authenticator_removed": (13, "Disable MFA Factors"),
}
_ENTITY_ACTIONS = {"suspended": (12, "Suspend"), "resumed": (13, "Resume"), "disabled": (9, "Disable")}
# OCSF: 1 User, 3 System, 4 Service.
_USER_TYPES = {"user": (1, "User"), "system": (3, "System"), "integration": (4, "Service"), "agent": (4, "Service")}


def ocsf(entry: Entry) -> dict[str, Any]:
    """The event as an OCSF record. Its fingerprint is SHA-256 over the canonical JSON of everything but itself."""
    kind, (activity_id, activity) = _class_of(entry)
    severity_id, severity = _SEVERITIES[entry.risk]
    status_id, status = _STATUSES.get(entry.outcome, (_OTHER, entry.outcome))
    raw = entry.body.encode()
    attestation: dict[str, Any] = {
        "uid": f"{entry.origin}#{entry.index}",
        "authority_uid": entry.origin,
        "chain_uid": entry.origin,
    }
    record: dict[str, Any] = {
        "class_uid": kind.uid,
        "class_name": kind.name,
        "category_uid": kind.category_uid,
        "category_name": kind.category_name,
        "activity_id": activity_id,
        "activity_name": activity,
        "type_uid": kind.uid * 100 + activity_id,
        "type_name": f"{kind.name}: {activity}",
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "status_code": entry.outcome,
        "time": int(entry.at.timestamp() * 1000),
        "timezone_offset": 0,
        "message": entry.sentence,
        "metadata": _metadata(entry),
        "actor": _actor(entry),
        "raw_data": entry.body,
        "raw_data_size": len(raw),
        "raw_data_hash": _fingerprint(raw),
        **_about(kind, entry),
        "attestation_list": [attestation],
        "unmapped": {
            "log_index": entry.index,
            "previous_index": entry.previous,
            "origin": entry.origin,
            "leaf": base64.b64encode(entry.leaf).decode(),
            "kid": entry.kid,
            "mac": base64.b64encode(entry.mac).decode(),
        },
    }
    attestation["fingerprint"] = _fingerprint(canonical_json(record))
    return record


def _class_of(entry: Entry) -> tuple[_Class, tuple[int, str]]:
    about, op = entry.part("object", "type"), entry.part("object", "op")
    if about in _PEOPLE and (op in _PEOPLE_CHANGES or entry.action in _PEOPLE_ACTIONS):
        return USER_MANAGEMENT, _PEOPLE_ACTIONS.get(entry.action) or _PEOPLE_CHANGES[op]
    if op in {"insert", "update", "delete"} and about not in _HAPPENS:
        ending = entry.action.rpartition(".")[2]
        return ENTITY_MANAGEMENT, _ENTITY_ACTIONS.get(ending) or _CHANGES[op]
    return API_ACTIVITY, _CHANGES.get(op, (_OTHER, "Other"))


def _metadata(entry: Entry) -> dict[str, Any]:
    known = {
        "tenant_uid": entry.text("workspace"),
        "correlation_uid": entry.part("context", "action_id") or entry.part("context", "run_id"),
        "original_time": entry.text("at"),
    }
    return {
        "version": VERSION,
        "product": PRODUCT,
        "profiles": ["record_integrity"],
        "uid": public_id("evt", entry.event_id),
        "event_code": entry.action,
        "log_name": entry.origin,
        "log_format": "JSON",
        "sequence": entry.index,
        **{name: value for name, value in known.items() if value},
    }


def _actor(entry: Entry) -> dict[str, Any]:
    type_id, kind = _USER_TYPES.get(entry.part("actor", "type"), (0, "Unknown"))
    user = {"uid": entry.part("actor", "id") or "unknown", "type_id": type_id, "type": kind}
    return {"user": {**user, **({"name": entry.actor_label} if entry.actor_label else {})}}


def _about(kind: _Class, entry: Entry) -> dict[str, Any]:
    type_, uid = entry.part("object", "type") or "unknown", entry.part("object", "id") or "unknown"
    named = {"uid": uid, **({"name": entry.object_label} if entry.object_label else {})}
    if kind is USER_MANAGEMENT:
        return {"user": {**named, "type": type_, "type_id": _OTHER}}
    if kind is ENTITY_MANAGEMENT:
        return {"entity": {**named, "type": type_, "type_id": _OTHER}}
    source = {"name": entry.origin.partition("/")[0], "svc_name": entry.part("actor", "via") or "provenance"}
    return {
        "api": {"operation": entry.action, "service": {"name": "provenance"}},
        "src_endpoint": source,
        "resources": [{**named, "type": type_}],
    }


def _fingerprint(data: bytes) -> dict[str, Any]:
    return {"algorithm_id": 3, "algorithm": "SHA-256", "value": hashlib.sha256(data).hexdigest()}
