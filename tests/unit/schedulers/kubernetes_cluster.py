"""A cluster in tests: the fake API server, the adapter to it, and marks as the journal keeps them."""

import contextlib

from tests.contract.schedulers_contract import decision_of
from tests.fakes import FakeClock
from tests.kube_api import KubeApi
from thermogate.core.decision import State
from thermogate.schedulers.adapter import Mark
from thermogate.schedulers.kubernetes.adapter import Kubernetes
from thermogate.schedulers.kubernetes.api import Api
from thermogate.schedulers.kubernetes.settings import KubernetesSettings
from thermogate.schedulers.standing import FREE, follow


class Cluster:
    """`await follow(target, "HOLD")` plans and performs, as Obey does."""

    def __init__(self, server, folder, **settings):
        self.server = server
        self.clock = FakeClock()
        self.settings = KubernetesSettings(kubeconfig=str(server.kubeconfig(folder)), **settings)
        self.api = Api(self.settings, self.clock)
        self.api.open()
        self.adapter = Kubernetes(self.api, self.settings)
        self.marks = {}

    async def plan(self, target, state):
        wanted = FREE if state == "RUN" else follow(FREE, decision_of(target, State(state), 0.7))
        return await self.adapter.plan(target, wanted, self.marks.get(target, {}))

    async def follow(self, target, state):
        plan = await self.plan(target, state)
        marks = self.marks.setdefault(target, {})
        for name in plan.forgets:
            marks.pop(name)
        for step in plan.steps:
            marks |= {name: Mark(detail, done=False) for name, detail in step.sets.items()}
            await self.adapter.perform(step)
            marks |= {name: Mark(detail) for name, detail in step.sets.items()}
            for name in step.clears:
                marks.pop(name)
        return plan


@contextlib.contextmanager
def cluster(folder, *, kueue=False, **settings):
    with KubeApi(kueue=kueue) as server:
        yield Cluster(server, folder, **settings)
