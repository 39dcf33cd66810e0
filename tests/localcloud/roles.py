"""Roles on the AWS server: their sessions, their permissions, and a record of the calls made under them."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx
from pydantic import TypeAdapter

from tests.localcloud import decisions
from tests.localcloud.policies import Call, Permission, Statement, granting

# No bucket's name begins with an underscore.
SESSIONS = "/_local_cloud/sessions"
CALLS = "/_local_cloud/calls"


def _key_id() -> str:
    return f"ASIA{secrets.token_hex(8).upper()}"


@dataclass(frozen=True)
class Session:
    """An assumed role: the credentials of a function, and their permissions."""

    role: str  # the logical id of the function, or of the role if another service assumes it
    statements: tuple[Statement, ...]
    access_key_id: str = field(default_factory=_key_id)
    secret_access_key: str = field(default_factory=lambda: secrets.token_urlsafe(30), repr=False)
    session_token: str = field(default_factory=lambda: secrets.token_urlsafe(90), repr=False)


@dataclass(frozen=True)
class Judged:
    """A call that was made, and the permissions that allow it. Without any, the call was denied."""

    role: str
    access_key_id: str
    call: Call
    permissions: frozenset[Permission]


_SESSIONS = TypeAdapter(tuple[Session, ...])
_JUDGED = TypeAdapter(tuple[Judged, ...])
_ASKED = TypeAdapter(tuple[tuple[str, Call], ...])


class Roles:
    """The sessions on the server, and a record of the calls under them. Calls of the same normal form are one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}  # by access key id
        self._judged: dict[tuple[object, ...], Judged] = {}

    def session(self, access_key_id: str) -> Session | None:
        return self._sessions.get(access_key_id)

    def secrets(self) -> dict[str, str]:
        """Return the secrets of all sessions, by access key id."""
        return {key: session.secret_access_key for key, session in self._sessions.items()}

    def denied(self, session: Session, calls: Iterable[Call]) -> Call | None:
        """Check and record each call; return the first that is denied, or None."""
        found = [self._judge(session, call) for call in calls]
        return next((judged.call for judged in found if not judged.permissions), None)

    def _judge(self, session: Session, call: Call) -> Judged:
        key = session.access_key_id
        judged = Judged(session.role, key, call, frozenset(granting(session.statements, call)))
        form = decisions.decision(session.role, call, allowed=bool(judged.permissions))
        with self._lock:
            self._judged.setdefault((key, form), judged)
        return judged

    def may(self, session: Session, call: Call) -> bool:
        """Return whether a call is permitted. A denied call is not recorded."""
        return bool(granting(session.statements, call)) and self.denied(session, [call]) is None

    def answer(self, method: str, path: str, body: bytes) -> bytes | None:
        """Answer a request of the functions below; return None for any other request."""
        if (method, path) == ("POST", SESSIONS):
            new = {one.access_key_id: one for one in _SESSIONS.validate_json(body)}
            with self._lock:
                self._sessions = {**self._sessions, **new}
            return b""
        if (method, path) == ("POST", CALLS):
            asked = _ASKED.validate_json(body)
            judged = [self._judge(self._sessions[key], call) for key, call in asked]
            return _JUDGED.dump_json(tuple(judged))
        if (method, path) == ("GET", CALLS):
            with self._lock:
                return _JUDGED.dump_json(tuple(self._judged.values()))
        return None


def take_on(endpoint: str, policies: Mapping[str, Sequence[Statement]]) -> dict[str, Session]:
    """Make a session of each role and register it at the server.

    Args:
        endpoint: The AWS server's URL.
        policies: The statements of each role, by its logical id or its function's.

    Raises:
        httpx.HTTPError: The server did not accept the sessions.
    """
    sessions = {role: Session(role, tuple(statements)) for role, statements in policies.items()}
    body = _SESSIONS.dump_json(tuple(sessions.values()), by_alias=True)
    httpx.post(endpoint + SESSIONS, content=body, trust_env=False).raise_for_status()
    return sessions


def use(endpoint: str, asked: Iterable[tuple[str, Call]]) -> tuple[Judged, ...]:
    """Check and record calls that the local cloud itself makes under a role; return them with their permissions.

    Args:
        endpoint: The AWS server's URL.
        asked: The calls, each with the access key id of a session.

    Raises:
        httpx.HTTPError: The server did not answer.
    """
    answer = httpx.post(endpoint + CALLS, content=_ASKED.dump_json(tuple(asked)), trust_env=False)
    return _JUDGED.validate_json(answer.raise_for_status().content)


def recorded(endpoint: str) -> tuple[Judged, ...]:
    """Return the recorded calls of all roles.

    Raises:
        httpx.HTTPError: The server did not answer.
    """
    return _JUDGED.validate_json(httpx.get(endpoint + CALLS, trust_env=False).raise_for_status().content)
