"""One service of a compose file, as the pods, ports and mounts that it means. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.cluster.apps import compose_files, compose_mounts, compose_ports, compose_values, objects
from sampan.cluster.apps.compose_files import Known
from sampan.cluster.apps.compose_values import ComposeError, flag, mapping, name_of, text, texts, whole
from sampan.cluster.apps.objects import Application, Object, Workload

_KEYS = {
    "image", "build", "command", "entrypoint", "environment", "env_file", "ports", "expose", "volumes", "tmpfs",
    "configs", "secrets", "depends_on", "healthcheck", "deploy", "restart", "working_dir", "user", "labels",
    "annotations", "hostname", "tty", "stdin_open", "read_only", "privileged", "cap_add", "cap_drop", "group_add",
    "stop_grace_period", "extra_hosts", "shm_size", "scale", "mem_limit", "mem_reservation", "cpus", "pull_policy",
    "profiles", "security_opt", "sysctls",
}  # fmt: skip
_LEFT_OUT = {
    "container_name": "pods are found by their service's name",
    "init": "the container's program is process 1",
    "logging": "see kubectl logs",
    "networks": "all pods reach each other",
    "links": "all services are found by their names",
    "platform": "images of this machine's are taken",
}
_DEPLOY = {"replicas", "resources", "mode", "labels", "restart_policy"}
_CONDITIONS = {"service_started": "up", "service_healthy": "up", "service_completed_successfully": "done"}
_PULL = {"always": "Always", "missing": "IfNotPresent", "if_not_present": "IfNotPresent", "never": "Never"}


@dataclass(frozen=True, slots=True)
class Context:
    """What services are translated with; notes are added to."""

    app: Application
    known: Known
    folder: str
    read: Callable[[str], str]
    variables: Mapping[str, str]
    notes: list[str] = field(default_factory=list)


def needs(service: str, entry: Object) -> dict[str, str]:
    """The services that come first, each with `up` or `done`. Raises ComposeError."""
    asked = entry.get("depends_on")
    if not isinstance(asked, dict):
        return dict.fromkeys(texts(asked, f"services.{service}.depends_on"), "up")
    found = {}
    for other, terms in asked.items():
        where = f"services.{service}.depends_on.{other}"
        one = mapping(terms, where)
        condition = text(one.get("condition", "service_started"))
        if condition not in _CONDITIONS or not set(one) <= {"condition", "required", "restart"}:
            raise ComposeError(f"{where}: the condition {condition} is not supported")
        found[str(other)] = _CONDITIONS[condition]
    return found


def translate(service: str, entry: Object, context: Context, *, is_job: bool) -> Workload:
    """Raises ComposeError."""
    where = f"services.{service}"
    _check_keys(entry, where, context)
    name = name_of(service, "service")
    if name != service:
        context.notes.append(f"{where} is called {name} here: underscores can't be in a name")
    container = dict(_container(entry, where, context))
    pod = dict(_pod(entry, where))
    mounted = compose_mounts.mounted(entry, where, compose_mounts.Place(context.app, context.known, context.folder))
    if mounted.mounts:
        container["volumeMounts"] = mounted.mounts
        pod["volumes"] = mounted.volumes
    deploy = mapping(entry.get("deploy"), f"{where}.deploy")
    annotations = _labels(entry, where)
    if mounted.fingerprints:
        annotations[objects.CONTENT] = objects.digest(mounted.fingerprints)
    return Workload(
        name,
        container,
        compose_ports.ports(entry, where, context.notes),
        _replicas(entry, deploy, where),
        pod,
        annotations,
        is_job,
        _restarts(entry, where, context.notes, is_job=is_job),
        mounted.is_shared,
    )


def _check_keys(entry: Object, where: str, context: Context) -> None:
    for key in entry:
        if key in _LEFT_OUT:
            context.notes.append(f"{where}.{key} is left out: {_LEFT_OUT[key]}")
        elif key not in _KEYS and not key.startswith("x-"):
            raise ComposeError(f"{where}.{key} is not supported")
    if not entry.get("image"):
        raise ComposeError(f"{where} has neither an image nor a build")
    for key in mapping(entry.get("deploy"), f"{where}.deploy"):
        if key not in _DEPLOY:
            raise ComposeError(f"{where}.deploy.{key} is not supported")


def _container(entry: Object, where: str, context: Context) -> Iterator[tuple[str, Any]]:
    yield "image", text(entry["image"])
    policy = text(entry.get("pull_policy", ""))
    if policy and policy != "build":
        if policy not in _PULL:
            raise ComposeError(f"{where}.pull_policy: {policy} is not supported")
        yield "imagePullPolicy", _PULL[policy]
    for key, name in (("entrypoint", "command"), ("command", "args")):
        if words := compose_values.words(entry.get(key), f"{where}.{key}"):
            yield name, words
    if variables := _environment(entry, where, context):
        yield "env", [{"name": name, "value": value.replace("$(", "$$(")} for name, value in variables.items()]
    if entry.get("working_dir"):
        yield "workingDir", text(entry["working_dir"])
    for key, name in (("tty", "tty"), ("stdin_open", "stdin")):
        if entry.get(key) is not None and flag(entry[key], f"{where}.{key}"):
            yield name, True
    if resources := _resources(entry, where):
        yield "resources", resources
    if probe := _probe(entry, where):
        yield "readinessProbe", probe
    if security := dict(_security(entry, where)):
        yield "securityContext", security


def _environment(entry: Object, where: str, context: Context) -> dict[str, str]:
    found: dict[str, str] = {}
    files = entry.get("env_file")
    for item in files if isinstance(files, list) else [] if files is None else [files]:
        one = item if isinstance(item, dict) else {"path": item}
        path = text(one.get("path", ""))
        try:
            content = compose_files.text_of(path, f"{where}.env_file", context.read)
        except ComposeError:
            if one.get("required", True):
                raise
            continue
        found |= compose_files.environment(content, f"{where}.env_file: {path}")
    return found | dict(compose_files.pairs(entry.get("environment"), f"{where}.environment", context.variables))


def _resources(entry: Object, where: str) -> Object:
    asked = mapping(mapping(entry.get("deploy"), where).get("resources"), f"{where}.deploy.resources")
    found: Object = {}
    for key, name in (("limits", "limits"), ("reservations", "requests")):
        one = mapping(asked.get(key), f"{where}.deploy.resources.{key}")
        for what in one:
            if what not in ("cpus", "memory"):
                raise ComposeError(f"{where}.deploy.resources.{key}.{what} is not supported")
        short = ("cpus", "mem_limit") if key == "limits" else ("", "mem_reservation")
        cpus, memory = one.get("cpus", entry.get(short[0])), one.get("memory", entry.get(short[1]))
        amounts = {} if cpus is None else {"cpu": compose_values.cores(cpus, f"{where}: cpus")}
        amounts |= {} if memory is None else {"memory": compose_values.size(memory, f"{where}: memory")}
        if amounts:
            found[name] = amounts
    unknown = sorted(set(asked) - {"limits", "reservations"})
    if unknown:
        raise ComposeError(f"{where}.deploy.resources.{unknown[0]} is not supported")
    return found


def _probe(entry: Object, where: str) -> Object | None:
    here = f"{where}.healthcheck"
    check = mapping(entry.get("healthcheck"), here)
    known = {"test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"}
    for key in check:
        if key not in known:
            raise ComposeError(f"{here}.{key} is not supported")
    if check.get("disable") is True or "test" not in check:
        return None
    test = check["test"]
    found = texts(test, f"{here}.test") if isinstance(test, list) else ["CMD-SHELL", text(test)]
    if not found or found[0] not in ("NONE", "CMD", "CMD-SHELL") or (found[0] != "NONE" and len(found) < 2):
        raise ComposeError(f"{here}.test must begin with CMD, CMD-SHELL or NONE")
    terms: Object = {
        name: compose_values.seconds(check[name], f"{here}.{name}") for name in ("interval", "timeout") if name in check
    }
    if "retries" in check:
        terms["retries"] = whole(check["retries"], f"{here}.retries")
    return objects.readiness(found, terms)


def _security(entry: Object, where: str) -> Iterator[tuple[str, Any]]:
    if entry.get("user") is not None:
        user, _, group = text(entry["user"]).partition(":")
        yield "runAsUser", whole(user, f"{where}.user (give the number of a user, not its name)")
        if group:
            yield "runAsGroup", whole(group, f"{where}.user")
    for key, name in (("privileged", "privileged"), ("read_only", "readOnlyRootFilesystem")):
        if entry.get(key) is not None and flag(entry[key], f"{where}.{key}"):
            yield name, True
    both = {name: texts(entry.get(key), f"{where}.{key}") for key, name in (("cap_add", "add"), ("cap_drop", "drop"))}
    if any(both.values()):
        yield "capabilities", {name: [cap.removeprefix("CAP_") for cap in caps] for name, caps in both.items() if caps}
    for option in texts(entry.get("security_opt"), f"{where}.security_opt"):
        if option not in ("no-new-privileges", "no-new-privileges:true"):
            raise ComposeError(f"{where}.security_opt: {option} is not supported")
        yield "allowPrivilegeEscalation", False


def _pod(entry: Object, where: str) -> Iterator[tuple[str, Any]]:
    yield "enableServiceLinks", False
    if entry.get("hostname"):
        yield "hostname", text(entry["hostname"])
    if entry.get("stop_grace_period") is not None:
        seconds = compose_values.seconds(entry["stop_grace_period"], f"{where}.stop_grace_period")
        yield "terminationGracePeriodSeconds", max(round(seconds), 1)
    if hosts := _hosts(entry, where):
        yield "hostAliases", [{"ip": ip, "hostnames": names} for ip, names in hosts.items()]
    security: Object = {}
    if groups := texts(entry.get("group_add"), f"{where}.group_add"):
        security["supplementalGroups"] = [whole(group, f"{where}.group_add") for group in groups]
    if sysctls := compose_files.pairs(entry.get("sysctls"), f"{where}.sysctls"):
        security["sysctls"] = [{"name": name, "value": value} for name, value in sysctls]
    if security:
        yield "securityContext", security


def _hosts(entry: Object, where: str) -> dict[str, list[str]]:
    asked = entry.get("extra_hosts")
    items = [f"{name}={ip}" for name, ip in asked.items()] if isinstance(asked, dict) else asked
    found: dict[str, list[str]] = {}
    for item in texts(items, f"{where}.extra_hosts"):
        name, mark, ip = item.partition("=") if "=" in item else item.partition(":")
        if not mark or not ip or ip == "host-gateway":
            raise ComposeError(f"{where}.extra_hosts: {item} is not supported; it must be NAME=ADDRESS")
        found.setdefault(ip.strip("[]"), []).append(name)
    return found


def _replicas(entry: Object, deploy: Object, where: str) -> int | None:
    mode = deploy.get("mode", "replicated")
    if mode != "replicated":
        raise ComposeError(f"{where}.deploy.mode: {mode} is not supported; use replicated")
    asked = deploy.get("replicas", entry.get("scale"))
    return None if asked is None else whole(asked, f"{where}.deploy.replicas")


def _restarts(entry: Object, where: str, notes: list[str], *, is_job: bool) -> bool:
    asked = text(entry.get("restart") if entry.get("restart") is not None else "")
    asked = "no" if asked == "false" else asked.partition(":")[0]
    if asked not in ("", "no", "always", "on-failure", "unless-stopped"):
        raise ComposeError(f"{where}.restart: {asked} is not supported")
    if asked in ("no", "on-failure") and not is_job:
        notes.append(f"{where}.restart: {asked} is left out: a Deployment's containers are always started again")
    if "restart_policy" in mapping(entry.get("deploy"), where):
        notes.append(f"{where}.deploy.restart_policy is left out: a Deployment's containers are always started again")
    return asked in ("always", "on-failure", "unless-stopped")


def _labels(entry: Object, where: str) -> dict[str, str]:
    """As annotations of the pods: they may hold any text."""
    found = dict(compose_files.pairs(entry.get("labels"), f"{where}.labels"))
    return found | dict(compose_files.pairs(entry.get("annotations"), f"{where}.annotations"))
