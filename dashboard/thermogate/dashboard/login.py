"""The login form of the page: a token in, a cookie out."""

import asyncio
from urllib.parse import parse_qs

from aiohttp import web

from thermogate.dashboard.access import Access
from thermogate.dashboard.page import STATIC
from thermogate.dashboard.responses import error

_FORM = "application/x-www-form-urlencoded"


class Login:
    """Handlers of /login and /logout. A body that is not there after `silent_s` is given up."""

    def __init__(self, access: Access, silent_s: float) -> None:
        self._access = access
        self._silent_s = silent_s

    def routes(self) -> list[web.RouteDef]:
        """The form, and what it sends."""
        return [
            web.get("/login", self.form),
            web.post("/login", self.login),
            web.post("/logout", self.logout),
        ]

    async def form(self, _: web.Request) -> web.StreamResponse:
        """The form, or the page where no token is needed."""
        if not self._access.required:
            return web.Response(status=303, headers={"Location": "/"})
        return web.FileResponse(STATIC / "login.html", headers={"Cache-Control": "no-cache"})

    async def login(self, request: web.Request) -> web.Response:
        """204 with a cookie, 401 or 429; 408, 413 and 415 for what is no form of ours."""
        if request.content_type != _FORM or "Content-Encoding" in request.headers:
            return error(415, f"expected {_FORM}")
        try:
            async with asyncio.timeout(self._silent_s):
                body = await request.read()
        except TimeoutError:
            return error(408, f"the body did not come in {self._silent_s:g} s", {"Connection": "close"})
        form = parse_qs(body.decode("ascii", errors="replace"))
        return self._access.login(request, form.get("token", [""])[0])

    async def logout(self, request: web.Request) -> web.Response:
        """204 without the cookie."""
        return self._access.logout(request)
