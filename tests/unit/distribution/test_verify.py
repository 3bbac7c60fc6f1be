import hashlib
import json
import os
import tracemalloc
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from templater.cli.commands.streams.list import table
from templater.cli.commands.streams.verify import lines
from templater.distribution import catalog_limits, products_by_line, verify_report
from templater.distribution import verify as verify_module
from templater.distribution.add_to_tree import add
from templater.distribution.catalog_decoder import IMAGES_PATH, INDEX_PATH, Decoded, Item, Product, Version
from templater.distribution.client_image_list import Image, Unsorted, unsorted_part
from templater.distribution.list_stream import Listed, list_stream
from templater.distribution.products_by_line import dump_products
from templater.distribution.stream_interface import LocalStream
from templater.distribution.stream_web_page import page
from templater.distribution.tree import Tree
from templater.distribution.verify import image_problems, verify
from templater.model.errors import InputError, LimitError
from tests.bench.streams import make_tree
from tests.processor_time import ends_within
from tests.streams.builders import CREATED, DAY, checked, split_image, squashfs, unified_image
from tests.streams.mutations import CASES, HERE, MORE_CASES


@pytest.fixture
def tree(tmp_path):
    tree = Tree(str(tmp_path / "tree"))
    for number in range(2):
        meta, root = split_image(tmp_path / "image", created=CREATED + number * DAY, root=squashfs(number))
        add(tree, meta, [root])
    return tree


def codes(tree, **options):
    report = verify(LocalStream(tree), **options)
    return {(problem.level, problem.code) for problem in report.problems}


def change(tree, path, function):
    document = json.loads(tree.read(path))
    function(document)
    Path(tree.path, path).write_text(json.dumps(document))


def item(document, key="squashfs", version="20260101_0000"):
    return document["products"]["tiny:1:amd64:default"]["versions"][version]["items"][key]


def file_of(tree, key):
    return Path(tree.path, item(json.loads(tree.read(IMAGES_PATH)), key)["path"])


@pytest.mark.parametrize("path", [INDEX_PATH, IMAGES_PATH])
def test_clients_use_the_last_text_of_a_repeated_key(tree, path):
    before = verify(LocalStream(tree)).images
    file = Path(tree.path, path)
    for key in ("format", "\\u0066ormat"):
        file.write_text(file.read_text().replace("{", f'{{"{key}":"products:1.0",', 1))
    report = verify(LocalStream(tree))
    (found,) = report.problems
    assert (found.level, found.code, found.place) == ("warning", "repeated-key", f"'{path}'")
    assert found.message == "the key 'format' occurs twice in an object; clients use the last value"
    assert report.images == before


def test_the_last_value_of_a_repeated_key_applies(tree):
    file = Path(tree.path, IMAGES_PATH)
    text = json.dumps(json.loads(file.read_text()))
    for first in ("other", "squashfs"):
        file.write_text(text.replace('"ftype": "squashfs"', f'"ftype": "{first}", "ftype": "squashfs"'))
        assert codes(tree) == {("warning", "repeated-key")}
    file.write_text(text.replace('"ftype": "squashfs"', '"ftype": "squashfs", "ftype": "other"'))
    assert ("error", "no-root") in codes(tree)


@pytest.mark.parametrize(
    ("first", "key"),
    [('"products": {}', "products"), ('"products": null', "products"), ('"format": 1', "format"), ('"format": null', "format")],
)  # fmt: skip
def test_values_that_clients_would_combine_are_an_error(tree, first, key):
    file = Path(tree.path, IMAGES_PATH)
    file.write_text(file.read_text().replace("{", f"{{{first},", 1))
    report = verify(LocalStream(tree))
    (found,) = [each for each in report.problems if each.level == "error"]
    assert (found.code, found.message) == (
        "combined-keys",
        f"'{IMAGES_PATH}': the key '{key}' occurs twice in an object: the client combines both values",
    )
    assert "incus-6.0 is not predicted, incus-7 is not predicted" in "\n".join(lines(report, report.problems))


@pytest.mark.parametrize(
    ("datatypes", "levels"),
    [
        (["image-downloads"], []),
        (["image-downloads", "image-ids", "content-download"], ["warning", "warning"]),
        (["image-downloads", "image-download"], ["error"]),
        (["image-ids"], ["error"]),
        (["Image-Downloads"], ["error"]),
        ([""], ["error"]),
    ],
)
def test_a_misspelled_datatype_is_an_error(tree, datatypes, levels):
    def entries(document):
        (entry,) = document["index"].values()
        document["index"] = {
            str(number): {**entry, "datatype": name} for number, name in enumerate(datatypes)
        }

    change(tree, INDEX_PATH, entries)
    report = verify(LocalStream(tree))
    assert [each.level for each in report.problems if each.code == "datatype"] == levels
    assert bool(report.errors()) == ("error" in levels)


def delta(kind, base):
    return {"ftype": f"{kind}.vcdiff", "path": "d", "size": 1, "sha256": "0" * 64, "delta_base": base}


@pytest.mark.parametrize(
    ("kind", "base", "found"),
    [
        ("squashfs", "20260101_0000", {}),
        ("manifest", "20250101_0000", {}),
        (
            "squashfs", "20250101_0000",
            {("incus-6.0", "incus-7", "lxd"): "no client applies this delta: unknown version '20250101_0000'"},
        ),
        (
            "disk-kvm.img", "20260101_0000",
            {
                ("incus-6.0", "incus-7"): "the client never applies this delta: Incus has a bug with deltas of virtual machines",
                ("lxd",): "the client never applies this delta: version '20260101_0000' has no file of type 'lxd.tar.xz' with the key 'combined_disk-kvm-img_sha256'",
            },
        ),
    ],
)  # fmt: skip
def test_verify_says_which_clients_never_apply_a_delta(tree, kind, base, found):
    change(
        tree, IMAGES_PATH,
        lambda document: document["products"]["tiny:1:amd64:default"]["versions"]["20260102_0000"]["items"].update(
            d=delta(kind, base)
        ),
    )  # fmt: skip
    deltas = [each for each in verify(LocalStream(tree)).problems if each.code == "delta"]
    assert {each.clients: each.message for each in deltas} == found
    assert all(each.level == "warning" and each.place.endswith("item 'd'") for each in deltas)


def test_the_verify_command_reports_a_truncated_root_filesystem(tree):
    file_of(tree, "squashfs").write_bytes(b"hsqs")
    assert {("error", "hash"), ("warning", "size")} <= codes(tree)
    assert codes(tree, metadata_only=True) == {("warning", "size")}


def test_metadata_only_verification_misses_damage_of_the_same_size(tree):
    file_of(tree, "squashfs").write_bytes(b"x" * 96)
    assert ("error", "hash") in codes(tree)
    assert not codes(tree, metadata_only=True)


def test_a_damaged_metadata_tarball_is_reported_if_verify_skips_root_filesystems(tree):
    path = file_of(tree, "incus.tar.xz")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert ("error", "hash") in codes(tree, metadata_only=True)


def test_the_verify_command_reports_a_missing_file(tree):
    file_of(tree, "squashfs").unlink()
    assert codes(tree, metadata_only=True) == {("error", "missing")}
    (found,) = verify(LocalStream(tree), metadata_only=True).problems
    assert found.message == "the image can't be downloaded: the file is missing"


def test_a_missing_unrequested_file_gives_only_a_warning(tree):
    file_of(tree, "squashfs").unlink()
    change(
        tree, IMAGES_PATH, lambda document: document["products"]["tiny:1:amd64:default"].update(arch="vax")
    )
    (found,) = [each for each in verify(LocalStream(tree)).problems if each.code == "missing"]
    assert (found.level, found.message) == ("warning", "the file is missing; no client requests this file")


def test_a_wrong_fingerprint_of_undamaged_files_is_reported(tree):
    for key in ("incus.tar.xz", "lxd.tar.xz"):
        change(tree, IMAGES_PATH, lambda d, key=key: item(d, key).update(combined_squashfs_sha256="0" * 64))
    assert ("error", "combined") in codes(tree)


def test_verify_warns_about_a_file_without_a_product(tree):
    Path(tree.path, "images", "0" * 64 + ".squashfs").write_bytes(b"")
    assert codes(tree) == {("warning", "stray")}


@pytest.mark.parametrize("path", ["../outside", "/../outside", "a\0b", "images/../../outside"])
def test_paths_out_of_the_tree_are_reported_but_not_opened(tree, tmp_path, path):
    (tmp_path / "outside").write_bytes(b"x")
    change(tree, IMAGES_PATH, lambda document: item(document).update(path=path))
    assert ("error", "path") in codes(tree)


@pytest.mark.parametrize("kind", ["symlink", "directory link", "fifo", "directory"])
def test_a_link_or_special_file_is_not_opened(tree, tmp_path, kind):
    path = file_of(tree, "squashfs")
    data = path.read_bytes()
    path.unlink()
    if kind == "symlink":
        (tmp_path / "outside").write_bytes(data)
        path.symlink_to(tmp_path / "outside")
    elif kind == "directory link":
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "file").write_bytes(data)
        Path(tree.path, "link").symlink_to(tmp_path / "outside")
        change(tree, IMAGES_PATH, lambda document: item(document).update(path="link/file"))
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert ("error", "unreadable") in codes(tree)


def test_verify_follows_a_symlink_inside_the_tree(tree):
    path = file_of(tree, "squashfs")
    path.rename(path.parent / "real")
    path.symlink_to("real")
    assert not codes(tree)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"aliases": "tiny/1,tiny 1"}, ("error", "alias-blank")),
        ({"aliases": "tiny/1,"}, ("error", "alias-blank")),
        ({"support_eol": "next year"}, ("warning", "support-eol")),
    ],
)
def test_the_verify_command_reports_invalid_fields_of_a_product(tree, fields, problem):
    assert not codes(tree)
    change(tree, IMAGES_PATH, lambda document: document["products"]["tiny:1:amd64:default"].update(fields))
    assert codes(tree) == {problem}


def test_product_files_with_the_same_base_name_are_reported(tree):
    Path(tree.path, "other").mkdir()
    Path(tree.path, "other/images.json").write_text('{"products": {}}')
    entry = {"datatype": "image-downloads", "path": "other/images.json", "products": ["x"]}
    change(tree, INDEX_PATH, lambda document: document["index"].update(other=entry))
    assert ("error", "cache-name") in codes(tree)


def test_a_tree_without_an_index_fails_for_every_client(tmp_path):
    report = verify(LocalStream(Tree(str(tmp_path))))
    assert report.images == {"incus-6.0": None, "incus-7": None, "lxd": None}
    assert [problem.code for problem in report.errors()] == ["index"]


def test_lxd_images_are_an_error_only_for_incus_clients():
    report = verify(LocalStream(Tree(str(HERE / "ubuntu-shape/origin"))))
    assert not report.errors(("lxd",))
    assert {problem.code for problem in report.errors(("incus-6.0",))} == {"other-family"}
    assert list(report.images.values()) == [0, 0, 4]


def test_a_tree_has_no_problems_after_all_its_images_were_removed(tree):
    from templater.distribution.remove_and_prune import remove

    remove(tree, ["tiny:1:amd64:default"])
    assert not checked(tree).images["lxd"]


def test_aliases_are_listed_only_for_the_newest_version(tree):
    newest, oldest = list_stream(LocalStream(tree))
    assert (newest.version, newest.aliases) == ("20260102_0000", ("tiny/1", "tiny/1/default"))
    assert (oldest.version, oldest.aliases) == ("20260101_0000", ())
    assert newest.clients == ("incus-6.0", "incus-7", "lxd")


def add_rival(tree, **fields):
    """Add a second product with the same aliases and another image."""

    def rival(document):
        product = json.loads(json.dumps(document["products"]["tiny:1:amd64:default"]))
        product.update(fields)
        for version in product["versions"].values():
            for item in version["items"].values():
                item.update({name: "f" * 64 for name in item if name.startswith("combined_")})
        document["products"]["rival"] = product

    change(tree, IMAGES_PATH, rival)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"release": "2"}, {"alias-taken"}),
        ({"release": ""}, {"alias-random", "release"}),
        ({"os": ""}, {"alias-random", "os"}),
        ({"variant": ""}, {"alias-random", "variant"}),
        ({}, {"alias-random"}),
    ],
)
def test_an_alias_for_a_random_image_is_an_error(tree, fields, found):
    add_rival(tree, **fields)
    codes_found = {code for _, code in codes(tree)}
    assert codes_found & {"alias-taken", "alias-random", "os", "release", "variant"} == found
    images = list_stream(LocalStream(tree))
    marked = [name for image in images for name in image.data()["random_aliases"]]
    assert bool(marked) == ("alias-random" in found)
    assert ("tiny/1 (random)" in table(images)) == bool(marked)
    assert ("<code>tiny/1 (random)</code>" in page(images, "")) == bool(marked)


def test_the_web_page_escapes_text_from_the_catalog(tree):
    def attack(document):
        product = document["products"]["tiny:1:amd64:default"]
        product.update(os="<script>", release='"', variant="\x1b[31m", aliases="</code><img src=x>")

    change(tree, IMAGES_PATH, attack)
    text = page(list_stream(LocalStream(tree)), title="<title>")
    assert "<script>" not in text
    assert "<img" not in text
    assert "\x1b" not in text
    assert "&lt;script&gt;" in text
    assert "<h1>&lt;title&gt;</h1>" in text


def test_the_web_page_has_a_row_for_each_image():
    facts = {
        "product": "p",
        "kind": "squashfs",
        "clients": (),
        "os": "Tiny",
        "release": "1",
        "variant": "default",
    }
    facts |= {"version": "20260101_0000", "type": "container", "architecture": "amd64"}
    facts["fingerprint"] = "0123456789ab" + "c" * 52
    images = [Listed(**facts, aliases=("a", "b"), size=3 << 19), Listed(**facts, aliases=(), size=1 << 30)]
    rows = [line for line in page(images, "Images").splitlines() if line.startswith("<tr><td>")]
    start = "<tr><td>Tiny 1 default</td><td>"
    middle = "</td><td>container</td><td>amd64</td><td>20260101_0000</td>"
    end = f'<td><code title="0123456789ab{"c" * 52}">0123456789ab</code></td></tr>'
    assert rows == [
        f'{start}<code>a</code>, <code>b</code>{middle}<td class="number">1.5 MiB</td>{end}',
        f'{start}{middle}<td class="number">1024.0 MiB</td>{end}',
    ]


def test_a_far_too_large_file_is_not_fully_read(tree, monkeypatch):
    from templater.distribution import verify_files as module

    monkeypatch.setattr(module, "_SPARE", 1 << 20)
    with file_of(tree, "squashfs").open("r+b") as file:
        file.truncate(1 << 40)
    report = verify(LocalStream(tree))
    assert ("error", "unreadable") in {(each.level, each.code) for each in report.problems}
    assert report.bytes < 1 << 20


@pytest.mark.parametrize("kind", ["directory link", "hard link", "symlink"])
def test_a_file_with_several_names_is_read_once(tree, tmp_path, kind):
    path = file_of(tree, "squashfs")
    Path(tree.path, "here").symlink_to(".")
    names = [f"images/{number}" for number in range(20)]
    for number, name in enumerate(names):
        if kind == "directory link":
            names[number] = f"{'here/' * (number + 1)}images/{path.name}"
        elif kind == "hard link":
            Path(tree.path, name).hardlink_to(path)
        else:
            Path(tree.path, name).symlink_to(path)
    before = verify(LocalStream(tree))
    assert not before.problems or kind == "hard link"

    def spread(document):
        product = document["products"]["tiny:1:amd64:default"]
        for number, name in enumerate(names):
            copy = json.loads(json.dumps(product))
            for version in copy["versions"].values():
                version["items"]["squashfs"]["path"] = name
            document["products"][f"tiny:{number + 2}:amd64:default"] = copy

    change(tree, IMAGES_PATH, spread)
    report = verify(LocalStream(tree))
    # once by its own name, once by another name
    assert report.bytes <= before.bytes + 96 and report.files > 20
    assert "hash" in {problem.code for problem in report.problems}  # of the version with another file


def test_every_fingerprint_of_a_shared_root_filesystem_is_checked(tree):
    path = file_of(tree, "squashfs")
    for number in range(20):
        Path(tree.path, f"images/{number}").hardlink_to(path)

    def spread(document):
        product = document["products"]["tiny:1:amd64:default"]
        for number in range(20):
            name = f"images/meta{number}"
            meta = file_of(tree, "incus.tar.xz").read_bytes() + bytes(number)
            Path(tree.path, name).write_bytes(meta)
            copy = json.loads(json.dumps(product))
            del copy["versions"]["20260102_0000"]
            items = copy["versions"]["20260101_0000"]["items"]
            items["squashfs"]["path"] = f"images/{number}"
            digest = hashlib.sha256(meta + path.read_bytes()).hexdigest()
            wrong = number == 3
            items["incus.tar.xz"] |= {
                "path": name, "size": len(meta), "sha256": hashlib.sha256(meta).hexdigest(),
                "combined_squashfs_sha256": "0" * 64 if wrong else digest,
            }  # fmt: skip
            del items["lxd.tar.xz"]
            document["products"][f"tiny:{number + 2}:amd64:default"] = copy

    change(tree, IMAGES_PATH, spread)
    problems = verify(LocalStream(tree), clients=("incus-7",)).problems
    assert [each.place for each in problems if each.code == "combined"] == [
        "product 'tiny:5:amd64:default', version '20260101_0000', item 'squashfs'"
    ]
    assert ("warning", "many-combined") in {(each.level, each.code) for each in problems}


def test_all_sparse_files_share_one_limit_on_holes(tree, monkeypatch):
    monkeypatch.setattr("templater.distribution.verify_files._MOST_HOLES", 7 << 20)
    size = 2 << 20
    for number in (1, 2):
        file = file_of(tree, "squashfs") if number == 1 else Path(tree.path, "images", "second")
        file.write_bytes(b"")
        os.truncate(file, size)
    change(
        tree,
        IMAGES_PATH,
        lambda document: item(document, version="20260102_0000").update(path="images/second", size=size),
    )
    report = verify(LocalStream(tree))
    messages = [each.message for each in report.problems if each.code == "unreadable"]
    assert messages == ["not checked: the file is sparse, and most of it is empty"]
    assert report.bytes < 3 << 20


def test_metadata_only_verification_does_not_hash_unified_images(tmp_path):
    tree = Tree(str(tmp_path / "tree"))
    image = unified_image(tmp_path / "image")
    add(tree, image)
    (path,) = Path(tree.path, "images").iterdir()
    path.write_bytes(b"x" * path.stat().st_size)
    assert ("error", "hash") in codes(tree)
    assert not codes(tree, metadata_only=True)


def test_verification_fails_if_the_stream_has_too_many_problems(tree, monkeypatch):
    monkeypatch.setattr("templater.distribution.verify_report._MOST_PROBLEMS", 2)
    for path in Path(tree.path, "images").iterdir():
        path.unlink()
    with pytest.raises(
        LimitError, match=r"^the stream has more than 2 problems, such as 'images/.*: the image can't"
    ):
        verify(LocalStream(tree))


def test_a_stream_that_no_client_can_list_is_refused(tree):
    change(tree, IMAGES_PATH, lambda document: item(document).update(size="96"))
    with pytest.raises(InputError, match="clients list nothing from this stream"):
        list_stream(LocalStream(tree))


def with_another_file(tree, path):
    """Add to the index a second products file with the same products."""
    if path != INDEX_PATH:
        file = Path(tree.path, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(Path(tree.path, IMAGES_PATH).read_bytes())
    entry = {"datatype": "image-downloads", "path": path, "products": ["x"]}
    change(tree, INDEX_PATH, lambda document: document["index"].update(other=entry))


@pytest.mark.parametrize("path", ["other/images.json", "images.json", "other/index.json"])
def test_a_stream_with_duplicate_base_names_cannot_be_listed(tree, path):
    with_another_file(tree, path)
    name = path.rpartition("/")[2]
    with pytest.raises(InputError, match=f"by base name, and two files are named '{name}'"):
        list_stream(LocalStream(tree))


@pytest.mark.parametrize("path", [IMAGES_PATH, f"./{IMAGES_PATH}", "other/others.json", INDEX_PATH])
def test_index_entries_with_different_base_names_are_accepted(tree, path):
    before = len(list_stream(LocalStream(tree)))
    with_another_file(tree, path)
    assert len(list_stream(LocalStream(tree))) == before


@pytest.mark.parametrize("path", ["", "../images.json", "/"])
def test_an_index_entry_with_an_invalid_path_prevents_listing(tree, path):
    entry = {"datatype": "image-downloads", "path": path, "products": ["x"]}
    change(tree, INDEX_PATH, lambda document: document["index"].update(other=entry))
    with pytest.raises(InputError, match="clients list nothing from this stream: the index entry 'other'"):
        list_stream(LocalStream(tree))


def _hostile_tree(folder, products, entries=1):
    (folder / "streams/v1").mkdir(parents=True)
    entry = {"datatype": "image-downloads", "path": "streams/v1/images.json", "products": ["p"]}
    index = {"format": "index:1.0", "index": {f"e{number}": entry for number in range(entries)}}
    (folder / "streams/v1/index.json").write_text(json.dumps(index))
    (folder / "streams/v1/images.json").write_text(
        json.dumps({"format": "products:1.0", "products": products})
    )
    return LocalStream(Tree(str(folder)))


def _version(metadata=1, roots=1):
    combined = {"combined_squashfs_sha256": "a" * 64}
    items = {
        f"m{n}": {"ftype": "incus.tar.xz", "path": f"m{n}", "sha256": "b" * 64, **combined}
        for n in range(metadata)
    }
    items |= {f"r{n}": {"ftype": "squashfs", "path": f"r{n}", "sha256": "c" * 64} for n in range(roots)}
    return {"items": items}


@pytest.mark.parametrize("read", [verify, list_stream])
@pytest.mark.parametrize("kind", ["square", "images", "entries"])
@pytest.mark.slow
def test_a_catalog_with_very_many_combinations_of_files_exceeds_a_limit(tmp_path, read, kind):
    """One version of 100 metadata items and 100 roots has 10,000 images; one file can be listed many times."""
    product = {"arch": "amd64", "os": "x", "release": "1"}
    if kind == "square":
        stream = _hostile_tree(tmp_path, {"p": {**product, "versions": {"20260101": _version(100, 100)}}})
    elif kind == "images":
        versions = {f"20260101_{number}": _version(10, 90) for number in range(100)}
        stream = _hostile_tree(tmp_path, {"p": {**product, "versions": versions}})
    else:
        stream = _hostile_tree(
            tmp_path, {"p": {**product, "versions": {"20260101": _version()}}}, entries=1000
        )
    with pytest.raises(LimitError):
        read(stream)


@pytest.mark.slow
def test_a_large_catalog_is_verified_in_linear_time(tmp_path):
    aliases = ",".join(f"a{number}" for number in range(5000))
    versions = {f"20260101_{number:05}": _version() for number in range(5000)}
    product = {"arch": "amd64", "os": "x", "release": "1", "aliases": aliases, "versions": versions}
    with ends_within(10):
        stream = _hostile_tree(tmp_path, {"p": product})
        (first, *others) = list_stream(stream)
        verify(stream)
    assert len(first.aliases) == 5000
    assert not any(image.aliases for image in others)


def test_a_lone_surrogate_in_an_image_path_is_a_catalog_error(tmp_path):
    product = {"arch": "amd64", "os": "x", "release": "1", "versions": {"20260101": _version()}}
    product["versions"]["20260101"]["items"]["m0"]["path"] = "\ud800"
    assert verify(_hostile_tree(tmp_path, {"p": product})).problems


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("MOST_OF_CATALOG", "the catalog has more than 0 MiB"),
        ("MOST_OF_LISTS", "the image lists for clients have more than 0 MiB"),
    ],
)
def test_attack_82_a_tree_gives_a_warning_if_a_server_would_refuse_it(tree, monkeypatch, limit, message):
    assert not verify(LocalStream(tree)).problems
    monkeypatch.setattr(catalog_limits, limit, 1000)
    (problem,) = verify(LocalStream(tree)).problems
    assert (problem.level, problem.code, problem.place) == ("warning", "serve-limit", f"'{INDEX_PATH}'")
    assert problem.message == f"`templater serve` may refuse this tree: {message}"


# product by product


def test_an_open_products_file_keeps_its_content_if_overwritten(tree):
    file, decoded = Path(tree.path, IMAGES_PATH), Decoded()
    with products_by_line.CatalogFiles(tree.file) as files:
        products = files.products(IMAGES_PATH, decoded)
        assert isinstance(products, products_by_line.LinesFile)
        lines = tree.load().files[IMAGES_PATH]["products"]
        before = [product.name for product in products.read(decoded)]
        with file.open("r+b") as changed:  # the same inode
            changed.write(b"x" * 400)
        assert [product.name for product in products.read(decoded)] == before == list(lines)
        assert all(lines[name]["versions"] for name in before)


@pytest.mark.parametrize("more", [0, -1])
def test_a_large_products_file_is_read_as_a_whole(more, tree, monkeypatch):
    monkeypatch.setattr(products_by_line, "MOST_BYTES", Path(tree.path, IMAGES_PATH).stat().st_size + more)
    for whole in (False, True):
        with products_by_line.CatalogFiles(tree.file) as files:
            products = files.products(IMAGES_PATH, Decoded(), whole=whole)
            assert isinstance(products, products_by_line.LinesFile) == (more == 0 and not whole)
            names = [product.name for product in products.read(Decoded())]
            assert names == list(tree.load().files[IMAGES_PATH]["products"])


def verified_both_ways(tree, monkeypatch):
    """Verify a tree product by product, and with all products in memory."""
    reports = [verify(LocalStream(tree))]

    def refuse(file, place):
        raise ValueError

    with tree.file(IMAGES_PATH) as file:
        assert products_by_line.LinesFile(file, "")
    monkeypatch.setattr(products_by_line, "LinesFile", refuse)
    reports.append(verify(LocalStream(tree)))
    return [
        (sorted(map(repr, report.problems)), report.images, report.files, report.bytes) for report in reports
    ]


def write_lines(tree, document):
    Path(tree.path, IMAGES_PATH).write_bytes(b"".join(dump_products(document)))


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case.raw is None], ids=lambda case: case.title)
def test_verifying_products_one_by_one_gives_the_same_report(case, tmp_path, monkeypatch):
    tree = Tree(str(case.build(tmp_path / "tree")))
    write_lines(tree, json.loads(tree.read(IMAGES_PATH)))
    single, whole = verified_both_ways(tree, monkeypatch)
    assert single == whole


def test_reading_products_one_by_one_finds_the_same_problems(tmp_path, monkeypatch):
    make_tree(tmp_path, 12)
    tree = Tree(str(tmp_path))
    document = json.loads(tree.read(IMAGES_PATH))
    products = list(document["products"].values())
    items = [product["versions"]["20260101_0000"]["items"] for product in products]
    products[0]["aliases"] = products[1]["aliases"]
    items[3].update(items[2])  # the same image twice
    items[5]["squashfs"] = items[4]["squashfs"]  # one root filesystem, and a wrong fingerprint
    del items[7]["incus.tar.xz"], items[7]["lxd.tar.xz"]
    items[7]["squashfs"] = {**items[6]["squashfs"], "size": 1}  # used only by the other product
    products[8].update(release="shared", variant="")
    products[9].update(release="shared")
    write_lines(tree, document)
    single, whole = verified_both_ways(tree, monkeypatch)
    assert single == whole
    found = codes(tree)
    assert {code for _, code in found} == {
        "alias-taken", "twice", "combined", "no-metadata", "size", "variant", "stray",
    }  # fmt: skip


@pytest.mark.slow
def test_little_memory_is_needed_to_verify_each_additional_image(tmp_path):
    peaks = []
    for size in (100, 600):
        make_tree(tmp_path / str(size), size)
        stream = LocalStream(Tree(str(tmp_path / str(size))))
        verify(stream, metadata_only=True)
        tracemalloc.start()
        try:
            assert verify(stream, metadata_only=True).images["lxd"] == size
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] - peaks[0] < 500 * 700  # it was 6000 bytes per image


@pytest.mark.slow
def test_verify_finds_the_recorded_problems_in_each_sample_stream(tmp_path, update):
    recorded = Path(__file__).with_name("problems.txt")
    blocks = []
    for number, case in enumerate([*CASES, *MORE_CASES]):
        report = verify(LocalStream(Tree(str(case.build(tmp_path / str(number))))))
        found = [
            f"  {each.level} {each.code} {each.place} [{' '.join(each.clients)}]\n    {each.message}\n"
            for each in report.problems
        ]
        images = " ".join(f"{client} {count}" for client, count in report.images.items())
        blocks.append(
            f"{case.title}: {report.files} files, {report.bytes} bytes, images {images}\n{''.join(found)}"
        )
    text = "".join(blocks).replace(str(tmp_path), "/stream")
    if update:
        recorded.write_text(text)
    assert text == recorded.read_text()


def test_long_text_is_shortened_in_messages_about_an_image():
    long = "://" + "\x7f" * 4090
    metadata = Item(ftype=long, path=long, sha256=long)
    image = Image(
        Product("p"), Version("1"), "", "container", "x86_64", long, metadata, None, date(2026, 1, 1)
    )
    problems = list(image_problems(image, "incus-7"))
    assert [problem.code for problem in problems] == ["fingerprint", "path", "sha256"]
    assert all(len(problem.message) < 2000 for problem in problems)


def test_only_the_beginning_of_a_long_name_appears_in_a_problem():
    place = verify_report.shown("\U000e0001" * 500)
    assert place == "\\U000e0001" * 10
    assert len(verify_report.place_of("p" * 500, "v" * 500, "i" * 500)) < 350


def test_a_products_file_is_checked_at_most_twice(tree, monkeypatch):
    checked = []
    monkeypatch.setattr(verify_module, "_check_product", lambda product, report: checked.append(product))
    index = json.loads(tree.read(INDEX_PATH))
    (entry,) = index["index"].values()
    index["index"] = {str(number): entry for number in range(5)}
    index["index"]["empty"] = {**entry, "products": []}
    Path(tree.path, INDEX_PATH).write_text(json.dumps(index))
    assert ("error", "twice") in codes(tree)
    assert len(checked) == 2


def test_the_problem_texts_of_a_stream_share_one_limit_in_characters(monkeypatch):
    report = verify_report.Report()
    for number in range(3):
        report.add("error", "code", "place", str(number))
    monkeypatch.setattr(verify_report, "_MOST_TEXT", report.text + 5)
    with pytest.raises(LimitError, match=r"^the stream has more than 3 problems, such as place: 0$"):
        report.add("error", "code", "place", "3")


def test_problem_locations_contain_the_product_and_any_known_version_and_item():
    assert verify_report.place_of("p") == "product 'p'"
    assert verify_report.place_of("p", "v") == "product 'p', version 'v'"
    assert verify_report.place_of("p", "v", "i") == "product 'p', version 'v', item 'i'"
    assert verify_report.place_of("p", item="i") == "product 'p', item 'i'"


@pytest.mark.parametrize(
    ("missing", "parts"),
    [("os", {()}), ("release", {("a",)}), ("variant", {("a", "1")})],
)
def test_an_incomplete_product_makes_the_order_of_products_random(missing, parts):
    names = [("a", "1", "x"), ("a", "2", "x"), ("b", "1", "x")]
    products = [Product("p", os=os, release=release, variant=variant) for os, release, variant in names]
    unsorted = Unsorted()
    for product in (*products, replace(products[0], **{missing: ""})):
        unsorted.add(product)
    found = {unsorted_part(product, unsorted.hashes()) for product in products}
    assert found - {None} == parts
    assert (None in found) == (missing != "os")
