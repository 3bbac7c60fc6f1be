"""Recorded builds of distrobuilder, each predicted from its definition.

TEMPLATER_DEFINITIONS names another folder of the same form as ``tests/definitions``.
"""

import os
import re
from pathlib import Path

import pytest

from templater.checks.check_report import check_report
from templater.definitions.all_builds import all_choices
from templater.definitions.choice import VM, Choice
from templater.definitions.predicted_image import open_definition
from templater.model.errors import TemplaterError
from templater.model.hosts import HOSTS as DAEMONS
from templater.model.instance import CONTAINER, VIRTUAL_MACHINE, Instance
from templater.model.plan import FAILED
from templater.model.render_options import RenderOptions
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from templater.planning.plan_image import plan_image

FOLDER = Path(os.environ.get("TEMPLATER_DEFINITIONS") or Path(__file__).parent / "definitions")
BUILDS = sorted(path.parent.name for path in FOLDER.glob("*/definition.yaml"))
#: the parameters of a recorded build, except the serial, which is the time of the run
PARAMETERS = {"exB2": ("image.release=noble", "image.variant=cloud")}
BUILDER = "127.0.0.1\tlocalhost\n127.0.1.1\tdistrobuilder\n"
HOSTS = dict.fromkeys(("a", "c", "server", "texts"), BUILDER)
DATES = r"(creation|expiry)_date: \d+"


@pytest.mark.parametrize("name", BUILDS)
def test_templater_predicts_a_recorded_build_byte_for_byte(name, tmp_path):
    recorded = (FOLDER / name / "metadata.yaml").read_text()
    wanted = read_metadata(Source("metadata.yaml", recorded))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hostname").write_text("distrobuilder\n")
    (tmp_path / "etc/hosts").write_text(HOSTS.get(name, "127.0.0.1 localhost\n"))
    parameters = (
        f"image.architecture={wanted.architecture}",
        f"image.serial={wanted.properties['serial']}",
        *PARAMETERS.get(name, ()),
    )
    choice = Choice(parameters, rootfs=str(tmp_path))

    image = open_definition(str(FOLDER / name / "definition.yaml"), choice)

    metadata = image.read_metadata()
    assert re.sub(DATES, "", metadata.text) == re.sub(DATES, "", recorded)
    predicted = read_metadata(metadata)
    # the programs add the duration to the time of the build
    assert predicted.expiry_date - predicted.creation_date == wanted.expiry_date - wanted.creation_date
    folder = FOLDER / name / "templates"
    templates = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}
    assert {each: file.data for each, file in image.read_to_end().items()} == templates


#: position of each recorded failure, and a part of the message
FAILURES = {
    "d": ("4:63", "the gid 'root' is not a number"),
    "e": ("1:43", "unknown key 'foo' in 'image'"),
    "g": ("4:33", "unknown cloud-init file 'other'"),
    "h": ("4:47", "the template name 'a/b' contains a '/'"),
    "downloader": ("2:22", "unknown downloader 'x86_64'"),
    "manager": ("3:21", "unknown package manager 'aptt'"),
    "managers": ("5:19", "the definition has two package managers"),
    "command": ("4:19", "the custom package manager has no command 'update'"),
    "action": ("3:57", "unknown action 'add'"),
    "trigger": ("5:13", "unknown trigger 'post-install'"),
    "type": ("4:17", "invalid filter type 'both'"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_definition_with_a_recorded_failure_gives_an_error(name):
    path = str(FOLDER / f"errors/{name}.yaml")
    place, message = FAILURES[name]
    with pytest.raises(TemplaterError) as caught:
        open_definition(path, Choice())
    assert str(caught.value).startswith(f"{path}:{place}: ")
    assert message in caught.value.message


def test_the_lxd_agent_generator_identifies_a_definition_for_lxd_imagebuilder():
    image = open_definition(str(FOLDER / "errors/f.yaml"), Choice())
    assert image.definition.program == "lxd-imagebuilder"
    assert (
        "this definition is for lxd-imagebuilder: distrobuilder refuses the generator 'lxd-agent'"
        in image.notes
    )


def test_every_recorded_build_failure_is_tested():
    assert {path.stem for path in FOLDER.glob("errors/*.yaml")} == {*FAILURES, "f"}


SAMPLES = sorted((Path(__file__).parents[1] / "sample-images/definitions").glob("*.yaml"))
#: every finding of every sample, and why it is right and stays
EXPLAINED = {
    "rename": "the generators use the triggers create and copy, as in published images",
    "nocloud-readable": "the generator cannot choose a mode, and the published images do not create the file first",
}


def test_the_corpus_has_twenty_sample_definitions():
    assert len(SAMPLES) == 20


@pytest.mark.slow
@pytest.mark.parametrize("path", SAMPLES, ids=[path.stem for path in SAMPLES])
def test_every_variant_of_a_sample_definition_renders(path):
    choices = all_choices(str(path), Choice(("image.serial=1",)))
    texts = path.read_text()
    assert len(choices) > 1 or not re.search("variants:|types:|releases:|architectures:", texts)
    for choice in choices:
        image = open_definition(str(path), choice)
        instance = Instance("c1", type=VIRTUAL_MACHINE if choice.type == VM else CONTAINER)
        for daemon in ("incus", "lxd"):
            options = RenderOptions(DAEMONS[daemon])
            plan = plan_image(image, instance, options, triggers=("create", "start"), new=True)
            assert [change.path for change in plan.changes if change.action == FAILED] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=pytest.mark.slow if number % 4 else ())
        for number, path in enumerate(SAMPLES)
    ],
)
def test_a_sample_definition_has_only_explained_findings(path):
    hosts = ("incus", "lxd")
    report = check_report(
        str(path), hosts=hosts, choice=Choice(("image.serial=1",)), all_variants=True, at_least="info"
    )
    assert {finding["check"] for finding in report["findings"]} <= set(EXPLAINED)
