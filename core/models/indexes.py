"""Which package indexes this machine is set up for: pip's and uv's variables and configuration files.

Neither tool is ever called, so environments without pip work the same.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterable, Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pypi_simple import PYPI_SIMPLE_ENDPOINT

from ..errors import ConfigError

TRUE = {"1", "true", "yes", "on"}


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
    """Read the configuration. Variables win over files, pip's over uv's; extra indexes and links add up.

    Raises:
        ConfigError: a configuration file cannot be parsed.
    """
    env = os.environ if environ is None else environ
    pip, uv = _pip_options(env), _uv_options(env)
    primary = pip.get("index-url") or uv.get("default") or PYPI_SIMPLE_ENDPOINT
    urls = [primary, *pip.get("extra-index-url", "").split(), *uv.get("extra", "").split()]
    if pip.get("no-index", "").lower() in TRUE or uv.get("no-index", "").lower() in TRUE:
        urls = []
    return Indexes(
        find_links=_unique([*pip.get("find-links", "").split(), *uv.get("find-links", "").split()]),
        urls=_unique(url.rstrip("/") + "/" for url in urls),
        certificate=pip.get("cert") or env.get("SSL_CERT_FILE") or None,
    )


def redacted(url: str) -> str:
    """The URL without user and password, for messages and records."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


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


def _uv_options(env: Mapping[str, str]) -> dict[str, str]:
    """uv's settings under four names: default, extra, find-links, no-index."""
    options: dict[str, str] = {}
    for file in _uv_files(env):
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"not a uv configuration: {error}", file=file) from None
        options |= _from_uv_file({**data.get("pip", {}), **data})
    named = [_unnamed(url) for url in env.get("UV_INDEX", "").split()]
    found = {
        "default": _unnamed(env.get("UV_DEFAULT_INDEX") or env.get("UV_INDEX_URL") or ""),
        "extra": " ".join([*named, *env.get("UV_EXTRA_INDEX_URL", "").split()]),
        "find-links": env.get("UV_FIND_LINKS", "").replace(",", " "),
        "no-index": env.get("UV_NO_INDEX", ""),
    }
    return options | {key: value for key, value in found.items() if value}


def _uv_files(env: Mapping[str, str]) -> list[Path]:
    home = Path(env.get("HOME") or Path.home())
    user = Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "uv" / "uv.toml"
    files = [Path(env["UV_CONFIG_FILE"])] if env.get("UV_CONFIG_FILE") else [Path("/etc/uv/uv.toml"), user]
    return [file for file in files if file.is_file()] if env.get("UV_NO_CONFIG", "").lower() not in TRUE else []


def _from_uv_file(data: Mapping[str, Any]) -> dict[str, str]:
    indexes = data.get("index", [])
    default = [index["url"] for index in indexes if index.get("default")] or [data.get("index-url", "")]
    extra = [index["url"] for index in indexes if not index.get("default")] + data.get("extra-index-url", [])
    found = {
        "default": default[0],
        "extra": " ".join(extra),
        "find-links": " ".join(data.get("find-links", [])),
        "no-index": str(data.get("no-index", "")),
    }
    return {key: value for key, value in found.items() if value}


def _unnamed(url: str) -> str:
    """uv writes an index as `name=url`."""
    name, mark, rest = url.partition("=")
    return rest if mark and "/" not in name else url
