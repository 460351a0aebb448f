"""Which addresses the platform may connect to: globally routable unicast, and nothing inside (pure).

`ipaddress.is_global` alone is not enough: it knows nothing of addresses wrapped in others, of anycast relays, or of the
public-looking ones behind which clouds keep their metadata.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

# Credentials of the machine itself are served here. Refused even where an exception allows a private network.
METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Google, Azure, OpenStack, DigitalOcean
        "169.254.170.2",  # AWS ECS task credentials
        "169.254.170.23",  # AWS EKS pod identity
        "fd00:ec2::254",  # AWS over IPv6
        "fd00:ec2::23",  # AWS EKS pod identity over IPv6
        "fe80::a9fe:a9fe",  # OpenStack over IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure wire server: looks public
        "192.0.0.192",  # Oracle
    )
)

_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_REFUSED_V4 = (
    IPv4Network("192.88.99.0/24"),  # 6to4 relay anycast, deprecated
    IPv4Network("192.0.0.0/24"),  # protocol assignments, some of which Python calls global
)
_REFUSED_V6 = (
    IPv6Network("2001::/23"),  # protocol assignments: Teredo, ORCHID, AMT, AS112
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4: carries any IPv4 address
    IPv6Network("2620:4f:8000::/48"),  # AS112
    IPv6Network("3fff::/20"),  # documentation, newer than some versions of Python
)


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for where routers translate it (mapped, NAT64); otherwise itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_metadata(address: Address) -> bool:
    """Whether the machine's own credentials are served at this address."""
    return unwrapped(address) in METADATA


def is_public(address: Address) -> bool:
    """Whether a packet to this address leaves for the public internet and for one host there."""
    plain = unwrapped(address)
    if plain in METADATA or plain.is_multicast or plain.is_reserved or not plain.is_global:
        return False
    if isinstance(plain, IPv4Address):
        return not any(plain in network for network in _REFUSED_V4)
    # An interface identifier of 0:5efe or 200:5efe is ISATAP: the last 32 bits are any IPv4 address.
    if int(plain) >> 32 & 0xFCFFFFFF == 0x00005EFE:
        return False
    return plain in _GLOBAL_UNICAST_V6 and not any(plain in network for network in _REFUSED_V6)
