"""The tool `fetch_page`: the text of a web page from an allowed host. Off unless the card names hosts."""

from __future__ import annotations

import time

import httpx
from bs4 import BeautifulSoup
from langchain_core.tools import BaseTool

from ..core.errors import ToolDenied, ToolError
from .address import Resolve, Target, aim, resolve
from .context import ToolContext
from .result import shorten
from .tool import tool

MAX_BYTES = 2_000_000
MAX_REDIRECTS = 3
MAX_SECONDS = 20.0


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
        return shorten(get(url, hosts, private=private), characters)

    return [fetch_page]


def get(url: str, hosts: tuple[str, ...], *, private: bool = False, resolver: Resolve = resolve) -> str:
    """The readable text at a URL. Each redirect is checked as the first address was.

    Raises:
        ToolDenied: a host or address that is not allowed, here or in a redirect.
        ToolError: no answer, an error status, too large, too slow, or not text.
    """
    for _ in range(MAX_REDIRECTS + 1):
        target = aim(url, hosts, private=private, resolver=resolver)
        kind, body, location = _get_once(target)
        if not location:
            return _text(kind, body)
        url = str(httpx.URL(f"{target.scheme}://{_netloc(target)}{target.path}").join(location))
    raise ToolError(f"more than {MAX_REDIRECTS} redirects")


def _get_once(target: Target) -> tuple[str, bytes, str | None]:
    """Content type, body and redirect target. Connects to the checked address; TLS still verifies the host's name."""
    address = f"[{target.address}]" if ":" in target.address else target.address
    deadline = time.monotonic() + MAX_SECONDS
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
                if len(body) > MAX_BYTES or time.monotonic() > deadline:
                    raise ToolError(f"the page is larger than {MAX_BYTES} bytes or slower than {MAX_SECONDS} s")
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
