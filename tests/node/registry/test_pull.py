"""Pulling from a registry that behaves, and from ones that don't."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks
from sampan.node.images.model import Image, ImageError
from sampan.node.images.store import ImageStore
from sampan.node.registry import config, download
from sampan.node.registry.config import Login
from sampan.node.registry.pull import Pulls
from sampan.node.registry_puller import RegistryPuller, registries
from tests.node.images.test_store import CONFIG, LAYERS
from tests.node.registry.serving import OCI_MANIFEST, Shelf, descriptor, digest, serving

pytestmark = pytest.mark.root


class Clock(SystemClock):
    """No pauses."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


async def pulled(store: ImageStore, shelf: Shelf, *logins: Login, ref: str = "{}/team/app:v1") -> Image:
    async with serving(shelf) as address:
        return await Pulls(store, lambda: config.NONE, Clock()).pull(ref.format(address), logins)


async def why_not(store: ImageStore, shelf: Shelf, *logins: Login) -> str:
    """Why the image can't be had; the store has nothing then."""
    with pytest.raises(ImageError) as error:
        await pulled(store, shelf, *logins)
    assert store.list() == []
    return str(error.value).replace(shelf.address, "host")


@pytest.mark.parametrize("pack", [bytes, zstandard.compress])
async def test_an_image_with_its_names_configuration_and_layers(
    store: ImageStore, shelf: Shelf, pack: Callable[[bytes], bytes]
) -> None:
    """Its digest is that of the index."""
    top = shelf.add("v1", pack=pack)
    image = await pulled(store, shelf)
    name = f"{shelf.address}/team/app"
    assert (image.id, image.repo_tags, image.repo_digests) == (digest(CONFIG), (f"{name}:v1",), (f"{name}@{top}",))
    assert [Path(layer, "a").read_text() for layer in image.layer_dirs] == ["1", "2"]
    assert store.is_pulled(f"{name}:v1")
    assert store.resolve(f"{name}@{top}") == image
    assert not list(store.downloads.iterdir())


async def test_pulled_again(store: ImageStore, shelf: Shelf) -> None:
    """Only the manifests are asked for. When the tag points elsewhere, the old image keeps its digest only."""
    shelf.add("v1")
    async with serving(shelf) as address:
        pulls = Pulls(store, lambda: config.NONE, Clock())
        first = await pulls.pull(f"{address}/a:v1")
        shelf.seen.clear()
        assert await pulls.pull(f"{address}/a:v1") == first
        assert [path.rsplit("/", 2)[1] for _, path, _ in shelf.seen] == ["manifests", "manifests"]
        shelf.add("v1", config=CONFIG.replace(b"serve", b"other"))
        second = await pulls.pull(f"{address}/a:v1")
        assert second.config.cmd == ("other",)
        tags = {image.id: image.repo_tags for image in store.list()}
        assert tags == {first.id: (), second.id: (f"{address}/a:v1",)}
        by_digest = await pulls.pull(f"{address}/a@{first.repo_digests[0].partition('@')[2]}")
        assert by_digest.id == first.id


@pytest.mark.parametrize("bearer", [False, True])
async def test_logins_are_tried_until_one_is_let_in(store: ImageStore, shelf: Shelf, bearer: bool) -> None:
    """By name and password, or by a token got with them."""
    shelf.users, shelf.bearer = {"me": "pass:word"}, bearer
    shelf.add("v1")
    assert "pull access denied" in await why_not(store, shelf) if not bearer else True
    image = await pulled(store, shelf, Login("else", "x"), Login("me", "pass:word"))
    assert image.id == digest(CONFIG)
    if bearer:
        assert shelf.tokens[-1] == {"service": "here", "scope": "repository:team/app:pull", "account": "me"}


async def test_an_anonymous_token(store: ImageStore, shelf: Shelf) -> None:
    """As Docker's registry gives to everybody."""
    shelf.bearer = True
    shelf.add("v1")
    assert (await pulled(store, shelf)).id == digest(CONFIG)


async def test_what_broke_off_goes_on(store: ImageStore, shelf: Shelf) -> None:
    """From where it was, and over passing faults of the registry."""
    shelf.add("v1", pack=bytes)
    shelf.breaks = [1000, 2000]
    shelf.faults = [0, 0, 503, 0, 0, 429]
    image = await pulled(store, shelf)
    assert [Path(layer, "a").read_text() for layer in image.layer_dirs] == ["1", "2"]
    assert {headers.get("Range") for _, _, headers in shelf.seen} > {None}


async def test_elsewhere_the_login_is_not_told(store: ImageStore, shelf: Shelf) -> None:
    """A registry may send to another host for the blobs; that one does not get the token."""
    other = Shelf()
    shelf.bearer = True
    shelf.add("v1")
    other.blobs = shelf.blobs
    async with serving(other) as address:
        shelf.redirects_to = address
        await pulled(store, shelf)
    assert {path.rsplit("/", 2)[1] for _, path, _ in other.seen} == {"blobs"}
    assert not any("Authorization" in headers for _, _, headers in other.seen)


async def test_mirrors_are_asked_first(store: ImageStore, shelf: Shelf) -> None:
    """One that is down or lacks the image is passed over; pull secrets are not for mirrors."""
    mirror, empty = Shelf(), Shelf()
    mirror.add("v1")
    async with serving(mirror) as near, serving(empty) as none:
        known = config.parse({"mirrors": {"r.example.com": {"endpoint": [f"http://{none}", f"http://{near}"]}}})
        image = await Pulls(store, lambda: known, Clock()).pull("r.example.com/a/b:v1", [Login("me", "secret")])
    assert image.repo_tags == ("r.example.com/a/b:v1",)
    assert not any("Authorization" in headers for _, _, headers in [*mirror.seen, *empty.seen])


async def test_wrong_bytes_are_refused(store: ImageStore, shelf: Shelf) -> None:
    """A layer that is not what its digest says, one that is too long, a manifest under a wrong digest."""
    shelf.add("v1", pack=bytes)
    name = digest(LAYERS[1])
    good = shelf.blobs[name]
    shelf.blobs[name] = good[:-1] + b"x"
    assert (await why_not(store, shelf)).endswith(f"a blob's digest is {digest(shelf.blobs[name])}, not {name}")
    shelf.blobs[name] = good + b"x"
    assert "larger than the" in await why_not(store, shelf)
    shelf.blobs[name] = good
    inner = next(key for key, (kind, _) in shelf.manifests.items() if kind == OCI_MANIFEST and key != "v1")
    shelf.manifests[inner] = (OCI_MANIFEST, b"{}")
    assert f"the manifest's digest is {digest(b'{}')}, not {inner}" in await why_not(store, shelf)


async def test_a_compressed_bomb_is_refused(tmp_path: Path, shelf: Shelf) -> None:
    """What unpacks to more than an image may hold."""
    from sampan.node.images import unpack

    store = ImageStore(tmp_path / "images", unpack.Limits(total_bytes=20_000))
    shelf.add("v1")
    assert (await pulled(store, shelf)).size > 0
    small = ImageStore(tmp_path / "small", unpack.Limits(total_bytes=1))
    assert "larger than 1 bytes" in await why_not(small, shelf)


async def test_reasons(store: ImageStore, shelf: Shelf) -> None:
    """In containerd's words."""
    pull = 'failed to pull and unpack image "host/team/app:v1": failed to resolve reference "host/team/app:v1": '
    assert await why_not(store, shelf) == f"{pull}host/team/app:v1: not found"
    shelf.users = {"me": "x"}
    denied = "pull access denied, repository does not exist or may require authorization"
    assert await why_not(store, shelf) == pull + denied
    shelf.users, shelf.faults = {}, [500] * 9
    said = "unexpected status from GET request to http://host/v2/team/app/manifests/v1: 500 Internal Server Error"
    assert await why_not(store, shelf) == pull + said
    shelf.faults = []
    for kind, body, why in (
        ("application/json", {"schemaVersion": 1}, "manifests of schema version 1 are not supported"),
        (OCI_MANIFEST, {"schemaVersion": 2, "config": {"mediaType": "text/x"}, "layers": []}, "it is not a container"),
        (OCI_MANIFEST, {"schemaVersion": 2, "manifests": []}, "no match for platform in manifest: linux/"),
        (OCI_MANIFEST, {"schemaVersion": 2, "manifests": [], "layers": []}, "the image index is ambiguous"),
    ):
        shelf.put(json.dumps(body).encode(), kind, "v1")
        assert why in await why_not(store, shelf)
    with pytest.raises(ImageError, match=r"dial tcp 127\.0\.0\.1:9: connect: connection refused"):
        await Pulls(store, lambda: config.NONE, Clock()).pull("127.0.0.1:9/a")


async def test_strange_indexes_end(store: ImageStore, shelf: Shelf) -> None:
    """One inside the other for ever."""
    body = b"{}"
    for _ in range(6):
        tree = {"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, body)]}
        body = shelf.put(json.dumps(tree).encode(), OCI_MANIFEST, "v1")
    assert (await why_not(store, shelf)).endswith("the image index is nested too deeply")


async def test_containers_share_a_pull(store: ImageStore, shelf: Shelf) -> None:
    """Ten that want the same image at once ask the registry once."""
    shelf.add("v1")
    tasks = Tasks("test")
    async with serving(shelf) as address:
        puller = RegistryPuller(store, lambda: config.NONE, Clock(), tasks)
        container = {"image": f"{address}/a:v1", "imagePullPolicy": "Always"}
        assert not puller.is_needed({}, container, 0)  # not here; nothing to be renewed
        said = await asyncio.gather(*(puller.pull({}, container, (0, 1), ()) for _ in range(10)))
        assert (said, len(shelf.seen)) == ([""] * 10, 5)
        assert puller.is_needed({}, container, 0)
        assert "not found" in await puller.pull({}, {"image": f"{address}/b:v2"}, (0, 1), ())
    await tasks.close()


def test_the_first_file_that_is_there_says_where_images_come_from(tmp_path: Path) -> None:
    """A damaged one is said with its name."""
    own, shared = tmp_path / "own.yaml", tmp_path / "shared.yaml"
    assert registries([str(own), str(shared)]) == config.NONE
    shared.write_text("mirrors: {docker.io: {endpoint: [http://a]}}")
    assert registries([str(own), str(shared)]).endpoints("docker.io", "x")[0].url == "http://a/v2"
    own.write_text("mirrors: [")
    with pytest.raises(ImageError, match=r"own\.yaml: "):
        registries([str(own), str(shared)])


async def test_a_part_of_another_process_is_left_alone(store: ImageStore, shelf: Shelf) -> None:
    """Who comes second fetches into a file of its own."""
    shelf.add("v1")
    with download._locked(store.downloads, digest(CONFIG)):
        image = await pulled(store, shelf)
    assert image.id == digest(CONFIG)
