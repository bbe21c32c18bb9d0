"""Who may ask: tokens and their scopes, sessions of browsers, and names under which this may be asked."""

import logging
import math
from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from thermogate.core.clock import Clock
from thermogate.dashboard import admission, hosts
from thermogate.dashboard.admission import Admission
from thermogate.dashboard.failures import Failures
from thermogate.dashboard.responses import Handler, error
from thermogate.dashboard.routes import OPEN_PATHS, SCOPES
from thermogate.dashboard.sessions import Sessions
from thermogate.dashboard.settings import DashboardSettings, split_listen
from thermogate.dashboard.token_file import TokenFile
from thermogate.dashboard.tokens import Scope, Token, find, may

log = logging.getLogger(__name__)

_BEARER = "bearer "
_COOKIE = "thermogate"
_SECURE_COOKIE = "__Host-thermogate"
"""A browser takes it from this host and over TLS only, and no neighbour can set it."""
_SAFE = ("GET", "HEAD", "OPTIONS")
_NEEDED = "a token is needed: send Authorization: Bearer TOKEN (`thermogate tokens create` makes one)"


class Access:
    """Middleware before every handler. `tokens` is None where whoever reaches this may ask."""

    def __init__(self, settings: DashboardSettings, clock: Clock, tokens: TokenFile | None) -> None:
        self._tokens = tokens
        self._failures = Failures(clock, settings.auth_failures, settings.auth_window_s)
        self._names = (*settings.hosts, split_listen(settings.listen)[0])
        self._session_s = settings.session_h * 3600
        self._sessions = Sessions(clock, self._session_s)
        self._secure = bool(settings.cert_file)

    @property
    def required(self) -> bool:
        """Whether a token is needed."""
        return self._tokens is not None

    def middleware(self) -> Middleware:
        """To be put outside of every handler."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            refused = self._foreign(request)
            if refused is None:
                refused = self._admit(request)
            return await handler(request) if refused is None else refused

        return check

    def login(self, request: web.Request, text: str) -> web.Response:
        """A session for a token; 401 for a wrong one, 429 for one wrong too often."""
        token = find(text.strip(), self._known())
        if token is None:
            return self._wrong(request)
        response = web.Response(status=204, headers={"Cache-Control": "no-store"})
        secure = self._over_tls(request)
        response.set_cookie(
            _SECURE_COOKIE if secure else _COOKIE,
            self._sessions.start(token),
            max_age=round(self._session_s),
            httponly=True,
            secure=secure,
            samesite="Strict",
        )
        return response

    def logout(self, request: web.Request) -> web.Response:
        """End the session of this browser."""
        secure = self._over_tls(request)
        self._sessions.end(self._session(request))
        response = web.Response(status=204)
        name = _SECURE_COOKIE if secure else _COOKIE
        response.del_cookie(name, httponly=True, secure=secure, samesite="Strict")
        return response

    def _over_tls(self, request: web.Request) -> bool:
        """Whether the browser speaks TLS, with us or with a proxy: it tells by the origin of its page."""
        return self._secure or request.headers.get("Origin", "").lower().startswith("https://")

    def _session(self, request: web.Request) -> str:
        """The value of the cookie; over our own TLS no other than the one that neighbours cannot set."""
        found = request.cookies.get(_SECURE_COOKIE)
        return found or ("" if self._secure else request.cookies.get(_COOKIE, ""))

    def _foreign(self, request: web.Request) -> web.Response | None:
        """Refuse what a foreign page had a browser send."""
        host = request.headers.get("Host", "")
        if not self.required and not hosts.is_ours(host, self._names):
            return error(421, f"{host[:80]!r} is no name of this dashboard: dashboard.hosts adds one")
        if request.method in _SAFE:
            return None
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        # A browser knows best; the names may differ behind a proxy. Over http it tells its origin only.
        own = site in ("same-origin", "none") if site else not origin or urlsplit(origin).netloc == host
        return None if own else error(403, "a page of another origin may not send this")

    def _admit(self, request: web.Request) -> web.Response | None:
        """None, with the request's scope noted, or why it may not."""
        if not self.required:
            request[admission.KEY] = admission.ANYBODY
            return None
        if _route(request) in OPEN_PATHS:
            return None
        given = request.headers.get("Authorization")
        if given is not None:
            text = given[len(_BEARER) :].strip() if given.lower().startswith(_BEARER) else ""
            return self._check(request, lambda: find(text, self._known()))
        cookie = self._session(request)
        if self._sessions.token(cookie, self._known()) is None:
            return _login() if _route(request) == "/" else error(401, _NEEDED, _challenge())
        return self._check(request, lambda: self._sessions.token(cookie, self._known()), session=True)

    def _check(
        self, request: web.Request, who: Callable[[], Token | None], *, session: bool = False
    ) -> web.Response | None:
        token, needed = who(), _needed(request)
        if token is None:
            return self._wrong(request)
        if not may(token, needed):
            return error(403, f"token {token.name} has scope {token.scope}: this needs {needed}")
        request[admission.KEY] = Admission(token.scope, lambda: who() is not None, session)
        return None

    def _wrong(self, request: web.Request) -> web.Response:
        address = hosts.neighbourhood(request.remote or "")
        wait_s = self._failures.note(address)
        if wait_s:
            text = f"too many wrong tokens from this address: try again in {math.ceil(wait_s)} s"
            return error(429, text, {"Retry-After": str(math.ceil(wait_s))})
        log.warning("a wrong token from %s", address)
        return error(401, "this token is not known here, or was revoked", _challenge())

    def _known(self) -> tuple[Token, ...]:
        return self._tokens.tokens() if self._tokens else ()


def _route(request: web.Request) -> str | None:
    """The route that will answer, whatever the path looks like; None for none."""
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical


def _needed(request: web.Request) -> Scope:
    """What the table says; a route that it lacks is for admins, a path without one for readers."""
    route = _route(request)
    return "read" if route is None else SCOPES.get(route, "admin")


def _challenge() -> dict[str, str]:
    return {"WWW-Authenticate": 'Bearer realm="thermogate"'}


def _login() -> web.Response:
    return web.Response(status=303, headers={"Location": "/login", "Cache-Control": "no-store"})
