"""Event: the record of one request, as audit.k8s.io/v1 has it, grown while the request is worked on.

Bodies are recorded only at the levels that ask for them. An event that would be larger than its bound
is recorded without them, and says so.

https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/#audit-k8s-io-v1-Event
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from sampan.meta import timestamps
from sampan.server.audit import policy
from sampan.server.audit.policy import Recording
from sampan.server.identity import User
from sampan.server.request_info import RequestInfo
from sampan.web.message import Request

MAX_EVENT_BYTES = 1 << 20
MAX_AGENT_LENGTH = 1024
TRUNCATED = "audit.k8s.io/truncated"
DECISION = "authorization.k8s.io/decision"
REASON = "authorization.k8s.io/reason"

Tree = dict[str, Any]


@dataclass(slots=True)
class Event:
    """`received` is unix seconds; `user` None means that nobody could be made out.

    `status` is the responseStatus: {"code": 200}, or the whole Status of a refusal.
    """

    audit_id: str
    recording: Recording
    request: Request
    info: RequestInfo
    user: User | None
    received: float
    impersonated: User | None = None
    impersonation_limit: str = ""
    annotations: dict[str, str] = field(default_factory=dict)
    status: Tree | None = None
    request_object: Any = None
    response_object: Any = None

    @property
    def wants_request(self) -> bool:
        """Whether the request's body is recorded."""
        return self.recording.level in (policy.REQUEST, policy.REQUEST_RESPONSE)

    @property
    def wants_response(self) -> bool:
        """Whether the response's body is recorded."""
        return self.recording.level == policy.REQUEST_RESPONSE

    def line(self, stage: str, now: float) -> bytes:
        """The event at a stage, as one line of JSON."""
        tree = self._tree(stage, now)
        line = orjson.dumps(tree)
        if len(line) > MAX_EVENT_BYTES:
            annotations = {**self.annotations, TRUNCATED: "true"}
            short = {k: v for k, v in tree.items() if k not in ("requestObject", "responseObject")}
            line = orjson.dumps({**short, "annotations": annotations})
        return line + b"\n"

    def _tree(self, stage: str, now: float) -> Tree:
        headers = self.request.headers
        tree: Tree = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": self.recording.level,
            "auditID": self.audit_id,
            "stage": stage,
            "requestURI": uri(self.request),
            "verb": self.info.verb,
            "user": _user(self.user) if self.user else {},
            "sourceIPs": source_addresses(self.request),
        }
        if self.impersonated is not None:
            tree["impersonatedUser"] = _user(self.impersonated)
        if self.impersonation_limit:
            tree["authenticationMetadata"] = {"impersonationConstraint": self.impersonation_limit}
        if agent := headers.get("user-agent", ""):
            tree["userAgent"] = agent[:MAX_AGENT_LENGTH]
        if self.info.is_resource:
            tree["objectRef"] = self._reference()
        if self.status is not None:
            tree["responseStatus"] = {"metadata": {}, **self.status}
        for name, value in (("requestObject", self.request_object), ("responseObject", self.response_object)):
            if value is not None and stage != policy.RECEIVED:
                shown = without_token(value)
                tree[name] = without_managed_fields(shown) if self.recording.omits_managed_fields else shown
        tree["requestReceivedTimestamp"] = timestamps.format_micro(self.received)
        tree["stageTimestamp"] = timestamps.format_micro(now)
        if self.annotations:
            tree["annotations"] = dict(self.annotations)
        return tree

    def _reference(self) -> Tree:
        info = self.info
        given = self.request_object if isinstance(self.request_object, dict) else {}
        metadata = given.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        named = {
            "resource": info.resource,
            "namespace": info.namespace,
            "name": info.name or metadata.get("name", ""),
            "uid": metadata.get("uid", ""),
            "apiGroup": info.group,
            "apiVersion": info.version,
            "resourceVersion": metadata.get("resourceVersion", ""),
            "subresource": info.subresource,
        }
        return {key: value for key, value in named.items() if value}


def uri(request: Request) -> str:
    """The path and query as they came, without a token that somebody put there."""
    path = quote(request.path, safe="/:@!$&'()*+,;=-._~")
    hidden = [(key, "REDACTED" if key in ("access_token", "token") else value) for key, value in request.query]
    return f"{path}?{urlencode(hidden)}" if hidden else path


def source_addresses(request: Request) -> list[str]:
    """Where the request comes from: what proxies say, then the peer."""
    headers = request.headers
    claimed = [part.strip() for part in headers.get("x-forwarded-for", "").split(",")[:16]]
    claimed.append(headers.get("x-real-ip", "").strip())
    found = list(dict.fromkeys(address for address in claimed if _is_address(address)))
    if request.peer.address and found[-1:] != [request.peer.address]:
        found.append(request.peer.address)
    return found


def without_managed_fields(value: Any) -> Any:
    """The object, or a list's items, without metadata.managedFields."""
    if not isinstance(value, dict):
        return value
    shown = value
    metadata = value.get("metadata")
    if isinstance(metadata, dict) and "managedFields" in metadata:
        shown = {**shown, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}
    items = value.get("items")
    if isinstance(items, list):
        shown = {**shown, "items": [without_managed_fields(item) for item in items]}
    return shown


def without_token(value: Any) -> Any:
    """A TokenRequest or TokenReview without the token."""
    if not isinstance(value, dict) or value.get("kind") not in ("TokenRequest", "TokenReview"):
        return value
    parts = {name: value[name] for name in ("spec", "status") if isinstance(value.get(name), dict)}
    hidden = {name: {**part, "token": "REDACTED"} for name, part in parts.items() if "token" in part}
    return {**value, **hidden}


def _user(user: User) -> Tree:
    shown: Tree = {"username": user.name}
    if user.uid:
        shown["uid"] = user.uid
    if user.groups:
        shown["groups"] = list(user.groups)
    if user.extra:
        shown["extra"] = _extra(user.extra)
    return shown


def _extra(extra: Mapping[str, tuple[str, ...]]) -> Tree:
    return {key: list(values) for key, values in extra.items()}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
