"""Fetching pages: no way to an address that was not meant (SSRF)."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.core.errors import ToolDenied, ToolError
from metier.tools.builtin.fetch import aim, fetch, forbidden, get
from metier.tools.tool import ToolContext, effects_of

FORBIDDEN = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "169.254.170.2",
    "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:7f00:1",
    "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:0:0:0:0:80ff:fffe", "2001:db8::1", "nonsense", "",
]  # fmt: skip
PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_forbidden_addresses(address: str) -> None:
    assert forbidden(address)
    with pytest.raises(ToolDenied):
        aim("http://example.com/", ("*",), resolver=lambda *_: [address])


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert forbidden(address) is None
    assert aim("https://example.com/a?b=c", ("*",), resolver=lambda *_: [address]).address == address


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_stays_forbidden_in_ipv6_clothes(ip: ipaddress.IPv4Address) -> None:
    """Mapped, NAT64 and 6to4 forms are judged as the IPv4 address that they lead to."""
    number = int(ip)
    forms = [f"::ffff:{ip}", str(ipaddress.IPv6Address((0x64FF9B << 96) + number)),
             str(ipaddress.IPv6Address((0x2002 << 112) + (number << 80)))]  # fmt: skip
    for form in forms:
        assert bool(forbidden(form)) == bool(forbidden(str(ip))), form


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "fe80::1", "0.0.0.0"]
)
def test_metadata_stays_forbidden_on_an_intranet(address: str) -> None:
    assert forbidden(address, private=True)
    assert forbidden("10.0.0.1", private=True) is None


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://0/",
     "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://localhost/", "http://localhost./", "https://[::]/",
     "http://169.254.169.254/latest/meta-data/"],
)  # fmt: skip
def test_odd_spellings_of_this_machine_do_not_get_through(url: str) -> None:
    """With the system's own resolver, and every host allowed."""
    with pytest.raises((ToolDenied, ToolError)):
        aim(url, ("*",))


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "gopher://example.com/", "ftp://example.com/", "//example.com/", "example.com", "",
     "http://", "http:///x", "http://user@example.com/", "http://example.com:pw@evil.com/", "http://example.com@evil.com/",
     "http://evil.com/", "http://evil.com#example.com", "http://evil.com/example.com", "http://example.com.evil.com/",
     "http://evilexample.com/", "http://example.com\\@evil.com/", "http://example.com:99999/", "http://[bad/",
     "http://exam ple.com/", "javascript:alert(1)", "http://ｅxample.com.evil/"],
)  # fmt: skip
def test_only_allowed_hosts(url: str) -> None:
    with pytest.raises((ToolDenied, ToolError)):
        aim(url, ("example.com",), resolver=lambda *_: ["93.184.216.34"])


def test_patterns_of_hosts() -> None:
    def goes(host: str) -> bool:
        try:
            return bool(aim(f"https://{host}/", ("docs.example.com", "*.example.org"), resolver=lambda *_: ["8.8.8.8"]))
        except ToolDenied:
            return False

    assert all(map(goes, ("docs.example.com", "DOCS.example.com.", "a.b.example.org")))
    assert not any(map(goes, ("example.org", "xexample.org", "evil.docs.example.com")))


class Site(BaseHTTPRequestHandler):
    """Pages, redirects and a body without end."""

    seen: list[str]

    def do_GET(self) -> None:
        self.server.hosts.append(self.headers["Host"])  # type: ignore[attr-defined]
        pages = {
            "/page": (
                200,
                "text/html",
                b"<html><script>bad()</script><body><h1>Pumps</h1><p>Grease monthly.</p></body>",
            ),
            "/image": (200, "image/png", b"\x89PNG"),
            "/missing": (404, "text/plain", b"no"),
            "/big": (200, "text/plain", b"x" * 3_000_000),
        }
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
            return
        status, kind, body = pages.get(self.path, (200, "text/plain", self.path.encode()))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def site() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.hosts = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_page_becomes_text(site: ThreadingHTTPServer) -> None:
    base = f"http://site.test:{site.server_port}"

    def read(path: str) -> str:
        return get(base + path, ("site.test",), private=True, resolver=lambda *_: ["127.0.0.1"])

    assert read("/page") == "Pumps\nGrease monthly."
    assert site.hosts == [f"site.test:{site.server_port}"]  # type: ignore[attr-defined]
    assert read("/to?/page") == "Pumps\nGrease monthly."
    for path in ("/image", "/missing", "/big"):
        with pytest.raises(ToolError):
            read(path)
    with pytest.raises(ToolError, match="redirects"):
        read("/to?/to?/to?/to?/to?/page")


def test_redirects_are_checked_like_the_first_address(site: ThreadingHTTPServer) -> None:
    base = f"http://site.test:{site.server_port}"
    names = {"site.test": "127.0.0.1", "inside.test": "10.0.0.1", "metadata.test": "169.254.169.254"}
    for target in (
        "http://169.254.169.254/latest/", "http://metadata.test/", "http://other.test/", "file:///etc/passwd",
        "http://site.test:x/", "//other.test/", "http://u:p@site.test/",
    ):  # fmt: skip
        with pytest.raises((ToolDenied, ToolError)):
            get(f"{base}/to?{target}", ("site.test", "metadata.test"), private=True, resolver=lambda h, _: [names[h]])


def test_a_name_is_resolved_once_so_that_it_cannot_be_rebound(site: ThreadingHTTPServer) -> None:
    """The first answer leads to a closed port, the second would lead to the server: it must never be asked for."""
    answers = iter([["::1"], ["127.0.0.1"]])
    asked: list[str] = []

    def rebinding(host: str, _: int) -> list[str]:
        asked.append(host)
        return next(answers)

    with pytest.raises(ToolError, match="cannot fetch"):
        get(f"http://rebind.test:{site.server_port}/page", ("rebind.test",), private=True, resolver=rebinding)
    assert asked == ["rebind.test"]
    assert site.hosts == []  # type: ignore[attr-defined]


def test_one_bad_address_among_good_ones_is_enough() -> None:
    with pytest.raises(ToolDenied):
        aim("http://example.com/", ("*",), resolver=lambda *_: ["8.8.8.8", "127.0.0.1"])


def test_asking_named_hosts_is_reading_asking_any_host_is_an_effect(tmp_path: object) -> None:
    context = ToolContext(root=tmp_path)  # type: ignore[arg-type]
    assert effects_of(fetch(context, hosts=("docs.example.com",))[0]).effect == "read"
    assert effects_of(fetch(context, hosts=("*",))[0]).effect == "external"
