"""What a user types to look into a running container, and what is said when it cannot be done."""

import subprocess

import pytest

from tests.clients.conftest import Cluster, needs_root, pod

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(120)]

TWO = """
apiVersion: v1
kind: Pod
metadata:
  name: two
  labels: {app: two}
  annotations: {kubectl.kubernetes.io/default-container: b}
spec:
  terminationGracePeriodSeconds: 1
  initContainers: [{name: i, image: "busybox:1.36", command: [echo, from-i]}]
  containers:
  - {name: a, image: "busybox:1.36", command: [sh, -c, "echo from-a; exec sleep 1000"]}
  - {name: b, image: "busybox:1.36", command: [sh, -c, "echo from-b; exec sleep 1000"]}
"""


def test_a_command_that_is_not_there_is_told_in_one_line(cluster: Cluster, ns: str) -> None:
    """On the error stream of the WebSocket: no word of SPDY, with and without a terminal."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("p", "sleep 1000"))
    cluster.kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=30s")
    told = cluster.refused("exec", "p", "--", "nope")
    assert told.startswith("error: Internal error occurred: error executing command in container: failed to exec")
    assert told.endswith('exec: "nope": executable file not found in $PATH: unknown\n')
    assert told.count("\n") == 1
    terminal = subprocess.run(
        ["script", "-qec", "kubectl exec -it p -- nope", "/dev/null"],
        env=cluster.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "executable file not found" in terminal.stdout
    assert terminal.returncode == 1


def test_what_has_ended_cannot_be_entered(cluster: Cluster, ns: str) -> None:
    """A completed pod, and a container that does not run yet."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("done", "true"))
    cluster.kubectl("wait", "pod/done", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")
    assert "cannot exec into a container in a completed pod" in cluster.refused("exec", "done", "--", "true")
    waiting = pod("waiting", "true").replace("busybox:1.36", "nope:1")
    cluster.kubectl("apply", "-f", "-", stdin=waiting)
    cluster.until("a node", lambda: cluster.get("pod", "waiting")["spec"].get("nodeName"))
    told = cluster.until("the agent", lambda: _answer(cluster, "exec", "waiting", "--", "true"))
    assert told == 'error: Internal error occurred: unable to upgrade connection: container not found ("main")\n'
    told = cluster.refused("logs", "waiting")
    assert 'container "main" in pod "waiting" is waiting to start: ' in told


def _answer(cluster: Cluster, *arguments: str) -> str:
    """The refusal, once the agent knows the pod."""
    told = cluster.refused(*arguments)
    return "" if "pod does not exist" in told else told


def test_run_waits_types_and_cleans_up(cluster: Cluster, ns: str) -> None:
    """kubectl run --rm -i passes input on, gives the exit code back, and leaves no pod."""
    run = ("run", "--image=busybox:1.36", "--restart=Never", "--rm", "-i", "--quiet")
    assert cluster.kubectl(*run, "cat", "--", "cat", stdin="typed\n").startswith("typed\n")
    done = cluster.run("kubectl", *run, "five", "--", "sh", "-c", "cat; exit 5", stdin="x", check=False)
    assert done.returncode == 5, done
    terminal = subprocess.run(
        ["script", "-qec", f"kubectl {' '.join(run)} -t tty -- sh -c 'tty; read line; echo got $line'", "/dev/null"],
        input="hello\n", env=cluster.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "/dev/pts/" in terminal.stdout and "got hello" in terminal.stdout, terminal
    assert cluster.kubectl("get", "pods", "-o", "name") == ""


def test_attach_follows_the_main_process(cluster: Cluster, ns: str) -> None:
    """Output from now on, until it ends."""
    script = "while ! test -e /tmp/go; do usleep 10000; done; usleep 300000; echo last"
    cluster.kubectl("apply", "-f", "-", stdin=pod("talk", script))
    cluster.kubectl("wait", "pod/talk", "--for=condition=Ready", "--timeout=30s")
    with subprocess.Popen(
        ["kubectl", "attach", "talk"],
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as attached:
        assert attached.stderr is not None
        assert attached.stdout is not None
        attached.stderr.readline()
        cluster.kubectl("exec", "talk", "--", "touch", "/tmp/go")
        assert "last" in attached.stdout.read()
        assert attached.wait(30) == 0


def test_logs_of_many_containers(cluster: Cluster, ns: str) -> None:
    """The default container's, all, by label with prefixes, with times in UTC."""
    cluster.kubectl("apply", "-f", "-", stdin=TWO)
    cluster.kubectl("wait", "pod/two", "--for=condition=Ready", "--timeout=30s")
    cluster.until("the output", lambda: cluster.kubectl("logs", "two", "-c", "b"))
    assert cluster.kubectl("logs", "two") == "from-b\n"
    everything = cluster.kubectl("logs", "two", "--all-containers").split()
    assert sorted(everything) == ["from-a", "from-b", "from-i"]
    prefixed = cluster.kubectl("logs", "-l", "app=two", "--all-containers", "--prefix", "--tail=1")
    assert sorted(prefixed.splitlines()) == ["[pod/two/a] from-a", "[pod/two/b] from-b", "[pod/two/i] from-i"]
    moment, text = cluster.kubectl("logs", "two", "-c", "i", "--timestamps").split()
    assert text == "from-i"
    assert moment.endswith("Z")
    assert len(moment) == len("2026-01-01T00:00:00.000000000Z")
    assert cluster.kubectl("logs", "two", "-c", "i", f"--since-time={moment[:4]}-01-01T00:00:00Z") == "from-i\n"
    assert cluster.kubectl("logs", "two", "-c", "i", "--since-time=2099-01-01T00:00:00Z") == ""
    assert 'previous terminated container "a" in pod "two" not found' in cluster.refused("logs", "two", "-c", "a", "-p")


def test_what_comes_later_is_refused_by_name_and_at_once(cluster: Cluster, ns: str) -> None:
    """port-forward; and an ephemeral container by the node, in the pod's status."""
    cluster.kubectl("apply", "-f", "-", stdin=pod("p", "sleep 1000"))
    cluster.kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=30s")
    later = "is not available yet in this version of Sampan"
    assert f"port-forward {later}" in cluster.refused("port-forward", "p", ":80")
    cluster.kubectl("debug", "p", "--image=busybox:1.36", "-c", "guest")
    told = "jsonpath={.status.ephemeralContainerStatuses[0].state.waiting.message}"
    cluster.kubectl("wait", "pod/p", f"--for={told}=ephemeral containers are not supported yet", "--timeout=30s")
