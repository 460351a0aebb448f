"""What every broker of ours must do, whoever made its program."""

from contextlib import contextmanager

import redis

from provenance.embedded import EmbeddedValkey


@contextmanager
def a_broker_that_keeps_what_it_was_given(home, *, across):
    """A broker on its socket only, ended by the signal and started again; what it was given is still there."""
    server = EmbeddedValkey(home)
    server.start()
    try:
        with redis.Redis.from_url(home.redis_url) as client:
            client.set("bell", "rung")
            assert client.config_get("port") == {"port": "0"}
        server.process.send_signal(across)
        server.process.wait()
        server.start()
        with redis.Redis.from_url(home.redis_url) as client:
            assert client.get("bell") == b"rung"
        yield server
    finally:
        server.stop()
