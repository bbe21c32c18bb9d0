"""How an answer becomes an HTTP response: JSON, tags for polling, the next page, CSV on its way, errors."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from thermogate.core.errors import ConfigError, StoreError, UnavailableError

log = logging.getLogger(__name__)

MOST_BODY_BYTES = 16 * 1024
"""Only the login form has a body."""
MOST_LINE_BYTES = 8 * 1024
MOST_HEADER_BYTES = 16 * 1024
"""As servers in front of one usually have them; a cursor is below 3 kB."""

_RETRY_S = 5
_COMPRESS_BYTES = 2048
"""Below this a compressed body is hardly smaller."""
_COMPRESS_IN_THREAD_BYTES = 64 * 1024

_CSV_HEADERS = {
    "Content-Type": "text/csv; charset=utf-8",
    "Content-Disposition": 'attachment; filename="thermogate.csv"',
}
_HTTP_TEXTS = {404: "no such path", 413: "the body is too large"}
_MOST_PATH = 255
"""No path of ours is as long, and the system takes no longer name of a file."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error is {"error": ...}: 400 for the caller, 503 for the store."""
    try:
        too_long = _too_long(request)
        return await handler(request) if too_long is None else too_long
    except ConfigError as err:
        return error(400, str(err))
    except StoreError as err:
        return error(503, str(err))
    except UnavailableError as err:
        return error(503, str(err), {"Retry-After": str(_RETRY_S)})
    except web.HTTPMethodNotAllowed as err:
        allowed = ", ".join(sorted(err.allowed_methods))
        return error(405, f"{err.method}: expected {allowed}", {"Allow": allowed})
    except web.HTTPError as err:
        return error(err.status, f"{request.path[:200]}: {_HTTP_TEXTS.get(err.status, err.reason)}")


async def send_csv(request: web.Request, pieces: AsyncIterator[str], stalled_s: float) -> web.StreamResponse:
    """Send pieces of CSV while they are read; raises StoreError only before the answer has begun.

    A client that takes nothing for `stalled_s` gets no more: it keeps a reader of the store open.
    """
    if request.method == "HEAD":
        return web.Response(headers=_CSV_HEADERS)
    # The first piece is read before the answer begins, so that a store that cannot answer is a 503.
    first = await anext(pieces)
    response = web.StreamResponse(headers=_CSV_HEADERS)
    await response.prepare(request)
    try:
        await _write(response, first, stalled_s)
        async for piece in pieces:
            await _write(response, piece, stalled_s)
        await response.write_eof()
    except ConnectionError:
        log.debug("a client left in the middle of an export")
    except TimeoutError:
        log.warning("an export was cut short: %s took nothing for %g s", request.remote, stalled_s)
        if request.transport is not None:
            request.transport.abort()
    except StoreError as err:
        log.warning("an export was cut short: %s", err)
        if request.transport is not None:
            request.transport.abort()  # without its last chunk a client sees that it is not whole
    return response


async def _write(response: web.StreamResponse, text: str, stalled_s: float) -> None:
    async with asyncio.timeout(stalled_s):
        await response.write(text.encode())


def next_link(request: web.Request, cursor: str | None) -> dict[str, str]:
    """The header that names the next page, as RFC 8288 has it; {} at the end."""
    if cursor is None:
        return {}
    return {"Link": f'<{request.rel_url.update_query(cursor=cursor)}>; rel="next"'}


def polled(request: web.Request, answer: Any, headers: Mapping[str, str] = {}) -> web.Response:
    """JSON with a tag of its bytes; 304 for a client that has them."""
    body = msgspec.json.encode(answer)
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    return tagged(request, tag, lambda: body, headers)


def tagged(
    request: web.Request, tag: str, body: Callable[[], bytes], headers: Mapping[str, str] = {}
) -> web.Response:
    """JSON under a tag that the caller knows before the body is made."""
    given = {"ETag": tag, "Cache-Control": "no-cache", **headers}
    if tag.removeprefix("W/") in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=given)
    return _body(body(), given)


def as_json(answer: Any, headers: Mapping[str, str] = {}) -> web.Response:
    """JSON that is not worth keeping."""
    return _body(msgspec.json.encode(answer), {"Cache-Control": "no-store", **headers})


def error(status: int, text: str, headers: Mapping[str, str] = {}) -> web.Response:
    """{"error": text}."""
    return web.Response(
        status=status,
        body=msgspec.json.encode({"error": text}),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **headers},
    )


def _too_long(request: web.Request) -> web.Response | None:
    if len(request.raw_path) > MOST_LINE_BYTES:
        return error(414, f"a path with its parameters may have {MOST_LINE_BYTES} bytes")
    if len(request.rel_url.raw_path) > _MOST_PATH:
        return error(404, f"{request.path[:200]}: {_HTTP_TEXTS[404]}")
    if sum(len(name) + len(value) for name, value in request.raw_headers) > MOST_HEADER_BYTES:
        return error(431, f"headers may have {MOST_HEADER_BYTES} bytes in all")
    if (request.content_length or 0) > MOST_BODY_BYTES:
        return error(413, f"a body may have {MOST_BODY_BYTES} bytes", {"Connection": "close"})
    return None


def _body(body: bytes, headers: Mapping[str, str]) -> web.Response:
    response = web.Response(
        body=body,
        content_type="application/json",
        headers=headers,
        zlib_executor_size=_COMPRESS_IN_THREAD_BYTES,
    )
    if len(body) > _COMPRESS_BYTES:
        response.enable_compression()
    return response
