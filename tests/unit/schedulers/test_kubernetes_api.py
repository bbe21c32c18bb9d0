"""The API server as it is on a bad day: refused tokens, too many requests, failures, and watches that end."""

import asyncio
import contextlib
import json
import socket
import ssl
import threading

import pytest

from tests.certificates import Authority
from tests.fakes import FakeClock
from tests.kube_api import KubeApi
from tests.unit.schedulers.kubernetes_cluster import cluster
from thermogate.core.clock import SystemClock
from thermogate.core.errors import ConfigError
from thermogate.schedulers.kubernetes.api import Api, ApiError, GoneError, NotFoundError
from thermogate.schedulers.kubernetes.settings import KubernetesSettings
from thermogate.schedulers.kubernetes.watcher import Watcher

NODE = "/api/v1/nodes/n17"
LABELLED = {"labels": {"thermogate.io/gate": "hold"}, "annotations": {"thermogate.io/target": "n17"}}


@pytest.fixture
def kube(tmp_path):
    with cluster(tmp_path) as made:
        made.server.add("nodes", "n17")
        yield made


async def test_a_token_that_was_renewed_is_read_again_when_the_old_one_is_refused(kube, tmp_path):
    await kube.api.get(NODE)
    kube.server.token = "t1"
    (tmp_path / "token").write_text("t1")
    assert (await kube.api.get(NODE))["metadata"]["name"] == "n17"


async def test_a_token_that_stays_refused_is_told_and_not_tried_for_ever(kube):
    kube.server.token = "t1"
    with pytest.raises(ApiError, match="401 Unauthorized"):
        await kube.api.get(NODE)
    assert len(kube.server.requests) == 2


async def test_nothing_is_sent_before_the_time_is_over_that_a_429_asks_for(kube):
    kube.server.faults.append(("GET", 429, {"Retry-After": "7"}))
    with pytest.raises(ApiError, match="429"):
        await kube.api.get(NODE)
    kube.clock.pass_time(6.5)
    with pytest.raises(ApiError, match="has asked to wait"):
        await kube.api.get(NODE)
    assert len(kube.server.requests) == 1
    kube.clock.pass_time(1)
    await kube.api.get(NODE)


async def test_a_wait_that_would_last_for_days_is_bounded(kube):
    kube.server.faults.append(("GET", 503, {"Retry-After": "99999999"}))
    with pytest.raises(ApiError):
        await kube.api.get(NODE)
    kube.clock.pass_time(121)
    await kube.api.get(NODE)


async def test_errors_carry_what_the_server_says(kube):
    kube.server.broken = True
    with pytest.raises(ApiError, match="500 etcdserver: request timed out"):
        await kube.api.get(NODE)
    kube.server.broken = False
    with pytest.raises(NotFoundError, match='404 nodes "n99" not found'):
        await kube.api.get("/api/v1/nodes/n99")


async def test_a_server_that_is_down_is_an_error_that_says_so(tmp_path):
    with KubeApi() as server:
        file = server.kubeconfig(tmp_path)
    api = Api(KubernetesSettings(kubeconfig=str(file), timeout_s=2), FakeClock())
    api.open()
    with pytest.raises(ApiError, match="the API server does not answer"):
        await api.get(NODE)


async def test_a_long_list_comes_page_by_page(kube):
    for n in range(1203):
        kube.server.add("nodes", f"m{n:04}", metadata={"labels": {"x": "y"}})
    found, version = await kube.api.list("/api/v1/nodes", "x=y")
    assert (len(found), len({one["metadata"]["name"] for one in found})) == (1203, 1203)
    assert int(version) > 1203


@pytest.mark.parametrize("text", ["", "not: [yaml", json.dumps({"kind": "Config"})])
def test_a_kubeconfig_that_will_not_do_is_a_matter_of_configuration(tmp_path, text):
    (tmp_path / "k").write_text(text)
    with pytest.raises(ConfigError, match="Kubernetes: "):
        Api(KubernetesSettings(kubeconfig=str(tmp_path / "k")), FakeClock()).open()


def test_outside_of_a_pod_without_kubeconfig_it_says_so():
    with pytest.raises(ConfigError, match="Service host/port is not set"):
        Api(KubernetesSettings(), FakeClock(), environ={}).open()


@pytest.fixture
def tls(tmp_path):
    """An authority, and what a server of it needs."""
    authority = Authority(tmp_path)
    pair = authority.pair("kubernetes", host="localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    (tmp_path / "token").write_text("t0")
    return authority, context


def in_a_pod(folder, ca, port):
    settings = KubernetesSettings(token_file=str(folder / "token"), ca_file=str(ca), timeout_s=5)
    environ = {"KUBERNETES_SERVICE_HOST": "localhost", "KUBERNETES_SERVICE_PORT": str(port)}
    api = Api(settings, FakeClock(), environ)
    api.open()
    return api


async def test_in_a_pod_the_service_account_is_used_and_its_token_renewed(tls, tmp_path):
    authority, context = tls
    with KubeApi(tls=context) as server:
        server.add("nodes", "n17")
        api = in_a_pod(tmp_path, authority.certificate, server.port)
        assert (await api.get(NODE))["metadata"]["name"] == "n17"
        server.token = "t1"
        (tmp_path / "token").write_text("t1")
        assert (await api.get(NODE))["metadata"]["name"] == "n17"
        api.close()


async def test_a_server_of_another_authority_gets_no_token(tls, tmp_path):
    _, context = tls
    got = []

    def serve():
        connection, _ = listener.accept()
        with connection, contextlib.suppress(ssl.SSLError, OSError):
            with context.wrap_socket(connection, server_side=True) as secure:
                got.append(secure.recv(1))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        api = in_a_pod(tmp_path, Authority(tmp_path, "other").certificate, listener.getsockname()[1])
        with pytest.raises(ApiError, match="CERTIFICATE_VERIFY_FAILED"):
            await api.get(NODE)
        thread.join(20)
    assert got in ([], [b""])


class Watching:
    """A watcher on real time, and what it has called."""

    def __init__(self, kube, **settings):
        self.told = []
        self._changed = asyncio.Event()
        fast = {"kubeconfig": kube.settings.kubeconfig, "watch_s": 240.0, "watch_retry_s": 0.05, **settings}
        found = KubernetesSettings(**fast)
        api = Api(found, SystemClock())
        api.open()
        self.watcher = Watcher(api, found, SystemClock())

    async def __aenter__(self):
        self._task = asyncio.create_task(self.watcher.run(self._take))
        return self

    async def __aexit__(self, *error):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _take(self, target):
        self.told.append(target)
        self._changed.set()

    async def until(self, target):
        """The target is told once more."""
        async with asyncio.timeout(30):
            while target not in self.told:
                self._changed.clear()
                await self._changed.wait()
        self.told.clear()


N17 = ("node", "n17")


async def test_a_change_of_what_is_ours_is_told_at_once(kube):
    kube.server.edit("nodes", "n17", {"metadata": LABELLED})
    async with Watching(kube) as watching:
        await watching.until(N17)
        kube.server.edit("nodes", "n17", {"spec": {"unschedulable": True}})
        await watching.until(N17)
        kube.server.add("jobs", "train", "ml", metadata={"labels": {"thermogate.io/job": "bert"}})
        await watching.until(("job", "bert"))
        kube.server.delete("nodes", "n17")
        await watching.until(N17)


async def test_after_a_410_it_lists_anew_and_misses_nothing(kube):
    kube.server.edit("nodes", "n17", {"metadata": LABELLED})
    async with Watching(kube) as watching:
        await watching.until(N17)
        for _ in range(3):
            listed = watching.watcher.list_count
            kube.server.edit("nodes", "n17", {"spec": {"unschedulable": True}})
            kube.server.compact()
            await watching.until(N17)
            async with asyncio.timeout(30):
                while watching.watcher.list_count < listed + 3:
                    await asyncio.sleep(0.01)
            kube.server.edit("nodes", "n17", {"spec": {"unschedulable": False}})
            await watching.until(N17)


async def test_a_watch_that_ends_goes_on_where_a_bookmark_was_without_another_list(kube):
    kube.server.edit("nodes", "n17", {"metadata": LABELLED})
    async with Watching(kube, watch_s=1.0) as watching:
        await watching.until(N17)
        for n in range(5):
            kube.server.add("nodes", f"other-{n}")  # nothing of ours, but newer: only bookmarks tell
        async with asyncio.timeout(60):
            while kube.server.ended_watches < 6:
                await asyncio.sleep(0.05)
        kube.server.edit("nodes", "n17", {"spec": {"unschedulable": True}})
        await watching.until(N17)
        assert watching.watcher.list_count == 3


async def test_a_watch_goes_on_when_the_server_has_been_down(kube, caplog):
    async with Watching(kube) as watching:
        kube.server.broken = True
        kube.server.compact()
        async with asyncio.timeout(30):
            while "500" not in caplog.text:
                await asyncio.sleep(0.01)
        kube.server.broken = False
        kube.server.edit("nodes", "n17", {"metadata": LABELLED})
        await watching.until(N17)


async def test_a_watch_that_begins_too_early_is_gone(kube):
    kube.server.compact()
    with pytest.raises(GoneError, match="too old resource version"):
        list(await asyncio.to_thread(lambda: list(kube.api.watch("/api/v1/nodes", "", "1").events())))
