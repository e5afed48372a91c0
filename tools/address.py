"""Which network addresses may be connected to. The defence against server-side request forgery (SSRF)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from ..core.errors import ToolDenied, ToolError
from ..core.types import Value

Resolve = Callable[[str, int], list[str]]
"""Host name and port → addresses."""

_METADATA = frozenset(
    ipaddress.ip_address(a)
    for a in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254")
)
"""Where clouds hand out credentials; refused even when private addresses are allowed."""

_EMBEDDING = (
    ipaddress.ip_network("64:ff9b::/96"),
    ipaddress.ip_network("64:ff9b:1::/48"),
    ipaddress.ip_network("::/96"),
)
"""IPv6 ranges that carry an IPv4 address in their last 32 bits (NAT64 and the old compatible form)."""

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Target(Value):
    """Where to connect for a URL: the name was resolved once, and this very address is used."""

    scheme: str
    host: str
    port: int
    address: str
    path: str


def resolve(host: str, port: int) -> list[str]:
    """The system's resolver."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ToolError(f"cannot resolve '{host}': {error}") from None
    return [str(entry[4][0]) for entry in found]


def aim(url: str, hosts: tuple[str, ...], *, private: bool = False, resolver: Resolve = resolve) -> Target:
    """Check a URL against the allowed hosts and its address against the forbidden ranges.

    Args:
        url: http or https.
        hosts: allowed host names; `*.example.com` allows all below it, `*` all public ones.
        private: allow addresses of the local network too (for an intranet).
        resolver: name → addresses; asked once.

    Raises:
        ToolDenied: another scheme, a host that is not allowed, or an address that must not be reached.
        ToolError: not a URL, or a name that does not resolve.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").rstrip(".").lower(), parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise ToolError(f"'{url!r:.200}' is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ToolDenied(f"only http and https addresses can be fetched, not '{url[:200]}'")
    if parts.username is not None or parts.password is not None:
        raise ToolDenied("an address with a user name in it is not fetched")
    if any(c.isspace() or ord(c) < 32 or c == "\\" for c in url.strip()):
        raise ToolDenied("an address with spaces, backslashes or control characters is not fetched")
    if not _allowed(host, hosts):
        raise ToolDenied(f"the host '{host}' is not allowed; allowed: {', '.join(hosts) or 'none'}")
    addresses = resolver(host, port)
    for address in addresses:
        _check(host, address, private)
    if not addresses:
        raise ToolError(f"'{host}' has no address")
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    return Target(scheme=parts.scheme, host=host, port=port, address=addresses[0], path=path)


def forbidden(address: str, private: bool = False) -> str | None:
    """Why an address must not be reached; None when it may be."""
    try:
        ip = unwrap(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return "not an IP address"
    if ip in _METADATA or ip.is_link_local:
        return "cloud metadata or link-local address"
    if ip.is_multicast or ip.is_unspecified or (ip.is_reserved and not ip.is_loopback):
        return "reserved address"
    return "private or local address" if not ip.is_global and not private else None


def unwrap(ip: IPAddress) -> IPAddress:
    """The IPv4 address inside a mapped, compatible, NAT64, 6to4 or Teredo one: that is where the packets end up."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip.ipv4_mapped:
        return ip.ipv4_mapped
    if ip.sixtofour:
        return ip.sixtofour
    if ip.teredo:
        return ip.teredo[1]
    if int(ip) > 1 and any(ip in network for network in _EMBEDDING):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def _check(host: str, address: str, private: bool) -> None:
    reason = forbidden(address, private)
    if reason:
        raise ToolDenied(f"'{host}' is at {address}: {reason}")


def _allowed(host: str, hosts: tuple[str, ...]) -> bool:
    return any(
        pattern == "*" or host == pattern.lower() or (pattern.startswith("*.") and host.endswith(pattern[1:].lower()))
        for pattern in hosts
    )
