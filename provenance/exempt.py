"""Tables that are not governed, each with the reason. Readiness refuses to serve when a table is neither here nor guarded."""

EXEMPT: dict[str, str] = {
    # Django and its packages
    "django_migrations": "written by the migrator alone; no process may change it",
    "django_content_type": "names of models, written by the migrator alone",
    "auth_permission": "Django's permissions are not used; written by the migrator alone",
    "auth_group": "Django's groups are not used; no process has rights on it",
    "auth_group_permissions": "Django's groups are not used; no process has rights on it",
    "django_session": "sign-ins of the moment; signing in and out are events of their own",
    "account_emailaddress": "accounts have their one address in their own governed row; no process may write here",
    "account_emailconfirmation": "addresses are proved by the invitation; no process has rights on it",
    # The engine: its events are those of runs, steps and tool calls
    "workflows_token": "the engine's position in a run; runs and steps are governed",
    "workflows_scope": "the engine's nesting inside a run; steps are governed",
    "workflows_timer": "when a token wakes; what happens then is a governed step",
    "workflows_message": "the transcript of an agent step: its turns are calls, whose events are those of tools and models",
    "workflows_call": "the engine's retry journal; each call's events are the tool events",
    "workflows_budgethold": "a reservation until a call is settled; budgets show in the events of runs",
    "workflows_budget": "a counter; exceeding it is an event",
    "workflows_leader": "which worker sweeps; it decides nothing",
    "workflows_idempotencykey": "repeats of one request; the first one's effects are governed",
    "workflows_runmanifest": "what a run was started with, written once beside the governed run that carries its digest",
    "gateway_toolcall": "its events are mcp.tool_requested, mcp.tool_called and mcp.tool_blocked",
    # Streams and digests: what goes out is the log itself
    "streams_cursor": "how far a receiver has confirmed; its outages and recoveries are events",
    "streams_digestsend": "which periods were mailed; each mail is an event",
    # The log: its events are those of asking for an export, of making it and of fetching it
    "audit_export": "how far a bundle is; asking for it, making it and fetching it are events",
    "audit_exportchunk": "the encrypted bytes of a bundle until it expires",
    # Values and counters
    "workspaces_blob": "encrypted values under the hash of their content; what refers to them is governed",
    "apikeys_apikeyuse": "when a key was last used; uses are events of what was done",
}
