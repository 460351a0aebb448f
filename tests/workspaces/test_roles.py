"""The table of roles."""

import pytest

from provenance.permissions import Permission
from workspaces.roles import READS, ROLE_PERMISSIONS, SYSTEM_ONLY, Role, permissions_of


def test_every_role_is_in_the_table():
    assert set(ROLE_PERMISSIONS) == set(Role)


def test_only_approvers_decide():
    assert [role for role in Role if Permission.APPROVALS_DECIDE in ROLE_PERMISSIONS[role]] == [Role.APPROVER]


def test_the_log_is_read_by_auditors_and_administrators():
    assert {role for role in Role if Permission.AUDIT_READ in ROLE_PERMISSIONS[role]} == {Role.ADMIN, Role.AUDITOR}


def test_auditors_and_viewers_change_nothing():
    assert ROLE_PERMISSIONS[Role.VIEWER] == READS
    assert ROLE_PERMISSIONS[Role.AUDITOR] == READS | {Permission.AUDIT_READ}
    assert all(permission.value.endswith(":read") for permission in READS)


def test_no_person_carries_what_only_the_platform_does():
    assert not permissions_of(Role) & SYSTEM_ONLY


@pytest.mark.parametrize("permission", [p for p in Permission if p not in SYSTEM_ONLY])
def test_every_other_permission_is_given_by_some_role(permission):
    assert permission in permissions_of(Role)


def test_roles_add_up():
    both = permissions_of([Role.APPROVER, Role.AUDITOR])
    assert both == ROLE_PERMISSIONS[Role.APPROVER] | ROLE_PERMISSIONS[Role.AUDITOR]
    assert permissions_of([]) == frozenset()
