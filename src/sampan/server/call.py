"""Call: one authorized request on a resource, with what every step of its way needs to know."""

from dataclasses import dataclass, field

from sampan.kinds.kind import Kind, Subresource
from sampan.meta import status
from sampan.server.identity import User
from sampan.server.request_info import RequestInfo
from sampan.web.message import Request

MAX_MANAGER_LENGTH = 128
_VALIDATIONS = ("Ignore", "Warn", "Strict")


@dataclass(slots=True)
class Call:
    """`now` is the request's time in unix seconds; `warnings` become Warning headers of the answer, `audit`
    annotations of the audit log. `admitted` is set once admission has seen the body of a subresource that is a
    type of its own (a Scale, a Binding): the write that follows from it does not ask again.
    """

    request: Request
    info: RequestInfo
    user: User
    kind: Kind
    subresource: Subresource | None
    now: float
    warnings: list[str] = field(default_factory=list)
    audit: dict[str, str] = field(default_factory=dict)
    admitted: bool = False
    sub: str = field(init=False, default="")
    """The subresource's name, "" for the object itself."""

    def __post_init__(self) -> None:
        if self.subresource is not None:
            self.sub = self.subresource.name

    @property
    def namespace(self) -> str:
        return self.info.namespace

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def api_version(self) -> str:
        return self.kind.api_version

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be stored. Raises ApiError for anything but All."""
        if not self.request.query:
            return False
        values = [value for key, value in self.request.query if key == "dryRun"]
        if any(value != "All" for value in values):
            raise self._invalid_option(status.not_supported("dryRun", values, ["All"]))
        return "All" in values

    @property
    def field_manager(self) -> str:
        """Who is recorded in managedFields: ?fieldManager=, else the client's program name."""
        manager = self.request.param("fieldManager") if self.request.query else ""
        if len(manager) > MAX_MANAGER_LENGTH:
            raise self._invalid_option(status.too_long("fieldManager", MAX_MANAGER_LENGTH))
        if manager and not manager.isprintable():
            why = "should only contain printable characters"
            raise self._invalid_option(status.invalid_value("fieldManager", manager, why))
        return manager or default_manager(self.request.headers.get("user-agent", ""))

    @property
    def field_validation(self) -> str:
        value = (self.request.query and self.request.param("fieldValidation")) or "Warn"
        if value not in _VALIDATIONS:
            raise self._invalid_option(status.not_supported("fieldValidation", value, ("", *_VALIDATIONS)))
        return value

    def check_options(self) -> None:
        """Raises ApiError for options of a write that there are not, before its body is looked at."""
        _ = (self.dry_run, self.field_validation, self.field_manager)

    def _invalid_option(self, cause: status.Cause) -> status.ApiError:
        kind = {"PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}
        return status.invalid("meta.k8s.io", kind.get(self.request.method, "CreateOptions"), "", [cause])

    def not_found(self, name: str = "") -> status.ApiError:
        return status.not_found(self.kind.group, self.kind.plural, name or self.name)


def default_manager(user_agent: str) -> str:
    """The program's name in a User-Agent header, as upstream takes it."""
    return user_agent.partition("/")[0][:MAX_MANAGER_LENGTH] or "unknown"
