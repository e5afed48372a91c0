"""Who may use a server: users with a password, their API keys, and who is signed in at the page.

All of it is one SQLite file beside the team, `.metier/access.sqlite`, or stands in PostgreSQL where the team's threads
are there. At rest there are only hashes: argon2id of
passwords, SHA-256 of keys and sessions (which are random, so that nothing is gained by guessing slowly).
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..core.database import SqliteState, StateDatabase, open_state
from ..core.errors import InputError, MissingExtra, unknown
from ..core.types import Value

if TYPE_CHECKING:
    from ..agents.cards import Blueprint

AccessScope = Literal["ask", "read", "write", "admin"]
"""`ask` the team, `read` threads and documents, `write` feedback, threads and memory, `admin` the team itself."""
SCOPES: tuple[AccessScope, ...] = ("ask", "read", "write", "admin")
USUAL: tuple[AccessScope, ...] = ("ask", "read", "write")
"""What a new user may do."""

ACCESS_FILE = "access.sqlite"
_USER = re.compile(r"[\w.@+-]{1,100}")
_LEAST, _MOST = 12, 1_000
"""Characters of a password."""
_PREFIX = "metier"
_SESSION = 12 * 3600.0
"""Seconds after which somebody who did nothing is signed out."""
_LONGEST_SESSION = 7 * 86_400.0
_NOTED = 60.0
"""Seconds after which it is noted again that a key or session is used."""

_SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS access_users (
    name TEXT PRIMARY KEY, tenant TEXT, groups TEXT NOT NULL, scopes TEXT NOT NULL, password TEXT,
    created DOUBLE PRECISION NOT NULL
)""",
    """
CREATE TABLE IF NOT EXISTS access_keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, label TEXT NOT NULL, scopes TEXT NOT NULL, digest TEXT NOT NULL UNIQUE,
    created DOUBLE PRECISION NOT NULL, expires DOUBLE PRECISION, used DOUBLE PRECISION
)""",
    """
CREATE TABLE IF NOT EXISTS access_sessions (
    digest TEXT PRIMARY KEY, name TEXT NOT NULL, created DOUBLE PRECISION NOT NULL, used DOUBLE PRECISION NOT NULL
)""",
)
"""For SQLite and PostgreSQL; `name` is a user's."""
_TABLES = ("access_users", "access_keys", "access_sessions")
_USER_COLUMNS = "u.name, u.tenant, u.groups, u.scopes, u.password, u.created"
_KEY_COLUMNS = "id, name, label, scopes, created, expires, used"


class Account(Value):
    """A user."""

    name: str
    tenant: str | None = None
    """The organisation, where several share the team: nothing of one is seen by another."""
    groups: tuple[str, ...] = ()
    """Open what `groups` and `access` on the cards keep for some."""
    scopes: tuple[AccessScope, ...] = USUAL
    has_password: bool = False
    """They can sign in at the page."""
    created: float = 0.0
    """Seconds since 1970."""


class ApiKey(Value):
    """What is known of a key; not the key."""

    id: str
    """Its beginning, by which it is named."""
    user: str
    label: str = ""
    scopes: tuple[AccessScope, ...] = ()
    """What it may do, as far as its user may."""
    created: float
    expires: float | None = None
    """Seconds since 1970; None: never."""
    used: float | None = None
    """When it was used last, to the minute."""


class Pass(NamedTuple):
    """Somebody who was let in."""

    account: Account
    scopes: tuple[AccessScope, ...]
    by: str
    """Names the key or the session."""


class Accounts:
    """The users of one team. Safe to use from several threads and processes; what one changes counts for all at once.

    Args:
        place: A SQLite file, or a database with the tables.

    Raises:
        StateError: the file is not a database.
    """

    def __init__(self, place: Path | StateDatabase) -> None:
        self._database = open_state(place, ";".join(_SCHEMA))
        self.near = isinstance(self._database, SqliteState)
        """Looking something up takes microseconds."""

    def __bool__(self) -> bool:
        """Are there users?"""
        return bool(self._run("SELECT 1 FROM access_users LIMIT 1"))

    # Users.

    def add(
        self,
        name: str,
        password: str | None = None,
        *,
        tenant: str | None = None,
        groups: Sequence[str] = (),
        scopes: Sequence[str] = USUAL,
    ) -> Account:
        """Let somebody in from now on.

        Raises:
            InputError: the name is none or taken, the password too short, or an administrator is to have a tenant.
        """
        if not _USER.fullmatch(name):
            raise InputError(f"'{name}' is no name for a user", hint="letters, digits and . _ - + @")
        if self.find(name):
            raise InputError(f"there is a user '{name}' already", hint=f"metier users change {name}")
        _check_tenant(tenant, scopes)
        hashed = hash_password(password) if password is not None else None
        row = (name, tenant, _list(groups), _list(_ordered(scopes)), hashed, time.time())
        self._run("INSERT INTO access_users VALUES (?, ?, ?, ?, ?, ?)", row)
        return self.get(name)

    def get(self, name: str) -> Account:
        """A user.

        Raises:
            InputError: there is none of that name.
        """
        known = self.find(name)
        if known is None:
            raise InputError(unknown("user", name, [one.name for one in self.list()]), hint="metier users list")
        return known

    def find(self, name: str) -> Account | None:
        """A user; None where there is none of that name."""
        rows = self._run(f"SELECT {_USER_COLUMNS} FROM access_users u WHERE name = ?", (name,))
        return _account(rows[0]) if rows else None

    def list(self) -> list[Account]:
        """All users, by name."""
        return [_account(row) for row in self._run(f"SELECT {_USER_COLUMNS} FROM access_users u ORDER BY name")]

    def change(self, name: str, *, groups: Sequence[str] | None = None, scopes: Sequence[str] | None = None) -> Account:
        """Put somebody into other groups, or let them do something else; None leaves it as it is. It counts at once.

        Raises:
            InputError: there is no such user, or an administrator would have a tenant.
        """
        known = self.get(name)
        new = known.groups if groups is None else groups
        able = known.scopes if scopes is None else scopes
        _check_tenant(known.tenant, able)
        self._run(
            "UPDATE access_users SET groups = ?, scopes = ? WHERE name = ?", (_list(new), _list(_ordered(able)), name)
        )
        return self.get(name)

    def set_password(self, name: str, password: str) -> None:
        """Another password. Whoever is signed in with the old one is no more; API keys stay.

        Raises:
            InputError: there is no such user, or it is too short.
        """
        self.get(name)
        self._run("UPDATE access_users SET password = ? WHERE name = ?", (hash_password(password), name))
        self._run("DELETE FROM access_sessions WHERE name = ?", (name,))

    def remove(self, name: str) -> Account:
        """Let somebody in no more: their keys and sessions go with them; what the team keeps of them stays.

        Raises:
            InputError: there is no such user.
        """
        known = self.get(name)
        for table in _TABLES:
            self._run(f"DELETE FROM {table} WHERE name = ?", (name,))
        return known

    # Keys.

    def add_key(
        self, user: str, *, label: str = "", scopes: Sequence[str] = ("ask", "read"), days: float | None = None
    ) -> tuple[ApiKey, str]:
        """A new key, and what is known of it. The key is said this once.

        Raises:
            InputError: there is no such user, or the key could do what its user cannot.
        """
        account = self.get(user)
        if more := [scope for scope in scopes if scope not in account.scopes]:
            able = ", ".join(account.scopes)
            raise InputError(f"'{user}' has not the scope '{more[0]}'; theirs are: {able}")
        id = f"{_PREFIX}_{secrets.token_hex(4)}"
        key, now = f"{id}_{secrets.token_urlsafe(32)}", time.time()
        expires = None if days is None else now + days * 86_400
        row = (id, user, label, _list(_ordered(scopes)), _digest(key), now, expires)
        self._run("INSERT INTO access_keys VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", row)
        return self.keys(id=id)[0], key

    def keys(self, user: str | None = None, *, id: str | None = None) -> list[ApiKey]:
        """The keys of a user, or of all."""
        asked = [(column, value) for column, value in (("name", user), ("id", id)) if value is not None]
        where = " AND ".join(["1 = 1", *(f"{column} = ?" for column, _ in asked)])
        rows = self._run(
            f"SELECT {_KEY_COLUMNS} FROM access_keys WHERE {where} ORDER BY name, created",
            [value for _, value in asked],
        )
        return [
            ApiKey(id=i, user=u, label=label, scopes=json.loads(scopes), created=c, expires=e, used=used)
            for i, u, label, scopes, c, e, used in rows
        ]

    def revoke(self, id: str) -> ApiKey:
        """Let nobody in with a key any more.

        Raises:
            InputError: there is no such key.
        """
        known = self.keys(id=id)
        if not known:
            raise InputError(unknown("key", id[:40], [key.id for key in self.keys()]), hint="metier keys list")
        self._run("DELETE FROM access_keys WHERE id = ?", (id,))
        return known[0]

    # Letting in.

    def by_key(self, key: str) -> Pass | None:
        """Whoever has this key; None where nobody has."""
        rows = self._run(
            f"SELECT {_USER_COLUMNS}, k.id, k.scopes, k.expires, k.used FROM access_keys k"
            " JOIN access_users u ON u.name = k.name WHERE k.digest = ?",
            (_digest(key),),
        )
        if not rows:
            return None
        *user, id, scopes, expires, used = rows[0]
        now = time.time()
        if expires is not None and now >= expires:
            return None
        if used is None or now - used > _NOTED:
            self._run("UPDATE access_keys SET used = ? WHERE id = ?", (now, id))
        account = _account(user)
        return Pass(account, tuple(s for s in json.loads(scopes) if s in account.scopes), id)

    def by_password(self, name: str, password: str) -> Account | None:
        """Whoever has this name and password; None where nobody has. Takes the same time in all cases: some tenths of
        a second.
        """
        rows = self._run(f"SELECT {_USER_COLUMNS} FROM access_users u WHERE name = ?", (name,))
        hashed = rows[0][4] if rows else None
        right = _verify(hashed or _nobody(), password[:_MOST])
        return _account(rows[0]) if rows and hashed and right else None

    def sign_in(self, account: Account) -> str:
        """Begin a session; gives its secret, for a cookie."""
        now = time.time()
        self._run("DELETE FROM access_sessions WHERE used < ? OR created < ?", (now - _SESSION, now - _LONGEST_SESSION))
        secret = secrets.token_urlsafe(32)
        self._run("INSERT INTO access_sessions VALUES (?, ?, ?, ?)", (_digest(secret), account.name, now, now))
        return secret

    def by_session(self, secret: str) -> Pass | None:
        """Whoever is signed in with this secret; None where nobody is any more."""
        digest, now = _digest(secret), time.time()
        rows = self._run(
            f"SELECT {_USER_COLUMNS}, s.used FROM access_sessions s JOIN access_users u ON u.name = s.name"
            " WHERE s.digest = ? AND s.used >= ? AND s.created >= ?",
            (digest, now - _SESSION, now - _LONGEST_SESSION),
        )
        if not rows:
            return None
        *user, used = rows[0]
        if now - used > _NOTED:
            self._run("UPDATE access_sessions SET used = ? WHERE digest = ?", (now, digest))
        account = _account(user)
        return Pass(account, account.scopes, f"session {digest[:8]}")

    def sign_out(self, secret: str) -> None:
        """End a session."""
        self._run("DELETE FROM access_sessions WHERE digest = ?", (_digest(secret),))

    def close(self) -> None:
        """Close the file or the connection."""
        self._database.close()

    def _run(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._database.run(sql, values)


def open_accounts(plan: Blueprint) -> Accounts:
    """The users of a team: a file beside it, or where its threads are when that is PostgreSQL.

    Raises:
        StateError: the file is not a database; the server cannot be reached.
        MissingExtra: PostgreSQL without the extra `postgres`.
    """
    from ..memory.open import open_tables

    plan.state.mkdir(parents=True, exist_ok=True)
    return Accounts(open_tables(plan.card.memory.checkpoints, plan.state / ACCESS_FILE, _SCHEMA, _TABLES))


def may_have_users(plan: Blueprint) -> bool:
    """Whether it is worth looking: with SQLite the first user makes the file."""
    return (plan.state / ACCESS_FILE).exists() or plan.card.memory.checkpoints not in ("sqlite", "none")


def hash_password(password: str) -> str:
    """The argon2id hash of a password, with its salt.

    Raises:
        InputError: it is too short or too long.
        MissingExtra: argon2 is not installed.
    """
    if not _LEAST <= len(password) <= _MOST:
        raise InputError(f"a password has {_LEAST} to {_MOST} characters, this one {len(password)}")
    return _hasher().hash(password)


def _hasher() -> Any:
    try:
        from argon2 import PasswordHasher
    except ImportError as error:
        raise MissingExtra("argon2-cffi", "serve") from error
    return PasswordHasher()


@cache
def _nobody() -> str:
    """A hash that no password has: who asks for a user that does not exist waits as long as for one who does."""
    return _hasher().hash(secrets.token_urlsafe(32))


def _verify(hashed: str, password: str) -> bool:
    from argon2.exceptions import Argon2Error, InvalidHashError

    try:
        return _hasher().verify(hashed, password)
    except (Argon2Error, InvalidHashError):
        return False


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _list(names: Sequence[str]) -> str:
    return json.dumps(list(dict.fromkeys(names)))


def _ordered(scopes: Sequence[str]) -> list[str]:
    if wrong := [scope for scope in scopes if scope not in SCOPES]:
        raise InputError(unknown("scope", wrong[0], SCOPES))
    return [scope for scope in SCOPES if scope in scopes]


def _check_tenant(tenant: str | None, scopes: Sequence[str]) -> None:
    if tenant is not None and not _USER.fullmatch(tenant):
        raise InputError(f"'{tenant}' is no name for a tenant", hint="letters, digits and . _ - + @")
    if tenant is not None and "admin" in scopes:
        raise InputError(
            "the team is the same for all tenants, so nobody of one administers it",
            hint="leave out --tenant, or the scope admin",
        )


def _account(row: Sequence[Any]) -> Account:
    name, tenant, groups, scopes, password, created = row
    return Account(
        name=name,
        tenant=tenant,
        groups=json.loads(groups),
        scopes=json.loads(scopes),
        has_password=password is not None,
        created=created,
    )
