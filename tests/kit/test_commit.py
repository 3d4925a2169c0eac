"""The commit of the sources."""

from pathlib import Path

import pytest

from sampan.kit import commit

HASH = "9" * 40


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({".git/HEAD": f"{HASH}\n"}, HASH),
        ({".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": f"{HASH}\n"}, HASH),
        ({".git/HEAD": "ref: refs/heads/main\n", ".git/packed-refs": f"# pack\n{HASH} refs/heads/main\n"}, HASH),
        ({".git/HEAD": "ref: refs/heads/new\n", ".git/packed-refs": "# pack\n"}, commit.NONE),
        ({".git/HEAD": "ref: refs/heads/new\n"}, commit.NONE),
        ({".git": "gitdir: elsewhere\n"}, commit.NONE),
        ({}, commit.NONE),
    ],
)
def test_of_a_checkout(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    """A hash, a ref in a file of its own, a packed one; none of what is no checkout."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert commit.of(tmp_path) == expected
