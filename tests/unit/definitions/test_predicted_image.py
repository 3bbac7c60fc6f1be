"""The prediction of a build: filters, generators, the root filesystem, positions and limits."""

import time

import pytest

from templater.definitions import build_rendering
from templater.definitions.choice import VM, Choice
from templater.definitions.generators import Results
from templater.definitions.predicted_image import MAX_ENTRIES, build, expiry_seconds
from templater.image.limits import DEFAULT
from templater.model.errors import InputError, LimitError, TemplaterError, UsageError
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata

IMAGE = "image: {distribution: tiny, architecture: x86_64, serial: s}\n"


def built(text: str, *parameters: str, **choice):
    return build(Source("d.yaml", text), Choice(parameters, **choice))


def files(*entries: str, **choice):
    return built(IMAGE + "files:\n" + "".join(f"- {entry}\n" for entry in entries), **choice)


def paths(image) -> list[str]:
    return [rule.path for rule in read_metadata(image.read_metadata()).rules]


def template(image, name: str) -> str:
    return image.read_templates([name])[name].data.decode()


@pytest.mark.parametrize(
    ("architecture", "known"),
    [
        ("amd64", "amd64 x86_64 linux64"),
        ("x86_64", "amd64 x86_64 linux64"),
        ("i386", "i386 i686 linux32"),
        ("arm64", "arm64 aarch64 linux64"),
        ("armhf", "armhf armv7l linux32"),
    ],
)
def test_a_template_can_use_architecture_names_and_default_values(architecture, known):
    fields = ("_mapped", "_kernel", "_personality")
    names = " ".join(f"{{{{ image.architecture{field} }}}}" for field in fields)
    image = built(
        f"image:\n  distribution: tiny\n  architecture: {architecture}\n"
        f"  description: '{names} {{{{ image.expiry }}}} {{{{ image.variant }}}}'\n"
        "mappings: {architecture_map: debian}\n"
    )
    assert read_metadata(image.read_metadata()).properties["description"] == f"{known} 30d default"


def test_the_remove_and_dump_generators_follow_the_definition_order():
    hosts = "{generator: hosts, path: /etc/hosts}"
    assert paths(files("{generator: remove, path: /etc}", hosts)) == []
    image = files("{generator: remove, path: /etc}", "{generator: dump, path: /etc/hosts, content: a}", hosts)
    assert template(image, "hosts.tpl") == "127.0.1.1\t{{ container.name }}\na\n"
    assert image.notes == ()


def test_the_hosts_generator_uses_a_file_from_the_copy_generator():
    image = files(
        "{generator: copy, source: /srv/hosts, path: /etc/}",
        "{generator: hosts, path: /etc/hosts}",
        "{generator: hostname, path: /etc/hostname}",
        rootfs="none",
    )
    assert paths(image) == ["/etc/hosts"]


def test_templater_assumes_that_etc_hosts_exists_without_rootfs():
    entries = "{generator: hostname, path: /etc/hostname}", "{generator: hosts, path: /etc/hosts}"
    image = files(*entries)
    assert paths(image) == ["/etc/hostname", "/etc/hosts"]
    assert [note for note in image.notes if "--rootfs" in note] == [
        "assuming that '/etc/hostname' and '/etc/hosts' exist in the root filesystem (see --rootfs DIR|none)"
    ]
    assert files(*entries, rootfs="none").notes == ()


def test_a_note_says_that_built_files_keep_their_mode():
    seed = "/var/lib/cloud/seed/nocloud-net/user-data"
    dump = f"{{generator: dump, path: {seed}, mode: '0600'}}"
    rule = "{generator: cloud-init, name: user-data}"
    assert files(dump, rule).notes == (
        f"some modes are not predicted: the build creates '{seed}' with mode 0600, and the daemon keeps the mode of an"
        " existing file",
    )
    assert files(dump, f"{{generator: remove, path: {seed}}}", rule).notes == ()
    assert files(dump).notes == ()


@pytest.mark.parametrize(("count", "more"), [(5, ""), (6, " and 1 more"), (8, " and 3 more")])
def test_at_most_five_files_appear_in_the_note_about_kept_modes(count, more):
    entries = []
    for number in range(count):
        entries.append(f"{{generator: dump, path: /etc/{number}, mode: '0600'}}")
        entries.append(f"{{generator: template, name: t{number}, path: /etc/{number}, content: x}}")
    named = ", ".join(f"'/etc/{number}' with mode 0600" for number in range(5))
    (note,) = files(*entries).notes
    assert note == (
        f"some modes are not predicted: the build creates {named}{more},"
        " and the daemon keeps the mode of an existing file"
    )


def notes_on_variant(variant: str, *entries: str) -> list[str]:
    text = IMAGE + "files:\n" + "".join(f"- {{generator: dump, path: /a{entry}}}\n" for entry in entries)
    return [note for note in built(text, f"image.variant={variant}").notes if "variant" in note]


def test_a_note_about_an_unknown_variant_lists_the_known_variants():
    assert notes_on_variant("clowd", ", variants: [cloud, openrc]", ", variants: [cloud]") == [
        "the definition does not name the variant 'clowd'; its filters name cloud, openrc"
    ]
    many = ", ".join(f"v{number}" for number in range(7))
    (note,) = notes_on_variant("clowd", f", variants: [{many}]")
    assert note.endswith("its filters name v0, v1, v2, v3, v4 and 2 more")


@pytest.mark.parametrize(
    ("variant", "entry"),
    [
        ("cloud", ", variants: [cloud]"),
        ("default", ", variants: [cloud]"),
        ("clowd", ""),
        (
            "clowd",
            ", variants: [cloud], pongo: true, content: '{% if image.variant == \"clowd\" %}a{% endif %}'",
        ),
    ],
)
def test_no_note_appears_if_the_variant_is_mentioned(variant, entry):
    assert notes_on_variant(variant, entry) == []


def test_the_variants_note_mentions_only_variants_of_package_filters():
    image = IMAGE + "packages: {manager: apt, sets: [{packages: [a], action: install, variants: [musl]}]}\n"
    image += "files:\n- {generator: dump, path: /a, template: {properties: {variants: xyz}}}\n"
    (note,) = [note for note in built(image, "image.variant=glibc").notes if "variant" in note]
    assert note.endswith("its filters name musl")


def test_the_hosts_generator_replaces_the_build_programs_name(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").write_text("127.0.1.1 distrobuilder lxd-imagebuilder\n")
    (tmp_path / "etc/hostname").symlink_to("nowhere")
    entries = "{generator: hosts, path: /etc/hosts}", "{generator: hostname, path: /etc/hostname}"
    image = files(*entries, rootfs=str(tmp_path))
    assert template(image, "hosts.tpl") == "127.0.1.1 {{ container.name }} lxd-imagebuilder\n"
    assert paths(image) == ["/etc/hostname", "/etc/hosts"], "a dangling link counts as present"
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin/init").touch()
    image = files("{generator: lxd-agent}", *entries, rootfs=str(tmp_path))
    assert template(image, "hosts.tpl") == "127.0.1.1 distrobuilder {{ container.name }}\n"


def test_a_file_outside_the_root_filesystem_is_not_read(tmp_path):
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/hosts").symlink_to("../../secret")
    with pytest.raises(
        TemplaterError,
        match=r"^d\.yaml:3:28: '/etc/hosts' is a dangling symlink in the root filesystem, so the build fails$",
    ):
        files("{generator: hosts, path: /etc/hosts}", rootfs=str(tmp_path / "root"))
    with pytest.raises(
        TemplaterError,
        match=r"^d\.yaml:3:28: target path '\.\./secret' leaves the root filesystem by '\.\.'$",
    ) as caught:
        files("{generator: hosts, path: ../secret}", rootfs=str(tmp_path / "root"))
    assert caught.value.hint == "write an absolute path without '..', such as /etc/hostname"


def test_the_incus_agent_generator_requires_an_init_program(tmp_path):
    with pytest.raises(
        InputError,
        match=r"^d\.yaml:3:15: the agent needs '/sbin/init', which the root filesystem lacks, so the build fails$",
    ):
        files("{generator: incus-agent}", rootfs=str(tmp_path))
    assert paths(files("{generator: incus-agent}")) == []


def test_the_types_filter_selects_entries_by_the_type_of_the_instance():
    entries = [
        f"{{generator: template, name: {name}, path: /{name}, types: {types}}}"
        for name, types in (("vm", "[vm]"), ("container", "[container]"), ("both", "[container, vm]"))
    ]
    assert paths(files(*entries)) == ["/both", "/container"]
    assert paths(files(*entries, type=VM)) == ["/both", "/vm"]


def test_an_architecture_filter_compares_the_architecture_name_of_the_distribution():
    entries = "files:\n- {generator: template, name: a, path: /a, architectures: [amd64]}\n"
    assert paths(built(IMAGE + entries)) == []
    assert paths(built(IMAGE + entries + "mappings: {architecture_map: debian}")) == ["/a"]
    assert paths(built(IMAGE + entries + "mappings: {architectures: {x86_64: amd64}}")) == ["/a"]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("image: {release: a}", "1:8", "image.distribution is missing"),
        ("image: {distribution: a, architecture: z80}", "1:40", "unknown architecture 'z80'"),
        (IMAGE + "mappings: {architecture_map: almalinux}", "2:30", "no architecture map 'almalinux'"),
        (IMAGE + "mappings: {architecture_map: debain}", "2:30", "unknown architecture map 'debain'"),
        ("image: {distribution: a, name: '{{ image.x|nosuch }}'}", "1:44", "unknown filter 'nosuch'"),
        (IMAGE + "files:\n- {generator: dump, path: /a, mode: rw}", "3:37", "is not an octal number"),
        (
            IMAGE + "files:\n- generator: template\n  name: a\n  path: /a\n  pongo: true\n"
            "  content: |\n    one\n    two {% raw %}",
            "9:12",
            "unknown tag 'raw'",
        ),
    ],
)
def test_the_error_about_a_failed_definition_build_has_a_position(text, place, message):
    with pytest.raises(TemplaterError) as caught:
        built(text)
    assert message in str(caught.value)
    assert caught.value.span is not None
    assert caught.value.span.place == f"d.yaml:{place}"


def test_a_note_gives_the_position_of_an_unrenderable_field():
    image = files("{generator: dump, path: '/a{{', content: a, pongo: true}")
    assert [note.partition(": ")[0] for note in image.notes] == ["d.yaml:3:31"]


def test_a_self_referencing_definition_field_is_an_error():
    with pytest.raises(
        TemplaterError,
        match=r"^d\.yaml:1:33: image\.name can't be rendered, so the build fails: the text still contains '\{\{' or '\{%' after it was rendered 20 times$",
    ) as caught:
        built("image: {distribution: a, name: '{{ source.url }}'}\nsource: {url: '{{ source.url }}'}")
    assert (
        caught.value.hint
        == "the text refers to itself, or prints a field that refers to itself: distrobuilder never finishes this build"
    )


def test_rendering_stops_early_if_a_definition_field_becomes_too_large():
    loop = "{% for i in image.description|make_list %}{% for j in image.description|make_list %}" * 3
    text = f"image: {{distribution: a, description: '{'x' * 2000}', name: \"{loop}\"}}"
    started = time.monotonic()
    with pytest.raises(TemplaterError):
        built(text)
    text = f"image: {{distribution: a, description: '{'x' * 2000}', name: \"{loop}x{'{% endfor %}' * 6}\"}}"
    with pytest.raises(LimitError):
        built(text)
    assert time.monotonic() - started < 15


def test_a_definition_template_cannot_read_files_of_the_build_host(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    for tag in (f'{{% include "{secret}" %}}', f'{{% ssi "{secret}" %}}', f'{{% extends "{secret}" %}}'):
        for pongo in ("false", "true"):
            text = (
                IMAGE
                + f"files:\n- {{generator: template, name: a, path: /a, pongo: {pongo}, content: '{tag}'}}"
            )
            try:
                image = built(text)
            except TemplaterError:
                continue
            assert "secret\n" not in template(image, "a.tpl")


def test_the_number_of_file_entries_in_a_definition_is_limited():
    files(*["{generator: fstab}"] * MAX_ENTRIES)
    with pytest.raises(LimitError, match=r"^d\.yaml:1003:3: more than 1000 entries in 'files'$"):
        files(*["{generator: fstab}"] * (MAX_ENTRIES + 1))


def test_the_properties_and_rules_of_a_build_share_one_size_limit():
    text = "image: {distribution: tiny, release: one}\nfiles: [{generator: hosts, path: /etc/hosts}]\n"

    def made(most):
        image = build(Source("d.yaml", text), Choice(), DEFAULT._replace(metadata_bytes=most))
        return read_metadata(image.read_metadata())

    metadata = made(1 << 20)
    (rule,) = metadata.rules
    size = sum(map(len, metadata.properties.values())) + len(rule.path) + sum(map(len, rule.when))
    made(size)
    with pytest.raises(LimitError, match=f"is larger than {size - 1} bytes$"):
        made(size - 1)


def test_all_file_entries_of_a_build_share_one_character_limit():
    results = Results(10)
    results.count("12345", "67é")  # é has two bytes in UTF-8
    results.count("90")
    with pytest.raises(LimitError) as refused:
        results.count("x")
    assert refused.value.message == "the entries of 'files' have more than 10 characters in total"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1d12h", 43200), ("2w", 14 * 86400), ("x", 0), ("30d", 30 * 86400), ("1h x 2m", 3720)],
)
def test_an_expiry_without_spaces_equals_its_last_term(text, seconds):
    assert expiry_seconds(text) == seconds


def test_a_position_in_generated_metadata_refers_to_the_definition():
    text = IMAGE + (
        "files:\n"
        "- generator: template\n  name: a\n  path: /etc/a\n  content: |\n    one\n    {{ two }}\n"
        "  template: {when: [create, boot], properties: {k: v}}\n"
        "- generator: cloud-init\n  name: user-data\n"
    )
    image = built(text)
    metadata = read_metadata(image.read_metadata())
    (finding,) = metadata.findings
    assert finding.span.place == "d.yaml:9:29"
    first, second = metadata.rules
    assert first.spans["path"].place == "d.yaml:5:9"
    assert first.spans["template"].place == "d.yaml:4:9"
    assert second.spans["path"].place == "d.yaml:11:9"
    source = image.read_templates(["a.tpl"])["a.tpl"].source("templates/a.tpl")
    position = source.text.index("two")
    assert source.span(position, position + 3).place == "d.yaml:8:8"
    assert source.span(position, position + 3).excerpt().endswith("^^^")


def test_a_template_is_missing_unless_the_build_creates_it():
    image = files("{generator: template, name: a, path: /a}")
    assert image.read_templates(["b.tpl"])["b.tpl"].entry is None
    assert image.template_names() == ["a.tpl"]


def test_requesting_the_root_filesystem_of_a_definition_is_an_error():
    with pytest.raises(UsageError, match=r"^a definition contains no root filesystem$") as caught:
        files(rootfs="image")
    assert caught.value.hint == "give --rootfs DIR or --rootfs none"


@pytest.mark.parametrize(
    "entry",
    [
        "generator: template, name: a, pongo: true, content: x",
        "generator: dump, path: /a, pongo: true, content: x",
    ],
)
def test_an_exceeded_limit_gives_a_limit_error(entry, monkeypatch):
    def slow(*_, **__):
        raise LimitError("too slow")

    monkeypatch.setattr(build_rendering, "render", slow)
    monkeypatch.setattr(build_rendering, "render_again", slow)
    with pytest.raises(LimitError, match=r"too slow$"):
        files(f"{{{entry}}}")
