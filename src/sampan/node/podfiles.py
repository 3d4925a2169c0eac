"""Where a pod's own files lie on the node, and what hosts and resolv.conf say.

https://kubernetes.io/docs/tasks/network/customize-hosts-file-for-pods/
"""

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.meta import objects
from sampan.node import podspec

TERMINATION_BYTES = 4096
TERMINATION_LOG_BYTES = 2048

Pod = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PodFiles:
    """Directories below the node's own, root-owned one."""

    root: Path

    def pod(self, uid: str) -> Path:
        """hosts, resolv.conf and termination files of one pod."""
        return self.root / "pods" / uid

    def logs(self, pod: Pod) -> Path:
        """The pod's logs: one directory a container."""
        return self.root / "logs" / f"{objects.namespace(pod)}_{objects.name(pod)}_{objects.uid(pod)}"

    def log(self, pod: Pod, name: str, attempt: int) -> Path:
        """The log file of one attempt."""
        return self.logs(pod) / name / f"{attempt}.log"

    def termination(self, uid: str, name: str, attempt: int) -> Path:
        """The file that a container leaves its last words in."""
        return self.pod(uid) / "containers" / name / f"{attempt}.termination"

    def prepare(self, pod: Pod, hosts: str, resolv: str) -> None:
        """Writes the pod's hosts and resolv.conf, if they aren't there."""
        folder = self.pod(objects.uid(pod))
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        for name, text in (("hosts", hosts), ("resolv.conf", resolv)):
            path = folder / name
            if not path.exists():
                path.write_text(text)
                path.chmod(0o644)

    def prepare_container(self, pod: Pod, name: str, attempt: int) -> None:
        """Makes the log's directory and an empty termination file."""
        self.log(pod, name, attempt).parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path = self.termination(objects.uid(pod), name, attempt)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        path.touch()
        path.chmod(0o666)

    def remove(self, pod: Pod) -> None:
        """Deletes all of the pod's files, logs included."""
        shutil.rmtree(self.pod(objects.uid(pod)), ignore_errors=True)
        shutil.rmtree(self.logs(pod), ignore_errors=True)

    def remove_by_uid(self, uid: str) -> None:
        """Deletes the files of a pod that only its uid is known of."""
        shutil.rmtree(self.pod(uid), ignore_errors=True)
        for folder in (self.root / "logs").glob(f"*_{uid}"):
            shutil.rmtree(folder, ignore_errors=True)

    def last_words(self, uid: str, name: str, attempt: int) -> str:
        """What the container wrote to its termination file, at most 4 KiB."""
        return read_regular(self.termination(uid, name, attempt), TERMINATION_BYTES).decode("utf-8", "replace")


def read_regular(path: Path, limit: int) -> bytes:
    """The first bytes of a regular file; nothing for links, pipes and devices, and when it is not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, limit) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def hostname(pod: Pod) -> str:
    """The pod's own host name: spec.hostname, else its name, at most 63 characters."""
    return str(pod["spec"].get("hostname") or objects.name(pod))[:63].rstrip("-.")


def hosts(pod: Pod, pod_ip: str, cluster_domain: str) -> str:
    """The text of /etc/hosts."""
    if podspec.is_host_network(pod):
        text = "# Kubernetes-managed hosts file (host network).\n" + _read_text("/etc/hosts")
    else:
        text = (
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
            "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
        )
        name, subdomain = hostname(pod), pod["spec"].get("subdomain")
        full = f"{name}.{subdomain}.{objects.namespace(pod)}.svc.{cluster_domain}\t" if subdomain else ""
        text += f"{pod_ip}\t{full}{name}\n"
    aliases = pod["spec"].get("hostAliases") or ()
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join(f"{alias['ip']}\t" + "\t".join(alias.get("hostnames") or ()) + "\n" for alias in aliases)
    return text


def resolv(pod: Pod, dns_ip: str, cluster_domain: str) -> str:
    """The text of /etc/resolv.conf by the pod's DNS policy and dnsConfig."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and podspec.is_host_network(pod):
        policy = "Default"
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        namespace = objects.namespace(pod)
        servers = [dns_ip]
        searches = [f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain]
        options = ["ndots:5"]
    config = spec.get("dnsConfig") or {}
    if policy == "Default":
        own = _read_text("/etc/resolv.conf")
        if not config:
            return own
        for line in own.splitlines():
            word, _, rest = line.partition(" ")
            {"nameserver": servers, "search": searches, "options": options}.get(word, []).extend(rest.split())
    servers += [s for s in config.get("nameservers") or () if s not in servers]
    searches += [s for s in config.get("searches") or () if s not in searches]
    for option in config.get("options") or ():
        options = [o for o in options if o.partition(":")[0] != option["name"]]
        options.append(f"{option['name']}:{option['value']}" if option.get("value") is not None else option["name"])
    lines = [f"search {' '.join(searches)}"] if searches else []
    lines += [f"nameserver {server}" for server in servers]
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
