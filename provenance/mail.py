"""Mail through the one relay that the host's settings name: `smtp://` with STARTTLS, or `smtps://`."""

import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from urllib.parse import unquote, urlsplit

_DEFAULT_PORTS = {"smtp": 587, "smtps": 465}
_SECONDS = 20.0
_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


class MailRefused(Exception):
    """The relay did not take the mail; the text says why in words for an administrator."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One plain text to several people, none of whom sees the others. `id` is the same whenever it is sent again."""

    id: str
    sender: str
    to: Sequence[str]
    subject: str
    text: str


def send(relay_url: str, mail: Mail) -> None:
    """Hand the mail to the relay. Raises `MailRefused` when it does not take it for every reader."""
    if not relay_url or not mail.sender:
        raise MailRefused("This installation sends no mail: EMAIL_URL and EMAIL_FROM are not both set.")
    parts = urlsplit(relay_url)
    host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    context = ssl.create_default_context()
    try:
        with (
            smtplib.SMTP_SSL(host, port, timeout=_SECONDS, context=context)
            if parts.scheme == "smtps"
            else smtplib.SMTP(host, port, timeout=_SECONDS)
        ) as relay:
            # Without TLS a password and the mail itself would cross a network in the clear; this machine is none.
            if parts.scheme == "smtp" and host not in _THIS_MACHINE:
                relay.starttls(context=context)
            if parts.username:
                relay.login(unquote(parts.username), unquote(parts.password or ""))
            refused = relay.send_message(_message(mail), mail.sender, list(mail.to))
    except (smtplib.SMTPException, OSError) as error:
        raise MailRefused(f"The mail relay did not take it ({type(error).__name__}).") from error
    if refused:
        raise MailRefused(f"The mail relay refused {len(refused)} of {len(mail.to)} addresses.")


def _message(mail: Mail) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["Message-ID"] = f"<{mail.id}@{mail.sender.rpartition('@')[2]}>"
    message["From"] = Address("Provenance", addr_spec=mail.sender)
    message["To"] = "undisclosed-recipients:;"
    message["Subject"] = mail.subject
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    return message
