"""A stream shaped like Ubuntu's, republished for Incus."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
from datetime import date
from pathlib import Path

import pytest

from templater.cli.run_command_line import main
from templater.distribution import catalog_decoder, catalog_limits, signatures
from templater.distribution.add_to_tree import add
from templater.distribution.catalog_decoder import CLIENTS, IMAGES_PATH, INDEX_PATH, Item, Product, Version
from templater.distribution.client_image_list import Image, list_images
from templater.distribution.https_client import UrlStream
from templater.distribution.remove_and_prune import prune, remove
from templater.distribution.republish import Described, convert, republish
from templater.distribution.stream_interface import LocalStream
from templater.distribution.tree import Tree
from templater.distribution.verify import verify
from templater.distribution.web_server_redirects import prefix_of, rules
from templater.limit_option import parse
from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError, UsageError
from templater.serving.image_sources import TreeSource
from tests.streams.builders import CREATED, DAY, checked, listed, split_image, tarball
from tests.streams.killed import stopped_at_each_call
from tests.streams.mutations import HERE
from tests.streams.server import serving

pytestmark = pytest.mark.slow  # the fast tests have two minutes

ORIGIN = HERE / "ubuntu-shape/origin"
MIRROR = HERE / "ubuntu-shape/mirror"
PRODUCTS = "streams/v1/com.ubuntu.cloud:released:download.json"
NAME = "com.ubuntu.cloud:server:24.04:amd64"
OWN = "tiny:1:amd64:default"


@pytest.fixture
def origin(tmp_path, certificates, monkeypatch):
    """A copy of the recorded origin, to be changed, behind a server."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    folder = tmp_path / "origin"
    shutil.copytree(ORIGIN, folder)
    with serving(folder, certificates) as server:
        server.folder = folder
        yield server


def change(origin, function):
    path = origin.folder / PRODUCTS
    document = json.loads(path.read_text())
    function(document["products"][NAME])
    path.write_text(json.dumps(document))


def items(product):
    return product["versions"]["20260101"]["items"]


def written(tree):
    (path,) = (path for path in Path(tree.path, "streams/v1").iterdir() if path.name != "index.json")
    return json.loads(path.read_text())["products"][NAME]


def test_a_converted_lxd_product_has_the_catalog_items_that_incus_accepted():
    mine = convert(json.loads((ORIGIN / PRODUCTS).read_text()))[NAME]
    accepted = json.loads((MIRROR / IMAGES_PATH).read_text())["products"][NAME]
    wanted = {
        key: item
        for key, item in items(accepted).items()
        if key not in ("manifest", "squashfs.manifest", "ova", "vmdk")
    }
    assert items(mine) == wanted
    assert mine["variant"] == "default"
    assert mine["aliases"] == "ubuntu/24.04,ubuntu/n,ubuntu/noble,ubuntu/default,ubuntu/lts"
    assert set(mine["aliases"].split(",")) < set(accepted["aliases"].split(","))


def test_a_copied_stream_has_no_problem_for_incus_and_lxd_clients(origin, tree):
    made = republish(UrlStream(origin.url), tree, copying=True)
    report = verify(LocalStream(tree))
    assert not report.problems
    assert list(report.images.values()) == [4, 4, 4]
    assert (made.images, made.copied) == (4, 5)
    downloads = [path for path in origin.paths if path.startswith("/server")]
    assert len(downloads) == 5, "neither manifests nor other formats are downloaded"


@pytest.mark.slow
def test_copying_again_downloads_only_new_files(origin, tree):
    republish(UrlStream(origin.url), tree, copying=True)
    change(origin, lambda product: items(product).pop("squashfs"))
    assert republish(UrlStream(origin.url), tree, copying=True).copied == 0
    assert len(os.listdir(os.path.join(tree.path, "images"))) == 5
    prune(tree, grace=0)
    assert len(os.listdir(os.path.join(tree.path, "images"))) == 4
    assert not verify(LocalStream(tree)).problems


def test_republishing_with_redirects_does_not_copy_image_files(origin, tree, tmp_path):
    made = republish(UrlStream(origin.url), tree, redirects=str(tmp_path / "rules"))
    prefix = prefix_of(origin.url)
    assert all(
        item["path"].startswith(f"{prefix}/server/releases/") for item in items(written(tree)).values()
    )
    assert sorted(os.path.basename(path) for path in made.rules) == sorted(rules(origin.url))
    assert not [path for path in origin.paths if path.startswith("/server")], "no image file was asked for"
    assert not os.listdir(os.path.join(tree.path, "images"))
    assert made.warnings[0].startswith("only TLS protects the catalog of https://")


TEMPLATED = b"""\
architecture: x86_64
creation_date: 1767225600
templates:
  /etc/hostname:
    when: [create]
    template: hostname.tpl
  /etc/size:
    when: [start]
    template: size.tpl
"""


def with_templates(origin, data=b""):
    """Add templates to the origin's image, without new fingerprints.

    Only --copy compares the fingerprints.
    """
    (path,) = origin.folder.rglob("*-lxd.tar.xz")
    members = {
        "metadata.yaml": TEMPLATED,
        "templates": None,
        "templates/hostname.tpl": b"{{ instance.name }}\n",
    }
    path.write_bytes(data or tarball({**members, "templates/size.tpl": b"{{ 'x'|nosuch }}\n"}))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    change(
        origin, lambda product: items(product)["lxd.tar.xz"].update(sha256=digest, size=path.stat().st_size)
    )


@pytest.fixture
def command(capsys):
    """Run a command and return its standard output."""

    def run(*words):
        code = main(list(words))
        out, err = capsys.readouterr()
        assert code in (0, 5), err
        return out

    return run


def test_the_reindex_command_downloads_only_the_image_metadata_for_its_tables(
    origin, tree, tmp_path, command
):
    with_templates(origin)
    (path,) = origin.folder.rglob("*-lxd.tar.xz")
    shown = command("streams", "reindex", origin.url, tree.path, "--redirect", str(tmp_path / "rules"))
    files = [path for path in origin.paths if path.startswith("/server")]
    assert len(files) == 2, "the metadata, for the container images and for the virtual machine images"
    assert set(files) == {f"/{path.relative_to(origin.folder)}"}
    expected = command("preview", str(path), "--as", "all", "-t", "create,start")
    assert "nosuch" in expected
    container, machine = shown.split("\n\n")
    assert container == f"==> {NAME} 20260101 (container)\n{expected}".rstrip("\n")
    expected = command("preview", str(path), "--as", "all", "-t", "create,start", "--type", "virtual-machine")
    assert machine == f"==> {NAME} 20260101 (virtual-machine)\n{expected}"


def test_no_image_file_is_downloaded_without_tables(origin, tree, tmp_path, command):
    rules = str(tmp_path / "rules")
    assert command("streams", "reindex", origin.url, tree.path, "--redirect", rules, "--no-tables") == ""
    assert not [path for path in origin.paths if path.startswith("/server")]


def test_tables_come_from_metadata_without_a_second_download(origin, tree, command):
    shown = command("streams", "reindex", origin.url, tree.path, "--copy")
    assert len([path for path in origin.paths if path.startswith("/server")]) == 5
    assert shown.count("\n/etc/hostname ") == 2, "one table for containers, one for virtual machines"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), "has the sha256"),
        (lambda path: path.unlink(), "the metadata is missing at the origin"),
    ],
    ids=["damaged", "missing"],
)
def test_unreadable_metadata_gives_a_note_instead_of_a_table(origin, tree, tmp_path, command, damage, said):
    with_templates(origin)
    (path,) = origin.folder.rglob("*-lxd.tar.xz")
    damage(path)
    shown = command("streams", "reindex", origin.url, tree.path, "--redirect", str(tmp_path / "rules"))
    assert "no table: " in shown
    assert said in shown


def test_the_streams_reindex_command_predicts_a_failed_start_for_invalid_metadata(
    origin, tree, tmp_path, command
):
    with_templates(origin, tarball({"metadata.yaml": b"templates: [\n"}))
    rules = str(tmp_path / "rules")
    assert "start fails" in command("streams", "reindex", origin.url, tree.path, "--redirect", rules)


def test_republishing_requires_the_copy_or_redirect_option(origin, tree):
    with pytest.raises(UsageError, match=r"^give either --redirect or --copy$") as caught:
        republish(UrlStream(origin.url), tree)
    assert (
        caught.value.hint
        == "--redirect DIR leaves the image files at the origin; --copy copies them into the tree"
    )
    assert not os.path.exists(tree.path)
    assert not origin.requests


def test_lxd_requirements_become_requirements_for_incus(origin, tree, tmp_path):
    change(
        origin,
        lambda product: product.update(lxd_requirements={"secureboot": "false"}, requirements={"a": "b"}),
    )
    republish(UrlStream(origin.url), tree, redirects=str(tmp_path / "rules"))
    assert written(tree)["requirements"] == {"secureboot": "false"}


def test_republishing_keeps_the_existing_products_of_the_tree(origin, tree, tmp_path):
    shutil.copytree(HERE / "example", tree.path)
    made = republish(UrlStream(origin.url), tree, copying=True)
    report = verify(LocalStream(tree))
    assert not report.problems
    # both trees have one equal image: clients could not download an image that is listed twice
    assert list(report.images.values()) == [7, 7, 7]
    assert "because the tree already has it: e8b3e797" in made.warnings[-1]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "has the sha256"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "is larger than"),
        (lambda path: path.unlink(), "is missing"),
    ],
    ids=["damaged", "longer", "missing"],
)
def test_nothing_is_published_if_an_origin_file_differs_from_the_catalog(origin, tree, damage, said):
    (path,) = origin.folder.rglob("*.squashfs")
    damage(path)
    with pytest.raises((InputError, RefusedError), match=said):
        republish(UrlStream(origin.url), tree, copying=True)
    assert not os.path.exists(os.path.join(tree.path, "streams/v1/index.json"))
    assert not [name for name in os.listdir(os.path.join(tree.path, "images")) if name.startswith(".")]


def add_own(tree, tmp_path):
    first, second = split_image(tmp_path / "own")
    add(tree, first, [second])


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("part", ["images", "streams/v1"])
def test_a_tree_keeps_its_catalog_after_a_full_disk(origin, tree, tmp_path, monkeypatch, part, call):
    add_own(tree, tmp_path)
    before = {path: path.read_bytes() for path in Path(tree.path).rglob("*") if path.is_file()}
    original, place = getattr(os, call), os.path.join(os.path.realpath(tree.path), part)

    def full(fd, *arguments):
        if os.readlink(f"/proc/self/fd/{fd}").startswith(place):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(fd, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(TemplaterError, match="no space left on device") as raised:
            republish(UrlStream(origin.url), tree, copying=True)
    assert raised.value.exit_code == 6
    after = {path: path.read_bytes() for path in Path(tree.path).rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if path in before} == before
    assert {path.parent.name for path in after.keys() - before.keys()} <= {"images"}
    checked(tree)
    republish(UrlStream(origin.url), tree, copying=True)
    assert not verify(LocalStream(tree)).problems


# the child only changes files, and ends without running anything of pytest's
@pytest.mark.in_memory
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("copying", [True, False], ids=["copy", "redirect"])
def test_a_tree_stays_valid_if_reindex_stops_anywhere(origin, tree, tmp_path, copying):
    """The test kills the writer at every system call that changes a name, so the writer cannot clean up."""
    add_own(tree, tmp_path)
    shutil.copytree(tree.path, tmp_path / "before")
    rules = tmp_path / "rules"

    def reindex():
        republish(
            UrlStream(origin.url), Tree(tree.path), copying=copying, redirects=None if copying else str(rules)
        )

    for moment in stopped_at_each_call(reindex):
        problems = [each for each in verify(LocalStream(Tree(tree.path))).problems if each.code != "stray"]
        assert {each.code for each in problems} <= (
            {"index-products"} if copying else {"index-products", "missing"}
        )
        assert OWN in json.loads(tree.read(IMAGES_PATH))["products"]
        assert not any(OWN in each.place for each in problems)
        reindex()
        assert len(json.loads(tree.read(INDEX_PATH))["index"]) == 2
        if copying:
            prune(tree, grace=0)
            prune(tree, grace=0)
            assert not verify(LocalStream(tree)).problems
        shutil.rmtree(tree.path)
        shutil.copytree(tmp_path / "before", tree.path)
        shutil.rmtree(rules, ignore_errors=True)
    assert moment > 5


def test_a_wrong_fingerprint_at_the_origin_is_refused(origin, tree):
    change(origin, lambda product: items(product)["lxd.tar.xz"].update(combined_squashfs_sha256="0" * 64))
    with pytest.raises(RefusedError, match="have the fingerprint"):
        republish(UrlStream(origin.url), tree, copying=True)


def remove_fingerprints(product):
    for key in [key for key in items(product)["lxd.tar.xz"] if key.startswith("combined")]:
        del items(product)["lxd.tar.xz"][key]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda product: product.update(aliases=["a"]), "invalid catalog at the origin.*not a string"),
        (lambda product: product.update(ALIASES="a"), "upper case"),
        (lambda product: product.update(versions={"20260101": None}), "no image"),
        (lambda product: product.update(arch="all"), "no image"),
        (remove_fingerprints, "no image"),
        (lambda product: items(product)["lxd.tar.xz"].update(path="../../secret"), "no image"),
        (lambda product: items(product)["lxd.tar.xz"].update(sha256="../../secret"), "no image"),
        (lambda product: items(product).update({str(n): {"ftype": "squashfs"} for n in range(300)}), "more than 200 items"),
    ],
    ids=["type", "case", "null", "arch", "fingerprints", "path", "sha256", "items"],
)  # fmt: skip
def test_a_hostile_catalog_gives_one_clear_error_and_is_not_published(origin, tree, function, said):
    change(origin, function)
    with pytest.raises(Exception, match=said) as raised:
        republish(UrlStream(origin.url), tree, copying=True)
    assert raised.value.exit_code in (2, 4)
    assert not Path(tree.path, "streams/v1/index.json").exists()


@pytest.mark.parametrize(
    "base",
    [
        "https://h/a b",
        'https://h/"',
        "https://h/{a}",
        "https://h/;",
        "https://h/$x",
        "https://h/../x",
        "https://h/a\nb",
        "https://h/#",
        "https://images",
        "https://index",
    ],
)
def test_an_address_is_refused_if_it_could_inject_server_configuration(base):
    with pytest.raises(UsageError):
        rules(base)


def test_a_product_of_the_same_name_keeps_its_images(origin, tree, tmp_path):
    path = origin.folder / PRODUCTS
    text = path.read_text().replace(NAME, OWN).replace('"20260101"', '"20991231"')
    path.write_text(text)
    index = origin.folder / INDEX_PATH
    index.write_text(index.read_text().replace(NAME, OWN))
    metadata, root = split_image(tmp_path / "first")
    first = add(tree, metadata, [root])
    republish(UrlStream(origin.url), tree, copying=True)
    metadata, root = split_image(tmp_path / "second", created=CREATED + DAY)
    second = add(tree, metadata, [root])
    assert second.product == first.product == OWN
    assert not second.warnings
    assert second.aliases == first.aliases
    republish(UrlStream(origin.url), tree, copying=True)
    prune(tree, grace=0)
    report = checked(tree)
    assert list(report.images.values()) == [6, 6, 6]
    for client in CLIENTS:
        (selected,) = (image for image in listed(tree, client) if "tiny/1" in image.aliases)
        assert selected.fingerprint == second.fingerprints[0]
    for _ in range(2):  # first the tree's own product, and then the republished product
        assert {name for name, _ in remove(tree, [OWN]).versions} == {OWN}
    assert not listed(tree, "lxd")


def test_a_republished_product_gets_no_alias_of_another_product(origin, tree):
    republish(UrlStream(origin.url), tree, copying=True)
    (alias, *others) = written(tree)["aliases"].split(",")
    assert others
    own = Tree(f"{tree.path}.own")
    shutil.copytree(tree.path, own.path)
    # the same products under another name, with the content of other images
    (path,) = (path for path in Path(own.path, "streams/v1").iterdir() if path.name != "index.json")
    document = json.loads(path.read_text())
    document["products"] = {"mine": {**document["products"][NAME], "aliases": alias}}
    for version in document["products"]["mine"]["versions"].values():
        for item in version["items"].values():
            for key in [key for key in item if "sha256" in key]:
                item[key] = hashlib.sha256(item[key].encode()).hexdigest()
    path.with_name("images.json").write_text(json.dumps(document))
    path.unlink()
    index = Path(own.path, INDEX_PATH)
    index.write_text(index.read_text().replace(path.stem, "images"))
    for _ in range(2):
        made = republish(UrlStream(origin.url), own, copying=True)
        assert f"did not set the alias '{alias}', which belongs to 'mine'" in made.warnings
        file = Path(own.path, "streams/v1", path.name)
        assert json.loads(file.read_text())["products"][NAME]["aliases"] == ",".join(others)
    change(origin, lambda product: product.update(arch="arm64"))
    republish(UrlStream(origin.url), own, copying=True)
    assert alias in json.loads(file.read_text())["products"][NAME]["aliases"].split(",")


@pytest.mark.parametrize(
    ("words", "expected"), [([], [6, 3, 1]), (["time=4"], [4, 1]), (["time=14"], [14, 11, 8, 5, 2])]
)
def test_all_tables_share_one_limit_on_processor_time(words, expected, monkeypatch, capsys):
    from templater.cli.commands.streams import reindex

    def table_of(origin, described, limits):
        totals.append(limits.rendering["total"])
        spent.append(3)
        return f"table of {described.image.product.name}\n"

    spent, totals = [], []
    monkeypatch.setattr(reindex, "processor_seconds", lambda: 100 + sum(spent))
    monkeypatch.setattr(reindex, "table_of", table_of)
    version, day = Version("20260101"), date(2026, 1, 1)
    images = [
        Image(
            Product(f"p{n}"), version, "squashfs", "container", "x86_64", "", Item(sha256=str(n)), None, day
        )
        for n in range(5)
    ]
    reindex.write_tables(None, [Described(image, "") for image in images], parse(words))
    assert totals == expected, "a table gets the rest of the time"
    out = capsys.readouterr().out
    assert [f"table of p{n}" in out for n in range(5)] == [n < len(expected) for n in range(5)]
    late = [f"==> p{n} 20260101 (container)\n" for n in range(len(expected), 5)]
    assert out.endswith("".join(late) + reindex._LATE if late else "table of p4\n")


@pytest.mark.parametrize(
    ("size", "said"), [(1 << 62, "announces 4611686018427387904 bytes"), (0, "is larger than 1000 b")]
)
def test_copying_stops_at_the_byte_limit(origin, tree, monkeypatch, size, said):
    monkeypatch.setattr("templater.distribution.republish.MOST_BYTES", 1000)
    change(origin, lambda product: items(product)["squashfs"].update(size=size))
    (path,) = origin.folder.rglob("*.squashfs")
    path.write_bytes(bytes(2000))
    with pytest.raises((LimitError, RefusedError), match=said):
        republish(UrlStream(origin.url), tree, copying=True)
    assert not [name for name in os.listdir(os.path.join(tree.path, "images")) if name.startswith(".")]


def test_an_empty_products_file_has_no_images(origin, tree):
    (origin.folder / PRODUCTS).write_text("null")
    with pytest.raises(InputError, match="publishes no images"):
        republish(UrlStream(origin.url), tree, copying=True)


def test_republishing_a_catalog_above_the_total_size_limit_is_refused(origin, tree, monkeypatch):
    monkeypatch.setattr(catalog_decoder, "MOST_BYTES_OF_ALL", (origin.folder / PRODUCTS).stat().st_size)
    with pytest.raises(LimitError, match=r"^the catalog has more than 0 MiB$"):
        republish(UrlStream(origin.url), tree, copying=True)


@pytest.mark.parametrize("limit", ["MOST_OF_CATALOG", "MOST_OF_LISTS"])
def test_attack_82_republishing_never_makes_servers_refuse_the_tree(
    origin, tree, tmp_path, monkeypatch, limit
):
    """With one hostile origin, `templater serve` served no image of the tree any more."""
    meta, root = split_image(tmp_path / "own")
    add(tree, meta, [root])
    size = sum(len(tree.read(path)) for path in (INDEX_PATH, IMAGES_PATH))
    monkeypatch.setattr(catalog_limits, limit, size)
    before = tree.read(INDEX_PATH)
    with pytest.raises(LimitError, match=r"^the (catalog has|image lists .* have) more than 0 MiB$"):
        republish(UrlStream(origin.url), tree, redirects=str(tmp_path / "rules"))
    assert tree.read(INDEX_PATH) == before
    assert TreeSource(tree.path).load().images


class Counted(dict):
    """An object of a catalog that counts how often its values are read."""

    def __init__(self, *values, **fields):
        super().__init__(*values, **fields)
        self.reads = 0

    def __getitem__(self, key):
        self.reads += 1
        return super().__getitem__(key)

    def values(self):
        self.reads += 1
        return super().values()


def test_work_per_item_does_not_grow_with_the_catalog():
    found = {str(number): Counted(ftype="lxd.tar.xz") for number in range(100)}
    (product,) = convert({"products": {"p": {"versions": {"20260101": {"items": found}}}}}).values()
    assert len(items(product)) == 101
    assert max(item.reads for item in items(product).values() if isinstance(item, Counted)) <= 5
    listed = Counted({str(number): Item("incus.tar.xz") for number in range(100)})
    product = Product("p", arch="amd64", versions={"20260101": Version("20260101", items=listed)})
    assert [dropped.code for dropped in list_images([product], "incus-7")[1]] == ["no-root"]
    assert listed.reads <= 5


def gpg(home, *words, **options):
    return subprocess.run(
        ["gpg", "--homedir", str(home), "--batch", *words], check=True, capture_output=True, **options
    )


@pytest.fixture
def signed(origin, tmp_path):
    """Sign the origin's catalog; return the keyring."""
    if shutil.which("gpg") is None or shutil.which("gpgv") is None:
        pytest.skip("needs gpg, gpgv")
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg(home, "--passphrase", "", "--quick-gen-key", "publisher", "ed25519", "sign", "never")
    for name in ("index.json", PRODUCTS.rpartition("/")[2]):
        path = origin.folder / "streams/v1" / name
        gpg(home, "--clearsign", "-o", str(path.with_suffix(".sjson")), str(path))
    keyring = tmp_path / "keyring.gpg"
    keyring.write_bytes(gpg(home, "--export").stdout)
    yield keyring
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


def test_republishing_reads_only_signed_catalogs_if_a_keyring_is_given(origin, tree, signed):
    change(origin, lambda product: product.update(aliases="evil"))  # the unsigned twin
    made = republish(UrlStream(origin.url), tree, copying=True, keyring=str(signed))
    assert "evil" not in written(tree)["aliases"]
    assert not made.warnings
    assert not [path for path in origin.paths if path.endswith(".json")]


def test_a_signed_catalog_is_refused_after_a_change(origin, tree, signed):
    path = (origin.folder / PRODUCTS).with_suffix(".sjson")
    path.write_text(path.read_text().replace("noble", "nabla"))
    with pytest.raises(RefusedError, match="no valid signature") as caught:
        republish(UrlStream(origin.url), tree, copying=True, keyring=str(signed))
    assert caught.value.hint == "the keyring must be binary: gpg --export KEY > keyring.gpg"
    assert not os.path.exists(tree.path)


def test_text_outside_the_signed_part_of_a_catalog_is_ignored(origin, tree, signed):
    path = (origin.folder / "streams/v1/index.json").with_suffix(".sjson")
    path.write_text('{"index": {}}\n' + path.read_text() + '{"index": {}}\n')
    republish(UrlStream(origin.url), tree, copying=True, keyring=str(signed))
    assert written(tree)


def test_unpacking_a_signed_text_stops_at_the_size_limit(origin, tree, signed, tmp_path, monkeypatch):
    monkeypatch.setattr(signatures, "MOST_BYTES", 1 << 16)
    path = origin.folder / "streams/v1/index.sjson"
    text = tmp_path / "text"
    text.write_bytes(bytes(1 << 20))
    gpg(tmp_path / "gnupg", "--yes", "--sign", "-o", str(path), str(text))
    assert path.stat().st_size < 1 << 14
    with pytest.raises(LimitError, match=r"the signed text of '.*index.sjson' has more than 0 MiB"):
        republish(UrlStream(origin.url), tree, copying=True, keyring=str(signed))


def test_a_signature_by_an_unknown_key_is_refused(origin, tree, signed, tmp_path):
    other = tmp_path / "other.gpg"
    other.write_bytes(b"")
    with pytest.raises(RefusedError, match="no valid signature") as caught:
        republish(UrlStream(origin.url), tree, copying=True, keyring=str(other))
    assert caught.value.hint == "the keyring must be binary: gpg --export KEY > keyring.gpg"
    with pytest.raises(InputError, match=r"^the keyring '.*' is not a file$"):
        republish(UrlStream(origin.url), tree, copying=True, keyring=str(tmp_path / "none"))
    (origin.folder / "streams/v1/index.sjson").unlink()
    with pytest.raises(InputError, match=r"index.sjson' is missing"):
        republish(UrlStream(origin.url), tree, copying=True, keyring=str(signed))


def shared_root(origin, number):
    """Give the origin a number of versions whose images share one root filesystem."""
    product = {"arch": "amd64", "os": "tiny", "release": "1", "variant": "default", "versions": {}}
    root = b"root"
    (origin.folder / "root").write_bytes(root)
    for each in range(number):
        first = b"metadata %d" % each
        (origin.folder / f"first{each}").write_bytes(first)
        digests = {data: hashlib.sha256(data).hexdigest() for data in (first, root, first + root)}
        product["versions"][f"202601{each + 1:02}"] = {
            "items": {
                "incus.tar.xz": {
                    "ftype": "incus.tar.xz", "path": f"first{each}", "size": len(first),
                    "sha256": digests[first], "combined_squashfs_sha256": digests[first + root],
                },
                "squashfs": {"ftype": "squashfs", "path": "root", "size": 4, "sha256": digests[root]},
            }
        }  # fmt: skip
    path = origin.folder / PRODUCTS
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "products": {NAME: product}}))


def test_a_copied_root_filesystem_of_several_images_is_hashed_once(origin, tree, monkeypatch):
    shared_root(origin, 16)
    read = []
    pieces = Tree.pieces
    monkeypatch.setattr(Tree, "pieces", lambda tree, path: read.append(path) or pieces(tree, path))
    assert republish(UrlStream(origin.url), tree, copying=True).images == 16
    assert len(read) == len(set(read)) == 17


def test_too_many_images_cannot_share_a_root_filesystem(origin, tree):
    shared_root(origin, 17)
    with pytest.raises(InputError, match=r"^more than 16 images use the root filesystem of 'com\.ubuntu"):
        republish(UrlStream(origin.url), tree, copying=True)
    assert not Path(tree.path, INDEX_PATH).exists()


def test_a_stream_is_not_republished_with_too_long_paths(origin, tree, tmp_path):
    """The path had 4,090 characters at the origin, and more with the prefix of the origin."""
    long = "/".join(["x" * 200] * 20)
    change(origin, lambda product: items(product)["squashfs"].update(path=f"{long}/{'y' * 70}"))
    meta, root = split_image(tmp_path / "own")
    add(tree, meta, [root])
    before = tree.read(INDEX_PATH)
    with pytest.raises(LimitError, match="path has more than 4096 characters"):
        republish(UrlStream(origin.url), tree, redirects=str(tmp_path / "rules"))
    assert tree.read(INDEX_PATH) == before
    checked(tree)
