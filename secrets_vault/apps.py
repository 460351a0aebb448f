from django.apps import AppConfig

from provenance.permissions import Permission


class SecretsVaultConfig(AppConfig):
    name = "secrets_vault"

    def ready(self) -> None:
        """Say what searches of the log name."""
        from audit import names  # noqa: PLC0415  its models are loaded by now
        from secrets_vault.models import Secret  # noqa: PLC0415  as above

        names.rows("secret", Permission.SECRETS_WRITE, Secret.objects.for_actor, "name")
