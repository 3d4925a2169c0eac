"""Containerfiles are read as Docker reads them, and whatever the text is, it is read or refused in words."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.node.images.building import containerfile, effects, expansion, foretelling, orders, result, stages
from sampan.node.images.building.containerfile import ContainerfileError, Heredoc


def read(text: str) -> list[tuple[str, str]]:
    return [(each.name, each.text) for each in containerfile.parse(text).instructions]


def test_lines() -> None:
    """Comments and blank lines are left out, also inside of an instruction that goes on; names may be of any case."""
    text = "\ufeff# a comment\r\nfrom  a AS b\r\n  # another\nRUN one \\  \n\n  # within\n  two \\\n three\nCOPY\ta b\n"
    assert read(text) == [("FROM", "a AS b"), ("RUN", "one   two  three"), ("COPY", "a b")]
    assert [each.line for each in containerfile.parse(text).instructions] == [2, 4, 9]


def test_escape_directive() -> None:
    """Another sign continues lines, and then a backslash is only itself."""
    text = "# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN dir c:\\ `\n  x\n"
    assert read(text)[1] == ("RUN", "dir c:\\   x")
    assert containerfile.parse("# escape=`\n\nFROM a").escape == "`"
    assert containerfile.parse("# a comment\n# escape=`\nFROM a").escape == "\\"


def test_forms_and_flags() -> None:
    """JSON lists of texts are told from commands; flags stand before the rest."""
    text = 'FROM --platform=linux/amd64 a\nRUN ["a", "b c"]\nRUN [ -f x ]\nCOPY --from=b --link --chown=1:2 x y\n'
    first, json, shell, copy = containerfile.parse(text).instructions
    assert first.flag("platform") == "linux/amd64"
    assert (json.form, shell.form) == (["a", "b c"], None)
    assert copy.flags == (("from", "b"), ("link", ""), ("chown", "1:2"))
    assert str(copy) == "COPY --from=b --link --chown=1:2 x y"


def test_here_documents() -> None:
    """They end with their mark; quotes keep them from being expanded, a dash takes leading tabs away."""
    text = "FROM a\nRUN <<EOF cat >/x && \\\n true\na \\\n# no comment\nEOF\nCOPY <<'A' <<-B /d/\n$x\nA\n\tb\n\tB\nRUN echo x<<3\n"
    _, run, copy, last = containerfile.parse(text).instructions
    assert run.heredocs == (Heredoc("EOF", "a \\\n# no comment\n"),)
    assert copy.heredocs == (Heredoc("A", "$x\n", expands=False), Heredoc("B", "b\n"))
    assert last.heredocs == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the file has no instructions"),
        ("FROM a\nFORM b", "line 2: unknown instruction: FORM"),
        ("FROM a\nRUN", "line 2: RUN requires at least one argument"),
        ("# escape=x\nFROM a", "line 1: invalid escape token 'x': it must be \\ or `"),
        ("# escape=`\n# escape=`\nFROM a", "line 2: only one escape parser directive can be used"),
        ("FROM a\nRUN <<E\nx", "line 2: unterminated heredoc: there is no line 'E'"),
        ("RUN x", "line 1: no build stage: RUN stands before FROM"),
        ("FROM a b", "line 1: FROM requires either one or three arguments: FROM IMAGE [AS NAME]"),
        ("FROM $x", "line 1: base name ($x) should not be blank"),
        ("FROM a AS 1", "line 1: invalid name for a build stage: '1'"),
        ("FROM a AS x\nFROM b AS x", "line 2: there are two stages with the name 'x'"),
        ("FROM --platform=linux/s390x a", "line 1: platform linux/s390x: only linux/amd64 can be built"),
        ("FROM a AS x\nCOPY --from=x a b", "line 2: stage 'x' is not made yet at this place"),
        ("FROM a\nENV a", "line 2: ENV must have two arguments"),
        ("FROM a\nENV a=b c", "line 2: syntax error: can't find = in 'c': must be of the form name=value"),
        ("FROM a\nENV a='b", "looking for matching single-quote"),
        ("FROM a\nWORKDIR ${x:?no x}", "line 2: WORKDIR: x: no x"),
        ("FROM a\nWORKDIR ${x", "line 2: WORKDIR: unsupported modifier in substitution: ''"),
        ("FROM a\nARG 1=2", "line 2: ARG: '1' can't be a name"),
        ("FROM a\nEXPOSE 70000", "line 2: invalid containerPort: 70000"),
        ("FROM a\nSTOPSIGNAL no", "line 2: invalid signal: no"),
        ("FROM a\nSHELL sh", "line 2: SHELL requires the arguments to be in JSON form"),
        ("FROM a\nONBUILD ONBUILD RUN x", "line 2: ONBUILD isn't allowed as an ONBUILD trigger"),
        ("FROM a\nHEALTHCHECK --interval=5 CMD x", "line 2: HEALTHCHECK: invalid duration '5'"),
        ("FROM a\nHEALTHCHECK x", "line 2: HEALTHCHECK requires CMD and a command, or NONE"),
        ("FROM a\nCOPY a", "line 2: COPY requires at least two arguments"),
        ("FROM a\nCOPY a b c", "line 2: when using COPY with more than one source file, the destination must be a"),
        ("FROM a\nCOPY --chmod=rwx a b", "line 2: invalid chmod parameter: 'rwx'"),
        ("FROM a\nCOPY --checksum=x a b", "line 2: COPY --checksum is not supported"),
        ("FROM a\nADD https://x.test/y.git /", "line 2: ADD https://x.test/y.git: git repositories can't be added"),
        (
            "FROM a\nRUN --mount=type=secret,id=x y",
            "RUN --mount=type=secret is not supported: use bind, cache or tmpfs",
        ),
        ("FROM a\nRUN --network=x y", "line 2: RUN --network=x: it can be default, host or none"),
        ("FROM a\nRUN --security=insecure y", "line 2: RUN --security is not supported"),
    ],
)
def test_refusals(text: str, why: str) -> None:
    """One line that says which line it is, and what is wrong with it."""
    with pytest.raises(ContainerfileError) as refused:
        played(text)
    assert why in str(refused.value)


def played(text: str, target: str = "", **given_: str) -> list[result.Made]:
    """The stages as they end, when no step makes files."""
    file = containerfile.parse(text)
    plan = stages.plan(file, stages.Wish(given_, target))
    found: dict[int, result.Made] = {}
    for stage in plan.stages:
        made = result.began({}, []) if stage.parent is None else found[stage.parent].fork()
        for each in stage.instructions:
            if each.name == "RUN":
                made.history.append({"order": orders.run(each, made.state, plan.escape)})
            elif each.name in ("COPY", "ADD"):
                made.history.append({"order": orders.copy(each, made.state, plan.escape)})
            made.state = effects.applied(made.state, each, plan)
        found[stage.number] = made
    return list(found.values())


def config(text: str, **given_: str) -> dict[str, object]:
    return played(text, **given_)[-1].state.config


def test_configuration() -> None:
    """Everything that makes no files is in the image's configuration."""
    text = """FROM scratch
ENV A=1 B="two words" C=$A
ENV D an old  form
LABEL x="a b" y.z=${A}1
WORKDIR /srv
WORKDIR sub/../app
USER web:web
EXPOSE 80 53/udp 8000-8002
VOLUME /data /more
VOLUME ["/a b"]
STOPSIGNAL SIGINT
SHELL ["/bin/bash", "-c"]
CMD one
ENTRYPOINT ["e", "$A"]
HEALTHCHECK --interval=1m30s --timeout=500ms --retries=2 CMD curl x || exit 1
ONBUILD RUN echo $A
"""
    assert config(text) == {
        "Env": ["A=1", "B=two words", "C=", "D=an old  form"],
        "Labels": {"x": "a b", "y.z": "11"},
        "WorkingDir": "/srv/app",
        "User": "web:web",
        "ExposedPorts": {"53/udp": {}, "80/tcp": {}, "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {}},
        "Volumes": {"/a b": {}, "/data": {}, "/more": {}},
        "StopSignal": "SIGINT",
        "Shell": ["/bin/bash", "-c"],
        "Cmd": ["/bin/bash", "-c", "one"],
        "Entrypoint": ["e", "$A"],
        "Healthcheck": {
            "Test": ["CMD-SHELL", "curl x || exit 1"],
            "Interval": 90 * 10**9,
            "Timeout": 5 * 10**8,
            "Retries": 2,
        },
        "OnBuild": ["RUN echo $A"],
    }


def test_foretelling() -> None:
    """What a file says is known before it is built, with what its base is known to say."""
    text = "FROM base AS b\nEXPOSE 80\nFROM b\nCOPY a b\nENV X=$Y\n"
    plan = stages.plan(containerfile.parse(text), stages.Wish({}))
    found = foretelling.config(plan, lambda name: {"Env": ["Y=1"], "Cmd": [name]})
    assert found == {"Env": ["Y=1", "X=1"], "Cmd": ["base"], "ExposedPorts": {"80/tcp": {}}}


def test_an_entrypoint_drops_the_cmd_of_the_base() -> None:
    """But not the one that the stage itself has said."""
    base = "FROM scratch AS a\nCMD old\nFROM a\n"
    assert "Cmd" in config(base)
    assert "Cmd" not in config(base + "ENTRYPOINT e")
    assert config(base + 'CMD ["new"]\nENTRYPOINT e')["Cmd"] == ["new"]


def test_arguments() -> None:
    """Those before FROM count in FROM, and in stages that name them; ENV goes before; a default may use others."""
    text = 'ARG v=1\nFROM img:$v AS base\nARG v\nARG n=${v}x\nENV o=$n\nFROM base\nENV p="$n-$v" q=$TARGETARCH\nARG TARGETARCH\nENV r=$TARGETARCH'
    assert config(text)["Env"] == ["o=1x", "p=-", "q=", "r=amd64"]
    assert config(text, v="2")["Env"][0] == "o=2x"
    assert config(text, n="z")["Env"][0] == "o=z"
    plan = stages.plan(containerfile.parse(text), stages.Wish({"v": "3", "other": "1", "http_proxy": "p"}))
    assert [stage.image for stage in plan.stages] == ["img:3", "base"]
    assert plan.unused == ("other",)
    (run,) = played("FROM a\nARG x=1\nENV y=2\nARG y=3\nRUN z")[0].history
    assert run["order"].environment == (("x", "1"), ("y", "2"))


def test_only_needed_stages() -> None:
    """Those that the target stands on or takes files from, by name or number."""
    text = "FROM a AS one\nFROM b AS two\nFROM c AS three\nCOPY --from=0 x y\nRUN --mount=from=two,target=/m z\nFROM d"

    def plan(target: str) -> list[str]:
        return [stage.label for stage in stages.plan(containerfile.parse(text), stages.Wish({}, target)).stages]

    assert plan("") == ["stage-3"]
    assert plan("THREE") == ["one", "two", "three"]
    with pytest.raises(ContainerfileError, match="there is no stage 'no'; there are: one, two, three, stage-3"):
        plan("no")


def test_orders() -> None:
    """What RUN and COPY ask for, with variables replaced where Docker does, and not in commands."""
    text = """FROM a
ENV d=/dest
WORKDIR /w
USER u
COPY --chown=$d:x --chmod=755 --exclude=*.md a$d "b c" ./
COPY ["a b", "$d"]
COPY <<A b /etc/x/
v=$d 'q' \\n ${no:-"d"}
A
ADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://x.test/a /a
RUN echo $d
RUN --network=none --mount=type=cache,target=c --mount=type=bind,from=x,src=/s,dst=/t ["a"]
RUN <<S
one
S
RUN cat <<S
two
S
RUN <<S
#!/bin/python
S
"""
    first, second, third, fetched, *runs = [entry["order"] for entry in played(text)[0].history]
    assert first.sources == ("a/dest", "b c")
    assert (first.target, first.owner, first.mode, first.excluded) == ("/w/", "/dest:x", 0o755, ("*.md",))
    assert (second.sources, second.target) == (("a b",), "/dest")
    assert (third.sources, third.documents) == (("b",), (("A", "v=/dest 'q' \\n \"d\"\n"),))
    assert fetched.may_fetch
    assert not first.may_fetch
    assert runs[0].arguments == ("/bin/sh", "-c", "echo $d")
    assert (runs[0].user, runs[0].directory, runs[0].has_network) == ("u", "/w", True)
    assert (runs[1].arguments, runs[1].has_network) == (("a",), False)
    assert [(each.kind, each.target, each.read_only) for each in runs[1].mounts] == [
        ("cache", "/w/c", False),
        ("bind", "/t", True),
    ]
    assert runs[2].arguments[-1] == "one\n"
    assert runs[3].arguments[-1] == "cat <<S\ntwo\nS\n"
    assert (runs[4].arguments, runs[4].script) == ((orders.SCRIPT,), "#!/bin/python\n")


VARIABLES = {"a": "1", "e": "", "p": "/usr/lib/x.tar.gz"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$a${a}-$no-", "11--"),
        ("${a:-x}${e:-x}${no:-x}${e-x}${no-x}", "1xxx"),
        ("${a:+x}${e:+x}${e+y}${no+x}", "xy"),
        ("${no:-${a:+${p}}}", "/usr/lib/x.tar.gz"),
        ("${p#*/}|${p##*/}|${p%.*}|${p%%.*}", "usr/lib/x.tar.gz|x.tar.gz|/usr/lib/x.tar|/usr/lib/x"),
        ("${p/u/U}|${p//r/R}|${p/no/x}", "/Usr/lib/x.tar.gz|/usR/lib/x.taR.gz|/usr/lib/x.tar.gz"),
        (r"\$a '$a' \"$a\"", r'$a $a "1"'),
        (r'"\$a \a \\ $a"', r"$a \a \ 1"),
        ("a$", "a$"),
        ("$$ $1 ${1}", "  "),
    ],
)
def test_expansion(text: str, found: str) -> None:
    """As the reference says of each form."""
    assert expansion.expand(text, VARIABLES) == found


PIECES = [*"aA1 \t\n\\\"'`$ {}:-+?#%/*[]<>=,!@~.", "${", "<<E", "\nE\n", "--", "\ufeff", "é", "\x00"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
NAMES = st.sampled_from(sorted(containerfile.NAMES))
LINES = st.tuples(NAMES, TEXTS).map(lambda pair: f"{pair[0]} {pair[1]}")


@given(st.lists(LINES, max_size=6), st.sampled_from(["", "# escape=`\n"]))
def test_any_file_is_read_or_refused(lines: list[str], directive: str) -> None:
    """No text at all ends in another exception."""
    with contextlib.suppress(ContainerfileError):
        played(directive + "FROM a\n" + "\n".join(lines))


@given(TEXTS)
def test_any_word_is_expanded_or_refused(text: str) -> None:
    """In a word as in a document, where quotes stay."""
    for expand in (expansion.expand, expansion.expand_document):
        with contextlib.suppress(expansion.ExpansionError):
            assert isinstance(expand(text, {"a": "x"}), str)
