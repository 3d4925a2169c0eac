"""Policy: how much of a request is recorded, and at which stages. The first rule that matches decides.

https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/#audit-policy
"""

from dataclasses import dataclass

from sampan.server.authz.decision import Attributes
from sampan.server.config_reader import ConfigError, Reader
from sampan.server.identity import User

KIND = "Policy"
NONE, METADATA, REQUEST, REQUEST_RESPONSE = LEVELS = ("None", "Metadata", "Request", "RequestResponse")
RECEIVED, STARTED, COMPLETE, PANIC = STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources of one group: pods, pods/log, pods/*, */status or *; none named means all of the group."""

    group: str
    resources: tuple[str, ...]
    names: tuple[str, ...]

    def covers(self, asked: Attributes) -> bool:
        """Whether what is asked is one of them."""
        if asked.group != self.group:
            return False
        if not self.resources:
            return True
        if self.names and asked.name not in self.names:
            return False
        given = {"*", asked.full_resource}
        if asked.subresource:
            given |= {f"*/{asked.subresource}", f"{asked.resource}/*"}
        return any(name in given for name in self.resources)


@dataclass(frozen=True, slots=True)
class Recording:
    """What is recorded of a request."""

    level: str
    omitted_stages: frozenset[str] = frozenset()
    omits_managed_fields: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Empty lists ask for nothing."""

    recording: Recording
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[Resources, ...] = ()
    namespaces: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()

    def matches(self, user: User, asked: Attributes) -> bool:
        """Whether the rule is about this request."""
        if self.users and user.name not in self.users:
            return False
        if self.groups and not any(group in self.groups for group in user.groups):
            return False
        if self.verbs and asked.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return self._covers_resource(asked)
        if self.urls:
            return not asked.is_resource and any(_url_matches(url, asked.path) for url in self.urls)
        return True

    def _covers_resource(self, asked: Attributes) -> bool:
        if not asked.is_resource or (self.namespaces and asked.namespace not in self.namespaces):
            return False
        return not self.resources or any(each.covers(asked) for each in self.resources)


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in their order; what none matches is not recorded."""

    rules: tuple[Rule, ...] = ()

    def recording(self, user: User, asked: Attributes) -> Recording | None:
        """None when the request leaves no trace."""
        for rule in self.rules:
            if rule.matches(user, asked):
                return None if rule.recording.level == NONE else rule.recording
        return None


def read(reader: Reader) -> Policy:
    """Raises ConfigError."""
    reader.skip("metadata")
    stages, omits = _stages(reader), reader.flag("omitManagedFields")
    rules = tuple(_rule(each, stages, omits=omits) for each in reader.each("rules"))
    reader.done()
    if not rules:
        raise ConfigError(f"{reader.at('rules')} is empty: a rule such as 'level: Metadata' records every request")
    return Policy(rules)


def _stages(reader: Reader) -> frozenset[str]:
    given = reader.texts("omitStages")
    for stage in given:
        if stage not in STAGES:
            raise ConfigError(f"{reader.at('omitStages')} has {stage!r}: use {', '.join(STAGES)}")
    return frozenset(given)


def _rule(reader: Reader, stages: frozenset[str], *, omits: bool) -> Rule:
    level = reader.choice("level", LEVELS)
    omits = reader.flag("omitManagedFields", default=omits)
    rule = Rule(
        Recording(level, stages | _stages(reader), omits),
        users=reader.texts("users"),
        groups=reader.texts("userGroups"),
        verbs=reader.texts("verbs"),
        resources=tuple(_resources(each) for each in reader.each("resources")),
        namespaces=reader.texts("namespaces"),
        urls=reader.texts("nonResourceURLs"),
    )
    reader.done()
    if rule.urls and (rule.resources or rule.namespaces):
        raise ConfigError(f"{reader.path} is about resources and about nonResourceURLs: make two rules of it")
    for url in rule.urls:
        if url != "*" and (not url.startswith("/") or "*" in url[:-1]):
            raise ConfigError(f"{reader.at('nonResourceURLs')} has {url!r}: a path, which may end in *")
    return rule


def _resources(reader: Reader) -> Resources:
    read = Resources(reader.text("group", ""), reader.texts("resources"), reader.texts("resourceNames"))
    reader.done()
    if read.names and not read.resources:
        raise ConfigError(f"{reader.at('resourceNames')} needs resources to be names of")
    return read


def _url_matches(pattern: str, path: str) -> bool:
    if pattern in ("*", path):
        return True
    return pattern.endswith("*") and path.startswith(pattern[:-1])
