"""Secrets in files that every user can read."""

import pytest

from templater.checks.run_checks import audit
from templater.checks.scanned_image import Name
from templater.model.entry import FILE, Entry
from templater.pongo2.dialect import DIALECTS
from tests.checks.builders import a_link, an_image, observed, rules
from tests.differential.compare import ours

CHECK = "readable-secret"
TEXT = 'x={{ config_get("user.db-password", "") }}'


def found(mode, text=TEXT):
    return observed(CHECK, an_image(rules(f"/etc/a: {{when: [create], template: t{mode}}}"), {"t": text}))


@pytest.mark.parametrize("mode", ["", ", mode: 0644", ", mode: 0604"])
def test_attack_50_a_secret_in_a_world_readable_file_is_found(mode):
    assert [place for _, place, _ in found(mode)] == ["image/templates/t:1:18"]


@pytest.mark.parametrize(
    "key",
    ["user.passphrase", "user.api-key", "user.API_KEY", "user.apikey", "user.tailscale_authkey", "user.access_key",
     "user.encryption-key", "user.pass", "user.root_pw", "environment.MYSQL_PWD", "user.wifi-psk", "user.pin", "user.rootpw", "environment.REDISPASS", "user.wifipsk", "user.jwt"],
)  # fmt: skip
def test_every_key_with_a_redacted_value_is_treated_as_a_secret(key):
    assert len(found("", f"{{{{ config_get('{key}', '') }}}}")) == 1


def test_a_secret_key_made_of_two_strings_is_found():
    for text in ("{{ config_get('user.pass' + 'word', '') }}", "{{ config_get('user' + '.pass', '') }}"):
        assert len(found("", text)) == 1
    assert found("", "{{ config_get('user.pass' + 'through', '') }}") == []


@pytest.mark.parametrize(
    "key", ["user.passthrough", "user.compass", "user.pinned", "pass", "user.keypair-name"]
)
def test_ordinary_key_with_secret_like_name_has_no_finding(key):
    assert found("", f"{{{{ config_get('{key}', '') }}}}") == []


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('{% firstof config_get("user.password") %}', ["1:24"]),
        ('{% set x = config_get("user.password") %}{{ x }}{{ x }}', ["1:24"]),
        ('{% with x=config_get("user.password") %}{% with y=x %}{{ y }}{% endwith %}{% endwith %}', ["1:23"]),
        ("{% for k, v in config %}{{ k }}={{ v }}{% endfor %}", ["1:16"]),
        ("{% for k, v in config sorted %}{{ v }}{% endfor %}", ["1:16"]),
        ("{% for k, v in config reversed sorted %}{{ v }}{% endfor %}", ["1:16"]),
        ("{% set c = config %}{% for k, v in c %}{{ v }}{% endfor %}", ["1:36"]),
        ("{% with config as c %}{% for k, v in c %}{{ v }}{% endfor %}{% endwith %}", ["1:38"]),
        ("{% macro m(c) %}{% for k, v in c %}{{ v }}{% endfor %}{% endmacro %}{{ m(config) }}", ["1:74"]),
        ('{{ config|stringformat:"%v" }}', ["1:4"]),
        ('{% set c = config %}{{ c|default:1|stringformat:"%v" }}', ["1:24"]),
        ("{% for i in 'ab' %}{{ x }}{% set x = config_get('user.password') %}{% endfor %}", ["1:50"]),
        ("{% for k in config %}{{ config_get(k) }}{% endfor %}", ["1:13"]),
        ("{% for k in config %}{% set z = k %}{{ config_get(z) }}{% endfor %}", ["1:13"]),
        ("{% for k in config %}{{ config_get(z) }}{% set z = k %}{% endfor %}", ["1:13"]),
        ("{% for k in config %}{% with z=k %}{{ config_get(z) }}{% endwith %}{% endfor %}", ["1:13"]),
        ("{% for k in config %}{% cycle k as z silent %}{{ config[z] }}{% endfor %}", ["1:13"]),
        (
            "{% for k in config %}{% for q in k|split:'#' %}{{ config_get(q) }}{% endfor %}{% endfor %}",
            ["1:13"],
        ),
        ("{% for k in config %}{{ config_get('' + k, '') }}{% endfor %}", ["1:13"]),
        ("{% for k in config %}{{ config_get((k|lower), '') }}{% endfor %}", ["1:13"]),
        ("{% macro p(c=config) %}{% for k, v in c %}{{ v }}{% endfor %}{% endmacro %}{{ p() }}", ["1:14"]),
        ("{{ config_get('userXpass' + 'word', '') }}", ["1:16"]),
        ("{{ config_get('user.' + ('pass' + 'word'), '') }}", ["1:16"]),
        ("{{ config_get('userXpass'|add:'word', '') }}", ["1:16"]),
        ("{% set x = config_get('to' + 'ken') %}{{ x }}", ["1:24"]),
        ("{{ config_get('user.token' + 's', '') }}", ["1:16"]),
        ("{{ config_get('userXpass', 'word') }}", []),
        ("{{ config_get('userXpass') }}{{ 'word' }}", []),
        ("{{ 'pass'|default:'word' }}", []),
        ("{% for k in config %}{% set z = k %}{{ z }}{{ (z) }}{% endfor %}", []),
        ("{% for k in config %}{% with k=k z=1 %}{{ config_get('a', z) }}{% endwith %}{% endfor %}", []),
        ("{% for k in config %}{{ k }}{% endfor %}", []),
        ("{% for k, v in config %}{{ v|upper }}{% endfor %}", ["1:16"]),
        ("{% for k, v in config %}{{ v|length }}{% endfor %}", []),
        ("{% for k, v in config sorted %}{{ k }}={{ v|yesno }}{% endfor %}", []),
        ("{% set c = config %}{{ c }}{{ config|length }}{{ c.a }}", []),
        ("{% for config in 'ab' %}{{ config }}{% endfor %}", []),
        ("{% for config, v in x %}{{ v }}{% endfor %}", []),
        ('{% set x = config.a|stringformat:"%v" %}{{ x }}', []),
        ('{% comment %}{{ config_get("user.password") }}{% endcomment %}', []),
        ('{% comment %}{{ "{% endcomment" }}{% endcomment %}{{ config_get("user.password") }}', ["1:66"]),
        ('{% set x = config_get("user.password") %}{% if x %}a{% endif %}', []),
        ('{% if config_get("user.password") %}a{% endif %}', []),
        ("{% filter default:config_get('user.password','') %}{% endfilter %}", ["1:31"]),
        ("{% filter add:config_get('user.password','') %}pw={% endfilter %}", ["1:27"]),
        ("{% set p = config_get('user.password','') %}{% filter default:p %}{% endfilter %}", ["1:24"]),
        ("{% for k in config %}{% filter default:config_get(k,'') %}{% endfilter %}{% endfor %}", ["1:13"]),
        ("{% for k, v in config %}{% filter upper|default:v %}{% endfilter %}{% endfor %}", ["1:16"]),
        ("{% widthratio config_get('user.password','') 1 1 %}", ["1:27"]),
        ("{% widthratio config_get('user.password','') 1 1 as x %}{{ x }}", ["1:27"]),
        ("{% widthratio config_get('user.password','') 1 1 as x %}", []),
        ("{% for c in [config] %}{% for k, v in c %}{{ v }}{% endfor %}{% endfor %}", ["1:14"]),
        ("{% set l = [config] %}{% for c in l %}{{ c['a'|upper] }}{% endfor %}", ["1:13"]),
        (
            "{% macro f() %}{{ config_get(z) }}{% endmacro %}{% set z='userXpass'|add:'word' %}{{ f() }}",
            ["1:59"],
        ),
        (
            "{% macro f() %}{{ y }}{% endmacro %}{% set y = config_get('user.token') %}{{ f() }}"
            "{% set y = config_get('a'|upper) %}",
            ["1:60"],
        ),
    ],
)
def test_secret_printed_through_a_variable_or_tag_is_found(text, places):
    assert [place for _, place, _ in found("", text)] == [f"image/templates/t:{place}" for place in places]


def rendered(text: str, dialect: str) -> bytes:
    """Return the output of a template for an instance with the same secret in its configuration and device."""
    context = {
        "config": {"user.password": "hunter2", "user.a": "x"},
        "devices": {"eth0": {"type": "nic", "user.password": "hunter2"}},
        "properties": {},
        "instance": {"name": "c1"},
    }
    request = {"template": text, "context": context, "mode": "incus", "dialect": dialect, "options": {}}
    return ours(request).get("output", b"")


LOOP = "{% for k, v in c %}{{ v }}{% endfor %}"
MACRO = f"{{% macro m(c) %}}{LOOP}{{% endmacro %}}"
#: templates that print a map of secrets, and the name of the map in the finding
PRINTED_MAPS = [
    (MACRO + "{{ m(nope|default:config) }}", "config"),
    (MACRO + "{{ m(nope|default_if_none:config) }}", "config"),
    (MACRO + "{% firstof m(nope|default:config) %}", "config"),
    (MACRO + "{% filter default:m(nope|default:config) %}{% endfilter %}", "config"),
    (MACRO + "{% set x = m(nope|default:config) %}{{ x }}", "config"),
    (MACRO + "{{ m(config_get('nope', config)) }}", "config"),
    (MACRO + "{{ m(devices.eth0) }}", "devices"),
    ("{% macro m(b, c) %}" + LOOP + "{% endmacro %}{{ m(1, nope|default:config) }}", "config"),
    ("{% macro m(b, config=1) %}{% endmacro %}{% set c = nope|default:config %}" + LOOP, "config"),
    ("{% set c = nope|default:config %}" + LOOP, "config"),
    ("{% with c=config|default:1 %}" + LOOP + "{% endwith %}", "config"),
    ("{% for c in nope|default:config|stringformat:'%v' %}{{ c }}{% endfor %}", "config"),
    ("{{ nope|default:config|stringformat:'%v' }}", "config"),
    ("{{ devices|stringformat:'%v' }}", "devices"),
    ("{{ devices.eth0|stringformat:'%v' }}", "devices"),
    ("{% for n, d in devices %}{{ d|stringformat:'%v' }}{% endfor %}", "d"),
    ("{% for n, d in devices %}{% for k, v in d %}{{ v }}{% endfor %}{% endfor %}", "d"),
    ("{% for n, d in devices %}{% for k in d %}{{ d[k] }}{% endfor %}{% endfor %}", "d"),
    ("{% for d in devices.Sorted %}{{ d.Config|stringformat:'%v' }}{% endfor %}", "d"),
    ("{% for d in devices.Reversed %}{% for k, v in d.Config %}{{ v }}{% endfor %}{% endfor %}", "d"),
    (
        "{% set l = devices.Sorted %}{% set m = l %}{% for d in m %}{{ d.Config|stringformat:'%v' }}{% endfor %}",
        "d",
    ),
    ("{% with d=devices.Clone %}{% with c=d.eth0.Clone %}" + LOOP + "{% endwith %}{% endwith %}", "c"),
    ("{% set c = devices.CloneNative.eth0 %}" + LOOP, "c"),
    ("{% with devices.eth0 as c %}" + LOOP + "{% endwith %}", "c"),
]


@pytest.mark.parametrize(("text", "name"), PRINTED_MAPS)
def test_every_way_to_print_a_map_of_secrets_is_found(text, name):
    dialects = [dialect for dialect in DIALECTS if b"hunter2" in rendered(text, dialect)]
    assert dialects, "the template does not print the secret"
    messages = {message for _, _, message in found("", text)}
    assert f"the template writes '{name}' to '/etc/a', mode 0644" in messages


def test_loop_over_secret_in_a_reused_variable_is_found():
    text = (
        "{% set c = config %}{% set c = config_get('user.password', '') %}{% for x in c %}{{ x }}{% endfor %}"
    )
    assert rendered(text, "v6") == b"hunter2"
    assert found("", text)


@pytest.mark.parametrize(
    "text",
    [
        "{% for n, d in devices sorted %}{% if d.type == 'nic' %}{{ n }}: {{ d.name|default:n }}{% endif %}{% endfor %}",
        "{% for n in devices %}{% set d = devices[n] %}{{ n|upper }}: {{ d.type }} {{ d['hwaddr'] }}{% endfor %}",
        "{% for n, d in devices %}{{ n|upper }}{% endfor %}{% for d in devices %}{{ d }}{% endfor %}",
        "{% for n, d in devices %}{% for k, v in d %}{{ k }}{% endfor %}{% endfor %}",
        "{% for d in devices.Sorted %}{{ d.Name|upper }} {{ d.Config.type|upper }}{% endfor %}",
        "{% set d = devices.eth0 %}{{ d.type|upper }}{{ devices|length }}{{ d['name']|lower }}",
        "{% if devices %}a{% endif %}{% if 'user.a' in config %}b{% endif %}",
        "{% macro m(a) %}{{ a|default:'x' }}{% endmacro %}{% if config_get('user.password') %}{{ m('y') }}{% endif %}",
    ],
)
def test_a_template_without_printed_secrets_or_whole_devices_has_no_finding(text):
    assert not found("", text)


#: templates in which an error inside a macro quotes the secret
ERRORS_IN_MACROS = [
    "{% macro m() %}{% if 1|yesno:VALUE %}{% endif %}{% endmacro %}{{ m() }}",
    "{% macro m() %}{% set q = 1|yesno:VALUE %}{% endmacro %}{{ m() }}",
    "{% macro m() %}{% with q=1|yesno:VALUE %}{% endwith %}{% endmacro %}{{ m() }}",
    "{% macro m() %}{% for q in 1|yesno:VALUE %}{% endfor %}{% endmacro %}{{ m() }}",
    "{% macro m() %}{% ifequal 1 1|yesno:VALUE %}{% endifequal %}{% endmacro %}{{ m() }}",
    "{% macro m() %}{% ifchanged 1|yesno:VALUE %}{% endifchanged %}{% endmacro %}{{ m() }}",
    "{% macro m() %}{% widthratio 1|yesno:VALUE 1 1 as q %}{% endmacro %}{{ m() }}",
    "{% macro m(a=1|yesno:VALUE) %}{% endmacro %}{{ m() }}",
    "{% macro m() %}{% if 1|yesno:q %}{% endif %}{% endmacro %}{% set q = VALUE %}{{ m() }}",
    "{% set q = VALUE %}{% macro m() %}{{ 1|yesno:q|length }}{% endmacro %}{{ m() }}",
]


@pytest.mark.parametrize("text", ERRORS_IN_MACROS)
def test_attack_50_a_secret_in_an_error_of_a_macro_is_found(text):
    template = text.replace("VALUE", "config_get('user.password', '')")
    assert b"hunter2" in rendered(template, "v4")
    image = an_image(rules("/etc/a: {when: [create], template: t}"), {"t": template})
    messages = [message for _, _, message in observed(CHECK, image)]
    assert messages == ["the template writes 'user.password' to '/etc/a', mode 0644"]
    assert observed("line-injection", image)


COMPUTED = (
    "the template computes the name of a configuration key, so the value that it writes to '/etc/a'"
    " (mode 0644) may be a secret"
)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("{{ config_get('user.paXssword'|cut:'X','') }}", ["1:15"]),
        ("{{ config_get('userXpass'|stringformat:'%sword','') }}", ["1:15"]),
        ("{{ config_get('userXpass'|ljust:'9'|add:'word','') }}", ["1:15"]),
        ("{{ config_get(['userXpass','word']|join:'','') }}", ["1:15"]),
        ("{% set p = 'userXpass' %}{% set q = 'word' %}{{ config_get(p+q,'') }}", ["1:60"]),
        ("{% set p = 'userXpass' %}{{ config_get(p|add:'word','') }}", ["1:40"]),
        ("{% set p = 'userXpass' %}{% set r = p + 'word' %}{{ config_get(r) }}", ["1:64"]),
        ("{% set p = 'userXpass' %}{% with r=p+'word' %}{{ config[r] }}{% endwith %}", ["1:57"]),
        ("{% set p = 'paXss'|cut:'X' %}{% set v = config_get(p) %}{{ v }}", ["1:52"]),
        ("{% for k in 'a,b'|split:',' %}{% firstof config_get(k) %}{% endfor %}", ["1:53"]),
        ("{{ config_get(properties.key, '') }}", ["1:15"]),
        ("{{ config_get(config_get('user.a')) }}", ["1:15"]),
        ("{% set g = config_get %}{{ g('a'|upper) }}", ["1:30"]),
        ("{% macro m(k) %}{{ config_get(k, '') }}{% endmacro %}{{ m('a'|upper) }}", ["1:59"]),
        ("{% macro m(k) %}{{ config_get('user.' + k) }}{% endmacro %}{{ m('a') }}", ["1:31"]),
        ("{{ config_get(" + "(" * 60 + "'a'" + ")" * 60 + ") }}", ["1:15"]),
        ("{% filter default:config_get('a'|upper) %}{% endfilter %}", ["1:30"]),
        ("{% macro m(k) %}{{ config_get(k, '') }}{% endmacro %}{{ m('user.a') }}", []),
        ("{% set k = 'user.a' %}{{ config_get(k, '') }}", []),
        ("{% for k in ['user.a', 'user.b'] %}{{ config_get(k, '') }}{% endfor %}", []),
        ("{{ config_get('user.a', properties.default) }}{{ config['user.a'] }}", []),
        ("{{ config_get('user.a', config_get('user.b', properties.default|upper)) }}", []),
        ("{{ config_get(user.hostname, lxdone) }}", []),
        ("{{ config_get('user.' + 'a'|default:'b') }}", []),
        ("{{ x.config_get('a'|upper) }}{{ config_get() }}{{ config_get('a'", []),
        ("{% if config_get('a'|upper) %}{% endif %}", []),
        ("{% set p = properties.a %}{{ config_get('user.a', p) }}", []),
    ],
)
def test_a_computed_name_of_a_configuration_key_is_found(text, places):
    expected = [("low", f"image/templates/t:{place}", COMPUTED) for place in places]
    assert found("", text) == expected
    assert not found(", mode: 0600", text)


@pytest.mark.parametrize(
    "use",
    [
        "{{ config_get(k, '') }}",
        "{{ config_get(''|default:k, '') }}",
        "{% set q = k %}{{ config_get(q, '') }}",
        "{% with q=k %}{{ config_get(q, '') }}{% endwith %}",
        "{% macro g(q) %}{{ config_get(q, '') }}{% endmacro %}{{ g(k) }}",
        "{{ config[k] }}",
    ],
)
def test_computed_key_name_from_macro_without_brackets_is_found(use):
    text = "{% macro k() %}user.password{% endmacro %}" + use
    assert [severity for severity, *_ in found("", text)] == ["low"]


@pytest.mark.parametrize(
    "text",
    [
        "{% macro m(k) %}{% macro n() %}{% endmacro %}{{ config_get(k) }}{% endmacro %}{{ m('a'|upper) }}",
        "{% macro m(k) %}{% set z = k %}{{ config_get(z) }}{% endmacro %}{{ m('a'|upper) }}",
        "{% macro m() %}{{ n('a'|upper) }}{% endmacro %}{% macro n(k) %}{{ config[k] }}{% endmacro %}{{ m() }}",
        "{% macro m(k='a'|upper) %}{{ config_get(k) }}{% endmacro %}{{ m() }}",
        "{% macro m(v=config_get('a'|upper)) %}{{ v }}{% endmacro %}{{ m() }}",
        "{% macro m(g) %}{{ g('a'|upper) }}{% endmacro %}{{ m(config_get) }}",
        "{% macro m(x) %}{{ x|upper }}{% endmacro %}{{ config_get(m('a')) }}",
        "{% set l = [config_get] %}{{ l.0('a'|upper) }}",
        "{% set l = [config_get] %}{{ l[0]('a'|upper) }}",
    ],
)
def test_computed_key_name_in_macro_or_list_is_found(text):
    assert {(severity, message) for severity, _, message in found("", text)} == {("low", COMPUTED)}


@pytest.mark.parametrize(
    "text",
    [
        "{% set k = 'userXpass' %}{% set k = k|add:'word' %}{{ config_get(k, '') }}",
        "{% set k = 'userXpass' %}{% set j = 'word' %}{% set k = k + j %}{{ config_get(k, '') }}",
        "{% set k = 'userXpass' %}{% with k=k|add:'word' %}{{ config_get(k, '') }}{% endwith %}",
        "{% set k = '' %}{% for p in ['user.', 'pass', 'word'] %}{% set k = k + p %}{% endfor %}{{ config[k] }}",
        "{% macro m(a, b) %}{% set k = a %}{% set k = k|add:b %}{{ config_get(k) }}{% endmacro %}"
        "{{ m('userXpass', 'word') }}",
        "{% set k = 'userXpass' %}{% set k = k|add:'word' %}{% for n, d in devices %}{{ d[k] }}{% endfor %}",
    ],
)
def test_attack_50_key_name_from_several_tags_is_found(text):
    assert [severity for severity, *_ in found("", text)] == ["low"]


@pytest.mark.parametrize(
    "text",
    [
        "{% macro f() %}pw={{ y }}{% endmacro %}{% set y = VALUE %}{{ f() }}",
        "{% macro f(b=y) %}pw={{ b }}{% endmacro %}{% set y = VALUE %}{{ f() }}",
        "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}pw={{ y }}{% endmacro %}{% set y = VALUE %}{{ f() }}",
        "pw={% filter add:y %}{% set y = VALUE %}{% endfilter %}",
        "pw={% cycle 1 y as c %}{% set y = VALUE %}{% cycle c %}",
        "{% for x in 'abc' %}pw={{ z }}{% set z = y %}{% set y = VALUE %}{% endfor %}",
        "{% comment %}{% 'endcomment' %}{% for a in b %}{% endcomment %}"
        "{% for x in 'ab' %}pw={{ y }}{% set y = VALUE %}{% endfor %}",
    ],
)
def test_secret_in_a_variable_is_found_despite_later_assignment(text):
    for dialect in ("v4", "v6", "v6.1"):
        template = text.replace("VALUE", "1|add:1000")
        request = {"template": template, "context": {}, "mode": "plain", "dialect": dialect, "options": {}}
        assert b"1001" in ours(request)["output"]
    image = an_image(
        rules("/etc/a: {when: [create], template: t}"),
        {"t": text.replace("VALUE", "config_get('user.token')")},
    )
    assert [message for _, _, message in observed(CHECK, image)] == [
        "the template writes 'user.token' to '/etc/a', mode 0644"
    ]
    assert observed("line-injection", image)


def test_a_template_with_untrackable_variables_has_a_finding():
    sets = "".join(f"{{% set x{n} = x{n + 1} %}}" for n in range(9))
    text = f"{{% for i in 'abcdefghijk' %}}a{{{{ x0 }}}}{sets}{{% set x9 = config_get('user.token') %}}{{% endfor %}}"
    image = an_image(rules("/etc/a: {when: [create], template: t}"), {"t": text})
    assert observed(CHECK, image) == [
        (
            "medium",
            "image/templates/t:1:1",
            "templater cannot follow all variables, so the template may write a secret to '/etc/a', mode 0644",
        )
    ]
    assert observed("line-injection", image) == [
        (
            "info",
            "image/templates/t:1:1",
            "templater cannot follow all variables of this template: a value may add a line",
        )
    ]


HIDDEN = [
    "{% spaceless %}{% endspaceless }}{% comment %}pw=VALUE",
    "{% spaceless %}{% endspaceless {% comment %}pw=VALUE",
    "{% spaceless %}{% endspaceless $ %}{% comment %}pw=VALUE%}VALUE",
    "{% filter upper %}{% endfilter }}{% comment %}pw=VALUE",
    "{% autoescape off %}{% endautoescape {{ {% comment %}pw=VALUE",
]
#: only LXD prints the value
HIDDEN_IN_INCUS = [
    "{% spaceless %}{% endspaceless [ %}{% comment %}pw=VALUE{% comment %}{% endcomment %}",
    "{% spaceless %}{% endspaceless ] %}{% comment %}pw=VALUE{% comment %}{% endcomment %}",
    '{% comment %}{{ [ "{% endcomment %}pw=VALUE{% comment %}" }}{% endcomment %}',
]


@pytest.mark.parametrize("text", [*HIDDEN, *HIDDEN_IN_INCUS])
def test_text_after_an_unusual_end_tag_is_still_checked(text):
    template = text.replace("VALUE", "{{ 1|add:1000 }}")
    for dialect in ("v4",) if text in HIDDEN_IN_INCUS else ("v4", "v6", "v6.1"):
        request = {"template": template, "context": {}, "mode": "plain", "dialect": dialect, "options": {}}
        assert b"1001" in ours(request)["output"]
    image = an_image(
        rules("/etc/a: {when: [create], template: t}"),
        {"t": text.replace("VALUE", "{{ config_get('user.password') }}")},
    )
    assert observed(CHECK, image)
    assert observed("line-injection", image)


def test_unusual_end_tag_does_not_hide_secret_in_loop():
    loop = "{% for x in 'ab' %}{{ y }}{% set y = config_get('user.password','') %}{% endfor %}"
    assert found("", "{% spaceless %}{% endspaceless }}{% for a in b %}" + loop)


PRIVATE = '/etc/a: {when: [create], template: t, mode: "0600"}'


def a_file(path, mode):
    return Name(path, Entry(FILE, mode))


def test_attack_50_an_existing_file_keeps_its_mode():
    for mode, count in ((0o644, 1), (0o604, 1), (0o600, 0), (0o640, 0)):
        for rule in (PRIVATE, "/etc/a: {when: [create], template: t}"):
            found = observed(CHECK, an_image(rules(rule), {"t": TEXT}, [a_file("rootfs/etc/a", mode)]))
            assert [message for _, _, message in found] == [
                f"the template writes 'user.db-password' to '/etc/a', mode {mode:04o}"
            ] * count


def test_attack_50_the_existing_target_of_a_symlink_keeps_its_mode():
    names = [a_link("rootfs/etc/a", "b"), a_file("rootfs/etc/b", 0o644)]
    assert observed(CHECK, an_image(rules(PRIVATE), {"t": TEXT}, names))
    names = [a_link("rootfs/etc/a", "b"), a_file("rootfs/etc/b", 0o600)]
    assert not observed(CHECK, an_image(rules(PRIVATE), {"t": TEXT}, names))


@pytest.mark.parametrize("other", [(), ("/etc/missing: {when: [create], template: u, mode: 0600}",)])
def test_a_secret_in_the_target_of_a_dangling_symlink_is_found(other):
    """A real Incus 6.0.4 ignored the mode 0600, and created the file with the mode 0644."""
    image = an_image(rules(PRIVATE, *other), {"t": TEXT, "u": "x"}, [a_link("rootfs/etc/a", "missing")])
    ((_, _, message),) = observed(CHECK, image)
    assert message == "the template writes 'user.db-password' to '/etc/a', mode 0644"


@pytest.mark.parametrize("path", ["//etc/a", "/etc/../etc/a", "/lib/a"])
@pytest.mark.parametrize("is_first", [False, True])
def test_attack_50_another_rule_makes_a_private_mode_ineffective(path, is_first):
    other = f"{path}: {{when: [start], template: u}}"
    chosen = [other, PRIVATE] if is_first else [PRIVATE, other]
    image = an_image(rules(*chosen), {"t": TEXT, "u": "x"}, [a_link("rootfs/lib", "etc")])
    assert [message for _, _, message in observed(CHECK, image)] == [
        "the template writes 'user.db-password' to '/etc/a', mode 0644"
    ]


def test_hint_about_secret_says_where_to_change_the_mode():
    image = an_image(rules(PRIVATE), {"t": TEXT}, [a_file("rootfs/etc/a", 0o644)])
    other = an_image(rules(PRIVATE, "//etc/a: {when: [start], template: u}"), {"t": TEXT, "u": "x"})
    link = an_image(rules(PRIVATE), {"t": TEXT}, [a_link("rootfs/etc/a", "missing")])
    hints = [finding.hint for of in (image, other, link) for finding in audit(of) if finding.check == CHECK]
    assert hints == [
        "give the file in rootfs the mode 0600, because the daemon keeps the mode of an existing file",
        "set 'mode: 0600' in every rule that writes this file (LXD ignores the mode)",
        "use the path of the link's target in the rule: Incus 6 ignores the mode for a dangling link",
    ]


LETTERS = "{% for c in 'abc' %}{% if p == c %}{{ c }}{% endif %}{% endfor %}"


LETTERS = "abcdefghi"


def for_each_letter(text: str) -> str:
    """Return the text once for each of nine letters, with the letter instead of ``?``."""
    return "".join(text.replace("?", letter) for letter in LETTERS)


@pytest.mark.parametrize(
    "text",
    [
        for_each_letter('{% if P == "?" %}?{% endif %}'), for_each_letter('{% if "?" in P %}?{% endif %}'),
        '{% if P == "z" %}' + for_each_letter('{% elif P == "?" %}?') + "{% endif %}",
        for_each_letter('{% if (P) == "?" %}?{% endif %}'), for_each_letter('{% if not (P == "?") %}?{% endif %}'),
        for_each_letter('{% if instance.name and (P == "?") %}?{% endif %}'), for_each_letter('{% if P|cut:"?" %}?{% endif %}'),
        for_each_letter('{% ifequal P "?" %}?{% endifequal %}'),
        for_each_letter('{% set x = P|slice:":1" == "?" %}{% if x %}?{% endif %}'),
        for_each_letter('{% with a=P %}{% with b=a|first %}{% if b == "?" %}?{% endif %}{% endwith %}{% endwith %}'),
        for_each_letter('{% if "?" == ""|default:P %}?{% endif %}'),
        for_each_letter('{% if config_get("userXpass" + "word", "") == "?" %}?{% endif %}'),
        "{% set p = P %}" + "".join(f"{{% if p.{n} %}}{n}{{% endif %}}" for n in range(9)),
        "{% set p = P %}" + "".join(f"{{% if p[{n}] == 104 %}}{n}{{% endif %}}" for n in range(9)),
        '{% for c in "abc" %}{% if P|slice:":1" == c %}{{ c }}{% endif %}{% endfor %}',
        '{% for i in "012" %}{% if P[i] == 104 %}{{ i }}{% endif %}{% endfor %}',
        '{% set p = P %}{% for i in "012" %}{% if p[i] == 104 %}{{ i }}{% endif %}{% endfor %}',
        '{% for i in "012" %}{% if P|slice:":1" == forloop.Counter %}{{ i }}{% endif %}{% endfor %}',
        '{% for c in "abc" %}{% widthratio P|slice:":1"|cut:c|length 1 1 as a %}{% if not a %}{{ c }}{% endif %}{% endfor %}',
        for_each_letter('{% widthratio P|cut:"?"|length 1 1 as a %}{% if a %}?{% endif %}'),
        '{% macro m(c) %}{% if P == c %}{{ c }}{% endif %}{% endmacro %}{{ m("a") }}{{ m("b") }}',
        '{% set c = "a" %}{% if c in P %}a{% endif %}', '{% set c = "a" %}{% if c|default:"" == P %}a{% endif %}',
        '{% set c = "a" %}{% ifequal P|default:"" c %}a{% endifequal %}', '{% set c = "a" %}{% if P == "" + c %}a{% endif %}',
        '{% for k, v in config %}{% for c in "abc" %}{% if c in v %}{{ c }}{% endif %}{% endfor %}{% endfor %}',
        '{% for n, d in devices %}{% for k, v in d %}{% for c in "abc" %}{% if c in v %}{{ c }}{% endif %}{% endfor %}'
        "{% endfor %}{% endfor %}",
    ],
)  # fmt: skip
def test_attack_50_conditions_on_each_character_of_a_secret_are_found(text):
    """Nothing was found in templates that printed a whole password, letter by letter."""
    (finding,) = found("", text.replace("P", 'config_get("user.password", "")'))
    assert finding[0] == "medium"
    assert " by conditions in '/etc/a', mode 0644" in finding[2]


@pytest.mark.parametrize(
    "test",
    [
        'P|slice:":1" == "abbcccdddd"|random',
        '"abbcccdddd"|random == P|first',
        '("abbb"|make_list|random) in P',
    ],
)
def test_attack_50_a_comparison_of_a_secret_with_a_random_letter_is_found(test):
    """The number of iterations in which the condition is true tells the letter."""
    test = test.replace("P", 'config_get("user.password", "")')
    (finding,) = found("", f'{{% for a in "{"x" * 99}" %}}{{% if {test} %}}x{{% endif %}}{{% endfor %}}')
    assert finding[0] == "medium"


#: templates that print a character of the secret by one condition, which compares the secret with a variable
COMPARISONS = [
    "{% if (P|first == c) %}C{% endif %}",
    "{% if 0 %}{% elif (c in P) %}C{% endif %}",
    '{% if config_get("user.n", P|first == c) %}C{% endif %}',
    '{% if config_get("user.n", config_get("user.m", c in P)) %}C{% endif %}',
    '{% set t = config_get("user.n", P|first == c) %}{% if t %}C{% endif %}',
    '{% with t=config_get("user.n", P|cut:c) %}{{ t|length }}{% endwith %}',
    "{% with t=0 or P|first == c %}{{ t|yesno }}{% endwith %}",
    "{% macro m(t) %}{% if t %}1{% endif %}{% endmacro %}{% if m(c in P) %}C{% endif %}",
    "{% macro m(t=P|first == c) %}{{ t|yesno }}{% endmacro %}{{ m() }}",
    "{% macro m(a, t=(c in P)) %}{% if t %}1{% endif %}{% endmacro %}{% if m %}C{% endif %}",
    "{% macro m(t) %}{% if t|first == c %}1{% endif %}{% endmacro %}{% set k = P %}{% if m(k) %}C{% endif %}",
    "{% macro m(a, b) %}{% if a == b %}1{% endif %}{% endmacro %}{% set k = P|first %}{% if m(k, c) %}C{% endif %}",
    '{% ifchanged (P|first == c) "" %}C{% endifchanged %}',
    '{% if P|first == config_get("user.token", c) %}C{% endif %}',
    '{% set q = config_get("user.token", c) %}{% if P|first == q %}C{% endif %}',
    '{% set q = c|default:"token" %}{% if P|first == q %}C{% endif %}',
    "{% if P|first == properties[c] %}C{% endif %}",
    '{% if config["user." + P|first|cut:c] %}C{% endif %}',
    '{% if "password:" + c in config|stringformat:"%v" %}C{% endif %}',
    '{% set t = "password:" + c in config|stringformat:"%v" %}{% if t %}C{% endif %}',
    '{% if "password:" + c in config_get("user.n", config)|stringformat:"%v" %}C{% endif %}',
]


@pytest.mark.parametrize("text", COMPARISONS)
def test_attack_50_comparison_of_secret_with_variable_is_found(text):
    """Templates printed a secret that they compared inside of brackets or arguments.

    The check found nothing in these templates.
    """
    text = text.replace("P", 'config_get("user.password", "")').replace("C", "{{ c }}")
    text = f'{{% for c in "abch" %}}{text}{{% endfor %}}'
    context = {"properties": {letter: letter for letter in "abch"}, "devices": {}, "path": "/etc/a"}
    outputs = {
        dialect: {
            ours(
                {
                    "template": text,
                    "context": context | {"config": {"user.password": password, "user.": "x"}},
                    "mode": "incus",
                    "dialect": dialect,
                    "options": {},
                }
            ).get("output")
            for password in ("hunter2", "abacus")
        }
        for dialect in DIALECTS
    }
    assert 2 in map(len, outputs.values()), "the output does not depend on the secret"
    assert "medium" in {severity for severity, *_ in found("", text)}


KEY = "user.password-of-all"
#: conditions that test a secret: ``TEST`` is one of 24 tests, ``N`` is 0, 1 or 2, and so is the number of the name
RENAMED = {
    "sums that split the key after its word": lambda n: f"{{% if config_get('{KEY[: 13 + n]}' + '{KEY[13 + n :]}', '')TEST %}}x{{% endif %}}",
    "sums that split the key before its word": lambda n: f"{{% if config_get('{KEY[: n + 1]}' + '{KEY[n + 1 :]}', '')TEST %}}x{{% endif %}}",
    "filters without effect": lambda n: f"{{% if config_get('user.'|default:'{n}' + 'pass' + 'word', '')TEST %}}x{{% endif %}}",
    "loops over maps": lambda n: f"{{% set m{n} = config %}}{{% for k, v in m{n} %}}{{% if k == 'user.a' and vTEST %}}x{{% endif %}}{{% endfor %}}",
    "variables that a condition sets": lambda n: f"{{% set q{n} = P %}}{{% if 0 %}}{{% set q{n} = config_get('user.token{n}', '') %}}{{% endif %}}"
    f"{{% if q{n}TEST %}}x{{% endif %}}",
    "variables with many defaults": lambda n: f"{{% set p = P %}}{{% set q{n} = ''"
    + "".join(f"|default:d{number}" for number in range(n * 8, n * 8 + 8)) + f"|default:p %}}{{% if q{n}TEST %}}x{{% endif %}}",
    "arguments of a macro": lambda n: "".join(f"{{% if m(d{number}) %}}{{% endif %}}" for number in range(n * 8, n * 8 + 8))
    + f"{{% macro m(q{n}) %}}{{% if q{n}TEST %}}1{{% endif %}}{{% endmacro %}}{{% if m(P) %}}x{{% endif %}}",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", RENAMED)
def test_attack_50_many_conditions_on_a_secret_with_several_names_are_found(name):
    """A template had eight conditions for each name that the template gave to the secret."""
    text = "".join(
        RENAMED[name](n).replace("TEST", f"|slice:'{n}:' == '{letter}'")
        for n in range(3)
        for letter in LETTERS[:8]
    )
    others = "".join(f"{{% set d{n} = config_get('user.token{n}', '') %}}" for n in range(24))
    severities = {
        severity for severity, *_ in found("", others + text.replace("P", "config_get('user.password', '')"))
    }
    assert "medium" in severities


HEX = '{% set s = P|stringformat:"%x" %}'
EACH = '{% for i in "xxxxxxxx" %}'
HALVE = "{% if n % 2 %}1{% else %}0{% endif %}{% set n = n / 2 %}"
SHIFT = '{% set s = s|slice:"1:" %}'
DIGIT = '{% set x = "0123456789abcdef"|split:b|first|length %}'


@pytest.mark.parametrize(
    "text",
    [
        HEX + EACH + "{% set b = s|first %}" + DIGIT + '{% for j in "xxxx" %}'
        "{% if x % 2 %}1{% endif %}{% set x = x / 2 %}{% endfor %}" + SHIFT + "{% endfor %}",
        "{% set n = P|integer %}" + EACH + HALVE + "{% endfor %}",
        "{% set n = P|integer %}" + EACH + HALVE.replace("n % 2", "n|divisibleby:2") + "{% endfor %}",
        "{% set n = P|integer %}" + EACH + "{% with b = n - 3 %}{% if b %}1{% endif %}{% endwith %}{% set n = n - 1 %}{% endfor %}",
        HEX + EACH + '{% if s|first < "5" %}a{% endif %}' + SHIFT + "{% endfor %}",
        HEX + EACH + '{% if s|first < "5" %}a{% endif %}{% set t = s|slice:"1:" %}{% set s = t %}{% endfor %}',
        HEX + EACH + "{% if s %}1{% endif %}" + SHIFT + "{% endfor %}",
        "{% set n = P|integer %}{% set m = n %}" + EACH + "{% ifequal m 7 %}1{% endifequal %}{% widthratio m 2 1 as m %}{% endfor %}",
        "{% set n = P|integer %}{% macro m() %}{% if n % 2 %}1{% endif %}{% endmacro %}" + "{{ m() }}{% set n = n / 2 %}" * 3,
        "{% set n = P|integer %}" + HALVE * 5,
    ],
)  # fmt: skip
def test_attack_50_a_condition_on_successive_parts_of_a_secret_is_found(text):
    """One condition in a loop printed the whole password, bit after bit."""
    (finding,) = found("", text.replace("P", 'config_get("user.password", "")'))
    assert finding[0] == "medium"
    assert " by conditions in '/etc/a', mode 0644" in finding[2]


@pytest.mark.parametrize(
    "text",
    [
        "{% if P %}x{% endif %}", '{% if P == "" %}x{% endif %}', '{% if "" != P or P|length %}x{% endif %}' * 20,
        '{% set p = P|default:"x"|lower %}{% if not p and instance.name == "x" %}x{% endif %}',
        '{% ifequal P "" %}{% endifequal %}', '{% if P != "yes" %}x{% endif %}' * 20,
        "".join(f'{{% if P == "{letter}" %}}x{{% endif %}}' for letter in LETTERS[:8]) * 2,
        for_each_letter('{% if config_get("user.?-password", "") == "?" %}x{% endif %}'),
        for_each_letter('{% if config_get("user.name", "") == "?" and P %}x{% endif %}'),
        '{% for k, v in config %}{% if k == "user.password_auth" and v == "true" %}x{% endif %}{% endfor %}',
        '{% for k in config %}{% if config_get(k, "") == "true" %}x{% endif %}{% endfor %}',
        '{% for n in "ab" %}{% if config_get("user." + n + ".password", "") == "locked" %}x{% endif %}{% endfor %}',
        '{% for n, d in devices %}{% if d.type == "nic" %}x{% endif %}{% endfor %}',
        EACH + '{% set p = P %}{% set p = p|default:"x"|lower %}{% if p == "x" %}x{% endif %}{% endfor %}',
        EACH + '{% with p=P %}{% with p=p %}{% if p == "x" %}x{% endif %}{% endwith %}{% endwith %}{% endfor %}',
        "{% set n = P|integer %}" + HALVE * 2, '{% set s = P %}{% set s = s|slice:":9" %}{% if s == "x" %}x{% endif %}',
        '{% set n = 1 %}{% for i in "ab" %}{% if n % 2 and P %}x{% endif %}{% set n = n + 1 %}{% endfor %}',
        "{% if (P) %}x{% endif %}{% if (P and instance.name) %}x{% endif %}" * 9,
        '{% macro m(k) %}{% if config_get(k, "") == "true" %}1{% endif %}{% endmacro %}'
        '{% for n in "ab" %}{% if m("user.password_auth") and n == "a" %}x{% endif %}{% endfor %}',
        '{% set k = "user.password" %}{% if config_get(k, "") %}x{% endif %}',
        '{% for n in "ab" %}{% with p=P n=n|upper %}{% if p and n == "A" %}x{% endif %}{% endwith %}{% endfor %}',
        '{% for k in "ab" %}{% if k in config %}x{% endif %}{% endfor %}{% set a = "user.a" in config %}{{ a }}',
        for_each_letter('{% set v = config_get("user.?-password", "") %}{% if v == "on" or v == "off" %}x{% endif %}'),
    ],
)  # fmt: skip
def test_a_few_conditions_on_a_secret_give_no_finding(text):
    assert found("", text.replace("P", 'config_get("user.password", "")')) == []


def observed_in_templates(texts):
    names = [f"t{number}" for number in range(len(texts))]
    chosen = [f"/etc/{name}: {{when: [create], template: {name}}}" for name in names]
    contents = [text.replace("P", 'config_get("user.password", "")') for text in texts]
    return observed(CHECK, an_image(rules(*chosen), dict(zip(names, contents, strict=True))))


@pytest.mark.parametrize(
    "texts",
    [
        [f'{{% if P == "{letter}" %}}x{{% endif %}}' for letter in LETTERS[:9]],
        [f'{{% if P|slice:":{n}" == "a" %}}x{{% endif %}}{{% if P == "{n}" %}}x{{% endif %}}' for n in range(5)],
        ["{% set n = P|integer %}" + HALVE * 2 + "{# " + letter + " #}" for letter in LETTERS[:5]],
        [f'{{% set s = P|slice:"{n}" %}}{{% if s == "a" %}}x{{% endif %}}' for n in range(9)],
    ],
)  # fmt: skip
def test_attack_50_conditions_on_a_secret_in_several_templates_are_found(texts):
    """Sixteen templates with eight conditions each could reveal a whole password."""
    found = observed_in_templates(texts)
    assert {severity for severity, *_ in found} == {"medium"}
    assert all(" by conditions in " in message for *_, message in found)


@pytest.mark.parametrize(
    "texts",
    [
        [f'{{% if P == "{letter}" %}}x{{% endif %}}' for letter in LETTERS[:8]],
        ['{% if P == "yes" %}x{% endif %}{# ' + letter + " #}" for letter in LETTERS],
        ["{% if P %}" + letter + "{% endif %}" for letter in LETTERS],
        ['{% if P and trigger == "create" or path != "/x" %}' + letter + "{% endif %}" for letter in LETTERS],
    ],
)  # fmt: skip
def test_a_few_conditions_in_several_templates_give_no_finding(texts):
    assert observed_in_templates(texts) == []


@pytest.mark.parametrize(
    "text",
    [
        '{% if P|slice:":1" == path|last %}x{% endif %}',
        '{% if path|last in P %}x{% endif %}',
        '{% ifequal P|first path %}x{% endifequal %}',
        "{% if P|first == trigger|first %}x{% endif %}",
    ],
)  # fmt: skip
def test_attack_50_comparison_of_secret_with_path_is_found(text):
    """Many rules with one template have different paths, so that one condition could test each letter."""
    (finding,) = found("", text.replace("P", 'config_get("user.password", "")'))
    assert " by conditions in '/etc/a', mode 0644" in finding[2]


@pytest.mark.parametrize(
    "text",
    [
        "{% for p in config_get('user.password', '') %}" + LETTERS + "{% endfor %}",
        "{% set s = config_get('user.password', '') %}{% for p in s %}{% ifequal p 'a' %}a{% endifequal %}{% endfor %}",
        "{% for p in config_get('user.password', '') %}{% if p == 'a' %}a{% endif %}{% endfor %}",
        "{% for p in config_get('user.password', '') %}{{ forloop.Counter }}{% endfor %}",
        "{% for k, v in config %}{% for p in v %}{% if p == 'a' %}a{% endif %}{% endfor %}{% endfor %}",
    ],
)
def test_attack_50_a_loop_over_a_secret_counts_as_printing_the_secret(text):
    """Conditions in the loop printed the whole password, one character after the other."""
    assert len(found("", text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "{% if config_get('user.password', '') %}x{% endif %}",
        "{% for k in config %}{% if k == 'user.password' %}x{% endif %}{% endfor %}",
        "{% for k, v in config %}{% if k == 'user.a' %}x{% endif %}{% endfor %}",
    ],
)
def test_condition_or_loop_over_keys_gives_no_finding(text):
    assert not found("", text)


@pytest.mark.parametrize("mode", [", mode: 0600", ", mode: 0640"])
def test_a_secret_in_a_private_file_has_no_finding(mode):
    assert not found(mode)


@pytest.mark.parametrize(
    "text", ['{{ config_get("user.name", "") }}', "# the password goes elsewhere", '"secret"']
)
def test_a_text_without_secrets_has_no_finding(text):
    assert not found("", text)


@pytest.mark.parametrize(
    ("paths", "mode", "words"),
    [
        ("a", "", "'user.db-password' to '/etc/a', mode 0644"),
        ("ab", "0604", "'user.db-password' to '/etc/a' and 1 more, mode 0604"),
        ("abc", "x", "'user.db-password' to '/etc/a' and 2 more, mode 0644"),
    ],
)
def test_finding_about_secret_mentions_first_file_and_its_mode(paths, mode, words):
    chosen = [f'/etc/{path}: {{when: [create], template: t, mode: "{mode}"}}' for path in paths]
    ((_, _, message),) = observed(CHECK, an_image(rules(*chosen), {"t": TEXT}))
    assert message == f"the template writes {words}"
