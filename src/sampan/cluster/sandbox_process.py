"""The sandbox' process: `python -m sampan.cluster.sandbox_process FOLDER`: a machine within the machine for one user.

    python -m sampan.cluster.sandbox_process --run COMMAND...    one command as such a user's root, and no more

Its child holds a user namespace, in which the user is root over 65,536 further ids, and in it namespaces of mounts
and of the network. slirp4netns, outside, is the network's way to the world. It says where they are in FOLDER/sandbox.json
once all is ready, and ends everything when it is told to end.

https://man7.org/linux/man-pages/man7/user_namespaces.7.html
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import orjson

from sampan.cluster import processes, sandbox
from sampan.cluster.subordinate_ids import Range, granted

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 0x4000, 0x40000
_PDEATHSIG = 1
_MTU = 65520

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> int:
    """Makes the sandbox, and waits for its end; or runs the command."""
    if arguments[0] == "--run":
        return _run(arguments[1:])
    folder = Path(arguments[0])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    made, mapped = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _hold(os.getppid(), made[1], mapped[0])
    os.close(made[1])
    os.close(mapped[0])
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        if not os.read(made[0], 1):
            raise OSError("the kernel grants no user namespace here; see: sampan doctor")
        _map_ids(child)
        os.write(mapped[1], b"x")
        if not os.read(made[0], 1):
            raise OSError("the sandbox' mounts could not be made")
        helpers.append(_connect(folder, child))
        users = os.readlink(f"/proc/{child}/ns/user")
        record = {"pid": child, "started": processes.start_time(child), "namespace": users}
        fresh = folder / "sandbox.new"
        fresh.write_bytes(orjson.dumps(record))
        fresh.rename(folder / sandbox.RECORD)
        ended, _ = os.wait()
        print("the sandbox has ended" if ended == child else "slirp4netns has ended", file=sys.stderr)
        return 1
    except (OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        for helper in helpers:
            helper.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _run(command: list[str]) -> int:
    made, mapped = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _check(_libc.unshare(_CLONE_NEWUSER), "unshare(CLONE_NEWUSER)")
        os.write(made[1], b"x")
        os.read(mapped[0], 1)
        os.execvp(command[0], command)  # noqa: S606
    os.close(made[1])
    if os.read(made[0], 1):
        _map_ids(child)
    os.write(mapped[1], b"x")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


def _hold(parent: int, made: int, mapped: int) -> NoReturn:
    """The child: it makes the namespaces, and is there."""
    try:
        _libc.prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        _check(_libc.unshare(_CLONE_NEWUSER), "unshare(CLONE_NEWUSER)")
        os.write(made, b"x")
        os.read(mapped, 1)
        _check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET), "unshare(CLONE_NEWNS | CLONE_NEWNET)")
        _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
        _mount("run", "/run", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
        os.write(made, b"x")
        while True:
            signal.pause()
    except OSError as error:
        print(error, file=sys.stderr)
    os._exit(1)


def _map_ids(pid: int) -> None:
    """The user is root there, and the ids that were granted are the next."""
    for program, own, file in (("newuidmap", os.getuid(), "/etc/subuid"), ("newgidmap", os.getgid(), "/etc/subgid")):
        ids: Range = granted(file)
        subprocess.run([program, str(pid), "0", str(own), "1", "1", str(ids.first), str(ids.count)], check=True)


def _connect(folder: Path, pid: int) -> "subprocess.Popen[bytes]":
    """slirp4netns, once the network's link is there. It ends with this process."""
    ready, tell = os.pipe()
    ends, _ = os.pipe()
    api = folder / sandbox.PORTS
    api.unlink(missing_ok=True)
    options = [
        "--configure",
        f"--mtu={_MTU}",
        "--disable-host-loopback",
        f"--api-socket={api}",
        f"--ready-fd={tell}",
        f"--exit-fd={ends}",
    ]
    network = subprocess.Popen(["slirp4netns", *options, str(pid), sandbox.LINK], pass_fds=(tell, ends))
    os.close(tell)
    os.close(ends)
    if not os.read(ready, 1):
        raise OSError("slirp4netns could not connect the sandbox' network (it needs /dev/net/tun; see: sampan doctor)")
    os.close(ready)
    return network


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    words = (source.encode(), target.encode(), kind.encode() or None)
    _check(_libc.mount(*words, flags, data.encode() or None), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
