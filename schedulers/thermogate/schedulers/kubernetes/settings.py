"""Settings of the Kubernetes adapter."""

from typing import Annotated, Literal

from msgspec import Meta

from thermogate.core.config import Settings

_Positive = Annotated[float, Meta(gt=0)]
_NotNegative = Annotated[float, Meta(ge=0)]

NodeAction = Literal["taint", "cordon"]


class KubernetesSettings(Settings, frozen=True):
    """How to reach the API server, and what a decision means to nodes and jobs."""

    kubeconfig: str = ""
    """A kubeconfig file. Empty: the service account of the pod that this runs in."""
    context: str = ""
    """Which context of it; empty: its current one."""
    token_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
    """The service account's token, read again as the kubelet renews it, and when the server refuses it."""
    ca_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    """The authority of the API server's certificate."""
    timeout_s: _Positive = 10.0
    """How long the API server may take to connect, and again to answer: a request to etcd has 5 s."""
    hold: tuple[NodeAction, ...] = ("taint",)
    """What a HOLD of a node does: taint (thermogate.io/gate=hold:NoSchedule, which jobs may tolerate), or
    cordon, or nothing."""
    repair: tuple[NodeAction, ...] = ("taint", "cordon")
    """What a REPAIR of a node does: as above, and it is cordoned."""
    evict: bool = False
    """On REPAIR, also taint with NoExecute: Kubernetes deletes every pod that does not tolerate it, at once
    and regardless of disruption budgets. Off: pods end by themselves, or a drainer takes them."""
    drain_annotation: str = ""
    """On REPAIR, an annotation KEY=VALUE that a drainer in your cluster reads. Empty: none."""
    namespaces: tuple[str, ...] = ()
    """Where jobs are looked for; empty: everywhere, which takes a ClusterRole."""
    kueue: bool = True
    """Whether jobs that Kueue manages are suspended by their Workload; without Kueue there are none."""
    watch: bool = True
    """Look at once where one of our nodes or jobs changes, or a job with our label comes; without it, at the
    next `schedulers.obey.resync_s`."""
    watch_s: _Positive = 240.0
    """How long one watch lasts before the next begins where it ended: servers end them after 5 to 10 min."""
    watch_retry_s: _NotNegative = 5.0
    """How long a watch that failed waits before it lists anew."""
