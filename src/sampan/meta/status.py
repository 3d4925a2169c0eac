"""Status: how the API says no. One exception, `ApiError`, around a Kubernetes Status object.

Validators return `Cause` values; the server wraps all of them into one Invalid. Wording follows what
clients of Kubernetes show and match.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing wrong with one field. `field` is a path such as spec.containers[0].image.

    `type` is one of the constants below; `message` is the text after "field: Type: ".
    """

    field: str
    type: str
    message: str = ""

    @property
    def text(self) -> str:
        """As printed in a Status message: `spec.x: Required value: say what`."""
        return f"{self.field}: {self.message}" if self.message else f"{self.field}: {_LABELS[self.type]}"


MAX_CAUSES = 1000

_LABELS = {
    "FieldValueRequired": "Required value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueNotFound": "Not found",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "FieldValueTypeInvalid": "Invalid value",
}


def show(value: Any) -> str:
    """A value as upstream prints it inside a cause: strings quoted, objects as JSON."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def required(field: str, detail: str = "") -> Cause:
    return Cause(field, "FieldValueRequired", _join("Required value", detail))


def invalid_value(field: str, value: Any, detail: str) -> Cause:
    return Cause(field, "FieldValueInvalid", _join(f"Invalid value: {show(value)}", detail))


def type_invalid(field: str, value: Any, detail: str) -> Cause:
    return Cause(field, "FieldValueTypeInvalid", _join(f"Invalid value: {show(value)}", detail))


def not_supported(field: str, value: Any, supported: Iterable[str], *, in_order: bool = False) -> Cause:
    """A value that is none of those supported, which are told sorted unless their order is somebody's own."""
    values = ", ".join(f'"{s}"' for s in (supported if in_order else sorted(supported)))
    return Cause(
        field, "FieldValueNotSupported", _join(f"Unsupported value: {show(value)}", f"supported values: {values}")
    )


def forbidden_field(field: str, detail: str) -> Cause:
    return Cause(field, "FieldValueForbidden", _join("Forbidden", detail))


def duplicate(field: str, value: Any) -> Cause:
    return Cause(field, "FieldValueDuplicate", f"Duplicate value: {show(value)}")


def not_found_field(field: str, value: Any) -> Cause:
    return Cause(field, "FieldValueNotFound", f"Not found: {show(value)}")


def too_long(field: str, limit: int) -> Cause:
    return Cause(field, "FieldValueTooLong", f"Too long: may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> Cause:
    return Cause(field, "FieldValueTooMany", f"Too many: {count}: must have at most {limit} items")


def _join(head: str, detail: str) -> str:
    return f"{head}: {detail}" if detail else head


class ApiError(Exception):
    """A refusal by the API, or one received from it. `status` is the whole Status object."""

    def __init__(self, status: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(status.get("message", ""))
        self.status = status
        self.headers = headers or {}

    @property
    def code(self) -> int:
        return int(self.status.get("code", 500))

    @property
    def reason(self) -> str:
        return str(self.status.get("reason", ""))

    @property
    def message(self) -> str:
        return str(self.status.get("message", ""))


def is_of_another(error: ApiError) -> bool:
    """Whether a precondition failed because the object of that name is another one by now: of a delete, a PUT, a patch."""
    if error.code == 422:
        return "metadata.uid: Invalid value" in str(error)
    return error.code == 409 and ("UID in precondition" in str(error) or "UID in the precondition" in str(error))


def failure(code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> ApiError:
    """Any refusal; the named ones below fill in what upstream fills in."""
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    status["message"] = message
    if reason:
        status["reason"] = reason
    if details is not None:
        status["details"] = details
    status["code"] = code
    return ApiError(status)


def _named(group: str, kind: str, name: str) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    return details


def _resource(group: str, plural: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> ApiError:
    text = f'{_resource(group, plural)} "{name}" not found'
    return failure(404, "NotFound", text, _named(group, plural, name))


def no_such_path() -> ApiError:
    return failure(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(group: str, plural: str, name: str) -> ApiError:
    text = f'{_resource(group, plural)} "{name}" already exists'
    return failure(409, "AlreadyExists", text, _named(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    text = f'Operation cannot be fulfilled on {_resource(group, plural)} "{name}": {why}'
    return failure(409, "Conflict", text, _named(group, plural, name))


def invalid(group: str, kind: str, name: str, causes: Iterable[Cause]) -> ApiError:
    """422 with every cause (of the first thousand), as upstream joins them: one bare, several in brackets. `kind` is CamelCase."""
    listed = list(causes)[:MAX_CAUSES]
    texts = list(dict.fromkeys(c.text for c in listed))
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = _named(group, kind, name)
    details["causes"] = [{"reason": c.type, "message": c.message or _LABELS[c.type], "field": c.field} for c in listed]
    return failure(422, "Invalid", f'{_resource(group, kind)} "{name}" is invalid: {joined}', details)


def no_version(group: str, plural: str, name: str) -> ApiError:
    """422 for a replacement that does not say what it replaces, where that is required."""
    cause = Cause(
        "metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0x0: must be specified for an update"
    )
    return invalid(group, plural, name, [cause])


def bad_request(message: str) -> ApiError:
    return failure(400, "BadRequest", message)


def unauthorized(message: str = "Unauthorized") -> ApiError:
    return failure(401, "Unauthorized", message)


def forbidden(group: str, plural: str, name: str, why: str) -> ApiError:
    """`why` is what follows "is forbidden: "."""
    text = f'{_resource(group, plural)} "{name}" is forbidden: {why}' if plural else f"forbidden: {why}"
    if plural and not name:
        text = f"{_resource(group, plural)} is forbidden: {why}"
    return failure(403, "Forbidden", text, _named(group, plural, name))


def method_not_supported(group: str, plural: str, verb: str) -> ApiError:
    text = f'{verb} is not supported on resources of kind "{_resource(group, plural)}"'
    return failure(405, "MethodNotAllowed", text, _named(group, plural, ""))


def method_not_allowed() -> ApiError:
    """For a path that is there, and a method that it does not know."""
    return failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def not_acceptable(accepted: Iterable[str]) -> ApiError:
    text = "only the following media types are accepted: " + ", ".join(accepted)
    return failure(406, "NotAcceptable", text)


def unsupported_media_type(accepted: Iterable[str]) -> ApiError:
    text = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return failure(415, "UnsupportedMediaType", text)


def expired(message: str = "The resourceVersion for the provided list is too old.") -> ApiError:
    return failure(410, "Expired", message)


def too_large(limit: int) -> ApiError:
    return failure(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def too_many_requests(message: str, retry_seconds: int = 1) -> ApiError:
    error = failure(429, "TooManyRequests", message, {"retryAfterSeconds": retry_seconds})
    error.headers["Retry-After"] = str(retry_seconds)
    return error


def too_new(requested: int, current: int) -> ApiError:
    error = failure(
        504,
        "Timeout",
        f"Too large resource version: {requested}, current: {current}",
        {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
    )
    error.headers["Retry-After"] = "1"
    return error


def internal(message: str) -> ApiError:
    return failure(500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]})


def timed_out() -> ApiError:
    return failure(504, "Timeout", "Timeout: request did not complete within the allotted time")


def unavailable(message: str) -> ApiError:
    return failure(503, "ServiceUnavailable", message)


def insufficient_storage(message: str) -> ApiError:
    return failure(507, "InsufficientStorage", message)


def success(details: dict[str, Any] | None = None) -> dict[str, Any]:
    """The Status of a delete that left nothing to return."""
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        status["details"] = details
    return status
