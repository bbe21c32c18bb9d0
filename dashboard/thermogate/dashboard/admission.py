"""As whom a request was let in."""

from collections.abc import Callable

import msgspec
from aiohttp import web

from thermogate.dashboard.tokens import Scope


class Admission(msgspec.Struct, frozen=True):
    """Its scope; `still_may` tells later, for an answer that lasts, whether its token holds. `session`: a
    browser that is logged in."""

    scope: Scope
    still_may: Callable[[], bool]
    session: bool = False


KEY = web.RequestKey("admission", Admission)
ANYBODY = Admission("admin", lambda: True)
"""Where no token is needed."""


def of(request: web.Request) -> Admission:
    """Of a request that has passed the check of access."""
    return request[KEY]
