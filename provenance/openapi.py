"""What every operation of the published schema has in common: its scope, how lists page, how it refuses.

An endpoint declares what is its own with `extend_schema`; `responses=RunOutput(many=True)` means a page of runs.
"""

from typing import TYPE_CHECKING, Any, ClassVar, cast

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry
from rest_framework import serializers

if TYPE_CHECKING:
    from provenance.api import Endpoint
    from provenance.permissions import Permission

PROBLEM_MEDIA_TYPE = "application/problem+json"


class ProblemError(serializers.Serializer[Any]):
    """One thing that is wrong; `path` is where, empty for the whole."""

    path = serializers.CharField(allow_blank=True)
    message = serializers.CharField()


class Problem(serializers.Serializer[Any]):
    """A refusal (RFC 9457). Decide by `code`; `detail` is for people. Some codes add fields of their own."""

    type = serializers.CharField(help_text="`urn:provenance:problem:` and the code.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField()
    request_id = serializers.CharField()
    missing_scope = serializers.CharField(required=False, help_text="403: the scope that the key lacks.")
    errors = ProblemError(  # type: ignore[assignment]  # a field named like a property of serializers
        many=True, required=False, help_text="422: all that is wrong."
    )


class ApiSchema(AutoSchema):
    """The description of one endpoint. Set in settings, so that `extend_schema` builds on it."""

    REFUSALS: ClassVar[dict[str, str]] = {
        "401": "The key is missing, unknown, expired or revoked.",
        "403": "The key lacks the scope, or its owner the right.",
        "404": "There is no such object in the workspace of the key.",
        "409": "The state of the object does not allow this, or someone changed it first.",
        "422": "The request is not valid.",
        "default": "Any other refusal.",
    }

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: ComponentRegistry
    ) -> dict[str, Any] | None:
        """The operation with its scope in words and its refusals."""
        operation: dict[str, Any] | None = super().get_operation(path, path_regex, path_prefix, method, registry)
        if operation is not None:
            operation["description"] = "\n\n".join(filter(None, [operation.get("description"), self._scope_in_words()]))
            for status in self._refusals(operation):
                operation["responses"].setdefault(status, self._refusal(status))
        return operation

    def get_paginated_name(self, serializer_name: str) -> str:
        """`RunPage` for a list of `Run`."""
        return f"{serializer_name}Page"

    @property
    def _permission(self) -> "Permission | None":
        return cast("Endpoint", self.view).permission_for(self.method)

    def _scope_in_words(self) -> str:
        permission = self._permission
        return f"Scope: `{permission.value}`" if permission else "Scope: none; any key may do this with itself."

    def _refusals(self, operation: dict[str, Any]) -> list[str]:
        """The statuses that this operation can refuse with."""
        can_be = {
            "403": self._permission is not None,
            "404": "{" in self.path,
            "409": self.method != "GET",
            "422": "parameters" in operation or "requestBody" in operation,
        }
        return [status for status in self.REFUSALS if can_be.get(status, True)]

    def _refusal(self, status: str) -> dict[str, Any]:
        shape = self.resolve_serializer(Problem, "response").ref
        return {"description": self.REFUSALS[status], "content": {PROBLEM_MEDIA_TYPE: {"schema": shape}}}
