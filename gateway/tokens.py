"""Run tokens: what a worker shows at `/call`. Minted per step by the worker, good for minutes, checked by the gateway.

A token says for whom a call is made; it never says that the call is allowed. The gateway checks the fence again in the
statement that commits `started`, so a token outliving its lease performs nothing (T04).
"""

import time
from dataclasses import asdict, dataclass, replace
from math import inf
from uuid import UUID

from django.core import signing

from provenance.errors import Unauthenticated

SALT = "provenance.gateway.run-token.v1"
LONGEST_SECONDS = 15 * 60
_CLOCKS_DIFFER_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RunClaims:
    """For whom a worker calls. `token_id` and `fence` are the engine token's; `expires_at` is Unix seconds.

    `on_behalf_of` is the user who answers for the run ("" when nobody does), `workflow_version` the version's id and
    `step` the step's name.
    """

    workspace_id: UUID
    run_id: UUID
    step_id: UUID
    agent_id: UUID
    agent_version_id: UUID
    token_id: UUID
    fence: int
    environment: str
    workflow_version: str
    step: str = ""
    on_behalf_of: str = ""
    expires_at: int = 0


_IDS = ("workspace_id", "run_id", "step_id", "agent_id", "agent_version_id", "token_id")


def mint(claims: RunClaims, key: str, *, lifetime_seconds: int = 300) -> str:
    """A signed token that carries the claims for at most fifteen minutes from now."""
    expires_at = int(time.time()) + min(lifetime_seconds, LONGEST_SECONDS)
    body = {
        name: str(value) if isinstance(value, UUID) else value
        for name, value in asdict(replace(claims, expires_at=expires_at)).items()
    }
    return signing.Signer(key=key, salt=SALT).sign_object(body)


def check(token: str, key: str) -> RunClaims:
    """The claims of a token, or `Unauthenticated` when it is not ours, damaged or expired."""
    try:
        body = signing.Signer(key=key, salt=SALT).unsign_object(token)
        claims = RunClaims(**{**body, **{name: UUID(body[name]) for name in _IDS}})
    except (signing.BadSignature, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unauthenticated("The run token is not valid.") from error
    left = claims.expires_at - time.time() if _is_typed(claims) else inf
    # Whoever holds the key may mint what `mint` does not: a token that lives for ever is none of ours.
    if left > LONGEST_SECONDS + _CLOCKS_DIFFER_SECONDS:
        raise Unauthenticated("The run token is not valid.")
    if left < 0:
        raise Unauthenticated("The run token has expired; claim the step again.")
    return claims


def _is_typed(claims: RunClaims) -> bool:
    numbers = (claims.fence, claims.expires_at)
    words = (claims.environment, claims.workflow_version, claims.step, claims.on_behalf_of)
    return all(type(number) is int and abs(number) < 2**53 for number in numbers) and all(
        isinstance(word, str) for word in words
    )
