"""What an application is deployed from: the same from any place where it has a name, and no path is told."""

import argparse
from pathlib import Path

import pytest

from sampan.cli import app_sources, deploy
from sampan.cluster import key_files
from sampan.cluster.apps.objects import FOLDER, SOURCE, Application
from sampan.cluster.settings import Settings

COMPOSE = "services: {web: {image: nginx}}\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Settings:
    """One of simulated nodes, so that nothing is built."""
    made = Settings("shop", tmp_path / "cluster", runtime="simulated")
    key = made.path("pki", f"{key_files.AUTHORITY}.key")
    key.parent.mkdir(parents=True)
    key.write_text("a key")
    return made


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two of one name."""
    found = [tmp_path / place / "api" for place in ("a", "b")]
    for folder in found:
        folder.mkdir(parents=True)
    return found


def identity(cluster: Settings, *words: str) -> Application:
    parser = argparse.ArgumentParser()
    deploy.arguments(parser)
    app = app_sources.load(cluster, parser.parse_args([*words, "--dry-run"]))
    marks = app.waves[0][0]["metadata"]["annotations"]
    assert marks == {SOURCE: app.identity.source, **({FOLDER: app.identity.folder} if app.identity.folder else {})}
    return app.identity


def test_compose_files_by_their_names(cluster: Settings, folders: list[Path]) -> None:
    """The four default names are one; another file of the folder is another source; no path is told."""
    found = []
    for name in ("compose.yaml", "docker-compose.yml", "compose.monitoring.yaml"):
        (folders[0] / name).write_text(COMPOSE)
        found.append(identity(cluster, str(folders[0] / name)))
    first, second, third = found
    assert first == second and (first.name, first.source) == ("api", "compose.yaml")
    assert (third.name, third.source, third.folder) == ("api", "compose.monitoring.yaml", first.folder)
    assert len(first.folder) == 32 and str(folders[0]) not in first.folder


def test_folders_of_one_name_are_told_apart(cluster: Settings, folders: list[Path]) -> None:
    """Unless the application is named, by --app or in the file."""
    for folder in folders:
        (folder / "compose.yaml").write_text(COMPOSE)
        (folder / "Containerfile").write_text("FROM scratch\n")
    for place in ("", "compose.yaml"):
        one, other = (identity(cluster, str(folder / place)) for folder in folders)
        assert (one.name, one.source) == (other.name, other.source) and one.folder != other.folder
        one, other = (identity(cluster, str(folder / place), "--app", "shop") for folder in folders)
        assert one == other and one.folder == ""
    for folder in folders:
        (folder / "compose.yaml").write_text("name: shop\n" + COMPOSE)
    one, other = (identity(cluster, str(folder / "compose.yaml")) for folder in folders)
    assert one == other and (one.name, one.folder) == ("shop", "")


@pytest.mark.parametrize("version", ["", ":v1", ":v2", "@sha256:" + "0" * 64, ":v1@sha256:" + "0" * 64])
def test_an_image_by_its_name(version: str, cluster: Settings) -> None:
    """All its versions are one source."""
    found = identity(cluster, f"registry.example:5000/team/shop{version}")
    assert found == Application("shop", "default", "image registry.example:5000/team/shop")
