"""Recorded builds of distrobuilder, each predicted from its definition.

TEMPLATER_DEFINITIONS names another folder of the same form as ``tests/definitions``.
"""

import os
import re
from pathlib import Path

import pytest

from templater.definitions.build import open_definition
from templater.definitions.choice import Choice
from templater.model.errors import TemplaterError
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata

FOLDER = Path(os.environ.get("TEMPLATER_DEFINITIONS") or Path(__file__).parent / "definitions")
BUILDS = sorted(path.parent.name for path in FOLDER.glob("*/definition.yaml"))
#: the parameters of a recorded build, beside the serial, which is the time of the run
PARAMETERS = {"exB2": ("image.release=noble", "image.variant=cloud")}
HOSTS = {
    "a": "127.0.0.1\tlocalhost\n127.0.1.1\tdistrobuilder\n",
    "c": "127.0.0.1\tlocalhost\n127.0.1.1\tdistrobuilder\n",
}
DATES = r"(creation|expiry)_date: \d+"


@pytest.mark.parametrize("name", BUILDS)
def test_a_recorded_build_is_predicted_byte_for_byte(name, tmp_path):
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
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_recorded_failure_is_an_error_with_its_position(name):
    path = str(FOLDER / f"errors/{name}.yaml")
    place, message = FAILURES[name]
    with pytest.raises(TemplaterError) as caught:
        open_definition(path, Choice())
    assert str(caught.value).startswith(f"{path}:{place}: ")
    assert message in caught.value.message


def test_an_agent_that_distrobuilder_refuses_makes_a_definition_of_lxd_imagebuilder():
    image = open_definition(str(FOLDER / "errors/f.yaml"), Choice())
    assert image.definition.program == "lxd-imagebuilder"
    assert (
        "this definition is for lxd-imagebuilder: distrobuilder refuses the generator 'lxd-agent'"
        in image.notes
    )


def test_every_recorded_failure_is_tested():
    assert {path.stem for path in FOLDER.glob("errors/*.yaml")} == {*FAILURES, "f"}
