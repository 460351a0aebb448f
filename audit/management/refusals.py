"""What commands about the log say when the database refuses them, or when there is none."""

import psycopg


def told(problem: psycopg.Error) -> str:
    """The database's words in one line, and what to do when nobody was there to say any."""
    words = " ".join(str(problem).split())
    # What a server answers to a statement has a code.
    is_absent = isinstance(problem, psycopg.OperationalError) and problem.sqlstate is None
    return f"{words.rstrip('.?')}. Does the installation run? Start it: ./manage.py up" if is_absent else words
