"""The tool `fetch_page`: the text of a web page from an allowed host. Off unless the card names hosts."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

import httpx
from bs4 import BeautifulSoup
from langchain_core.tools import BaseTool

from ...core.errors import ToolDenied, ToolError
from ...core.types import Value
from ..tool import ToolContext, shorten_text, tool

_MAX_BYTES = 2_000_000
_MAX_REDIRECTS = 3
_MAX_SECONDS = 20.0

# Which network addresses may be connected to. The defence against server-side request forgery (SSRF).

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
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ToolError(f"cannot resolve '{host}': {error}") from None
    return [str(entry[4][0]) for entry in entries]


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
    parts, host, port = _split(url)
    if not _allowed(host, hosts):
        raise ToolDenied(f"the host '{host}' is not allowed; allowed: {', '.join(hosts) or 'none'}")
    addresses = resolver(host, port)
    for address in addresses:
        if reason := forbidden(address, private):
            raise ToolDenied(f"'{host}' is at {address}: {reason}")
    if not addresses:
        raise ToolError(f"'{host}' has no address")
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    return Target(scheme=parts.scheme, host=host, port=port, address=addresses[0], path=path)


def _split(url: str) -> tuple[SplitResult, str, int]:
    """The parts of a web address, its host and port; whatever other readers of addresses may see in it is refused."""
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
    return parts, host, port


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


def _allowed(host: str, hosts: tuple[str, ...]) -> bool:
    return any(
        pattern == "*" or host == pattern.lower() or (pattern.startswith("*.") and host.endswith(pattern[1:].lower()))
        for pattern in hosts
    )


# The tool.


def fetch(
    context: ToolContext, *, hosts: tuple[str, ...], private: bool = False, characters: int = 6000
) -> list[BaseTool]:
    """The tool `fetch_page`.

    Args:
        hosts: which hosts may be asked (`docs.example.com`, `*.example.com`).
        private: whether these may be on the local network.
        characters: length of the text that is handed on.
    """
    if not hosts:
        raise ToolDenied("fetch needs hosts", hint="tools: [{use: fetch, hosts: [docs.example.com]}]")

    # An address can carry data out. To hosts that the card names that is reading; to just any host it is an effect.
    @tool(effect="external" if any("*" in h for h in hosts) else "read", untrusted_output=True, sensitive=False)
    def fetch_page(url: str) -> str:
        """The text of a web page.

        Args:
            url: address that begins with https:// or http://.
        """
        return shorten_text(get(url, hosts, private=private), characters)

    return [fetch_page]


def get(url: str, hosts: tuple[str, ...], *, private: bool = False, resolver: Resolve = resolve) -> str:
    """The readable text at a URL. Each redirect is checked as the first address was.

    Raises:
        ToolDenied: a host or address that is not allowed, here or in a redirect.
        ToolError: no answer, an error status, too large, too slow, or not text.
    """
    for _ in range(_MAX_REDIRECTS + 1):
        target = aim(url, hosts, private=private, resolver=resolver)
        kind, body, location = _get_once(target)
        if not location:
            return _text(kind, body)
        url = str(httpx.URL(f"{target.scheme}://{_netloc(target)}{target.path}").join(location))
    raise ToolError(f"more than {_MAX_REDIRECTS} redirects")


def _get_once(target: Target) -> tuple[str, bytes, str | None]:
    """Content type, body and redirect target. Connects to the checked address; TLS still verifies the host's name."""
    address = f"[{target.address}]" if ":" in target.address else target.address
    deadline = time.monotonic() + _MAX_SECONDS
    try:
        with (
            httpx.Client(trust_env=False, follow_redirects=False, timeout=10) as client,
            client.stream(
                "GET",
                f"{target.scheme}://{address}:{target.port}{target.path}",
                headers={"Host": _netloc(target), "User-Agent": "metier", "Accept": "text/*, application/json"},
                extensions={"sni_hostname": target.host},
            ) as response,
        ):
            if response.is_redirect:
                return "", b"", response.headers["location"]
            if response.status_code != 200:
                raise ToolError(f"{target.host} answered {response.status_code}")
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _MAX_BYTES or time.monotonic() > deadline:
                    raise ToolError(f"the page is larger than {_MAX_BYTES} bytes or slower than {_MAX_SECONDS} s")
            return response.headers.get("content-type", ""), body, None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ToolError(f"cannot fetch from {target.host}: {error}") from None


def _netloc(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    usual = (target.scheme, target.port) in (("http", 80), ("https", 443))
    return host if usual else f"{host}:{target.port}"


def _text(kind: str, body: bytes) -> str:
    name = kind.partition(";")[0].strip().lower()
    if not name.startswith("text/") and name not in ("application/json", "application/xml", "application/xhtml+xml"):
        raise ToolError(f"'{name or 'unknown type'}' is not text")
    if "html" not in name:
        return body.decode(errors="replace")
    page = BeautifulSoup(body, "html.parser")
    for noise in page(["script", "style", "nav", "noscript", "template", "svg"]):
        noise.decompose()
    return "\n".join(line for line in page.get_text("\n", strip=True).splitlines() if line)
