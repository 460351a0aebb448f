from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ProvenanceConfig(AppConfig):
    name = "provenance"

    def ready(self) -> None:
        """Make our Celery the current one in every process, so that whoever starts a run can ring for it.

        Then each floor plugs into those below it (`plugs.py`): models are there by now, and no floor knows the ones above.
        """
        from provenance import celery  # noqa: F401, PLC0415  importing it is what makes it current

        autodiscover_modules("plugs")
