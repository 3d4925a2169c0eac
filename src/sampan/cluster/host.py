"""A cluster on this host: its processes started in order, watched until Ready, and taken down without a trace.

The control plane runs as the invoking user; each node agent runs as root (through sudo for others),
or as the invoking user when its containers are simulated. Where one of them ends while it starts, what was started
with it is taken back, and what ran before goes on.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, monotonic_ns

from sampan.cluster import agents, forsaken, key_files, processes, rootless, sandbox, settings
from sampan.cluster.processes import Process
from sampan.cluster.settings import Settings
from sampan.kit import files, wall

READY_SECONDS = 60.0
STOP_SECONDS = 10.0
TEARDOWN_SECONDS = 120.0
LAST_WORDS = 300
FULL_DISK_BYTES = 1 << 20
READY_POLL_SECONDS = 0.01

_LINKS = Path("/sys/class/net")
_AGENT = "sampan.cluster.agent_process"
_PLANE = "sampan.cluster.control_plane_process"


class HostError(Exception):
    """It could not be done: one line that says what, why and how to mend it."""


class PortTakenError(HostError):
    """Somebody else listens where the API should."""


class NotReadyYet(HostError):
    """Everything runs, and needs longer than anybody waits."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is done, `seconds` after the start."""

    text: str
    seconds: float


Report = Callable[[Step], None]


def control_plane(cluster: Settings) -> Process:
    return Process("control-plane", cluster.path("run", "control-plane.pid"), cluster.path("logs", "control-plane.log"))


def node_agent(cluster: Settings, name: str) -> Process:
    return Process(f"node-{name}", cluster.path("run", f"node-{name}.pid"), cluster.path("logs", f"node-{name}.log"))


def gateway_proxy(cluster: Settings) -> Process:
    """Envoy, which outlives a control plane that is killed."""
    return Process("envoy", cluster.path("gateway", "envoy.pid"), cluster.path("gateway", "envoy.log"))


def all_processes(cluster: Settings) -> list[Process]:
    nodes = [node_agent(cluster, name) for name in cluster.node_names()]
    if cluster.joined_to:
        return nodes
    return [control_plane(cluster), *nodes, *([rootless.process(cluster)] if cluster.rootless else [])]


def is_running(cluster: Settings) -> bool:
    """Whether the API's process runs; where the API is another machine's, that of the node."""
    return all_processes(cluster)[0].pid != 0


def is_complete(cluster: Settings) -> bool:
    """Whether every process of the cluster runs."""
    return all(process.pid for process in all_processes(cluster))


def runs(cluster: Settings) -> bool:
    """Whether anything of it runs that has to do with the API's port, noted or not: its control plane, a node's agent."""
    return bool(_Before.of(cluster).running - {gateway_proxy(cluster).name})


def is_left(cluster: Settings) -> bool:
    """Whether a node of it was not taken down: its containers and network may be there, though nobody looks after them."""
    return any(agents.config_path(cluster, name).exists() for name in cluster.node_names())


def is_ready(cluster: Settings) -> bool:
    """Whether every process runs, every agent has said Ready and is known to the API, which answers /readyz."""
    ready = (agents.ready_file(cluster, name).exists() for name in cluster.node_names())
    return is_complete(cluster) and all(ready) and not _expired(cluster) and answers(cluster)


def answers(cluster: Settings) -> bool:
    """Whether the API says that it is ready."""
    import ssl
    import urllib.request

    try:
        context = ssl.create_default_context(cafile=str(cluster.path("pki", f"{key_files.AUTHORITY}.crt")))
        url = f"{cluster.server_url}/readyz"
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:  # noqa: S310 (always https)
            return bool(answer.status == 200)
    except OSError:
        return False


def elevation(cluster: Settings) -> list[str]:
    """What stands before a command that needs root."""
    if cluster.runtime == "simulated" or os.geteuid() == 0:
        return []
    if cluster.rootless:
        return sandbox.way_in(cluster.path("run"))
    return ["sudo", "-n"] if os.environ.get("SAMPAN_SUDO_N") else ["sudo"]


def check_elevation(cluster: Settings) -> None:
    """Asks for the password, when one is needed, before anything is changed. HostError when it is refused."""
    elevated = elevation(cluster)
    if cluster.rootless:
        _ensure_sandbox(cluster)
    elif elevated and cluster.nodes and subprocess.run([*elevated, "true"], check=False).returncode:
        raise HostError(
            "sudo refused, and the node agent's containers and network need root; run this again, or as root"
        )


def _ensure_sandbox(cluster: Settings) -> None:
    try:
        rootless.ensure(cluster)
    except rootless.SandboxError as error:
        raise HostError(str(error)) from error


def free_index(own: Path) -> int:
    """The lowest address range that no known cluster has, nor any other user's on this host."""
    taken = {c.index for c in settings.known_clusters() if c.directory != own}
    for index in range(settings.MAX_CLUSTERS):
        if index not in taken and not any(_LINKS.glob(f"sampan{index}[nl]*")):
            return index
    raise HostError(f"{settings.MAX_CLUSTERS} clusters are known here; remove one with: sampan down --name N --purge")


def check_links(cluster: Settings) -> None:
    """Another user's cluster may have taken the addresses of one that was down. HostError."""
    links = {f"sampan{cluster.index}n{number}": name for number, name in enumerate(cluster.node_names())}
    if cluster.has_lan:
        links = {cluster.lan_link: ""}
    for link, name in links.items():
        is_ours = agents.config_path(cluster, name).exists() if name else is_left(cluster)
        if (_LINKS / link).exists() and not is_ours:
            raise HostError(
                f"another cluster on this host has the addresses of {cluster.name} (its link is {link}); "
                "stop that one, or purge this one and start it anew"
            )


def start(cluster: Settings, report: Report) -> None:
    """Starts what does not run yet, and returns when the API answers and every node is Ready.

    HostError: then what it has started is taken back, unless that only needs longer (NotReadyYet).
    """
    began = monotonic()
    _check_expired(cluster)
    before = _Before.of(cluster)
    cluster.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    cluster.save()
    settings.note(cluster.directory)
    cluster.path("run").mkdir(parents=True, exist_ok=True)
    start, room = _Start(lambda text: report(Step(text, monotonic() - began))), files.Room(cluster.path("run"))
    try:
        _begin(cluster, start)
    except NotReadyYet:
        raise
    except Exception as error:
        if not room.take():
            raise HostError(f"{error}; another command stops the cluster: nothing is taken back") from error
        if left := _take_back(cluster, start, before):
            kind = type(error) if isinstance(error, HostError) else HostError
            raise kind("; ".join([str(error), *left])) from error
        raise
    finally:
        room.leave()
        start.close()


def _begin(cluster: Settings, start: "_Start") -> None:
    if cluster.rootless:
        _ensure_sandbox(cluster)
    plane = control_plane(cluster)
    is_new = not plane.pid and not cluster.joined_to
    if is_new:
        start.control_plane(cluster, plane)
    elif not cluster.joined_to:
        start.await_running(plane, "api", lambda: answers(cluster))
    missing = []
    for number, name in enumerate(cluster.node_names()):
        agent = node_agent(cluster, name)
        if agent.pid:
            start.await_running(agent, f"agent {name}", agents.ready_file(cluster, name).exists)
        else:
            missing.append(number)
    _start_agents(cluster, start, missing, is_new=is_new)
    start.wait(cluster)


@dataclass(frozen=True, slots=True)
class _Before:
    """What was there before a start: processes that ran, noted or not, nodes of which something is there, and the settings, if any."""

    running: frozenset[str]
    unnoted: frozenset[int]
    nodes: frozenset[str]
    known: Settings | None

    @classmethod
    def of(cls, cluster: Settings) -> "_Before":
        names, lines = cluster.node_names(), processes.command_lines()
        words = {control_plane(cluster): {_PLANE, str(cluster.directory)}}
        words |= {node_agent(cluster, name): {_AGENT, str(agents.config_path(cluster, name))} for name in names}
        found = {process: {pid for pid, line in lines.items() if words[process] <= line} for process in words}
        found[gateway_proxy(cluster)] = set()  # no words tell whose Envoy one is
        return cls(
            frozenset(process.name for process in found if process.pid or found[process]),
            frozenset(set().union(*found.values()) - {process.pid for process in found}),
            frozenset(name for name in names if _has_anything(cluster, name)),
            settings.load(cluster.directory),
        )


def _has_anything(cluster: Settings, name: str) -> bool:
    """Whether something of this node may be on this host; a simulated one has nothing but its configuration."""
    is_real = cluster.runtime != "simulated"
    return agents.config_path(cluster, name).exists() or (is_real and cluster.path(f"node-{name}").exists())


def _take_back(cluster: Settings, start: "_Start", before: _Before) -> list[str]:
    """Ends what this start began, nothing else, and undoes it; returns what stays, and what went wrong."""
    told: list[str] = []
    with _guarded(told):
        start.end(_kill(cluster))
    with _guarded(told):
        if start.has_plane and not before.running & {control_plane(cluster).name, gateway_proxy(cluster).name}:
            processes.stop(gateway_proxy(cluster), STOP_SECONDS)
    for process in (control_plane(cluster), *(node_agent(cluster, name) for name in cluster.node_names())):
        with _guarded(told):
            if process.pid and process.name not in before.running:
                told.append(f"{process.name} (pid {process.pid}) goes on; to end it: sampan down")
            elif not process.pid:
                process.forget()
    with _guarded(told):
        if before.known is not None:
            before.known.save()
    if not told:
        told += _take_back_nodes(cluster, before)
    if going := sorted(pid for pid in before.unnoted if processes.start_time(pid)):
        told.append(f"what ran before and is not noted in {cluster.path('run')} goes on: {', '.join(map(str, going))}")
    return told


def _take_back_nodes(cluster: Settings, before: _Before) -> list[str]:
    """Undoes nodes that surely were not there before this start; returns what stays, and what went wrong."""
    told: list[str] = []
    begun = {
        name: number
        for number, name in enumerate(cluster.node_names())
        if node_agent(cluster, name).name not in before.running and agents.config_path(cluster, name).exists()
    }
    fresh = [] if before.unnoted else [name for name in begun if name not in before.nodes]
    with _guarded(told):
        if cluster.runtime == "simulated":
            for name in fresh:
                agents.config_path(cluster, name).unlink()
        elif fresh:
            told += _tear_down(cluster, [begun[name] for name in fresh], lambda name: None)
    if stays := [name for name in begun if name not in fresh]:
        told.append(f"what {', '.join(stays)} had on this host stays; to take it away: sampan down")
    with _guarded(told):
        is_used = before.running or before.unnoted or (cluster.rootless and before.known is not None)
        if not (told or is_used or any(cluster.path("run").glob("node-*.json"))):
            if cluster.rootless:
                rootless.stop(cluster)
            shutil.rmtree(cluster.path("run"), ignore_errors=True)
    return told


@contextlib.contextmanager
def _guarded(told: list[str]) -> Iterator[None]:
    """What goes wrong is told, and the next step is taken all the same."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (whatever it was)
        told.append(f"what was begun could not be taken back wholly: {error}; to end what is left: sampan down")


def _kill(cluster: Settings) -> list[str]:
    """The command that signals agents for us, where we may not."""
    elevated = elevation(cluster)
    return [*elevated, "kill"] if elevated else []


def _check_expired(cluster: Settings) -> None:
    """Raises HostError for a joined node that can't be Ready."""
    if cluster.joined_to:
        for text in _expired(cluster).values():
            raise HostError(text)


def _expired(cluster: Settings) -> dict[str, str]:
    """The nodes whose certificates have ended; what can read them is loaded when it is needed, for that takes long."""
    if not cluster.path("pki").exists():
        return {}
    from sampan.cluster import expiry

    return expiry.nodes(cluster, wall.now())


def _start_agents(cluster: Settings, start: "_Start", missing: Sequence[int], *, is_new: bool) -> None:
    """A control plane that starts makes the keys for which its agents wait. Those that have expired are made anew before.

    An agent that runs takes them up.
    """
    has_expired = not cluster.joined_to and bool(_expired(cluster))
    if has_expired or (missing and not is_new and not cluster.joined_to):
        _make_keys(cluster)
    if missing:
        start.agents(cluster, missing)


def _make_keys(cluster: Settings) -> None:
    """What goes wrong the control plane tells."""
    from sampan.cluster import pki

    with contextlib.suppress(OSError, ValueError):
        pki.ensure(cluster, wall.now())


class _Start:
    """What is being started, and what is still waited for."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._children: dict[int, Process] = {}
        self._own: list[subprocess.Popen[bytes]] = []  # kept, for how one ended is told only once
        self._said: dict[str, int] = {}
        self._probes: dict[str, Callable[[], bool]] = {}
        self._waiting: set[str] = set()
        self._coming: list[Process] = []
        self._reader = -1
        self._rest = b""
        self._mark = f"{os.getpid()}-{processes.start_time(os.getpid())}-{monotonic_ns()}"
        self.has_plane = False

    def control_plane(self, cluster: Settings, plane: Process) -> None:
        """Starts it with a pipe on which it tells how far it is."""
        self._reader, writer = os.pipe()
        os.set_inheritable(writer, True)
        command = [sys.executable, "-m", _PLANE, str(cluster.directory), str(writer)]
        self._note_log(plane)
        try:
            self._own.append(processes.start(plane, command, (writer,)))
        finally:
            os.close(writer)
        self.has_plane = True
        self._watch(plane, self._own[-1].pid)
        self._waiting |= {"api", "controllers", *(f"node {name}" for name in cluster.node_names())}

    def agents(self, cluster: Settings, numbers: Sequence[int]) -> None:
        """Starts those of these nodes, the first of which brings forth the others; each makes a file when it is Ready."""
        found = [node_agent(cluster, cluster.node_names()[number]) for number in numbers]
        for agent in found:
            self._note_log(agent)
        for number in numbers:
            agents.write_config(cluster, number)
            agents.ready_file(cluster, cluster.node_names()[number]).unlink(missing_ok=True)
        for agent in found[1:]:
            agent.forget()
            agent.log.touch(0o600)
        command = [*_python(cluster), *_agent_command(cluster, numbers), "--begun-by", self._mark]
        if not elevation(cluster):
            self._own.append(processes.start(found[0], command))
        elif not processes.start_detached(found[0], [*command, "--detach", str(found[0].log)], _kill(cluster)):
            raise HostError(f"{found[0].name} could not be started as root; a cluster without: --runtime simulated")
        for number, agent in zip(numbers, found, strict=True):
            name = cluster.node_names()[number]
            self.await_running(agent, f"agent {name}", agents.ready_file(cluster, name).exists)

    def await_running(self, process: Process, name: str, probe: Callable[[], bool]) -> None:
        """Waits for the probe of a process that runs already, or that one which runs is about to start."""
        if pid := process.pid:
            self._watch(process, pid)
        else:
            self._coming.append(process)
        self._probes[name] = probe
        self._waiting.add(name)

    def wait(self, cluster: Settings) -> None:
        """Returns when nothing is waited for any more. HostError after READY_SECONDS, or when a process ends."""
        texts = {
            "keys": "keys and certificates",
            "api": f"API server at {cluster.server_url}",
            "controllers": "controllers and scheduler",
        }
        deadline = monotonic() + READY_SECONDS
        while self._waiting:
            if monotonic() > deadline:
                rest = ", ".join(sorted(self._waiting))
                raise NotReadyYet(
                    f"not ready after {READY_SECONDS:.0f} s: still waiting for {rest}; what has started goes on: "
                    "sampan up waits for it, sampan logs tells more, sampan down stops it"
                )
            for line in self._news():
                if not line.startswith("node "):
                    self._tell(texts.get(line, f"node {line.removeprefix('agent ')} is Ready"))
                self._waiting.discard(line)

    def end(self, kill: Sequence[str]) -> None:
        """Ends the processes that it began, also agents that were just being brought forth: the mark tells them."""
        for child in self._own:
            if child.poll() is None:
                processes.end(child.pid, STOP_SECONDS)
        while found := processes.with_words(_AGENT, self._mark):
            for pid in found:
                if not processes.end(pid, STOP_SECONDS, kill):
                    return

    def close(self) -> None:
        for handle in (*self._children, *((self._reader,) if self._reader >= 0 else ())):
            os.close(handle)

    def _watch(self, process: Process, pid: int) -> None:
        try:
            self._children[os.pidfd_open(pid)] = process
        except (ProcessLookupError, ValueError, OSError) as error:
            raise self._ended(process) from error

    def _note_log(self, process: Process) -> None:
        """What it says from now on is what it says of this start."""
        with contextlib.suppress(OSError):
            self._said[process.name] = process.log.stat().st_size

    def _ended(self, process: Process, handle: int = -1) -> HostError:
        """Why, as far as its last words tell."""
        last = processes.tail(process.log, 1, self._said.get(process.name, 0)).strip()[:LAST_WORDS]
        by = processes.killed_by(handle) if handle >= 0 else ""
        what = f"{process.name} was killed by {by}" if by else f"{process.name} ended at once"
        why = f": {last}" if last and not by else ""
        if shutil.disk_usage(process.log.parent).free < FULL_DISK_BYTES:
            return HostError(f"{what}{why}; the disk is full: free some, or choose another --data-dir")
        if by == signal.SIGKILL.name:
            return HostError(
                f"{what}, as the kernel does where memory runs out (see dmesg): free some, and start it again"
            )
        if handle >= 0 and processes.exit_status(handle) == processes.PORT_TAKEN:
            return PortTakenError(last)
        return HostError(f"{what}{why}; all of it is in {process.log}")

    def _news(self) -> Iterator[str]:
        """What happened since: lines of the pipe, ready files that came. HostError when a process ended."""
        for process in tuple(self._coming):
            if pid := process.pid:
                self._coming.remove(process)
                self._watch(process, pid)
            elif process.has_ended:
                raise self._ended(process)
        sources = [*self._children, *((self._reader,) if self._reader >= 0 else ())]
        ready, _, _ = select.select(sources, [], [], READY_POLL_SECONDS)
        if self._reader in ready:
            data = os.read(self._reader, 4096)
            *lines, self._rest = (self._rest + data).split(b"\n")
            yield from (line.decode() for line in lines)
        for handle in ready:
            if handle in self._children:
                raise self._ended(self._children[handle], handle)
        for name in [name for name, probe in self._probes.items() if probe()]:
            del self._probes[name]
            yield name


def stop(cluster: Settings, report: Report, left: list[str] | None = None) -> None:
    """Ends every process, and takes back all that the agents did to the host. HostError, when all is tried.

    What a container runtime has that is gone is a failure; who gives `left` is told of it there, and it is left.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            held.enter_context(files.alone(cluster.path("run")))  # a start that fails just now has taken back first
        _stop(cluster, report, left)


def _stop(cluster: Settings, report: Report, left: list[str] | None) -> None:
    began = monotonic()
    failures = []
    if is_left(cluster):
        check_elevation(cluster)
    ended = []
    for number, name in enumerate(cluster.node_names()):
        agent = node_agent(cluster, name)
        if not processes.stop(agent, STOP_SECONDS, _kill(cluster)):
            failures.append(f"{agent.name} (pid {agent.pid}) could not be ended")
        elif agents.config_path(cluster, name).exists():
            ended.append(number)
        else:
            report(Step(f"node {name} taken down", monotonic() - began))
    if ended:
        failures += _tear_down(
            cluster, ended, lambda name: report(Step(f"node {name} taken down", monotonic() - began)), left
        )
    if not cluster.joined_to:
        processes.stop(control_plane(cluster), STOP_SECONDS)
        processes.stop(gateway_proxy(cluster), STOP_SECONDS)
    if cluster.rootless:
        rootless.stop(cluster)
        report(Step("control plane stopped", monotonic() - began))
    if failures:
        raise HostError("; ".join(failures))
    shutil.rmtree(cluster.path("run"), ignore_errors=True)


def _python(cluster: Settings) -> list[str]:
    """The interpreter for what needs root; as root, through sudo, it leaves no compiled files among the user's."""
    elevated = elevation(cluster)
    if not elevated:
        return [sys.executable]
    import compileall

    compileall.compile_dir(str(Path(__file__).parent.parent), quiet=2)  # so that there is something to load
    return [*elevated, sys.executable, "-B"]


def _agent_command(cluster: Settings, numbers: Sequence[int]) -> list[str]:
    """What starts the agents of these nodes, or takes the nodes down."""
    names = [cluster.node_names()[number] for number in numbers]
    command = ["-m", _AGENT]
    command += agents.arguments(cluster, agents.config_path(cluster, names[0]))
    for name in names[1:]:
        agent = node_agent(cluster, name)
        command += ["--also", str(agents.config_path(cluster, name)), str(agent.log), str(agent.pid_file)]
    return command


def _tear_down(
    cluster: Settings, numbers: Sequence[int], report: Callable[[str], None], left: list[str] | None = None
) -> list[str]:
    """Takes all of these nodes back from the host; returns what went wrong. `report` is told of each that is gone.

    What is in a container runtime that is gone goes wrong, or, where somebody wants to know what is `left`, is told there.
    """
    command = [*_python(cluster), *_agent_command(cluster, numbers), "--teardown"]
    names = {str(agents.config_path(cluster, name)): name for name in (cluster.node_names()[n] for n in numbers)}
    logs = [node_agent(cluster, name).log for name in names.values()]
    with logs[0].open("ab") as output:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=output, text=True)
        try:
            told, _ = child.communicate(timeout=TEARDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            return [f"taking down {', '.join(names.values())} took over {TEARDOWN_SECONDS:.0f} s; see {logs[0]}"]
    gone = {line.removeprefix(forsaken.GONE) for line in told.splitlines() if line.startswith(forsaken.GONE)}
    if gone and left is not None:
        left.append(forsaken.left(cluster))
    for line in told.splitlines():
        file = line if left is None else line.removeprefix(forsaken.GONE)
        if name := names.pop(file, ""):
            Path(file).unlink(missing_ok=True)
            report(name)
    return [
        forsaken.mend(cluster, name)
        if file in gone
        else f"node {name} could not be taken down cleanly; see {node_agent(cluster, name).log}"
        for file, name in names.items()
    ]


def purge(cluster: Settings) -> None:
    """Deletes the data directory. HostError when something of it cannot be deleted."""
    settings.forget(cluster.directory)
    elevated = [] if cluster.rootless else elevation(cluster)
    if cluster.rootless:
        rootless.remove(str(cluster.directory))
    if elevated:
        subprocess.run([*elevated, "rm", "-rf", "--one-file-system", str(cluster.directory)], check=False)
    shutil.rmtree(cluster.directory, ignore_errors=True)
    if cluster.directory.exists():
        raise HostError(f"{cluster.directory} could not be deleted; delete it by hand")
    with contextlib.suppress(OSError):
        settings.home().rmdir()  # only when nothing else is in it
