"""The login form of the page: a token in, a cookie out."""

from aiohttp import web

from thermogate.dashboard.access import Access
from thermogate.dashboard.page import STATIC


class Login:
    """Handlers of /login and /logout."""

    def __init__(self, access: Access) -> None:
        self._access = access

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
        """204 with a cookie, 401 or 429."""
        form = await request.post()
        token = form.get("token", "")
        return self._access.login(request, token if isinstance(token, str) else "")

    async def logout(self, request: web.Request) -> web.Response:
        """204 without the cookie."""
        return self._access.logout(request)
