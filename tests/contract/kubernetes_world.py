"""Kubernetes as worlds of the contract: a node that is cordoned, and a job that is suspended."""

from pathlib import Path

from tests.fakes import FakeClock
from tests.kube_api import KubeApi
from thermogate.schedulers.kubernetes.adapter import Kubernetes
from thermogate.schedulers.kubernetes.api import Api
from thermogate.schedulers.kubernetes.settings import KubernetesSettings
from thermogate.schedulers.standing import Target


class _World:
    signs = True
    target: Target
    unknown: Target

    def __init__(self, clock: FakeClock, folder: Path) -> None:
        self.api = KubeApi().__enter__()
        settings = KubernetesSettings(kubeconfig=str(self.api.kubeconfig(folder)), hold=("cordon",))
        found = Api(settings, clock)
        found.open()
        self.adapter = Kubernetes(found, settings)
        self.api.add("nodes", "n17", spec={"taints": [{"key": "gpu", "effect": "NoSchedule"}]})
        self.api.add("nodes", "n18")
        self.api.add("jobs", "train", "ml", metadata={"labels": {"thermogate.io/job": "bert"}})

    def close(self):
        self.api.__exit__()

    def break_down(self, broken):
        self.api.broken = broken

    @property
    def write_count(self):
        return len(self.api.writes)


class KubernetesNodeWorld(_World):
    target: Target = ("node", "n17")
    unknown: Target = ("node", "n99")

    def held(self):
        return bool(self.api.get("nodes", "n17")["spec"].get("unschedulable"))

    def hold_by_hand(self):
        self.api.edit("nodes", "n17", {"spec": {"unschedulable": True}})

    def release_by_hand(self):
        self.api.edit("nodes", "n17", {"spec": {"unschedulable": None}})


class KubernetesJobWorld(_World):
    target: Target = ("job", "bert")
    unknown: Target = ("job", "gpt")

    def held(self):
        return bool(self.api.get("jobs", "train", "ml")["spec"].get("suspend"))

    def hold_by_hand(self):
        self.api.edit("jobs", "train", {"spec": {"suspend": True}}, "ml")

    def release_by_hand(self):
        self.api.edit("jobs", "train", {"spec": {"suspend": False}}, "ml")
