"""`./manage.py bench audit-search`: pages of the audit view in a log of years (goal 13), which is filled by force."""

from bench.figures import Figure
from bench.ground import ground


def measure(*, quick: bool, only: str = "", count: int = 0) -> list[Figure]:
    """On a ground of its own: nothing of what is put in would verify. There is one part, so `only` chooses nothing."""
    del only
    with ground() as here:
        from bench.audit_query import ROWS, paging

        return paging(here, count=count or (ROWS // 10 if quick else ROWS), pages=160 if quick else 480)
