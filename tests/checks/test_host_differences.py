"""The table of files and hosts names the construct that causes each difference."""

import tarfile

import pytest

from templater.checks.authored_image import authored
from templater.checks.host_differences import _probes, host_report
from templater.cli.run_command_line import main
from templater.model.hosts import HOSTS
from templater.model.instance import VIRTUAL_MACHINE, Instance
from templater.model.source import Source
from tests.checks.authoring.authoring_builders import file, image
from tests.checks.builders import a_folder, a_link, an_image


def causes(of) -> dict[str, str]:
    """The construct of each difference, by result and host."""
    report = host_report(of)
    return {
        f"{cell['result']} {host}": cell.get("construct", "")
        for row in report["files"]
        for host, cell in row["hosts"].items()
        if cell["result"] != "same"
    }


@pytest.mark.parametrize(
    ("template", "construct"),
    [
        ('hi {{ "a" + "b" }}\n', '"a" + "b" (templates/t:1:7)'),
        ('{{ instance.name }}\n{{ "a" + instance.name }}\n', '"a" + instance.name (templates/t:2:4)'),
        ('{% if "a" + "b" == "ab" %}yes{% else %}no{% endif %}\n', '"a" + "b" == "ab" (templates/t:1:7)'),
        (
            '{% if instance.name == "x" %}a{% elif "a" + "b" == "ab" %}b{% endif %}\n',
            '"a" + "b" == "ab" (templates/t:1:39)',
        ),
        (
            '{% for d in "xy"|make_list %}{{ d }}{{ d + "x" }}{% endfor %}\n',
            'd + "x" (templates/t:1:40)',
        ),
        ("{{ instance.name }}{% widthratio 5 nope 10 %}\n", "{% widthratio 5 nope 10 %} (templates/t:1:20)"),
        ('{% set a = "b" %}{{ a }}{{ a + "c" }}\n', 'a + "c" (templates/t:1:28)'),
    ],
)
def test_the_first_different_expression_is_shown_for_a_difference_between_hosts(template, construct):
    assert causes(file("/etc/motd", template, hosts="incus,lxd")) == {"differs lxd": construct}


def test_template_with_verbatim_block_is_reported_as_a_whole():
    text = '{% verbatim %}{{ a }}{% endverbatim %}{{ "a" + "b" }}\n'
    assert causes(file("/etc/motd", text, hosts="incus,lxd")) == {"differs lxd": "templates/t"}


def test_difference_mentions_position_of_template_error_on_one_host():
    found = causes(file("/etc/motd", '{{ config["user.x"] }}\n', hosts="incus,lxd"))
    assert found == {"fails lxd": '["user.x"] }} (templates/t:1:10)'}


def test_a_difference_shows_the_rule_field_ignored_by_a_host():
    found = causes(image("/etc/motd: {when: [create], template: t, mode: '0600'}", hosts="incus,lxd"))
    assert found == {"differs lxd": "mode: '0600' (metadata.yaml:4:50)"}


def test_no_host_table_is_printed_if_files_are_equal():
    report = host_report(file("/etc/motd", "{{ instance.name }}\n", hosts="incus,incus-6.0,lxd"))
    assert report["text"] == "" and report["hosts"] == ["incus", "incus-6.0", "lxd"]
    assert [row["path"] for row in report["files"]] == ["/etc/motd"]


def test_key_dependent_difference_is_found_if_key_is_set():
    text = '{% if config_get("user.a", "") %}{{ "a" + "b" }}{% endif %}\n'
    assert causes(file("/etc/motd", text, hosts="incus,lxd")) == {
        "differs lxd": '"a" + "b" (templates/t:1:37)'
    }
    bare = file("/etc/motd", text, hosts="incus,lxd", instances=[Instance("c1")])
    assert causes(bare) == {}


def test_host_table_ignores_virtual_machines_next_to_a_container():
    text = '{% if instance.type == "virtual-machine" %}{{ "a" + "b" }}{% endif %}\n'
    machine = Instance("v1", VIRTUAL_MACHINE)
    both = file("/etc/motd", text, hosts="incus,lxd", instances=[machine, Instance("c1")])
    assert causes(both) == {}
    alone = file("/etc/motd", text, hosts="incus,lxd", instances=[machine])
    assert "differs lxd" in causes(alone)


def test_host_failing_at_a_link_in_rootfs_is_shown():
    linked = image(
        "/etc/motd: {when: [create], template: t}", hosts="incus-6.0.4,incus",
        names=[a_folder("rootfs"), a_folder("rootfs/etc"), a_link("rootfs/etc/motd", "nosuch")],
    )  # fmt: skip
    assert "fails incus" in causes(linked)


def test_rejected_metadata_is_an_error_only_for_the_rejecting_host():
    twice = image("/etc/motd: {when: [create], template: t, template: t}", hosts="incus,lxd")
    report = host_report(twice)
    assert "duplicate key" in report["errors"]["incus"] and "lxd" not in report["errors"]
    assert "incus: the start fails" in report["text"]
    assert "not a finding" not in report["text"]


def test_the_check_command_prints_the_host_table_for_directories_and_archives(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image/templates").mkdir(parents=True)
    (tmp_path / "image/metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\ntemplates:\n  /etc/motd: {when: [create], template: t}\n"
    )
    (tmp_path / "image/templates/t").write_text('{{ "a" + "b" }}\n')
    with tarfile.open("image.tar", "w") as tar:
        tar.add("image", ".")
    shown = []
    for source in ("image", "image.tar"):
        assert main(["check", source, "--as", "incus,lxd"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert shown[0].splitlines()[0].split() == ["file", "on", "incus", "lxd"]
    assert ': "a" + "b" (templates/t:1:4)\n' in shown[0]
    legend = "'differs': this host writes a different text, owner or mode than the first host."
    assert f"{legend} A difference is not a\nfinding: " in shown[0]
    (tmp_path / "image/templater.toml").write_text('hosts = ["incus", "lxd"]\n')
    assert main(["check", "image"]) == 0
    assert capsys.readouterr().out == shown[0]


@pytest.mark.parametrize(
    ("template", "probes"),
    [
    ('{{ a }}', [('a', '{{ a }}\n')]),
    ('{{a}}-{{ b|upper }}', [('a', '{{ a }}\n'), ('b|upper', '{{ b|upper }}\n')]),
    ('x {% if a == b %}y{{ c }}{% elif d %}z{% else %}w{% endif %}{{ e }}', [('a == b', '{{ a == b }}\n{% if a == b %}{% elif d %}{% else %}{% endif %}'), ('c', '{% if a == b %}{{ c }}\n{% elif d %}{% else %}{% endif %}'), ('d', '{{ d }}\n{% if a == b %}{% elif d %}{% else %}{% endif %}'), ('e', '{% if a == b %}{% elif d %}{% else %}{% endif %}{{ e }}\n')]),
    ('{% for k in devices %}{{ k }}{% if k %}{{ x }}{% endif %}{% endfor %}', [('k', '{% for k in devices %}{{ k }}\n{% if k %}{% endif %}{% endfor %}'), ('k', '{% for k in devices %}{{ k }}\n{% if k %}{% endif %}{% endfor %}'), ('x', '{% for k in devices %}{% if k %}{{ x }}\n{% endif %}{% endfor %}')]),
    ('{% set a = 1 %}{{ a }}', [('a', '{% set a = 1 %}{{ a }}\n')]),
    ('{% now "Y" %}{% firstof a b %}{% cycle \'a\' \'b\' as c %}{% lorem %}{% random a %}', [('{% now "Y" %}', '{% now "Y" %}{% cycle \'a\' \'b\' as c %}{% random a %}'), ('{% firstof a b %}', "{% firstof a b %}{% cycle 'a' 'b' as c %}{% random a %}"), ('{% lorem %}', "{% cycle 'a' 'b' as c %}{% lorem %}{% random a %}")]),
    ('{# {{ a }} #}{{ b }}', [('b', '{{ b }}\n')]),
    ('{% comment %}{{ a }}{% endcomment %}{{ b }}', []),
    ('{% verbatim %}{{ a }}{% endverbatim %}', []),
    ('{{ a', []),
    ('{% if a %}{% if b %}{% elif c %}{% endif %}{% elif d %}{% endif %}', [('a', '{{ a }}\n{% if a %}{% if b %}{% elif c %}{% endif %}{% elif d %}{% endif %}'), ('b', '{% if a %}{{ b }}\n{% if b %}{% elif c %}{% endif %}{% elif d %}{% endif %}'), ('c', '{% if a %}{{ c }}\n{% if b %}{% elif c %}{% endif %}{% elif d %}{% endif %}'), ('d', '{{ d }}\n{% if a %}{% if b %}{% elif c %}{% endif %}{% elif d %}{% endif %}')]),
    ('{%- if a -%} {{- b -}} {%- endif -%}', [('a', '{{ a }}\n{%- if a -%}{%- endif -%}'), ('b', '{%- if a -%}{{ b }}\n{%- endif -%}')]),
    ('{% endif %}{% elif a %}{{ b }}', [('a', '{% endif %}{{ a }}\n{% elif a %}'), ('b', '{% endif %}{% elif a %}{{ b }}\n')]),
    ('{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1) }}', [('a', '{% macro m(a) %}{{ a }}\n{% endmacro %}'), ('m(1)', '{% macro m(a) %}{% endmacro %}{{ m(1) }}\n')]),
    ('{% ifequal a b %}{{ c }}{% endifequal %}', [('c', '{% ifequal a b %}{{ c }}\n{% endifequal %}')]),
    ('{% ifchanged a %}x{% endifchanged %}', []),
    ('{% with a=b %}{{ a }}{% endwith %}', [('a', '{% with a=b %}{{ a }}\n{% endwith %}')]),
    ('{% filter upper %}{{ a }}{% endfilter %}', [('a', '{% filter upper %}{{ a }}\n{% endfilter %}')]),
    ('{% widthratio a b 1 %}{% templatetag openblock %}', [('{% widthratio a b 1 %}', '{% widthratio a b 1 %}'), ('{% templatetag openblock %}', '{% templatetag openblock %}')]),
    ("{{ '}}' }}{{ b }}", [("'", "{{ ' }}\n"), ('b', '{{ b }}\n')]),
    ('text only', []),
    ('', []),
    ],
)  # fmt: skip
def test_each_probe_template_prints_only_one_expression_of_the_template(template, probes):
    source = Source("t", template)
    assert [(template[span.start : span.end], text) for span, text in _probes(source)] == probes


def test_host_table_says_that_start_fails_without_readable_metadata():
    report = host_report(authored(an_image(), (HOSTS["incus"], HOSTS["lxd"]), ()))
    message = "the image has no readable metadata.yaml"
    assert (report["files"], report["errors"]) == ([], {"incus": message, "lxd": message})
    assert f"\nlxd: the start fails: {message}\n" in report["text"]
