"""How a pod's sandbox comes into the network namespace that this node made for the pod: a CNI plugin of ours.

The runtime makes a namespace of its own and calls the plugin, a shell script, which binds the pod's namespace over
the runtime's file. So addresses, service rules, DNS and port-forwarding are the same with every runtime.

https://www.cni.dev/docs/spec/
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import orjson

from sampan.node.runtime.cri.link import Facts
from sampan.node.runtime.protocol import RuntimeUnusable

NETWORK = "sampan"
PLUGIN = "sampan-pod-network"
LOOPBACK = "loopback"
_VERSION = "0.4.0"
_MARK = "made by sampan"

_SCRIPT = """#!/bin/sh
# __MARK__ up and removed by sampan down: gives a pod's sandbox the network namespace that the node agent made.
set -u
fail() {
  printf '{"cniVersion": "%s", "code": %s, "msg": "%s"}\\n' "__VERSION__" "$1" "$2"
  exit 1
}
value() {
  printf '%s\\n' "${CNI_ARGS:-}" | tr ';' '\\n' | while IFS='=' read -r name text; do
    if [ "$name" = "$1" ]; then printf '%s' "$text"; fi
  done
}
case "${CNI_COMMAND:-}" in
VERSION)
  printf '{"cniVersion": "__VERSION__", "supportedVersions": ["0.3.1", "0.4.0"]}\\n' ;;
ADD)
  if [ "${CNI_IFNAME:-}" = lo ]; then
    printf '{"cniVersion": "0.3.1", "interfaces": [], "ips": []}\\n'
    exit 0
  fi
  pod=
  for each in "__PODS__"/*/"$(value K8S_POD_UID)"; do pod=$each; done
  [ -e "$pod/netns" ] || fail 7 "pod $(value K8S_POD_NAMESPACE)/$(value K8S_POD_NAME) is not one of sampan's"
  mount --bind "$pod/netns" "$CNI_NETNS" || fail 5 "mount --bind $pod/netns $CNI_NETNS failed"
  cat "$pod/result" ;;
DEL)
  [ -n "${CNI_NETNS:-}" ] && [ "${CNI_IFNAME:-}" != lo ] || exit 0
  place=$(readlink -f "$CNI_NETNS") || exit 0
  if [ "$(grep -c " $place " /proc/self/mountinfo)" -gt 1 ]; then umount "$place"; fi ;;
CHECK) ;;
*)
  fail 4 "unknown CNI_COMMAND ${CNI_COMMAND:-}" ;;
esac
"""


class Plugin:
    """The plugin and its configuration, for the runtime that told these facts; `owner` marks this node's."""

    def __str__(self) -> str:
        return str(self._own)

    def __init__(self, facts: Facts, run_dir: Path, owner: str) -> None:
        """Raises RuntimeUnusable where the runtime has no such folders."""
        conf, programs = (Path(folder) for folder in facts.cni_folders)
        self._conf, self._programs = conf, programs
        self._all_pods, self._pods = run_dir / "cni", run_dir / "cni" / owner
        self._own = conf / f"00-sampan-{owner}.conflist"

    def install(self) -> None:
        """Puts both in place. Raises RuntimeUnusable."""
        script = _SCRIPT
        for name, text in (("MARK", _MARK), ("VERSION", _VERSION), ("PODS", str(self._all_pods))):
            script = script.replace(f"__{name}__", text)
        try:
            for folder in (self._conf, self._programs, self._pods):
                folder.mkdir(parents=True, exist_ok=True)
            for name in (PLUGIN, LOOPBACK):
                if name == PLUGIN or not (self._programs / name).exists():
                    _write(self._programs / name, script.encode(), 0o755)
            _write(self._own, orjson.dumps(_CONFIG), 0o644)
        except OSError as error:
            raise RuntimeUnusable(f"the network plugin can't be installed: {error}") from error

    def uninstall(self) -> None:
        """Takes back what this node put there, and the plugin with the last node's configuration."""
        self._own.unlink(missing_ok=True)
        if any(self._conf.glob("00-sampan-*.conflist")):
            return
        for name in (PLUGIN, LOOPBACK):
            path = self._programs / name
            with contextlib.suppress(OSError):
                if _MARK.encode() in path.read_bytes()[:200]:
                    path.unlink()

    def expect(self, pod_uid: str, netns: str, addresses: tuple[str, ...]) -> None:
        """Says where the pod's namespace is, before its sandbox is made."""
        folder = self._pods / pod_uid
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / "netns"
        link.unlink(missing_ok=True)
        link.symlink_to(netns)
        (folder / "result").write_bytes(orjson.dumps(_result(netns, addresses)))

    def forget(self, pod_uid: str) -> None:
        """After the pod's sandbox is gone."""
        folder = self._pods / pod_uid
        for name in ("netns", "result"):
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def forget_all(run_dir: Path, owner: str) -> None:
    """What this node's pods left, also where the runtime is gone."""
    shutil.rmtree(run_dir / "cni" / owner, ignore_errors=True)
    for folder in (run_dir / "cni", run_dir):
        with contextlib.suppress(OSError):
            folder.rmdir()  # only once it is empty


def comes_first(facts: Facts) -> bool:
    """Whether the runtime uses our configuration, which it looks for in its folder again and again."""
    networks = [each.get("Config", {}).get("Name") for each in facts.cni.get("Networks") or ()]
    return facts.is_network_ready and NETWORK in networks


_CONFIG = {"cniVersion": _VERSION, "name": NETWORK, "plugins": [{"type": PLUGIN}]}


def _result(netns: str, addresses: tuple[str, ...]) -> dict[str, object]:
    return {
        "cniVersion": _VERSION,
        "interfaces": [{"name": "eth0", "sandbox": netns}],
        "ips": [_ip(address) for address in addresses],
    }


def _ip(address: str) -> dict[str, object]:
    version, length = ("6", 128) if ":" in address else ("4", 32)
    return {"version": version, "interface": 0, "address": f"{address}/{length}"}


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replaces the file in one step: the runtime may be reading it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(data)
    os.chmod(fresh, mode)
    os.replace(fresh, path)
