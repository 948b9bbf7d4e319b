"""HTTP to a machine that an agent's file names: the name is looked up once, its addresses looked at, and one is called.

Whoever answers for a name (a rebound one, a mistake in the DNS) could otherwise have us ask what stands beside us: a
cloud's metadata, a database, a router. http.client asks nobody's proxy, follows no redirect and keeps no cookie.
"""

import http.client
import ipaddress
import socket
from urllib.parse import urlsplit

from voice import tls

_OUR_MACHINE = ("localhost", "127.0.0.1", "::1")
"""Written so in a file, our own machine is meant."""
# AWS on IPv6, Alibaba, Oracle, Azure's host. The one that most share is link-local.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")))
# An IPv4 address stands in them, in its last or some other bits: IPv4-compatible, 6to4, Teredo, local NAT64.
_TUNNELS = tuple(map(ipaddress.ip_network, ("::/96", "2002::/16", "2001::/32", "64:ff9b:1::/48")))
# In a network without IPv4 the whole Internet looks so.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressRefused(OSError):
    """The name leads to where nobody may call."""


def connected(url: str, timeout_s: float, private: bool) -> http.client.HTTPConnection:
    """A connection to the host of `url`, to be closed; `timeout_s` holds for each step of it.

    `private` allows addresses that the Internet does not have. Raises AddressRefused when the host has no other ones,
    other OSErrors when it does not answer.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    make = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = make(host, parts.port, timeout=timeout_s)
    sock = _connect(host, connection.port, timeout_s, private)
    try:
        connection.sock = tls.CONTEXT.wrap_socket(sock, server_hostname=host) if secure else sock
    except BaseException:
        sock.close()
        raise
    return connection


def target(url: str) -> str:
    """What of `url` stands in the first line of a request."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def is_allowed(text: str, private: bool, our_machine: bool = False) -> bool:
    """Whether the address may be called. Never: link-local ones, a cloud's metadata, multicast, what is no host's."""
    address = _unwrapped(text)
    if address.is_loopback:
        return our_machine or private
    if address in _METADATA or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    if any(address in tunnel for tunnel in _TUNNELS) or address.is_reserved:
        return False
    site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return private or (address.is_global and not site_local)


def _unwrapped(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _connect(host: str, port: int, timeout_s: float, private: bool) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    allowed = [each for each in found if is_allowed(str(each[4][0]), private, host in _OUR_MACHINE)]
    if not allowed:
        raise AddressRefused("its host has no address that may be called")
    failed: OSError | None = None
    for family, kind, protocol, _, address in allowed:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(timeout_s)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            sock.close()
            failed = error
        except BaseException:
            sock.close()
            raise
    assert failed is not None
    raise failed
