"""Three nodes on one machine, each in a network namespace of its own: pods, services, and nodes that come and go."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients import load, pods
from tests.clients.conftest import NAME, Cluster, needs_root, running

pytestmark = [needs_root, pytest.mark.root]

Tree = dict[str, Any]
CGROUPS = Path("/sys/fs/cgroup")
WEB = "mkdir /w; hostname > /w/name; exec httpd -f -p 8080 -h /w"
# Each request, but no mere connection, is written down.
TOLD = "mkdir /w; hostname > /w/name; trap 'exit 0' TERM; httpd -f -v -p 8080 -h /w 2> /asked & wait"
QUIET = "while [ $(($(date +%s) - $(stat -c %Y /asked))) -lt 3 ]; do sleep 0.2; done"
SOON = [
    {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
    for name in ("not-ready", "unreachable")
]
CUT = """
table inet cut {
 chain in {
  type filter hook prerouting priority -400
  iifname eth0 %s
 }
 chain out {
  type filter hook postrouting priority 400
  oifname eth0 %s
 }
}
"""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of three nodes that gives up a silent one rather soon, with a web server on each node."""
    options = ("--nodes", "3", "--node-monitor-grace-period", "10s")
    with running(tmp_path_factory.mktemp("three"), f"{NAME}3", *options) as made:
        make(made, workload("DaemonSet", "web", WEB), service("web"))
        made.kubectl("rollout", "status", "daemonset/web", "--timeout=60s")
        yield made


def workload(kind: str, name: str, script: str = pods.FOREVER, **spec: Any) -> Tree:
    """Pods of one script, as evenly over the nodes as can be, and ready where they can answer."""
    main = pods.container(script)
    if script == WEB:
        probe = {"httpGet": {"path": "/name", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 30}
        main |= {"ports": [{"containerPort": 8080, "hostPort": 8088}], "readinessProbe": probe}
    labels = {"app": name}
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    spread["nodeTaintsPolicy"] = "Honor"
    of_pod = {
        "terminationGracePeriodSeconds": 1,
        "topologySpreadConstraints": [spread | {"labelSelector": {"matchLabels": labels}}],
        "containers": [main],
    }
    template = {"metadata": {"labels": labels}, "spec": of_pod}
    made = {"selector": {"matchLabels": labels}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": made}


def service(name: str) -> Tree:
    ports = [{"port": 80, "targetPort": 8080}]
    return pods.thing("Service", name, spec={"type": "LoadBalancer", "selector": {"app": name}, "ports": ports})


def make(cluster: Cluster, *trees: Tree) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": trees}))


def of(cluster: Cluster, app: str) -> dict[str, Tree]:
    """Its pods by the names of their nodes, but for those that are on their way out."""
    found = cluster.get("pods", "-l", f"app={app}")["items"]
    return {p["spec"].get("nodeName", ""): p for p in found if "deletionTimestamp" not in p["metadata"]}


def nodes(cluster: Cluster) -> dict[str, Tree]:
    return {node["metadata"]["name"]: node for node in cluster.get("nodes")["items"]}


def address(node: Tree) -> str:
    return next(str(a["address"]) for a in node["status"]["addresses"] if a["type"] == "InternalIP")


def is_ready(node: Tree) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions", ()))


def name(tree: Tree) -> str:
    return str(tree["metadata"]["name"])


def asked(url: str) -> str:
    """What a web server answers this host."""
    done = subprocess.run(("curl", "-sS", "-m", "20", url), capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr


def url_of(pod: Tree) -> str:
    return f"http://{pod['status'].get('podIP', '')}:8080/name"


def inside(cluster: Cluster, node: str, *command: str, stdin: str = "") -> None:
    """Runs a command in the node's network namespace."""
    path = cluster.directory / "run" / "netns" / node
    cluster.run("nsenter", f"--net={path}", *command, stdin=stdin)


def cut(cluster: Cluster, node: str, into: str = "drop", out: str = "drop") -> Callable[[], None]:
    """Cuts the node off from the others and from the API, one way or both; returns what mends it."""
    inside(cluster, node, "nft", "-f", "-", stdin=CUT % (into, out))
    return lambda: inside(cluster, node, "nft", "delete", "table", "inet", "cut")


def test_pods_of_all_nodes_reach_each_other(three: Cluster) -> None:
    """By their addresses, by name, by cluster IP; and from the host by all of these, node ports and a load balancer."""
    found, there = of(three, "web"), nodes(three)
    assert len(found) == len(there) == 3
    assert not any("taints" in node["spec"] for node in there.values())
    addresses = {node: pod["status"]["podIP"] for node, pod in found.items()}
    assert len({address(node) for node in there.values()}) == 3
    for pod in found.values():
        others = " ".join(addresses.values())
        ask = f"for a in {others} web; do wget -qO- http://$a:$(test $a = web && echo 80 || echo 8080)/name; done"
        heard = three.kubectl("exec", name(pod), "--", "sh", "-c", ask).split()
        assert heard[:3] == [name(found[node]) for node in addresses]
        assert heard[3] in heard[:3]
    web = three.get("service", "web")
    port = web["spec"]["ports"][0]["nodePort"]
    entries = [f"{address(node)}:{port}" for node in there.values()] + [f"127.0.0.1:{port}", web["spec"]["clusterIP"]]
    entries.append(web["status"]["loadBalancer"]["ingress"][0]["ip"])
    names = {name(pod) for pod in found.values()}
    for entry in entries:
        assert asked(f"http://{entry}/name") in names, entry
    for node, pod in found.items():
        assert asked(f"http://{addresses[node]}:8080/name") == name(pod)
        assert asked(f"http://{address(there[node])}:8088/name") == name(pod)


def test_a_node_runs_pods_as_its_own_machine_would(three: Cluster) -> None:
    """The host's network is the node's there, and its files the host's; logs and port-forward find each node."""
    folder = three.directory.parent / "shared"
    folder.mkdir()
    (folder / "word").write_text("of the host")
    volumes = {"volumes": [{"name": "it", "hostPath": {"path": str(folder)}}]}
    script = "ip -o -4 address show dev eth0 | awk '{print $4}'; cat /it/word"
    main = pods.container(script) | {"volumeMounts": [pods.mount("it", "/it")]}
    there = nodes(three)
    guests = [pods.pod(f"at-{node}", main, nodeName=node, hostNetwork=True, **volumes) for node in there]
    make(three, *guests)
    three.kubectl("wait", "pod", *(name(pod) for pod in guests), f"--for={pods.SUCCEEDED}", "--timeout=60s")
    for node, tree in there.items():
        assert three.kubectl("logs", f"at-{node}").splitlines() == [f"{address(tree)}/24", "of the host"]
        assert three.get("pod", f"at-{node}")["status"]["podIP"] == address(tree)
    three.kubectl("delete", "pod", *(name(pod) for pod in guests), "--wait=false")
    pod = of(three, "web")[max(there)]
    forward = subprocess.Popen(
        ("kubectl", "port-forward", name(pod), ":8080"), stdout=subprocess.PIPE, text=True, env=three.environment
    )
    with forward:
        assert forward.stdout is not None
        port = forward.stdout.readline().split()[2].rpartition(":")[2]
        assert asked(f"http://127.0.0.1:{port}/name") == name(pod)
        forward.kill()


def test_a_rollback_of_a_daemon_set_restarts_nothing_without_need(three: Cluster) -> None:
    """Pods that the bad update never reached are the same afterwards."""
    before = {name(pod) for pod in of(three, "web").values()}
    three.kubectl("set", "image", "daemonset/web", "main=foo:non-existent")
    bad = "jsonpath={.items[?(@.spec.containers[0].image=='foo:non-existent')].metadata.name}"
    three.until("a pod of the update", lambda: three.kubectl("get", "pods", "-l", "app=web", "-o", bad))
    kept = before & {name(pod) for pod in of(three, "web").values()}
    three.kubectl("rollout", "undo", "daemonset/web")
    three.kubectl("rollout", "status", "daemonset/web", "--timeout=60s")
    after = {name(pod): pod["status"]["containerStatuses"][0]["restartCount"] for pod in of(three, "web").values()}
    assert len(kept) == 2
    assert kept < after.keys()
    assert set(after.values()) == {0}


def test_nodes_that_are_cut_off(three: Cluster) -> None:
    """They are given up, also one that is heard but hears nothing.

    Their pods are replaced where that is safe, and when they are back nothing ever ran twice.
    """
    folder = three.directory.parent / "diary"
    folder.mkdir()
    write = "trap 'exit 0' TERM; while :; do echo $ME >> /diary/$HOSTNAME; sleep 0.05; done"
    db = workload("StatefulSet", "db", write, replicas=3, serviceName="db", podManagementPolicy="Parallel")
    of_pod = db["spec"]["template"]["spec"]
    of_pod["volumes"] = [{"name": "diary", "hostPath": {"path": str(folder)}}]
    of_pod["containers"][0] |= {"env": [pods.variable("ME", "metadata.uid")]}
    of_pod["containers"][0] |= {"volumeMounts": [pods.mount("diary", "/diary")]}
    app = workload("Deployment", "app", replicas=3)
    for tree in (db, app):
        tree["spec"]["template"]["spec"]["tolerations"] = SOON
    make(three, db, app)
    three.kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    three.kubectl("rollout", "status", "deployment/app", "--timeout=60s")
    _, deaf, victim = sorted(nodes(three))
    pod, stray = of(three, "db")[victim], of(three, "app")[victim]
    mend, hear = cut(three, victim), cut(three, deaf, out="accept")
    three.until("the nodes to be given up", lambda: not any(is_ready(nodes(three)[node]) for node in (victim, deaf)))
    hear()
    three.until("the deaf node to be back", lambda: is_ready(nodes(three)[deaf]))
    three.until("its pods to be replaced", lambda: ready_elsewhere(three, "app", victim) == 3)
    taints = {(t["key"], t["effect"]) for t in nodes(three)[victim]["spec"]["taints"]}
    assert taints == {("node.kubernetes.io/unreachable", effect) for effect in ("NoSchedule", "NoExecute")}
    three.until("the others to serve", lambda: serving(three, "web") == nodes(three).keys() - {victim})
    now = three.get("pod", name(pod))
    assert now["metadata"]["uid"] == pod["metadata"]["uid"]
    assert "deletionTimestamp" in now["metadata"]
    diary = folder / name(pod)
    said = diary.stat().st_size
    three.until("the pod to run on behind the cut", lambda: diary.stat().st_size > said)
    mend()
    three.until("the node to be back", lambda: is_ready(nodes(three)[victim]))
    three.until("a new pod of that name", lambda: uid(three, name(pod)) not in ("", pod["metadata"]["uid"]))
    three.kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    three.until("its second page", lambda: len(set(diary.read_text().split())) == 2)
    lines = diary.read_text().split()
    assert lines == sorted(lines, key=lambda line: line != pod["metadata"]["uid"])
    three.until("the stray pod to be gone", lambda: not uid(three, name(stray)))
    assert not list(CGROUPS.glob(f"*/sampan-*/*/pod{stray['metadata']['uid']}"))


def serving(cluster: Cluster, service: str) -> set[str]:
    """The nodes of its ready endpoints."""
    slices = cluster.get("endpointslices", "-l", f"kubernetes.io/service-name={service}")["items"]
    return {e["nodeName"] for s in slices for e in s["endpoints"] if e["conditions"]["ready"]}


def uid(cluster: Cluster, pod: str) -> str:
    return cluster.kubectl("get", "pod", pod, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")


def ready_elsewhere(cluster: Cluster, app: str, node: str) -> int:
    """How many of its pods are ready on other nodes, and stay."""
    found = [p for p in cluster.get("pods", "-l", f"app={app}")["items"] if "deletionTimestamp" not in p["metadata"]]
    return sum(pod["spec"].get("nodeName") != node and is_ready(pod) for pod in found)


def test_a_node_that_loses_packets(three: Cluster) -> None:
    """All goes on, if slower."""
    victim = max(nodes(three))
    loss = "numgen random mod 100 < 15 drop"
    mend = cut(three, victim, into=loss, out=loss)
    make(three, pods.pod("lossy", pods.container("echo through; sleep 1000"), nodeName=victim))
    three.until("a pod in spite of losses", lambda: of_name(three, "lossy").get("phase") == "Running")
    mend()
    three.kubectl("delete", "pod", "lossy", "--timeout=60s")
    three.until("the node to be ready", lambda: is_ready(nodes(three)[victim]))


def of_name(cluster: Cluster, pod: str) -> Tree:
    status: Tree = cluster.get("pod", pod)["status"]
    return status


def test_an_agent_that_is_killed(three: Cluster) -> None:
    """Its pods serve on meanwhile; the next one takes them over as they are, in the same network."""
    victim = max(nodes(three))
    pod = of(three, "web")[victim]
    before = pod["status"]["containerStatuses"]
    os.kill(three.pid(f"node-{victim}"), signal.SIGKILL)
    assert asked(f"http://{pod['status']['podIP']}:8080/name") == name(pod)
    three.sampan("up", "--kubeconfig", str(three.kubeconfig), "--yes")
    three.kubectl("rollout", "status", "daemonset/web", "--timeout=60s")
    after = of(three, "web")[victim]["status"]["containerStatuses"]
    assert [(c["containerID"], c["restartCount"]) for c in after] == [
        (c["containerID"], c["restartCount"]) for c in before
    ]


def test_no_request_is_lost_when_a_node_is_drained(three: Cluster) -> None:
    """Under load by a load balancer, a cluster IP and every node's port, where pods end when nobody asks, and a budget is kept."""
    calm = workload("Deployment", "calm", TOLD, replicas=2)
    main = calm["spec"]["template"]["spec"]["containers"][0]
    main["lifecycle"] = {"preStop": {"exec": {"command": ["sh", "-c", QUIET]}}}
    main["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "timeoutSeconds": 30}
    calm["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 30
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "calm"}}
    make(three, calm, service("calm"), budget | {"spec": {"maxUnavailable": 1, "selector": calm["spec"]["selector"]}})
    three.kubectl("rollout", "status", "deployment/calm", "--timeout=60s")
    ours, found = three.get("service", "calm"), of(three, "calm")
    port, outside = ours["spec"]["ports"][0]["nodePort"], ours["status"]["loadBalancer"]["ingress"][0]["ip"]
    entries = [(address(node), port) for node in nodes(three).values()] + [
        (ours["spec"]["clusterIP"], 80),
        (outside, 80),
    ]
    victim = max(found)
    with load.Load("/name", *entries) as asking:
        three.until("all to answer", lambda: asking.have_answered({name(pod) for pod in found.values()}))
        three.kubectl("drain", victim, "--ignore-daemonsets", "--timeout=60s")
        three.kubectl("rollout", "status", "deployment/calm", "--timeout=60s")
        left = of(three, "calm")
        three.until("the new one to answer", lambda: asking.have_answered({name(pod) for pod in left.values()}))
    assert asking.failures == []
    assert victim not in left
    three.kubectl("uncordon", victim)
    three.kubectl("delete", "deployment/calm", "service/calm", "pdb/calm", "--wait=false")


def test_a_node_is_drained_and_deleted(three: Cluster) -> None:
    """Pods leave it and come back; deleted, it registers itself anew, and its pods are made anew."""
    victim = max(nodes(three))
    top = ("kubectl", "top", "nodes", "--no-headers")
    three.until("figures of each node", lambda: len(three.run(*top, check=False).stdout.splitlines()) == 3)
    three.kubectl("drain", victim, "--ignore-daemonsets", "--timeout=60s")
    assert victim not in of(three, "app")
    assert victim in of(three, "web")
    three.kubectl("uncordon", victim)
    three.kubectl("delete", "deployment/app", "statefulset/db", "--wait=false", "--ignore-not-found")
    make(three, workload("Deployment", "again", replicas=3))
    three.kubectl("rollout", "status", "deployment/again", "--timeout=60s")
    assert len(of(three, "again")) == 3
    old = nodes(three)[victim]["metadata"]["uid"]
    three.kubectl("delete", "node", victim)
    three.until("the node to register anew", lambda: is_anew(three, victim, old))
    three.until("all pods to be there", lambda: set(of(three, "web")) == set(of(three, "again")) == set(nodes(three)))
    three.kubectl("rollout", "status", "daemonset/web", "--timeout=60s")
    assert asked(f"http://{of(three, 'web')[victim]['status']['podIP']}:8080/name") == name(of(three, "web")[victim])


def is_anew(cluster: Cluster, node: str, old: str) -> bool:
    found = nodes(cluster).get(node)
    return found is not None and found["metadata"]["uid"] != old and is_ready(found)


def test_fewer_nodes(three: Cluster) -> None:
    """The Nodes that are no more wanted are deleted; what they ran is run by the one that stays, at once."""
    make(three, workload("Deployment", "last", replicas=3))
    three.kubectl("rollout", "status", "deployment/last", "--timeout=60s")
    first, *others = sorted(nodes(three))
    three.sampan("down")
    said = three.sampan("up", "--kubeconfig", str(three.kubeconfig), "--yes", "--nodes", "1")
    assert [line.split()[1] for line in said.splitlines() if "is no more" in line] == others
    assert list(nodes(three)) == [first]
    three.until("all pods there", lambda: ready_elsewhere(three, "last", "") == 3)
    pod = of(three, "web")[first]
    three.until("its web server", lambda: asked(url_of(of(three, "web")[first])) == name(pod))
    assert asked(f"http://127.0.0.1:{three.get('service', 'web')['spec']['ports'][0]['nodePort']}/name") == name(pod)
