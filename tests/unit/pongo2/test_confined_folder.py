"""Templates by name from a directory, and from nowhere else."""

import os

import pytest

from templater import pongo2
from templater.model.errors import InputError, RefusedError, TemplaterError
from templater.pongo2.confined_folder import Folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "in" / "a.tpl").write_bytes(b"A\xff")
    (tmp_path / "in" / "deep" / "b.tpl").write_text("{% include 'c.tpl' %}")
    (tmp_path / "in" / "deep" / "c.tpl").write_text("C")
    (tmp_path / "in" / "out").symlink_to(tmp_path)
    (tmp_path / "in" / "link").symlink_to("a.tpl")
    os.mkfifo(tmp_path / "in" / "fifo")
    return Folder(tmp_path / "in")


def test_templates_in_the_template_folder_are_read_by_name(folder):
    assert folder.read("a.tpl") == b"A\xff"
    assert folder.read("deep/c.tpl") == b"C"


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "deep/../../secret", "", ".", "a.tpl\0", "deep//c.tpl"]
)
def test_a_template_name_must_be_a_path_inside_the_template_folder(folder, name):
    with pytest.raises(RefusedError) as caught:
        folder.read(name)
    assert caught.value.message == f"template name {name!r} is not a path inside the template directory"


@pytest.mark.parametrize("name", ["out/secret", "link", "nope", "a.tpl/x", "fifo/x"])
def test_a_symlink_in_the_template_folder_is_refused(folder, name):
    with pytest.raises(InputError):
        folder.read(name)


@pytest.mark.parametrize("name", ["fifo", "deep"])
def test_only_regular_files_are_read_from_the_template_folder(folder, name):
    with pytest.raises(RefusedError, match="not a regular file"):
        folder.read(name)


def test_a_template_name_is_relative_to_the_including_template(folder):
    assert pongo2.compile("{% include 'deep/b.tpl' %}", mode="plain", loader=folder).render({}) == "C"


@pytest.mark.parametrize("tag", ["include", "extends", "ssi"])
def test_no_tag_reads_a_file_outside_the_template_folder(folder, tag):
    for name in ("../secret", "out/secret", "/etc/passwd"):
        with pytest.raises(TemplaterError):
            pongo2.compile(f'{{% {tag} "{name}" %}}', mode="plain", loader=folder).render({})


def test_a_template_file_above_the_size_limit_is_refused(folder, monkeypatch):
    monkeypatch.setattr("templater.pongo2.confined_folder.MAX_FILE", 2)
    assert folder.read("a.tpl") == b"A\xff"
    monkeypatch.setattr("templater.pongo2.confined_folder.MAX_FILE", 1)
    with pytest.raises(TemplaterError) as caught:
        folder.read("a.tpl")
    assert caught.value.message == "template 'a.tpl' has more than 1 bytes" and caught.value.kind == "limit"
