"""What a user does with kubectl, against real containers."""

import json
import subprocess
import textwrap
import urllib.request
from pathlib import Path

import pytest

from tests.clients.conftest import Cluster, needs_root, pod

pytestmark = [needs_root, pytest.mark.root]

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: busybox:1.36
        command: [sh, -c, "mkdir -p /www; hostname > /www/index.html; exec httpd -f -v -p 8080 -h /www"]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
"""


def test_an_application_answers(cluster: Cluster, ns: str) -> None:
    """Apply, roll out, reach it by address and by name, scale, update, roll back, describe."""
    assert "deployment.apps/web created" in cluster.kubectl("apply", "-f", "-", stdin=WEB)
    assert 'deployment "web" successfully rolled out' in cluster.kubectl(
        "rollout", "status", "deployment/web", "--timeout=60s"
    )
    address = cluster.get("service", "web")["spec"]["clusterIP"]
    with urllib.request.urlopen(f"http://{address}/", timeout=60) as answer:
        assert answer.read().decode().startswith("web-")
    names = cluster.kubectl("get", "pods", "-l", "app=web", "-o", "name").split()
    assert len(names) == 2
    inside = cluster.kubectl("exec", names[0], "--", "wget", "-qO-", f"http://web.{ns}.svc.cluster.local/")
    assert inside.startswith("web-")
    assert "deployment.apps/web scaled" in cluster.kubectl("scale", "deployment/web", "--replicas=3")
    cluster.kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=60s")
    assert "web    3/3     3            3" in cluster.kubectl("get", "deployments")
    cluster.kubectl("set", "env", "deployment/web", "COLOUR=blue")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert [line.split()[0] for line in cluster.kubectl("rollout", "history", "deployment/web").splitlines()[2:4]] == [
        "1",
        "2",
    ]
    assert "deployment.apps/web rolled back" in cluster.kubectl("rollout", "undo", "deployment/web")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert "deployment.apps/web restarted" in cluster.kubectl("rollout", "restart", "deployment/web")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    described = cluster.kubectl("describe", "deployment", "web")
    assert "ScalingReplicaSet" in described
    assert "NewReplicaSetAvailable" in described
    pods = [pod["metadata"] for pod in cluster.get("pods", "-l", "app=web")["items"]]
    name = next(pod["name"] for pod in pods if "deletionTimestamp" not in pod)  # not one of the rollout before
    described = cluster.kubectl("describe", "pod", name)
    for text in ("Successfully assigned", "Container started", "Ready             True"):
        assert text in described, described


def test_the_second_apply_changes_nothing(cluster: Cluster, ns: str) -> None:
    """Client-side, server-side, diff: all agree."""
    cluster.kubectl("apply", "-f", "-", stdin=WEB)
    assert "deployment.apps/web unchanged" in cluster.kubectl("apply", "-f", "-", stdin=WEB)
    assert "serverside-applied" in cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=WEB)


def test_logs_are_kept_and_followed(cluster: Cluster, ns: str) -> None:
    """--tail, --since, -c, -f until the end, and -p of the run before."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("talk", "for i in 1 2 3; do echo line $i; done; sleep 1; echo end"))
    cluster.kubectl("wait", "pod/talk", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
    assert cluster.kubectl("logs", "-f", "talk") == "line 1\nline 2\nline 3\nend\n"
    assert cluster.kubectl("logs", "talk", "--tail=1") == "end\n"
    assert cluster.kubectl("logs", "talk", "-c", "main", "--since=1h").count("\n") == 4
    assert "container nope is not valid for pod talk" in cluster.refused("logs", "talk", "-c", "nope")
    again = pod("again", "echo run; exit 1").replace("restartPolicy: Never", "restartPolicy: Always")
    cluster.kubectl("apply", "-f", "-", stdin=again)
    cluster.kubectl(
        "wait", "pod/again", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "--timeout=60s"
    )
    assert cluster.kubectl("logs", "-p", "again") == "run\n"


def test_exec_speaks_both_ways(cluster: Cluster, ns: str) -> None:
    """Standard input, exit codes, a terminal."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("box", "sleep 1000"))
    cluster.kubectl("wait", "pod/box", "--for=condition=Ready", "--timeout=60s")
    assert cluster.kubectl("exec", "-i", "box", "--", "cat", stdin="hello") == "hello"
    done = cluster.run("kubectl", "exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert "err" in done.stderr
    terminal = subprocess.run(
        ["script", "-qec", "kubectl exec -it box -- sh -c 'tty; echo done'", "/dev/null"],
        env=cluster.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "/dev/pts/0" in terminal.stdout and "done" in terminal.stdout, terminal
    assert "executable file not found" in cluster.refused("exec", "box", "--", "nope")


def test_volumes_and_environment_reach_the_container(cluster: Cluster, ns: str) -> None:
    """configMap, secret, emptyDir, downward fields and the account's token."""
    cluster.kubectl("create", "configmap", "c", "--from-literal=k=from-map")
    cluster.kubectl("create", "secret", "generic", "s", "--from-literal=k=from-secret")
    script = "cat /c/k /s/k; echo; echo $E $NAME; echo x > /e/f; cat /e/f; wc -c < /var/run/secrets/kubernetes.io/serviceaccount/token"
    extra = """
    env:
    - {name: E, valueFrom: {configMapKeyRef: {name: c, key: k}}}
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    volumeMounts: [{name: c, mountPath: /c}, {name: s, mountPath: /s}, {name: e, mountPath: /e}]
    """
    volumes = (
        "\n  volumes: [{name: c, configMap: {name: c}}, {name: s, secret: {secretName: s}}, {name: e, emptyDir: {}}]\n"
    )
    cluster.kubectl("apply", "-f", "-", stdin=pod("v", script, extra) + volumes)
    cluster.kubectl("wait", "pod/v", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    lines = cluster.kubectl("logs", "v").splitlines()
    assert lines[:3] == ["from-mapfrom-secret", "from-map v", "x"]
    assert int(lines[3]) > 500


def test_a_job_completes(cluster: Cluster, ns: str) -> None:
    """kubectl create job, wait, and its output."""
    cluster.kubectl("create", "job", "pi", "--image=busybox:1.36", "--", "sh", "-c", "echo 3.14")
    cluster.kubectl("wait", "job/pi", "--for=condition=Complete", "--timeout=60s")
    assert cluster.kubectl("logs", "job/pi") == "3.14\n"
    assert "Complete   1/1" in cluster.kubectl("get", "jobs")


def test_init_containers_and_probes(cluster: Cluster, ns: str) -> None:
    """Init containers run first; a failing liveness probe restarts; readiness follows the command."""
    manifest = """
    apiVersion: v1
    kind: Pod
    metadata: {name: p}
    spec:
      terminationGracePeriodSeconds: 1
      volumes: [{name: w, emptyDir: {}}]
      initContainers:
      - {name: first, image: "busybox:1.36", command: [sh, -c, "echo ready > /w/f"], volumeMounts: [{name: w, mountPath: /w}]}
      containers:
      - name: main
        image: busybox:1.36
        command: [sh, -c, "sleep 1000"]
        volumeMounts: [{name: w, mountPath: /w}]
        readinessProbe: {exec: {command: [cat, /w/f]}, periodSeconds: 1, timeoutSeconds: 30}
        livenessProbe: {exec: {command: [cat, /w/f]}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 2}
    """
    cluster.kubectl("apply", "-f", "-", stdin=textwrap.dedent(manifest))
    cluster.kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=60s")
    cluster.kubectl("exec", "p", "--", "rm", "/w/f")
    cluster.kubectl("wait", "pod/p", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "--timeout=60s")
    events = cluster.kubectl("events", "--for", "pod/p")
    assert "Liveness probe failed" in events
    assert "will be restarted" in events


def test_what_cannot_run_says_why(cluster: Cluster, ns: str) -> None:
    """An unknown image, a node that does not fit, a missing config map."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("noimage", "true").replace("busybox:1.36", "nope:1"))
    cluster.until("a pull error", lambda: "ImagePull" in cluster.kubectl("get", "pod", "noimage"))
    big = pod("big", "true", 'resources: {requests: {cpu: "1000"}}')
    cluster.kubectl("apply", "-f", "-", stdin=big)
    cluster.until(
        "FailedScheduling",
        lambda: "0/1 nodes are available: 1 Insufficient cpu" in cluster.kubectl("describe", "pod", "big"),
    )
    missing = pod("missing", "true", "envFrom: [{configMapRef: {name: nope}}]")
    cluster.kubectl("apply", "-f", "-", stdin=missing)
    cluster.until(
        "CreateContainerConfigError", lambda: "CreateContainerConfigError" in cluster.kubectl("get", "pod", "missing")
    )
    assert 'configmap "nope" not found' in cluster.kubectl("describe", "pod", "missing")


def test_small_commands(cluster: Cluster, ns: str) -> None:
    """label, annotate, patch, edit, expose, cordon, tokens, can-i, explain, api-resources, delete."""
    cluster.kubectl("run", "p", "--image=busybox:1.36", "--restart=Never", "--", "sleep", "1000")
    cluster.kubectl("label", "pod", "p", "a=b")
    cluster.kubectl("annotate", "pod", "p", "x=y")
    cluster.kubectl("patch", "pod", "p", "--type=json", "-p", '[{"op":"add","path":"/metadata/labels/c","value":"d"}]')
    assert cluster.kubectl("get", "pods", "-l", "a=b,c in (d,e)", "-o", "name") == "pod/p\n"
    environment = {**cluster.environment, "EDITOR": "sed -i s/a:.b/a:\\ edited/"}
    done = subprocess.run(["kubectl", "edit", "pod", "p"], env=environment, capture_output=True, text=True, check=False)
    assert "pod/p edited" in done.stdout, done
    assert "service/p exposed" in cluster.kubectl("expose", "pod", "p", "--port=80")
    node = cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    assert f"node/{node} cordoned" in cluster.kubectl("cordon", node)
    assert "Ready,SchedulingDisabled" in cluster.kubectl("get", "nodes")
    assert f"node/{node} uncordoned" in cluster.kubectl("uncordon", node)
    token = cluster.kubectl("create", "token", "default").strip()
    assert cluster.kubectl("auth", "can-i", "create", "pods") == "yes\n"
    as_account = ("--as", f"system:serviceaccount:{ns}:default")
    assert "no" in cluster.run("kubectl", "auth", "can-i", "create", "pods", *as_account, check=False).stdout
    forbidden = cluster.refused(
        "get", "pods", "--token", token, "--kubeconfig", str(_without_certificate(cluster)), "-n", ns
    )
    expected = (
        f'pods is forbidden: User "system:serviceaccount:{ns}:default" cannot list resource "pods" in API group ""'
    )
    assert expected in forbidden
    assert "FIELDS:" in cluster.kubectl("explain", "pod.spec.containers")
    assert "deployments" in cluster.kubectl("api-resources")
    assert 'pod "p" force deleted' in cluster.kubectl("delete", "pod", "p", "--force", "--grace-period=0")
    assert "the server doesn't have a resource type" in cluster.refused("get", "cronjob-templates")


def _without_certificate(cluster: Cluster) -> Path:
    path = cluster.directory.parent / "plain-kubeconfig"
    config = json.loads(cluster.kubectl("config", "view", "--raw", "-o", "json"))
    config["users"] = [{"name": user["name"], "user": {}} for user in config["users"]]
    path.write_text(json.dumps(config))
    return path
