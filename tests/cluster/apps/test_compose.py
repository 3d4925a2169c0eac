"""Compose files become plain Kubernetes objects, case by case; what can't be is refused by name."""

import base64
import contextlib
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sampan.cluster.apps import compose, objects
from sampan.cluster.apps.compose_files import Surroundings
from sampan.cluster.apps.compose_values import ComposeError
from sampan.cluster.apps.objects import Application

APP = Application("shop", "default")
FILES = {"app.env": "# c\nexport A=1\nB='two words' # x\nC=\"l1\\nl2\"\nD=plain # c\nE\n", "site.conf": "listen 80\n"}


KEY = b"the cluster's own"


def around(variables: Mapping[str, str], key: bytes = KEY) -> Surroundings:
    def read(path: str) -> str:
        if path not in FILES:
            raise FileNotFoundError(2, "No such file or directory", path)
        return FILES[path]

    return Surroundings(variables, read, "/work/shop", key)


def project(text: str, **variables: str) -> compose.Project:
    tree, notes = compose.load(text, around(variables))
    asked = compose.builds(tree, APP.name)
    images = {service: f"{one.image}@sha256:1" for service, one in asked.items()}
    found = compose.translate(tree, APP, images, around(variables))
    found.notes[:0] = notes
    return found


def everything(text: str, **variables: str) -> dict[str, Any]:
    return {
        f"{obj['kind']}/{obj['metadata']['name']}": obj for wave in project(text, **variables).waves for obj in wave
    }


def service(entry: str, top: str = "", **variables: str) -> dict[str, Any]:
    """The pod template's only container of a service with these keys, and its pod."""
    found = everything(f"services:\n  web:\n    image: i\n    {entry}\n{top}", **variables)
    pod: dict[str, Any] = found["Deployment/web"]["spec"]["template"]["spec"]
    return pod


def container(entry: str, top: str = "", **variables: str) -> dict[str, Any]:
    found: dict[str, Any] = service(entry, top, **variables)["containers"][0]
    return found


def test_a_service() -> None:
    """A Deployment and a Service of its name; published ports go to a balancer, all are open inside."""
    found = everything(
        'services:\n  web:\n    image: nginx:1\n    ports: ["8080:80", "53:53/udp"]\n    expose: [9000]\n'
    )
    labels = {objects.NAME: "web", objects.INSTANCE: "shop", objects.MANAGED_BY: "sampan"}
    assert found["Deployment/web"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "labels": labels},
        "spec": {
            "selector": {"matchLabels": {objects.NAME: "web", objects.INSTANCE: "shop"}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "enableServiceLinks": False,
                    "containers": [
                        {
                            "name": "web",
                            "image": "nginx:1",
                            "ports": [
                                {"containerPort": 80, "protocol": "TCP"},
                                {"containerPort": 53, "protocol": "UDP"},
                                {"containerPort": 9000, "protocol": "TCP"},
                            ],
                        }
                    ],
                },
            },
        },
    }
    assert found["Service/web"]["spec"] == {
        "selector": {objects.NAME: "web", objects.INSTANCE: "shop"},
        "type": "LoadBalancer",
        "ports": [
            {"name": "tcp-8080", "port": 8080, "targetPort": 80, "protocol": "TCP"},
            {"name": "udp-53", "port": 53, "targetPort": 53, "protocol": "UDP"},
            {"name": "tcp-80", "port": 80, "targetPort": 80, "protocol": "TCP"},
            {"name": "tcp-9000", "port": 9000, "targetPort": 9000, "protocol": "TCP"},
        ],
    }


def test_a_service_without_ports_is_found_by_its_name() -> None:
    """On any port: its Service is headless."""
    assert everything("services:\n  db:\n    image: i\n")["Service/db"]["spec"]["clusterIP"] == "None"


CONTAINER = [
    ("command: run --x 'a b'", {"args": ["run", "--x", "a b"]}),
    ('command: ["$$(A)", "b"]', {"args": ["$$(A)", "b"]}),
    ("entrypoint: /e one\n    command: two", {"command": ["/e", "one"], "args": ["two"]}),
    ("environment: {A: 1, B: true, H: }", {"env": [("A", "1"), ("B", "true"), ("H", "here")]}),
    ("environment: [A=x=y, NO, H]", {"env": [("A", "x=y"), ("H", "here")]}),
    (
        "env_file: [app.env, {path: none, required: false}]\n    environment: {A: over}",
        {"env": [("A", "over"), ("B", "two words"), ("C", "l1\nl2"), ("D", "plain")]},
    ),
    ("working_dir: /w\n    tty: true\n    stdin_open: true", {"workingDir": "/w", "tty": True, "stdin": True}),
    (
        "deploy: {resources: {limits: {cpus: '0.5', memory: 512m}, reservations: {memory: 1.5gb}}}",
        {"resources": {"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"memory": "1610612736"}}},
    ),
    ("mem_limit: 1g\n    cpus: 2", {"resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}),
    (
        "healthcheck: {test: [CMD, c, d], interval: 1m30s, timeout: 500ms, retries: 4}",
        {
            "readinessProbe": {
                "exec": {"command": ["c", "d"]},
                "periodSeconds": 90,
                "timeoutSeconds": 1,
                "failureThreshold": 4,
            }
        },
    ),
    (
        "healthcheck: {test: curl x}",
        {"readinessProbe": {"exec": {"command": ["/bin/sh", "-c", "curl x"]}, "timeoutSeconds": 30}},
    ),
    ("healthcheck: {disable: true, test: x}", {}),
    ("healthcheck: {test: [NONE]}", {}),
    (
        """user: '33:34'
    read_only: true
    cap_add: [CAP_NET_ADMIN]
    cap_drop: [ALL]
    security_opt: ['no-new-privileges:true']""",
        {
            "securityContext": {
                "runAsUser": 33,
                "runAsGroup": 34,
                "readOnlyRootFilesystem": True,
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
                "allowPrivilegeEscalation": False,
            }
        },
    ),
    ("pull_policy: always", {"imagePullPolicy": "Always"}),
]


@pytest.mark.parametrize(("entry", "wanted"), CONTAINER)
def test_containers(entry: str, wanted: dict[str, Any]) -> None:
    """What a service's key means for its container."""
    found = container(entry, H="here")
    if "env" in wanted:
        wanted = {"env": [{"name": name, "value": value} for name, value in wanted["env"]]}
    assert found == {"name": "web", "image": "i", **wanted}


def test_pods() -> None:
    """What concerns the whole pod."""
    found = service(
        "hostname: h\n    stop_grace_period: 1m\n    extra_hosts: ['a:10.0.0.1', 'b=10.0.0.1']\n    group_add: [5]\n"
        "    sysctls: {net.x: 1}"
    )
    del found["containers"]
    assert found == {
        "enableServiceLinks": False,
        "hostname": "h",
        "terminationGracePeriodSeconds": 60,
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a", "b"]}],
        "securityContext": {"supplementalGroups": [5], "sysctls": [{"name": "net.x", "value": "1"}]},
    }


MOUNTS = [
    ("volumes: ['data:/d']", {"persistentVolumeClaim": {"claimName": "shop-data"}}, {"mountPath": "/d"}),
    ("volumes: ['mine:/d:ro']", {"persistentVolumeClaim": {"claimName": "own"}}, {"mountPath": "/d", "readOnly": True}),
    ("volumes: ['./src:/d']", {"hostPath": {"path": "/work/shop/src"}}, {"mountPath": "/d"}),
    ("volumes: ['../x:/d:ro,z']", {"hostPath": {"path": "/work/x"}}, {"mountPath": "/d", "readOnly": True}),
    ("volumes: [/d]", {"emptyDir": {}}, {"mountPath": "/d"}),
    (
        "volumes: [{type: tmpfs, target: /d, tmpfs: {size: 10m}}]",
        {"emptyDir": {"medium": "Memory", "sizeLimit": "10Mi"}},
        {"mountPath": "/d"},
    ),
    ("tmpfs: /run", {"emptyDir": {"medium": "Memory"}}, {"mountPath": "/run"}),
    ("shm_size: 1g", {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}, {"mountPath": "/dev/shm"}),
    (
        "configs: [site]",
        {"configMap": {"name": "shop-site", "items": [{"key": "site", "path": "site"}]}},
        {"mountPath": "/site", "subPath": "site", "readOnly": True},
    ),
    (
        "secrets: [{source: word, target: pw, mode: 0400}]",
        {"secret": {"secretName": "shop-word", "items": [{"key": "word", "path": "word", "mode": 0o400}]}},
        {"mountPath": "/run/secrets/pw", "subPath": "word", "readOnly": True},
    ),
]
TOP = (
    "volumes: {data: , mine: {external: true, name: own}}\nconfigs: {site: {file: ./site.conf}}\n"
    "secrets: {word: {environment: WORD}}"
)


@pytest.mark.parametrize(("entry", "volume", "mount"), MOUNTS)
def test_mounts(entry: str, volume: dict[str, Any], mount: dict[str, Any]) -> None:
    """Volumes, folders, memory, configs and secrets."""
    found = service(entry, TOP, WORD="w")
    assert found["volumes"] == [{"name": "v0", **volume}]
    assert found["containers"][0]["volumeMounts"] == [{"name": "v0", **mount}]


def test_what_is_shared() -> None:
    """Claims, ConfigMaps and Secrets come first; who has a claim is alone; a change of content rolls the pods."""
    text = f"services:\n  web:\n    image: i\n    volumes: ['data:/d', 'data:/e']\n    configs: [site]\n{TOP}\n"
    found = project(text, WORD="w")
    first = {f"{obj['kind']}/{obj['metadata']['name']}": obj for obj in found.waves[0]}
    assert list(first) == ["PersistentVolumeClaim/shop-data", "ConfigMap/shop-site", "Secret/shop-word"]
    assert first["ConfigMap/shop-site"]["data"] == {"site": "listen 80\n"}
    assert base64.b64decode(first["Secret/shop-word"]["data"]["word"]) == b"w"
    deployment = found.waves[1][0]
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert len(deployment["spec"]["template"]["spec"]["volumes"]) == 2
    before = deployment["spec"]["template"]["metadata"]["annotations"][objects.CONTENT]
    other = everything(text.replace("{file: ./site.conf}", "{content: other}"), WORD="w")["Deployment/web"]
    assert other["spec"]["template"]["metadata"]["annotations"][objects.CONTENT] != before


def test_what_is_said_of_a_secret_is_of_no_use_to_others() -> None:
    """Pods bear the same mark as long as a Secret is the same, and who guesses its content can't tell by the mark."""
    text = f"services: {{web: {{image: i, secrets: [word]}}}}\n{TOP}\n"

    def mark(key: bytes) -> str:
        given = around({"WORD": "w"}, key)
        waves = compose.translate(compose.load(text, given)[0], APP, {}, given).waves
        template = next(obj for obj in waves[-1] if obj["kind"] == "Deployment")["spec"]["template"]
        found: str = template["metadata"]["annotations"][objects.CONTENT]
        return found

    assert mark(KEY) == mark(KEY) != mark(b"another")
    assert mark(KEY) != objects.digest([objects.digest("w")])


def test_dependencies() -> None:
    """Who is needed comes first; who is to complete is a Job, named by what it runs."""
    text = """services:
  web: {image: w, depends_on: {db: {condition: service_healthy}, migrate: {condition: service_completed_successfully}}}
  migrate: {image: m, depends_on: [db], restart: on-failure}
  db: {image: d}
  cache: {image: c}
"""
    found = project(text)
    kinds = [[obj["kind"] + "/" + obj["metadata"]["name"].rpartition("-")[0] for obj in wave] for wave in found.waves]
    assert kinds == [
        ["Deployment/", "Service/", "Deployment/", "Service/"],
        ["Job/migrate"],
        ["Deployment/", "Service/"],
    ]
    job = found.waves[1][0]
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
    other = project(text.replace("image: m", "image: n")).waves[1][0]
    assert other["metadata"]["name"] != job["metadata"]["name"]


def test_builds() -> None:
    """By service, with names of their own; pods name them by what was built."""
    tree, _ = compose.load(
        "services:\n  a: {build: ./a}\n  b_b: {build: {context: b, dockerfile: D, target: t, args: {X: 1}}, image: 'b:2'}\n"
        "  c: {image: c}\n",
        around({}),
    )
    assert compose.builds(tree, "shop") == {
        "a": compose.Build("shop-a", "./a", arguments=[]),
        "b_b": compose.Build("b:2", "b", "D", "t", [("X", "1")]),
    }
    assert container("build: .")["image"] == "i@sha256:1"


def test_variables() -> None:
    """With defaults and escapes; what is not set is said."""
    found = project(
        "services:\n  web: {image: 'i:${TAG:-1}$NO', command: [\"$$HOME '${X}' \\\\ ${Y:-${X}}\"]}\n", X="x", TAG=""
    )
    spec = found.waves[0][0]["spec"]["template"]["spec"]["containers"][0]
    assert (spec["image"], spec["args"]) == ("i:1", ["$HOME 'x' \\ x"])
    assert found.notes == ["the variable NO is not set, and taken as empty"]


def test_notes() -> None:
    """What is left out is said, one line each."""
    found = project(
        "services:\n  my_web:\n    image: i\n    container_name: x\n    restart: 'no'\n    networks: [n]\n"
        "    ports: ['127.0.0.1:80:80']\n  tool: {image: t, profiles: [dev]}\nnetworks: {n: }\nx-any: 1\n"
    )
    assert found.waves[0][0]["metadata"]["name"] == "my-web"
    assert found.notes == [
        "services.my_web.container_name is left out: pods are found by their service's name",
        "services.my_web.networks is left out: all pods reach each other",
        "services.my_web is called my-web here: underscores can't be in a name",
        "services.my_web.ports: 127.0.0.1:80:80 is for this machine alone: it is served in the cluster; use kubectl port-forward",
        "services.my_web.restart: no is left out: a Deployment's containers are always started again",
        "networks: all pods reach each other; see NetworkPolicy to keep them apart",
        "services.tool is left out: it has profiles",
    ]


REFUSED = [
    ("services: {}", "there are no services"),
    ("[1]", "the file must be a mapping"),
    ("a: {", "not YAML"),
    ("include: [x]\nservices: {a: {image: i}}", "include is not supported"),
    ("services: {a: {image: i, ulimits: 1}}", "services.a.ulimits is not supported"),
    ("services: {a: {command: x}}", "services.a has neither an image nor a build"),
    ("services: {a: {image: i, build: {secrets: [x]}}}", "services.a.build.secrets is not supported"),
    ("services: {a: {image: i, deploy: {placement: {}}}}", "services.a.deploy.placement is not supported"),
    ("services: {a: {image: i, deploy: {mode: global}}}", "services.a.deploy.mode: global is not supported"),
    ("services: {a: {image: i, user: web}}", "services.a.user (give the number of a user, not its name): 'web'"),
    ("services: {a: {image: i, ports: [x]}}", "services.a.ports: 'x' is not a port; write it in quotes, as '8080:80'"),
    ("services: {a: {image: i, ports: ['1-2:1-3']}}", "the ranges are of different lengths"),
    ("services: {a: {image: i, ports: [70000]}}", "services.a.ports: '70000' is not a port"),
    ("services: {a: {image: i, volumes: ['d:/x']}}", "services.a.volumes: there is no volume 'd' below volumes"),
    ("services: {a: {image: i, volumes: ['./x:y']}}", "services.a.volumes: 'y' must be an absolute path below /"),
    ("services: {a: {image: i, volumes: [/x, /x]}}", "services.a: two things are mounted at /x"),
    ("services: {a: {image: i, volumes: ['./x:/y:w']}}", "the mode w is not supported"),
    ("services: {a: {image: i, secrets: [s]}}", "services.a.secrets: there is no secret 's' below secrets"),
    ("services: {a: {image: i, depends_on: [b]}}", "services.a.depends_on: there is no service b"),
    ("services: {a: {image: i, depends_on: [b]}, b: {image: i, depends_on: [a]}}", "depends_on goes in a circle: a, b"),
    ("services: {a: {image: i, depends_on: {b: {condition: x}}}, b: {image: i}}", "the condition x is not supported"),
    ("services: {a: {image: i, env_file: none}}", "services.a.env_file: none can't be read: No such file or directory"),
    ("services: {a: {image: i, healthcheck: {test: [x]}}}", "services.a.healthcheck.test must begin with CMD"),
    ("services: {a: {image: i, healthcheck: {test: x, interval: 5}}}", "5 is not a duration such as 1m30s"),
    ("services: {a: {image: i, mem_limit: much}}", "services.a: memory: 'much' is not a size such as 512m"),
    ("services: {a: {image: '${X:?give X}'}}", "services.a.image: X: give X"),
    ("services: {-: {image: i}}", "'-' can't be the name of a service"),
    ("services: {a: {image: i}}\nvolumes: {v: {driver: nfs}}", "volumes.v.driver: only the cluster's default class"),
    ("services: {a: {image: i}}\nsecrets: {s: {}}", "secrets.s must have file, content, environment or external"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_refusals(text: str, why: str) -> None:
    """By name, with what to do where that is not plain."""
    with pytest.raises(ComposeError) as refused:
        project(text)
    assert why in str(refused.value)


SERVICE_KEYS = sorted({*[entry.partition(":")[0] for entry, _ in CONTAINER], "ports", "volumes", "depends_on", "deploy",
                       "secrets", "restart", "healthcheck", "extra_hosts", "env_file", "tmpfs", "build", "labels"})  # fmt: skip
VALUES = st.recursive(
    st.sampled_from([None, True, 1, -1, 1.5, "", "x", "80", "a:b", "/x", "1m", "$", "${", "a=b"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["test", "source", "resources"]), inner)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(SERVICE_KEYS), VALUES, max_size=4))
def test_any_service_is_translated_or_refused(entry: dict[str, Any]) -> None:
    """Whatever values its keys have."""
    with contextlib.suppress(ComposeError):
        project(yaml.safe_dump({"services": {"a": {"image": "i", **entry}}}))
