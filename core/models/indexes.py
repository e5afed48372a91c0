"""Which package indexes this machine is set up for: pip's and uv's variables, and pip's configuration files.

pip itself is never called, so environments without it (uv) work the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pypi_simple import PYPI_SIMPLE_ENDPOINT

from ..errors import ConfigError


@dataclass(frozen=True)
class Indexes:
    """Where to look for a package, in this order."""

    find_links: tuple[str, ...]
    """Folders (plain path or file://) and pages of links."""
    urls: tuple[str, ...]
    """Simple-API roots, http(s):// or file://; empty when indexes are switched off."""
    certificate: str | None
    """A CA bundle for all requests, where one is configured."""


def configured_indexes(environ: Mapping[str, str] | None = None) -> Indexes:
    """Read the configuration; variables win over files, pip's over uv's.

    Raises:
        ConfigError: a pip configuration file cannot be parsed.
    """
    env = os.environ if environ is None else environ
    pip = _pip_options(env)
    primary = pip.get("index-url") or env.get("UV_DEFAULT_INDEX") or env.get("UV_INDEX_URL") or PYPI_SIMPLE_ENDPOINT
    extra = [*_words(pip, "extra-index-url"), *_words(env, "UV_INDEX"), *_words(env, "UV_EXTRA_INDEX_URL")]
    no_index = pip.get("no-index", "").lower() in {"1", "true", "yes", "on"} or bool(env.get("UV_NO_INDEX"))
    links = [*_words(pip, "find-links"), *(env.get("UV_FIND_LINKS", "").replace(",", " ").split())]
    urls = [] if no_index else [_unnamed(primary), *map(_unnamed, extra)]
    return Indexes(
        find_links=tuple(dict.fromkeys(links)),
        urls=tuple(dict.fromkeys(url.rstrip("/") + "/" for url in urls)),
        certificate=pip.get("cert") or env.get("SSL_CERT_FILE"),
    )


def redacted(url: str) -> str:
    """The URL without user and password, for messages and records."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url


def _pip_options(env: Mapping[str, str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for file in _pip_files(env):
        parser = ConfigParser(interpolation=None)
        try:
            parser.read(file, encoding="utf-8")
        except (Error, UnicodeDecodeError) as error:
            raise ConfigError(f"not a pip configuration: {error}", file=file) from None
        for section in ("global", "install", "download"):
            if parser.has_section(section):
                options |= dict(parser[section])
    for key, value in env.items():
        if key.startswith("PIP_") and value:
            options[key.removeprefix("PIP_").lower().replace("_", "-")] = value
    return options


def _pip_files(env: Mapping[str, str]) -> list[Path]:
    """pip's own search order; later files win."""
    named = env.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path(env.get("HOME") or Path.home())
    shared = [Path(folder) for folder in env.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder]
    files = [
        *(folder / "pip" / "pip.conf" for folder in shared),
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf",
        Path(sys.prefix) / "pip.conf",
    ]
    return [*files, Path(named)] if named else files


def _words(options: Mapping[str, str], key: str) -> list[str]:
    return options.get(key, "").split()


def _unnamed(url: str) -> str:
    """uv writes an index as `name=url`."""
    name, mark, rest = url.partition("=")
    return rest if mark and "/" not in name else url
