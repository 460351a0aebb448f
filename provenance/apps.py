from django.apps import AppConfig


class ProvenanceConfig(AppConfig):
    name = "provenance"

    def ready(self) -> None:
        """Make our Celery the current one in every process, so that whoever starts a run can ring for it."""
        from provenance import celery  # noqa: F401, PLC0415  importing it is what makes it current
