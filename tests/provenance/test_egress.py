"""The door for outbound HTTP: where it goes and where it does not (gateway.md 5, rows 6-8, 11)."""

import socket
import ssl
from datetime import UTC, datetime, timedelta

import httpcore2
import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from provenance.egress import Egress, EgressRefused, destination, origin_of, transport
from tests.fakes.http_server import serving
from tests.provenance.http_clients import both, fetch, ok


@pytest.fixture
def names(monkeypatch):
    """What the resolver answers: name to addresses. Nothing else resolves; each question is counted."""
    answers, asked = {}, []

    def getaddrinfo(host, port, *args, **kwargs):
        try:
            return real(host, port, *args, **{**kwargs, "flags": socket.AI_NUMERICHOST})
        except socket.gaierror:
            pass
        asked.append(host)
        found = answers.get(host, [])
        found = found.pop(0) if found and isinstance(found[0], list) else found
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [entry for address in found for entry in real(address, port, type=socket.SOCK_STREAM)]

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    answers["asked"] = asked
    return answers


# --- Where it does not go --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://127.0.0.1/", "private_address"),
        ("https://10.1.2.3/", "private_address"),
        ("https://[::1]/", "private_address"),
        ("https://[::ffff:127.0.0.1]/", "private_address"),
        ("https://[::ffff:a9fe:a9fe]/", "metadata"),
        ("https://169.254.169.254/latest/meta-data/", "metadata"),
        ("https://[fd00:ec2::254]/", "metadata"),
        ("https://168.63.129.16/", "metadata"),
        ("https://[64:ff9b::a00:1]/", "private_address"),
        ("https://[2002:7f00:1::]/", "private_address"),
        ("https://[2001:0:53aa:64c::1]/", "private_address"),
        ("https://2130706433/", "host"),
        ("https://0/", "host"),
        ("https://127.1/", "host"),
        ("https://0x7f.0.0.1/", "host"),
        ("https://0x7f000001/", "host"),
        ("https://0177.0.0.1/", "url"),
        ("https://017700000001/", "host"),
        ("https://127.0.0.1.:443/", "private_address"),
        ("https://example.com.0x7f/", "host"),
        ("https://\uff11\uff12\uff17.0.0.1/", "url"),
        ("https://\u2460\u2461\u2466.0.0.1/", "url"),
        ("https://[fe80::1%25eth0]/", "host"),
        ("https://localhost/", "local_name"),
        ("https://LOCALHOST./", "local_name"),
        ("https://api.localhost/", "local_name"),
        ("https://user@example.com/", "userinfo"),
        ("https://user:password@example.com/", "userinfo"),
        ("https://example.com\\@127.0.0.1/", "userinfo"),
        ("https://@127.0.0.1/", "private_address"),
        ("https://exa%6dple.com/", "host"),
        ("https://ex ample.com/", "host"),
        ("https://a..b/", "host"),
        ("https://-a.example/", "host"),
        ("https:///x", "host"),
        ("https://a.example:99999/", "url"),
        ("https://a.example\t/", "url"),
        ("http://example.com/", "scheme"),
        ("ftp://example.com/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://127.0.0.1/", "scheme"),
        ("//example.com/", "scheme"),
        ("example.com", "scheme"),
        ("", "scheme"),
    ],
)
@both
def test_it_does_not_go_inside_whatever_the_spelling(url, rule, kind, names):
    """Refused before a packet leaves, and before a name server is asked."""
    with pytest.raises(EgressRefused) as checked:
        Egress().resolve(url)
    assert checked.value.rule == rule
    if "://" in url and ":///" not in url and rule not in {"url", "scheme"}:
        with pytest.raises(EgressRefused) as sent:
            fetch(Egress(), url, kind)
        assert sent.value.rule == rule
    assert names["asked"] == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.5"],
        ["::1"],
        ["::ffff:192.168.1.1"],
        ["93.184.216.34", "127.0.0.1"],
        ["2606:4700:4700::1111", "fd00::1"],
    ],
)
@both
def test_a_name_with_any_inside_address_is_refused(addresses, kind, names):
    names["tools.example"] = addresses
    with pytest.raises(EgressRefused) as caught:
        fetch(Egress(), "https://tools.example/", kind)
    assert caught.value.rule == "private_address"
    assert caught.value.host == "tools.example"


@both
def test_a_name_that_does_not_resolve_is_refused(kind, names):
    with pytest.raises(EgressRefused) as caught:
        fetch(Egress(), "https://nowhere.example/", kind)
    assert caught.value.rule == "unresolved"


@both
def test_the_checked_address_is_the_one_connected_to(kind, names, monkeypatch):
    """DNS rebinding: a second answer is never asked for."""
    names["tools.example"] = [["93.184.216.34"], ["127.0.0.1"]]
    connected = []

    def connect(*args, **kwargs):
        connected.append(args[1] if kind == "async" else args[0])
        raise httpcore2.ConnectError("stopped here by the test")

    async def connect_async(*args, **kwargs):
        connect(*args, **kwargs)

    monkeypatch.setattr(httpcore2.SyncBackend, "connect_tcp", lambda _self, *args, **_: connect(*args))
    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect_async)
    with pytest.raises(httpx2.ConnectError):
        fetch(Egress(), "https://tools.example/", kind)
    assert connected == ["93.184.216.34"]
    assert names["asked"] == ["tools.example"]


@both
def test_the_next_address_is_tried_when_one_does_not_answer(kind, names):
    with serving(ok) as server:
        names["tools.example"] = ["127.0.0.2", "127.0.0.1"]
        door = Egress(allow=frozenset({("tools.example", server.port)}))
        assert fetch(door, f"http://tools.example:{server.port}/", kind).json() == {"ok": True}


# --- Exceptions ------------------------------------------------------------------------------------------------------


@both
def test_an_exception_opens_exactly_one_host_and_port(kind):
    """T20: exceptions to the private-range block are exact host and port of one upstream."""
    with serving(ok) as server, serving(ok) as neighbor:
        door = Egress.to(server.url)
        assert fetch(door, f"{server.url}/x", kind).json() == {"ok": True}
        for url in (neighbor.url, f"http://localhost:{server.port}", f"http://[::ffff:127.0.0.1]:{server.port}"):
            with pytest.raises(EgressRefused):
                fetch(door, url, kind)
        assert neighbor.requests == []
        assert len(server.requests) == 1


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "https://[fd00:ec2::254]/", "http://168.63.129.16/"])
def test_no_exception_opens_a_metadata_service(url):
    with pytest.raises(EgressRefused) as caught:
        Egress.to(url).resolve(url)
    assert caught.value.rule == "metadata"


def test_an_excepted_name_may_not_lead_to_a_metadata_service(names):
    names["erp.internal"] = ["169.254.169.254"]
    with pytest.raises(EgressRefused) as caught:
        Egress.to("http://erp.internal:8000").resolve("http://erp.internal:8000/mcp")
    assert caught.value.rule == "metadata"


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """A throw-away authority that the door trusts, and a server context for `tools.example`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("tools.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, private)
    monkeypatch.setattr(transport, "_tls", lambda: ssl.create_default_context(cafile=str(chain)))
    return server


@both
def test_the_name_stays_in_tls_and_host_although_an_address_is_connected_to(kind, names, authority):
    names["tools.example"] = ["127.0.0.1"]
    with serving(ok, tls=authority) as server:
        door = Egress(allow=frozenset({("tools.example", server.port)}))
        assert fetch(door, f"https://tools.example:{server.port}/", kind).status_code == 200
        assert server.requests[0].server_name == "tools.example"
        assert server.requests[0].headers["host"] == f"tools.example:{server.port}"


@both
def test_a_certificate_of_another_name_is_refused(kind, names, authority):
    names["other.example"] = ["127.0.0.1"]
    with serving(ok, tls=authority) as server:
        door = Egress(allow=frozenset({("other.example", server.port)}))
        with pytest.raises((httpx2.ConnectError, ssl.SSLError)):
            fetch(door, f"https://other.example:{server.port}/", kind)
        assert server.requests == []


def test_one_tls_context_serves_the_process():
    assert transport._tls() is transport._tls()
    assert transport._tls().verify_mode is ssl.CERT_REQUIRED
    assert transport._tls().check_hostname


# --- Origins ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.Example.com/v1?x=1#f", "https://api.example.com:443"),
        ("https://api.example.com.:443/", "https://api.example.com:443"),
        ("http://127.0.0.1:8421/erp/mcp", "http://127.0.0.1:8421"),
        ("https://[2001:DB8::0:1]/", "https://[2001:db8::1]:443"),
        ("https://b\u00fccher.example/", "https://xn--bcher-kva.example:443"),
    ],
)
def test_equal_targets_have_equal_origins(url, origin):
    assert origin_of(url) == origin
    assert destination(origin).origin == origin
