"""How far clocks may differ before an event is refused."""

from datetime import timedelta

CLOCK_TOLERANCE = timedelta(minutes=5)
"""Between the id of an event, the time that it tells, and the clock of the database. Twice that lies between two hosts."""
TO_THE_SECOND = "%Y-%m-%d %H:%M:%S UTC"
"""How a finding says a time."""
