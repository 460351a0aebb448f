"""Only globally routable unicast counts as public, however an address is wrapped (gateway.md 5, row 6)."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.addresses import METADATA, is_metadata, is_public

PUBLIC = ["1.1.1.1", "93.184.216.34", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]
INSIDE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",  # noqa: S104  an address, nothing binds to it
    "100.64.0.1", "169.254.0.1", "192.0.0.8", "192.0.0.9", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.7",
    "203.0.113.9", "224.0.0.1", "233.252.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1",
    "2001::1", "2001:20::1", "100::1", "5f00::1", "64:ff9b:1::1", "2002:5db8:d822::1", "::127.0.0.1", "::93.184.216.34",
    "2a00:1450::5efe:7f00:1", "2a00:1450::200:5efe:a00:1",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_public(text):
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", INSIDE)
def test_inside_addresses_are_not_public(text):
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC[:3] + [text for text in INSIDE if "." in text and ":" not in text])
@pytest.mark.parametrize("prefix", ["::ffff:", "64:ff9b::"])
def test_a_wrapped_address_is_as_public_as_what_it_stands_for(prefix, text):
    assert is_public(ip_address(prefix + text)) == is_public(ip_address(text))


@pytest.mark.parametrize("address", sorted(map(str, METADATA)))
def test_metadata_services_are_never_public(address):
    assert is_metadata(ip_address(address))
    assert not is_public(ip_address(address))


def test_metadata_is_seen_through_wrapping():
    assert is_metadata(ip_address("::ffff:a9fe:a9fe"))
    assert is_metadata(ip_address("64:ff9b::a9fe:a9fe"))


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_every_public_ipv4_address_is_global_unicast(number):
    address = IPv4Address(number)
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved
        assert not address.is_private


@given(st.integers(min_value=0, max_value=2**128 - 1))
def test_no_ipv6_address_outside_global_unicast_is_public(number):
    address = IPv6Address(number)
    if is_public(address):
        assert number >> 125 == 0b001 or address.ipv4_mapped or number >> 32 == 0x64FF9B << 64
