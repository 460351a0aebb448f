"""Does the database answer? Asked once, before a process or a command that needs it begins."""

from __future__ import annotations


def unreachable_database() -> str:
    """Why it cannot be spoken to and what to do, as a sentence; empty when it answers.

    Without the pool, which would retry for ten seconds and not say where it looked.
    """
    import psycopg  # noqa: PLC0415  only whoever asks needs it, and only in the environment
    from django.db import connection  # noqa: PLC0415  see above

    from provenance.postgres.session import BehindPooler, demand_straight  # noqa: PLC0415  see above

    parameters = connection.get_connection_params()
    try:
        with psycopg.connect(**parameters) as opened:
            if connection.settings_dict["OPTIONS"].get("assume_role"):
                demand_straight(opened)
    except BehindPooler as refused:
        return str(refused)
    except psycopg.OperationalError as problem:
        host, why = parameters.get("host") or "", str(problem).strip().splitlines()[0].rpartition("failed: ")[2]
        if not host or host.startswith("/"):
            return f"the database at {host or 'the local socket'} does not answer ({why}). Start it: ./manage.py up"
        where = f"{host}:{parameters.get('port') or 5432}"
        return f"the database at {where} does not answer ({why}). Start it, or correct DATABASE_URL."
    return ""
