"""Tokens of the HTTP API: 256 random bits each, of which only a hash is kept. Pure but for the randomness."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Literal

import msgspec

from thermogate.core.errors import ConfigError

Scope = Literal["read", "admin"]
"""What a token may do; admin may all that read may."""

PREFIX = "thermogate_"
"""So that a scanner for secrets, and a person, knows one for what it is."""

_BYTES = 32
_TOKEN_RE = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}", re.ASCII)
_NAME_RE = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a token. `sha256` is of its text, in hex; a random text needs no salt."""

    name: str
    scope: Scope
    sha256: str
    created_ns: int


def make(name: str, scope: Scope, now_ns: int) -> tuple[str, Token]:
    """A new token: its text, to be shown once, and what is kept. Raises ConfigError for an odd name."""
    if not _NAME_RE.fullmatch(name):
        raise ConfigError(f"name: expected 1 to 64 of A-Z a-z 0-9 . _ -, not {name[:80]!r}")
    text = PREFIX + secrets.token_urlsafe(_BYTES)
    return text, Token(name=name, scope=scope, sha256=_hash(text), created_ns=now_ns)


def find(text: str, tokens: Iterable[Token]) -> Token | None:
    """The token of this text. Takes as long for a wrong text as for a right one."""
    if not _TOKEN_RE.fullmatch(text):
        return None
    digest = _hash(text)
    found: Token | None = None
    for token in tokens:
        if hmac.compare_digest(digest, token.sha256):
            found = token
    return found


def may(token: Token, scope: Scope) -> bool:
    """Whether a token has what a path asks for."""
    return token.scope in ("admin", scope)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
