"""What a list or a watch is asked for: the parameters of a collection, read and refused as the reference server does.

https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
"""

from dataclasses import dataclass

from sampan.meta import status
from sampan.server.request_info import is_true
from sampan.web.message import Request

MAX_PAGE = 10_000_000
_MATCHES = ("Exact", "NotOlderThan", "")
_MAX_DIGITS = 4000


@dataclass(frozen=True, slots=True)
class ListOptions:
    """`limit` 0 means no pages, `timeout_seconds` 0 that the server chooses; `sends_initial` None that it was not said."""

    limit: int = 0
    token: str = ""
    version: str = ""
    match: str = ""
    timeout_seconds: int = 0
    sends_initial: bool | None = None

    @property
    def revision(self) -> int:
        """The resourceVersion as a number. Raises ApiError 400."""
        return revision(self.version)


NOTHING = ListOptions()


def of_list(request: Request) -> ListOptions:
    """For a list. Raises ApiError 400 or 422."""
    if not request.query:
        return NOTHING
    options = _read(request)
    _refuse(_list_causes(options))
    return options


def of_watch(request: Request) -> ListOptions:
    """For a watch. Raises ApiError 400 or 422."""
    options = _read(request)
    _refuse(_watch_causes(options))
    return options


def integer(text: str) -> int:
    """A whole number of 64 bits. Raises ApiError 400."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise status.bad_request(f"strconv.ParseInt: parsing {status.show(text)}: invalid syntax")
    value = int(text) if len(text) < _MAX_DIGITS else 1 << 63
    if not -(1 << 63) <= value < 1 << 63:
        raise status.bad_request(f"strconv.ParseInt: parsing {status.show(text)}: value out of range")
    return value


def revision(text: str) -> int:
    """A resourceVersion parameter; "" and "0" are 0. Raises ApiError 400."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) >= 1 << 64:
        cause = status.invalid_value(
            "resourceVersion", text, f"strconv.ParseUint: parsing {status.show(text)}: invalid syntax"
        )
        raise status.bad_request(f"resourceVersion: {cause.message}")
    return int(text)


def _read(request: Request) -> ListOptions:
    given = dict(reversed(request.query))  # the first of several counts
    seconds, limit, initial = (given.get(name) for name in ("timeoutSeconds", "limit", "sendInitialEvents"))
    return ListOptions(
        timeout_seconds=0 if seconds is None else integer(seconds),
        limit=0 if limit is None else max(0, min(integer(limit), MAX_PAGE)),
        token=given.get("continue", ""),
        version=given.get("resourceVersion", ""),
        match=given.get("resourceVersionMatch", ""),
        sends_initial=None if initial is None else is_true(initial),
    )


def _list_causes(options: ListOptions) -> list[status.Cause]:
    causes = []
    if options.match:
        if not options.version:
            causes.append(_forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if options.token:
            causes.append(_forbidden("resourceVersionMatch is forbidden when continue is provided"))
        if options.match not in _MATCHES:
            causes.append(status.not_supported("resourceVersionMatch", options.match, _MATCHES, in_order=True))
        if options.match == "Exact" and options.version == "0":
            causes.append(_forbidden('resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if options.sends_initial is not None:
        causes.append(status.forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return causes


def _watch_causes(options: ListOptions) -> list[status.Cause]:
    causes = []
    if options.sends_initial is not None and options.match != "NotOlderThan":
        causes.append(_forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if options.match:
        if options.sends_initial is None:
            causes.append(
                _forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
            )
        if options.match != "NotOlderThan":
            causes.append(status.not_supported("resourceVersionMatch", options.match, ["NotOlderThan"]))
        if options.token:
            causes.append(_forbidden("resourceVersionMatch is forbidden when continue is provided"))
    return causes


def _forbidden(why: str) -> status.Cause:
    return status.forbidden_field("resourceVersionMatch", why)


def _refuse(causes: list[status.Cause]) -> None:
    if causes:
        raise status.invalid("meta.k8s.io", "ListOptions", "", causes)
