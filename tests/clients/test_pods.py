"""A pod's life on a real node: restarts, hooks, probes, limits, files, logs, and what faults do to it."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.clients import conftest
from tests.clients.conftest import Cluster, needs_root

pytestmark = [needs_root, pytest.mark.root]

Tree = dict[str, Any]
FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
LISTENS = "trap 'exit 0' TERM; touch /tmp/hears; while :; do sleep 0.1; done"
PHASE = "--for=jsonpath={.status.phase}="
WAITING = "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}="


def container(script: str = FOREVER, name: str = "main", **more: Any) -> Tree:
    """A container that runs a shell script."""
    return {"name": name, "image": "busybox:1.36", "command": ["sh", "-c", script], **more}


def pod(name: str, *containers: Tree, **spec: Any) -> Tree:
    """A pod that runs once and is given a second to end."""
    defaults = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": list(containers)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {**defaults, **spec}}


def apply(cluster: Cluster, *objects: Tree) -> None:
    cluster.kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(obj) for obj in objects))


def once_it_hears(script: str) -> Tree:
    """A handler that waits until what LISTENS would notice that it is told to end."""
    return {"exec": {"command": ["sh", "-c", f"until test -e /tmp/hears; do sleep 0.1; done; {script}"]}}


def wait(cluster: Cluster, name: str, condition: str) -> Tree:
    """The pod's status as it was when the condition held."""
    found = json.loads(cluster.kubectl("wait", f"pod/{name}", condition, "--timeout=60s", "-o", "json"))
    status: Tree = found["status"]
    return status


def ended(status: Tree, number: int = 0) -> Tree:
    found: Tree = status["containerStatuses"][number]["state"]["terminated"]
    return found


def events(cluster: Cluster, name: str, reason: str) -> list[str]:
    found = cluster.get("events", "--field-selector", f"involvedObject.name={name},reason={reason}")["items"]
    return [event["message"] for event in found]


def agent_pid(cluster: Cluster) -> int:
    return cluster.pid("node-" + cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"))


def up(cluster: Cluster, ns: str) -> None:
    """Starts what does not run; the context is written anew, without the namespace."""
    cluster.sampan("up", "--kubeconfig", str(cluster.kubeconfig), "--yes")
    cluster.kubectl("config", "set-context", "--current", "--namespace", ns)


def test_restart_policies(cluster: Cluster, ns: str) -> None:
    """Always, OnFailure and Never; a failing init container; a sidecar that ends last."""
    count = {"volumeMounts": [{"name": "e", "mountPath": "/e"}]}
    empty = {"volumes": [{"name": "e", "emptyDir": {}}]}
    sidecar = container(name="side", restartPolicy="Always")
    apply(
        cluster,
        pod("always", container("exit 3"), restartPolicy="Always"),
        pod(
            "onfailure",
            container("test -f /e/x && exit 0; touch /e/x; exit 4", **count),
            restartPolicy="OnFailure",
            **empty,
        ),
        pod("never", container("exit 5"), container("exit 0", "two")),
        pod("initfails", container(), initContainers=[container("exit 6", "i")]),
        pod("helped", container("exit 0"), initContainers=[sidecar, container("exit 0", "i")]),
    )
    status = wait(cluster, "always", WAITING + "CrashLoopBackOff")
    (first,) = status["containerStatuses"]
    count = first["restartCount"]
    assert (status["phase"], count >= 1, first["ready"]) == ("Running", True, False)
    text = f"back-off {10 * 2 ** (count - 1)}s restarting failed container=main pod=always_restart-policies("
    assert text in first["state"]["waiting"]["message"]
    assert (first["lastState"]["terminated"]["exitCode"], first["lastState"]["terminated"]["reason"]) == (3, "Error")
    assert wait(cluster, "onfailure", PHASE + "Succeeded")["containerStatuses"][0]["restartCount"] == 1
    status = wait(cluster, "never", PHASE + "Failed")
    assert [(ended(status, n)["exitCode"], ended(status, n)["reason"]) for n in (0, 1)] == [
        (5, "Error"),
        (0, "Completed"),
    ]
    status = wait(cluster, "initfails", PHASE + "Failed")
    assert status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 6
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    status = wait(cluster, "helped", PHASE + "Succeeded")
    assert ended(status)["finishedAt"] <= status["initContainerStatuses"][0]["state"]["terminated"]["finishedAt"]
    assert status["observedGeneration"] == 1
    cluster.until("BackOff event", lambda: events(cluster, "always", "BackOff"))


def test_last_words(cluster: Cluster, ns: str) -> None:
    """The termination message from its file or the log, also of a container that ends at once; an OOM kill; no program."""
    limit = {"resources": {"limits": {"memory": "32Mi"}}}
    quick = [container("echo words > /tmp/t; exit 1", f"c{n}", terminationMessagePath="/tmp/t") for n in range(6)]
    apply(
        cluster,
        pod("words", *quick),
        pod("log", container("echo from the log; exit 1", terminationMessagePolicy="FallbackToLogsOnError")),
        pod("oom", container("tail /dev/zero", **limit)),
        pod("absent", {**container(), "command": ["/nope"]}),
    )
    status = wait(cluster, "words", PHASE + "Failed")
    assert [ended(status, n).get("message") for n in range(6)] == ["words\n"] * 6
    assert ended(wait(cluster, "log", PHASE + "Failed"))["message"] == "from the log\n"
    oom = ended(wait(cluster, "oom", PHASE + "Failed"))
    assert (oom["reason"], oom["exitCode"]) == ("OOMKilled", 137)
    absent = ended(wait(cluster, "absent", PHASE + "Failed"))
    assert (absent["reason"], absent["exitCode"], '"/nope"' in absent["message"]) == ("StartError", 128, True)


def test_the_end_of_a_pod(cluster: Cluster, ns: str, tmp_path: Path) -> None:
    """preStop, SIGTERM, SIGKILL after the grace; deadlines; force; hooks by HTTP are content with any answer."""
    mount = {"volumeMounts": [{"name": "h", "mountPath": "/h"}]}
    hooks = {
        "postStart": once_it_hears("echo post >> /h/log"),
        "preStop": {"exec": {"command": ["sh", "-c", "echo pre >> /h/log"]}},
    }
    polite = container(LISTENS.replace("exit", "echo term >> /h/log; exit"), lifecycle=hooks, **mount)
    hears = {**once_it_hears("true"), "periodSeconds": 1, "timeoutSeconds": 30}
    patient = {"terminationGracePeriodSeconds": 30}
    web = {"httpGet": {"path": "/absent", "port": 8080}}
    script = "sleep 0.3; mkdir /www; exec httpd -f -p 8080 -h /www"
    asked = container(
        script, lifecycle={"preStop": web}, readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    )
    apply(
        cluster,
        pod(
            "polite",
            polite,
            volumes=[{"name": "h", "hostPath": {"path": str(tmp_path)}}],
            **patient,
        ),
        pod("stubborn", container("trap '' TERM; while :; do sleep 0.1; done")),
        pod("overdue", container(LISTENS, readinessProbe=hears), activeDeadlineSeconds=3600, **patient),
        pod(
            "unstarted",
            container(**mount),
            volumes=[{"name": "h", "configMap": {"name": "absent"}}],
            activeDeadlineSeconds=1,
        ),
        pod("asked", asked),
        pod("badhook", container(LISTENS, lifecycle={"postStart": once_it_hears("false")}), **patient),
    )
    for name in ("polite", "stubborn", "asked", "overdue"):
        wait(cluster, name, "--for=condition=Ready")
    began = time.monotonic()
    cluster.kubectl("delete", "pod", "polite", "stubborn", "asked")
    assert time.monotonic() - began > 1.5  # the stubborn one has its whole grace
    assert (tmp_path / "log").read_text() == "post\npre\nterm\n"
    assert not events(cluster, "asked", "FailedPreStopHook")
    cluster.kubectl("patch", "pod", "overdue", "-p", json.dumps({"spec": {"activeDeadlineSeconds": 1}}))
    for name, why in (("overdue", (0, "Completed")), ("unstarted", (137, "ContainerStatusUnknown"))):
        status = wait(cluster, name, PHASE + "Failed")
        assert status["reason"] == "DeadlineExceeded"
        assert (ended(status)["exitCode"], ended(status)["reason"]) == why
    wait(cluster, "badhook", PHASE + "Succeeded")
    assert events(cluster, "badhook", "FailedPostStartHook") == ["PostStartHook failed"]


def test_probes(cluster: Cluster, ns: str) -> None:
    """Liveness and readiness wait for the startup probe; readiness follows; a named port; a failing startup probe kills."""
    script = "until test -e /go; do sleep 0.1; done; mkdir /www; touch /www/ok; exec httpd -f -p 8080 -h /www"
    often = {"periodSeconds": 1, "timeoutSeconds": 30}
    get = {"httpGet": {"path": "/ok", "port": "web"}, **often}
    probes = {"startupProbe": {**get, "failureThreshold": 60}, "livenessProbe": {**get, "failureThreshold": 1}}
    late = container(script, ports=[{"name": "web", "containerPort": 8080}], readinessProbe=get, **probes)
    never = container(LISTENS, startupProbe={**once_it_hears("false"), **often, "failureThreshold": 1})
    apply(cluster, pod("late", late), pod("never", never, terminationGracePeriodSeconds=30))
    cluster.until(
        "its startup probe has failed",
        lambda: any(text.startswith("Startup probe failed") for text in events(cluster, "late", "Unhealthy")),
    )
    cluster.kubectl("exec", "late", "--", "touch", "/go")
    status = wait(cluster, "late", "--for=condition=Ready")
    assert [(c["restartCount"], c["started"]) for c in status["containerStatuses"]] == [(0, True)]
    assert ended(wait(cluster, "never", PHASE + "Succeeded"))["exitCode"] == 0
    assert "Container main failed startup probe" in events(cluster, "never", "Killing")
    cluster.kubectl("exec", "late", "--", "rm", "/www/ok")
    wait(cluster, "late", "--for=condition=Ready=false")


def test_security_and_limits(cluster: Cluster, ns: str) -> None:
    """User, groups, capabilities, read-only root, no new privileges, cgroup limits, privileged, host network."""
    script = "id; touch /no 2>&1; grep -E 'CapEff|NoNewPrivs' /proc/self/status; stat -c '%g %a' /e"
    context = {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    mount = {"volumeMounts": [{"name": "e", "mountPath": "/e"}]}
    groups = {"runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 3000, "supplementalGroups": [4000]}
    limits = {"resources": {"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "32Mi"}}}
    numbers = (
        "m=/sys/fs/cgroup; cat $m/memory/memory.limit_in_bytes $m/cpu/cpu.cfs_quota_us $m/cpu/cpu.shares 2>/dev/null"
        " || cat $m/memory.max $m/cpu.max"
    )
    apply(
        cluster,
        pod("locked", container(script, securityContext=context, **mount), securityContext=groups,
            volumes=[{"name": "e", "emptyDir": {}}]),
        pod("root", container("id", securityContext={"runAsNonRoot": True})),
        pod("limited", container(numbers, **limits)),
        pod("host", container("hostname; grep CapEff /proc/self/status", securityContext={"privileged": True}), hostNetwork=True),
    )  # fmt: skip
    wait(cluster, "locked", PHASE + "Succeeded")
    assert cluster.kubectl("logs", "locked").splitlines() == [
        "uid=1000 gid=2000 groups=2000,3000,4000",
        "touch: /no: Read-only file system",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "3000 2777",
    ]
    wait(cluster, "root", WAITING + "CreateContainerConfigError")
    wait(cluster, "limited", PHASE + "Succeeded")
    assert {str(64 << 20), "20000"} <= set(cluster.kubectl("logs", "limited").split())
    wait(cluster, "host", PHASE + "Succeeded")
    node = cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    assert cluster.kubectl("logs", "host").splitlines()[0] == node


def test_volumes_follow_their_sources(cluster: Cluster, ns: str) -> None:
    """A changed ConfigMap is there once the pod is annotated; one that comes late is waited for; optional ones may lack."""
    cluster.kubectl("create", "configmap", "c", "--from-literal=k=old")
    mount = {"volumeMounts": [{"name": "c", "mountPath": "/c"}, {"name": "m", "mountPath": "/m"},
                              {"name": "o", "mountPath": "/o"}, {"name": "c", "mountPath": "/one", "subPath": "k"}]}  # fmt: skip
    volumes = [
        {"name": "c", "configMap": {"name": "c"}},
        {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "o", "secret": {"secretName": "absent", "optional": True}},
    ]
    late = pod("late", container("cat /c/k", volumeMounts=mount["volumeMounts"][:1]))
    late["spec"]["volumes"] = [{"name": "c", "configMap": {"name": "later"}}]
    link = pod("link", container(volumeMounts=[{"name": "e", "mountPath": "/x", "subPath": "out"}]))
    link["spec"]["volumes"] = [{"name": "e", "emptyDir": {}}]
    link["spec"]["initContainers"] = [
        container("ln -s /etc /e/out", "i", volumeMounts=[{"name": "e", "mountPath": "/e"}])
    ]
    apply(cluster, pod("follows", container(**mount), volumes=volumes), late, link)
    wait(cluster, "follows", "--for=condition=Ready")
    assert cluster.kubectl("exec", "follows", "--", "cat", "/c/k", "/one") == "oldold"
    assert "1024" in cluster.kubectl("exec", "follows", "--", "df", "-k", "/m").splitlines()[-1].split()
    cluster.kubectl("patch", "configmap", "c", "-p", '{"data": {"k": "new"}}')
    cluster.kubectl("annotate", "pod", "follows", "now=1")
    cluster.until("the new text", lambda: cluster.kubectl("exec", "follows", "--", "cat", "/c/k") == "new")
    cluster.until("FailedMount", lambda: events(cluster, "late", "FailedMount"))
    assert events(cluster, "late", "FailedMount") == [
        'MountVolume.SetUp failed for volume "c" : configmap "later" not found'
    ]
    cluster.kubectl("create", "configmap", "later", "--from-literal=k=came")
    wait(cluster, "late", PHASE + "Succeeded")
    assert cluster.kubectl("logs", "late") == "came"
    wait(cluster, "link", WAITING + "CreateContainerConfigError")


def test_commands_and_environment(cluster: Cluster, ns: str) -> None:
    """$(VAR) in command, args and env; envFrom with a prefix; fields and resources."""
    cluster.kubectl("create", "configmap", "c", "--from-literal=k=v")
    variables = [
        {"name": "A", "value": "a"},
        {"name": "B", "value": "$(A)-$(C_k)-$(NOPE)-$$(A)"},
        {"name": "M", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "O", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "k", "optional": True}}},
        {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
    ]
    spoken = container(
        "x", env=variables, envFrom=[{"prefix": "C_", "configMapRef": {"name": "c"}}],
        resources={"limits": {"memory": "64Mi"}},
    )  # fmt: skip
    spoken |= {"command": ["sh", "-c"], "args": ["echo \"$B\" $(M) $N ${O-unset} '$(B)'"]}
    apply(cluster, pod("spoken", spoken))
    wait(cluster, "spoken", PHASE + "Succeeded")
    assert cluster.kubectl("logs", "spoken") == f"a-v-$(NOPE)-$(A) 64 {ns} unset a-v-$(NOPE)-$(A)\n"


def test_images(cluster: Cluster, ns: str) -> None:
    """Never says so; an image that is loaded later starts at once."""
    never = {**container(), "image": "absent:1", "imagePullPolicy": "Never"}
    apply(cluster, pod("never", never), pod("late", {**container(), "image": f"late-{ns}:1"}))
    status = wait(cluster, "never", WAITING + "ErrImageNeverPull")
    message = status["containerStatuses"][0]["state"]["waiting"]["message"]
    assert message == 'Container image "absent:1" is not present with pull policy of Never'
    wait(cluster, "late", WAITING + "ImagePullBackOff")
    root = next(cluster.directory.parent.glob("busybox*"))
    cluster.sampan("image", "import", str(root), "--tag", f"late-{ns}:1", "--cmd", "sh")
    wait(cluster, "late", "--for=condition=Ready")


def test_logs_of_any_size_and_kind(cluster: Cluster, ns: str) -> None:
    """The file before the last rotation is part of the log; bytes that are no text; no newline at the end."""
    flood = "yes 01234567890123456789012345678901234567890123456789012345678901234567890123456789 | head -n 120000"
    apply(
        cluster,
        pod("flood", container(f"{flood}; sleep 4; echo the end; sleep 1000")),
        pod("bytes", container(r"printf '\000\377\200 bin\nend'")),
    )
    wait(cluster, "bytes", PHASE + "Succeeded")
    command = ["kubectl", "logs", "bytes"]
    done = subprocess.run(command, env=cluster.environment, capture_output=True, check=False, timeout=60)
    assert done.stdout == b"\0\xff\x80 bin\nend"
    cluster.until("the end", lambda: cluster.kubectl("logs", "flood", "--tail=1") == "the end\n")
    assert len(list(cluster.directory.glob("node-*/logs/*_flood_*/main/*"))) == 2
    assert cluster.kubectl("logs", "flood").count("\n") == 120001
    assert cluster.kubectl("logs", "flood", "--tail=3").count("\n") == 3


def test_what_the_node_cannot_hold_is_turned_away(cluster: Cluster, ns: str) -> None:
    """A pod bound by name, past the scheduler, that asks for more than the node has."""
    node = cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    apply(cluster, pod("big", container(resources={"requests": {"cpu": "1000"}}), nodeName=node))
    status = wait(cluster, "big", PHASE + "Failed")
    assert status["reason"] == "OutOfcpu"
    assert "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000, used: " in status["message"]
    cluster.kubectl("delete", "pod", "big")


def test_a_killed_first_process_is_restarted(cluster: Cluster, ns: str) -> None:
    """SIGKILL from outside is an end as any other."""
    apply(cluster, pod("p", container("echo $$; sleep 1000"), restartPolicy="Always"))
    identity = wait(cluster, "p", "--for=condition=Ready")["containerStatuses"][0]["containerID"].rpartition("/")[2]
    (folder,) = cluster.directory.glob(f"node-*/containers/c/{identity}")
    os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    status = wait(cluster, "p", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1")
    assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137


def test_the_agent_dies_while_pods_start_and_end(cluster: Cluster, ns: str) -> None:
    """kill -9 at several moments: every container starts once, what was deleted goes, nothing stays on the node."""
    script = "echo start >> /e/log; " + FOREVER
    mount = {"volumeMounts": [{"name": "e", "mountPath": "/e"}]}
    many = [pod(f"p{n}", container(script, **mount), volumes=[{"name": "e", "emptyDir": {}}]) for n in range(12)]
    apply(cluster, *many[:6])
    for pause in (0.1, 0.25, 0.45):
        time.sleep(pause)
        os.kill(agent_pid(cluster), signal.SIGKILL)
        if pause == 0.25:
            apply(cluster, *many[6:])
            cluster.kubectl("delete", "pod", "p0", "p1", "p2", "--wait=false")
        up(cluster, ns)
    cluster.kubectl("wait", "pod", "--for=delete", "p0", "p1", "p2", "--timeout=60s")
    cluster.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")
    for n in range(3, 12):
        assert cluster.kubectl("exec", f"p{n}", "--", "cat", "/e/log") == "start\n"
    statuses = [item["status"]["containerStatuses"][0] for item in cluster.get("pods")["items"]]
    assert [status["restartCount"] for status in statuses] == [0] * 9
    cluster.kubectl("delete", "pods", "--all", "--timeout=60s")
    for pattern in ("containers/c/*", "containers/exits/*", "pods/*", "volumes/*", "logs/*"):
        cluster.until(f"no {pattern}", lambda pattern=pattern: not list(cluster.directory.glob(f"node-*/{pattern}")))
    cluster.until(
        "no cgroup of a pod", lambda: not list(Path("/sys/fs/cgroup").glob(f"**/sampan-{conftest.NAME}/**/pod*"))
    )


def test_a_paused_agent_catches_up(cluster: Cluster, ns: str) -> None:
    """SIGSTOP: what ended meanwhile is noticed, what was asked for is done."""
    apply(cluster, pod("ends", container("sleep 1; exit 7")), pod("stays", container()))
    for name in ("ends", "stays"):
        wait(cluster, name, PHASE + "Running")
    pid = agent_pid(cluster)
    os.kill(pid, signal.SIGSTOP)
    try:
        cluster.kubectl("delete", "pod", "stays", "--wait=false")
        apply(cluster, pod("comes", container()))
        time.sleep(2)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert ended(wait(cluster, "ends", PHASE + "Failed"))["exitCode"] == 7
    wait(cluster, "comes", "--for=condition=Ready")
    cluster.kubectl("wait", "pod/stays", "--for=delete", "--timeout=60s")


def test_down_and_up_again(cluster: Cluster, ns: str) -> None:
    """The API's objects stay; pods come back as after a reboot, each with one, its own, address."""
    names = [f"p{n}" for n in range(4)]
    apply(cluster, *(pod(name, container(), restartPolicy="Always") for name in names))
    before = {name: wait(cluster, name, "--for=condition=Ready")["containerStatuses"][0] for name in names}
    cluster.sampan("down")
    up(cluster, ns)
    for name in names:
        wait(cluster, name, "--for=jsonpath={.status.containerStatuses[0].restartCount}=1")
        status = wait(cluster, name, "--for=condition=Ready")
        (now,) = status["containerStatuses"]
        assert now["containerID"] != before[name]["containerID"]
        assert now["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
        assert status["podIPs"] == [{"ip": status["podIP"]}]
        assert status["podIP"] in cluster.kubectl("exec", name, "--", "ip", "-4", "-o", "addr", "show", "eth0")
