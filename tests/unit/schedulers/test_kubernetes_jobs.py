"""Jobs of Kubernetes and Workloads of Kueue: which a target is, suspended and resumed."""

import pytest

from tests.unit.schedulers.kubernetes_cluster import cluster

BERT = ("job", "bert")
LABELS = {"metadata": {"labels": {"thermogate.io/job": "bert"}}}
QUEUED = {"metadata": {"labels": {"thermogate.io/job": "bert", "kueue.x-k8s.io/queue-name": "q"}}}


@pytest.fixture
def kube(tmp_path):
    with cluster(tmp_path) as made:
        yield made


def suspended(kube, name="train", namespace="ml"):
    return kube.server.get("jobs", name, namespace)["spec"].get("suspend", False)


def workload(kube, owner_uid, name="w", active=None):
    labels = {"kueue.x-k8s.io/job-uid": owner_uid}
    spec = {} if active is None else {"active": active}
    kube.server.add("workloads", name, "ml", metadata={"labels": labels}, spec=spec)


def active(kube, name="w"):
    return kube.server.get("workloads", name, "ml")["spec"].get("active", True)


def controller(kind, uid, name="x"):
    return [{"kind": kind, "name": name, "uid": uid, "controller": True}]


async def test_a_job_with_our_label_is_suspended_with_the_reason_and_resumed(kube):
    kube.server.add("jobs", "train", "ml", **LABELS)
    plan = await kube.follow(BERT, "HOLD")
    assert suspended(kube)
    notes = kube.server.get("jobs", "train", "ml")["metadata"]["annotations"]
    assert notes["thermogate.io/suspended"] == "true"
    assert notes["thermogate.io/why"].startswith("gpu0 is 3 C")
    assert plan.text == "suspend job ml/train"
    assert (
        plan.steps[0].text == """kubectl patch -n ml job train --type=merge -p '{"spec":{"suspend":true}}'"""
    )
    assert (await kube.follow(BERT, "HOLD")).steps == ()
    await kube.follow(BERT, "RUN")
    assert not suspended(kube)
    meta = kube.server.get("jobs", "train", "ml")["metadata"]
    assert (meta["annotations"], meta["labels"], kube.marks) == (
        {},
        {"thermogate.io/job": "bert"},
        {BERT: {}},
    )


async def test_all_jobs_of_that_name_are_suspended_in_whatever_namespace_and_page(kube):
    for n in range(3):
        kube.server.add("jobs", f"train-{n}", f"ml-{n}", **LABELS)
    kube.server.add("jobs", "other", "ml")
    await kube.follow(BERT, "HOLD")
    assert [suspended(kube, f"train-{n}", f"ml-{n}") for n in range(3)] == [True] * 3
    assert not suspended(kube, "other")


async def test_a_job_is_also_named_by_namespace_and_name(kube):
    kube.server.add("jobs", "train.v2", "ml")
    await kube.follow(("job", "ml.train.v2"), "HOLD")
    assert suspended(kube, "train.v2")


async def test_the_work_of_a_pod_is_the_job_that_the_pod_belongs_to(kube):
    job = kube.server.add("jobs", "train", "ml")
    owner = controller("Job", job["metadata"]["uid"], "train")
    kube.server.add("pods", "other", "ml")
    pod = kube.server.add("pods", "train-0", "ml", metadata={"ownerReferences": owner})
    work = ("job", f"pod-{pod['metadata']['uid']}")
    await kube.follow(work, "HOLD")
    assert suspended(kube)
    kube.server.delete("pods", "train-0", "ml")
    assert (await kube.follow(work, "HOLD")).text == "job ml/train is suspended"
    assert kube.server.requests.count(("GET", "/api/v1/pods")) == 1
    await kube.follow(work, "RUN")
    assert not suspended(kube)


async def test_a_job_that_its_user_has_suspended_is_never_resumed_by_us(kube):
    kube.server.add("jobs", "train", "ml", **LABELS, spec={"suspend": True})
    plan = await kube.follow(BERT, "HOLD")
    assert plan.text == "job ml/train is suspended by somebody else"
    await kube.follow(BERT, "RUN")
    assert suspended(kube)
    assert kube.server.writes == []


async def test_a_job_that_its_user_suspends_while_we_do_so_is_the_users(kube):
    kube.server.add("jobs", "train", "ml", **LABELS)
    plan = await kube.plan(BERT, "HOLD")
    kube.server.edit("jobs", "train", {"spec": {"suspend": True}}, "ml")
    await kube.adapter.perform(plan.steps[0])
    assert kube.server.writes == []
    await kube.follow(BERT, "RUN")
    assert suspended(kube)


async def test_a_job_that_its_user_resumes_runs_on_and_keeps_no_sign_of_ours(kube):
    kube.server.add("jobs", "train", "ml", **LABELS)
    await kube.follow(BERT, "HOLD")
    kube.server.edit("jobs", "train", {"spec": {"suspend": False}}, "ml")
    assert "was resumed by somebody" in (await kube.follow(BERT, "HOLD")).text
    assert not suspended(kube)
    await kube.follow(BERT, "RUN")
    assert kube.server.get("jobs", "train", "ml")["metadata"]["annotations"] == {}
    assert await kube.adapter.found() == {}


async def test_a_user_keeps_a_job_suspended_by_removing_our_annotation(kube):
    kube.server.add("jobs", "train", "ml", **LABELS)
    await kube.follow(BERT, "HOLD")
    mine = {"metadata": {"annotations": {"thermogate.io/suspended": None}}}
    kube.server.edit("jobs", "train", mine, "ml")
    await kube.follow(BERT, "RUN")
    assert suspended(kube)


async def test_a_job_that_comes_while_held_is_suspended_and_one_that_goes_is_forgotten(kube):
    kube.server.add("jobs", "train", "ml", **LABELS)
    await kube.follow(BERT, "HOLD")
    kube.server.delete("jobs", "train", "ml")
    kube.server.add("jobs", "next", "ml", **LABELS)
    await kube.follow(BERT, "HOLD")
    assert suspended(kube, "next")
    assert list(kube.marks[BERT]) == ["jobs/ml/next"]


async def test_a_job_that_has_ended_is_left_alone(kube):
    done = {"conditions": [{"type": "Complete", "status": "True"}]}
    kube.server.add("jobs", "train", "ml", **LABELS, status=done)
    assert (await kube.follow(BERT, "HOLD")).text == "job ml/train has ended"


async def test_a_conflict_is_answered_by_reading_again(kube):
    kube.server.add("jobs", "train", "ml", **LABELS)
    kube.server.race.append(("jobs", "train", {"metadata": {"labels": {"x": "y"}}}))
    await kube.follow(BERT, "HOLD")
    assert suspended(kube)
    assert kube.server.get("jobs", "train", "ml")["metadata"]["labels"]["x"] == "y"


async def test_what_kueue_manages_is_suspended_by_its_workload_alone(tmp_path):
    with cluster(tmp_path, kueue=True) as kube:
        job = kube.server.add("jobs", "train", "ml", **QUEUED, spec={"suspend": False})
        workload(kube, job["metadata"]["uid"])
        plan = await kube.follow(BERT, "HOLD")
        assert (active(kube), suspended(kube)) == (False, False)
        assert plan.text == "suspend workload ml/w"
        assert await kube.adapter.found() == kube.marks
        await kube.follow(BERT, "RUN")
        assert active(kube)
        assert kube.marks == {BERT: {}}


async def test_a_workload_that_its_user_has_deactivated_stays_so(tmp_path):
    with cluster(tmp_path, kueue=True) as kube:
        job = kube.server.add("jobs", "train", "ml", **QUEUED)
        workload(kube, job["metadata"]["uid"], active=False)
        await kube.follow(BERT, "HOLD")
        await kube.follow(BERT, "RUN")
        assert not active(kube)


async def test_a_pod_of_another_kind_of_job_is_held_by_the_workload_of_that_job(tmp_path):
    with cluster(tmp_path, kueue=True) as kube:
        owner = controller("PyTorchJob", "11111111-0000-4000-8000-000000000000")
        pod = kube.server.add("pods", "p", "ml", metadata={"ownerReferences": owner})
        workload(kube, owner[0]["uid"])
        await kube.follow(("job", f"pod-{pod['metadata']['uid']}"), "HOLD")
        assert not active(kube)


async def test_a_job_that_another_controller_would_resume_is_left_alone_without_kueue(kube):
    meta = {**LABELS["metadata"], "ownerReferences": controller("JobSet", "u")}
    kube.server.add("jobs", "train", "ml", metadata=meta)
    plan = await kube.follow(BERT, "HOLD")
    assert plan.text == "no Job and no Workload is bert"
    assert not suspended(kube)


async def test_a_job_of_a_cron_job_is_suspended_itself(kube):
    meta = {**LABELS["metadata"], "ownerReferences": controller("CronJob", "u")}
    kube.server.add("jobs", "train", "ml", metadata=meta)
    await kube.follow(BERT, "HOLD")
    assert suspended(kube)


async def test_jobs_are_looked_for_only_in_the_namespaces_of_the_settings(tmp_path):
    with cluster(tmp_path, namespaces=("ml",)) as kube:
        kube.server.add("jobs", "train", "ml", **LABELS)
        kube.server.add("jobs", "train", "web", **LABELS)
        await kube.follow(BERT, "HOLD")
        assert (suspended(kube), suspended(kube, "train", "web")) == (True, False)
