"""Secret keys of instances, and the findings about templates that may read them."""

import pytest

from templater.checks.check_report import check_report
from templater.checks.secret_keys import SecretKeys, is_secret
from templater.model.instance import Instance, Profile
from templater.model.source import Source
from templater.rendering.origins import Origin, names_read
from tests.web_pages import an_image

SECRET = "hunter2-very-secret"
SECRETS = SecretKeys([
    Instance(
        "c1",
        config={"user.password": SECRET, "user.role": "web", "user.token": ""},
        profiles=(Profile("web", config={"cloud-init.user-data": "#cloud-config\npassword: tr0ub4dor\n"}),),
        devices={
            "eth0": {"hwaddr": "00:16:3e:00:00:01"}, "my.vpn": {"user.secret.db": "abcdefgh12345678"},
            "vpn": {"private-key": "abcdefgh12345678"},
        },
    )
])  # fmt: skip


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("user.password", True), ("user.DB_PASSWORD", True), ("user.api-key", True), ("user.auth_token", True),
        ("cloud-init.user-data", True), ("user.vendor-data", True), ("user.network-config", True),
        ("security.privileged", False), ("user.role", False), ("limits.cpu", False),
    ],
)  # fmt: skip
def test_name_of_key_decides_whether_its_value_is_secret(key, secret):
    assert is_secret(key) == secret


def test_secret_values_of_instances_and_of_profiles_are_hidden():
    assert SECRETS.hides([Origin("user.password", "local")]) == ["user.password"]
    assert SECRETS.hides([Origin("cloud-init.user-data", "profile", "web")])
    assert SECRETS.hides([Origin("devices.vpn.private-key", "local")])
    assert not SECRETS.hides([Origin("devices.eth0.hwaddr", "local")])
    assert not SECRETS.hides([Origin("user.role", "local")])


def test_a_default_value_for_an_unset_secret_key_is_shown():
    assert not SECRETS.hides([Origin("user.password", "undefined"), Origin("the default", "default")])


def test_value_made_from_secret_and_other_keys_is_hidden():
    assert SECRETS.hides([Origin("all configuration keys", "several")])
    assert not SecretKeys([Instance("c1")]).hides([Origin("all configuration keys", "several")])


def test_loop_output_is_hidden_only_for_a_secret_device():
    loop = [Origin("all devices", "several")]
    assert SECRETS.hides(loop)
    assert not SecretKeys(
        [Instance("c1", config={"user.password": SECRET}, devices={"eth0": {"a": "b"}})]
    ).hides(loop)


def test_device_with_one_secret_key_is_entirely_secret():
    assert SECRETS.hides([Origin("devices.vpn", "local")]) == ["devices.vpn"]
    assert SECRETS.hides([Origin("devices.my.vpn", "profile", "web")])
    assert not SECRETS.hides([Origin("devices.eth0", "local")])


def test_a_secret_device_key_is_recognised_even_if_names_contain_dots():
    assert SECRETS.hides([Origin("devices.my.vpn.user.secret.db", "local")])


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('{{ config_get("user.password", "") }}', True), ("{{ config['user.password'] }}", True),
        ('{{ config_get("user.role", "") }}', False), ('{{ config_get("user.token", "") }}', False),
        ("{{ config_get(path, '') }}", True), ("{% set f = config_get %}{{ f('user.password', '') }}", True),
        ("{% for k, v in config %}{{ v }}{% endfor %}", True), ("{{ instance.name }}", False),
        ("{{ devices.eth0.hwaddr }}", False), ("{{ devices.eth0 }}", False), ("{{ devices.vpn }}", True),
        ("{{ devices[path] }}", True), ("{{ devices.vpn[path] }}", True), ("{{ devices.vpn.Clone }}", True),
        ("{% for d in devices.Sorted %}{{ d.Config }}{% endfor %}", True), ("{{ devices.Clone.vpn }}", True),
        ("{{ devices['my.vpn'] }}", True), ("{{ properties.password }}", False),
        ("{% for config_get in 'a' %}{% endfor %}", True),  # binds a name of the daemon
        ("{{ config.a|nosuch }}", False),  # does not compile, so it reads nothing
    ],
)  # fmt: skip
def test_possibly_read_secret_key_is_treated_as_read(text, secret):
    names = names_read(Source("t", text), "v6.1")
    assert SECRETS.may_be_read(names) == secret
    assert not SecretKeys([Instance("c1", config={"user.role": "web"})]).may_be_read(names)


HOSTS = {"/etc/hosts": {"when": ["create"], "template": "t"}}


def texts(path, text, **options):
    image = an_image(path, HOSTS, {"t": text})
    report = check_report(str(image), hosts=("incus", "lxd"), at_least="info", redacted=True, **options)
    names = ("check", "line", "message", "hint")
    return [
        [tuple(each.get(name, "") for name in names) for each in report[key]]
        for key in ("findings", "redacted")
    ]


def an_instance(**config):
    return Instance("c1", config={"user.password": "hunter2", **config})


def test_findings_do_not_quote_rendered_file_with_a_secret(tmp_path):
    text = '\n{{ config_get("user.password", "")|upper }} x\n{{ instance.nmae }}\n'
    found, redacted = texts(tmp_path / "image", text, instances=(an_instance(),))
    assert any("HUNTER2" in message for _, _, message, _ in found)
    assert ("hosts", 2, "a line of /etc/hosts that lacks an address or a name", "") in redacted
    assert not any("HUNTER2" in message or "nmae" in message for _, _, message, _ in redacted)
    assert [each[:2] for each in redacted] == [each[:2] for each in found]


def test_findings_do_not_quote_render_error_with_a_secret(tmp_path):
    text = "{% set x = config_get('user.password', '')|make_list|join:\"'\" %}{{ 1|yesno:x }}\n"
    found, redacted = texts(tmp_path / "image", text, instances=(an_instance(),))
    assert any("h'u'n't'e'r'2" in message for _, _, message, _ in found)
    assert ("render", 1, "a template whose rendering fails or does not end", "") in redacted


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ('{{ config_get("user.role", "")|upper }} x\n', {"user.role": "web"}),
        ('{{ config_get("user.token", "")|upper }} x\n', {}),  # this instance has no token
    ],
)
def test_a_finding_about_a_template_without_secrets_is_not_redacted(tmp_path, text, config):
    found, redacted = texts(tmp_path / "image", text, instances=(an_instance(**config),))
    assert found == redacted


def test_findings_about_invented_values_are_not_redacted(tmp_path):
    found, redacted = texts(tmp_path / "image", '{{ config_get("user.password", "")|upper }} x\n')
    assert found == redacted


def test_secrets_of_an_instance_from_templater_toml_are_redacted(tmp_path):
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "templater.toml").write_text('instances = ["w.yaml"]\n')
    (folder / "w.yaml").write_text("name: w\nconfig: {user.password: hunter2}\n")
    found, redacted = texts(folder, '{{ config_get("user.password", "")|upper }} x\n', trusted=True)
    assert "HUNTER2" in str(found)
    assert "HUNTER2" not in str(redacted)


def test_every_template_is_treated_as_secret_after_slow_parsing(tmp_path, monkeypatch):
    monkeypatch.setattr("templater.checks.secret_keys.MAX_SECONDS", -1)
    _, redacted = texts(tmp_path / "image", "no address\n", instances=(an_instance(),))
    assert ("hosts", 1, "a line of /etc/hosts that lacks an address or a name", "") in redacted
