"""Images are built with real files and real containers; the same inputs give the same image, and nothing escapes."""

import contextlib
import gzip
import io
import json
import os
import select
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sampan.node.images import archive
from sampan.node.images.building import builder, context, stages, steps
from sampan.node.images.model import Image, ImageConfig, ImageError
from sampan.node.images.store import ImageStore

pytestmark = pytest.mark.root

ARCHITECTURE = archive.architecture()


class Shown:
    """What a build told."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, bool]] = []
        self.printed = b""
        self._text = ""

    def step(self, place: str, text: str) -> None:
        self._text = text

    def end(self, *, cached: bool) -> None:
        self.steps.append((self._text, cached))

    def output(self, data: bytes) -> None:
        self.printed += data

    @property
    def done(self) -> list[str]:
        """Steps that made files and were not known."""
        return [text for text, cached in self.steps if not cached and text.split()[0] in ("RUN", "COPY", "ADD")]


class Bench:
    """A store, a folder to build, and the last build's report."""

    def __init__(self, folder: Path) -> None:
        self.store = ImageStore(folder / "images")
        self.folder = folder / "context"
        self.folder.mkdir()
        self.shown = Shown()
        self.pulled: list[str] = []

    def write(self, name: str, text: str = "", mode: int = 0o644) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def build(self, text: str, tag: str = "app:v1", **wish: Any) -> Image:
        self.shown = Shown()
        self.write("Containerfile", text)
        found = context.load(self.folder)
        conditions = steps.Conditions(**{k: wish.pop(k) for k in ("cached", "epoch", "resolver") if k in wish})
        plan = stages.plan(found.containerfile, stages.Wish(wish, architecture=ARCHITECTURE))
        made = builder.Builder(self.store, found, self.shown, self.pull).build(plan, [tag], conditions)
        assert not list(self.store.builds.glob("work-*"))
        assert str(self.store.builds) not in Path("/proc/self/mountinfo").read_text()
        return made

    def fails(self, text: str, **wish: Any) -> str:
        with pytest.raises(ImageError) as refused:
            self.build(text, **wish)
        assert not list(self.store.builds.glob("work-*"))
        return str(refused.value)

    def pull(self, name: str) -> None:
        self.pulled.append(name)
        raise ImageError(f"{name} can't be had")

    def document(self, image: Image) -> dict[str, Any]:
        return self.store.origin(image).document


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """With an image `busybox` in its store."""
    made = Bench(tmp_path)
    (tmp_path / "fs/bin").mkdir(parents=True)
    (tmp_path / "fs/etc").mkdir()
    (tmp_path / "fs/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n")
    (tmp_path / "fs/etc/group").write_text("www:x:34:\n")
    (tmp_path / "fs/bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (tmp_path / "fs/bin/busybox").chmod(0o755)
    for name in ("sh", "cat", "echo", "id", "env", "mkdir", "rm", "ln", "touch", "chmod", "ls", "wc", "mv", "sleep"):
        (tmp_path / "fs/bin" / name).symlink_to("busybox")
    (tmp_path / "fs/opt/old").mkdir(parents=True)
    (tmp_path / "fs/opt/old/file").write_text("old")
    for path in (tmp_path / "fs").rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    made.store.import_rootfs(tmp_path / "fs", "busybox", ImageConfig(cmd=("sh",), env=(("BASE", "1"),)))
    return made


def files(image: Image) -> dict[str, str]:
    """What the layers above the first one hold: names with modes and owners."""
    found = {}
    for layer in image.layer_dirs:
        for path in sorted(Path(layer).rglob("*")):
            status = path.lstat()
            found[str(path.relative_to(layer))] = f"{status.st_mode & 0o7777:o} {status.st_uid}:{status.st_gid}"
    return found


def read(image: Image, name: str) -> str:
    for layer in reversed(image.layer_dirs):
        if os.path.lexists(os.path.join(layer, name)):
            return Path(layer, name).read_text()
    raise FileNotFoundError(name)


WHOLE = """
ARG tag=latest
FROM busybox:$tag AS make
ARG greeting=hello
WORKDIR /work
COPY src/ .
RUN cat a.txt > out && echo $greeting $BASE >> out && id -u
FROM scratch AS unused
RUN this is never run
FROM busybox
COPY --from=make --chown=web:www /work/out /srv/
RUN ["sh", "-c", "rm -r /opt/old && mkdir /opt/old && echo new > /opt/old/new"]
ENV PORT=80
USER web
RUN touch /tmp-is-not-there 2>/dev/null || id
EXPOSE 80
ENTRYPOINT ["cat", "/srv/out"]
"""


def test_a_whole_build(bench: Bench) -> None:
    """Stages, files, commands and configuration; a second time everything is known, a change begins where it counts."""
    bench.write("src/a.txt", "text\n")
    bench.write("src/sub/b.sh", "", 0o755)
    bench.write("src/left.md")
    bench.write(".dockerignore", "**/*.md\n")
    image = bench.build(WHOLE)
    assert read(image, "srv/out") == "text\nhello 1\n"
    assert files(image)["srv/out"] == "644 33:34"
    assert b"uid=33(web) gid=34(www)" in bench.shown.printed
    assert image.config.entrypoint == ("cat", "/srv/out")
    assert image.config.cmd == ()
    assert image.config.env == (("BASE", "1"), ("PORT", "80"))
    assert (image.config.user, image.config.exposed_ports) == ("web", ("80/tcp",))
    assert read(image, "opt/old/new") == "new\n"
    assert os.getxattr(Path(image.layer_dirs[2], "opt/old"), "trusted.overlay.opaque") == b"y"
    assert not {"proc", "dev", "sys", "etc/resolv.conf", "etc/hosts"} & set(files(image))
    assert bench.document(image)["created"] == "1980-01-02T00:00:00Z"
    history = bench.document(image)["history"]
    assert sum(not entry.get("empty_layer") for entry in history) == len(image.layer_dirs)

    again = bench.build(WHOLE)
    assert (again.id, bench.shown.done) == (image.id, [])
    bench.write("src/left.md", "changed")
    os.utime(bench.folder / "src/a.txt", (5, 5))
    assert bench.build(WHOLE).id == image.id
    assert bench.shown.done == []
    bench.write("src/sub/b.sh", "changed", 0o755)
    assert bench.build(WHOLE).id == image.id  # as what the last stage takes is the same
    assert [text.split()[0] for text in bench.shown.done] == ["COPY", "RUN"]
    other = bench.build(WHOLE, greeting="ahoy")
    assert read(other, "srv/out") == "text\nahoy 1\n"


def test_the_same_inputs_give_the_same_image(bench: Bench, tmp_path: Path) -> None:
    """In another store, at another time, from files with other times: byte by byte. Times are the build's."""
    bench.write("a", "x")
    bench.write("d/b", "y")
    text = "FROM busybox\nCOPY . /app/\nRUN touch /app/now && ln /app/now /app/two && chmod 700 /opt\n"
    first = bench.build(text)
    for name in ("a", "d/b"):
        os.utime(bench.folder / name, (12345, 12345))
    steps_kept = bench.build(text, cached=False)
    assert len(bench.shown.done) == 2
    assert steps_kept.id == first.id
    now = Path(first.layer_dirs[-1], "app/now").stat()
    assert (now.st_mtime, now.st_nlink) == (315619200, 2)
    later = bench.build(text, epoch=1_700_000_000)
    assert later.id != first.id
    assert Path(later.layer_dirs[1], "app/a").stat().st_mtime == 1_700_000_000
    assert bench.document(later)["created"] == "2023-11-14T22:13:20Z"


def test_what_copy_means(bench: Bench) -> None:
    """Folders give their content, files come into folders, patterns and links of the context are followed inside it."""
    for name in ("one.txt", "two.txt", "d/x", "d/e/y", "d/e/no.log"):
        bench.write(name, name)
    (bench.folder / "link").symlink_to("one.txt")
    (bench.folder / "d/inner").symlink_to("/etc/passwd")
    image = bench.build(
        "FROM busybox\nRUN ln -s /real /alias && mkdir /real\nCOPY *.txt /t/\nCOPY d /f\nCOPY one.txt /opt\nCOPY link /l\n"
        "COPY one.txt /alias/in/\nCOPY --chmod=600 --exclude=e/*.log d /g/\nCOPY --parents d/e/y /p/\n"
        "COPY <<A <<B /h/\n1\nA\n2\nB\nWORKDIR /w\nCOPY one.txt renamed\nCOPY one.txt .\n"
    )
    found = files(image)
    names = "t/one.txt t/two.txt f/x f/e/y opt/one.txt l real/in/one.txt g/x p/d/e/y h/A h/B w/renamed w/one.txt"
    assert set(names.split()) <= set(found)
    assert "g/e/no.log" not in found
    assert found["g/x"] == "600 0:0"
    assert read(image, "l") == "one.txt"
    assert os.readlink(Path(image.layer_dirs[3], "f/inner")) == "/etc/passwd"
    assert "alias/in" not in found


def archive_of(members: dict[str, str], link: str = "") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as out:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.mode = len(text), 33, 0o640
            out.addfile(info, io.BytesIO(text.encode()))
        if link:
            info = tarfile.TarInfo("out")
            info.type, info.linkname = tarfile.SYMTYPE, link
            out.addfile(info)
    return file.getvalue()


def test_add_unpacks_archives(bench: Bench) -> None:
    """Whatever they are packed with; COPY takes them as they are, and one that leads outside is refused."""
    plain = archive_of({"in/a": "a"})
    (bench.folder / "a.tgz").write_bytes(gzip.compress(plain))
    (bench.folder / "none.gz").write_bytes(gzip.compress(b"no archive"))
    image = bench.build("FROM scratch\nADD a.tgz none.gz /x/\nCOPY a.tgz /y/\n")
    assert files(image).items() >= {"x/in/a": "640 33:0", "x/none.gz": "644 0:0", "y/a.tgz": "644 0:0"}.items()
    (bench.folder / "a.tgz").write_bytes(archive_of({"../../a": "a"}))
    assert "leads outside" in bench.fails("FROM scratch\nADD a.tgz /x/\n")
    assert "http://127.0.0.1:9/a can't be had: " in bench.fails("FROM scratch\nADD http://127.0.0.1:9/a /x/\n")


def test_nothing_escapes(bench: Bench, tmp_path: Path) -> None:
    """Links of a context or a stage that lead outside end at its root, and nothing is read or written beyond it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (bench.folder / "way").symlink_to(outside)
    (bench.folder / "up").symlink_to("../../../../../../" + str(outside))
    bench.write("file", "x")
    for source in ("way/secret", "up/secret", "way", "../outside/secret", f"{outside}/secret"):
        assert "is not there" in bench.fails(f"FROM busybox\nCOPY {source} /x\n"), source
    stage = f"FROM busybox AS evil\nRUN ln -s {outside} /way\nFROM busybox\n"
    assert "is not there" in bench.fails(f"{stage}COPY --from=evil /way/secret /x\n")
    bench.fails(f"FROM busybox\nRUN ln -s {outside} /way\nCOPY file /way/\n")
    bench.fails(f"FROM busybox\nRUN ln -s {outside} /way\nWORKDIR /way/made\n")
    bench.build(f"FROM busybox\nRUN mkdir -p {outside} && ln -s {outside} /way\nCOPY file /way/\n")
    assert [path.name for path in outside.iterdir()] == ["secret"]
    (bench.folder / "way").unlink()
    os.mkfifo(bench.folder / "pipe")
    assert "neither a file nor a folder" in bench.fails("FROM busybox\nCOPY pipe /x\n")


def test_what_commands_find(bench: Bench) -> None:
    """A shell of their own choice, their user's home, name servers, mounts that leave nothing, and no more rights."""
    bench.write("ctx", "from the context")
    image = bench.build(
        'FROM busybox\nSHELL ["/bin/sh", "-ec"]\nRUN echo $HOME; cat /etc/resolv.conf\nUSER web\nRUN echo $HOME\nUSER root\n'
        "RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t echo 1 >> /c/n; wc -l /c/n; echo 1 > /t/x\n"
        "RUN --mount=type=bind,target=/ctx cat /ctx/ctx; ! touch /ctx/new\n"
        "RUN --network=none ls /sys/class/net\n"
        "RUN <<E\n#!/bin/sh\necho script $0\nE\nRUN cat <<E > /made\nline\nE\n",
        resolver="nameserver 192.0.2.1\n",
    )
    lines = bench.shown.printed.decode().splitlines()
    assert lines[:3] == ["/root", "nameserver 192.0.2.1", "/srv"]
    assert "1 /c/n" in lines
    assert any(line.startswith("from the context") for line in lines)
    assert any(line.startswith("script /dev/shm/") for line in lines)
    assert not {"c", "t", "ctx"} & set(files(image))
    assert read(image, "made") == "line\n"
    bench.build("FROM busybox\nRUN --mount=type=cache,target=/c echo 2 >> /c/n; wc -l /c/n\n")
    assert b"2 /c/n" in bench.shown.printed
    assert bench.fails("FROM busybox\nRUN exit 3").endswith(
        "Containerfile:2: RUN failed: the command ended with exit code 3"
    )
    assert "exec" in bench.fails('FROM busybox\nRUN ["no-such"]')
    assert "unable to find user nobody" in bench.fails("FROM busybox\nUSER nobody\nRUN id")


def test_bases(bench: Bench) -> None:
    """Triggers of a base are carried out; one that can't be had is said; an image of nothing is one."""
    bench.build("FROM busybox\nONBUILD COPY file /triggered\nCMD old\n", tag="base:1")
    bench.write("file", "x")
    image = bench.build("FROM base:1\n")
    assert read(image, "triggered") == "x"
    assert "OnBuild" not in bench.document(image)["config"]
    assert bench.fails("FROM other:1") == "other:1 can't be had"
    assert bench.pulled == ["other:1"]
    empty = bench.build("FROM scratch\nLABEL a=b\n")
    assert (empty.layer_dirs, empty.config.labels) == ((), (("a", "b"),))
    assert json.loads(json.dumps(bench.document(empty)))["rootfs"] == {"diff_ids": [], "type": "layers"}


def test_steps_that_leave_nothing(bench: Bench) -> None:
    """They make no layer, also where they changed a folder and took it back; a layer may be there twice."""
    image = bench.build(
        "FROM busybox\nRUN mkdir /opt/x && rm -r /opt/x\nRUN id\nWORKDIR /opt/old\nRUN chmod 700 /opt\n"
    )
    assert len(image.layer_dirs) == 2
    assert os.listdir(image.layer_dirs[1]) == ["opt"]
    assert files(image)["opt"] == "700 0:0"
    twice = "FROM busybox\nRUN echo 1 > /x\nRUN rm /x\nRUN echo 1 > /x\nRUN cat /x\n"
    image = bench.build(twice)
    layers = bench.document(image)["rootfs"]["diff_ids"]
    assert (len(layers), len(set(layers)), len(image.layer_dirs)) == (4, 3, 3)
    assert bench.shown.printed == b"1\n"


def test_what_is_kept(bench: Bench) -> None:
    """Removing images leaves what builds know; pruning takes it too, and then all is made again."""
    text = "FROM busybox\nRUN echo x > /x\n"
    first = bench.build(text)
    bench.store.remove("app:v1")
    again = bench.build(text)
    assert (again.id, bench.shown.done) == (first.id, [])
    bench.store.prune(["busybox"])
    assert not list(bench.store.builds.parent.glob("l/*/x"))
    bench.store.prune([])
    assert "busybox" in bench.fails(text)


def test_pruning_meanwhile(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it comes, what the build stands on and has made so far stays; afterwards it goes."""
    pruned: list[str] = []

    def prune(shown: Shown, *_: Any, **__: Any) -> None:
        if b"begun" in shown.printed:
            pruned.extend(image.reference for image in ImageStore(bench.store.builds.parent).prune()[0])

    for name in ("step", "end", "output"):
        told = getattr(Shown, name)

        def tell(shown: Shown, *args: Any, told: Any = told, **named: Any) -> None:
            told(shown, *args, **named)
            prune(shown)

        monkeypatch.setattr(Shown, name, tell)
    image = bench.build("FROM busybox\nRUN echo 1 > /x; echo begun; cat /x\nRUN cat /x; echo 2 > /y\nRUN cat /x /y\n")
    assert (pruned, read(image, "y")) == ([], "2\n")
    assert bench.shown.printed == b"begun\n1\n1\n1\n2\n"
    monkeypatch.undo()
    assert len(bench.store.prune()[0]) == 2
    assert not list(bench.store.builds.parent.glob("l/*"))


def test_what_a_killed_build_left(bench: Bench, tmp_path: Path) -> None:
    """The next one takes it away: the container that still runs, its mounts and its files."""
    mark = f"/bin/echo {tmp_path.name}-{os.getpid()}; exec sleep 1000"
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            bench.build(f"FROM busybox\nRUN {mark}\n")
        os._exit(1)
    pids: list[int] = []
    while not pids:
        pids = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/root") if _is_in(path, tmp_path)]
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the build has ended"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    fds = [os.pidfd_open(pid) for pid in pids]
    bench.build("FROM scratch\n")
    for fd in fds:
        assert select.select([fd], [], [], 30)[0], "the container still runs"
        os.close(fd)


def _is_in(root: Path, folder: Path) -> bool:
    """Whether a process has its root in a build below the folder, and is the command itself."""
    try:
        mounts = (root.parent / "mountinfo").read_text().splitlines()
        return (
            any(line.split()[4] == "/" and str(folder) in line for line in mounts)
            and b"sleep" in (root.parent / "cmdline").read_bytes()
        )
    except OSError:
        return False


def test_files_that_change_meanwhile(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied is what the step is known by, or nothing."""
    bench.write("file", "one")
    kept: Callable[..., Any] = steps._kept

    def change(*arguments: Any) -> Any:
        bench.write("file", "two")
        return kept(*arguments)

    monkeypatch.setattr(steps, "_kept", change)
    assert bench.fails("FROM scratch\nCOPY file /\n").endswith("the files changed while they were copied; build again")
