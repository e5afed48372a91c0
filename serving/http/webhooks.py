"""Tells others that a run has ended, signed as Standard Webhooks says, and never reaches into the local network unless
its host was allowed by name.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import secrets
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pydantic_core import to_json
from standardwebhooks.webhooks import Webhook

from ...core.errors import ToolDenied, ToolError
from ...core.files import write_atomic
from ...tools.builtin.fetch import Target, aim
from .errors import ServingError
from .run import Run
from .run_request import WebhookTarget

_log = logging.getLogger("metier.http")

_SECRET_FILE = "webhook.secret"
_AGAIN = (0.0, 2.0, 10.0, 60.0, 300.0, 1800.0)
"""Seconds before each attempt."""
_TIMEOUT = 15.0


class Webhooks:
    """Sends what runs have to say.

    Args:
        state: The team's folder for what is built; the secret is kept there.
        hosts: Hosts of the local network that may be told; public ones always may.
        again: Seconds before each attempt.
    """

    def __init__(self, state: Path, hosts: Collection[str] = (), *, again: Sequence[float] = _AGAIN) -> None:
        self._state, self._hosts, self._again = state, frozenset(hosts), again

    @property
    def secret(self) -> str:
        """Signs messages to those who brought no secret of their own: `METIER_WEBHOOK_SECRET`, or made once."""
        if given := os.environ.get("METIER_WEBHOOK_SECRET"):
            return given
        path = self._state / _SECRET_FILE
        if not path.exists():
            write_atomic(path, f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}")
        return path.read_text()

    async def check(self, target: WebhookTarget | None) -> None:
        """May that address be told?

        Raises:
            ServingError: 422, it may not, or it is none.
        """
        if target is not None:
            try:
                await asyncio.to_thread(self._aim, target.url)
            except (ToolDenied, ToolError) as error:
                hint = "metier serve --webhook-host HOST allows one of the local network"
                raise ServingError(422, error.message, code="webhook_refused", param="webhook.url", hint=hint) from None

    async def tell(self, run: Run) -> None:
        """Send the run as it stands, again and again until it was taken or nobody can be reached."""
        assert run.webhook is not None
        now = datetime.now(UTC)
        body = to_json({"type": f"run.{run.status}", "timestamp": now.isoformat(), "data": run.view}).decode()
        id = f"{run.id}.{run.status}"
        for seconds in self._again:
            await asyncio.sleep(seconds)
            if await self._send(run.webhook, id, body):
                break
        else:
            _log.warning("webhook of run %s could not be delivered", run.id)
        run.told = True

    async def _send(self, to: WebhookTarget, id: str, body: str) -> bool:
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(to.secret or self.secret).sign(id, now, body),
        }
        try:
            target = await asyncio.to_thread(self._aim, to.url)
            async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=_TIMEOUT) as client:
                # The address that was checked is the one that is connected to; TLS still verifies the host's name.
                response = await client.post(
                    _address(target),
                    content=body,
                    headers=headers | {"host": _host(target)},
                    extensions={"sni_hostname": target.host},
                )
        except (ToolDenied, ToolError, httpx.HTTPError, httpx.InvalidURL) as error:
            _log.info("webhook %s: %s", id, error)
            return False
        return response.is_success

    def _aim(self, url: str) -> Target:
        try:
            host = (urlsplit(url.strip()).hostname or "").rstrip(".").lower()
        except ValueError:
            raise ToolError(f"'{url[:200]}' is not a URL") from None
        return aim(url, ("*",), private=host in self._hosts)


def _address(target: Target) -> str:
    address = f"[{target.address}]" if ":" in target.address else target.address
    return f"{target.scheme}://{address}:{target.port}{target.path}"


def _host(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port in (80, 443) else f"{host}:{target.port}"
