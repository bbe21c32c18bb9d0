"""Nodes of Kubernetes: what is set, what is another's, and what is left when it is undone."""

import pytest

from tests.unit.schedulers.kubernetes_cluster import cluster
from thermogate.schedulers.adapter import ActionError

N17 = ("node", "n17")
THEIRS = {"key": "gpu", "value": "h100", "effect": "NoSchedule"}
HELD = {"key": "thermogate.io/gate", "value": "hold", "effect": "NoSchedule"}
MENDED = {**HELD, "value": "repair"}


def taints(kube, name="n17"):
    return kube.server.get("nodes", name)["spec"].get("taints", [])


def cordoned(kube):
    return kube.server.get("nodes", "n17")["spec"].get("unschedulable", False)


def notes(kube):
    return kube.server.get("nodes", "n17")["metadata"].get("annotations", {})


@pytest.fixture
def kube(tmp_path):
    with cluster(tmp_path) as made:
        made.server.add("nodes", "n17", spec={"taints": [THEIRS]}, metadata={"annotations": {"a": "b"}})
        yield made


async def test_a_hold_taints_and_says_why_and_a_release_leaves_the_node_as_it_was(kube):
    before = kube.server.get("nodes", "n17")
    plan = await kube.follow(N17, "HOLD")
    assert taints(kube) == [THEIRS, HELD]
    assert not cordoned(kube)
    assert notes(kube)["thermogate.io/why"].startswith("gpu0 is 3 C from its limit")
    assert notes(kube)["thermogate.io/decision"]
    assert plan.text == "taint node n17"
    assert plan.steps[0].text == "kubectl taint --overwrite node n17 thermogate.io/gate=hold:NoSchedule"
    plan = await kube.follow(N17, "RUN")
    after = kube.server.get("nodes", "n17")
    assert (after["spec"], after["metadata"]["annotations"]) == (before["spec"], {"a": "b"})
    assert "labels" not in after["metadata"]
    assert plan.text == "undo on node n17: taint"
    assert kube.marks == {N17: {}}


async def test_a_repair_cordons_too_and_goes_back_to_a_hold(kube):
    await kube.follow(N17, "HOLD")
    await kube.follow(N17, "REPAIR")
    assert (taints(kube), cordoned(kube)) == ([THEIRS, MENDED], True)
    assert kube.server.get("nodes", "n17")["metadata"]["labels"] == {"thermogate.io/gate": "repair"}
    await kube.follow(N17, "HOLD")
    assert (taints(kube), cordoned(kube)) == ([THEIRS, HELD], False)
    assert (await kube.follow(N17, "HOLD")).steps == ()
    await kube.follow(N17, "RUN")
    assert (taints(kube), kube.marks) == ([THEIRS], {N17: {}})


async def test_pods_are_evicted_and_a_drainer_is_asked_only_where_it_is_configured(tmp_path):
    drain = "update.node.deckhouse.io/draining=user"
    with cluster(tmp_path, evict=True, drain_annotation=drain) as kube:
        kube.server.add("nodes", "n17")
        await kube.follow(N17, "HOLD")
        assert taints(kube) == [HELD]
        plan = await kube.follow(N17, "REPAIR")
        assert taints(kube) == [MENDED, {**MENDED, "effect": "NoExecute"}]
        assert notes(kube)["update.node.deckhouse.io/draining"] == "user"
        assert plan.text == "taint, cordon, evict the pods of, ask for the drain of node n17"
        await kube.follow(N17, "RUN")
        assert (taints(kube), notes(kube)) == ([], {})


async def test_a_node_that_an_operator_had_cordoned_stays_cordoned(kube):
    kube.server.edit("nodes", "n17", {"spec": {"unschedulable": True}}, manager="kubectl-cordon")
    await kube.follow(N17, "REPAIR")
    assert taints(kube) == [THEIRS, MENDED]
    assert "thermogate.io/cordoned" not in notes(kube)
    await kube.follow(N17, "RUN")
    assert (taints(kube), cordoned(kube)) == ([THEIRS], True)


async def test_an_operator_takes_a_cordon_over_by_removing_our_annotation(kube):
    await kube.follow(N17, "REPAIR")
    kube.server.edit("nodes", "n17", {"metadata": {"annotations": {"thermogate.io/cordoned": None}}})
    kube.server.edit("nodes", "n17", {"spec": {"unschedulable": None}})
    kube.server.edit("nodes", "n17", {"spec": {"unschedulable": True}})
    await kube.follow(N17, "RUN")
    assert (taints(kube), cordoned(kube)) == ([THEIRS], True)


async def test_a_node_that_an_operator_has_uncordoned_or_untainted_is_left_so_until_the_next_hold(kube):
    await kube.follow(N17, "REPAIR")
    kube.server.edit("nodes", "n17", {"spec": {"unschedulable": None, "taints": [THEIRS]}})
    assert (await kube.follow(N17, "REPAIR")).steps == ()
    await kube.follow(N17, "RUN")
    assert (kube.marks, notes(kube)) == ({N17: {}}, {"a": "b"})
    await kube.follow(N17, "REPAIR")
    assert (taints(kube), cordoned(kube)) == ([THEIRS, MENDED], True)


async def test_a_taint_that_somebody_sets_meanwhile_survives_ours_and_our_leaving(kube):
    other = {"key": "maintenance", "effect": "NoExecute"}
    kube.server.race.append(("nodes", "n17", {"metadata": {"labels": {"x": "y"}}}))  # read by plan
    kube.server.race.append(("nodes", "n17", {"spec": {"taints": [THEIRS, other]}}))  # read before the write
    await kube.follow(N17, "HOLD")
    assert taints(kube) == [THEIRS, other, HELD]
    await kube.follow(N17, "RUN")
    assert taints(kube) == [THEIRS, other]


async def test_a_node_that_always_changes_while_it_is_written_is_an_error_and_tried_later(kube):
    kube.server.race += [("nodes", "n17", {"metadata": {"labels": {"x": str(n)}}}) for n in range(6)]
    with pytest.raises(ActionError, match="changed by others 5 times"):
        await kube.follow(N17, "HOLD")
    await kube.follow(N17, "HOLD")
    assert taints(kube) == [THEIRS, HELD]


async def test_a_field_of_another_manager_is_not_taken_by_force_and_is_named(kube):
    kube.server.edit("nodes", "n17", {"spec": {"unschedulable": False}}, manager="argocd")
    with pytest.raises(ActionError, match=r"another field manager has it.*argocd.*unschedulable"):
        await kube.follow(N17, "REPAIR")
    assert not cordoned(kube)
    await kube.follow(N17, "RUN")
    assert (taints(kube), kube.marks) == ([THEIRS], {N17: {}})


async def test_what_another_manager_says_too_stays_when_we_say_it_no_more(kube):
    await kube.follow(N17, "REPAIR")
    for entry in (node := kube.server._objects["nodes", "", "n17"])["metadata"]["managedFields"]:
        if entry["operation"] == "Apply":
            node["metadata"]["managedFields"].append({**entry, "manager": "maintenance-operator"})
            break
    await kube.follow(N17, "RUN")
    assert cordoned(kube)


async def test_a_node_that_is_deleted_meanwhile_is_not_made_again_by_us(kube):
    await kube.follow(N17, "HOLD")
    plan = await kube.plan(N17, "REPAIR")
    kube.server.delete("nodes", "n17")
    for step in plan.steps:
        with pytest.raises(ActionError):
            await kube.adapter.perform(step)
    with pytest.raises(KeyError):
        kube.server.get("nodes", "n17")
    plan = await kube.follow(N17, "HOLD")
    assert (plan.text, kube.marks) == ("there is no node n17", {N17: {}})


async def test_a_node_that_was_deleted_and_made_again_is_held_again(kube):
    await kube.follow(N17, "HOLD")
    kube.server.delete("nodes", "n17")
    kube.server.add("nodes", "n17")
    await kube.follow(N17, "HOLD")
    assert taints(kube) == [HELD]
    await kube.follow(N17, "RUN")
    assert (taints(kube), kube.marks) == ([], {N17: {}})


async def test_a_node_is_also_known_by_the_name_of_its_host(kube):
    kube.server.add("nodes", "n18.rack2.example", metadata={"labels": {"kubernetes.io/hostname": "n18"}})
    await kube.follow(("node", "n18"), "HOLD")
    assert taints(kube, "n18.rack2.example") == [HELD]
    assert list(await kube.adapter.found()) == [("node", "n18")]


async def test_what_bears_our_sign_is_found_again_without_a_journal(kube):
    await kube.follow(N17, "REPAIR")
    assert await kube.adapter.found() == kube.marks


async def test_a_pace_alone_is_not_the_business_of_kubernetes(kube):
    plan = await kube.plan(N17, "RUN")
    assert plan.steps == ()
    assert kube.server.requests == []
