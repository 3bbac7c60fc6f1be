"""Products files with one product per line: plain lines, and writing with few parsed products."""

import json
import random
import re
import shutil
import tracemalloc

import pytest

from templater.distribution import products_by_line
from templater.distribution import tree as module
from templater.distribution.add_to_tree import add
from templater.distribution.catalog_decoder import IMAGES_PATH, Decoded, decode_json, decode_product
from templater.distribution.catalog_limits import UpperBounds
from templater.distribution.products_by_line import ProductLines, dump_products, read_plain, wrong_shape
from templater.distribution.remove_and_prune import prune, remove
from templater.distribution.tree import Tree
from tests.laws.growth import check
from tests.streams.builders import CREATED, DAY, QCOW2, checked, split_image, squashfs, tarball, unified_image
from tests.streams.plain_lines import changed, plain_line, plain_product
from tests.unit.distribution.test_catalog_limits import real

LINE = plain_line(random.Random(3), "p")
VERSION = '"20260101_0000":'


def test_the_streams_add_command_writes_only_plain_catalog_lines(tmp_path):
    tree = Tree(str(tmp_path / "tree"))
    for number, root in enumerate([squashfs(1), tarball({"etc": None}), QCOW2]):
        add(tree, *pair(tmp_path / f"a{number}", root), aliases=["x/y", "a b"][:1])
        add(tree, *pair(tmp_path / f"b{number}", root, variant="vm", created=CREATED + number * DAY))
    add(tree, unified_image(tmp_path / "unified", variant="unified"))
    lines = tree.read(IMAGES_PATH).splitlines()[1:-1]
    assert len(lines) == 3
    assert [read_plain(line.removesuffix(b",")) is not None for line in lines] == [True] * 3


def pair(folder, root, **fields):
    first, second = split_image(folder, root=root, **fields)
    return first, [second]


@pytest.mark.slow
def test_each_plain_catalog_line_gives_the_same_product_in_the_decoder():
    rng = random.Random(1)
    plain = 0
    for _ in range(1000):
        line = plain_line(rng, rng.choice(["p", "items", "path", "20260101_0000", "incus_combined.tar.gz"]))
        for _ in range(rng.randint(0, 2)):
            line = changed(rng, line)
        found = read_plain(line.encode("utf-8", "surrogatepass"))
        if found is None:
            continue
        plain += 1
        ((name, product),) = decode_json(f"{{{line}}}").items()
        decoded = Decoded()
        read = decode_product(name, product, decoded)
        assert found[0] == name
        assert (found[1].aliases, found[1].arch) == (read.aliases, read.arch)
        assert not wrong_shape({name: product})
        assert product["variant"]
        assert (decoded.mismatches, decoded.odd_keys) == ([], [])
        bounds, (images, texts, lists) = UpperBounds(), real({name: product})
        bounds.add(name, found[1])
        assert bounds.is_known
        assert (bounds.images >= images, bounds.texts >= texts, bounds.lists >= lists) == (True,) * 3, line
    assert plain > 300


def result(data):
    """Return the products of a file in several forms, or "another form" if its lines cannot be read."""
    try:
        lines = ProductLines(data)
    except ValueError:
        return "another form"
    return (
        lines.document,
        dict(lines.read()),
        lines.containing([]),
        b"".join(dump_products({"products": lines})),
    )


@pytest.mark.slow
def test_the_line_reader_and_json_decoder_give_equal_products(monkeypatch):
    rng = random.Random(2)
    read = 0
    for _ in range(300):
        products = {f"p{number}": plain_product(rng) for number in range(3)}
        data = b"".join(dump_products({"format": "products:1.0", "products": products})).decode()
        data = changed(rng, data).encode()
        ours = result(data)
        with monkeypatch.context() as patched:
            patched.setattr(products_by_line, "read_plain", lambda text: None)
            assert ours == result(data), data
        read += ours != "another form"
    assert read > 20


OTHER_LINES = {
    "a space": lambda line: line.replace(":{", ": {", 1),
    "a line feed": lambda line: line + "\n",
    "a comma": lambda line: line + ",",
    "a comma before a brace": lambda line: line.replace("}}}}", "}}},}"),
    "an escape": lambda line: line.replace('"os":"', '"os":"\\u0041'),
    "a lone surrogate": lambda line: line.replace('"os":"', '"os":"\\ud800'),
    "a character outside ASCII": lambda line: line.replace('"os":"', '"os":"ö'),
    "a control character": lambda line: line.replace('"os":"', '"os":"\t'),
    "a long text": lambda line: line.replace('"os":"', '"os":"' + "x" * 513),
    "a long name": lambda line: line.replace('"p', '"p' + "x" * 512, 1),
    "no variant": lambda line: line.replace('"variant":', '"version":'),
    "an empty variant": lambda line: re.sub('"variant":"[^"]*"', '"variant":""', line),
    "another order of keys": lambda line: line.replace('"os":"', '"z":"","os":"'),
    "two equal keys": lambda line: line.replace('"os":"', '"os":"","os":"'),
    "two equal versions": lambda line: line.replace(VERSION, VERSION + '{"items":{}},' + VERSION),
    "a number with a zero": lambda line: line.replace('"size":', '"size":0'),
    "a negative number": lambda line: line.replace('"size":', '"size":-'),
    "a fraction": lambda line: line.replace("}}}}", ".5}}}}"),
    "a large number": lambda line: line.replace('"size":', '"size":1' + "0" * 16),
    "a null": lambda line: line.replace('"os":"', '"x":null,"os":"'),
    "another path": lambda line: line.replace("images/", "images/../"),
    "another family": lambda line: line.replace("lxd.tar", "LXD.tar"),
    "different files for the families": lambda line: re.sub('("lxd[^}]*images/).', r"\g<1>0", line, count=1),
    "different fingerprints": lambda line: re.sub('("lxd[^}]*?_sha256":").', r"\g<1>0", line, count=1),
    "two products": lambda line: line + "," + line.replace('"p', '"q', 1),
}  # fmt: skip


@pytest.mark.parametrize("form", OTHER_LINES)
def test_only_the_decoder_reads_catalog_lines_that_are_not_plain(form):
    assert read_plain(LINE.encode())
    line = OTHER_LINES[form](LINE)
    assert line != LINE
    assert read_plain(line.encode()) is None


def test_the_decoder_handles_a_line_with_duplicate_versions():
    head, _, versions = LINE.partition('"versions":{')
    version = versions.removesuffix("}}")
    other = version.replace("202601", "202602")
    assert read_plain(f'{head}"versions":{{{version},{other}}}}}'.encode())
    assert read_plain(f'{head}"versions":{{{version},{version}}}}}'.encode()) is None


def test_upper_bounds_are_unknown_with_too_many_aliases():
    name, product = read_plain(with_aliases(300_000).encode())
    bounds = UpperBounds()
    bounds.add(name, product)
    assert not bounds.is_known


def many_versions(count):
    """Return a line with many versions."""
    head, _, versions = LINE.partition('"versions":{')
    version = versions.removesuffix("}}").partition(VERSION)[2].partition(',"2026')[0]
    each = ",".join(f'"{number:08}_0000":{version}' for number in range(count))
    return f'{head}"versions":{{{each}}}}}'


def with_aliases(count, line=LINE):
    return line.replace('"aliases":"', '"aliases":"' + "a," * count)


#: lines of a length that grows with ``n``, which differ from a plain line only at their end
NEARLY_PLAIN = {
    "name": lambda n: '"' + "x" * n,
    "aliases": lambda n: with_aliases(n) + "}",
    "aliases and versions": lambda n: with_aliases(n, many_versions(100)).removesuffix("}}}}") + ",}}}}",
}


@pytest.mark.parametrize("shape", NEARLY_PLAIN)
def test_a_nearly_plain_line_is_refused_in_linear_time(shape):
    def subject(n):
        line = NEARLY_PLAIN[shape](n).encode()
        assert read_plain(line) is None
        return lambda: read_plain(line)

    check(subject, largest=1 << 17)


def test_a_plain_line_has_at_most_a_hundred_versions():
    assert read_plain(many_versions(100).encode())
    assert read_plain(many_versions(101).encode()) is None


class _Refusing:
    def __init__(self, data, visit):
        raise ValueError


def changes(folder, seed):
    """Random changes of a tree: more versions, aliases that move, and names with escapes."""
    choose = random.Random(seed)
    made = []
    for number in range(14):
        if number > 4 and choose.random() < 0.3:
            made.append(choose.choice([
                lambda tree: prune(tree, keep=1),
                lambda tree: remove(tree, [next(iter(tree.load().read()))[1]]),
                lambda tree: remove(tree, [fingerprints(tree)[0][:20]]),
            ]))  # fmt: skip
            continue
        fields = {
            "os": choose.choice(["Tiny", "Größe", "Back\\\\slash"]), "variant": choose.choice(["default", "cloud"]),
            "release": choose.choice(["1", "2"]), "created": CREATED + number * DAY,
            "release_title": choose.choice(["one", "höher"]),
        }  # fmt: skip
        pair = split_image(folder / str(number), root=squashfs(number, 1000), **fields)
        aliases = choose.sample(["latest", "ä/b", "x"], choose.randint(0, 2))
        made.append(lambda tree, pair=pair, aliases=aliases: add(tree, pair[0], [pair[1]], aliases=aliases))
    return made


def fingerprints(tree):
    return sorted(
        item["combined_squashfs_sha256"] for item in tree.load().items() if item["ftype"] == "incus.tar.xz"
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_line_by_line_changes_equal_a_complete_rewrite(tmp_path, monkeypatch, seed):
    ours, other = Tree(str(tmp_path / "ours")), Tree(str(tmp_path / "other"))
    for change in changes(tmp_path / "images", seed):
        result = change(ours)
        with monkeypatch.context() as patched:
            patched.setattr(module, "ProductLines", _Refusing)
            assert change(other) == result
        for path in (IMAGES_PATH, "streams/v1/index.json"):
            assert ours.read(path) == other.read(path)
        products = ours.load().files[IMAGES_PATH]["products"]
        assert isinstance(products, ProductLines) == bool(products), "our own files are read line by line"
    checked(ours)


def opened(path):
    return ProductLines(path.read_bytes())


@pytest.fixture
def lines(tmp_path):
    products = {f"p{number}": {"aliases": "", "variant": "default", "versions": {}} for number in range(3)}
    path = tmp_path / "images.json"
    path.write_bytes(b"".join(dump_products({"format": "products:1.0", "products": products})))
    return path


def test_a_product_is_parsed_only_if_it_is_looked_up(lines):
    products = opened(lines)
    assert products.containing(["p1"]) == ["p1"]
    assert products.containing([]) == []
    products["p2"]["aliases"] = "changed"
    assert products.containing([]) == ["p2"]
    del products["p0"]
    assert sorted(products) == ["p1", "p2"]
    assert len(products) == 2
    written = b"".join(dump_products({"products": products}))
    assert json.loads(written)["products"]["p2"]["aliases"] == "changed"
    assert b'"p0"' not in written


OTHER_FORMS = {
    "spaces": lambda text: text.replace('{"format":', '{ "format":'),
    "one line": lambda text: text.replace("\n", ""),
    "another order": lambda text: text.replace("p0", "p9"),
    "twice": lambda text: text.replace("p0", "p1"),
    "two on a line": lambda text: text.replace(',\n"p1"', ',"p1"'),
    "no comma": lambda text: text.replace(',\n"p1"', '\n"p1"'),
    "a comma too many": lambda text: text.replace("\n}}", ",\n}}"),
    "a line too many": lambda text: text + "\n",
    "no end": lambda text: text.removesuffix("}}\n"),
    "no variant": lambda text: text.replace('"variant":"default",', "", 1),
    "a product of a wrong type": lambda text: text.replace('"versions":{}', '"versions":[]', 1),
    "not JSON": lambda text: text.replace('"p1":{', '"p1":{,'),
    "NaN": lambda text: text.replace('"versions":{}', '"versions":{},"x":NaN', 1),
    "nested": lambda text: text.replace('"versions":{}', '"versions":{},"x":' + "[" * 100_000 + "]" * 100_000, 1),
    "versions twice": lambda text: text.replace('"versions":{}', '"versions":{},"versions":{}', 1),
    "no products": lambda text: text.partition('"p0"')[0] + "\n}}\n",
    "empty": lambda text: "",
}  # fmt: skip


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_a_catalog_with_another_layout_is_not_read_line_by_line(lines, form):
    changed = OTHER_FORMS[form](lines.read_text())
    assert changed != lines.read_text()
    lines.write_text(changed)
    with pytest.raises((ValueError, RecursionError)):
        opened(lines)


def test_a_catalog_with_invalid_utf8_is_not_read_line_by_line(lines):
    lines.write_bytes(lines.read_bytes().replace(b"default", b"\xff", 1))
    with pytest.raises(ValueError, match="utf-8"):
        opened(lines)


@pytest.mark.slow
def test_adding_to_a_large_tree_takes_little_memory(tmp_path):
    """The check whether readers accept the changed catalog holds all products, as a reader does."""
    from tests.bench.streams import make_tree

    used = {}
    for count in (10, 10_000):
        folder = tmp_path / str(count)
        make_tree(folder, count)
        pair = split_image(tmp_path / f"new{count}", os="more")
        tracemalloc.start()
        try:
            add(Tree(str(folder)), pair[0], [pair[1]])
            used[count] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        shutil.rmtree(folder)
    assert used[10_000] < used[10] + (64 << 20), f"bytes: {used}"
