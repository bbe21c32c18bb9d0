"""Browsers that are logged in: what their cookie stands for, in memory only."""

import hashlib
import secrets
from collections import OrderedDict

from thermogate.core.clock import Clock
from thermogate.dashboard.tokens import Token

_MOST = 1000
"""Sessions at once; beyond it the oldest ends. Only who has a token can make one."""


class Sessions:
    """A session lasts `lifetime_s`, and never longer than its token. After a restart one logs in again."""

    def __init__(self, clock: Clock, lifetime_s: float) -> None:
        self._clock = clock
        self._lifetime_s = lifetime_s
        self._found: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def start(self, token: Token) -> str:
        """A new session of a token: the value of its cookie."""
        value = secrets.token_urlsafe(32)
        self._found[_key(value)] = (token.sha256, self._clock.steady_s() + self._lifetime_s)
        if len(self._found) > _MOST:
            self._found.popitem(last=False)
        return value

    def token(self, value: str, tokens: tuple[Token, ...]) -> Token | None:
        """The token of a cookie, when it is still one of `tokens`."""
        sha256, until_s = self._found.get(_key(value), ("", 0.0))
        if self._clock.steady_s() >= until_s:
            self._found.pop(_key(value), None)
            return None
        return next((token for token in tokens if token.sha256 == sha256), None)

    def end(self, value: str) -> None:
        """Log out."""
        self._found.pop(_key(value), None)


def _key(value: str) -> bytes:
    # Looked up by a hash, how long it takes tells nothing of the value.
    return hashlib.sha256(value.encode(errors="surrogateescape")).digest()  # any bytes may come
