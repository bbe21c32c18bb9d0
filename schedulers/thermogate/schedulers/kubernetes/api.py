"""The Kubernetes API by its official client: the only module of ours that knows it.

Requests block, so each is made in a thread, with a timeout; objects are the plain JSON of the API. Facts are
those of the API's conventions and reference (kubernetes.io/docs/reference/using-api/).
"""

import asyncio
import json
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.incluster_config import InClusterConfigLoader
from kubernetes.dynamic import DynamicClient

from thermogate.core.clock import Clock
from thermogate.core.errors import ConfigError
from thermogate.schedulers.adapter import ActionError
from thermogate.schedulers.kubernetes.settings import KubernetesSettings

log = logging.getLogger(__name__)

MANAGER = "thermogate"
"""The field manager under which the API server notes what is ours."""
_PAGE = 500
"""Objects of one answer to a list, as kubectl has it."""
_MOST_TEXT = 500
_QUIET_S = 1.0
"""The wait after a 429 that does not name one."""
_MOST_QUIET_S = 120.0

Object = dict[str, Any]


class ApiError(ActionError):
    """The API server said no; `status` is that of HTTP, 0 when it did not answer."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class NotFoundError(ApiError):
    """There is no such object, or no such resource in this cluster."""


class ConflictError(ApiError):
    """The object has changed since it was read, or another manager has the field: `is_owned`."""

    def __init__(self, text: str, *, is_owned: bool) -> None:
        super().__init__(text, 409)
        self.is_owned = is_owned


class GoneError(ApiError):
    """A watch or a list cannot go on from that resourceVersion: list anew."""


class Api:
    """One API server. Methods raise ApiError; after a 429 nothing is sent before its Retry-After is over."""

    def __init__(
        self, settings: KubernetesSettings, clock: Clock, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._environ = environ
        self._client: DynamicClient | None = None
        self._quiet_until_s = 0.0

    def open(self) -> str:
        """Read the credentials; the server's URL. Raises ConfigError."""
        try:
            self._client = self._connect()
        except (config.ConfigException, yaml.YAMLError, OSError, ValueError) as err:
            where = self._settings.kubeconfig or self._settings.token_file
            raise ConfigError(f"Kubernetes: {where}: {err}") from err
        return str(self._client.configuration.host)

    def close(self) -> None:
        """Close the connections that wait for more requests."""
        if self._client is not None:
            self._client.client.rest_client.close()

    async def get(self, path: str) -> Object:
        """One object."""
        return await self._json("get", path)

    async def list(self, path: str, selector: str = "") -> tuple[list[Object], str]:
        """All objects with these labels, page by page, and the resourceVersion at which they were so."""
        items: list[Object] = []
        more: dict[str, Any] = {}
        while True:
            answer = await self._json("get", path, label_selector=selector or None, limit=_PAGE, **more)
            items += answer.get("items", [])
            meta = answer.get("metadata", {})
            if not meta.get("continue"):
                return items, str(meta.get("resourceVersion", ""))
            more = {"_continue": meta["continue"]}

    async def apply(self, path: str, body: Object) -> Object:
        """Server-side apply, not forced: what we said before and say no more is given up."""
        kind = "application/apply-patch+yaml"
        return await self._json("patch", path, body=body, content_type=kind, field_manager=MANAGER)

    async def merge(self, path: str, body: Object) -> Object:
        """A merge patch; with metadata.resourceVersion in it only of the object as it was read."""
        kind = "application/merge-patch+json"
        return await self._json("patch", path, body=body, content_type=kind, field_manager=MANAGER)

    def watch(self, path: str, selector: str, version: str) -> "Stream":
        """Changes from a resourceVersion on. Blocks until the server has answered: for a thread."""
        seconds = self._settings.watch_s
        answer = self._send(
            "get",
            path,
            label_selector=selector or None,
            resource_version=version,
            watch="true",
            allow_watch_bookmarks="true",
            timeout_seconds=round(seconds),
            _request_timeout=(self._settings.timeout_s, seconds + self._settings.timeout_s),
        )
        return Stream(answer)

    async def _json(self, method: str, path: str, **more: Any) -> Object:
        def fetch() -> Any:
            return json.loads(self._send(method, path, **more).data)

        try:
            found = await asyncio.to_thread(fetch)
        except ValueError as err:
            raise ApiError(f"{method} {path}: the answer is not JSON: {err}") from err
        if not isinstance(found, dict):
            raise ApiError(f"{method} {path}: the answer is no object")
        return found

    def _send(self, method: str, path: str, **more: Any) -> Any:
        """The answer, unread. A token that the server refuses is read anew, once."""
        left_s = self._quiet_until_s - self._clock.steady_s()
        if left_s > 0:
            raise ApiError("the API server has asked to wait", 429)
        try:
            return self._try(method, path, more)
        except ApiError as err:
            if err.status != 401:
                raise
        self.close()
        try:
            self.open()
        except ConfigError as err:  # the file is being replaced, say
            raise ApiError(str(err), 401) from err
        return self._try(method, path, more)

    def _try(self, method: str, path: str, more: dict[str, Any]) -> Any:
        assert self._client is not None
        timeout_s = self._settings.timeout_s
        options = {"_request_timeout": (timeout_s, timeout_s), **more}
        try:
            return self._client.request(method, path, serialize=False, **options)
        except ApiException as err:
            raise self._error(f"{method} {path}", err) from err
        except (urllib3.exceptions.HTTPError, OSError) as err:
            raise ApiError(f"the API server does not answer: {str(err)[:_MOST_TEXT]}") from err

    def _error(self, what: str, err: ApiException) -> ApiError:
        status, said = int(err.status or 0), _status_of(err.body)
        text = f"{what}: {status} {said.get('message') or err.reason or ''}"[:_MOST_TEXT]
        if status == 404:
            return NotFoundError(text, status)
        if status == 410:
            return GoneError(text, status)
        if status == 409:
            causes = (said.get("details") or {}).get("causes") or ()
            return ConflictError(text, is_owned=any(one.get("reason") == _OWNED for one in causes))
        if status in (429, 503):
            self._be_quiet(err.headers, always=status == 429)
        return ApiError(text, status)

    def _be_quiet(self, headers: Mapping[str, str] | None, *, always: bool) -> None:
        text = (headers or {}).get("Retry-After", "")
        if text.isdigit() or always:
            wait_s = min(float(text), _MOST_QUIET_S) if text.isdigit() else _QUIET_S
            self._quiet_until_s = self._clock.steady_s() + wait_s

    def _connect(self) -> DynamicClient:
        found = client.Configuration()
        settings = self._settings
        if settings.kubeconfig:
            config.load_kube_config(
                settings.kubeconfig, settings.context or None, found, persist_config=False
            )
        else:
            loader = InClusterConfigLoader(settings.token_file, settings.ca_file, environ=dict(self._environ))
            loader.load_and_set(found)
        found.retries = False  # we do that, with the wait that the server asks for and nothing blocked
        return DynamicClient(client.ApiClient(found), discoverer=lambda *_: None)


_OWNED = "FieldManagerConflict"


class Stream:
    """The events of one watch, for a thread; `close` from another ends it."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self._closed = False

    def events(self) -> Iterator[tuple[str, Object]]:
        """Type and object: ADDED, MODIFIED, DELETED, BOOKMARK. Raises GoneError or ApiError."""
        try:
            for line in self._answer:
                if line.strip():
                    yield _event(line)
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as err:
            if not self._closed:  # the client's response falls apart when it is closed under its reader
                raise ApiError(f"the watch broke off: {str(err)[:_MOST_TEXT]}") from err
        finally:
            self._answer.close()

    def close(self) -> None:
        """End it, also while the reader waits."""
        self._closed = True
        shut = getattr(self._answer, "shutdown", None)
        if callable(shut):
            try:
                shut()
            except (ValueError, OSError, urllib3.exceptions.HTTPError):
                log.debug("the watch had ended already")


def _event(line: bytes) -> tuple[str, Object]:
    event = json.loads(line)
    kind, found = str(event["type"]), event["object"]
    if kind == "ERROR":
        text = f"watch: {found.get('code')} {found.get('message', '')}"[:_MOST_TEXT]
        raise (GoneError if found.get("code") == 410 else ApiError)(text, int(found.get("code") or 0))
    return kind, found


def _status_of(body: object) -> Object:
    """The Status object of an error; {} when it is something else, a proxy's page say."""
    if not isinstance(body, str | bytes):
        return {}
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
