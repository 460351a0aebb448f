"""Django's Postgres backend with two additions: the workspace travels in BEGIN, and refusals of the walls have names."""
