"""``--html``: the report as one self-contained page."""

import json
import os
import re
import stat
import time
from pathlib import Path

import pytest

from templater import __version__
from templater.cli.html_report import check_target
from templater.model.errors import LimitError
from templater.rendering import origins
from templater.web import report_page as report_module
from tests.web_pages import PAYLOADS, an_image, assert_safe, dumped, hostile_image, is_owned, parsed, text_of

pytestmark = pytest.mark.slow  # the fast tests have two minutes

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLES = ROOT / "sample-images"
CLOUD = SAMPLES / "debian-cloud"
WEB1 = CLOUD / "instances" / "web1.yaml"


#: limits that a busy machine does not exceed
PATIENT = [word for name in ("time", "template-time", "command-time") for word in ("--limit", f"{name}=30m")]


@pytest.fixture
def page(run, tmp_path):
    """Return a function that runs a command with --html, and returns the exit code and the page."""

    def page(*words):
        file = tmp_path / "report.html"
        code, _, err = run(words[0], *PATIENT, *words[1:], "--html", file)
        assert file.exists(), err
        return code, file.read_text("utf-8")

    return page


COMMANDS = {
    "preview": ("preview", CLOUD, "-i", WEB1),
    "every host and trigger": ("preview", CLOUD, "--as", "all", "-t", "all"),
    "failures": ("preview", SAMPLES / "broken", "--as", "all"),
    "machine": ("preview", SAMPLES / "rocky-vm", "--vm"),
    "instances": (
        "preview",
        SAMPLES / "alpine",
        "--instances",
        SAMPLES / "alpine" / "instances" / "edge.json",
    ),
    "rootfs": ("diff", CLOUD, CLOUD / "rootfs", "-t", "create"),
    "other configuration": ("diff", CLOUD, "--set", "user.meta-data=role: db"),
    "other host": ("diff", SAMPLES / "permissions", "--against-host", "lxd"),
    "check": ("check", SAMPLES / "broken", "--as", "incus,lxd", "--no-run-validators"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_html_report_is_safe_and_contains_only_its_own_code(name, page):
    _, text = page(*COMMANDS[name])
    assert_safe(text)


@pytest.mark.parametrize(("name", "code"), [("preview", 0), ("failures", 5), ("check", 1), ("rootfs", 0)])
def test_writing_a_report_does_not_change_the_exit_code(name, code, page, run):
    assert page(*COMMANDS[name])[0] == code == run(*COMMANDS[name])[0]


def test_exit_code_option_returns_1_if_compared_files_differ(page):
    assert page(*COMMANDS["other configuration"], "--exit-code")[0] == 1
    assert page(*COMMANDS["other configuration"])[0] == 0
    assert page("diff", CLOUD, "--set", "user.unread=1", "--exit-code")[0] == 0


@pytest.mark.parametrize("sample", ["debian-cloud", "permissions", "openwrt", "netplan", "nixos"])
def test_every_line_of_every_file_is_shown_without_scripts(sample, page, run):
    _, out, _ = run("preview", SAMPLES / sample, "--json")
    _, text = page("preview", SAMPLES / sample, "--show-secrets")
    root = parsed(text)
    for element in list(root.iter("small")):
        element.text, element.tail = "", element.tail  # the words about origins follow the lines
    shown = text_of(root).split("\n")
    for change in json.loads(out)["changes"]:
        for line in change.get("content", "").splitlines():
            assert line in shown or any(each.endswith(line) for each in shown), line


def test_origin_of_a_value_is_text_and_html_class(page):
    _, text = page("preview", CLOUD, "--name", "web1", "-c", "user.meta-data=role: db", "--show-secrets")
    root = parsed(text)
    values = {(each.text, each.get("class")) for each in root.iter("b")}
    assert ("web1", "v daemon") in values
    assert ("role: db", "v local") in values
    words = {each.text for each in root.iter("small")}
    assert {"instance.name: supplied by the daemon", "user.meta-data: local key (-c)"} <= words


def test_template_and_findings_are_shown_next_to_the_file(page):
    _, text = page("preview", SAMPLES / "broken")
    (section,) = [each for each in parsed(text).iter("section") if "/etc/filter" in text_of(each[0])]
    template = next(each for each in section.iter("div") if each.get("class") == "template")
    assert "host: {{ container.name|uper }}" in text_of(template)
    assert "error: unknown filter 'uper' [syntax]" in text_of(template)
    assert section.get("class") == "file problem"


@pytest.mark.slow
def test_every_link_leads_to_an_anchor_in_the_page(page):
    for name in ("every host and trigger", "failures", "instances", "check"):
        _, text = page(*COMMANDS[name])
        root = parsed(text)
        places = {each.get("id") for each in root.iter() if isinstance(each.tag, str)}
        links = [each.get("href") for each in root.iter("a")]
        assert len(links) > 5
        assert {link[1:] for link in links} <= places


def test_equal_results_of_several_hosts_are_shown_once(page):
    _, text = page(*COMMANDS["every host and trigger"])
    root = parsed(text)
    hosts = [each.text for each in root.iter("th") if each.get("scope") == "col"]
    assert {"incus", "lxd", "incus-debian"} <= set(hosts)
    (section,) = [each for each in root.iter("section") if text_of(each[0]) == "/etc/hostname"]
    assert len(list(section.iter("article"))) == 1


@pytest.mark.parametrize(("size", "shown"), [(report_module.LARGE, 2), (report_module.LARGE + 1, 1)])
def test_large_template_of_several_rules_is_shown_once(size, shown, page, tmp_path):
    rule = {"when": ["create"], "template": "t"}
    image = an_image(tmp_path / "image", {"/a": rule, "/b": rule}, {"t": "{# " + "y" * (size - 6) + " #}"})
    text = page("preview", image, "-t", "create")[1]
    assert (len(re.findall("y{9000,}", text)), text.count("shown above")) == (shown, 2 - shown)


def test_each_instance_of_a_list_has_its_own_section(page):
    _, text = page(*COMMANDS["instances"])
    names = [each.text for each in parsed(text).iter("h2")]
    assert {"edge0 ", "edge1 "} <= set(names)


def test_equal_inputs_give_byte_identical_reports(page):
    assert page(*COMMANDS["preview"]) == page(*COMMANDS["preview"])


# --- secrets

SECRETS = {
    "user.password": "hunter2", "user.token": "abc", "cloud-init.user-data": "#cloud-config\nusers: [tr0ub4dor]\n",
    "user.note": "not-a-secret",
}  # fmt: skip
READER = """\
plain {{ config_get("user.note", "") }}
pass {{ config_get("user.password", "")|upper }}
{% set x = config_get("user.token", "") %}token {{ x }}{{ x|length }}
{{ config_get("cloud-init.user-data", "") }}
{% for key, value in config %}{{ key }}={{ value }}
{% endfor %}"""


@pytest.fixture
def secretive(tmp_path):
    rules = {
        "/etc/a": {"when": ["create"], "template": "a"},
        "/etc/b": {"when": ["create"], "template": "b"},
    }
    failing = (
        '{{ config_get("user.password", "")|add:"x"|date:"Y" }}{{ config_get("user.password", "")|nosuch }}'
    )
    image = an_image(tmp_path / "image", rules, {"a": READER, "b": failing})
    return ["preview", image, *(word for pair in SECRETS.items() for word in ("-c", "=".join(pair)))]


HIDDEN = ("hunter2", "HUNTER2", "tr0ub4dor", ">abc<")


def test_secret_values_and_secret_documents_are_redacted_in_the_report(secretive, page):
    _, text = page(*secretive, "-t", "create")
    for secret in HIDDEN:
        assert secret not in text
    assert "not-a-secret" in text
    assert "[redacted]" in text


def test_the_report_redacts_an_error_with_a_transformed_secret(tmp_path, page):
    rules = {f"/etc/{name}": {"when": ["create"], "template": name} for name in "abc"}
    text = "{% set x = KEY|upper|add:',b,c,d' %}{{ 1|yesno:x }}"
    secret = text.replace("KEY", "config_get('user.password', '')")
    shadowed = "{% for config_get in 'a' %}{% endfor %}" + secret  # binds a name of the daemon
    reads = {"a": secret, "b": text.replace("KEY", "'public'"), "c": shadowed}
    image = an_image(tmp_path / "image", rules, reads)
    _, shown = page("preview", image, "-t", "create", "-c", "user.password=hunter2")
    assert "HUNTER2" not in shown
    assert shown.count("the template fails here") == 2 and "PUBLIC,b,c,d" in shown
    assert "templates/a:1:" in shown and "templater preview shows the whole message" in shown


@pytest.mark.parametrize("kind", [(), ("--vm",)])
@pytest.mark.parametrize("quote", ["'", "`", "|"])
def test_secret_in_error_is_hidden_despite_quotes_between_letters(tmp_path, page, quote, kind):
    """The remarks about virtual machines quote the errors of the hosts."""
    text = f"{{% set x = config_get('user.password', '')|make_list|join:\"{quote}\" %}}"
    texts = {"a": text + "{{ 1|yesno:x }}", "b": text + "{{ 'a'|removetags:x }}"}
    rules = {f"/etc/{name}": {"when": ["create"], "template": name} for name in texts}
    image = an_image(tmp_path / "image", rules, texts)
    _, shown = page("preview", image, "-t", "create", "--as", "all", *kind, "-c", "user.password=hunter2")
    assert "hunter2" not in "".join(filter(str.isalnum, text_of(parsed(shown)).lower()))
    assert "the template fails here" in shown and "the start fails" in shown


def test_errors_of_a_template_without_secrets_are_shown_completely(tmp_path, page):
    rules = {"/etc/a": {"when": ["create"], "template": "a"}}
    image = an_image(tmp_path / "image", rules, {"a": "{{ 1|yesno:'A,b,c,d' }}"})
    words = ("preview", image, "-t", "create", "--as", "lxd", "--vm", "-c", "user.password=hunter2")
    _, shown = page(*words)
    assert re.search("the start fails: .*A,b,c,d", shown)
    assert shown.count("(got: &#x27;A,b,c,d&#x27;)") > 2 and "the template fails here" not in shown


COMPARING = [
    '{% if P == "hunter2" %}yes{% endif %}', '{% if P|slice:":1" == "h" %}h{% else %}o{% endif %}',
    '{% for c in P %}{% if c == "h" %}h{% endif %}{% endfor %}', '{% for c in P|make_list %}x{% endfor %}',
    '{% if "h" in P %}h{% endif %}', '{% ifequal P "hunter2" %}yes{% endifequal %}',
    '{% set x = P == "hunter2" %}{% if x %}yes{% endif %}', '{% with f=P|first %}{% if f %}{% endif %}{% endwith %}',
    '{% if instance.name and not (P == "x") %}yes{% endif %}', '{% if P.0 == 104 %}h{% endif %}',
    '{% for k, v in config %}{% if v == "hunter2" %}{{ k }}{% endif %}{% endfor %}',
    '{% for c in "ab" %}{% ifchanged P == c %}x{% endifchanged %}{% endfor %}',
    '{{ P|yesno:"a,b" }}', '{{ P|slice:":1"|cut:"h" }}', '{{ P == "hunter2" }}', '{% if P > 5 %}x{% endif %}',
    '{% macro m() %}{% if P == "x" %}x{% endif %}{% endmacro %}{{ m() }}',
    '{% macro m(t) %}{% if t == "x" %}x{% endif %}{% endmacro %}{% if m(P) %}yes{% endif %}',
    '{% macro m(t=P) %}{% if t == "x" %}x{% endif %}{% endmacro %}{% if m %}yes{% endif %}',
]  # fmt: skip
KNOWN_OR_UNSET = [
    '{% if P %}set {{ P }}{% endif %}', '{% if P == "" %}{% else %}{{ P }}{% endif %}', '{% if P != "" %}set{% endif %}',
    '{% set p = P %}{% if not p and instance.name %}{% elif instance.name == "c1" %}{{ p|upper }}{% endif %}',
    '{% if P|default:"" and trigger == "create" %}set{% endif %}', '{{ P|length }}', '{% if P|length %}set{% endif %}',
    '{% if config_get("user.unset-token", "") == "x" %}x{% endif %}set',
    '{% for name, device in devices %}{{ forloop.Counter }} {% if device.type == "nic" %}nic{% endif %}{% endfor %}',
]  # fmt: skip


@pytest.mark.parametrize(("templates", "are_shown"), [(COMPARING, False), (KNOWN_OR_UNSET, True)])
def test_the_report_hides_a_file_if_its_template_compares_a_secret(tmp_path, page, templates, are_shown):
    """A template with a condition for each letter of a password printed the whole password."""
    texts = {
        f"t{number}": "visible " + text.replace("P", 'config_get("user.password", "")')
        for number, text in enumerate(templates)
    }
    rules = {f"/etc/{name}": {"when": ["create"], "template": name} for name in texts}
    image = an_image(tmp_path / "image", rules, texts)
    words = ("preview", image, "-t", "create", "-c", "user.password=hunter2", "-d", "eth0,type=nic")
    _, shown = page(*words)
    assert shown.count("The content is not shown") == (0 if are_shown else len(texts))
    _, shown = page(*words, "--show-secrets")
    assert "The content is not shown" not in shown


BOUND = [
    '{% set v = P %}{% for c, v in "ab" %}{{ v }}{% endfor %}',
    '{% for k, v in config %}{% for c, v in "ab"|make_list %}{{ v }}{% endfor %}{% endfor %}',
    '{% for v, v in config %}{{ v }}{% endfor %}', '{% macro m() %}{{ P }}{% endmacro %}{% set v = m %}{{ v }}',
    '{% macro m() %}{{ P }}{% endmacro %}{% with v=m|safe %}{{ v }}{% endwith %}',
    '{% set m = properties %}{% set v = m[P] %}{{ v }}',
]  # fmt: skip


def test_secret_bound_to_name_by_any_statement_is_hidden(tmp_path, page):
    """A loop over a text does not change its second variable.

    The name of a macro without brackets calls the macro.
    """
    texts = {
        f"t{number}": text.replace("P", 'config_get("user.password", "")')
        for number, text in enumerate(BOUND)
    }
    rule = {"when": ["create"], "properties": {"hunter2": "found"}}
    rules = {f"/etc/{name}": {**rule, "template": name} for name in texts}
    image = an_image(tmp_path / "image", rules, texts)
    _, shown = page("preview", image, "-t", "create", "-c", "user.password=hunter2secret")
    assert "hunter2secret" not in shown
    _, shown = page("preview", image, "-t", "create", "-c", "user.password=hunter2")
    assert shown.count("[redacted]</b>") + shown.count("The content is not shown") >= len(BOUND)


@pytest.mark.parametrize("letter", ["h", "x"])
def test_report_does_not_reveal_result_of_comparing_a_secret(tmp_path, page, letter):
    rules = {"/etc/a": {"when": ["create"], "template": "a"}}
    text = f'{{% if config_get("user.password", "")|first == "{letter}" %}}one\n{{% endif %}}'
    image = an_image(tmp_path / "image", rules, {"a": text})
    _, shown = page("preview", image, "-t", "create", "-c", "user.password=hunter2")
    _, other = page("preview", image, "-t", "create", "-c", "user.password=xunter2")
    assert shown == other


def test_the_report_redacts_a_whole_device_if_one_key_is_secret(tmp_path, page):
    texts = [
        '{{ devices.eth0|stringformat:"%v" }}', '{{ devices.eth0|stringformat:"%v"|upper }}',
        '{% for k, v in devices %}{{ v|stringformat:"%v" }}{% endfor %}',
        '{{ devices.eth0["user.secret.db"]|upper }}', '{% set d = devices.eth0 %}{{ d|stringformat:"%v" }}',
        '{% for d in devices.Sorted %}{{ d.Config|stringformat:"%v" }}{% endfor %}',
        "x\n" * (origins.MAX_LINES + 1) + "{% for d in devices.Sorted %}{{ d.Config|stringformat:'%v' }}{% endfor %}",
    ]  # fmt: skip
    names = [f"t{number}" for number in range(len(texts))]
    rules = {f"/etc/{name}": {"when": ["create"], "template": name} for name in names}
    image = an_image(tmp_path / "image", rules, dict(zip(names, texts, strict=True)))
    keys = ("-d", "eth0,type=nic", "-d", "eth0,user.secret.db=hunter2")
    _, shown = page("preview", image, "-t", "create", *keys)
    assert "hunter2" not in shown.lower()
    assert shown.count("[redacted]</b>") == 1 and shown.count("The content is not shown") == 6


def test_report_of_check_command_hides_an_upper_case_secret(tmp_path, page, run):
    rules = {
        f"/etc/{name}": {"when": ["create"], "template": "t"} for name in ("hosts", "resolv.conf", "fstab")
    }
    image = an_image(tmp_path / "image", rules, {"t": '{{ config_get("user.password", "")|upper }} x\n'})
    words = ("check", image, "-c", "user.password=hunter2", "--at-least", "info", "--no-run-validators")
    assert "HUNTER2" in run(*words)[1]
    assert "HUNTER2" not in page(*words)[1]
    assert "HUNTER2" in page(*words, "--show-secrets")[1]


def test_file_with_secret_and_unknown_origins_is_hidden(monkeypatch, page, tmp_path):
    monkeypatch.setattr("templater.rendering.origins.MAX_LINES", 2)
    rules = {f"/etc/{name}": {"when": ["create"], "template": name} for name in "ab"}
    reads = '{{ config_get("user.password", "") }}\none\ntwo\n'
    image = an_image(tmp_path / "image", rules, {"a": reads, "b": "public\none\ntwo\n"})
    _, text = page("preview", image, "-t", "create", "-c", "user.password=hunter2")
    assert "hunter2" not in text
    assert text.count("The content is not shown") == 1
    assert text.count("public") == 2  # the template and the file


def test_the_show_secrets_option_shows_secret_values(secretive, page):
    _, text = page(*secretive, "-t", "create", "--show-secrets")
    for secret in HIDDEN:
        assert secret in text
    assert "This report shows all values, including secret ones." in text


def test_the_patch_of_a_file_with_secrets_is_not_shown(secretive, page):
    _, text = page("diff", *secretive[1:], "-t", "create", "--set", "user.password=correct-horse")
    assert "correct-horse" not in text
    assert "The difference is not shown" in text


def test_old_text_is_hidden_if_new_text_contains_secret(secretive, tmp_path, page):
    (tmp_path / "rootfs" / "etc").mkdir(parents=True)
    (tmp_path / "rootfs" / "etc" / "a").write_text("the old password\n")
    _, text = page("diff", secretive[1], tmp_path / "rootfs", *secretive[2:], "-t", "create")
    assert "the old password" not in text


def test_a_secret_only_in_the_existing_file_is_redacted(tmp_path, page):
    rule = {"when": ["create"], "template": "b"}
    image = an_image(tmp_path / "image", {"/etc/b": rule}, {"b": "no secret\n"})
    (tmp_path / "rootfs" / "etc").mkdir(parents=True)
    (tmp_path / "rootfs" / "etc" / "b").write_text("password=hunter2\nother\n")
    _, text = page("diff", image, tmp_path / "rootfs", "-t", "create", "-c", "user.password=hunter2")
    assert "hunter2" not in text
    assert "-password=[redacted]" in text and "-other" in text


# --- the file


def test_only_the_owner_of_a_report_can_read_the_report(run, tmp_path):
    before = os.umask(0o022)
    run("preview", CLOUD, "--html", tmp_path / "r.html")
    os.umask(before)
    assert stat.S_IMODE((tmp_path / "r.html").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["r.html"]


def test_a_new_report_replaces_an_earlier_report_and_has_mode_0600(run, tmp_path):
    file = tmp_path / "r.html"
    run("preview", CLOUD, "--html", file)
    file.chmod(0o644)
    code, _, _ = run("preview", SAMPLES / "openwrt", "--html", file)
    assert code == 0
    assert "openwrt" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_report_does_not_overwrite_an_unrelated_file(run, tmp_path):
    file = tmp_path / "metadata.yaml"
    file.write_text("mine\n")
    code, _, err = run("preview", CLOUD, "--html", file)
    assert code == 3
    assert "is not a report of templater" in err
    assert file.read_text() == "mine\n"


def test_the_report_is_not_written_through_a_link(run, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("")
    for name, target in (("link", victim), ("dangling", tmp_path / "new")):
        (tmp_path / name).symlink_to(target)
        code, _, err = run("preview", CLOUD, "--html", tmp_path / name)
        assert code == 3
        assert "is not a regular file" in err
    assert victim.read_text() == ""
    assert not (tmp_path / "new").exists()


def test_the_report_replaces_a_link_created_after_the_path_check(monkeypatch, run, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    (tmp_path / "r.html").symlink_to(victim)
    monkeypatch.setattr("templater.cli.html_report.check_target", lambda path: None)
    code, _, _ = run("preview", CLOUD, "--html", tmp_path / "r.html")
    assert code == 0
    assert victim.read_text() == "mine\n"
    assert not (tmp_path / "r.html").is_symlink()


def test_check_of_report_path_does_not_follow_new_link(monkeypatch, tmp_path):
    path, look = tmp_path / "r.html", os.lstat
    path.write_text("")
    (tmp_path / "other").write_text("mine")

    def replaced(name):
        monkeypatch.undo()
        found = look(name)
        path.unlink()
        path.symlink_to("other")
        return found

    monkeypatch.setattr(os, "lstat", replaced)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        check_target(str(path))


def test_a_named_pipe_is_refused_as_the_report_file(run, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert run("preview", CLOUD, "--html", tmp_path / "fifo")[0] == 3


def test_missing_report_directory_is_an_error_with_a_hint(run, tmp_path):
    code, _, err = run("preview", CLOUD, "--html", tmp_path / "no" / "r.html")
    assert code == 6
    assert "mkdir -p" in err


@pytest.mark.parametrize(
    "words",
    [
        ("preview", CLOUD, "--html", "r", "--json"),
        ("preview", CLOUD, "--html", "r", "--tree"),
        ("preview", CLOUD, "--show-secrets"),
        ("check", CLOUD, "--html", "r", "--report", "sarif"),
        ("check", CLOUD, CLOUD, "--html", "r"),
        ("diff", CLOUD, "--html", "r"),
    ],
    ids=lambda words: " ".join(map(str, words[2:])),
)
def test_contradictory_report_options_are_refused(words, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*words)[0] == 2
    assert not os.listdir(tmp_path)


def test_report_above_the_size_limit_is_not_written(monkeypatch, run, tmp_path):
    monkeypatch.setattr(report_module, "MOST", 10_000)
    code, _, err = run("preview", CLOUD, "--html", tmp_path / "r.html")
    assert code == 4
    assert "the report is larger than" in err
    assert not os.listdir(tmp_path)


def test_the_size_limit_of_a_report_counts_bytes_and_not_characters(monkeypatch):
    monkeypatch.setattr(report_module, "MOST", 10)
    monkeypatch.setattr(report_module, "_pieces", lambda pieces: pieces)
    assert list(report_module.report_page(["ä" * 2, "b" * 6])) == ["ä" * 2, "b" * 6]
    with pytest.raises(LimitError, match="the report is larger than"):
        list(report_module.report_page(["ä" * 2, "b" * 7]))


# --- hostile texts


@pytest.fixture
def attacked(tmp_path, run):
    image = hostile_image(tmp_path / "image", PAYLOADS)
    keys = [
        (f"user.{payload}".replace("=", ""), payload.encode("utf-8", "replace").decode())
        for payload in PAYLOADS
    ]
    config = [word for key, value in keys if "\x00" not in key + value for word in ("-c", f"{key}={value}")]
    config = [word.encode("utf-8", "replace").decode() for word in config]
    profile = tmp_path / "profile.yaml"
    profile.write_text(json.dumps({"name": PAYLOADS[9], "config": {f"user.x{PAYLOADS[9]}": PAYLOADS[10]}}))
    file = tmp_path / "attacked.html"
    _, _, err = run(
        "preview", image, "-t", "create", "-p", profile, *config, *PATIENT, "--html", file, "--show-secrets"
    )
    assert file.exists(), err
    return file


def test_the_report_escapes_every_text_of_an_image_or_an_instance(attacked):
    text = attacked.read_text("utf-8")
    root = assert_safe(text)
    assert len(PAYLOADS) >= 40
    shown = text_of(root)
    for payload in PAYLOADS[:15]:
        if payload.isprintable():
            assert payload in shown


@pytest.mark.slow
def test_no_script_payload_in_an_image_runs_in_a_browser(attacked, tmp_path):
    text = attacked.read_text("utf-8")
    assert not is_owned(dumped(attacked))
    start = text.index('<meta http-equiv="Content-Security-Policy"')
    unprotected = tmp_path / "unprotected.html"  # escaping alone has to suffice
    unprotected.write_text(text[:start] + text[text.index(">", start) + 1 :], "utf-8")
    document = dumped(unprotected)
    assert not is_owned(document)
    assert 'id="search"' in document  # the report's own script has run


@pytest.mark.slow
@pytest.mark.parametrize("payload", [PAYLOADS[0], PAYLOADS[1], PAYLOADS[22]])
def test_each_script_payload_runs_in_a_browser_if_escaping_is_off(payload, tmp_path):
    page = tmp_path / "control.html"
    page.write_text(f"<!DOCTYPE html><html><body><pre><code>{payload}</code></pre></body></html>")
    assert is_owned(dumped(page))


@pytest.mark.slow
def test_search_field_appears_only_if_scripts_are_enabled(page, tmp_path):
    _, text = page(*COMMANDS["preview"])
    assert 'id="search"' not in text.split("<script>")[0]
    document = dumped(tmp_path / "report.html")
    assert 'id="search"' in document
    assert document.count('<section id="i0-f') == text.count('<section id="i0-f')


@pytest.mark.slow
def test_many_small_files_and_one_large_file_are_complete(page, tmp_path):
    templates = {f"t{n}": f"file {n}\n" + "key = {{ instance.name }}\n" * 20 for n in range(500)}
    templates["big"] = "".join(f"line {n} of a large file, as templates have it\n" for n in range(45_000))
    rules = {f"/etc/{name}": {"when": ["create"], "template": name} for name in templates}
    image = an_image(tmp_path / "image", rules, templates)
    assert len(templates["big"]) > 2_000_000
    _, text = page("preview", image, "-t", "create")
    # not parsed with html5lib, which takes half a minute for 16 MB
    assert len(re.findall(r'<section [^>]*class="file"', text)) == 501
    assert len(re.findall(r'<span [^>]*class="chunk"', text)) == 2 * 225
    assert text.count("line 44999 of a large file") == 2
    assert len(text) < 16_000_000


@pytest.mark.slow
def test_the_report_stops_searching_for_template_variables_at_the_time_limit(page, tmp_path, monkeypatch):
    calls = []
    real = origins.names_read

    def slow_reads(*arguments):
        calls.append(arguments)
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        return real(*arguments)

    monkeypatch.setattr(origins, "MAX_LINES", 0)
    monkeypatch.setattr(origins, "names_read", slow_reads)
    rules = {f"/etc/{number}": {"when": ["create"], "template": f"{number}.tpl"} for number in range(40)}
    templates = {f"{number}.tpl": f"{number} {{{{ instance.name }}}}\n" for number in range(40)}
    image = an_image(tmp_path / "image", rules, templates)
    code, text = page("preview", image, "--limit", "time=1")
    assert (code, "/etc/39" in text) == (0, True)
    assert 0 < len(calls) < 30


def test_the_report_searches_each_template_only_once_for_variables(page, tmp_path, monkeypatch):
    calls = []
    real = origins.names_read

    def names_read(source, dialect):
        calls.append(source.name)
        return real(source, dialect)

    monkeypatch.setattr(origins, "MAX_LINES", 0)
    monkeypatch.setattr(origins, "names_read", names_read)
    rules = {f"/etc/{number}": {"when": ["create"], "template": f"{number % 2}.tpl"} for number in range(10)}
    templates = {f"{number}.tpl": f"{number} {{{{ instance.name }}}}\n" for number in range(2)}
    assert page("preview", an_image(tmp_path / "image", rules, templates))[0] == 0
    assert sorted(calls) == ["templates/0.tpl", "templates/1.tpl"]


def test_the_explanations_for_all_hosts_share_one_time_limit(page, tmp_path, monkeypatch):
    limits = []

    class Recorded(origins.Explainer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            limits.append(self.options.limits)

    monkeypatch.setattr(origins, "Explainer", Recorded)
    rules = {"/etc/a": {"when": ["create"], "template": "a.tpl"}}
    image = an_image(tmp_path / "image", rules, {"a.tpl": "{{ 'a' + 'b' }}{{ instance.name }}\n"})
    code, _ = page("preview", image, "--as", "all")
    assert code == 0
    assert len(limits) > 1
    assert all(each is limits[0] for each in limits)


DEFINITION = """image: {distribution: tiny, release: one}
files:
- {generator: template, name: v, path: /etc/of-vm, content: x, types: [vm], template: {when: [create]}}
- {generator: template, name: c, path: /etc/of-container, content: x, types: [container], template: {when: [create]}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("type", "built", "other"), [("container", "container", "vm"), ("virtual-machine", "vm", "container")]
)
def test_report_of_definition_contains_build_for_type_of_instance(type, built, other, run, tmp_path):
    (tmp_path / "d.yaml").write_text(DEFINITION)
    (tmp_path / "i.yaml").write_text(f"name: c1\ntype: {type}\n")
    assert run("check", tmp_path / "d.yaml", "-i", tmp_path / "i.yaml", "--html", tmp_path / "r.html")[0] == 0
    text = (tmp_path / "r.html").read_text()
    assert f"/etc/of-{built}" in text
    assert f"/etc/of-{other}" not in text


#: reports whose texts are recorded: small images that need each part of a page
RECORDED = {
    "failures": COMMANDS["failures"],
    "other configuration": COMMANDS["other configuration"],
    "check": COMMANDS["check"],
    "rootfs": ("diff", SAMPLES / "permissions", SAMPLES / "permissions" / "rootfs", "-t", "create,start"),
    "machine": ("preview", SAMPLES / "rocky-vm", "--vm"),
}


def words_of(page: str) -> str:
    """Return the texts of a page, and of the attributes that readers see. Each text is on its own line."""
    body = re.sub(r"(?s)<(style|script)\b.*?</\1>", "", page)
    body = re.sub(r'<[^>]*? (?:title|aria-label|content|placeholder)="([^"]*)"[^>]*>', r"\n[\1]\n", body)
    lines = [" ".join(line.split()) for line in re.sub(r"<[^>]*>", "\n", body).splitlines()]
    return "".join(f"{line}\n" for line in lines if line)


@pytest.mark.parametrize("name", RECORDED)
def test_the_words_of_a_report_are_as_recorded(name, page, update):
    recorded = Path(__file__).with_name("reports") / f"{name.replace(' ', '-')}.txt"
    text = re.sub(r"sha256-[\w+/=]+", "HASH", words_of(page(*RECORDED[name])[1])).replace(
        str(ROOT), "/home/user"
    )
    text = text.replace(f"templater {__version__}", "templater VERSION")
    if update:
        recorded.parent.mkdir(exist_ok=True)
        recorded.write_text(text)
    assert text == recorded.read_text()
