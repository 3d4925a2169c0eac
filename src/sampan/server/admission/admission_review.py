"""AdmissionReview: the document that a webhook gets and answers, in v1 and v1beta1.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#webhook-request-and-response
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sampan.meta import status
from sampan.server.admission import admission_request
from sampan.server.admission.chain import Attributes
from sampan.server.admission.matching import Match

GROUP = "admission.k8s.io"
KNOWN = ("v1", "v1beta1")
_PATCH_TYPE = "JSONPatch"

Tree = dict[str, Any]


_INVALID = "received invalid webhook response: "
_UNDECODABLE = "received undecodable patch in webhook response: "


class BadAnswer(Exception):
    """An answer that is no proper AdmissionReview; the text says why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the webhook says. `patch` is None without one."""

    allowed: bool
    status: Tree | None = None
    patch: list[Any] | None = None
    warnings: tuple[str, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict)


def version(accepted: Sequence[str]) -> str:
    """The first version in the webhook's list that this server speaks; "" when there is none."""
    return next((one for one in accepted if one in KNOWN), "")


def document(attributes: Attributes, match: Match, uid: str, objects: tuple[Tree | None, Tree | None]) -> Tree:
    """A request's review in v1; `objects` are the object and the old one in the version that was matched."""
    request = {"uid": uid, **admission_request.tree(attributes, match)}
    request["object"], request["oldObject"] = objects
    return {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/v1", "request": request}


def read(answer: Tree, uid: str, spoken: str, *, mutating: bool) -> Verdict:
    """The verdict in a webhook's answer. Raises BadAnswer."""
    expected = f"{GROUP}/{spoken}, Kind=AdmissionReview"
    got = f"{answer.get('apiVersion') or ''}, Kind={answer.get('kind') or ''}"
    if spoken == "v1" and got != expected:
        raise BadAnswer(f"{_INVALID}expected webhook response of {expected}, got {got}")
    response = answer.get("response")
    if not isinstance(response, dict):
        raise BadAnswer(f"{_INVALID}webhook response was absent")
    if spoken == "v1" and response.get("uid") != uid:
        raise BadAnswer(f'{_INVALID}expected response.uid="{uid}", got {status.show(response.get("uid") or "")}')
    given, kind = response.get("patch"), response.get("patchType")
    if spoken == "v1":
        _check_patch(given, kind, mutating=mutating)
    return Verdict(
        allowed=response.get("allowed") is True,
        status=response.get("status") if isinstance(response.get("status"), dict) else None,
        patch=_patch(given, kind or _PATCH_TYPE) if mutating and given else None,
        warnings=tuple(str(text) for text in response.get("warnings") or ()),
        annotations={str(key): str(value) for key, value in (response.get("auditAnnotations") or {}).items()},
    )


def denial(webhook: str, said: Tree | None) -> status.ApiError:
    """The refusal of a webhook, with its own words, code and reason where it gave them."""
    said = {**(said or {})}
    code = said.get("code") or 0
    said["code"] = code if isinstance(code, int) and 400 <= code < 600 else 400
    if said.get("status") in (None, "", "Success"):
        said["status"] = "Failure"
    head = f"admission webhook {status.show(webhook)} denied the request"
    why = said.get("message") or said.get("reason")
    said["message"] = f"{head}: {why}" if why else f"{head} without explanation"
    return status.ApiError({"kind": "Status", "apiVersion": "v1", "metadata": {}, **said})


def _check_patch(given: Any, kind: Any, *, mutating: bool) -> None:
    if not mutating:
        if given:
            raise BadAnswer(f"{_INVALID}validating webhook may not return response.patch")
        if kind is not None:
            raise BadAnswer(f"{_INVALID}validating webhook may not return response.patchType")
        return
    if given and kind is None:
        raise BadAnswer(f"{_INVALID}webhook returned response.patch but not response.patchType")
    if not given and kind is not None:
        raise BadAnswer(f"{_INVALID}webhook returned response.patchType but not response.patch")
    if kind == "":
        raise BadAnswer(f'{_INVALID}webhook returned invalid response.patchType of ""')


def _patch(given: Any, kind: str) -> list[Any]:
    if kind != _PATCH_TYPE:
        raise BadAnswer(f"unsupported patch type {status.show(kind)}")
    try:
        patch = orjson.loads(base64.b64decode(given, validate=True))
    except (binascii.Error, ValueError, TypeError) as error:
        raise BadAnswer(f"{_UNDECODABLE}{error}") from error
    if not isinstance(patch, list):
        raise BadAnswer(f"{_UNDECODABLE}the patch is not a list of operations")
    return patch
