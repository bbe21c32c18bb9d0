"""Pages of long answers: where the next one begins, and what is newest first cut where nothing is lost."""

import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from thermogate.core.errors import ConfigError
from thermogate.dashboard.times import MOST_NS

_MOST_ASKED = 100_000
_MOST_CURSOR = 6000
"""The longest has the name of a job, of which a node may make one of 4 kB."""

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True, omit_defaults=True):
    """Some rows of an answer; `next` is the `cursor` of the rows after them, absent at the end."""

    rows: tuple[T, ...]
    next: str | None = None


class Place(msgspec.Struct, frozen=True, array_like=True):
    """What a cursor holds: of which question, over which range, and what the last row sorted by.

    The range is that of the first page: "the last hour" does not move on between pages.
    """

    question: str
    start_ns: int
    end_ns: int
    key: tuple[str | int | float, ...]


class Question(msgspec.Struct, frozen=True):
    """What a page is asked of: a name of the question with all that selects and orders its rows."""

    name: str
    start_ns: int
    end_ns: int
    limit: int
    key: tuple[str | int | float, ...] | None = None
    """Of the last row of the page before; None for the first page."""

    def cursor(self, key: Sequence[Any]) -> str:
        """The cursor of what comes after the row with this key."""
        place = Place(self.name, self.start_ns, self.end_ns, tuple(key))
        return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")

    def after(self, of: Any) -> Any:
        """The key as a tuple of this type, None for the first page.

        Raises ConfigError for another one: cursors come from outside.
        """
        if self.key is None:
            return None
        try:
            return msgspec.convert(self.key, of)
        except msgspec.ValidationError as err:
            raise _foreign() from err


def question(name: Sequence[object], start_ns: int, end_ns: int, limit: int, cursor: str | None) -> Question:
    """The question of a request. Raises ConfigError for a cursor of another question, or for none at all."""
    said = hashlib.blake2b(msgspec.json.encode(tuple(name)), digest_size=12).hexdigest()
    if cursor is None:
        return Question(said, start_ns, end_ns, limit)
    place = _decoded(cursor)
    if place.question != said:
        raise ConfigError("cursor: of another question: keep every other parameter as it was")
    if not 0 <= place.start_ns <= place.end_ns <= MOST_NS:
        raise _foreign()
    return Question(said, place.start_ns, place.end_ns, limit, place.key)


def page(rows: Sequence[T], asked: Question, key: Callable[[T], Sequence[Any]]) -> Page[T]:
    """The first `limit` of rows that are in order; one more of them says that there is a next page."""
    shown = tuple(rows[: asked.limit])
    return Page(shown, asked.cursor(key(shown[-1])) if len(rows) > asked.limit else None)


async def newest_first(
    read: Callable[[int, int], Awaitable[list[T]]],
    asked: Question,
    after: tuple[Any, ...] | None,
    order: Callable[[T], tuple[Any, ...]],
) -> list[T]:
    """Up to `limit` + 1 rows in their order, those after the key `after`.

    `read(end_ns, limit)` gives the newest before `end_ns`. `order` begins with the negative time and is
    different for any two rows. The rows of one nanosecond are cut by us and not by the store, which may
    give them in any order.
    """
    end_ns = asked.end_ns if after is None else max(0, min(asked.end_ns, 1 - after[0]))
    limit = asked.limit + 2
    while True:
        found = await read(end_ns, limit)
        rows = sorted(found, key=order)
        whole = len(found) < limit
        if not whole:
            last = order(rows[-1])[0]
            rows = [row for row in rows if order(row)[0] < last]
        if after is not None:
            rows = [row for row in rows if order(row) > after]
        if whole or len(rows) > asked.limit:
            return rows[: asked.limit + 1]
        if limit >= _MOST_ASKED:
            raise ConfigError(f"limit: {_MOST_ASKED} or more rows share a nanosecond: narrow the question")
        limit = min(4 * limit, _MOST_ASKED)


def _decoded(cursor: str) -> Place:
    try:
        if len(cursor) > _MOST_CURSOR:
            raise _foreign()
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=Place)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as err:
        raise _foreign() from err


def _foreign() -> ConfigError:
    return ConfigError("cursor: expected one that an answer gave as its next, unchanged")
