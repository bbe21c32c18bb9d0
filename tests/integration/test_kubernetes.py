"""`thermogate kubernetes` as a process, with a real broker and the fake API server, and its rights there."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.contract.schedulers_contract import decision_of
from tests.kube_api import KubeApi
from tests.servers import mosquitto
from thermogate.cli.settings import ThermogateSettings
from thermogate.core import config
from thermogate.core.gate_messages import Applied
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import applied_topic, decode, encode, gate_topic

pytestmark = pytest.mark.integration

WAIT_S = 60.0
N17, BERT = ("node", "n17"), ("job", "bert")
MANIFEST = Path(__file__).parents[2] / "deploy" / "kubernetes.yaml"


class Site:
    """A broker, a cluster with a node and jobs, and the service between them."""

    def __init__(self, folder, url, server):
        self.folder, self.url, self.server = folder, url, server
        self.log = folder / "log"
        self._seq = 0
        server.add("nodes", "n17")
        server.add("jobs", "train", "ml", metadata={"labels": {"thermogate.io/job": "bert"}})

    @contextlib.contextmanager
    def service(self, *more):
        sets = ["--set=schedulers.dry_run=false", "--set=schedulers.watch.verify=false", *more]
        command = [
            sys.executable,
            "-W",
            "error",
            "-m",
            "thermogate.cli.main",
            "kubernetes",
            "--broker",
            self.url,
        ]
        command += ["--data-dir", str(self.folder / "data"), *sets]
        command += ["--kubeconfig", str(self.server.kubeconfig(self.folder))]
        with self.log.open("ab") as out:
            process = subprocess.Popen(command, env=os.environ, stdout=out, stderr=out)
        try:
            yield process
        finally:
            process.kill()
            process.wait(20)

    async def say(self, target, state, for_s=3600.0):
        self._seq += 1
        said = decision_of(target, state, 0.7, "enforce", self._seq, time.time_ns(), for_s)
        async with MqttClient(MqttSettings(url=self.url), client_id="gate") as client:
            await client.wait_connected()
            await client.publish(gate_topic(*target), encode(said), retain=True)
        return said

    def tainted(self):
        taints = self.server.get("nodes", "n17")["spec"].get("taints", [])
        return [one["value"] for one in taints]

    def suspended(self, name="train", namespace="ml"):
        return self.server.get("jobs", name, namespace)["spec"].get("suspend", False)

    def until(self, true, what):
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if true():
                return
            time.sleep(0.05)
        pytest.fail(f"never: {what}\n{self.log.read_text()}")


@pytest.fixture
def site(tmp_path):
    with mosquitto(tmp_path) as url, KubeApi(kueue=True) as server:
        yield Site(tmp_path, url, server)


async def test_a_node_and_a_job_are_held_reported_and_let_go(site):
    topics = (applied_topic(*N17), applied_topic(*BERT))
    async with MqttClient(MqttSettings(url=site.url), client_id="reader", subscribe=topics) as reader:
        with site.service() as process:
            node, job = await site.say(N17, "HOLD"), await site.say(BERT, "HOLD")
            site.until(lambda: site.tainted() == ["hold"] and site.suspended(), "held")
            wanted = {(node.id, "done", "kubernetes"), (job.id, "done", "kubernetes")}
            while wanted:
                for message in await reader.receive(10):
                    told = decode(message.payload, Applied)
                    wanted.discard((told.decision, told.outcome, told.scheduler))
            await site.say(N17, "RUN")
            await site.say(BERT, "HOLD", for_s=2)
            site.until(lambda: site.tainted() == [] and not site.suspended(), "let go")
            process.terminate()
            assert process.wait(WAIT_S) == 0


async def test_what_changes_in_the_cluster_is_answered_without_waiting_for_the_next_look(site):
    with site.service("--set=schedulers.obey.resync_s=3600"):
        await site.say(N17, "HOLD")
        await site.say(BERT, "HOLD")
        site.until(lambda: site.tainted() == ["hold"] and site.suspended(), "held")
        site.server.add("jobs", "next", "ml", metadata={"labels": {"thermogate.io/job": "bert"}})
        site.until(lambda: site.suspended("next"), "the new job suspended")
        site.server.compact()
        site.server.delete("nodes", "n17")
        site.server.add("nodes", "n17")
        site.server.add("jobs", "later", "ml", metadata={"labels": {"thermogate.io/job": "bert"}})
        site.until(lambda: site.suspended("later"), "the job suspended that came after a 410")


async def test_killed_without_its_journal_it_lets_go_of_what_it_had_set_when_that_has_ended(site):
    with site.service() as process:
        await site.say(N17, "REPAIR")
        await site.say(BERT, "HOLD")
        site.until(lambda: site.tainted() == ["repair"] and site.suspended(), "held")
        process.kill()
        process.wait(20)
    (site.folder / "data/kubernetes.json").unlink()
    (site.folder / "data/kubernetes-standing.json").unlink(missing_ok=True)
    await site.say(N17, "RUN")
    await site.say(BERT, "RUN")
    with site.service():
        site.until(lambda: site.tainted() == [] and not site.suspended(), "let go")
        free = "unschedulable"
        site.until(lambda: free not in site.server.get("nodes", "n17")["spec"], "schedulable again")


async def test_a_dry_run_says_what_it_would_do_and_does_nothing(site):
    await site.say(N17, "HOLD")
    topics = (applied_topic(*N17),)
    async with MqttClient(MqttSettings(url=site.url), client_id="reader", subscribe=topics) as reader:
        with site.service("--set=schedulers.dry_run=true"):
            (message,) = await reader.receive(1)
    told = decode(message.payload, Applied)
    assert (told.outcome, told.text) == ("would", "taint node n17")
    assert site.server.writes == []


def rules():
    (role,) = (one for one in yaml.safe_load_all(MANIFEST.read_text()) if one["kind"] == "ClusterRole")
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


async def test_the_rights_of_the_manifest_are_those_that_it_uses_and_no_more(site):
    queued = {"thermogate.io/job": "queued", "kueue.x-k8s.io/queue-name": "q"}
    job = site.server.add("jobs", "queued", "ml", metadata={"labels": queued})
    labels = {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}
    site.server.add("workloads", "w", "ml", metadata={"labels": labels})
    owner = {"kind": "Job", "name": "train", "uid": "u", "controller": True}
    pod = site.server.add("pods", "train-0", "ml", metadata={"ownerReferences": [owner]})
    work = ("job", f"pod-{pod['metadata']['uid']}")
    targets = (N17, work, ("job", "queued"))

    def active():
        return site.server.get("workloads", "w", "ml")["spec"].get("active", True)

    with site.service():
        for target in targets:
            await site.say(target, "HOLD")
        site.until(lambda: site.tainted() and site.suspended() and not active(), "held")
        for target in targets:
            await site.say(target, "RUN")
        site.until(lambda: not site.tainted() and not site.suspended() and active(), "let go")
        site.until(lambda: {one[2] for one in site.server.verbs} >= {"watch"}, "watched")
    assert site.server.verbs == rules()


def test_the_configuration_of_the_manifest_is_valid_and_safe(tmp_path):
    documents = {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text())}
    (tmp_path / "t.toml").write_text(documents["ConfigMap"]["data"]["thermogate.toml"])
    settings = config.load(ThermogateSettings, file=tmp_path / "t.toml")
    assert settings.schedulers.dry_run
    assert settings.schedulers.watch.verify
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert documents["Deployment"]["spec"]["replicas"] == 1
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
