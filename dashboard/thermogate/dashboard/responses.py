"""How an answer becomes an HTTP response: JSON, tags for polling, CSV on its way, errors."""

import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from thermogate.core.errors import ConfigError, StoreError

log = logging.getLogger(__name__)

PREFIX = "/api/v1"

_COMPRESS_BYTES = 2048
"""Below this a compressed body is hardly smaller."""
_COMPRESS_IN_THREAD_BYTES = 64 * 1024

_CSV_HEADERS = {
    "Content-Type": "text/csv; charset=utf-8",
    "Content-Disposition": 'attachment; filename="thermogate.csv"',
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Under the API every error is {"error": ...}: 400 for the caller, 503 for the store."""
    if not request.path.startswith(PREFIX):
        return await handler(request)
    try:
        return await handler(request)
    except ConfigError as err:
        return _error(400, str(err))
    except StoreError as err:
        return _error(503, str(err))
    except web.HTTPNotFound:
        return _error(404, f"{request.path}: no such path")
    except web.HTTPMethodNotAllowed as err:
        return _error(405, f"{err.method}: expected GET")


async def send_csv(request: web.Request, pieces: AsyncIterator[str]) -> web.StreamResponse:
    """Send pieces of CSV while they are read; raises StoreError only before the answer has begun."""
    # The first piece is read before the answer begins, so that a store that cannot answer is a 503.
    first = await anext(pieces)
    response = web.StreamResponse(headers=_CSV_HEADERS)
    await response.prepare(request)
    try:
        await response.write(first.encode())
        async for piece in pieces:
            await response.write(piece.encode())
        await response.write_eof()
    except ConnectionResetError:
        log.debug("a client left in the middle of an export")
    except StoreError as err:
        log.warning("an export was cut short: %s", err)
        if request.transport is not None:
            request.transport.abort()  # without its last chunk a client sees that it is not whole
    return response


def polled(request: web.Request, answer: Any) -> web.Response:
    """JSON with a tag of its bytes; 304 for a client that has them."""
    body = msgspec.json.encode(answer)
    return tagged(request, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"', lambda: body)


def tagged(request: web.Request, tag: str, body: Callable[[], bytes]) -> web.Response:
    """JSON under a tag that the caller knows before the body is made."""
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if tag.removeprefix("W/") in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    return _body(body(), headers)


def as_json(answer: Any) -> web.Response:
    """JSON that is not worth keeping."""
    return _body(msgspec.json.encode(answer), {"Cache-Control": "no-store"})


def _body(body: bytes, headers: dict[str, str]) -> web.Response:
    response = web.Response(
        body=body,
        content_type="application/json",
        headers=headers,
        zlib_executor_size=_COMPRESS_IN_THREAD_BYTES,
    )
    if len(body) > _COMPRESS_BYTES:
        response.enable_compression()
    return response


def _error(status: int, text: str) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode({"error": text}), content_type="application/json"
    )
