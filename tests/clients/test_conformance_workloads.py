"""T3: controllers with real pods, and what kubectl and tokens do with them; each test names its lines in docs/conformance.md."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import websocket

from tests.clients import pods
from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import FOREVER, Tree, container, create, job, mount, pod, template, wait
from tests.clients.test_kubectl_streams import access

pytestmark = [needs_root, pytest.mark.root]

COMPLETE = "condition=Complete"
FAILED = "condition=Failed"
SERVE = f"mkdir /www; hostname > /www/index.html; httpd -p 9376 -h /www; {FOREVER}"
READY = {"readinessProbe": {"tcpSocket": {"port": 9376}, "periodSeconds": 1}}


def indexed(count: int, **more: Any) -> Tree:
    return {"completions": count, "parallelism": count, "completionMode": "Indexed", **more}


def on_exit(action: str, code: int) -> Tree:
    rule = {"action": action, "onExitCodes": {"operator": "In", "values": [code]}}
    return {"podFailurePolicy": {"rules": [rule]}}


def ended(cluster: Cluster, name: str) -> tuple[str, Tree]:
    """The reason of the job's end, and its status."""
    found = cluster.get("job", name)["status"]
    last = [each for each in found["conditions"] if each["type"] in ("Complete", "Failed") and each["status"] == "True"]
    return last[0]["reason"], found


def disturb(cluster: Cluster, ns: str, folder: Path) -> None:
    """Makes a job whose failures do not count when its pod is evicted, and evicts its pod."""
    ignored = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    rules = {"backoffLimit": 0, "podFailurePolicy": {"rules": [ignored]}}
    script = "test -e /h/again && exit 0; touch /h/again; trap 'exit 1' TERM; while :; do sleep 0.1; done"
    made = job("disturbed", script, rules, volumes=[{"name": "h", "hostPath": {"path": str(folder)}}])
    made["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [mount("h", "/h")]
    create(cluster, made)
    cluster.until("the pod has begun", (folder / "again").exists)
    name = cluster.get("pods", "-l", "job-name=disturbed")["items"][0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": ns}}
    path = f"/api/v1/namespaces/{ns}/pods/{name}/eviction"
    cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def test_jobs(cluster: Cluster, ns: str, tmp_path: Path) -> None:
    """126, 127, 129, 131, 133-138: by exit codes, evictions, indexes, limits of failures and successes."""
    disturb(cluster, ns, tmp_path)
    even = "exit $((JOB_COMPLETION_INDEX % 2 == 0))"
    first = f'test "$JOB_COMPLETION_INDEX" = 0 && exit 0; {FOREVER}'
    once = "test -e /e/x && exit 0; touch /e/x; exit 1"
    local = {"restartPolicy": "OnFailure", "volumes": [{"name": "e", "emptyDir": {}}]}
    locally = job("locally", once, {"completions": 4, "parallelism": 2, "backoffLimit": 4}, **local)
    (main,) = locally["spec"]["template"]["spec"]["containers"]
    main["volumeMounts"] = [mount("e", "/e")]
    count, zero = {"succeededCount": 1}, {"succeededIndexes": "0"}
    create(
        cluster,
        job("code", "exit 42", {"parallelism": 2, "completions": 2, **on_exit("FailJob", 42)}),
        job("named", "echo $JOB_COMPLETION_INDEX $(hostname)", indexed(4)),
        job("some", even, indexed(4, backoffLimitPerIndex=0)),
        job("index", even, indexed(4, backoffLimitPerIndex=1, **on_exit("FailIndex", 1))),
        locally,
        job("most", "exit 1", indexed(4, backoffLimitPerIndex=0, maxFailedIndexes=1, parallelism=1)),
        job("all", "true", indexed(2, successPolicy={"rules": [{"succeededIndexes": "0-1"}]})),
        job("count", first, indexed(3, successPolicy={"rules": [count]})),
        job("zero", first, indexed(3, successPolicy={"rules": [zero]})),
    )
    for name in ("named", "locally", "all", "count", "zero", "disturbed"):  # one by one: each has the whole time
        wait(cluster, COMPLETE, f"job/{name}")
    for name in ("code", "some", "index", "most"):
        wait(cluster, FAILED, f"job/{name}")
    found = cluster.get("job", "disturbed")["status"]
    assert (found["succeeded"], found.get("failed", 0)) == (1, 0)
    assert ended(cluster, "code")[0] == "PodFailurePolicy"
    assert ended(cluster, "named")[1]["completedIndexes"] == "0-3"
    said = cluster.kubectl("logs", "-l", "job-name=named", "--tail=-1").splitlines()
    assert sorted(said) == [f"{n} named-{n}" for n in range(4)]
    for name in ("some", "index"):
        reason, found = ended(cluster, name)
        assert (reason, found["failedIndexes"], found["completedIndexes"]) == ("FailedIndexes", "0,2", "1,3"), name
        assert found["failed"] == 2
    assert ended(cluster, "locally")[1]["succeeded"] == 4
    assert all(
        each["status"]["containerStatuses"][0]["restartCount"] == 1
        for each in cluster.get("pods", "-l", "job-name=locally")["items"]
    )
    reason, found = ended(cluster, "most")
    assert (reason, found["failed"]) == ("MaxFailedIndexesExceeded", 2)
    for name, completed in (("all", "0,1"), ("count", "0"), ("zero", "0")):
        reason, found = ended(cluster, name)
        assert (reason, found["completedIndexes"], found.get("active", 0)) == ("SuccessPolicy", completed, 0), name
        assert found["conditions"][0]["type"] == "SuccessCriteriaMet"


def test_the_life_of_a_job(cluster: Cluster, ns: str) -> None:
    """132: suspended, labelled, resumed, done, deleted by its label."""
    create(cluster, job("lives", "true", {"suspend": True, "completions": 2}))
    wait(cluster, "condition=Suspended", "job/lives")
    cluster.kubectl("label", "job", "lives", "phase=patched")
    assert not cluster.get("pods", "-l", "job-name=lives")["items"]
    cluster.kubectl("patch", "job", "lives", "-p", '{"spec": {"suspend": false}}')
    wait(cluster, COMPLETE, "job/lives")
    assert cluster.get("jobs", "-l", "phase=patched")["items"][0]["status"]["succeeded"] == 2
    cluster.kubectl("delete", "jobs", "-l", "phase=patched", "--timeout=60s")
    cluster.until("its pods are gone", lambda: not cluster.get("pods", "-l", "job-name=lives")["items"])


def replicated(kind: str, name: str, count: int, version: str = "v1", **more: Any) -> Tree:
    """A controller of pods that serve their own names."""
    labels = {"app": name}
    selector: Tree = labels if kind == "ReplicationController" else {"matchLabels": labels}
    env = [{"name": "VERSION", "value": version}]
    spec = template(container(SERVE, **{**READY, "env": env, **more.pop("main", {})}), restartPolicy="Always")
    inner = {"metadata": {"labels": labels}, "spec": spec}
    api = "v1" if kind == "ReplicationController" else "apps/v1"
    whole = {"replicas": count, "selector": selector, "template": inner, **more}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": whole}


def read(address: str, port: int) -> str:
    with urllib.request.urlopen(f"http://{address}:{port}/", timeout=60) as answer:
        text: str = answer.read().decode().strip()
        return text


def test_each_replica_serves(cluster: Cluster, ns: str) -> None:
    """143, 148, 175, 184, 185: of ReplicaSets and ReplicationControllers; scaled, exposed, exposed again, deleted."""
    create(cluster, replicated("ReplicaSet", "rs", 2), replicated("ReplicationController", "rc", 2))
    wait(cluster, "jsonpath={.status.readyReplicas}=2", "rs/rs", "rc/rc")
    for name in ("rs", "rc"):
        found = cluster.get("pods", "-l", f"app={name}")["items"]
        assert len(found) == 2
        for each in found:
            assert read(each["status"]["podIP"], 9376) == each["metadata"]["name"]
            raw = f"/api/v1/namespaces/{ns}/pods/{each['metadata']['name']}:9376/proxy/"
            assert cluster.kubectl("get", "--raw", raw).strip() == each["metadata"]["name"]
    cluster.kubectl("expose", "rc", "rc", "--name=rm2", "--port=1234", "--target-port=9376")
    cluster.kubectl("expose", "service", "rm2", "--name=rm3", "--port=2345", "--target-port=9376")
    names = {each["metadata"]["name"] for each in cluster.get("pods", "-l", "app=rc")["items"]}
    for name, port in (("rm2", 1234), ("rm3", 2345)):
        cluster.until(f"{name} has endpoints", lambda name=name: _ready_endpoints(cluster, name) == 2)
        address = cluster.get("service", name)["spec"]["clusterIP"]
        cluster.until(f"{name} answers", lambda address=address, port=port: _answers(address, port, names))
    for count in (1, 2):
        cluster.kubectl("scale", "rc", "rc", f"--replicas={count}", "--timeout=60s")
        wait(cluster, f"jsonpath={{.status.readyReplicas}}={count}", "rc/rc")
        cluster.until("no more", lambda count=count: len(cluster.get("pods", "-l", "app=rc")["items"]) == count)
    cluster.kubectl("delete", "rc", "rc", "--timeout=60s")
    cluster.until("the pods are gone", lambda: not cluster.get("pods", "-l", "app=rc")["items"])


def _ready_endpoints(cluster: Cluster, service: str) -> int:
    slices = cluster.get("endpointslices", "-l", f"kubernetes.io/service-name={service}")["items"]
    return sum(each["conditions"]["ready"] for found in slices for each in found["endpoints"] or ())


def _answers(address: str, port: int, names: set[str]) -> bool:
    try:
        return read(address, port) in names
    except OSError:
        return False


def members(cluster: Cluster, name: str) -> list[str]:
    """The set's pods, each with its readiness or that it ends: web-0 True."""
    found = []
    for each in cluster.get("pods", "-l", f"app={name}")["items"]:
        states = {c["type"]: c["status"] for c in each["status"].get("conditions", ())}
        state = "ends" if "deletionTimestamp" in each["metadata"] else states.get("Ready", "False")
        found.append(f"{each['metadata']['name']} {state}")
    return sorted(found)


def test_sets_with_ill_pods(cluster: Cluster, ns: str) -> None:
    """151, 152: a set in order stops at an ill pod, up and down; one that bursts does not."""
    asked = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "timeoutSeconds": 30}
    ready = {"readinessProbe": asked}
    ordered = replicated("StatefulSet", "ordered", 2, main=ready, serviceName="none")
    burst = replicated("StatefulSet", "burst", 3, main=ready, serviceName="none", podManagementPolicy="Parallel")
    create(cluster, ordered, burst)

    def become(name: str, is_well: bool) -> None:
        cluster.kubectl("exec", name, "--", *(("touch", "/tmp/ready") if is_well else ("rm", "/tmp/ready")))

    def reaches(name: str, *wanted: str) -> None:
        cluster.until(f"{name} has {wanted}", lambda: members(cluster, name) == list(wanted))

    wait(cluster, pods.RUNNING, "ordered-0", "burst-0", "burst-1", "burst-2")
    assert members(cluster, "ordered") == ["ordered-0 False"]
    become("ordered-0", True)
    wait(cluster, "create", "ordered-1")
    wait(cluster, pods.RUNNING, "ordered-1")
    become("ordered-1", True)
    reaches("ordered", "ordered-0 True", "ordered-1 True")
    ill = ["ordered-0 False", "ordered-1 False"]
    for name in ("ordered-0", "ordered-1"):
        become(name, False)
    reaches("ordered", *ill)
    cluster.kubectl("scale", "statefulset/burst", "--replicas=1")
    reaches("burst", "burst-0 False")
    for count, generation in (("3", 2), ("0", 3)):
        cluster.kubectl("scale", "statefulset/ordered", f"--replicas={count}")
        wait(cluster, f"jsonpath={{.status.observedGeneration}}={generation}", "statefulset/ordered")
        assert members(cluster, "ordered") == ill
    become("ordered-1", True)  # and the first goes though it is ill, as nobody is before it
    cluster.kubectl("scale", "statefulset/burst", "--replicas=0")
    for name in ("ordered", "burst"):
        reaches(name)


def test_sets_are_updated_and_mended(cluster: Cluster, ns: str) -> None:
    """153, 157: a new template reaches all, from the last to the first, and back; a pod that was turned away comes again."""
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    port: Tree = {"ports": [{"containerPort": 21017}]}
    holder = pod("holder", container(**port), nodeName=node, hostNetwork=True)
    create(cluster, holder, replicated("StatefulSet", "web", 2, serviceName="none"))
    wait(cluster, pods.READY, "holder")
    evicted = replicated("StatefulSet", "evicted", 1, serviceName="none")
    evicted["spec"]["template"]["spec"] = template(container(**port), nodeName=node, hostNetwork=True) | {
        "restartPolicy": "Always"
    }
    create(cluster, evicted)  # from now on it comes and goes
    turned_away = cluster.until("NodePorts", lambda: pods.events(cluster, "evicted-0", "NodePorts"))
    assert "node(s) didn't have free ports for the requested pod ports" in turned_away[0]
    ready = "jsonpath={.status.readyReplicas}="
    wait(cluster, ready + "2", "statefulset/web")
    before = cluster.get("statefulset", "web")["status"]["currentRevision"]
    cluster.kubectl("set", "env", "statefulset/web", "VERSION=v2")
    cluster.kubectl("rollout", "status", "statefulset/web", "--timeout=60s")
    after = _updated(cluster, "v2")
    assert after != before
    cluster.kubectl("rollout", "undo", "statefulset/web")
    cluster.kubectl("rollout", "status", "statefulset/web", "--timeout=60s")
    assert _updated(cluster, "v1") == before
    cluster.kubectl("delete", "pod", "holder", "--timeout=60s")
    wait(cluster, ready + "1", "statefulset/evicted")


def _updated(cluster: Cluster, version: str) -> str:
    """Checks that all pods are of this version and were made from the last to the first; their revision."""
    found = cluster.get("pods", "-l", "app=web")["items"]
    label = "controller-revision-hash"
    assert {each["spec"]["containers"][0]["env"][0]["value"] for each in found} == {version}
    started = {each["metadata"]["name"]: each["status"]["startTime"] for each in found}
    assert started["web-1"] <= started["web-0"]
    (revision,) = {each["metadata"]["labels"][label] for each in found}
    status = cluster.get("statefulset", "web")["status"]
    assert status["currentRevision"] == status["updateRevision"] == revision
    return str(revision)


def test_parts_of_logs(cluster: Cluster, ns: str) -> None:
    """186: the last lines, the first bytes, with times, of the last moment and of the last day."""
    script = "for n in $(seq 1 100); do echo the line number $n; done"
    create(cluster, pod("p", container(script)))
    wait(cluster, pods.SUCCEEDED, "p")
    assert cluster.kubectl("logs", "p").count("\n") == 100
    assert cluster.kubectl("logs", "p", "--tail=1") == "the line number 100\n"
    assert cluster.kubectl("logs", "p", "--limit-bytes=1") == "t"
    moment, _, text = cluster.kubectl("logs", "p", "--tail=1", "--timestamps").partition(" ")
    assert (moment[4], moment[-1], text) == ("-", "Z", "the line number 100\n")
    assert cluster.kubectl("logs", "p", "--since=24h").count("\n") == 100
    cluster.until("it is over", lambda: cluster.kubectl("logs", "p", "--since=1s") == "")


TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def test_tokens_in_pods(cluster: Cluster, ns: str) -> None:
    """165, 166: the account's token, certificate and namespace; who may read a projected token."""
    cluster.kubectl("create", "serviceaccount", "mine")
    show = f"cat {TOKEN}/token; echo; head -1 {TOKEN}/ca.crt; cat {TOKEN}/namespace; echo"
    volumes = [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token", "audience": "me"}}]}}]
    stat = "stat -L -c '%a %u %g' /t/token; test -r /t/token && echo read"
    contexts = {
        "root": {}, "user": {"runAsUser": 1000}, "group": {"fsGroup": 10000},
        "both": {"runAsUser": 1000, "fsGroup": 10000},
    }  # fmt: skip
    projected = [
        pod(name, container(stat, volumeMounts=[mount("t", "/t")]), volumes=volumes, securityContext=context)
        for name, context in contexts.items()
    ]
    found = pods.outputs(cluster, pod("p", container(show), serviceAccountName="mine"), *projected)
    token, certificate, namespace = found["p/main"]
    assert (certificate, namespace) == ("-----BEGIN CERTIFICATE-----", ns)
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    answer = json.loads(cluster.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(review)))["status"]
    assert answer["user"]["username"] == f"system:serviceaccount:{ns}:mine"
    assert answer["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
    assert found["root/main"] == ["644 0 0", "read"]
    assert found["user/main"] == ["600 1000 0", "read"]
    assert found["group/main"] == ["640 0 10000", "read"]
    assert found["both/main"] == ["640 1000 10000", "read"]


def test_a_command_over_a_websocket(cluster: Cluster, ns: str) -> None:
    """301: its output on channel 1, in each protocol."""
    create(cluster, pod("p", container()))
    wait(cluster, pods.READY, "p")
    server, context = access(cluster)
    words = "&".join(f"command={word}" for word in ("echo", "remote%20execution%20test"))
    url = (
        f"{server.replace('https', 'wss')}/api/v1/namespaces/{ns}/pods/p/exec?{words}&stdout=1&stderr=1&container=main"
    )
    for protocol in ("channel.k8s.io", "v4.channel.k8s.io", "v5.channel.k8s.io"):
        socket = websocket.create_connection(url, sslopt={"context": context}, subprotocols=[protocol])
        try:
            output = b""
            while b"test\n" not in output:
                message = socket.recv()
                assert isinstance(message, bytes)
                output += message[1:] if message[:1] == b"\x01" else b""
            assert output == b"remote execution test\n"
        finally:
            socket.shutdown()
