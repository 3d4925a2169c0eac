"""What a node is told by its kubelet configuration file: upstream's fields, as far as this node honours them.

A field that is unknown, or that would change nothing here, is refused, so that nobody relies on it. Defaults are
upstream's.

https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.node import kubelet_fields as fields
from sampan.node.kubelet_fields import KubeletConfigError
from sampan.node.thresholds import DEFAULT_HARD, SIGNALS

API_VERSION, KIND = "kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"
_RESERVABLE = ("cpu", "memory", "ephemeral-storage", "pid")
_LONGEST_RESTART_SECONDS = 300.0
IMAGE_PULL_POLICIES = ("NeverVerifyPreloadedImages", "NeverVerify", "NeverVerifyAllowlistedImages", "AlwaysVerify")
IMAGE_GC_HIGH_PERCENT = 85
"""What imageGCHighThresholdPercent is when nothing is said."""


def option(name: str, default: Any, read: fields.Reader[Any]) -> Any:
    """A field of the file: its name there, its default (a callable makes it), and how it is read."""
    metadata = {"name": name, "read": read}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def section(kind: type) -> fields.Reader[Any]:
    """A part of the file with fields of its own: a dataclass made of options."""
    known = tuple(f.metadata["name"] for f in dataclasses.fields(kind))

    def read(value: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            raise KubeletConfigError(f"{path or 'the file'}: must be a mapping")
        given = {name: value for name, value in value.items() if value is not None}
        where = f"{path}." if path else ""
        if strange := [str(name) for name in given if name not in known]:
            raise fields.unknown(f"{where}{min(strange)}", known)
        options = {f.metadata["name"]: f for f in dataclasses.fields(kind)}
        found = {options[n].name: options[n].metadata["read"](v, f"{where}{n}") for n, v in given.items()}
        return kind(**found)

    return read


@dataclass(frozen=True, slots=True)
class PriorityShutdown:
    """How long pods of this priority and above (up to the next entry) have at the node's shutdown."""

    priority: int = option("priority", 0, fields.integer)
    shutdown_grace_period_seconds: int = option("shutdownGracePeriodSeconds", 0, fields.integer)


@dataclass(frozen=True, slots=True)
class CrashLoopBackOff:
    """The longest wait between a container's restarts."""

    max_container_restart_period: float = option("maxContainerRestartPeriod", _LONGEST_RESTART_SECONDS, fields.seconds)


@dataclass(frozen=True, slots=True)
class KubeletConfig:
    """The whole file; durations in seconds, sizes in bytes, quantities as they are written."""

    max_pods: int = option("maxPods", 110, fields.integer)
    pod_pids_limit: int = option("podPidsLimit", -1, fields.integer)
    allowed_unsafe_sysctls: tuple[str, ...] = option("allowedUnsafeSysctls", (), fields.items(fields.text))
    register_with_taints: tuple[dict[str, str], ...] = option("registerWithTaints", (), fields.items(fields.taint))
    system_reserved: Mapping[str, str] = option("systemReserved", dict, fields.mapping(fields.amount, *_RESERVABLE))
    kube_reserved: Mapping[str, str] = option("kubeReserved", dict, fields.mapping(fields.amount, *_RESERVABLE))
    node_status_update_frequency: float = option("nodeStatusUpdateFrequency", 10.0, fields.seconds)
    node_status_report_frequency: float = option("nodeStatusReportFrequency", 300.0, fields.seconds)
    node_lease_duration_seconds: int = option("nodeLeaseDurationSeconds", 40, fields.integer)
    container_log_max_size: int = option("containerLogMaxSize", 10 << 20, fields.size)
    container_log_max_files: int = option("containerLogMaxFiles", 5, fields.integer)
    resolv_conf: str | None = option("resolvConf", None, fields.text)
    static_pod_path: str = option("staticPodPath", "", fields.text)
    file_check_frequency: float = option("fileCheckFrequency", 20.0, fields.seconds)
    shutdown_grace_period: float = option("shutdownGracePeriod", 0.0, fields.seconds)
    shutdown_grace_period_critical_pods: float = option("shutdownGracePeriodCriticalPods", 0.0, fields.seconds)
    shutdown_grace_period_by_pod_priority: tuple[PriorityShutdown, ...] = option(
        "shutdownGracePeriodByPodPriority", (), fields.items(section(PriorityShutdown))
    )
    eviction_hard: Mapping[str, str] | None = option("evictionHard", None, fields.mapping(fields.threshold, *SIGNALS))
    eviction_soft: Mapping[str, str] = option("evictionSoft", dict, fields.mapping(fields.threshold, *SIGNALS))
    eviction_soft_grace_period: Mapping[str, float] = option(
        "evictionSoftGracePeriod", dict, fields.mapping(fields.seconds, *SIGNALS)
    )
    eviction_max_pod_grace_period: int = option("evictionMaxPodGracePeriod", 0, fields.integer)
    eviction_minimum_reclaim: Mapping[str, str] = option(
        "evictionMinimumReclaim", dict, fields.mapping(fields.threshold, *SIGNALS)
    )
    eviction_pressure_transition_period: float = option("evictionPressureTransitionPeriod", 300.0, fields.seconds)
    merge_default_eviction_settings: bool = option("mergeDefaultEvictionSettings", False, fields.boolean)
    local_storage_capacity_isolation: bool = option("localStorageCapacityIsolation", True, fields.boolean)
    image_gc_high_threshold_percent: int | None = option("imageGCHighThresholdPercent", None, fields.percent)
    image_gc_low_threshold_percent: int = option("imageGCLowThresholdPercent", 80, fields.percent)
    image_minimum_gc_age: float = option("imageMinimumGCAge", 120.0, fields.seconds)
    image_maximum_gc_age: float = option("imageMaximumGCAge", 0.0, fields.seconds)
    image_pull_credentials_verification_policy: str = option(
        "imagePullCredentialsVerificationPolicy", IMAGE_PULL_POLICIES[0], fields.text
    )
    preloaded_images_verification_allowlist: tuple[str, ...] = option(
        "preloadedImagesVerificationAllowlist", (), fields.items(fields.text)
    )
    enable_system_log_handler: bool = option("enableSystemLogHandler", True, fields.boolean)
    crash_loop_back_off: CrashLoopBackOff = option("crashLoopBackOff", CrashLoopBackOff, section(CrashLoopBackOff))  # noqa: RUF009 (a field)


DEFAULTS = KubeletConfig()


def parse(tree: Any) -> KubeletConfig:
    """The file's content, once it is read as YAML or JSON. Raises KubeletConfigError."""
    if not isinstance(tree, Mapping):
        raise KubeletConfigError(f"must be a mapping with apiVersion: {API_VERSION} and kind: {KIND}")
    for name, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if tree.get(name) != wanted:
            raise KubeletConfigError(f"{name}: must be {wanted}, not {tree.get(name)!r}")
    options = {name: value for name, value in tree.items() if name not in ("apiVersion", "kind")}
    found: KubeletConfig = section(KubeletConfig)(options, "")
    for wrong, text in _mistakes(found):
        if wrong:
            raise KubeletConfigError(text)
    return found


def tree(config: Any) -> dict[str, Any]:
    """A configuration, or a part of it, as the file would have it; the defaults included."""
    found: dict[str, Any] = {} if not isinstance(config, KubeletConfig) else {"apiVersion": API_VERSION, "kind": KIND}
    for option in dataclasses.fields(config):
        value = getattr(config, option.name)
        if option.name == "eviction_hard" and value is None:
            value = dict(DEFAULT_HARD)
        elif option.name == "image_gc_high_threshold_percent" and value is None:
            value = IMAGE_GC_HIGH_PERCENT
        found[option.metadata["name"]] = _plain(value, is_duration=option.type is float)
    return found


def _plain(value: Any, *, is_duration: bool) -> Any:
    if is_duration:
        return f"{value:g}s"
    if dataclasses.is_dataclass(value):
        return tree(value)
    if isinstance(value, Mapping):
        return {name: _plain(inner, is_duration=isinstance(inner, float)) for name, inner in value.items()}
    return [_plain(item, is_duration=False) for item in value] if isinstance(value, tuple) else value


def _mistakes(config: KubeletConfig) -> tuple[tuple[bool, str], ...]:
    """What is wrong with values that are each well formed, or beside each other."""
    whole, critical = config.shutdown_grace_period, config.shutdown_grace_period_critical_pods
    longest = config.crash_loop_back_off.max_container_restart_period
    return (
        *_eviction_mistakes(config),
        *_image_mistakes(config),
        (config.max_pods < 0, f"maxPods: must not be negative, not {config.max_pods}"),
        (config.node_lease_duration_seconds <= 0, "nodeLeaseDurationSeconds: must be greater than 0"),
        (config.container_log_max_files <= 1, "containerLogMaxFiles: must be greater than 1"),
        (config.file_check_frequency <= 0, "fileCheckFrequency: must be greater than 0"),
        (0 < whole < 1, "shutdownGracePeriod: must be 0, or at least 1s"),
        (0 < critical < 1, "shutdownGracePeriodCriticalPods: must be 0, or at least 1s"),
        (critical > whole, "shutdownGracePeriodCriticalPods: must not be greater than shutdownGracePeriod"),
        (
            bool(config.shutdown_grace_period_by_pod_priority and (whole or critical)),
            "shutdownGracePeriodByPodPriority: can't be set beside shutdownGracePeriod",
        ),
        (
            not 1 <= longest <= _LONGEST_RESTART_SECONDS,
            "crashLoopBackOff.maxContainerRestartPeriod: must be between 1s and 300s",
        ),
    )


def _eviction_mistakes(config: KubeletConfig) -> tuple[tuple[bool, str], ...]:
    ungraced = sorted(config.eviction_soft.keys() - config.eviction_soft_grace_period.keys())
    high, low = config.image_gc_high_threshold_percent, config.image_gc_low_threshold_percent
    oldest = config.image_maximum_gc_age
    return (
        (
            bool(ungraced),
            f"evictionSoft: grace period must be specified for the soft eviction threshold {', '.join(ungraced)}",
        ),
        (config.eviction_max_pod_grace_period < 0, "evictionMaxPodGracePeriod: must not be negative"),
        (
            low >= (IMAGE_GC_HIGH_PERCENT if high is None else high),
            "imageGCLowThresholdPercent: must be less than imageGCHighThresholdPercent",
        ),
        (
            0 < oldest <= config.image_minimum_gc_age,
            "imageMaximumGCAge: must be 0, or greater than imageMinimumGCAge",
        ),
    )


def _image_mistakes(config: KubeletConfig) -> tuple[tuple[bool, str], ...]:
    policy, allowed = config.image_pull_credentials_verification_policy, config.preloaded_images_verification_allowlist
    tagged = [entry for entry in allowed if "@" in entry or ":" in entry.rpartition("/")[2] or "*" in entry[:-1]]
    return (
        (
            policy not in IMAGE_PULL_POLICIES,
            f"imagePullCredentialsVerificationPolicy: must be one of {', '.join(sorted(IMAGE_PULL_POLICIES))}",
        ),
        (
            bool(allowed) and policy != "NeverVerifyAllowlistedImages",
            "preloadedImagesVerificationAllowlist: only for the policy NeverVerifyAllowlistedImages",
        ),
        (
            bool(tagged) or any(entry.endswith("*") and not entry.endswith("/*") for entry in allowed),
            "preloadedImagesVerificationAllowlist: must be image names without tag and digest, perhaps with /* at the end",
        ),
    )


def load(files: Sequence[str]) -> KubeletConfig:
    """What the first of the files that is there says; the defaults when none is. Raises KubeletConfigError."""
    for name in files:
        try:
            text = Path(name).read_text()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise KubeletConfigError(f"{name}: {error}") from error
        import yaml

        try:
            return parse(yaml.safe_load(text))
        except (ValueError, yaml.YAMLError) as error:
            raise KubeletConfigError(f"{name}: {error}") from error
    return DEFAULTS
