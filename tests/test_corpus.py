"""111 real images: templater decodes and renders them like the daemons' Go code.

The recordings are in ``$TEMPLATER_CORPUS``, or next to the repository in ``shared/corpus``. They belong to
the authors of the images and are not part of this project. A recording shows the host ``incus``: it renders
every rule separately, into an empty root filesystem. For a virtual machine, it has the files of the config
drive.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import sys
import tarfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import lz4.frame
import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from templater.image.open_image import open_image
from templater.instances.description_file import read_instance
from templater.model.errors import (
    MetadataError,
    RefusedError,
    RenderError,
    TemplateError,
    TemplaterError,
    TemplateSyntaxError,
)
from templater.model.hosts import INCUS
from templater.model.metadata import TRIGGERS
from templater.model.render_options import RenderOptions
from templater.parsing.metadata_yaml import read_metadata
from templater.planning.decide_changes import plan_of
from templater.planning.plan_image import plan, read_templates
from templater.rendering.origins import Explainer, Layers
from templater.rendering.render import render
from templater.reporting.json_data import plan_data
from templater.rootfs.memory_rootfs import MemoryRootfs

BESIDE = Path(__file__).resolve().parent.parent.parent / "shared" / "corpus"
CORPUS = Path(os.environ.get("TEMPLATER_CORPUS") or BESIDE)
HAVE_CORPUS = (CORPUS / "MAP.json").is_file()
DIALECTS = ("v4", "v6")
#: the number of recorded renderings for each dialect, by the number of files of the corpus; for any other
#: number of files, the number of renderings is not checked
RECORDED = {1648: 3116}

#: Known differences: the image, and the reason. An image without a difference fails the test.
EXCEPTIONS: dict[str, str] = {}

if not HAVE_CORPUS and os.environ.get("CI"):
    pytest.fail(f"no corpus at {CORPUS}: set TEMPLATER_CORPUS", pytrace=False)

pytestmark = pytest.mark.skipif(not HAVE_CORPUS, reason=f"no corpus at {CORPUS}: set TEMPLATER_CORPUS")
IMAGES = json.loads((CORPUS / "MAP.json").read_text()) if HAVE_CORPUS else {}


def images() -> list:
    def marks(image):
        return pytest.mark.xfail(reason=EXCEPTIONS[image], strict=True) if image in EXCEPTIONS else ()

    return [pytest.param(image, marks=marks(image)) for image in sorted(IMAGES)]


def folder(image: str) -> Path:
    return CORPUS / IMAGES[image]["dir"] / image


@lru_cache(maxsize=64)
def instance_named(name: str):
    return read_instance(str(CORPUS / "instances" / f"{name}.json"))


def recording(image: str, instance: str, trigger: str) -> dict:
    return json.loads((CORPUS / "golden" / image / instance / f"{trigger}.json").read_text())


def stage(error: TemplaterError) -> str:
    """Return the step at which the daemons would have reported this error."""
    if isinstance(error, TemplateSyntaxError):
        return "parse"
    if isinstance(error, RenderError):
        return "render"
    return "access" if isinstance(error, TemplateError | RefusedError) else "perms"


def observed(metadata, instance, rendering) -> dict:
    """Return a rendering in the form of the recordings."""
    made = plan_of(
        metadata, instance, [rendering], MemoryRootfs({}), host=INCUS, triggers=(rendering.trigger,)
    )
    (change,) = made.changes
    error = change.error or rendering.error
    seen = {
        "path": rendering.rule.path,
        "template": rendering.rule.template,
        "uid": change.uid,
        "gid": change.gid,
        "mode": f"{change.mode:04o}",
        "create_only": rendering.rule.create_only,
    }
    if error is None:
        return seen | {"content": change.content.decode("utf-8", "surrogateescape")}
    return seen | {"error_stage": stage(error)}


def recorded(golden: dict) -> dict:
    """Return a recording without the error's text, because templater has other texts.

    The step is compared.
    """
    return {key: value for key, value in golden.items() if key != "error"}


def renderings_of(image: str, instance: str, dialect: str):
    """Render every rule of every trigger. Return the renderings by trigger, sorted by path as recorded."""
    opened = open_image(folder(image))
    metadata = read_metadata(opened.read_metadata(), INCUS.yaml)
    templates = opened.read_templates({rule.template for rule in metadata.rules if rule.template})
    described = instance_named(instance)
    found = render(metadata, templates, described, TRIGGERS, RenderOptions(INCUS, dialect))
    seen = [(rendering.trigger, observed(metadata, described, rendering)) for rendering in found]
    return {
        trigger: sorted((item for of, item in seen if of == trigger), key=lambda item: item["path"])
        for trigger in TRIGGERS
    }


def renderings() -> Iterator:
    """Return each image with each dialect. The fast tests render each image for one dialect."""
    for number, image in enumerate(images()):
        for turn, dialect in enumerate(DIALECTS):
            slow = [pytest.mark.slow] if (number + turn) % 2 else []
            yield pytest.param(*image.values, dialect, marks=[*image.marks, *slow])


@pytest.mark.parametrize(("image", "dialect"), list(renderings()))
def test_a_real_image_renders_as_recorded(image: str, dialect: str):
    for instance in IMAGES[image]["instances"]:
        goldens = {trigger: recording(image, instance, trigger) for trigger in TRIGGERS}
        if "metadata_error" in goldens["create"]:
            with pytest.raises(MetadataError):
                renderings_of(image, instance, dialect)
            continue
        seen = renderings_of(image, instance, dialect)
        for trigger in TRIGGERS:
            wanted = [recorded(golden) for golden in goldens[trigger][dialect]]
            assert seen[trigger] == wanted, f"{image} for {instance} on {trigger}, dialect {dialect}"


@pytest.mark.slow
@pytest.mark.parametrize("image", images())
def test_explained_lines_equal_the_rendered_files_of_real_images(image: str):
    opened = open_image(folder(image))
    options = RenderOptions(INCUS, clock=1.0, seed=1)
    for instance in map(instance_named, IMAGES[image]["instances"]):
        try:
            planned = plan(opened, instance, triggers=TRIGGERS, clock=1.0, seed=1)
        except MetadataError:
            continue
        layers = Layers(instance, instance, planned.metadata)
        templates = read_templates(opened, planned.metadata)
        for change in planned.changes:
            if change.content is not None:
                lines = Explainer(templates, layers, options).lines(change)
                assert lines is not None, change.path
                text = "\n".join(line.text for line in lines)
                content = change.content.decode("utf-8", "surrogateescape")
                assert text in (content, content.removesuffix("\n")), change.path


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_corpus_test_compares_every_recorded_rendering(dialect: str):
    """The test above compares every recorded rendering."""
    walked = sum(
        len(recording(image, instance, trigger)[dialect])
        for image in IMAGES
        for instance in IMAGES[image]["instances"]
        for trigger in TRIGGERS
    )
    files = len(list(CORPUS.glob("golden/*/*/*.json")))
    assert walked == RECORDED.get(files, walked)
    assert walked > 0
    assert len(EXCEPTIONS) <= 3
    assert {path.parent.name for path in CORPUS.glob("golden/*/*")} == set(IMAGES)
    assert files == 4 * sum(len(i["instances"]) for i in IMAGES.values())


def decoded(metadata) -> dict:
    """Return metadata as Go's structs print it. A missing mapping or list is empty."""
    return {
        "Architecture": metadata.architecture,
        "CreationDate": metadata.creation_date,
        "ExpiryDate": metadata.expiry_date,
        "Properties": dict(metadata.properties),
        "Templates": {
            rule.path: None
            if rule.null
            else {
                "When": list(rule.when),
                "CreateOnly": rule.create_only,
                "Template": rule.template,
                "Properties": dict(rule.properties),
                "UID": rule.uid,
                "GID": rule.gid,
                "Mode": rule.mode,
            }
            for rule in metadata.rules
        },
    }


def without_nil(recorded: dict) -> dict:
    templates = {
        path: rule and rule | {"When": rule["When"] or [], "Properties": rule["Properties"] or {}}
        for path, rule in (recorded["Templates"] or {}).items()
    }
    return recorded | {"Properties": recorded["Properties"] or {}, "Templates": templates}


@pytest.mark.parametrize("yaml", ["v2", "v4"])
@pytest.mark.parametrize("image", sorted(IMAGES))
def test_templater_and_go_agree_on_real_metadata_files(image: str, yaml: str):
    wanted = json.loads((CORPUS / "golden_meta" / f"{image}.json").read_text())
    source = open_image(folder(image)).read_metadata()
    if "error" in wanted:
        with pytest.raises(MetadataError) as caught:
            read_metadata(source, yaml)
        assert caught.value.span is not None
        if yaml == "v2":
            assert caught.value.yaml_error == wanted["error"]
        return
    metadata = read_metadata(source, yaml)
    assert decoded(metadata) == without_nil(wanted["metadata"])
    for rule in metadata.rules:
        assert rule.spans["path"].source.text == source.text.removeprefix("\ufeff")
        assert rule.template in rule.spans["template"].text


# Packed as images are published: the same preview from every kind of archive

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": lambda data: gzip.compress(data, 1),
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=0),
    "zstd": lambda data: zstd.compress(data, 1),
    "lz4": lz4.frame.compress,
}
ROOTFS = {"rootfs/etc/hostname": b"LXC_NAME\n", "rootfs/etc/metadata.yaml": b"not this one\n"}


def members(image: Path) -> dict[str, bytes]:
    files = [image / "metadata.yaml", *sorted((image / "templates").glob("*"))]
    return {str(file.relative_to(image)): file.read_bytes() for file in files if file.is_file()}


def packed(files: dict[str, bytes], prefix: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return archive.getvalue()


def archives(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the metadata tarball of a split image, and unified images with the metadata first and last."""
    backwards = dict(reversed(files.items()))
    return {
        "split": packed(files, ""),
        "unified": packed(files | ROOTFS, "./"),
        "unified, metadata last": packed(ROOTFS | backwards, ""),
    }


def preview(image: Path, instance) -> object:
    """Return the JSON that the command prints, or its error, without the image's name."""
    try:
        made = plan(open_image(image), instance, triggers=("create", "start"), host=INCUS, dialect="v6")
        return json.loads(json.dumps(plan_data(made)).replace(str(image), "IMAGE"))
    except TemplaterError as error:
        return error.explain().replace(str(image), "IMAGE")


def packings() -> list:
    """Return every third image with its compression for each layout; the slow tests use all of both."""
    names = list(COMPRESSIONS)
    turns = [
        (image, [names[(number + layout) % len(names)] for layout in range(3)])
        for number, image in enumerate(sorted(IMAGES))
    ]
    return [
        *(
            pytest.param(image, [[name] for name in turn], id=f"{image}-{', '.join(turn)}")
            for image, turn in turns[::3]
        ),
        *(pytest.param(image, [names] * 3, id=f"{image}-all", marks=pytest.mark.slow) for image, _ in turns),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("image", "compressions"), packings())
def test_a_packed_image_has_the_same_preview_as_its_directory(
    image: str, compressions: list[list[str]], tmp_path: Path
):
    instance = instance_named(IMAGES[image]["instances"][0])
    wanted = preview(folder(image), instance)
    for (layout, data), names in zip(archives(members(folder(image))).items(), compressions, strict=True):
        for name in names:
            archive = tmp_path / "image"
            archive.write_bytes(COMPRESSIONS[name](data))
            assert preview(archive, instance) == wanted, f"{layout}, {name}"
