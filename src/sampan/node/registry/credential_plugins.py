"""Which programs are asked for registries' credentials: the CredentialProviderConfig file. Pure but for reading it.

The programs lie in the folder beside the file that is called as the file is, without its ending.

https://kubernetes.io/docs/tasks/administer-cluster/kubelet-credential-provider/
"""

import fnmatch
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sampan.node import kubelet_fields as fields
from sampan.node.kubelet_config import option, section
from sampan.node.kubelet_fields import KubeletConfigError

KIND = "CredentialProviderConfig"
_CONFIG_VERSIONS = tuple(f"kubelet.config.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
_VERSIONS = tuple(f"credentialprovider.kubelet.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
_CACHE_TYPES = ("ServiceAccount", "Token")


@dataclass(frozen=True, slots=True)
class Variable:
    """One more environment variable for the program."""

    name: str = option("name", "", fields.text)
    value: str = option("value", "", fields.text)


@dataclass(frozen=True, slots=True)
class TokenAttributes:
    """The program is given a token of the pod's service account, and some of the account's annotations."""

    audience: str = option("serviceAccountTokenAudience", "", fields.text)
    cache_type: str = option("cacheType", "", fields.text)
    is_account_required: bool | None = option("requireServiceAccount", None, fields.boolean)
    required_annotations: tuple[str, ...] = option(
        "requiredServiceAccountAnnotationKeys", (), fields.items(fields.text)
    )
    optional_annotations: tuple[str, ...] = option(
        "optionalServiceAccountAnnotationKeys", (), fields.items(fields.text)
    )


@dataclass(frozen=True, slots=True)
class Provider:
    """One program, and the images that it is asked about."""

    name: str = option("name", "", fields.text)
    match_images: tuple[str, ...] = option("matchImages", (), fields.items(fields.text))
    default_cache_duration: float | None = option("defaultCacheDuration", None, fields.seconds)
    api_version: str = option("apiVersion", "", fields.text)
    args: tuple[str, ...] = option("args", (), fields.items(fields.text))
    env: tuple[Variable, ...] = option("env", (), fields.items(section(Variable)))
    token_attributes: TokenAttributes | None = option("tokenAttributes", None, section(TokenAttributes))  # noqa: RUF009

    def is_for(self, image: str) -> bool:
        """Whether the program is asked about a repository (`registry.example.com/team/app`)."""
        return any(_matches(pattern, image) for pattern in self.match_images)


@dataclass(frozen=True, slots=True)
class _File:
    providers: tuple[Provider, ...] = option("providers", (), fields.items(section(Provider)))


@dataclass(frozen=True, slots=True)
class Plugins:
    """What a file says, and where the programs are."""

    providers: tuple[Provider, ...]
    folder: Path


def load(files: Sequence[str]) -> Plugins | None:
    """What the first of the files that is there says; None when none is. Raises KubeletConfigError."""
    for name in files:
        try:
            text = Path(name).read_text()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise KubeletConfigError(f"{name}: {error}") from error
        import yaml

        folder = Path(name).with_suffix("")
        try:
            providers = parse(yaml.safe_load(text))
        except (ValueError, yaml.YAMLError) as error:
            raise KubeletConfigError(f"{name}: {error}") from error
        for provider in providers:
            if not os.access(folder / provider.name, os.X_OK):
                raise KubeletConfigError(f"{name}: plugin binary executable {folder / provider.name} did not exist")
        return Plugins(providers, folder)
    return None


def parse(tree: Any) -> tuple[Provider, ...]:
    """The file's content, once it is read as YAML or JSON. Raises KubeletConfigError."""
    if not isinstance(tree, Mapping):
        raise KubeletConfigError(f"must be a mapping with apiVersion: {_CONFIG_VERSIONS[0]} and kind: {KIND}")
    if tree.get("apiVersion") not in _CONFIG_VERSIONS:
        raise KubeletConfigError(f"apiVersion: must be {_CONFIG_VERSIONS[0]}, not {tree.get('apiVersion')!r}")
    if tree.get("kind") != KIND:
        raise KubeletConfigError(f"kind: must be {KIND}, not {tree.get('kind')!r}")
    rest = {name: value for name, value in tree.items() if name not in ("apiVersion", "kind")}
    providers: tuple[Provider, ...] = section(_File)(rest, "").providers
    if not providers:
        raise KubeletConfigError("providers: at least 1 item in plugins is required")
    seen = set()
    for number, provider in enumerate(providers):
        for wrong, text in _mistakes(provider):
            if wrong:
                raise KubeletConfigError(f"providers[{number}].{text}")
        if provider.name in seen:
            raise KubeletConfigError(f"providers[{number}].name: Duplicate value: {provider.name}")
        seen.add(provider.name)
    return providers


def _mistakes(provider: Provider) -> tuple[tuple[bool, str], ...]:
    name, broken = provider.name, [pattern for pattern in provider.match_images if _parts(pattern) is None]
    return (
        (not name or "/" in name or " " in name or name in (".", ".."), "name: must be a plain file name"),
        (provider.api_version not in _VERSIONS, f"apiVersion: must be one of {', '.join(_VERSIONS)}"),
        (not provider.match_images, "matchImages: at least 1 item in matchImages is required"),
        (bool(broken), f"matchImages: match image is invalid: {''.join(broken[:1])}"),
        (provider.default_cache_duration is None, "defaultCacheDuration: must be set"),
        *(_token_mistakes(provider, provider.token_attributes) if provider.token_attributes else ()),
    )


def _token_mistakes(provider: Provider, token: TokenAttributes) -> tuple[tuple[bool, str], ...]:
    at, both = "tokenAttributes", set(token.required_annotations) & set(token.optional_annotations)
    return (
        (not token.audience, f"{at}.serviceAccountTokenAudience: must be set"),
        (token.is_account_required is None, f"{at}.requireServiceAccount: must be set"),
        (token.cache_type not in _CACHE_TYPES, f"{at}.cacheType: must be one of {', '.join(_CACHE_TYPES)}"),
        (provider.api_version != _VERSIONS[0], f"{at}: only supported for {_VERSIONS[0]}"),
        (
            token.is_account_required is False and bool(token.required_annotations),
            f"{at}.requiredServiceAccountAnnotationKeys: requireServiceAccount cannot be false beside it",
        ),
        (bool(both), f"{at}: annotation keys cannot be both required and optional: {', '.join(sorted(both))}"),
    )


def _matches(pattern: str, image: str) -> bool:
    """Port for port, label for label (`*.example.com` is for a.example.com only), and the beginning of the path."""
    wanted, given = _parts(pattern), _parts(image)
    if wanted is None or given is None or wanted[1] != given[1] or not given[2].startswith(wanted[2]):
        return False
    left, right = wanted[0].split("."), given[0].split(".")
    pairs = zip(left, right, strict=False)
    return len(left) == len(right) and all(fnmatch.fnmatchcase(label, glob) for glob, label in pairs)


def _parts(text: str) -> tuple[str, str, str] | None:
    """Host, port and path of an address without a scheme; None for what is none."""
    try:
        parts = urlsplit(f"https://{text}")
        port = parts.port
    except ValueError:
        return None
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc
    return (host, str(port or ""), parts.path) if host and "://" not in text else None
