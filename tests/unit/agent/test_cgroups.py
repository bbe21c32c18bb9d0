"""Owners told from /proc/PID/cgroup.

The forms are those of Slurm (its cgroups.html and cgroup_v2.html; "task_special" of sbatch scripts,
"NODE_slurmstepd.scope" of several slurmd on a host), of the kubelet's two cgroup drivers with
containerd, CRI-O and dockershim, of Docker, Podman and nerdctl, and of systemd; see cgroups.py.
"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermogate.agent.cgroups import Owner, owner_of
from thermogate.core.wire import is_name

ID = "34dc0b5e626f2c5c4c5170e34b10e7654ce36f0fcd532739f4445baabea03376"
SHORT = ID[:12]
UID = "2c48913c-b29f-11e7-9350-020968147796"
UNDERSCORED = UID.replace("-", "_")


def v2(path):
    return f"0::{path}\n"


def v1(path, *, systemd="/system.slice/slurmd.service"):
    """The lines of a v1 host, on which some controllers know nothing of the job."""
    return "".join(
        (
            "12:rdma:/\n",
            f"11:memory:{path}\n",
            "10:cpu,cpuacct:/system.slice\n",
            f"4:devices:{path}\n",
            f"1:name=systemd:{systemd}\n",
            "0::/\n",
        )
    )


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        (v2("/system.slice/slurmstepd.scope/job_123/step_0/user/task_0"), Owner("slurm", "123", step="0")),
        (
            v2("/system.slice/n17_slurmstepd.scope/job_9/step_batch/user/task_special"),
            Owner("slurm", "9", step="batch"),
        ),
        (
            v2("/system.slice/slurmstepd.scope/job_42/step_extern/user"),
            Owner("slurm", "42", step="extern"),
        ),
        (v2("/system.slice/slurmstepd.scope/job_42"), Owner("slurm", "42")),
        (
            v1("/slurm/uid_1000/job_280678/step_interactive/task_0"),
            Owner("slurm", "280678", step="interactive", uid=1000),
        ),
        (v1("/slurm_n17/uid_0/job_5/step_0/task_3"), Owner("slurm", "5", step="0", uid=0)),
        (v1("/slurm/uid_1000/job_280678"), Owner("slurm", "280678", uid=1000)),
        (  # slurmd in a pod: the job says more than the pod
            v2(f"/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/cri-containerd-{ID}.scope"
               "/system.slice/slurmstepd.scope/job_8/step_0/user/task_0"),
            Owner("slurm", "8", step="0"),
        ),
    ],
)  # fmt: skip
def test_slurm_job_is_told_from_its_group(text, owner):
    assert owner_of(text) == owner


@pytest.mark.parametrize(
    ("path", "qos"),
    [
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDERSCORED}.slice/cri-containerd-{ID}.scope",
            "burstable",
        ),
        (
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UNDERSCORED}.slice/crio-{ID}.scope",
            "besteffort",
        ),
        (f"/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/docker-{ID}.scope", "guaranteed"),
        (f"/kubepods/besteffort/pod{UID}/{ID}", "besteffort"),
        (f"/kubepods/pod{UID}/{ID}", "guaranteed"),
        (  # containerd with cgroupfs below a kubelet with systemd
            f"/system.slice/containerd.service/kubepods-besteffort-pod{UNDERSCORED}.slice:cri-containerd:{ID}",
            "besteffort",
        ),
        (  # kind: a node that is a container itself
            f"/docker/{'e' * 64}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice"
            f"/kubelet-kubepods-burstable-pod{UNDERSCORED}.slice/cri-containerd-{ID}.scope",
            "burstable",
        ),
        (f"/../../pod{UID}/{ID}", "guaranteed"),  # as seen from another pod
        (f"/kubepods/burstable/pod{UID}/{ID} (deleted)", "burstable"),
    ],
)
def test_pod_is_told_by_uid_class_and_container(path, qos):
    for text in (v2(path), v1(path, systemd=path)):
        assert owner_of(text) == Owner("pod", UID, qos=qos, container=SHORT)


def test_static_pod_has_a_hash_for_a_uid():
    uid = "e2b3cc1b0ae65cb6a9b1f6ba8a4f1e31"
    found = owner_of(
        v2(f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/crio-{ID}.scope")
    )
    assert found == Owner("pod", uid, qos="burstable", container=SHORT)


@pytest.mark.parametrize(
    "path",
    [
        f"/docker/{ID}",
        f"/{ID}",
        f"/system.slice/docker-{ID}.scope",
        f"/system.slice/docker-{ID}.scope/init",
        f"/machine.slice/libpod-{ID}.scope/container",
        f"/libpod_parent/libpod-{ID}",
        f"/system.slice/nerdctl-{ID}.scope",
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container",
    ],
)
def test_container_without_a_pod_is_told_by_its_short_id(path):
    assert owner_of(v2(path)) == Owner("container", SHORT, container=SHORT)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/train.service", "train.service"),
        ("/system.slice/system-train.slice/train@8.service", "train-8.service"),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        (
            r"/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal\x2dserver.service",
            "app-org.gnome.Terminal-server.service",
        ),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/run-r12ab.scope/below", "run-r12ab.scope"),
        (r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator", "machine-qemu-1-vm.scope"),
        (f"/machine.slice/libpod-conmon-{ID}.scope", f"libpod-conmon-{ID}.scope"),
        ("/batch.slice", "batch.slice"),
    ],
)
def test_unit_is_the_innermost_with_its_escapes_undone(path, unit):
    owner = Owner("unit", unit, users_own=path.startswith("/user.slice"))
    assert owner_of(v2(path)) == owner_of(v1("/", systemd=path)) == owner


@pytest.mark.parametrize(
    "group",
    [
        "system.slice/slurmstepd.scope/job_1/step_0/user/task_0",
        "slurm/uid_0/job_1/step_0",
        f"kubepods/burstable/pod{UID}/{ID[:12]}",
    ],
)
def test_user_cannot_pass_for_a_job_or_pod_by_a_group_of_their_own(group):
    found = owner_of(v2(f"/user.slice/user-1000.slice/user@1000.service/{group}"))
    assert found is not None
    assert found.manager == "unit"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "0::/\n",
        "no colons",
        "0::relative\n",
        "0::/..\n",
        "0::/-.slice\n",
        "0::/job_5/step_0\n",
        "0::/kubepods/podnot-a-uid/abc\n",
        "1:cpu:/process_api/2b4c\n",
    ],
)
def test_group_that_says_nothing_known_is_nobodys(text):
    assert owner_of(text) is None


def test_own_group_of_this_process_can_be_read():
    text = Path("/proc/self/cgroup").read_text()
    found = owner_of(text)
    assert found is None or is_name(found.id)


@given(
    st.one_of(
        st.text(), st.lists(st.text(), max_size=8).map(lambda parts: "0::/" + "/".join(parts) + ".scope")
    )
)
def test_no_text_makes_it_fail_and_every_name_is_fit_for_a_tag(text):
    found = owner_of(text)
    if found is not None:
        assert is_name(found.id)
        assert all(is_name(more) for more in (found.step, found.qos, found.container) if more)
