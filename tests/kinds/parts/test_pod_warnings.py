"""What the writer of a pod is warned of."""

from collections.abc import Callable
from typing import Any

import pytest

from sampan.kinds.apps import stateful_set
from sampan.kinds.core import persistent_volume_claim
from sampan.kinds.core import pod as core_pod
from sampan.kinds.parts import pod_warnings, volume_overlaps

Tree = dict[str, Any]


def pod(*containers: Tree, annotations: Tree | None = None, **spec: Any) -> Tree:
    return {"metadata": {"annotations": annotations or {}}, "spec": {"containers": list(containers), **spec}}


ENV = "hides previous definition of"
DROPPED = "which may be dropped when using apply"
MANY = [
    (pod(imagePullSecrets=[{}]), ['spec.imagePullSecrets[0].name: invalid empty name ""']),
    (pod(imagePullSecrets=[{"name": "a"}, {"name": "a"}]), ['spec.imagePullSecrets[1].name: duplicate name "a"']),
    (pod(hostAliases=[{"ip": "1.2.3.4"}, {"ip": "1.2.3.4"}]), ['spec.hostAliases[1].ip: duplicate ip "1.2.3.4"']),
    (
        pod(nodeSelector={"beta.kubernetes.io/os": "linux"}),
        ['spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'],
    ),
    (
        pod(topologySpreadConstraints=[{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}]),
        [
            "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; "
            'use "topology.kubernetes.io/zone" instead',
            "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
        ],
    ),
    (
        pod(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "a"}]}}),
        [
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: "
            "a null labelSelector results in matching no pod"
        ],
    ),
    (
        pod(annotations={"scheduler.alpha.kubernetes.io/critical-pod": ""}),
        [
            "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; "
            'use the "priorityClassName" field instead'
        ],
    ),
    (
        pod({"name": "c", "resources": {"limits": {"memory": "100m"}, "requests": {"memory": "1Gi"}}}),
        ['spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer'],
    ),
    (
        pod({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "$(A)"}]}),
        [f'spec.containers[0].env[2]: {ENV} "A", {DROPPED}'],
    ),
    (
        pod({"ports": [{"containerPort": 80}]}, {"ports": [{"containerPort": 80}]}),
        ["spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]"],
    ),
    (
        pod({"ports": [{"containerPort": 80}, {"containerPort": 80, "hostPort": 8080}]}),
        ["spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]"],
    ),
    (
        pod({"ports": [{"containerPort": 80, "hostPort": 1}, {"containerPort": 80, "hostPort": 1, "hostIP": "::1"}]}),
        ["spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]"],
    ),
    (
        pod({"ports": [{"containerPort": 80, "hostIP": "1.2.3.4"}]}),
        [
            "spec.containers[0].ports[0]: hostIP set without hostPort: "
            "{Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.2.3.4}"
        ],
    ),
    (pod({"ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]}), []),
    (
        pod(terminationGracePeriodSeconds=-1),
        ["spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"],
    ),
]


MANY += [
    (pod(volumes=[{"name": "a", kind: {}}]), [f"spec.volumes[0].{shown}: {told}"])
    for kind, shown, told in (
        ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
        ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
        ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
    )
]
STORAGE = {"resources": {"requests": {"storage": "1500m"}, "limits": {"storage": "1Gi"}}}
FRACTION = 'resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer'
SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
NOTED = {
    "seccomp.security.alpha.kubernetes.io/pod": "x",
    "container.seccomp.security.alpha.kubernetes.io/a": "x",
    "container.seccomp.security.alpha.kubernetes.io/b": "x",
}
PROFILE = {"seccompProfile": {"type": "RuntimeDefault"}}
LABEL = {"key": "beta.kubernetes.io/arch", "operator": "In", "values": ["a b"]}
NODES = {
    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [LABEL]}]},
    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {"matchExpressions": [LABEL]}}],
}
_REQUIRED = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
_PREFERRED = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference"
_OLD_LABEL = 'beta.kubernetes.io/arch is deprecated since v1.14; use "kubernetes.io/arch" instead'
MANY += [
    (
        pod(volumes=[{"name": "a", "ephemeral": {"volumeClaimTemplate": {"spec": STORAGE}}}]),
        [f"spec.volumes[0].ephemeral.volumeClaimTemplate.spec.{FRACTION}"],
    ),
    (
        pod({"name": "a"}, {"name": "b", "securityContext": PROFILE}, annotations=NOTED),
        [
            f"metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: {SECCOMP}",
            f"metadata.annotations[container.seccomp.security.alpha.kubernetes.io/a]: {SECCOMP}",
        ],
    ),
    (pod(annotations={"seccomp.security.alpha.kubernetes.io/pod": "x"}, securityContext=PROFILE), []),
]


def files(*paths: str, **more: Any) -> Tree:
    return {**more, "items": [{"key": "k", "path": path} for path in paths]}


def projected(*sources: Tree) -> Tree:
    return pod(volumes=[{"name": "v", "projected": {"sources": list(sources)}}])


TOKEN = {"serviceAccountToken": {"path": "token"}}
MANY += [
    (
        pod(volumes=[{"name": "v", "configMap": files("a", "a/b", "ab", "a/", name="m")}]),
        [f'volume "v" (ConfigMap "m"): overlapping paths: "{path}" with "a"' for path in ("a/b", "a")],
    ),
    (
        pod(volumes=[{"name": "v", "secret": files("a/b/c", "a/b", secretName="s")}]),
        ['volume "v" (Secret "s"): overlapping paths: "a/b" with "a/b/c"'],
    ),
    (
        pod(volumes=[{"name": "v", "downwardAPI": {"items": [{"path": "a"}, {"path": "a"}]}}]),
        ['volume "v" (DownwardAPI): overlapping paths: "a" with "a"'],
    ),
    (
        projected(TOKEN, {"configMap": files("ca.crt", "token", name="m")}, {"secret": {"name": "s"}}),
        ['volume "v" (Projected ConfigMap "m"): overlapping paths: "token" with "token"'],
    ),
    (
        projected({"secret": files("token/x", name="s")}, TOKEN, {"clusterTrustBundle": {"path": "b", "name": "t"}}),
        ['volume "v" (Projected ServiceAccountToken): overlapping paths: "token/x" with "token"'],
    ),
    (
        projected({"downwardAPI": files("a", "a")}, {}),
        [
            'volume "v" (Projected DownwardAPI): overlapping paths: "a" with "a"',
            'volume "v" (Projected) has no sources provided',
        ],
    ),
    (projected(TOKEN, {"configMap": files("ca.crt")}, {"downwardAPI": files("namespace")}), []),
    (
        projected(
            {"podCertificate": {"keyPath": "key", "certificateChainPath": "chain"}}, {"secret": files("key", name="s")}
        ),
        ['volume "v" (Projected Secret "s"): overlapping paths: "key" with "key"'],
    ),
]


def test_paths_that_go_on_and_on() -> None:
    """The first of them are looked at, and no more: a pod may name as many as fit into a request."""
    deep = files(*("a/" * number + "b" for number in range(3000)), name="m")
    told = list(volume_overlaps.warnings({"name": "v", "configMap": deep}))
    assert told == []
    wide = [{"configMap": files("same", name=str(number))} for number in range(30_000)]
    told = list(volume_overlaps.warnings({"name": "v", "projected": {"sources": wide}}))
    assert len(told) == volume_overlaps.MOST_PARTS - 1


ARMOR = "container.apparmor.security.beta.kubernetes.io/"


def armored(text: str, own: Tree | None = None, of_pod: Tree | None = None, **spec: Any) -> Tree:
    container: Tree = {"name": "c", "securityContext": {"privileged": False}}
    if own:
        container["securityContext"]["appArmorProfile"] = own
    context = {"securityContext": {"appArmorProfile": of_pod}} if of_pod else {}
    return pod(container, annotations={f"{ARMOR}c": text, f"{ARMOR}other": text}, **context, **spec)


UNCONFINED, DEFAULT = {"type": "Unconfined"}, {"type": "RuntimeDefault"}
OLD = f'metadata.annotations[{ARMOR}c]: deprecated since v1.30; use the "appArmorProfile" field instead'


@pytest.mark.parametrize(
    ("given", "profile", "told"),
    [
        (armored("unconfined"), UNCONFINED, [OLD]),
        (armored("runtime/default"), DEFAULT, [OLD]),
        (armored("localhost/a/b"), {"type": "Localhost", "localhostProfile": "a/b"}, [OLD]),
        (armored("localhost/"), None, [OLD]),
        (armored("odd"), None, [OLD]),
        (armored("unconfined", own=DEFAULT), DEFAULT, []),
        (armored("odd", own=DEFAULT), DEFAULT, []),
        (armored("unconfined", of_pod=DEFAULT), UNCONFINED, [OLD]),
        (armored("runtime/default", of_pod=DEFAULT), None, []),
        (armored("unconfined", os={"name": "windows"}), None, []),
    ],
)
def test_apparmor_by_annotation(given: Tree, profile: Tree | None, told: list[str]) -> None:
    """A new pod's containers get the profile that was meant; its writer is told what is used today."""
    core_pod.prepare(given, None, "")
    context = given["spec"]["containers"][0]["securityContext"]
    assert context == {"privileged": False, **({"appArmorProfile": profile} if profile else {})}
    assert list(core_pod.warn(given, None)) == told


def test_apparmor_by_annotation_of_a_template() -> None:
    """It stays as it is: the pods that are made of it have their own fields."""
    where = f"spec.template.{OLD}"
    assert pod_warnings.warnings(armored("unconfined"), "spec.template") == [where]
    assert pod_warnings.warnings(armored("odd"), "spec.template") == [where]
    for given in (armored("unconfined", own=DEFAULT), armored("unconfined", of_pod=DEFAULT)):
        assert pod_warnings.warnings(given, "spec.template") == []


def test_labels_of_nodes() -> None:
    """Old ones are told wherever they are; a value that no label has only where it is a wish."""
    told = pod_warnings.warnings(pod(affinity={"nodeAffinity": NODES}), "")
    assert told[:2] == [
        f"{_REQUIRED}.matchExpressions[0].key: {_OLD_LABEL}",
        f"{_PREFERRED}.matchExpressions[0].key: {_OLD_LABEL}",
    ]
    (wrong,) = told[2:]
    assert wrong.startswith(f"{_PREFERRED}.matchExpressions[0].values[0]: a b is invalid, ")


def test_claims_are_told_of_fractions() -> None:
    """A claim's own, and those of a stateful set's templates, by the path that clients know."""
    claim = {"metadata": {"name": "a"}, "spec": STORAGE}
    assert persistent_volume_claim.warn(claim, None) == [f"spec.{FRACTION}"]
    made = {"metadata": {"name": "a"}, "spec": {"template": pod(), "volumeClaimTemplates": [claim]}}
    assert stateful_set.warn(made, None) == [f"spec.volumeClaimTemplates[0].{FRACTION}"]
    assert stateful_set.warn(made, made) == [f"spec.volumeClaimTemplates[0].Spec.{FRACTION}"]


@pytest.mark.parametrize(
    "port",
    [
        lambda index: {"containerPort": 80},
        lambda index: {"containerPort": 80, "hostIP": f"10.0.{index // 256}.{index % 256}"},
        lambda index: {"containerPort": 80, "hostPort": 1, "hostIP": str(index)} if index else {"containerPort": 80},
        lambda index: {"containerPort": 80, "hostPort": 1, "hostIP": str(index) if index % 2 else ""},
    ],
)
def test_many_ports_are_told_of_within_bounds(port: Callable[[int], Tree]) -> None:
    """Not each against each: no more texts than an answer holds."""
    told = pod_warnings.warnings(pod({"ports": [port(index) for index in range(20_000)]}), "")
    assert len(told) == pod_warnings.MAX_TEXTS


def test_ports_apart_are_told_of_nothing() -> None:
    """As many of one number as there may be, on host ports of their own."""
    ports = [{"containerPort": 80, "hostPort": index + 1} for index in range(20_000)]
    assert pod_warnings.warnings(pod({"ports": ports}), "") == []


def test_a_port_is_told_once_of_equal_ones() -> None:
    """By the first of them, beside each other definition that it meets, in their order."""
    ports: list[Tree] = [{"containerPort": 80, "hostPort": 1, "hostIP": "::1"}, {"containerPort": 80}]
    ports += [{"containerPort": 80}, {"containerPort": 80, "hostPort": 1}]
    here = "spec.containers[0].ports"
    assert pod_warnings.warnings(pod({"ports": ports}), "") == [
        f"{here}[1]: overlapping port definition with {here}[0]",
        f"{here}[2]: overlapping port definition with {here}[0]",
        f"{here}[2]: duplicate port definition with {here}[1]",
        f"{here}[3]: dangerously ambiguous port definition with {here}[0]",
        f"{here}[3]: overlapping port definition with {here}[1]",
    ]


@pytest.mark.parametrize(("given", "told"), MANY)
def test_a_likely_mistake_is_told(given: Tree, told: list[str]) -> None:
    """In the reference server's words, and nothing else."""
    assert pod_warnings.warnings(given, "") == told


def test_a_template_is_told_when_it_is_new() -> None:
    """By its own path; an old one is not told again."""
    made = {"spec": {"template": pod(imagePullSecrets=[{}])}}
    told = 'spec.template.spec.imagePullSecrets[0].name: invalid empty name ""'
    assert pod_warnings.template_warnings(made, None) == [told]
    assert pod_warnings.template_warnings(made, made) == []
