"""The page and what it loads. Everything comes from this machine; plotly is the only vendor's part."""

import asyncio
import gzip
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).parent / "static"

_PLOTLY_PATH = "package_data/plotly.min.js"
_WEEK_S = 604_800

_SECURITY_HEADERS = {
    # plotly writes styles into the page; scripts come from files only.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Server": "thermogate",  # and no word of which versions it stands on
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


async def add_security_headers(_: web.Request, response: web.StreamResponse) -> None:
    """A signal of the application, so that streams and errors carry the headers too."""
    response.headers.update(_SECURITY_HEADERS)


async def index(_: web.Request) -> web.StreamResponse:
    """The page itself."""
    return web.FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


class Plotly:
    """Serves the installed package's JavaScript, compressed once and then kept."""

    def __init__(self) -> None:
        self._compressed: bytes | None = None
        self._tag = f'"plotly-{version("plotly")}"'

    async def handle(self, request: web.Request) -> web.Response:
        """Cached for a week, and then checked by its version."""
        headers = {
            "ETag": self._tag,
            "Cache-Control": f"public, max-age={_WEEK_S}",
            "Vary": "Accept-Encoding",
        }
        if request.headers.get("If-None-Match") == self._tag:
            return web.Response(status=304, headers=headers)
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            plain = await asyncio.to_thread(_read)
            return web.Response(body=plain, content_type="text/javascript", headers=headers)
        if self._compressed is None:
            self._compressed = await asyncio.to_thread(lambda: gzip.compress(_read(), compresslevel=6))
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=self._compressed, content_type="text/javascript", headers=headers)


def _read() -> bytes:
    return files("plotly").joinpath(_PLOTLY_PATH).read_bytes()
