"""A layer's admission rules as webhooks of any cluster: HTTPS by a certificate of our own, and who is to call there.

The certificate is made anew at each start, and so is what the cluster knows of it. Only who knows the path is answered:
it holds a secret, which stands nowhere but in the ValidatingWebhookConfiguration.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

import base64
import logging
import secrets
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from sampan.client.api import Client
from sampan.client.cache import Cache
from sampan.client.transport import TransportError
from sampan.cluster import layers
from sampan.cluster.layer_memory import Memory
from sampan.control.plan import Ask, AskList, Question, Update
from sampan.control.view import Snapshot, Source, View
from sampan.kinds.admissionregistration.validating_webhook_configuration import VALIDATING_WEBHOOK_CONFIGURATION
from sampan.kinds.kind import Object
from sampan.kit.clock import Clock
from sampan.meta import objects
from sampan.meta.status import ApiError
from sampan.platform.review import Attempt, Refusal, Review, Reviewer
from sampan.web import certificates
from sampan.web.certificates import AUTHORITY_YEARS, Subject
from sampan.web.listener import Address, Listener
from sampan.web.message import Request, Response

LOG = logging.getLogger(__name__)

ROUNDS = 5
SECONDS = 10
SECRET_BYTES = 32
CONTESTED = Refusal("others change what this depends on at the same time; try again", 429, "TooManyRequests", 1)
UNCOUNTED = "what this takes can't be written down"


class Webhook:
    """`open` when the caches are complete."""

    def __init__(
        self, reviewers: Sequence[Reviewer], client: Client, caches: Mapping[str, Cache], clock: Clock
    ) -> None:
        self.secret = secrets.token_urlsafe(SECRET_BYTES)
        self._reviewers = {reviewer.name: (reviewer, Memory()) for reviewer in reviewers}
        self._client = client
        self._caches = caches
        self._clock = clock
        self._listener: Listener | None = None

    async def open(self, name: str, address: str, port: int) -> None:
        """Serves at the port (0: any), and has the cluster call the address. Raises OSError, ApiError, TransportError."""
        now = self._clock.now()
        authority = certificates.new_authority(f"{layers.manager(name)}-ca", now)
        pair = certificates.issue(authority, Subject(layers.manager(name), (), (address,)), now, AUTHORITY_YEARS)
        self._listener = Listener(self.handle, _failed, _tls(pair.certificate, pair.key))
        taken = await self._listener.listen(Address("::" if ":" in address else "0.0.0.0", port))
        root = f"https://{f'[{address}]' if ':' in address else address}:{taken}"
        named = f"{root}/{self.secret}"
        made = configuration(
            name, tuple(reviewer for reviewer, _ in self._reviewers.values()), named, authority.certificate
        )
        await self._client.apply(VALIDATING_WEBHOOK_CONFIGURATION, made, manager=layers.manager(name), force=True)
        LOG.info("the cluster asks at %s", root)

    async def close(self, name: str) -> None:
        """Has the cluster ask no longer, so far as it can be reached."""
        try:
            await self._client.delete(VALIDATING_WEBHOOK_CONFIGURATION, ("", layers.manager(name)))
        except (ApiError, TransportError) as error:
            LOG.warning("the webhook configuration %s stays behind: %s", layers.manager(name), error)
        if self._listener is not None:
            await self._listener.close()

    async def handle(self, request: Request) -> Response:
        """One AdmissionReview."""
        secret, _, name = request.path[1:].partition("/")
        found = self._reviewers.get(name)
        if found is None or not secrets.compare_digest(secret.encode(), self.secret.encode()):
            return Response(404)
        try:
            body = orjson.loads(request.body) if isinstance(request.body, bytes) else request.body
            version, uid = body["apiVersion"], body["request"]["uid"]
            tried = attempt(body["request"], self._clock.now())
        except (ValueError, KeyError, TypeError, AttributeError):
            return Response(400)
        review = await self._review(*found, tried)
        answer = {"uid": uid, "allowed": review.refusal is None, "warnings": list(review.warnings)}
        if review.refusal is not None:
            refusal = review.refusal
            answer["status"] = {"message": refusal.message, "code": refusal.code, "reason": refusal.reason}
        made = {"apiVersion": version, "kind": "AdmissionReview", "response": answer}
        return Response(200, orjson.dumps(made), content_type="application/json")

    async def _review(self, reviewer: Reviewer, memory: Memory, tried: Attempt) -> Review:
        """What the rule says, and done what it says. What somebody else was faster to change is asked of the cluster:
        the caches may not know for a while. What can't be written down is refused, since it would not be counted.
        """
        caches: Mapping[str, Source] = self._caches
        for _ in range(ROUNDS):
            review = await self._asked(reviewer, memory, tried, caches)
            if tried.is_dry_run:
                return review
            try:
                if await self._is_written(review):
                    return review
                for write in review.writes:
                    caches = {**caches, write.kind.resource: await self._live(write, caches)}
            except (ApiError, TransportError) as error:
                LOG.warning("%s refuses, as it can't write down what it lets through: %s", reviewer.name, error)
                return Review(Refusal(f"{UNCOUNTED}: {error}", 500, "InternalError"))
        return Review(CONTESTED)

    async def _is_written(self, review: Review) -> bool:
        """False where somebody else was faster."""
        try:
            for write in review.writes:
                await self._client.update(write.kind, write.obj, write.subresource)
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            return False
        return True

    async def _asked(self, reviewer: Reviewer, memory: Memory, tried: Attempt, caches: Mapping[str, Source]) -> Review:
        """What the rule says when all its questions are answered. Nothing is awaited between what it remembers, what it
        says and what it is to remember, so that of many at once each counts.
        """
        term = reviewer.term(tried)
        answers: dict[Question, Any] = {}
        for _ in range(ROUNDS):
            review = reviewer.review(tried, View(caches, answers=answers, memory=memory.of(term)))
            if not review.ask:
                if review.memory is not None and not tried.is_dry_run:
                    memory.keep(term, review.memory)
                return review
            for question in review.ask:
                answers[question] = await self._answer(question)
        raise RuntimeError(f"{reviewer.name} has still questions after {ROUNDS} rounds")

    async def _live(self, write: Update, caches: Mapping[str, Source]) -> Snapshot:
        """The kind's objects, that one as the cluster has it now."""
        key = objects.key(write.obj)
        found = await self._answer(Ask(write.kind, key))
        others = [obj for obj in caches[write.kind.resource] if objects.key(obj) != key]
        return Snapshot([*others, found] if found is not None else others)

    async def _answer(self, question: Ask | AskList) -> Any:
        try:
            if isinstance(question, Ask):
                return await self._client.get(question.kind, question.key[1], question.key[0])
            return (await self._client.metadata_only().list(question.kind, question.namespace)).items
        except ApiError as error:
            if isinstance(question, Ask):
                if error.code == 404:
                    return None
                raise
            return str(error)


def configuration(name: str, reviewers: Sequence[Reviewer], root: str, ca: bytes) -> Object:
    """The ValidatingWebhookConfiguration: who is asked, about what, where."""
    hooks = [
        {
            "name": f"{reviewer.name}.{name}.sampan.dev",
            "clientConfig": {"url": f"{root}/{reviewer.name}", "caBundle": base64.b64encode(ca).decode()},
            "rules": list(reviewer.rules),
            "failurePolicy": "Ignore" if reviewer.fails_open else "Fail",
            "sideEffects": "NoneOnDryRun",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": SECONDS,
        }
        for reviewer in reviewers
    ]
    return {
        "apiVersion": VALIDATING_WEBHOOK_CONFIGURATION.api_version,
        "kind": VALIDATING_WEBHOOK_CONFIGURATION.name,
        "metadata": {"name": layers.manager(name)},
        "webhooks": hooks,
    }


def attempt(asked: Object, now: float) -> Attempt:
    """The attempt that an AdmissionReview's request is about."""
    kind, resource, user = asked["kind"], asked["resource"], asked.get("userInfo") or {}
    return Attempt(
        operation=asked["operation"],
        resource=(resource["group"], resource["resource"]),
        kind=(kind["group"], kind["version"], kind["kind"]),
        namespace=asked.get("namespace") or "",
        name=asked.get("name") or "",
        now=now,
        subresource=asked.get("subResource") or "",
        user=user.get("username") or "",
        groups=tuple(user.get("groups") or ()),
        obj=asked.get("object"),
        old=asked.get("oldObject"),
        options=asked.get("options"),
        is_dry_run=bool(asked.get("dryRun")),
    )


def _failed(request: Request, error: BaseException) -> Response:
    LOG.error("%s failed", request.path.rpartition("/")[2], exc_info=error)
    return Response(500)


def _tls(certificate: bytes, key: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.TemporaryDirectory() as directory:  # ssl only reads key pairs from files; the folder is 0700
        pair = Path(directory) / "pair.pem"
        certificates.write_private(pair, certificate + key)
        context.load_cert_chain(pair)
    return context
