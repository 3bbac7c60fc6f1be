"""Attacks through template code: cases 37 to 50, from the image's folder to the written file."""

import json
import os
import re
import time
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest

from templater import pongo2
from templater.cli.run_command_line import main
from templater.image.open_image import open_image
from templater.model.errors import LimitError, RenderError, TemplaterError, TemplateSyntaxError
from templater.model.hosts import HOSTS
from templater.model.instance import Instance
from templater.planning.decide_changes import Plan
from templater.planning.plan_image import plan
from templater.pongo2.dialect import V4, V6, Dialect
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.writing.apply_plan import apply
from tests.attacks.test_hook_input import lxc, run_hook
from tests.processor_time import ends_within
from tests.rootfs_builders import a_directory, snapshot

RULE = "architecture: x86_64\ncreation_date: 1\ntemplates:\n  /etc/x: {when: [start], template: a.tpl}\n"
SECRET = "root:secret"
DIALECTS = pytest.mark.parametrize("dialect", [V4, V6], ids=lambda dialect: dialect.name)


class Machine:
    """An image with one template, a root filesystem, and a host file that no output may show."""

    def __init__(self, top: Path) -> None:
        self.shadow = a_directory(top / "host", {"shadow": SECRET}) / "shadow"
        self.image = a_directory(top / "image", {"metadata.yaml": RULE, "templates/other.tpl": SECRET})
        self.top = a_directory(top / "root", {"etc/x": "old"})

    def planned(self, text: str | bytes, dialect: Dialect = V6, **config: str) -> Plan:
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        (self.image / "templates/a.tpl").write_bytes(data)
        with DirectoryRootfs(str(self.top)) as rootfs:
            return plan(
                open_image(str(self.image)), Instance("c1", config=config), triggers=("start",), rootfs=rootfs,
                host=HOSTS["none"], dialect=dialect.name,
            )  # fmt: skip

    def written(self, text: str | bytes, dialect: Dialect = V6, **config: str) -> bytes:
        made = self.planned(text, dialect, **config)
        with DirectoryRootfs(str(self.top)) as rootfs:
            apply(made, rootfs)
        return (self.top / "etc/x").read_bytes()

    def refused(self, text: str | bytes, dialect: Dialect = V6, **config: str) -> TemplaterError:
        """Check that nothing is written and that the error is a template error with a place."""
        before = snapshot(self.top, times=True)
        made = self.planned(text, dialect, **config)
        (failed,) = made.failed
        with DirectoryRootfs(str(self.top)) as rootfs, pytest.raises(TemplaterError) as caught:
            apply(made, rootfs)
        assert snapshot(self.top, times=True) == before
        assert failed.error is not None and str(failed.error) == str(caught.value)
        assert SECRET not in caught.value.explain()
        return caught.value


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# --- case 37

#: SHADOW is an existing host file, OTHER is a second template of the image
FILE_TAGS = [
    '{% include "SHADOW" %}', "{%- ssi SHADOW %}", '{% ssi "SHADOW" parsed %}', '{% extends "SHADOW" %}',
    '{%import "SHADOW" m %}', '{% include "OTHER" %}', '{% extends "OTHER" %}', '{% include name %}',
    '{%include"OTHER"%}', '{%-include "OTHER"-%}', '{% include "OTHER" if_exists %}', '{%\tinclude "OTHER" %}',
    '{% if false %}{% include "OTHER" %}{% endif %}', '{% macro m() %}{% include "OTHER" %}{% endmacro %}',
    '{% for i in "" %}{% ssi "SHADOW" %}{% endfor %}', '{% block b %}{% extends "OTHER" %}{% endblock %}',
    '{% endautoescape %}{% include "OTHER" %}{% autoescape off %}', '{% filter upper %}{% include "OTHER" %}{% endfilter %}',
]  # fmt: skip


@DIALECTS
@pytest.mark.parametrize("text", FILE_TAGS)
def test_attack_37_a_file_reading_tag_is_a_parse_error_in_every_command(
    machine: Machine, text: str, dialect: Dialect
) -> None:
    text = text.replace("SHADOW", str(machine.shadow)).replace("OTHER", "other.tpl")
    error = machine.refused("one\n" + text, dialect, name=str(machine.shadow))
    assert isinstance(error, TemplateSyntaxError)
    assert "is not allowed in an image's templates" in error.message
    assert error.span is not None and error.span.line == 2
    assert error.span.text in ("include", "ssi", "extends", "import")


@DIALECTS
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{% INCLUDE "SHADOW" %}', "unknown tag 'INCLUDE'"),
        ('{% Include "SHADOW" %}', "unknown tag 'Include'"),
        ('{%\ninclude "SHADOW" %}', "a newline is not allowed"),
        ('{% "include" "SHADOW" %}', "tag name must be an identifier"),
    ],
)
def test_attack_37_a_banned_tag_in_an_unusual_spelling_is_a_syntax_error(
    machine: Machine, text: str, says: str, dialect: Dialect
) -> None:
    error = machine.refused(text.replace("SHADOW", str(machine.shadow)), dialect)
    assert isinstance(error, TemplateSyntaxError) and says in error.message


@DIALECTS
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('a{% comment %}{% include "SHADOW" %}{% endcomment %}b', "ab"),
        ('a{# {% include "SHADOW" %} #}b', "ab"),
        ('a{% verbatim %}{% include "S" %}{% endverbatim %}b', 'a{% include "S" %}b'),
    ],
)
def test_attack_37_a_tag_in_a_comment_is_not_parsed(
    machine: Machine, text: str, wanted: str, dialect: Dialect
) -> None:
    """pongo2 checks its ban only for tags that it parses. ``audit`` also reports tags in comments."""
    assert machine.written(text.replace("SHADOW", str(machine.shadow)), dialect) == wanted.encode()


# --- cases 38 and 39 in full; tests/unit/pongo2/codegen/test_generated_code.py covers the attributes


@DIALECTS
@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__.1.__subclasses__() }}", "{{ container.__class__ }}", "{{ config.items }}",
        "{{ config_get.__globals__ }}", "{{ self.__init__ }}", '{{ config|attr("__class__") }}',
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}", "{{ lipsum.__globals__ }}", "{% do 1 %}",
        '{{ "{0.__class__}"|format:config }}', "{{ namespace(a=1) }}", "{% set x = namespace() %}{{ x }}",
        "{{ config['__class__'] }}", "{{ [].append }}", "{{ ().__class__ }}", "{{ {}.get }}",
    ],
)  # fmt: skip
def test_attack_38_no_rendered_file_contains_a_python_object(
    machine: Machine, text: str, dialect: Dialect
) -> None:
    made = machine.planned(f"[{text}]", dialect, a="b")
    for change in made.changes:
        if change.error is None:
            assert change.content == b"[]"
        else:
            assert (
                isinstance(change.error, (TemplateSyntaxError, RenderError)) and change.error.span is not None
            )
            assert "object at 0x" not in change.error.explain() and "uid=" not in change.error.explain()


@pytest.mark.slow
@DIALECTS
@pytest.mark.parametrize(
    "name", ["Sorted", "Reversed", "CloneNative", "Clone", "Contains", "Update", "sorted", "String"]
)
@pytest.mark.parametrize(
    "form",
    [
        "{{ devices.% }}",
        "{{ devices.%() }}",
        "{{ devices.%.0 }}",
        "{{ devices.%(1, 2) }}",
        "{{ devices.%.%.% }}",
        "{{ devices.%|length }}",
        "{{ devices.%|first }}",
        "{{ config.% }}",
        "{{ trigger.% }}",
        "{{ container.% }}",
    ],
)
def test_attack_39_a_go_method_name_renders_or_gives_an_error(
    machine: Machine, name: str, form: str, dialect: Dialect
) -> None:
    (change,) = machine.planned(form.replace("%", name), dialect).changes
    if change.error is None:
        assert (
            change.content is not None and b" at 0x" not in change.content and b"<class" not in change.content
        )
    else:
        assert isinstance(change.error, (TemplateSyntaxError, RenderError)) and change.error.span is not None


# --- cases 40 to 42 and 44: tests/unit/pongo2/test_bounds.py has every bomb; this is one of each by command


@pytest.mark.parametrize(
    "text",
    [
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        '{% for a in "x"|ljust:1000 %}{% for b in "x"|ljust:1000 %}{% for c in "x"|ljust:1000 %}.{% endfor %}{% endfor %}'
        "{% endfor %}",
        '{{ "x"|center:400000000 }}',
        "{% lorem 100000000 w %}",
        "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
        "{% if 1 %}" * 5_000,
    ],
    ids=["40", "40 mutual", "41", "42 center", "42 lorem", "44 brackets", "44 ifs"],
)  # fmt: skip
@pytest.mark.parametrize(
    "command",
    ["apply", *(pytest.param(name, marks=pytest.mark.slow) for name in ("audit", "preview", "diff"))],
)
def test_attack_40_41_42_44_every_command_stops_a_runaway_template_at_a_limit(
    machine: Machine, text: str, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (machine.image / "templates/a.tpl").write_text(text)
    before = snapshot(machine.top, times=True)
    words = [command, str(machine.image)]
    if command != "audit":
        words += [str(machine.top)] if command != "preview" else []
        words += ["-t", "start"]
    with ends_within(8):
        assert main(words) == {"audit": 1, "apply": 4}.get(command, 5)
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    assert len(out + err) < 20_000
    assert snapshot(machine.top, times=True) == before


# --- case 43: recorded answers of pongo2 4.0.2; its errors are templater errors with a place

ARITHMETIC = {
    "1/0": "runtime error: integer divide by zero",
    "1 % 0": "runtime error: integer divide by zero",
    "1 % nothing": "runtime error: integer divide by zero",
    "nothing / nothing": "runtime error: integer divide by zero",
    "nothing % 1": b"0",
    "1.0 / 0": b"+Inf",
    "9^999999": b"+Inf",
    "9223372036854775807 + 1": b"-9223372036854775808",
    "-9223372036854775807 - 9": b"9223372036854775800",
    "9223372036854775807 * 9223372036854775807": b"1",
    "(0-9223372036854775807-1) / (0-1)": b"-9223372036854775808",
    "(0-9223372036854775807-1) % (0-1)": b"0",
    "9223372036854775808": "value out of range",
    "99999999999999999999999999": "value out of range",
    '"abc"|slice:"-9999999999:9999999999"': "slice bounds out of range [-9999999999:]",
    '"abc"|slice:"99999999999999999999:"': "slice bounds out of range [-9223372036854775808:]",
    '"5"|get_digit:99999999999999999999': "value out of range",
    "1|divisibleby:0": b"False",
    '"a"|add:9223372036854775807': b"a9223372036854775807",
}


@pytest.mark.parametrize("text", ARITHMETIC)
def test_attack_43_an_extreme_number_renders_as_in_go_or_fails(machine: Machine, text: str) -> None:
    wanted = ARITHMETIC[text]
    if isinstance(wanted, bytes):
        assert machine.written(f"one\n{{{{ {text} }}}}", V4) == b"one\n" + wanted
        return
    error = machine.refused(f"one\n{{{{ {text} }}}}", V4)
    assert wanted in error.message
    assert error.span is not None and error.span.line == 2


# --- case 45


@DIALECTS
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a\nb {{ 1 }", "2:8"), ("a {# b", "1:3"), ("a\n {% verbatim %} x", "2:2"), ("{{ 1 }} {% if %}", "1:12"),
        ("é\n\t{% if 1 %}x", "2:12"), ("a {{ 'b }}", "1:6"), ("{% endif %}", "1:4"), ("a\n{% endautoescape %} x", "2:21"),
        ("a %} b }} c", None), ("{{ }}", "1:4"),
    ],
)  # fmt: skip
def test_attack_45_unfinished_syntax_is_reported_with_line_and_column(
    machine: Machine, text: str, place: str | None, dialect: Dialect
) -> None:
    if place is None:
        assert machine.written(text, dialect) == text.encode()
        return
    error = machine.refused(text, dialect)
    assert error.span is not None
    assert f"{error.span.line}:{error.span.column}" == place


@DIALECTS
def test_attack_45_values_are_escaped_after_the_template_closes_autoescape(
    machine: Machine, dialect: Dialect
) -> None:
    """The daemons put each template into ``autoescape off``.

    Text after the template's ``{% endautoescape %}`` is outside of this block.
    """
    text = (
        "{{ config_get('user.a', '') }}{% endautoescape %}{{ config_get('user.a', '') }}{% autoescape off %}"
    )
    assert machine.written(text, dialect, **{"user.a": "<"}) == b"<&lt;"


# --- case 46


@DIALECTS
@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfbom", b"\0\x02\0\x7f", b"\xff\xfe\xc3", "\ud800".encode("utf-8", "surrogatepass"), b"a\r\nb\rc\n\n",
        bytes(range(2, 256)).replace(b"{", b"") + b"\0", b"{ { {} } %} #}", b"x" * 100_000, b"\n" * 20_000, b"\xf0\x9f\x98\x80", b"",
    ],
    ids=["bom", "controls", "no utf-8", "surrogate", "line ends", "binary", "braces", "one line", "lines", "astral", "empty"],
)  # fmt: skip
def test_attack_46_every_byte_of_literal_text_is_written(
    machine: Machine, data: bytes, dialect: Dialect
) -> None:
    assert machine.written(data, dialect) == data
    assert machine.written(data + b"{{ 1 }}" + data, dialect) == data + b"1" + data


@DIALECTS
def test_attack_46_a_template_ends_at_the_end_mark_of_pongo2(machine: Machine, dialect: Dialect) -> None:
    """pongo2's lexer marks the end of a text with U+0001, so the end of the wrapper after U+0001 is lost."""
    assert "is never closed" in machine.refused(b"a\x01b", dialect).message


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [lambda: b"x" * 100_000_000, lambda: b"{{ 1 }}" * 7_500_000, lambda: b"\n" * 50_000_000],
    ids=["100 MB", "50 MB of tags", "50 MB of lines"],
)
def test_attack_46_a_huge_template_is_refused_before_parsing(
    machine: Machine, make: Callable[[], bytes]
) -> None:
    data = make()
    with ends_within(2):
        error = machine.refused(data)
        assert isinstance(error, LimitError) and "is larger than 4194304 bytes" in str(error)


# --- case 47

#: (template around x, piece): time must grow linearly with the number of pieces
LINEAR = {
    "removetags": ('{{ x|removetags:"a,b,c" }}', "<a <b "),
    "removetags, never closed": ('{{ x|removetags:"a" }}', "<"),
    "striptags": ("{{ x|striptags }}", "<a <!-- "),
    "striptags, open brackets": ("{{ x|striptags }}", "<"),
    "urlize": ("{{ x|urlize }}", "www.a.b@c."),
    "urlize, one long word": ("{{ x|urlize }}", "a@"),
    "urlizetrunc": ("{{ x|urlizetrunc:5 }}", "http://a.b/ "),
    "truncatewords_html": ("{{ x|truncatewords_html:100000 }}", "<b>a "),
    "truncatechars_html": ("{{ x|truncatechars_html:1000000 }}", "<b>a &"),
    "linebreaks": ("{{ x|linebreaks }}", "\n\n a"),
    "title": ("{{ x|title }}", "a'b "),
    "wordwrap": ("{{ x|wordwrap:1 }}", "a "),
    "escapejs": ("{{ x|escapejs }}", "\u2028<"),
    "addslashes": ("{{ x|addslashes }}", "\\'"),
    "slugs of digits": ("{{ x|phone2numeric }}", "a-"),
    "split and join": ('{{ x|split:","|join:";" }}', ","),
    "spaceless": ("{% filter lower %}{% spaceless %}{{ x|safe }}{% endspaceless %}{% endfilter %}", "> <"),
}


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.slow
def test_attack_47_filters_take_linear_time(name: str) -> None:
    text, piece = LINEAR[name]
    template = pongo2.compile(text, mode="plain")
    few, many = (fastest(lambda n=n: template.render({"x": piece * n})) for n in (4_000, 32_000))
    assert many < 30 * few + 0.02, (few, many)


@pytest.mark.parametrize(
    "piece",
    ["{", "{{", "{ {", "{#", "{# #}", "{%", "{% ", "{{ 'a", '{{ "\\', "{{ a }}", "{{ a|upper }}", "{% verbatim %}", "%}", "{{-", "\n{{",
     "{{ 1.", "{{ a.b"],
)  # fmt: skip
@pytest.mark.slow
def test_attack_47_the_lexer_takes_linear_time(piece: str) -> None:
    few, many = (fastest(lambda n=n: compiled(piece * n)) for n in (1_000, 8_000))
    assert many < 30 * few + 0.02, (few, many)


def compiled(text: str) -> None:
    try:
        pongo2.compile(text)
    except TemplaterError as error:
        assert len(str(error)) < 2000


def fastest(call: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return min(times)


# --- case 48

HOSTILE = '{{ 7*7 }}{% include "/etc/shadow" %}{% endautoescape %}{# c #}%}}}{{ config_get.__globals__ }}'
SHOWS = {
    "{{ config_get('user.x', '') }}": "%",
    "{% if config_get('user.x', '') %}{{ config_get('user.x', '')|safe }}{% endif %}": "%",
    "{% set v = config_get('user.x', '') %}{{ v }}{{ v }}": "%%",
    "{% with v=config_get('user.x', '') %}{{ v }}{% endwith %}": "%",
    "{% macro m(v) %}{{ v }}{% endmacro %}{{ m(config_get('user.x', ''))|safe }}": "%",
    "{{ config_get('nothing', config_get('user.x', '')) }}": "%",
    "{{ nothing|default:config.user_x }}": "",
    "{% for k, v in config %}{{ v }}{% endfor %}": "%",
    "{{ ''|add:config_get('user.x', '') }}": "%",
}


@DIALECTS
@pytest.mark.parametrize("text", SHOWS)
def test_attack_48_a_value_is_never_parsed_as_a_template(
    machine: Machine, text: str, dialect: Dialect
) -> None:
    got = machine.written(text, dialect, **{"user.x": HOSTILE})
    assert got == SHOWS[text].replace("%", HOSTILE).encode()


def test_attack_48_a_hook_never_parses_values_as_templates(machine: Machine) -> None:
    (machine.image / "templates/a.tpl").write_text("{{ config_get('user.x', '') }}")
    (machine.image / "instance.yaml").write_text(json.dumps({"name": "c1", "config": {"user.x": HOSTILE}}))
    (machine.image / "config").write_text("")
    machine.top.rename(machine.image / "rootfs")
    assert run_hook("lxc", env=lxc(machine.image, f"{machine.image}/rootfs")).returncode == 0
    assert (machine.image / "rootfs/etc/x").read_text() == HOSTILE


# --- case 49


@DIALECTS
def test_attack_49_a_newline_in_a_value_causes_an_audit_finding(
    machine: Machine, dialect: Dialect, capfd: pytest.CaptureFixture[str]
) -> None:
    value = "web1\nlxc.hook.pre-start = /bin/evil"
    assert machine.written("name = {{ config_get('user.x', '') }}\n", dialect, **{"user.x": value}) == (
        f"name = {value}\n".encode()
    )
    main(["audit", str(machine.image), "--json", "--at-least", "info"])
    found = json.loads(capfd.readouterr().out)["findings"]
    assert {"line-injection"} <= {finding["check"] for finding in found}


# --- case 50

KEYS = ("user.db-password", "user.user-data", "cloud-init.network-config", "user.motd")
VALUE = "hunter2-hunter2"


def write_quoting_template(machine: Machine, key: str) -> None:
    """Write a template whose error text in pongo2 quotes a value."""
    (machine.image / "templates/a.tpl").write_text(
        f'{{% with secret=config_get("{key}", "") %}}{{{{ "x"|yesno:secret }}}}{{% endwith %}}'
    )
    (machine.image / "instance.yaml").write_text(json.dumps({"name": "c1", "config": {key: VALUE}}))


@pytest.mark.parametrize("key", KEYS)
def test_attack_50_the_log_and_the_output_of_a_hook_contain_no_secret(machine: Machine, key: str) -> None:
    write_quoting_template(machine, key)
    (machine.image / "config").write_text("")
    machine.top.rename(machine.image / "rootfs")
    answer = run_hook("lxc", env=lxc(machine.image, f"{machine.image}/rootfs"))
    assert answer.returncode == 5
    log = (machine.image / ".templater/log").read_text()
    for text in (log, answer.stderr):
        assert VALUE not in text
        assert "the template fails here" in text


@pytest.mark.parametrize("key", KEYS)
def test_attack_50_the_preview_and_diff_commands_show_the_written_content(
    machine: Machine, key: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """To show the content is the purpose of both commands. The user of the command gave the values."""
    (machine.image / "templates/a.tpl").write_text(f'{{{{ config_get("{key}", "") }}}}\n')
    (machine.image / "instance.yaml").write_text(json.dumps({"name": "c1", "config": {key: VALUE}}))
    instance = ["-i", str(machine.image / "instance.yaml"), "-t", "start"]
    assert main(["preview", str(machine.image), *instance]) == 0
    assert VALUE in capfd.readouterr().out
    assert main(["diff", str(machine.image), str(machine.top), *instance]) == 0
    assert f"+{VALUE}" in capfd.readouterr().out
    assert os.listdir(machine.top / "etc") == ["x"]


@pytest.mark.parametrize("command", ["preview", "check"])
@pytest.mark.parametrize("quote", ["", "'", "`"])
@pytest.mark.parametrize("key", KEYS[:3])
def test_attack_50_an_html_report_omits_errors_with_a_transformed_secret(
    machine: Machine, key: str, quote: str, command: str
) -> None:
    """The template puts a quote between all characters, so that no search finds where the secret ends."""
    (machine.image / "templates/a.tpl").write_text(
        f'{{% set x = config_get("{key}", "")|upper|make_list|join:"{quote}" %}}{{{{ 1|yesno:x }}}}'
    )
    report = machine.image.parent / "report.html"
    main([command, str(machine.image), "-c", f"{key}={VALUE}", "--html", str(report)])
    text = unescape(re.sub(r"<[^>]*>", "", report.read_text()))
    assert "HUNTER2" not in text.replace(quote, "")
    assert "the template fails here" in text


@pytest.mark.parametrize("report", ["text", "json", "sarif"])
def test_attack_50_an_audit_report_contains_no_instance_values(
    machine: Machine, report: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """``audit`` accepts no instance, and ignores an instance description next to the image."""
    write_quoting_template(machine, "user.db-password")
    main(["audit", str(machine.image), "--report", report, "--at-least", "info"])
    out, err = capfd.readouterr()
    assert VALUE not in out + err
    assert len(out) > 0
