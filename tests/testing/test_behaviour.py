"""Simulated pods behave as they are told: by annotations of theirs, or by the test."""

import contextlib
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from sampan.cluster.history import digest
from sampan.meta import timestamps
from sampan.testing import Cluster
from sampan.web.message import Peer, Request

Tree = dict[str, Any]
BEHAVIOUR = "simulated.sampan.dev/behaviour"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1) as made:
        yield made


def pod(name: str = "p", behaviour: str = "", **spec: Any) -> Tree:
    """A pod of one container, `main`; words of the container's own go to it."""
    own = ("image", "imagePullPolicy", "readinessProbe", "livenessProbe", "startupProbe", "resources")
    container = {"name": "main", "image": "web:1"} | {word: spec.pop(word) for word in own if word in spec}
    metadata = {"name": name, "labels": {"app": name}, "annotations": {BEHAVIOUR: behaviour} if behaviour else {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]} | spec}


def status(cluster: Cluster, name: str = "p") -> Tree:
    """Of the pod's first container."""
    found: Tree = (cluster.get(f"pod/{name}") or {})["status"]["containerStatuses"][0]
    return found


def events(cluster: Cluster, name: str = "p") -> list[str]:
    return [f"{event['reason']}: {event['message']}" for event in cluster.events(f"pod/{name}")]


def is_over(found: Tree) -> bool:
    return found["status"].get("phase") in ("Succeeded", "Failed")


def probe(**more: Any) -> Tree:
    return {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1} | more


# Images


def test_a_pull_takes_its_time_once(cluster: Cluster) -> None:
    """The first container on a node waits for the image, the next one has it; who always pulls waits again."""
    cluster.behave("web", {"pull": "4s"})
    cluster.create(pod("a"))
    cluster.advance(3.9)
    assert status(cluster, "a")["state"] == {"waiting": {"reason": "ContainerCreating"}}
    cluster.wait_for("pod/a", "Ready", within=0.5)
    assert [line for line in events(cluster, "a") if line.startswith("Pull")] == [
        'Pulling: Pulling image "web:1"',
        'Pulled: Successfully pulled image "web:1" in 4s (4s including waiting). Image size: 0 bytes.',
    ]
    cluster.create(pod("b"))
    cluster.wait_for("pod/b", "Ready", within=0.5)
    assert "already present" in events(cluster, "b")[1]
    cluster.create(pod("c", imagePullPolicy="Always"))
    cluster.advance(3.9)
    assert "waiting" in status(cluster, "c")["state"]
    cluster.wait_for("pod/c", "Ready", within=0.5)


def test_a_failing_pull_is_repeated_with_back_off(cluster: Cluster) -> None:
    """ErrImagePull, then ImagePullBackOff for 10 and 20 seconds, then the image is there."""
    cluster.behave("web", {"pull": {"takes": 1, "error": "manifest unknown", "fails": 2}})
    cluster.create(pod())
    cluster.advance(1.5)
    waiting = status(cluster)["state"]["waiting"]
    assert waiting == {"reason": "ErrImagePull", "message": 'failed to pull image "web:1": manifest unknown'}
    cluster.advance(1.5)
    assert status(cluster)["state"]["waiting"]["reason"] == "ImagePullBackOff"
    cluster.wait_for("pod/p", "Ready", within=60)
    assert cluster.time == pytest.approx(33, abs=0.2), "three pulls of a second, 10 and 20 between them"
    assert 'Failed: Failed to pull image "web:1": manifest unknown' in events(cluster)


def test_an_image_that_is_never_pulled(cluster: Cluster) -> None:
    """With the policy Never, what is not there yet can't be run."""
    cluster.behave("web", {"pull": 1})
    cluster.create(pod(imagePullPolicy="Never"))
    cluster.advance(2)
    assert status(cluster)["state"]["waiting"]["reason"] == "ErrImageNeverPull"


def test_a_deletion_does_not_wait_for_a_pull(cluster: Cluster) -> None:
    """A pod that is to go gives up getting its image."""
    cluster.behave("web", {"pull": "10m"})
    cluster.create(pod())
    cluster.advance(5)
    cluster.delete("pod/p")
    cluster.wait_for("pod/p", "deleted", within=5)


# Starts and ends


def test_a_start_takes_its_time(cluster: Cluster) -> None:
    """Until then the container is being created; its time counts from then."""
    cluster.create(pod(behaviour="{start: 3s, run: 2s, exit: 4}", restartPolicy="Never"))
    cluster.advance(2.9)
    assert status(cluster)["state"]["waiting"]["reason"] == "ContainerCreating"
    cluster.wait_for("pod/p", is_over, within=2.5)
    ended = status(cluster)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (4, "Error")
    assert (ended["startedAt"], ended["finishedAt"]) == ("2026-01-01T00:00:03Z", "2026-01-01T00:00:05Z")


def test_many_starts_go_on_side_by_side(cluster: Cluster) -> None:
    """However many containers start on a node, each takes its own time only."""
    cluster.behave("web", {"start": 5})
    for number in range(30):
        cluster.create(pod(f"p{number}"))
    cluster.advance(6)
    assert all(status(cluster, f"p{number}")["ready"] for number in range(30))


def test_attempts_differ(cluster: Cluster) -> None:
    """The first fails to start, the second is killed for its memory, the third ends well."""
    cluster.create(
        pod(
            behaviour="""
            - attempts: 1
              start: {error: "exec: no such file"}
            - attempts: 2
              run: 2s
              exit: OOMKilled
            - {run: 2s, exit: {code: 0, message: all done}}
            """,
            restartPolicy="OnFailure",
        )
    )
    cluster.wait_for("pod/p", is_over, within=60)
    found = status(cluster)
    assert found["restartCount"] == 2
    assert found["state"]["terminated"]["message"] == "all done"
    last = found["lastState"]["terminated"]
    assert (last["reason"], last["exitCode"]) == ("OOMKilled", 137)
    assert "Failed: Error: exec: no such file" in events(cluster)


def test_more_memory_than_may_be(cluster: Cluster) -> None:
    """Use that grows over the container's limit ends in an OOM kill when it does."""
    growing = pod(
        behaviour="{run: 100s, memory: 0..200Mi}", resources={"limits": {"memory": "100Mi"}}, restartPolicy="Never"
    )
    cluster.create(growing)
    cluster.wait_for("pod/p", is_over, within=60)
    ended = status(cluster)["state"]["terminated"]
    assert (ended["reason"], ended["finishedAt"]) == ("OOMKilled", "2026-01-01T00:00:50Z")


def test_being_stopped(cluster: Cluster) -> None:
    """One takes its time to end, one does not listen and is killed after the grace."""
    cluster.behave("app=slow", {"stop": {"takes": 7, "exit": 143}})
    cluster.behave("app=deaf", {"stop": "ignored"})
    for name in ("slow", "deaf"):
        cluster.create(pod(name, terminationGracePeriodSeconds=20))
    cluster.advance(1)
    began = cluster.time
    for name in ("slow", "deaf"):
        cluster.delete(f"pod/{name}")
    cluster.wait_for("pod/slow", "deleted", within=30)
    assert cluster.time - began == pytest.approx(7, abs=0.2)
    cluster.wait_for("pod/deaf", "deleted", within=30)
    assert cluster.time - began == pytest.approx(20, abs=0.2)
    codes = {
        change.tree["metadata"]["name"]: change.tree["status"]["containerStatuses"][0]["state"]["terminated"][
            "exitCode"
        ]
        for change in cluster.history()
        if change.resource == "pods"
        and "terminated" in change.tree["status"].get("containerStatuses", [{}])[0].get("state", {})
    }
    assert codes == {"slow": 143, "deaf": 137}


# Probes


def test_readiness_in_the_course_of_time(cluster: Cluster) -> None:
    """Not ready for ten seconds, ready for twenty, then not any more; events say what the probe said."""
    cluster.behave(
        "web",
        {
            "stages": [
                {"run": 10, "readiness": "HTTP probe failed with statuscode: 503"},
                {"run": 20},
                {"readiness": False},
            ]
        },
    )
    cluster.create(pod(readinessProbe=probe(failureThreshold=1)))
    cluster.wait_for("pod/p", "Ready", within=30)
    assert cluster.time == pytest.approx(10, abs=1.5)
    assert "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503" in events(cluster)
    cluster.wait_for("pod/p", "Ready=False", within=30)
    assert cluster.time == pytest.approx(30, abs=1.5)
    assert status(cluster)["restartCount"] == 0


def test_liveness_and_startup(cluster: Cluster) -> None:
    """A container that fails its liveness probe is started again, but not before its startup probe passed."""
    cluster.create(
        pod(
            behaviour="""
            - attempts: 1
              stages:
              - {run: 10s, startup: false, liveness: false}
              - {run: 10s}
              - {liveness: deadlock}
            - {}
            """,
            startupProbe=probe(failureThreshold=30),
            livenessProbe=probe(failureThreshold=3),
        )
    )
    cluster.advance(9)
    assert (status(cluster)["started"], status(cluster)["restartCount"]) == (False, 0)
    cluster.advance(8)
    assert (status(cluster)["started"], status(cluster)["restartCount"]) == (True, 0)
    cluster.advance(20)
    assert status(cluster)["restartCount"] == 1
    assert "Unhealthy: Liveness probe failed: deadlock" in events(cluster)


# What can be seen of them


def test_logs(cluster: Cluster) -> None:
    """Lines come as their stage says, and those of the next attempt are its own; who is told nothing has no log."""
    cluster.create(
        pod(
            behaviour="""
            - attempts: 1
              stages:
              - {run: 10s, log: loading}
              - {run: 15s, log: [working, hard], every: 10s}
            - {log: again}
            """
        )
    )
    cluster.advance(21)
    assert cluster.logs("pod/p") == ["loading", "working", "hard", "working", "hard"]
    cluster.advance(10)
    assert cluster.logs("pod/p", "main") == ["again"]
    with pytest.raises(LookupError, match=r"no container 'side' is there; there are \['main'\]"):
        cluster.logs("pod/p", "side")
    cluster.create(pod("q"))
    cluster.advance(1)
    with pytest.raises(LookupError, match="its behaviour says nothing"):
        cluster.logs("pod/q")


def read_log(cluster: Cluster, name: str, **query: str) -> tuple[int, str]:
    """What the API answers to GET .../log, and its status."""

    async def ask() -> tuple[int, str]:
        request = Request("GET", f"/api/v1/namespaces/default/pods/{name}/log", tuple(query.items()))
        answer = await cluster.sim.doors.door(Peer("admin", ("system:masters",))).request(request)
        if isinstance(answer.body, dict | bytes):
            tree = answer.body if isinstance(answer.body, dict) else orjson.loads(answer.body)
            return answer.status, str(tree["message"])
        return answer.status, "".join([chunk.decode() async for chunk in answer.body if isinstance(chunk, bytes)])

    found: tuple[int, str] = cluster.run(ask())
    return found


def test_logs_from_the_api(cluster: Cluster) -> None:
    """As kubectl has them: the last lines, those since some time, with times, of the attempt before; followed."""
    cluster.behave("web", [{"attempts": 1, "run": 5, "log": "first"}, {"run": 60, "log": ["one", "two"], "every": 10}])
    cluster.create(pod(restartPolicy="OnFailure"))
    cluster.create(pod("q", image="silent"))
    cluster.behave("web", {"attempts": 1, "run": 5, "exit": 1, "log": "first"})
    cluster.advance(17)
    assert read_log(cluster, "p") == (200, "one\ntwo\none\ntwo\n")
    assert read_log(cluster, "p", previous="true") == (200, "first\n")
    assert read_log(cluster, "p", tailLines="1") == (200, "two\n")
    assert read_log(cluster, "p", tailLines="0") == (200, "")
    assert read_log(cluster, "p", sinceSeconds="5") == (200, "one\ntwo\n")
    assert read_log(cluster, "p", limitBytes="5") == (200, "one\nt")
    assert read_log(cluster, "p", timestamps="true", limitBytes="32") == (200, "2026-01-01T00:00:05.000000Z one\n")
    assert read_log(cluster, "p", stream="Stderr") == (200, "")
    assert read_log(cluster, "p", container="x") == (400, "container x is not valid for pod p")
    text = 'container "main" is simulated, and its behaviour says nothing of a log'
    assert read_log(cluster, "q") == (400, text)
    began = cluster.time
    code, followed = read_log(cluster, "p", follow="true", tailLines="2")
    assert (code, followed) == (200, "one\ntwo\n" * 5)
    assert cluster.time - began == pytest.approx(48, abs=2), "followed to the container's end"


def test_last_words(cluster: Cluster) -> None:
    """A container without a message of its own falls back to its log, if its pod wants that."""
    cluster.behave("web", {"run": 1, "exit": 1, "log": "disk full"})
    cluster.behave("app=q", {"run": 1, "exit": {"code": 1, "message": "bye"}, "log": "disk full"})
    for name in ("p", "q"):
        made = pod(name, restartPolicy="Never")
        made["spec"]["containers"][0]["terminationMessagePolicy"] = "FallbackToLogsOnError"
        cluster.create(made)
    cluster.advance(2)
    messages = [status(cluster, name)["state"]["terminated"]["message"] for name in ("p", "q")]
    assert messages == ["disk full\n", "bye"]


def test_usage(cluster: Cluster) -> None:
    """Use goes evenly from one value to the other; what has ended uses nothing."""
    cluster.behave("web", {"run": 100, "cpu": "100m..300m", "memory": "64Mi"})
    cluster.create(pod(restartPolicy="Never"))
    cluster.advance(50)
    used = cluster.usage("pod/p")
    assert used is not None
    assert (used.cpu, used.memory) == (pytest.approx(0.2), 64 << 20)
    cluster.advance(51)
    assert cluster.usage("pod/p") is None


def test_a_fork_goes_on(cluster: Cluster) -> None:
    """Containers of a fork go on where they are, and rules made afterwards are its own."""
    cluster.behave("web", {"run": "20s", "exit": 1})
    cluster.create(pod(restartPolicy="Never"))
    cluster.advance(15)
    fork = cluster.fork()
    with contextlib.closing(fork):
        fork.behave("web", {"run": "forever"})
        fork.advance(10)
        assert "running" in status(fork)["state"]
    cluster.advance(5.1)
    assert status(cluster)["state"]["terminated"]["exitCode"] == 1


# Who decides


def test_the_last_word_counts(cluster: Cluster) -> None:
    """The test's words outdo the pod's own and earlier ones, each in what it speaks of."""
    cluster.behave("*", {"start": 2})
    cluster.behave("web:1", {"run": "9s", "exit": 1})
    cluster.behave("app=p", {"run": "3s", "exit": 3}, namespace="def*", pod="p", container="main")
    cluster.behave("web", {"run": "1s", "exit": 9}, namespace="other")
    cluster.create(pod(behaviour="{run: 7s, exit: 7, stop: ignored}", restartPolicy="Never"))
    cluster.wait_for("pod/p", is_over)
    ended = status(cluster)["state"]["terminated"]
    assert (ended["exitCode"], ended["startedAt"], ended["finishedAt"]) == (
        3,
        "2026-01-01T00:00:02Z",
        "2026-01-01T00:00:05Z",
    )


def test_what_runs_changes_too(cluster: Cluster) -> None:
    """A word is for running containers as well, and can be taken back; who is not meant goes on undisturbed."""
    for name in ("p", "q"):
        cluster.create(pod(name, "{run: 50s}", readinessProbe=probe(failureThreshold=1)))
        cluster.wait_for(f"pod/{name}", "Ready")
    told = cluster.behave("app=p", {"readiness": False})
    cluster.wait_for("pod/p", "Ready=False", within=5)
    cluster.end_behaviour(told)
    cluster.wait_for("pod/p", "Ready", within=5)
    with pytest.raises(ValueError, match="no such rule"):
        cluster.end_behaviour(told)
    cluster.advance(50.5 - cluster.time)
    assert (status(cluster, "q")["restartCount"], status(cluster, "p")["restartCount"]) == (1, 0)


def test_a_word_from_within() -> None:
    """It may come before the start, and in the middle of a step."""
    made = Cluster()
    made.behave("web", {"run": 20, "exit": 1})
    with made as cluster:
        cluster.create(pod(restartPolicy="Never"))
        cluster.sim.loop.call_later(10, lambda: cluster.behave("web", {"run": 5, "exit": 2}))
        cluster.wait_for("pod/p", is_over)
        assert status(cluster)["state"]["terminated"]["exitCode"] == 2
        assert cluster.time == pytest.approx(15, abs=0.2)


def test_one_container_of_several(cluster: Cluster) -> None:
    """An annotation may speak of one container; the one for all is for the others."""
    made = pod(behaviour="{run: forever}", restartPolicy="Never")
    made["spec"]["containers"].append({"name": "side", "image": "side"})
    made["metadata"]["annotations"][f"{BEHAVIOUR}.side"] = "{run: 1s, exit: 2}"
    cluster.create(made)
    cluster.advance(3)
    states = {s["name"]: next(iter(s["state"])) for s in cluster.get("pod/p")["status"]["containerStatuses"]}
    assert states == {"main": "running", "side": "terminated"}


def test_what_makes_no_sense_is_refused(cluster: Cluster) -> None:
    """An event and the container's state say what is wrong with an annotation; the test is told at once."""
    cluster.create(pod(behaviour="{run: soon}"))
    cluster.advance(1)
    text = f"annotation {BEHAVIOUR}: run: must be a time such as 5 (seconds), 1m30s, or 2s..5s (some time between)"
    assert status(cluster)["state"]["waiting"] == {"reason": "CreateContainerConfigError", "message": text}
    assert f"Failed: Error: {text}" in events(cluster)
    with pytest.raises(ValueError, match=r"exit: must be a number from 0 to 255"):
        cluster.behave("web", {"exit": 300})
    with pytest.raises(ValueError, match="node: is not known here; known are image, labels, namespace"):
        cluster.behave("web", {"exit": 1}, node="x")
    with pytest.raises(ValueError, match="labels: "):
        cluster.behave("app==,=", {"exit": 1})
    cluster.behave("web", {"run": 1})
    cluster.patch("pod/p", {"metadata": {"annotations": {BEHAVIOUR: None}}})
    cluster.wait_for("pod/p", lambda found: found["status"]["phase"] == "Running", within=30)


# Chance


def chancy(seed: int, *others: str) -> tuple[str, list[str]]:
    """The digest of a story with chance in it, and when some pods of it ended."""
    with Cluster(seed=seed) as cluster:
        cluster.behave("web", [{"chance": 0.5, "run": "1s..20s", "exit": 1}, {"run": "1s..20s", "start": "0..3"}])
        for name in ("a", "b", "c", *others):
            cluster.create(pod(name, restartPolicy="Never"))
        cluster.advance(60)
        ends = [str(status(cluster, name)["state"]["terminated"]) for name in ("a", "b", "c")]
        return digest(cluster.history()), [text.partition("containerID")[0] for text in ends]


def test_each_attempt_has_its_own_luck(cluster: Cluster) -> None:
    """A container that is started again does not do the very same again."""
    cluster.behave("web", {"run": "1s..60s", "exit": 1})
    cluster.create(pod())
    cluster.advance(600)
    lasts = set[float]()
    for change in cluster.history("pod/p"):
        for found in change.tree["status"].get("containerStatuses") or ():
            if ended := found["state"].get("terminated"):
                lasts.add(timestamps.parse(ended["finishedAt"]) - timestamps.parse(ended["startedAt"]))
    assert len(lasts) > 3


def test_chance_comes_from_the_seed() -> None:
    """The same seed, the same story; another seed, another one; other pods change nothing."""
    assert chancy(1) == chancy(1)
    assert chancy(1)[1] == chancy(1, "d", "e")[1]
    assert chancy(1)[1] != chancy(2)[1]
