"""T3: how real containers start, are asked, told and ended; each test names its lines in docs/conformance.md."""

import json
import sys
import textwrap
from pathlib import Path

import pytest

from tests.clients import pods
from tests.clients.conftest import Cluster, needs_root
from tests.clients.pods import FOREVER, Tree, container, create, events, mount, outputs, pod, status, thing, wait

pytestmark = [needs_root, pytest.mark.root]

EMPTY = [{"name": "e", "emptyDir": {}}]
ON_E = {"volumeMounts": [mount("e", "/e")]}


def conditions(found: Tree) -> dict[str, str]:
    return {each["type"]: each["status"] for each in found["conditions"]}


def code(state: Tree) -> int:
    found: int = state["state"]["terminated"]["exitCode"]
    return found


def test_containers_before_others(cluster: Cluster, ns: str) -> None:
    """266-269: one after the other, then the pod's own; when one fails the pod fails, or it is tried again."""
    inits = [container(f"echo {n} >> /e/log", f"init{n}", **ON_E) for n in (1, 2)]
    failing = [container("exit 1", "init1"), container("true", "init2")]
    shown = container(f"cat /e/log; {FOREVER}", **ON_E)
    create(
        cluster,
        pod("always", shown, initContainers=inits, volumes=EMPTY, restartPolicy="Always"),
        pod("never", container("cat /e/log", **ON_E), initContainers=inits, volumes=EMPTY),
        pod("fails", container(), initContainers=failing),
        pod("failing", container(), initContainers=failing, restartPolicy="Always"),
    )
    wait(cluster, pods.READY, "always")
    wait(cluster, pods.SUCCEEDED, "never")
    wait(cluster, "jsonpath={.status.phase}=Failed", "fails")
    cluster.until("it is tried again", lambda: restarts(cluster, "failing", "initContainerStatuses") >= 1)
    said = pods.said(cluster, "always", "never")
    for name in ("always", "never"):
        found = status(cluster, name)
        assert said[f"{name}/main"] == ["1", "2"]
        assert [(code(each), each["ready"]) for each in found["initContainerStatuses"]] == [(0, True)] * 2
        assert conditions(found)["Initialized"] == "True"
    for name, phase in (("fails", "Failed"), ("failing", "Pending")):
        found = status(cluster, name)
        assert (found["phase"], conditions(found)["Initialized"]) == (phase, "False")
        assert found["initContainerStatuses"][1]["state"] == {"waiting": {"reason": "PodInitializing"}}
        assert found["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
        assert found["containerStatuses"][0]["restartCount"] == 0
    (why,) = [each for each in status(cluster, "failing")["conditions"] if each["type"] == "Initialized"]
    assert why["reason"] == "ContainersNotInitialized"
    assert why["message"] == "containers with incomplete status: [init1 init2]"


def test_output_and_failure(cluster: Cluster, ns: str) -> None:
    """252, 270-273, 326: logs; what always fails says why and can be deleted; a root that is read-only, one that is not."""
    script = "echo written > /file; cat /file"
    readonly, writable = ({"securityContext": {"readOnlyRootFilesystem": fixed}} for fixed in (True, False))
    ends = 'echo x >> /e/c; test "$(wc -l < /e/c)" -ge 2'
    stays = f"{ends} && {{ {FOREVER}; }}; exit 0"
    create(
        cluster,
        pod("says", container("echo 'Hello World'; sleep 0.1; echo again")),
        pod("false", container("/bin/false"), restartPolicy="Always"),
        pod("fixed", container(script, **readonly)),
        pod("free", container(script, **writable)),
        pod("always", container(stays, **ON_E), volumes=EMPTY, restartPolicy="Always"),
        pod("onfailure", container(ends, **ON_E), volumes=EMPTY, restartPolicy="OnFailure"),
        pod("never", container("exit 1")),
    )
    wait(cluster, pods.SUCCEEDED, "says", "free", "onfailure")
    wait(cluster, "jsonpath={.status.phase}=Failed", "fixed", "never")
    failing = pods.when(cluster, pods.WAITING + "CrashLoopBackOff", "false")
    wait(cluster, "jsonpath={.status.containerStatuses[0].restartCount}=1", "always")
    wait(cluster, pods.READY, "always")
    said = pods.said(cluster, "says", "free", "fixed")
    assert (said["says/main"], said["free/main"]) == (["Hello World", "again"], ["written"])
    assert said["fixed/main"][0].endswith("can't create /file: Read-only file system")
    (found,) = failing["containerStatuses"]
    assert (failing["phase"], found["ready"]) == ("Running", False)
    assert (found["lastState"]["terminated"]["reason"], found["lastState"]["terminated"]["exitCode"]) == ("Error", 1)
    expected = {"always": (1, True, "Running"), "onfailure": (1, False, "Succeeded"), "never": (0, False, "Failed")}
    for name, wanted in expected.items():
        found = status(cluster, name)
        (each,) = found["containerStatuses"]
        assert (each["restartCount"], each["ready"], found["phase"]) == wanted, name
    cluster.kubectl("delete", "pod", "false", "--timeout=60s")


def test_names_of_hosts(cluster: Cluster, ns: str) -> None:
    """193, 274, 275: the pod's own in /etc/hosts, its aliases, a file of its own, and the host's for its guests."""
    aliases = [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]
    own = {"volumeMounts": [mount("own", "/etc/hosts")]}
    volumes = [{"name": "own", "hostPath": {"path": "/etc/hosts", "type": "File"}}]
    show = "cat /etc/hosts"
    service = {"clusterIP": "None", "selector": {"in": "domain"}, "ports": [{"port": 80}]}
    inside = pod("inside", container(show), hostname="dns-querier-2", subdomain="domain")
    found = outputs(
        cluster,
        {**thing("Service", "domain"), "spec": service},
        inside,
        pod("aliased", container(show), container(show, "own", **own), volumes=volumes, hostAliases=aliases),
        pod("guest", container(show), container(show, "own", **own), volumes=volumes, hostNetwork=True),
    )
    host = Path("/etc/hosts").read_text().splitlines()
    managed, address = "# Kubernetes-managed hosts file.", status(cluster, "inside")["podIP"]
    assert f"{address}\tdns-querier-2.domain.{ns}.svc.cluster.local\tdns-querier-2" in found["inside/main"]
    assert found["aliased/main"][0] == managed
    assert "123.45.67.89\tfoo\tbar" in found["aliased/main"]
    assert f"{status(cluster, 'aliased')['podIP']}\taliased" in found["aliased/main"]
    assert found["aliased/own"] == found["guest/own"] == host
    assert managed not in found["guest/main"]
    assert set(host) <= set(found["guest/main"])


def test_names_of_one_s_own_servers(cluster: Cluster, ns: str) -> None:
    """200: dnsPolicy None with a dnsConfig is all that /etc/resolv.conf says."""
    config = {
        "nameservers": ["1.1.1.1"],
        "searches": ["resolv.conf.local"],
        "options": [{"name": "ndots", "value": "2"}],
    }
    found = outputs(cluster, pod("p", container("cat /etc/resolv.conf"), dnsPolicy="None", dnsConfig=config))
    assert found["p/main"] == ["search resolv.conf.local", "nameserver 1.1.1.1", "options ndots:2"]


HANDLER = "mkdir /www; cd /www; touch exec-post http-post exec-pre http-pre; exec httpd -f -vv -p 8080 -h /www"


def test_hooks(cluster: Cluster, ns: str) -> None:
    """244-247, 303: after the start and before the end, by a command or by HTTP; another pod is told."""
    ready = {"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}
    create(cluster, pod("handler", container(HANDLER, **ready)))
    wait(cluster, pods.READY, "handler")
    address = status(cluster, "handler")["podIP"]
    expected = {f"{how}-{when}" for how in ("exec", "http") for when in ("post", "pre")}

    def hooked(name: str) -> Tree:
        how, _, when = name.partition("-")
        action: Tree = {"httpGet": {"host": address, "port": 8080, "path": f"/{name}"}}
        if how == "exec":
            action = {"exec": {"command": ["wget", "-q", "-O", "-", f"http://{address}:8080/{name}"]}}
        hook = {"post": "postStart", "pre": "preStop"}[when]
        return pod(name, container(lifecycle={hook: action}), terminationGracePeriodSeconds=15)

    def told() -> set[str]:
        log = cluster.kubectl("logs", "handler")
        return {name for name in expected if f"/{name}" in log}

    create(cluster, *map(hooked, sorted(expected)))
    wait(cluster, pods.READY, *sorted(expected))
    assert told() == {"exec-post", "http-post"}
    cluster.kubectl("delete", "pod", *sorted(expected), "--timeout=60s")
    assert told() == expected
    for name in expected:
        assert not events(cluster, name, "FailedPostStartHook")
        assert not events(cluster, name, "FailedPreStopHook")


GRPC = """
    import os, sys
    from concurrent import futures
    import grpc
    def check(request, context):
        return b"\\x08\\x01"
    method = grpc.unary_unary_rpc_method_handler(check)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method}),))
    server.add_insecure_port("0.0.0.0:5000")
    server.start()
    server.wait_for_termination()
"""


def alive(check: Tree, started: Tree) -> Tree:
    """Probes that ask every second, and take one failure for an end, but not a slow answer."""
    often = {"periodSeconds": 1, "timeoutSeconds": 30}
    startup = {**started, **often, "failureThreshold": 60}
    return {
        "startupProbe": startup,
        "livenessProbe": {**check, **often, "failureThreshold": 1, "initialDelaySeconds": 1},
    }


def grpc_pod(name: str, port: int) -> Tree:
    """A server of the health protocol: the host's Python in the pod's network."""
    command = ["chroot", "/host", sys.executable, "-c", textwrap.dedent(GRPC)]
    probes = alive({"grpc": {"port": port}}, {"tcpSocket": {"port": 5000}})
    main = {**container(**probes), "command": command}
    main |= {"volumeMounts": [mount("host", "/host", readOnly=True)]}
    root = [{"name": "host", "hostPath": {"path": "/"}}]
    return pod(name, main, volumes=root, restartPolicy="Always")


def test_probes(cluster: Cluster, ns: str) -> None:
    """304-313: by a command, HTTP, TCP and gRPC: healthy goes on, ill starts again, again and again; readiness kills none."""
    web = "mkdir -p /www; echo ok > /www/healthz; exec httpd -f -p 8080 -h /www"
    file = "touch /tmp/health; " + FOREVER
    http, tcp = {"httpGet": {"path": "/healthz", "port": 8080}}, {"tcpSocket": {"port": 8080}}
    cat, lost = {"exec": {"command": ["cat", "/tmp/health"]}}, {"httpGet": {"path": "/sick", "port": 8080}}

    def lasting(name: str, script: str, check: Tree, started: Tree) -> Tree:
        return pod(name, container(script, **alive(check, started)), restartPolicy="Always")

    well = [
        lasting("http-well", web, http, tcp),
        lasting("exec-well", file, cat, cat),
        lasting("tcp-well", web, tcp, tcp),
    ]
    ill = [lasting("http-ill", web, lost, tcp), lasting("exec-ill", FOREVER, cat, {"exec": {"command": ["true"]}})]
    late = {"exec": {"command": ["true"]}, "initialDelaySeconds": 6, "periodSeconds": 1, "timeoutSeconds": 30}
    never = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    create(
        cluster, *well, *ill, grpc_pod("grpc-well", 5000), grpc_pod("grpc-ill", 5001),
        pod("late", container(readinessProbe=late)), pod("never", container(readinessProbe=never)),
    )  # fmt: skip
    for name in ("http-ill", "exec-ill", "grpc-ill"):
        cluster.until(f"a restart of {name}", lambda name=name: restarts(cluster, name) >= 1)
        cluster.until(f"the reason of {name}", lambda name=name: has_failed(cluster, name))
    wait(cluster, pods.READY, "late")
    found = status(cluster, "late")
    started = found["containerStatuses"][0]["state"]["running"]["startedAt"]
    (ready,) = [each["lastTransitionTime"] for each in found["conditions"] if each["type"] == "Ready"]
    assert (seconds(ready) - seconds(started)) % 86400 >= 5  # whole seconds, each cut off
    for name in ("http-ill", "exec-ill"):
        cluster.until(f"another restart of {name}", lambda name=name: restarts(cluster, name) >= 2)
    wait(cluster, pods.READY, "http-well", "exec-well", "tcp-well", "grpc-well")
    for name in ("http-well", "exec-well", "tcp-well", "grpc-well", "late", "never"):
        found = status(cluster, name)["containerStatuses"][0]
        assert (found["restartCount"], found["ready"]) == (0, name != "never"), name


def restarts(cluster: Cluster, name: str, kind: str = "containerStatuses") -> int:
    """How often the pod's first container has been restarted: in the meantime perhaps once more than it was waited for."""
    return max((int(each["restartCount"]) for each in status(cluster, name).get(kind, [])[:1]), default=0)


def has_failed(cluster: Cluster, name: str) -> bool:
    """Whether a liveness probe is said to have failed."""
    return any("Liveness probe failed" in text for text in events(cluster, name, "Unhealthy"))


def seconds(moment: str) -> int:
    hours, minutes, rest = moment.rstrip("Z").partition("T")[2].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(rest)


def test_last_words(cluster: Cluster, ns: str) -> None:
    """248-251: nothing of a log when all went well, the file, the log of a failure, a file of another user elsewhere."""
    fall_back = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    elsewhere = {"terminationMessagePath": "/dev/termination-custom-log", "securityContext": {"runAsUser": 1000}}
    words = {
        "empty": ("echo DONE", fall_back, None, 0),
        "file": ("printf OK > /dev/termination-log", fall_back, "OK", 0),
        "log": ("printf DONE; exit 1", fall_back, "DONE", 1),
        "elsewhere": ("printf DONE > /dev/termination-custom-log", elsewhere, "DONE", 0),
    }
    create(cluster, pod("p", *(container(script, name, **how) for name, (script, how, _, _) in words.items())))
    wait(cluster, "jsonpath={.status.phase}=Failed", "p")
    for each in status(cluster, "p")["containerStatuses"]:
        _, _, text, number = words[each["name"]]
        state = each["state"]["terminated"]
        assert (state.get("message"), state["exitCode"]) == (text, number), each["name"]


def test_who_runs_what(cluster: Cluster, ns: str) -> None:
    """324, 325, 327-329: users and groups of container and pod, no privileges, none to be had."""
    by_container = {"runAsUser": 1001, "runAsGroup": 2002}
    cannot = {"runAsUser": 1000, "allowPrivilegeEscalation": False}
    can = {"runAsUser": 1000, "allowPrivilegeEscalation": True}
    rights = "grep -E 'NoNewPrivs|CapEff' /proc/self/status; ip link add dummy1 type dummy 2>/dev/null; echo $?"
    found = outputs(
        cluster,
        pod(
            "mixed",
            container("id -u", "nobody", securityContext={"runAsUser": 65534}),
            container("id -u; id -g", "own", securityContext=by_container),
            container(rights, "unprivileged", securityContext={"privileged": False}),
            container(rights, "cannot", securityContext=cannot),
            container(rights, "can", securityContext=can),
        ),
        pod("pod", container("id -u; id -g"), securityContext=by_container),
    )
    assert found["mixed/nobody"] == ["65534"]
    assert found["mixed/own"] == found["pod/main"] == ["1001", "2002"]
    assert "NoNewPrivs:\t1" in found["mixed/cannot"]
    assert "NoNewPrivs:\t0" in found["mixed/can"]
    assert found["mixed/unprivileged"][-1] != "0"
    assert not any("CapEff:\t000001ffffffffff" in line for line in found["mixed/unprivileged"])


def test_kernel_settings(cluster: Cluster, ns: str) -> None:
    """331: safe ones are set in the pod and not outside; any other is refused by the node."""
    host = Path("/proc/sys/kernel/shm_rmid_forced").read_text()

    def setting(**values: str) -> Tree:
        return {"securityContext": {"sysctls": [{"name": n.replace("__", "."), "value": v} for n, v in values.items()]}}

    safe = setting(kernel__shm_rmid_forced=str(1 - int(host)), net__ipv4__ip_local_port_range="32768 50000")
    script = "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_local_port_range"
    create(cluster, pod("safe", container(script), **safe), pod("other", container(), **setting(kernel__msgmax="8")))
    wait(cluster, pods.SUCCEEDED, "safe")
    wait(cluster, "jsonpath={.status.phase}=Failed", "other")
    assert pods.said(cluster, "safe")["safe/main"] == [str(1 - int(host)), "32768\t50000"]
    assert Path("/proc/sys/kernel/shm_rmid_forced").read_text() == host
    found = status(cluster, "other")
    assert found["reason"] == "SysctlForbidden"
    assert found["message"] == 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted'


def test_a_deadline_that_comes_later(cluster: Cluster, ns: str) -> None:
    """293: activeDeadlineSeconds is set while the pod runs."""
    create(cluster, pod("p", container()))
    wait(cluster, pods.RUNNING, "p")
    cluster.kubectl("patch", "pod", "p", "-p", json.dumps({"spec": {"activeDeadlineSeconds": 1}}))
    wait(cluster, "jsonpath={.status.phase}=Failed", "p")
    assert status(cluster, "p")["reason"] == "DeadlineExceeded"
