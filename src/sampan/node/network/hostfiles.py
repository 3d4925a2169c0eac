"""Host files: what a pod finds in /etc/hosts and /etc/resolv.conf, and its host name.

https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
"""

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Object = Mapping[str, Any]

_RESOLV_CONFS = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
_STUBS = frozenset(("127.0.0.53", "127.0.0.54"))
_MAX_NAMESERVERS = 3
_MAX_SEARCHES = 32
_MAX_SEARCH_CHARACTERS = 2048
_LONGEST_HOST_NAME = 63
_LONGEST_FULL_NAME = 64

_HEADER = """# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""
_HOST_NETWORK_HEADER = "# Kubernetes-managed hosts file (host network).\n"


@dataclass(frozen=True, slots=True)
class Resolver:
    """What a resolv.conf says."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def hostname(pod: Object) -> str:
    """The pod's host name: spec.hostname or its name, cut to 63 characters as the kernel wants it."""
    name: str = pod["spec"].get("hostnameOverride") or pod["spec"].get("hostname") or pod["metadata"]["name"]
    return name[:_LONGEST_HOST_NAME].rstrip("-.") if len(name) > _LONGEST_HOST_NAME else name


def kernel_name(pod: Object, cluster_domain: str) -> str:
    """What the pod's processes are told as their host's name. ValueError when it is longer than the kernel takes."""
    name, full = hostname(pod), domain(pod, cluster_domain)
    if not (pod["spec"].get("setHostnameAsFQDN") and full) or pod["spec"].get("hostnameOverride"):
        return name
    whole = f"{name}.{full}"
    if len(whole) > _LONGEST_FULL_NAME:
        raise ValueError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {whole} is too long "
            f"({_LONGEST_FULL_NAME} characters is the max, {len(whole)} characters requested)"
        )
    return whole


def host_text(path: str) -> str:
    """A file of the host; nothing if there is none. Read when it has changed: every pod asks."""
    try:
        found = os.stat(path)
        return _text(path, (found.st_mtime_ns, found.st_ino, found.st_size))
    except OSError:
        return ""


@functools.lru_cache(maxsize=4)
def _text(path: str, state: tuple[int, int, int]) -> str:
    return Path(path).read_text(errors="replace")


def resolv_conf_files(configured: str | None) -> tuple[str, ...]:
    """The host's resolv.conf, as the kubelet's configuration names it, none for "".

    Where nothing is configured, and behind it what is to be used where it only leads to a stub of systemd-resolved.
    """
    return _RESOLV_CONFS if configured is None else tuple(filter(None, (configured,)))


def host_resolv_conf(files: Sequence[str]) -> str:
    """The text of the first of these files; of the second, where the first names nothing but stubs, which no pod reaches."""
    texts = [host_text(file) for file in files]
    servers = parse_resolv_conf(texts[0]).nameservers if texts else ()
    is_stub = bool(servers) and _STUBS.issuperset(servers)
    return next((text for text in texts[1:] if is_stub and text), texts[0] if texts else "")


def domain(pod: Object, cluster_domain: str) -> str:
    """The pod's domain, if it has a subdomain: sub.ns.svc.cluster.local; "" otherwise."""
    subdomain = pod["spec"].get("subdomain")
    return f"{subdomain}.{pod['metadata']['namespace']}.svc.{cluster_domain}" if subdomain else ""


def hosts(pod: Object, ips: Iterable[str], cluster_domain: str, *, host_file: str = "") -> str:
    """The text of /etc/hosts. With hostNetwork it is the host's own (`host_file`) plus hostAliases."""
    aliases = _aliases(pod["spec"].get("hostAliases") or ())
    if pod["spec"].get("hostNetwork"):
        return _HOST_NETWORK_HEADER + host_file + aliases
    name, full = hostname(pod), domain(pod, cluster_domain)
    names = f"{name}.{full}\t{name}" if full else name
    return _HEADER + "".join(f"{ip}\t{names}\n" for ip in ips) + aliases


def resolv_conf(pod: Object, dns_ip: str, cluster_domain: str, host_file: str) -> str:
    """The text of /etc/resolv.conf by the pod's dnsPolicy and dnsConfig. `host_file` is the host's own."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy", "ClusterFirst")
    host = parse_resolv_conf(host_file)
    if policy == "None":
        base = Resolver()
    elif policy == "Default" or (policy == "ClusterFirst" and spec.get("hostNetwork")):
        base = host
    else:
        namespace = pod["metadata"]["namespace"]
        own = (f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain)
        base = Resolver((dns_ip,), (*own, *host.searches), ("ndots:5",))
    return format_resolv_conf(_merge(base, spec.get("dnsConfig") or {}))


def parse_resolv_conf(text: str) -> Resolver:
    """The last search line counts; `domain` is not used, as in the kubelet."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        match words:
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search", *found]:
                searches = tuple(name.removesuffix(".") or "." for name in found)
            case ["options", *found]:
                options += [option for option in found if option not in options]
            case _:
                continue
    return Resolver(tuple(servers), searches, tuple(options))


def format_resolv_conf(resolver: Resolver) -> str:
    """As text, within the limits libc has."""
    lines = []
    searches = _within_limits(resolver.searches)
    if searches:
        lines.append(f"search {' '.join(searches)}")
    lines += [f"nameserver {server}" for server in resolver.nameservers[:_MAX_NAMESERVERS]]
    if resolver.options:
        lines.append(f"options {' '.join(resolver.options)}")
    return "".join(f"{line}\n" for line in lines)


def _merge(base: Resolver, config: Object) -> Resolver:
    """dnsConfig adds servers and searches, and adds or replaces options."""
    options = {option.partition(":")[0]: option for option in base.options}
    for option in config.get("options") or ():
        value = option.get("value")
        options[option["name"]] = option["name"] if value is None else f"{option['name']}:{value}"
    return Resolver(
        tuple(dict.fromkeys((*base.nameservers, *(config.get("nameservers") or ())))),
        tuple(dict.fromkeys((*base.searches, *(config.get("searches") or ())))),
        tuple(options.values()),
    )


def _within_limits(searches: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for name in searches:
        if len(kept) == _MAX_SEARCHES or len(" ".join((*kept, name))) > _MAX_SEARCH_CHARACTERS:
            break
        kept.append(name)
    return kept


def _aliases(aliases: Iterable[Object]) -> str:
    lines = [f"{alias['ip']}\t{chr(9).join(alias.get('hostnames') or ())}\n" for alias in aliases]
    return "\n# Entries added by HostAliases.\n" + "".join(lines) if lines else ""
