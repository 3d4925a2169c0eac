"""What `sampan image` makes of its words."""

from pathlib import Path

import pytest

from sampan.cli import main

IMPORT = ["image", "import", "rootfs"]


def test_the_name_of_an_imported_image_stands_before_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The rest of the line is the command's; that is said, rather than that there is no --tag."""
    assert main.run([*IMPORT, "--cmd", "/bin/app", "--tag", "app:v1"]) == 2
    assert "--cmd takes the rest of the line: --tag stands before it" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--data-dir", "x"], ["--data-dir=x"], ["--name", "x"]])
def test_a_cluster_that_is_named_after_the_command(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not the one that is meant: where there is no other, the refusal says why."""
    nowhere = ["--data-dir", str(tmp_path / "none")]
    assert main.run([*IMPORT, "--tag", "app:v1", *nowhere, "--cmd", "/bin/app", *words]) == 1
    assert f"(what stands after --cmd is the image's: move {words[0]} before it)" in capsys.readouterr().err
    assert main.run([*IMPORT, "--tag", "app:v1", *nowhere, "--cmd", "/bin/app", "-v"]) == 1
    assert "--cmd" not in capsys.readouterr().err
