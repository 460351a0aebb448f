"""`./manage.py setup_link`: the address at which the first administrator of a new installation sets it up."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.urls import reverse

from provenance.command import OurCommand
from workspaces.models import User
from workspaces.setup_token import SetupToken


class Command(OurCommand):
    """Prints the address; makes its token first when there is none."""

    help = "Print the one-time address for the first administrator of a new installation."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Refuses where any account exists: then the address would open nothing."""
        if User.objects.exists():
            raise CommandError(
                "This installation has accounts already. Ask one of its administrators for an invitation."
            )
        address = reverse("workspaces:setup", args=[SetupToken.locate().ensure()])
        self.stdout.write(f"{settings.PUBLIC_URL}{address}")
