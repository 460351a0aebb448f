"""What whoever administers a server may have it say and take otherwise than ours rests on."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection

from tests import databases

READ_OTHERWISE = {
    "forms": "datestyle = 'German, DMY'; intervalstyle = 'iso_8601'; timezone = 'Asia/Kolkata'; bytea_output = escape;"
    " extra_float_digits = -15",
    "texts": "client_encoding = 'LATIN1'; standard_conforming_strings = off; quote_all_identifiers = on",
    "nulls": "array_nulls = off; transform_null_equals = on",
    "rows": "row_security = off",
    "names": "search_path = nowhere; role = pg_monitor; app.workspace_id = 'nobody'",
    "transactions": "default_transaction_isolation = serializable; default_transaction_read_only = on;"
    " default_transaction_deferrable = on; client_min_messages = error",
    "times": "statement_timeout = 1; lock_timeout = 1",
}


@contextmanager
def server_set_to(changed: str) -> Iterator[None]:
    """For whoever signs in to this database; connections that were open are gone."""
    here = settings.DATABASES["default"]["NAME"]
    with databases.admin() as administrator:
        for setting in changed.split(";"):
            administrator.execute(f"ALTER DATABASE {here} SET {setting}")
        connection.close()
        try:
            yield
        finally:
            administrator.execute(f"ALTER DATABASE {here} RESET ALL")
            connection.close()
