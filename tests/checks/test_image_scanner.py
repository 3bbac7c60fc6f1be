"""An audit as a whole: of folders and archives, as text, JSON and SARIF."""

import io
import json
import os
import re
import shutil
import tarfile
import time
from pathlib import Path

import pytest

from templater.checks import scanned_image
from templater.checks.base import Observation, check
from templater.checks.finding import Finding, Severity
from templater.checks.image_scanner import _Scanner, scan_image
from templater.checks.run_checks import all_checks, audit, run_check
from templater.checks.sarif import sarif_document, uri_of
from templater.checks.scanned_image import Name, ScannedImage
from templater.checks.security import runaway
from templater.cli.run_command_line import main
from templater.image.build import Packing, build
from templater.image.limits import ATTRIBUTE_BYTES, DEFAULT
from templater.image.read_whole_image import open_contents
from templater.model.entry import FILE, SYMLINK, Entry, TemplateFile
from templater.model.errors import InputError, LimitError, UsageError
from templater.model.metadata import UNCOUNTED
from templater.model.source import Source
from templater.parsing.yaml_nodes import Limits as YamlLimits
from templater.pongo2.render_state import Limits
from templater.rootfs.confined_without_descriptors import ByName
from tests.checks.builders import an_image, rules

ROOT = Path(__file__).resolve().parents[2]
BROKEN = ROOT / "sample-images" / "broken"


def test_every_check_has_a_unique_id_and_a_description():
    checks = list(all_checks("security"))
    assert len({check.id for check in checks}) == len(checks)
    assert all(check.about and Severity.named(check.severity) is not None for check in checks)


@pytest.mark.parametrize(("count", "more"), [(200, []), (201, ["1 more findings of this kind; uncounted"])])
def test_a_check_reports_at_most_200_findings_of_one_severity(count, more):
    @check("many", "low", "about", "CVE-1", hint="hint")
    def many(image):
        yield from (Observation(str(number), "place") for number in range(count))
        yield Observation("high", "place", severity="high")
        if more:
            yield Observation(UNCOUNTED, "place")

    found = [(finding.message, finding.severity) for finding in run_check(many, an_image())]
    last = [(message.replace("uncounted", UNCOUNTED), Severity.LOW) for message in more]
    assert found == [*((str(number), Severity.LOW) for number in range(200)), ("high", Severity.HIGH), *last]


def test_a_directory_and_its_archive_have_the_same_findings(tmp_path):
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        for name in ("metadata.yaml", "templates", "rootfs"):
            tar.add(BROKEN / name, name)
    in_folder = [(f.check, f.severity, f.message) for f in audit(scan_image(str(BROKEN)))]
    in_archive = [(f.check, f.severity, f.message) for f in audit(scan_image(str(tmp_path / "image.tar")))]
    others = {"layout"}  # a folder may hold more than the image
    assert [f for f in in_folder if f[0] not in others] == [f for f in in_archive if f[0] not in others]


def hostile(path):
    """Write an archive that no daemon and no tar should unpack."""

    def add(tar, name, kind=tarfile.REGTYPE, target="", data=b"", **more):
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, target, len(data)
        for key, value in more.items():
            setattr(member, key, value)
        tar.addfile(member, io.BytesIO(data))

    with tarfile.open(path, "w") as tar:
        add(tar, "metadata.yaml", data=b"templates:\n  /../x: {when: [create], template: ../y}\n")
        add(tar, "templates", tarfile.SYMTYPE, "/etc")
        add(tar, "rootfs", tarfile.DIRTYPE)
        add(tar, "rootfs", tarfile.SYMTYPE, "/")
        add(tar, "rootfs/etc/passwd", data=b"x")
        add(tar, "../../outside", data=b"x")
        add(tar, "/absolute", data=b"x")
        add(tar, "rootfs/dev/sda", tarfile.BLKTYPE, devmajor=8)
        add(tar, "rootfs/link", tarfile.LNKTYPE, "/etc/shadow")
        add(tar, "metadata.yaml", tarfile.SYMTYPE, "/etc/shadow")
    return str(path)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_problems_of_a_hostile_archive_are_found(form, tmp_path, monkeypatch):
    monkeypatch.setattr(tarfile.TarFile, "format", form)
    found = {finding.check for finding in audit(scan_image(hostile(tmp_path / "x.tar")))}
    assert {
        "layout", "member-name", "member-link", "privileged-file", "target-outside", "template-name", "template-file",
    } - {"template-file"} <= found  # fmt: skip


def split_in_two(archive, folder):
    """The metadata tarball and the root filesystem of a unified image."""
    with (
        tarfile.open(archive) as tar,
        tarfile.open(folder / "meta.tar", "w") as first,
        tarfile.open(folder / "rootfs.tar", "w") as second,
    ):
        for member in tar:
            data = tar.extractfile(member) if member.isreg() else None
            top, _, rest = member.name.partition("/")
            if top == "rootfs":
                member.name = f"./{rest}" if rest else "."
                if member.islnk():
                    member.linkname = member.linkname.replace("rootfs/", "./")
            (second if top == "rootfs" else first).addfile(member, data)
    return str(folder / "meta.tar"), str(folder / "rootfs.tar")


def test_a_split_image_has_the_same_findings_as_a_unified_image(tmp_path):
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        for name in ("metadata.yaml", "templates", "rootfs"):
            tar.add(BROKEN / name, name)
        for kind, name, target in (
            (tarfile.REGTYPE, "/absolute", ""),
            (tarfile.BLKTYPE, "rootfs/dev/sda", ""),
            (tarfile.SYMTYPE, "rootfs/link", "/"),
            (tarfile.REGTYPE, "rootfs/link/x", ""),
            (tarfile.LNKTYPE, "rootfs/y", "rootfs/link/x"),
            (tarfile.LNKTYPE, "rootfs/z", "rootfs/nosuch"),
            (tarfile.REGTYPE, "rootfs/../x", ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kind, target, 0o4755
            tar.addfile(member)
    meta, rootfs = split_in_two(tmp_path / "image.tar", tmp_path)
    unified = [(f.check, f.severity, f.message) for f in audit(scan_image(str(tmp_path / "image.tar")))]
    split = [(f.check, f.severity, f.message) for f in audit(scan_image(meta, rootfs=rootfs))]
    assert split == unified
    assert {"member-link", "privileged-file", "member-name"} <= {check for check, _, _ in split}
    assert "member-link" not in {finding.check for finding in audit(scan_image(meta))}


@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="NOT RUN: needs squashfs-tools")
def test_only_the_needed_files_of_an_image_are_read(tmp_path):
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        for name in ("metadata.yaml", "templates"):
            tar.add(BROKEN / name, name)
        for name in ("passwd", "hostname", "motd"):
            member = tarfile.TarInfo(f"rootfs/etc/{name}")
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
        link = tarfile.TarInfo("rootfs/etc/hosts")
        link.type, link.linkname = tarfile.LNKTYPE, "rootfs/etc/hostname"
        tar.addfile(link)
    meta, rootfs = split_in_two(tmp_path / "image.tar", tmp_path)
    for scanned in (scan_image(str(tmp_path / "image.tar")), scan_image(meta, rootfs=rootfs)):
        assert scanned.heads == {"rootfs/etc/passwd": b"passwd", "rootfs/etc/hostname": b"hostname"}


def test_the_squashfs_of_a_split_image_is_checked(tmp_path):
    image = tmp_path / "image"
    shutil.copytree(ROOT / "sample-images" / "alpine", image)
    (image / "rootfs" / "etc").mkdir(parents=True, exist_ok=True)
    (image / "rootfs" / "etc" / "sudo").touch()
    (image / "rootfs" / "etc" / "sudo").chmod(0o4755)
    contents = open_contents(str(image))
    files = build(contents, contents.parts(), str(tmp_path / "i"), Packing("split", rootfs="squashfs")).files
    found = {finding.check: finding.message for finding in audit(scan_image(files[0], rootfs=files[1]))}
    assert found["privileged-file"] == "setuid files: 1 (rootfs/etc/sudo)"


def test_an_invalid_second_file_is_a_usage_error(tmp_path, capfd):
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        for name in ("metadata.yaml", "templates", "rootfs"):
            tar.add(BROKEN / name, name)
    meta, rootfs = split_in_two(tmp_path / "image.tar", tmp_path)
    for words, said in (
        ((str(BROKEN), rootfs), "is a directory and can't be combined with a second image file"),
        ((str(tmp_path / "image.tar"), rootfs), "already contains a root filesystem"),
        ((meta, str(tmp_path / "image.tar")), "is a complete image"),
        ((meta, str(tmp_path / "nosuch")), "does not exist"),
        ((meta, str(BROKEN / "metadata.yaml")), "is a text file"),
    ):
        assert main(["audit", *words]) == 2
        assert said in capfd.readouterr().err


def test_the_audit_command_writes_nothing_and_follows_no_links(tmp_path):
    before = sorted(tmp_path.iterdir())
    archive = hostile(tmp_path / "x.tar")
    audit(scan_image(archive))
    assert sorted(tmp_path.iterdir()) == [*before, tmp_path / "x.tar"]


def test_exit_code_of_audit_depends_on_severity_of_findings(capfd):
    assert main(["audit", str(BROKEN)]) == 1
    assert main(["audit", str(ROOT / "sample-images" / "debian-cloud")]) == 0
    assert main(["audit", str(BROKEN / "nosuch")]) == 2


@pytest.mark.parametrize("packed", [False, True])
def test_path_without_metadata_is_reported_as_not_an_image(packed, tmp_path, capfd):
    """Users name a folder one level too high, a folder with ``metadata.yml``, or a root filesystem."""
    image = tmp_path / "image"
    (image / "rootfs").mkdir(parents=True)
    (image / "metadata.yml").write_text("architecture: x86_64\n")
    if packed:
        with tarfile.open(image := tmp_path / "image.tar", "w") as tar:
            tar.add(tmp_path / "image", ".")
    assert main(["audit", str(image)]) == 1
    assert f"'{image}' has no metadata.yaml: it is not an image" in capfd.readouterr().out


def test_the_findings_of_a_file_are_sorted_by_line():
    text = b"{% ssi 'a' %}" * 3 + b"\n{% ssi 'a' %}" * 9
    found = audit(ScannedImage("image", None, {"a": TemplateFile(Entry(FILE), text)}))
    places = [(f.span.line, f.span.column) for f in found if f.check == "file-tag" and f.span]
    assert len(places) == 12
    assert places == sorted(places)


def test_the_at_least_option_hides_less_severe_findings(capfd):
    main(["audit", str(BROKEN), "--at-least", "critical", "--json"])
    found = json.loads(capfd.readouterr().out)["findings"]
    assert {finding["severity"] for finding in found} == {"critical"}


def test_a_sarif_report_has_the_form_for_github_code_scanning(capfd):
    main(["audit", str(BROKEN), "--report", "sarif"])
    document = json.loads(capfd.readouterr().out)
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("note", "warning", "error")
        (location,) = result["locations"]
        region = location["physicalLocation"]["region"]
        assert region["startLine"] >= 1
        assert location["physicalLocation"]["artifactLocation"]["uri"]
    places = [
        r["locations"][0]["physicalLocation"]["region"]
        for r in run["results"]
        if r["ruleId"] == "target-outside"
    ]
    assert places == [{"startLine": 47, "startColumn": 3, "endLine": 47, "endColumn": 21}]


def test_sarif_has_all_fields_that_code_scanning_requires(monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    main(["audit", "./sample-images/../sample-images/broken/", "--report", "sarif"])
    (run,) = json.loads(capfd.readouterr().out)["runs"]
    assert run["columnKind"] == "unicodeCodePoints"
    for rule in run["tool"]["driver"]["rules"]:
        assert rule["shortDescription"]["text"] and rule["fullDescription"]["text"] and rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("note", "warning", "error")
        assert 0 < float(rule["properties"]["security-severity"]) < 10
    places = [
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in run["results"]
    ]
    assert {place.rpartition("/")[0] for place in places} == {
        "sample-images/broken", "sample-images/broken/templates"
    }  # fmt: skip
    told = [result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]]
    assert len(set(told)) == len(told)
    assert any(
        "\nhint: write an absolute path without '..', such as /etc/hostname" in r["message"]["text"]
        for r in run["results"]
    )


@pytest.mark.parametrize(
    ("here", "image", "place"),
    [
        ("", "sample-images/broken", "sample-images/broken/metadata.yaml"),
        ("sample-images/broken", ".", "metadata.yaml"),
        ("sample-images/alpine", "../broken", f"file://{BROKEN}/metadata.yaml"),
    ],
)
def test_locations_in_sarif_are_relative_to_the_working_directory(monkeypatch, capfd, here, image, place):
    monkeypatch.chdir(ROOT / here)
    main(["audit", image, "--report", "sarif", "--at-least", "critical"])
    results = json.loads(capfd.readouterr().out)["runs"][0]["results"]
    uris = {r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in results}
    assert uris == {place}


def test_sarif_fingerprints_do_not_depend_on_line_numbers(tmp_path):
    rules = "templates:\n  /../a: {when: [create], template: t}\n  /../b: {when: [create], template: t}\n"

    def told(text):
        (tmp_path / "metadata.yaml").write_text(text)
        surveyed = scan_image(str(tmp_path))
        results = sarif_document(audit(surveyed), surveyed.name, "1", uri_of(surveyed.name))["runs"][0][
            "results"
        ]
        return [result["partialFingerprints"] for result in results if result["ruleId"] == "target-outside"]

    before = told(rules)
    assert len(before) == 2 and before[0] != before[1]
    assert told("# moved\n" + rules) == before


@pytest.mark.parametrize("name", ["../../etc/x", "/etc/x", "a b%c", "\udcff"])
def test_locations_in_sarif_are_never_outside_the_image(tmp_path, name):
    import urllib.parse

    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
        tar.addfile(tarfile.TarInfo(name))
    surveyed = scan_image(str(tmp_path / "image.tar"))
    results = sarif_document(audit(surveyed), surveyed.name, "1", uri_of(surveyed.name))["runs"][0]["results"]
    assert results
    for result in results:
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        path = urllib.parse.unquote(urllib.parse.urlsplit(uri).path, errors="surrogateescape")
        assert uri.startswith("file:///") and f"{path}/".startswith(f"{tmp_path}/image.tar/")
        assert ".." not in path.split("/")


def test_sarif_region_is_span_of_finding_or_first_line():
    source = Source("image/metadata.yaml", "a: b\nccc: d\n")
    found = [Finding("mode", Severity.LOW, "m", span, "x") for span in (None, source.span(5, 8))]
    results = sarif_document(found, "image", "1", "image")["runs"][0]["results"]
    assert [each["locations"][0]["physicalLocation"]["region"] for each in results] == [
        {"startLine": 1},
        {"startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 4},
    ]


def test_sarif_without_findings_is_valid():
    surveyed = scan_image(str(ROOT / "sample-images" / "netplan"))
    assert sarif_document([], surveyed.name, "1", "image")["runs"][0]["results"] == []


def test_no_report_contains_a_secret(tmp_path, capfd):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "t").write_text('{{ config_get("user.password", "hunter2") }}')
    (tmp_path / "metadata.yaml").write_text("templates:\n  /etc/a: {when: [create], template: t}\n")
    for report in ("text", "json", "sarif"):
        main(["audit", str(tmp_path), "--report", report])
    assert "hunter2" not in "".join(capfd.readouterr())


def test_a_file_beyond_a_read_limit_is_not_reported_as_missing(tmp_path):
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        for name in ("metadata.yaml", "templates"):
            tar.add(ROOT / "sample-images" / "alpine" / name, name)
    path = str(tmp_path / "image.tar")
    found = audit(scan_image(path, DEFAULT._replace(members=2)))
    assert [finding.check for finding in found if "not in the image" in finding.message] == []
    assert any("more than 2" in finding.message for finding in found)
    assert not any("more than" in finding.message for finding in audit(scan_image(path)))


def test_the_location_of_a_runaway_template_includes_the_image(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "t").write_text("x\n{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}")
    (tmp_path / "metadata.yaml").write_text("templates: {/etc/a: {when: [create], template: t}}\n")
    surveyed = scan_image(str(tmp_path))
    found = [finding for finding in audit(surveyed) if finding.check == "runaway"]
    assert [finding.place.startswith(f"{tmp_path}/templates/t:2:") for finding in found] == [True]
    results = sarif_document(found, surveyed.name, "1", uri_of(surveyed.name))["runs"][0]["results"]
    uri = results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == f"file://{tmp_path}/templates/t"


def test_fingerprints_of_equal_findings_have_the_same_hash_and_different_numbers(tmp_path):
    (tmp_path / "metadata.yaml").write_text("templates:\n  /../a: {when: [create], template: t}\n")
    scanned = scan_image(str(tmp_path))
    found = audit(scanned)
    results = sarif_document([found[0], found[0]], scanned.name, "1", "image")["runs"][0]["results"]
    hashes = [result["partialFingerprints"]["primaryLocationLineHash"] for result in results]
    assert re.fullmatch(r"[0-9a-f]{16}:1", hashes[0])
    assert hashes[1] == hashes[0][:-1] + "2"


def test_audit_reads_at_most_200_times_the_compressed_size(tmp_path):
    path = tmp_path / "image.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, size in (("metadata.yaml", 0), ("rootfs/zeros", 8 << 20)):
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, io.BytesIO(bytes(size)))
    with pytest.raises(LimitError, match="more than 200 times its size"):
        raise scan_image(str(path), DEFAULT._replace(ratio_from=1 << 20)).errors[0]


def test_bytes_of_names_and_attributes_in_memory_are_counted(tmp_path):
    scan = _Scanner(str(tmp_path), DEFAULT)
    for name, size in (
        (Name("ab", Entry(FILE)), 2),
        (Name("é", Entry(SYMLINK, target="xyz")), 7),
        (Name("a", Entry(FILE), hard_link="bc", xattrs=("user.a", "user.b")), 15 + 2 * ATTRIBUTE_BYTES),
    ):
        before = scan.held._held
        scan.add(name)
        assert scan.held._held - before == size


def test_extended_attributes_in_an_image_directory_are_read(tmp_path):
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    for path in ("rootfs/file", "rootfs/etc"):
        (tmp_path / "rootfs/file").touch()
        try:
            os.setxattr(tmp_path / path, "user.a", b"x")
        except OSError:
            pytest.skip("the file system has no extended attributes")
    (tmp_path / "rootfs/link").symlink_to("file")
    found = {name.path: name.xattrs for name in scan_image(str(tmp_path)).names}
    assert {path for path, names in found.items() if "user.a" in names} == {"rootfs/file", "rootfs/etc"}


def test_hard_link_as_template_has_content_of_linked_template(tmp_path):
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        for name, kind, target, data in (
            ("", tarfile.DIRTYPE, "", b""),
            ("templates/a", tarfile.REGTYPE, "", b"{{ 1/0 }}"),
            ("templates/b", tarfile.LNKTYPE, "templates/a", b""),
            ("templates/c", tarfile.LNKTYPE, "rootfs/x", b""),
            ("templates/d", tarfile.LNKTYPE, "templates/none", b""),
            ("templates/e", tarfile.LNKTYPE, "a", b""),
            ("rootfs/e", tarfile.LNKTYPE, "templates/a", b""),
        ):
            member = tarfile.TarInfo(name or ".")
            member.type, member.linkname, member.size = kind, target, len(data)
            tar.addfile(member, io.BytesIO(data))
    scanned = scan_image(str(tmp_path / "image.tar"))
    assert {name: file.data for name, file in scanned.templates.items()} == {
        "a": b"{{ 1/0 }}", "b": b"{{ 1/0 }}", "c": None, "d": None, "e": None,
    }  # fmt: skip
    assert next(iter(scanned.names)).path == "templates/a"


@pytest.mark.parametrize(
    ("names", "unfound"),
    [
        (["metadata.yaml", "rootfs/"], ()),
        (["./metadata.yaml", "./rootfs/"], ()),
        (["metadata.yaml", "rootfs//etc/motd"], ()),
        (["metadata.yaml", "./rootfs/./etc/motd"], ()),
        (["metadata.yaml", "rootfs.img"], ()),
        (["metadata.yaml"], ()),
        (["metadata.yaml", "././rootfs/a", "././rootfs/b", "rootfs/c"], ()),
        (["metadata.yaml", ".//rootfs/etc/motd", ".//rootfs/etc/issue"], (".//rootfs/etc/motd",)),
        (["metadata.yaml", "././rootfs.img"], ("././rootfs.img",)),
        (["././metadata.yaml", "rootfs/etc/motd"], ("././metadata.yaml",)),
        (["metadata.yaml", "/rootfs/etc/motd"], ("/rootfs/etc/motd",)),
    ],
)
def test_member_names_that_daemons_cannot_find_are_listed(tmp_path, names, unfound):
    """Recorded from Incus 6.0.4: "Metadata tarball is missing metadata.yaml", "Invalid instance type"."""
    path = tmp_path / "image.tar"
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            tar.addfile(info)
    assert scan_image(str(path)).unfound == unfound


def test_a_hard_link_to_the_top_directory_is_an_error(tmp_path):
    path = tmp_path / "image.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("metadata.yaml"))
        link = tarfile.TarInfo("rootfs/a")
        link.type, link.linkname = tarfile.LNKTYPE, "."
        tar.addfile(link)
    (error,) = scan_image(str(path)).errors
    assert error.message == "'rootfs/a' is a hard link to the top directory"


def test_second_file_is_refused_if_first_has_root_filesystem(tmp_path):
    first, second = tmp_path / "a.tar", tmp_path / "b.tar"
    for path, names in ((first, ("metadata.yaml", "rootfs/x")), (second, ("x",))):
        with tarfile.open(path, "w") as tar:
            for name in names:
                tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(UsageError) as caught:
        scan_image(str(first), rootfs=str(second))
    assert caught.value.message == (
        f"'{first}' already contains a root filesystem, so '{second}' is not part of this image"
    )


def test_oversized_file_does_not_prevent_scan_of_other_files(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/t").write_text("x")
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\n")
    scanned = scan_image(str(tmp_path), DEFAULT._replace(metadata_bytes=5))
    assert scanned.metadata is None and scanned.templates["t"].data == b"x" and scanned.complete
    assert [error.message for error in scanned.errors] == ["'/metadata.yaml' is larger than 5 bytes"]
    assert "x" not in [finding.message for finding in audit(scanned)]


def test_the_templates_of_a_scanned_image_have_a_total_size_limit(tmp_path):
    (tmp_path / "templates").mkdir()
    for name in "ab":
        (tmp_path / "templates" / name).write_text("xx")
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\n")
    found = scan_image(str(tmp_path), DEFAULT._replace(templates_bytes=3)).templates
    (error,) = [file.error for file in found.values() if file.error is not None]
    assert error.message == "the templates have more than 3 bytes in total"
    assert [file.data for file in found.values() if file.error is None] == [b"xx"]


def test_a_root_filesystem_with_too_many_directories_is_read_only_once(monkeypatch):
    """Each check read the names again up to the limit, so that an archive of 355 kB took five seconds."""
    read = []

    class Names(scanned_image.RootfsNames):
        def __init__(self, names):
            read.append(names)
            super().__init__(names)

    monkeypatch.setattr(scanned_image, "RootfsNames", Names)
    monkeypatch.setattr(scanned_image, "_MOST_ENTRIES", 3)
    image = an_image(names=(Name("rootfs/a/b/c/d", Entry(FILE, 0o644)),))
    for _ in range(3):
        with pytest.raises(LimitError, match=r"^the root filesystem has more than 3 files and directories$"):
            _ = image.rootfs
    assert any("not checked completely" in finding.message for finding in audit(image))
    assert len(read) == 1


def test_metadata_above_a_yaml_limit_gives_only_limit_errors(tmp_path):
    (tmp_path / "metadata.yaml").write_text("templates: {}\n" * 3)
    scanned = scan_image(str(tmp_path), yaml=YamlLimits(bytes=10))
    assert scanned.errors and all(isinstance(error, LimitError) for error in scanned.errors)


@pytest.mark.parametrize(
    ("used", "chosen", "left"),
    [
        (0, None, 4.0),
        (2.5, None, 4.0),
        (5.0, None, 2.0),
        (6.9, None, 0.5),
        (60, None, 0.5),
        (60, 9.0, 9.0),
        (60, 4.0, 0.5),
    ],
)
def test_the_scan_and_all_checks_share_a_limit_on_processor_time(used, chosen, left):
    limits = None if chosen is None else Limits(total=chosen)
    image = an_image(limits=limits, begun=time.process_time() - used)
    default = Limits(total=4.0)
    found = image.rendering_limits(default)
    assert found.total == pytest.approx(left, abs=0.15)
    assert default.total == 4.0


@pytest.mark.parametrize("packed", [False, True])
def test_a_scan_reads_no_more_than_the_beginning_of_a_file(packed, tmp_path):
    sizes = {
        "rootfs.img": 4096,
        "rootfs/etc/passwd": 1 << 20,
        "rootfs/etc/hostname": 64 << 10,
        "rootfs/etc/hosts": 64 << 10,
    }
    top = tmp_path / "image"
    (top / "rootfs/etc").mkdir(parents=True)
    (top / "metadata.yaml").write_text("architecture: x86_64\n")
    for name, size in sizes.items():
        (top / name).write_bytes(b"x" * (size + 1))
    if packed:
        with tarfile.open(top := tmp_path / "image.tar", "w") as tar:
            tar.add(tmp_path / "image", ".")
    scanned = scan_image(str(top), heads={"metadata.yaml": 5, "rootfs/etc/hosts": 3})
    assert {name: len(data) for name, data in scanned.heads.items()} == {**sizes, "rootfs/etc/hosts": 3}


def test_directory_is_scanned_by_name_without_directory_descriptors(tmp_path, monkeypatch):
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "templates").mkdir()
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\n")
    (tmp_path / "templates/a").write_text("text")
    (tmp_path / "rootfs/etc/hostname").write_text("built\n")
    (tmp_path / "rootfs/etc/link").symlink_to("hostname")
    (tmp_path / "templater.toml").write_text("# none")

    def told():
        scanned = scan_image(str(tmp_path), heads={"templater.toml": 3})
        names = sorted((name.path, name.entry.kind, name.entry.target) for name in scanned.names)
        return (
            names,
            scanned.heads,
            {name: file.data for name, file in scanned.templates.items()},
            scanned.errors,
        )

    expected = told()
    assert expected[1:] == ({"rootfs/etc/hostname": b"built\n", "templater.toml": b"# n"}, {"a": b"text"}, ())
    monkeypatch.setattr("templater.checks.image_scanner.open_root", ByName)
    assert told() == expected


def test_a_scan_reports_an_error_if_a_needed_file_is_unreadable(tmp_path, monkeypatch):
    def refuse(*_):
        raise InputError("not public")

    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\n")
    (tmp_path / "rootfs/etc/hostname").write_text("a")
    monkeypatch.setattr(_Scanner, "_read_head", refuse)
    scanned = scan_image(str(tmp_path))
    assert ([error.message for error in scanned.errors], scanned.heads, scanned.complete) == (
        ["not public"],
        {},
        True,
    )


def test_bug_in_one_check_does_not_hide_other_findings(monkeypatch):
    """A block in a macro ended the audit of a hostile image with a traceback, and without any finding."""
    image = an_image(rules("/etc/shadow: {when: [create], template: t}"), {"t": "{{ path }}"})
    monkeypatch.setattr(runaway, "texts_of", lambda image: {}["x"])
    found = {finding.check: finding for finding in audit(image)}
    assert "sensitive-target" in found
    assert found["runaway"].message.startswith("not checked completely: KeyError at ")
    assert (found["runaway"].severity, found["runaway"].hint) == (Severity.HIGH, "please report this")
