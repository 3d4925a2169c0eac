"""What is counted of admission plugins, webhooks and policies, by the reference server's names.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from collections.abc import Callable
from types import ModuleType

from sampan.server.admission.chain import Attributes, Plugin
from sampan.server.metrics import Metrics, Series
from sampan.server.request_metrics import spend_elsewhere

STEP_SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
SECONDS = (*STEP_SECONDS, 10.0, 25.0)
CALLING_ERROR, INTERNAL_ERROR, NO_ERROR = "calling_webhook_error", "apiserver_internal_error", "no_error"


# Plugins whose files are not called as upstream calls them.
_NAMES = {
    "certificate_requests": "CertificateApproval",
    "claim_resize": "PersistentVolumeClaimResize",
    "declared_features": "NodeDeclaredFeatureValidator",
    "device_admin_access": "DRAAdminAccess",
    "mutating_policies": "MutatingAdmissionPolicy",
    "mutating_webhooks": "MutatingAdmissionWebhook",
    "node_taint": "TaintNodesByCondition",
    "pod_resize": "PodResizeValidator",
    "pod_tolerations": "DefaultTolerationSeconds",
    "pod_topology": "PodTopologyLabels",
    "storage_in_use": "StorageObjectInUseProtection",
    "validating_policies": "ValidatingAdmissionPolicy",
    "validating_webhooks": "ValidatingAdmissionWebhook",
}


class AdmissionMetrics:
    """`monotonic` is the clock that durations are taken from."""

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self._seconds = metrics.histogram(
            "apiserver_admission_webhook_admission_duration_seconds",
            "Admission webhook latency histogram in seconds, identified by name and broken out for each operation and "
            "API resource and type (validate or admit).",
            SECONDS,
            ("name", "operation", "rejected", "type"),
        )
        self._plugins = metrics.histogram(
            "apiserver_admission_controller_admission_duration_seconds",
            "Admission controller latency histogram in seconds, identified by name and broken out for each operation "
            "and API resource and type (validate or admit).",
            STEP_SECONDS,
            ("name", "operation", "rejected", "type"),
        )
        self._steps = metrics.histogram(
            "apiserver_admission_step_admission_duration_seconds",
            "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step "
            "type (validate or admit).",
            STEP_SECONDS,
            ("type", "operation", "rejected"),
        )
        self._requests = metrics.counter(
            "apiserver_admission_webhook_request_total",
            "Admission webhook request total, identified by name and broken out for each admission type (validating or "
            "mutating) and operation.",
            ("code", "name", "operation", "rejected", "type"),
        )
        self._rejections = metrics.counter(
            "apiserver_admission_webhook_rejection_count",
            "Admission webhook rejection count, identified by name and broken out for each admission type (validating "
            "or admit) and operation.",
            ("error_type", "name", "operation", "rejection_code", "type"),
        )
        self._open = metrics.counter(
            "apiserver_admission_webhook_fail_open_count",
            "Admission webhook fail open count, identified by name and broken out for each admission type (validating "
            "or admit).",
            ("name", "type"),
        )
        self._checks = metrics.counter(
            "apiserver_validating_admission_policy_check_total",
            "Validation admission policy check total, labeled by policy and further identified by binding and "
            "enforcement action taken.",
            ("enforcement_action", "error_type", "policy", "policy_binding"),
        )

    def of(self, plugin: Plugin, phase: str, operation: str) -> Series:
        """How long a plugin takes in a phase of an operation, when it lets requests pass."""
        return self._plugins.of(name(plugin), operation, "false", phase)

    def whole(self, phase: str, operation: str) -> Series:
        """The same for all plugins together."""
        return self._steps.of(phase, operation, "false")

    def refused(self, of: Series, whole: Series, seconds: tuple[float, float]) -> None:
        """The plugin with these times refused, after so many seconds of its own, and of the phase."""
        if of is not whole:
            name, operation, _, phase = of.labels
            self._plugins.of(name, operation, "true", phase).observe(seconds[0])
        phase, operation, _ = whole.labels
        self._steps.of(phase, operation, "true").observe(seconds[1])

    def called(self, name: str, attributes: Attributes, started: float, *, mutating: bool) -> "WebhookCall":
        """To be told what came of a call that began at `started`."""
        return WebhookCall(self, name, attributes, "admit" if mutating else "validating", started)

    def checked(self, policy: str, binding: str, action: str, error: str = NO_ERROR) -> None:
        """A validating policy was evaluated; `action` is allow, deny, audit or warn."""
        self._checks.add(action, error, policy, binding)

    def ended(self, call: "WebhookCall", code: int, error: str, *, rejected: bool) -> None:
        """Counts one call of a webhook."""
        said = "true" if rejected else "false"
        series, now = self._seconds.of(call.name, call.operation, said, call.type), self.monotonic()
        series.observe(now - call.started)
        spend_elsewhere(call.request, call.started, now)
        self._requests.add(str(code), call.name, call.operation, said, call.type)
        if rejected:
            shown = code if error == NO_ERROR else 0
            self._rejections.add(error, call.name, call.operation, str(shown), call.type)
        elif error == CALLING_ERROR:
            self._open.add(call.name, call.type)


def name(plugin: Plugin) -> str:
    """Upstream's name of a plugin, which is a module or an object of a class of one."""
    module = (plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__).rpartition(".")[2]
    return _NAMES.get(module) or "".join(part.title() for part in module.split("_"))


class WebhookCall:
    """One call of one webhook."""

    def __init__(self, metrics: AdmissionMetrics, name: str, attributes: Attributes, type: str, started: float) -> None:
        self.name, self.operation, self.type, self.started = name, attributes.operation, type, started
        self.request = attributes.call.request
        self._metrics = metrics

    def allowed(self) -> None:
        self._metrics.ended(self, 200, NO_ERROR, rejected=False)

    def denied(self, code: int) -> None:
        self._metrics.ended(self, code, NO_ERROR, rejected=True)

    def failed(self, *, closed: bool) -> None:
        """The webhook gave no verdict; `closed` when that refuses the request."""
        self._metrics.ended(self, 0, CALLING_ERROR, rejected=closed)
