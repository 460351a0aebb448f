"""Sign-ins as they are stored: who reads the table, or a copy of it, signs in as nobody.

The cookie of a browser holds the key of its session. The table holds what follows from that key under the secret key of this
installation, and data that is signed for this session alone. So a row that was read opens nothing, and a row that was moved
or copied holds nothing. A decision under a person's name takes that person's browser.
"""

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends import db
from django.utils import timezone
from django.utils.crypto import salted_hmac

_SALT = "provenance.sessions"
_ROW_KEY_DIGITS = 40
"""As many as the column takes: 160 bits."""


class SessionStore(db.SessionStore):
    """Django's sessions in the database, stored under keys that no cookie holds."""

    @property
    def key_salt(self) -> str:
        """What the signature of the data is bound to."""
        return f"{_SALT}.data {self.session_key}"

    def load(self) -> dict[str, Any]:
        """The data of the session that the cookie names; nothing when there is none."""
        found = self.model.objects.filter(
            session_key=row_key(self.session_key or ""), expire_date__gt=timezone.now()
        ).first()
        if found is None:
            self._session_key = None
            return {}
        return dict(self.decode(found.session_data))

    def exists(self, session_key: str) -> bool:
        """Whether a session has this key."""
        return bool(super().exists(row_key(session_key)))

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        """The row for this session."""
        row = super().create_model_instance(data)
        row.session_key = row_key(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        """End a session: the one with this key, or this one."""
        if key := session_key or self.session_key:
            super().delete(row_key(key))

    async def aload(self) -> dict[str, Any]:
        """As `load`."""
        return await sync_to_async(self.load)()

    async def aexists(self, session_key: str) -> bool:
        """As `exists`."""
        return await sync_to_async(self.exists)(session_key)

    async def asave(self, must_create: bool = False) -> None:
        """As `save`."""
        await sync_to_async(self.save)(must_create)

    async def adelete(self, session_key: str | None = None) -> None:
        """As `delete`."""
        await sync_to_async(self.delete)(session_key)


def row_key(session_key: str) -> str:
    """Under what the session with this key is stored."""
    return salted_hmac(_SALT, session_key, algorithm="sha256").hexdigest()[:_ROW_KEY_DIGITS]
