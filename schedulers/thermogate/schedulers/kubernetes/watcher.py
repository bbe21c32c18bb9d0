"""Watches what bears our labels, so that a change is answered at once and not at the next resync."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

from thermogate.core.clock import Clock
from thermogate.core.decision import TargetKind
from thermogate.schedulers.kubernetes import signs
from thermogate.schedulers.kubernetes.api import Api, ApiError, GoneError, Object, Stream
from thermogate.schedulers.kubernetes.settings import KubernetesSettings
from thermogate.schedulers.standing import Target

log = logging.getLogger(__name__)

Changed = Callable[[Target], None]
_Watched = tuple[TargetKind, str, str]
"""Kind, path and label."""


class Watcher:
    """`await run(changed)` calls `changed` on the loop for every target of which something may have changed.

    Only what bears our labels is watched: our nodes and jobs, and jobs that users have named for the gate.
    So it stays small in a large cluster. Nothing is decided from what it says: it only lets look again.
    """

    def __init__(self, api: Api, settings: KubernetesSettings, clock: Clock) -> None:
        self._api = api
        self._settings = settings
        self._clock = clock
        self.list_count = 0
        """How often something was listed anew."""

    async def run(self, changed: Changed) -> None:
        """For ever; failures are logged once each and tried again."""
        watched: list[_Watched] = [("node", "/api/v1/nodes", signs.KEY)]
        some = self._settings.namespaces
        paths = [f"/apis/batch/v1/namespaces/{one}/jobs" for one in some] or ["/apis/batch/v1/jobs"]
        watched += [("job", path, label) for path in paths for label in (signs.KEY, signs.JOB)]
        async with asyncio.TaskGroup() as group:
            for one in watched:
                group.create_task(self._keep_watching(one, changed))

    async def _keep_watching(self, what: _Watched, changed: Changed) -> None:
        """List, watch from there, go on where a watch ended; anew when that is too long ago (410)."""
        _, path, selector = what
        version, said = "", ""
        while True:
            try:
                if not version:
                    version = await self._list(what, changed)
                version = await self._watch(what, version, changed)
                said = ""
            except GoneError:
                version = ""
            except ApiError as err:
                if str(err) != said:
                    said = str(err)
                    log.warning(
                        "watch of %s with %s: %s; looked at every resync_s meanwhile", path, selector, err
                    )
                version = ""
                await self._clock.sleep_until(self._clock.steady_s() + self._settings.watch_retry_s)

    async def _list(self, what: _Watched, changed: Changed) -> str:
        kind, path, selector = what
        items, version = await self._api.list(path, selector)
        self.list_count += 1
        for one in items:
            _tell(kind, one, changed)
        return version

    async def _watch(self, what: _Watched, version: str, changed: Changed) -> str:
        """The resourceVersion at which the watch ended, from which the next goes on."""
        kind, path, selector = what
        reader = _Reader(self._api, path, selector, version)
        try:
            async for event, one in reader:
                version = str(signs.meta(one).get("resourceVersion", version))
                if event != "BOOKMARK":
                    _tell(kind, one, changed)
        finally:
            reader.close()
        return version


def _tell(kind: TargetKind, one: Object, changed: Changed) -> None:
    """An object may be spoken of by our annotation and by the user's label."""
    names = {signs.annotations(one).get(signs.TARGET), signs.labels(one).get(signs.JOB)}
    if kind == "node":
        names = {signs.annotations(one).get(signs.TARGET) or signs.meta(one).get("name")}
    for name in filter(None, names):
        changed((kind, name))


class _Reader:
    """A watch, which blocks, as an async iterator: its thread does not hold up the end of the process."""

    def __init__(self, api: Api, path: str, selector: str, version: str) -> None:
        self._api = api
        self._what = path, selector, version
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[str, Object] | ApiError | None] = asyncio.Queue()
        self._stream: Stream | None = None
        self._closed = False
        threading.Thread(target=self._read, name=f"watch-{path}", daemon=True).start()

    def __aiter__(self) -> "_Reader":
        return self

    async def __anext__(self) -> tuple[str, Object]:
        item = await self._queue.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, ApiError):
            raise item
        return item

    def close(self) -> None:
        """End it; does not wait for the thread."""
        self._closed = True
        if self._stream is not None:
            self._stream.close()

    def _read(self) -> None:
        try:
            self._stream = self._api.watch(*self._what)
            for event in self._stream.events():
                if self._closed:
                    return
                self._put(event)
            self._put(None)
        except ApiError as err:
            self._put(err)

    def _put(self, item: tuple[str, Object] | ApiError | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
