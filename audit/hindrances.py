"""What keeps calls from leaving though nobody refused them: a database that could lose what the log says of them (T27).

The database itself says which (`audit.hindrance`); here is what people read.
"""

NEW_TIMELINE = "timeline"

SENTENCES = {
    "recovery": (
        "The database server is a standby, on which nothing can be written: no call leaves. Connect to the primary "
        "(target_session_attrs=read-write in the address)."
    ),
    "not_waited_for": (
        "COMMIT is not waited for, so what the log says before a call could be lost: no call leaves. Somebody set "
        "synchronous_commit to less than on; `./manage.py up` sets it right for the roles, an address must not name it."
    ),
    "asynchronous": (
        "The database has a standby and none is synchronous, so a failover could lose what the log says before a call: no "
        "call leaves. Name those to wait for in synchronous_standby_names of the primary, then reload it."
    ),
    NEW_TIMELINE: (
        "The database was restored or a standby promoted, and what that may have lost is not looked into yet: tools that must "
        "be called once are not called. `./manage.py reconcile` on the host says what to do."
    ),
}
"""By what `audit.hindrance` answers: a sentence that may be shown to anybody."""
