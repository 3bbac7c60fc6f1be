"""Each mistake is found with its id and place, and the same image without the mistake has no such finding."""

from dataclasses import replace
from functools import cache
from json import dumps
from pathlib import Path
from types import SimpleNamespace

import pytest

from templater.checks import unpack_refusals
from templater.checks.authored_image import AuthoredImage, _lines_that_give, _only, authored
from templater.checks.authoring import shell
from templater.checks.authoring.metadata_key import KEYS, corrected
from templater.checks.authoring.mode import corrected as corrected_mode
from templater.checks.check_report import judge
from templater.checks.ignores import _comments
from templater.checks.invented_values import invented_value
from templater.checks.mistakes_in_files import condition_text
from templater.checks.rendered_files import kept_text
from templater.checks.run_checks import all_checks, audit
from templater.checks.scanned_image import Name, ScannedImage
from templater.checks.target_kinds import kind_of
from templater.checks.templater_toml import Configuration, Ignore
from templater.image.gnu_tar_refusals import UnpackedTree
from templater.model.entry import DIRECTORY, FILE, SYMLINK, Entry, TemplateFile
from templater.model.errors import LimitError, MetadataError
from templater.model.hosts import HOSTS, INCUS
from templater.model.instance import Instance
from templater.model.source import Source
from templater.planning import follow_links
from tests.checks.authoring.authoring_builders import HOSTNAME, SEED, defined, file, findings, image
from tests.checks.builders import a_folder, a_link, an_image

T = "image/templates/t:"
M = "image/metadata.yaml:"


def text(template: str, **fields) -> AuthoredImage:
    return file("/etc/motd", template + "\n", **fields)


def rule(fields: str, path: str = "/etc/motd", **more) -> AuthoredImage:
    return image(f"{path}: {{{fields}}}", **more)


def seed(name: str, content: str, **fields) -> AuthoredImage:
    """An image with a complete NoCloud seed. One file of the seed has the given content."""
    names = ("user-data", "meta-data", "network-config")
    contents = {
        "user-data": "#cloud-config\n{}\n",
        "meta-data": "a: b\n",
        "network-config": "",
        name: content,
    }
    entries = [f"{SEED}/{each}: {{when: [create], template: {each}, mode: 0600}}" for each in names]
    return image(*entries, templates=contents, **fields)


def seed_files(*names: str) -> AuthoredImage:
    """An image that writes these files of a NoCloud seed."""
    entries = [f"{SEED}/{each}: {{when: [create], template: {each}, mode: 0600}}" for each in names]
    contents = dict.fromkeys(names, "a: b\n") | {
        "user-data": "#cloud-config\n{}\n",
        "network-config": "version: 2\n",
    }
    return image(*entries, templates=contents)


def both_names(when: str) -> AuthoredImage:
    """An image that writes /etc/hostname and /etc/hosts on the same triggers."""
    rules = [f"/etc/{name}: {{when: {when}, template: {name}}}" for name in ("hostname", "hosts")]
    return image(*rules, templates={"hostname": NAME, "hosts": f"127.0.0.1 localhost\n127.0.1.1 {NAME}"})


def metadata(text: str, **fields) -> AuthoredImage:
    """An image with this metadata.yaml and no template."""
    return authored(an_image(text, **fields), (INCUS,), ())


#: the advice of host-syntax
LOOP = '{% for k, v in devices.eth0 %}{% if k == "ipv4.address" %}{{ v }}{% endif %}{% endfor %}'
NAME = "{{ instance.name }}\n"


def hostname(fields: str, **properties: str) -> AuthoredImage:
    """An image whose /etc/hostname has the name of the instance."""
    return rule(f"{fields}, template: t", "/etc/hostname", t=NAME, more=f"properties: {dumps(properties)}\n")


def named(path: str, when: str, **properties: str) -> AuthoredImage:
    """An image with a file that assigns the name of the instance to a variable of a shell."""
    more = f"properties: {dumps(properties)}\n"
    return rule(f"when: {when}, template: t", path, t=f"HOSTNAME={NAME}", more=more)


def declared_hostname(when: str) -> AuthoredImage:
    """An image for NixOS whose configuration also has the name of the instance."""
    rules = (
        "/etc/hostname: {when: [create], template: t}",
        f"/etc/nixos/hostname.nix: {{when: {when}, template: t}}",
    )
    return image(*rules, t=NAME, more="properties: {os: nixos}\n")


def seeded_hostname(when: str) -> AuthoredImage:
    """An image whose cloud-init also gets the name of the instance."""
    names = ("meta-data", "user-data")
    seeds = [f"{SEED}/{each}: {{when: {when}, template: {each}, mode: 0600}}" for each in names]
    contents = {"t": NAME, "meta-data": f"local-hostname: {NAME}", "user-data": "#cloud-config\n{}\n"}
    return image("/etc/hostname: {when: [create], template: t}", *seeds, templates=contents)


FACTS = "architecture: x86_64\ncreation_date: 1\n"
NETWORK = "version: 1\nconfig:\n- type: physical\n  name: eth0\n  subnets:\n  - type: dhcp\n"
#: lxd 5273
STATIC = "  - type: static\n    address: 10.0.0.5/24\n"
PLACE_OF_NETWORK = "image/templates/network-config:"


def build(entries: str, image: str = "") -> AuthoredImage:
    """Return the image that a build of a definition with these entries makes."""
    text = f"image: {{distribution: a, architecture: x86_64, serial: s{image}}}\nfiles:\n{entries}\n"
    return defined(text)


PLAN = "/etc/netplan/a.yaml"
PONGO = "- {generator: template, name: t, path: /etc/t, pongo: true, content: '%s'}"
SECRET = '- {generator: template, name: t, path: /etc/t, content: \'a {{ config_get("user.token", "") }}\'}'
USER_DATA = "- {generator: cloud-init, name: meta-data}\n- {generator: cloud-init, name: user-data}"
PLAIN = "- {generator: template, name: t, path: /etc/t%s}"

#: id, level, place, image with the mistake, image without it
CASES = [
    # names
    ("unknown-variable", "error", f"{T}1:4", text("{{ instnace.name }}"), text("{{ instance.name }}")),
    ("unknown-variable", "error", f"{T}1:7", text("{% if hostname %}a{% endif %}"), text("{% set hostname = 1 %}{% if hostname %}a{% endif %}")),
    ("unknown-variable", "error", f"{T}1:15", text('{{ config_get(user.a, "") }}'), text('{{ config_get("user.a", "") }}')),
    ("unknown-field", "error", f"{T}1:13", text("{{ instance.hostname }}"), text("{{ instance.type }}")),
    ("unknown-field", "error", f"{T}1:13", text("{{ instance.nmae }}"), text("{{ instance.name }}")),
    ("unknown-field", "error", f"{T}1:14", text("{{ container.id }}"), text("{{ container.name }}")),
    ("unknown-field", "error", f"{T}1:48", text("{% for k in devices sorted %}{{ k }}{{ forloop.Index }}{% endfor %}"), text("{% for k in devices sorted %}{{ k }}{{ forloop.Counter }}{% endfor %}")),
    ("config-dots", "error", f"{T}1:4", text("{{ config.user.color }}"), text('{{ config_get("user.color", "") }}')),
    ("missing-property", "warning", f"{T}1:4", text("{{ properties.domain }}"), image("/etc/motd: {when: [create], template: t, properties: {domain: a}}", t="{{ properties.domain }}\n")),
    ("missing-property", "info", f"{T}1:25", text('{{ config_get("user.a", properties.b) }}'), image("/etc/motd: {when: [create], template: t, properties: {b: a}}", t='{{ config_get("user.a", properties.b) }}\n')),
    ("missing-property", "warning", f"{T}1:25", image("/etc/motd: {when: [create], template: t, properties: {default: a}}", t='{{ config_get("user.a", properties.defualt) }}\n'), image("/etc/motd: {when: [create], template: t, properties: {default: a}}", t='{{ config_get("user.a", properties.default) }}\n')),
    ("config-dots", "error", f"{T}1:4", text('{{ config.get("user.a", "b") }}'), text('{{ config_get("user.a", "b") }}')),
    ("missing-template", "error", f"{M}4:3", rule("when: [create], tempalte: t"), rule("when: [create], template: t")),
    ("config-key", "warning", f"{T}1:4", text('{{ config_get("user.userdata", "") }}'), text('{{ config_get("user.user-data", "") }}')),
    ("config-key", "warning", f"{T}1:4", text('{{ config_get("cloud-init.user_data", "") }}'), text('{{ config_get("cloud-init.user-data", "") }}')),
    ("config-key", "warning", f"{T}1:4", text('{{ config_get("user.vednor-data", "") }}'), text('{{ config_get("user.vendor-data", "") }}')),
    ("config-key", "warning", f"{T}1:4", text('{{ config_get("color", "") }}'), text('{{ config_get("user.color", "") }}')),
    # definitions
    ("pongo-runtime", "warning", "d.yaml:3:76", build(PONGO % "a {{ container.name }}"), build(PONGO % "a {{ image.variant }}")),
    ("pongo-runtime", "warning", "d.yaml:3:77", build(PONGO % '{% if config_get("user.a", "") %}b{% endif %}'), build(PONGO % "{% set config = image %}{{ config.variant }}")),
    ("dropped-field", "warning", "d.yaml:3:54", build(PLAIN % ", mode: 0600"), build("- {generator: dump, path: /etc/t, mode: 0600}")),
    ("dropped-field", "warning", "d.yaml:4:61", build("- {generator: cloud-init, name: meta-data}\n- {generator: cloud-init, name: user-data, template: {when: [start]}}"), build("- {generator: hostname, path: /etc/hostname, template: {when: [start]}}")),
    ("readable-secret", "warning", "d.yaml:3:74", build(SECRET), build(f"- {{generator: dump, path: /etc/t, mode: 0600}}\n{SECRET}")),
    ("nocloud-readable", "info", "d.yaml:6:33", build(f"- {{generator: dump, path: {SEED}/user-data, mode: '0600'}}\n- {{generator: remove, path: /var/lib/cloud}}\n{USER_DATA}"), build(f"{USER_DATA}\n- {{generator: copy, source: user-data, path: {SEED}/, mode: 600}}")),
    ("nocloud-readable", "info", "d.yaml:4:33", build(USER_DATA), build(f"{USER_DATA}\n- {{generator: dump, path: {SEED}/user-data, mode: '0600'}}")),
    ("shared-template", "warning", "d.yaml:4:31", build(f"{PLAIN % ''}\n{PLAIN % '2, content: a'}"), build(f"{PLAIN % ''}\n{(PLAIN % '2, content: a').replace('name: t', 'name: u')}")),
    ("shared-template", "warning", "d.yaml:4:40", build(f"{PLAIN % ''}\n{PLAIN % ''}"), build(f"{PLAIN % ''}\n{PLAIN % ', releases: [b]'}")),
    ("image-expiry", "warning", "d.yaml:1:67", build("- {generator: fstab}", ", expiry: x"), build("- {generator: fstab}", ", expiry: 30d")),
    ("image-expiry", "warning", "d.yaml:1:67", build("- {generator: fstab}", ", expiry: 1d12h"), build("- {generator: fstab}", ", expiry: 12h")),
    # conditions
    ("text-condition", "error", f"{T}1:7", text("{% if instance.privileged %}a{% endif %}"), text('{% if instance.privileged == "true" %}a{% endif %}')),
    ("text-condition", "error", f"{T}1:11", text("{% if not container.ephemeral %}a{% endif %}"), text('{% if container.ephemeral != "true" %}a{% endif %}')),
    ("text-condition", "error", f"{T}1:7", text("{% if instance.privileged == true %}a{% endif %}"), text('{% if "true" == instance.privileged %}a{% endif %}')),
    ("text-condition", "error", f"{T}1:7", text('{% if config_get("security.nesting", "") %}a{% endif %}'), text('{% if config_get("user.nesting", "") %}a{% endif %}')),
    ("text-condition", "error", f"{T}1:31", text('{% if instance.name == "a" or instance.privileged %}a{% endif %}'), text('{% if instance.name == "a" or instance.name == "b" %}a{% endif %}')),
    ("text-condition", "error", f"{T}1:32", text('{% if instance.name == "a" and instance.privileged %}a{% endif %}'), text('{% if instance.name == "a" and instance.name != "b" %}a{% endif %}')),
    ("trigger-comparison", "error", f"{T}1:7", text('{% if trigger == "start" %}a{% endif %}'), text('{% if trigger|lower == "start" %}a{% endif %}')),
    ("trigger-comparison", "error", f"{T}1:7", text('{% if "copy" != trigger %}a{% endif %}'), text('{% if "copy" != trigger|lower %}a{% endif %}')),
    # Jinja
    ("jinja", "error", f"{T}1:15", text("{% if devices is defined %}a{% endif %}"), text("{% if devices %}a{% endif %}")),
    ("jinja", "error", f"{T}1:40", text("{% for k in devices sorted %}{{ k }}{{ loop.index }}{% endfor %}"), text("{% for k in devices sorted %}{{ k }}{{ forloop.Counter }}{% endfor %}")),
    ("jinja", "error", f"{T}1:25", text('{{ instance.name|default("x") }}'), text('{{ instance.name|default:"x" }}')),
    ("jinja", "error", f"{T}1:4", text('{{ config_get("user.a", "") or "x" }}'), text('{{ config_get("user.a", "")|default:"x" }}')),
    ("jinja", "error", f"{T}1:18", text('{{ instance.name ~ "x" }}'), text("{{ instance.name }}x")),
    ("jinja", "error", f"{T}1:18", text('{{ instance.name if 1 else "x" }}'), text("{% if 1 %}{{ instance.name }}{% endif %}")),
    ("map-printed", "error", f"{T}1:4", text("{{ instance }}"), text("{{ instance.name }}")),
    ("map-printed", "error", f"{T}1:4", text("{{ devices.eth0 }}"), text("{{ devices.eth0.type }}")),
    ("map-order", "info", f"{T}1:13", text("{% for k in config %}{{ k }}{% endfor %}"), text("{% for k in config sorted %}{{ k }}{% endfor %}")),
    ("map-order", "warning", f"{PLACE_OF_NETWORK}1:13", seed("network-config", "{% for k in devices %}#{{ k }}\n{% endfor %}"), seed("network-config", "{% for k in devices sorted %}#{{ k }}\n{% endfor %}")),
    ("jinja", "error", f"{T}1:12", text('{% set a = instance.name or "x" %}{{ a }}'), text('{% set a = instance.name|default:"x" %}{{ a }}')),
    ("jinja", "error", f"{T}1:7", text('{% if instance.type == "container" or "virtual-machine" %}a{% endif %}'), text('{% if instance.type == "container" or instance.name == "a" %}a{% endif %}')),
    ("hostname", "error", f"{T}1:44", file("/etc/hostname", '{% if instance.type == "virtual-machine" %}a b{% else %}c{% endif %}\n'), file("/etc/hostname", '{% if instance.type == "virtual-machine" %}a{% else %}c{% endif %}\n')),
    # compiling and rendering
    ("syntax", "error", f"{T}1:18", text("{{ instance.name|uper }}"), text("{{ instance.name|upper }}")),
    ("syntax", "error", f"{T}1:4", text('{% include "a" %}'), text("a")),
    ("host-syntax", "error", f"{T}1:16", text('{{ devices.eth0["ipv4.address"] }}', hosts="incus,incus-debian"), text(LOOP, hosts="incus,incus-debian,lxd")),
    ("host-syntax", "error", f"{T}1:18", text("{{ instance.name|e }}", hosts="incus,lxd"), text("{{ instance.name|escape }}", hosts="incus,lxd")),
    ("host-syntax", "error", f"{T}1:10", text('{{ config["user.a"] }}', hosts="incus,lxd"), text('{{ config["user.a"] }}', hosts="incus")),
    ("render", "error", f"{T}1:4", text('{{ config_get("user.a") }}'), text('{{ config_get("user.a", "") }}')),
    ("conflict-marker", "error", f"{T}1:1", text("<<<<<<< HEAD\nb\n>>>>>>> other"), text(">>>>>>> other\n<<<<<<< HEAD\n")),
    ("conflict-marker", "error", f"{T}2:1", text("a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> other"), text("a\n<<<<<<< HEAD\nb")),
    ("unreadable", "error", "metadata.yaml", text("a", errors=[LimitError("too long")]), text("a")),
    ("refused-import", "error", f"{M}1:1", metadata("creation_date: 1\nproperties: {architecture: x86_64}\n"), metadata(FACTS)),
    ("refused-import", "error", f"{M}1:1", metadata("architecture: x86_64\ncreation_date: 0\n"), metadata(FACTS)),
    ("refused-import", "error", f"{M}1:1", metadata("null\n"), metadata(FACTS)),
    ("refused-import", "error", f"{M}1:1", metadata("templates: {}\n", names=["rootfs/etc/motd"]), metadata(FACTS)),
    ("refused-import", "error", f"{M}1:1", metadata("templates: {}\n", packed=True), metadata(FACTS, packed=True)),
    ("refused-import", "info", f"{M}1:1", metadata("templates: {}\n"), metadata(FACTS)),
    ("refused-import", "error", f"{M}1:15", metadata(FACTS.replace("x86_64", "x86-64")), metadata(FACTS.replace("x86_64", "amd64"))),
    ("refused-import", "error", f"{M}3:14", metadata(FACTS + "expiry_date: 253402300800\n"), metadata(FACTS + "expiry_date: 253402300799\n")),
    ("refused-import", "error", f"{M}2:16", metadata("architecture: x86_64\ncreation_date: 253402300800\n"), metadata("architecture: x86_64\ncreation_date: -99999999999999\n")),
    ("refused-import", "error", "", metadata(FACTS, unfound=("././rootfs/etc",)), metadata(FACTS)),
    ("refused-import", "error", "", metadata(FACTS, names=[a_link("rootfs", "/x")]), metadata(FACTS, names=[a_folder("rootfs")])),
    ("refused-import", "error", "", authored(an_image(names=[Name("metadata.yaml", Entry(FILE), hard_link="templates/a")]), (INCUS,), ()), metadata(FACTS, names=["metadata.yaml"])),
    ("refused-member", "error", "rootfs/a/b", metadata(FACTS, names=["rootfs/a", "rootfs/a/b"], packed=True), metadata(FACTS, names=[a_folder("rootfs/a"), "rootfs/a/b"], packed=True)),
    ("refused-member", "error", "rootfs/a/b", metadata(FACTS, names=[a_link("rootfs/a", "/"), "rootfs/a/b"], packed=True), metadata(FACTS, names=[a_link("rootfs/a", "b"), "rootfs/a/b"], packed=True)),
    ("refused-member", "error", "rootfs/a", metadata(FACTS, names=["rootfs/a/b", "rootfs/a"], packed=True), metadata(FACTS, names=["rootfs/a", "rootfs/a/b"])),
    ("refused-member", "error", "rootfs/b", metadata(FACTS, names=[Name("rootfs/b", Entry(FILE), hard_link="rootfs/a")], packed=True), metadata(FACTS, names=["rootfs/a", Name("rootfs/b", Entry(FILE), hard_link="rootfs/a")], packed=True)),
    # rules
    ("unknown-when", "error", f"{M}4:22", rule("when: [boot], template: t"), rule("when: [start], template: t")),
    ("unknown-when", "info", f"{M}4:22", rule('when: [""], template: t'), rule("when: [start], template: t")),
    ("unknown-when", "error", f"{M}4:22", rule("when: [strat], template: t"), rule("when: [start], template: t")),
    ("mode", "error", f"{M}4:50", rule("when: [create], template: t, mode: 420"), rule('when: [create], template: t, mode: "0644"')),
    ("unknown-when", "error", f"{M}4:3", rule("template: t"), rule("when: [copy], template: t")),
    ("metadata-key", "warning", f"{M}4:44", rule("when: [create], template: t, create-only: true"), rule("when: [create], template: t, create_only: true")),
    ("missing-template", "error", f"{M}4:41", rule("when: [create], template: other"), rule("when: [create], template: t")),
    ("missing-template", "error", f"{M}4:41", rule("when: [create], template: a/t"), rule("when: [create], template: t")),
    ("mode", "error", f"{M}4:50", rule("when: [create], template: t, mode: 4755"), rule("when: [create], template: t, mode: 0755")),
    ("mode", "error", f"{M}4:50", rule("when: [create], template: t, mode: 0044"), rule("when: [create], template: t, mode: 0444")),
    ("mode", "error", f"{M}4:50", rule("when: [create], template: t, mode: u=rw"), rule("when: [create], template: t, mode: 644")),
    ("mode", "error", f"{M}4:49", rule("when: [create], template: t, uid: root"), rule("when: [create], template: t, uid: 0")),
    ("create-only", "warning", f"{M}4:57", rule("when: [create], template: t, create_only: true", names=["rootfs/etc/motd"]), rule("when: [create], template: t, create_only: true", names=["rootfs/etc/other"])),
    ("collision", "error", f"{M}5:3", image("/etc/a: {when: [create], template: t}", "/etc//a: {when: [create], template: t}"), image("/etc/a: {when: [create], template: t}", "/etc//a: {when: [copy], template: t}")),
    ("collision", "error", f"{M}5:3", image("/etc/a: {when: [create], template: t}", "/etc/a/b: {when: [create], template: t}"), image("/etc/a: {when: [create], template: t}", "/etc/ab/b: {when: [create], template: t}")),
    ("refused-link", "error", f"{M}4:3", rule("when: [create], template: t", "/var/log/a", names=[a_link("rootfs/var/log", "/log"), a_folder("rootfs/log")]), rule("when: [create], template: t", "/var/log/a", names=[a_link("rootfs/var/log", "../log"), a_folder("rootfs/log")])),
    ("refused-link", "error", f"{M}4:3", rule("when: [create], template: t", "/etc/a", names=[a_link("rootfs/etc/a", "none")]), rule("when: [create], template: t", "/etc/a", names=[a_link("rootfs/etc/a", "none")], hosts="lxd")),
    ("refused-link", "error", f"{M}4:3", rule("when: [create], template: t", "/opt/x/../n", names=[a_folder("rootfs/opt")]), rule("when: [create], template: t", "/opt/x/../n", names=[a_folder("rootfs/opt/x")])),
    ("refused-link", "error", f"{M}4:3", rule("when: [create], template: t", "/opt/x/../n", names=["rootfs/opt/x"], hosts="lxd"), rule("when: [create], template: t", "/opt/x/../n", names=[a_folder("rootfs/opt")], hosts="lxd")),
    ("refused-link", "error", f"{M}4:3", rule("when: [create], template: t", "/etc/n/", names=[a_folder("rootfs/etc")]), rule("when: [create], template: t", "//etc//./n", names=[a_folder("rootfs/etc")])),
    ("refused-link", "error", f"{M}4:3", rule("when: [create], template: t", "/a/d/x", names=[a_link("rootfs/a", "b")]), rule("when: [create], template: t", "/a/d/x", names=[a_link("rootfs/a", "b"), a_folder("rootfs/b")])),
    ("invalid-target", "error", f"{M}4:3", rule("when: [create], template: t", "/"), rule("when: [create], template: t", "/a")),
    ("invalid-target", "error", f"{M}4:3", rule("when: [create], template: t", "/../a"), rule("when: [create], template: t", "/b/../a")),
    ("refused-link", "error", f"{M}4:3", rule("when: [create], template: t", "/etc/a", names=[a_folder("rootfs/etc/a")]), rule("when: [create], template: t", "/etc/a/b", names=[a_folder("rootfs/etc/a")])),
    ("kernel-target", "error", f"{M}4:3", rule("when: [create], template: t", "/proc/sys/kernel/a"), rule("when: [create], template: t", "/process/a")),
    ("kernel-target", "error", f"{M}4:3", rule("when: [create], template: t", "/sys/a"), rule("when: [create], template: t", "/etc/sys/a")),
    ("kernel-target", "error", f"{M}4:3", rule("when: [create], template: t", "/dev/shm/a"), rule("when: [create], template: t", "/devel/a")),
    ("run-target", "warning", f"{M}4:3", rule("when: [create], template: t", "/run/a"), rule("when: [create], template: t", "/etc/run/a")),
    ("run-target", "warning", f"{M}4:3", rule("when: [start], template: t", "/var/run/a"), rule("when: [start], template: t", "/run/a", names=["rootfs.img"])),
    ("unused-template", "info", "templates/u", image("/a: {when: [create], template: t}", templates={"t": "x\n", "u": "x\n"}), image("/a: {when: [create], template: t}", templates={"t": "x\n"})),
    ("unread-property", "info", f"{M}4:60", rule("when: [create], template: t, properties: {a: b}"), rule("when: [create], template: t, properties: {a: b}", t="{{ properties.a }}\n")),
    # names of the instance
    ("build-name", "error", "rootfs/etc/hostname", text("a", heads={"rootfs/etc/hostname": b"distrobuilder-1\n"}), file("/etc/hostname", "a\n", heads={"rootfs/etc/hostname": b"distrobuilder-1\n"})),
    ("build-name", "error", "rootfs/etc/hosts", text("a", heads={"rootfs/etc/hosts": b"127.0.1.1 LXC_NAME\n"}), text("a", heads={"rootfs/etc/hosts": b"127.0.1.1 debian\n"})),
    ("copy", "warning", f"{M}4:25", hostname("when: [create, rename]"), hostname("when: [create, copy]")),
    ("copy", "info", f"{M}4:22", file("/etc/hosts", f"127.0.1.1 {NAME}"), file("/etc/hosts", "127.0.0.1 localhost\n")),
    ("copy", "warning", f"{M}4:54", hostname("when: [create, copy], create_only: true"), hostname("when: [create, start]")),
    ("copy", "warning", f"{M}4:25", seeded_hostname("[create]"), seeded_hostname("[create, copy]")),
    ("copy", "warning", f"{M}4:25", hostname("when: [create]", os="CentOS", release="7"), hostname("when: [create, copy]")),
    ("copy", "info", f"{M}4:25", hostname("when: [create]", os="CentOS", release="6.10"), hostname("when: [create, copy]")),
    ("copy", "warning", f"{M}4:25", declared_hostname("[create]"), hostname("when: [create, copy]")),
    ("copy", "info", f"{M}4:25", declared_hostname("[create, copy]"), hostname("when: [create, copy]")),
    ("copy", "warning", f"{M}5:22", both_names("[create, rename]"), both_names("[create, copy]")),
    ("rename", "info", f"{M}4:25", hostname("when: [create, copy]"), hostname("when: [create, copy, rename]")),
    ("copy", "warning", f"{M}4:32", named("/etc/conf.d/hostname", "[create]"), named("/etc/conf.d/hostname", "[create, copy]")),
    ("copy", "info", f"{M}4:34", named("/etc/sysconfig/network", "[create]", os="CentOS", release="7"), named("/etc/sysconfig/network", "[create, copy]")),
    ("copy", "warning", f"{M}4:34", named("/etc/sysconfig/network", "[create]", os="CentOS", release="6"), named("/etc/sysconfig/network", "[create, copy]")),
    ("rename", "info", f"{M}4:25", hostname("when: [create, copy]"), hostname("when: [create, start]")),
    ("rename", "info", f"{M}4:32", named("/etc/conf.d/hostname", "[create, copy]"), named("/etc/conf.d/hostname", "[create, copy, rename]")),
    ("rename", "info", f"{M}4:34", named("/etc/sysconfig/network", "[create, copy]"), named("/etc/sysconfig/network", "[create, start]")),
    ("no-hosts", "info", f"{M}4:3", file("/etc/hostname", "a\n"), image("/etc/hostname: {when: [create], template: t}", "/etc/hosts: {when: [create], template: t}")),
    ("line-break", "warning", f"{T}1:4", file("/etc/hostname", '{{ config_get("user.name", "a") }}\n'), file("/etc/hostname", "{{ instance.name }}\n")),
    ("line-break", "warning", f"{T}1:4", file("/etc/hostname", '{{ config_get("user.name", "a")|addslashes }}\n'), file("/etc/hostname", '{{ config_get("user.name", "a")|linebreaksbr|split:"<br />"|first }}\n')),
    ("line-break", "warning", f"{T}1:4", file("/etc/timezone", '{{ config_get("user.zone", "a")|stringformat:"%s" }}\n'), file("/etc/timezone", '{{ config_get("user.zone", "a")|stringformat:"%q" }}\n')),
    # cloud-init
    ("nocloud", "error", f"{M}4:3", file(f"{SEED}/meta-data", "a: b\n"), seed("meta-data", "a: b\n")),
    ("nocloud", "error", f"{M}4:3", file(f"{SEED}/user-data", "#cloud-config\n{}\n"), file(f"{SEED}/user-data", "#cloud-config\n{}\n", names=[f"rootfs{SEED}/meta-data"])),
    ("seed-name", "warning", f"{M}6:3", seed_files("user-data", "meta-data", "network-data"), seed_files("user-data", "meta-data", "network-config")),
    ("seed-name", "warning", f"{M}6:3", seed_files("user-data", "meta-data", "zzzzzz"), seed_files("user-data", "meta-data", "network-config")),
    ("nocloud-readable", "info", f"{M}4:3", file(f"{SEED}/user-data", "#cloud-config\n{}\n", names=[f"rootfs{SEED}/meta-data"]), seed("user-data", "#cloud-config\n{}\n")),
    ("cloud-config", "error", "image/templates/user-data:2:1", seed("user-data", "#cloud-config\n- a\n"), seed("user-data", "#!/bin/sh\n- a\n")),
    ("cloud-config", "error", "image/templates/user-data:3:2", seed("user-data", "#cloud-config\na: b\n c: d\n"), seed("user-data", "#cloud-config\na: b\nc: d\n")),
    ("first-line", "warning", "image/templates/user-data:1:1", seed("user-data", "packages: [nginx]\n"), seed("user-data", "#cloud-config\npackages: [nginx]\n")),
    ("first-line", "warning", "image/templates/user-data:1:1", seed("user-data", "# cloud-config\npackages: [nginx]\n"), seed("user-data", "## template: jinja\n#cloud-config\npackages: [nginx]\n")),
    ("first-line", "warning", "image/templates/user-data:1:1", seed("user-data", "cloud-config\n"), seed("user-data", "")),
    ("first-line", "warning", "image/templates/user-data:2:1", seed("user-data", "{# a #}\na: b\n"), seed("user-data", "Content-Type: multipart/mixed\nMIME-Version: 1.0\n")),
    ("first-line", "info", "image/templates/user-data:2:1", seed("user-data", "{# a #}\n#cloud-config\na: b\n"), seed("user-data", "#cloud-config\na: b {# a #}\n")),
    ("first-line", "warning", "image/templates/user-data:2:1", seed("user-data", "{# a #}\n#!/bin/sh\n"), seed("user-data", "#include\nhttps://example.org/a\n")),
    ("first-line", "warning", f"{T}2:1", file("/usr/bin/a", "{# templater: ignore shell #}\n#!/bin/sh\n"), file("/usr/bin/a", "#!/bin/sh\n{# templater: ignore shell #}\n")),
    ("first-line", "warning", f"{T}1:1", file("/usr/bin/a", "\ufeff#!/bin/sh\n"), file("/usr/bin/a", "a\n#!/bin/sh\n")),
    ("meta-data", "error", "image/templates/meta-data:1:1", seed("meta-data", "web1\n"), seed("meta-data", "instance-id: web1\n")),
    ("meta-data", "warning", "image/templates/meta-data:1:1", seed("meta-data", "instance_id: web1\n"), seed("meta-data", "instance-id: web1\ninstance_id: web1\n")),
    ("meta-data", "warning", "image/templates/meta-data:2:1", seed("meta-data", "instance-id: web1\nLocal_Hostname: web1\n"), seed("meta-data", "instance-id: web1\nlocal-hostname: web1\npublic_keys: []\n")),
    ("network-config", "warning", f"{PLACE_OF_NETWORK}8:5", seed("network-config", NETWORK.replace("  - type: dhcp\n", STATIC + "    ipv4: true\n")), seed("network-config", NETWORK.replace("  - type: dhcp\n", STATIC))),
    ("network-config", "error", f"{PLACE_OF_NETWORK}1:1", seed("network-config", NETWORK.replace("version: 1", "version: 3")), seed("network-config", NETWORK)),
    ("network-config", "error", f"{PLACE_OF_NETWORK}3:1", seed("network-config", NETWORK.replace("physical", "ethernet")), seed("network-config", NETWORK)),
    ("network-config", "error", f"{PLACE_OF_NETWORK}2:1", seed("network-config", "version: 2\nconfig: []\n"), seed("network-config", "version: 2\nethernets: {eth0: {dhcp4: true}}\n")),
    ("network-config", "error", f"{PLACE_OF_NETWORK}2:1", seed("network-config", "version: 1\nethernets: {eth0: {dhcp4: true}}\nconfig: []\n"), seed("network-config", "version: 1\nconfig: []\n")),
    ("network-config", "error", f"{PLACE_OF_NETWORK}6:3", seed("network-config", NETWORK.replace("dhcp", "automatic")), seed("network-config", NETWORK)),
    ("network-config", "warning", f"{PLACE_OF_NETWORK}2:1", seed("network-config", "version: 2\nethernetz: {}\n"), seed("network-config", "version: 2\nrenderer: networkd\n")),
    ("network-config", "warning", f"{PLACE_OF_NETWORK}4:5", seed("network-config", "version: 2\nethernets:\n  eth0:\n    ipv4: true\n"), seed("network-config", "version: 2\nethernets:\n  eth0:\n    dhcp4: true\n")),
    ("network-config", "warning", f"{PLACE_OF_NETWORK}4:5", seed("network-config", "version: 2\nbridges:\n  br0:\n    adresses: [10.0.0.5/24]\n"), seed("network-config", "version: 2\nbridges:\n  br0:\n    interfaces: [eth0]\n    addresses: [10.0.0.5/24]\n")),
    ("network-config", "warning", f"{PLACE_OF_NETWORK}4:5", seed("network-config", "version: 2\nethernets:\n  eth0:\n    nameserver: {addresses: [10.0.0.1]}\n"), seed("network-config", "version: 2\nethernets:\n  eth0:\n    nameservers: {addresses: [10.0.0.1]}\n")),
    ("netplan", "error", f"{T}4:5", file(PLAN, "network:\n  version: 2\n  ethernets:\n    eth0: {ipv4: true}\n"), file(PLAN, "network:\n  version: 2\n  ethernets:\n    eth0: {dhcp4: true}\n")),
    ("network-key", "info", f"{PLACE_OF_NETWORK}1:1", seed("network-config", "network:\n  version: 2\n  ethernets: {eth0: {dhcp4: true}}\n"), seed("network-config", "version: 2\nethernets: {eth0: {dhcp4: true}}\n")),
    # other files
    ("hosts", "error", f"{T}2:3", file("/etc/hosts", "127.0.0.1 localhost\n  {{ instance.name }} 127.0.1.1\n"), file("/etc/hosts", "127.0.0.1 localhost\n  127.0.1.1 {{ instance.name }}\n")),
    ("netplan", "error", f"{T}1:1", file("/etc/netplan/a.yaml", "version: 2\nethernets: {}\n"), file("/etc/netplan/a.yaml", "network:\n  version: 2\n  ethernets: {}\n")),
    ("netplan", "error", f"{T}2:3", file("/etc/netplan/a.yaml", "network:\n  version: 1\n"), file("/etc/netplan/a.yaml", "network:\n  version: 2\n")),
    ("hostname", "error", f"{T}1:1", file("/etc/hostname", "hostname=web1\n"), file("/etc/hostname", "# a name\nweb1\n")),
    ("hostname", "error", f"{T}2:1", file("/etc/hostname", "web1\nweb2\n"), file("/etc/hostname", "web1\n")),
    ("hosts", "error", f"{T}1:1", file("/etc/hosts", "localhost 127.0.0.1\n"), file("/etc/hosts", "127.0.0.1 localhost\nfe00::0 ip6-localnet\n")),
    ("hosts", "error", f"{T}2:1", file("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1\n"), file("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 {{ instance.name }}\n")),
    ("fstab", "error", f"{T}1:1", file("/etc/fstab", "/dev/sda1 /\n"), file("/etc/fstab", "/dev/sda1 / ext4\n")),
    ("fstab", "error", f"{T}1:1", file("/etc/fstab", "/dev/sda1 / ext4 ro noatime 1\n"), file("/etc/fstab", "/dev/sda1 / ext4 ro,noatime 0 1\n")),
    ("resolv-conf", "warning", f"{T}1:1", file("/etc/resolv.conf", "nameserver dns.example.org\n"), file("/etc/resolv.conf", "nameserver 10.0.0.1\n")),
    ("resolv-conf", "warning", f"{T}1:1", file("/etc/resolv.conf", "nameservers 10.0.0.1\n"), file("/etc/resolv.conf", "; a\nsearch example.org\n")),
    ("json", "error", f"{T}2:1", file("/etc/a.json", '{"a": 1\n"b": 2}\n'), file("/etc/a.json", '{"a": 1,\n"b": 2}\n')),
    ("json", "info", f"{T}1:1", file("/etc/a.json", '{"a": "{{ config_get("user.a", "") }}"}\n'), file("/etc/a.json", '{"a": "{{ instance.name }}"}\n')),
    ("yaml", "info", f"{T}1:1", file("/etc/a.yaml", 'a: {{ config_get("user.a", "") }}\n'), file("/etc/a.yaml", 'a: {{ instance.name }}\n')),
    ("toml", "error", f"{T}2:1", file("/etc/a.toml", "a = 1\nb = web1\n"), file("/etc/a.toml", 'a = 1\nb = "web1"\n')),
    ("yaml", "error", f"{T}2:1", file("/etc/a.yaml", "a: [1\nb: 2\n"), file("/etc/a.yaml", "a: !ref [1]\n---\nb: 2\n")),
    ("systemd-unit", "error", f"{T}2:1", file("/etc/systemd/system/a.service", "[Service]\nExecStart /bin/a\n"), file("/etc/systemd/system/a.service", "[Service]\nExecStart=/bin/a \\\n  b\n")),
    ("systemd-unit", "error", f"{T}1:1", file("/etc/systemd/network/a.network", "Name=eth0\n[Match]\n"), file("/etc/systemd/network/a.network", "[Match]\nName=eth0\n")),
    ("readable-secret", "warning", f"{T}1:15", text('{{ config_get("user.password", "") }}'), rule("when: [create], template: t, mode: 0600", t='{{ config_get("user.password", "") }}\n')),
    ("readable-secret", "warning", f"{T}1:36", text('{% set c = "a" %}{% if config_get("user.token", "") == c %}x{% endif %}'), text('{% if config_get("user.token", "") == "a" %}x{% endif %}')),
    ("readable-secret", "warning", f"{T}1:15", text('{{ config_get("user.api_token", "") }}'), text('{{ config_get("user.token_url", "") }}')),
    ("crlf", "error", f"{T}1:10", file("/usr/bin/a", "#!/bin/sh\r\necho\r\n"), file("/usr/bin/a", "#!/bin/sh\necho\n")),
    ("crlf", "error", f"{T}1:20", file("/etc/hosts", "127.0.0.1 localhost\r\n"), text("127.0.0.1 localhost\r\n")),
    ("sudoers", "error", f"{M}4:3", file("/etc/sudoers.d/admin.conf", "a ALL=ALL\n"), file("/etc/sudoers.d/admin", "a ALL=ALL\n")),
    ("sudoers", "error", f"{M}4:3", file("/etc/sudoers.d/admin~", "a ALL=ALL\n"), file("/etc/sudoers", "a ALL=ALL\n")),
    ("fstab", "error", f"{T}1:1", file("/etc/fstab", "a b c d 0 0 0\n"), file("/etc/fstab", "a b c d 0 0 #7\n")),
    ("json", "error", f"{T}1:1", file("/etc/a.json", f"{'9' * 5000}\n"), file("/etc/a.json", f"{'9' * 4000}\n")),
    ("yaml", "error", f"{T}1:1", file("/etc/a.yaml", "a: \x07\n"), file("/etc/a.yaml", "a: \x85\n")),
    ("systemd-unit", "error", f"{T}1:1", file("/etc/systemd/system/a.service", "[Unit\n"), file("/etc/systemd/system/a.service", "[Unit]\n")),
    ("missing-template", "error", f"{M}4:41", rule("when: [create], template: t", t=Entry(DIRECTORY)), rule("when: [create], template: t")),
    ("network-config", "error", f"{PLACE_OF_NETWORK}1:1", seed("network-config", "ethernets: {}\n"), seed("network-config", "version: 2\nethernets: {}\n")),
    ("network-config", "error", f"{PLACE_OF_NETWORK}1:1", seed("network-config", "version: 1\n"), seed("network-config", "version: 1\nconfig: []\n")),
    ("network-config", "error", f"{PLACE_OF_NETWORK}2:1", seed("network-config", "version: 1\nconfig: {}\n"), seed("network-config", "version: 1\nconfig: disabled\n")),
    ("network-config", "error", f"{PLACE_OF_NETWORK}3:1", seed("network-config", "version: 1\nconfig:\n- name: eth0\n"), seed("network-config", "version: 1\nconfig:\n- type: route\n")),
    ("network-config", "error", f"{PLACE_OF_NETWORK}3:1", seed("network-config", "version: 1\nconfig:\n- type: bond\n"), seed("network-config", "version: 1\nconfig:\n- type: nameserver\n")),
    ("network-config", "error", f"{PLACE_OF_NETWORK}5:3", seed("network-config", NETWORK.partition("  subnets")[0] + "  dhcp4: true\n"), seed("network-config", NETWORK)),
    ("network-config", "error", f"{PLACE_OF_NETWORK}6:3", seed("network-config", NETWORK.replace("type: dhcp", "control: auto")), seed("network-config", NETWORK)),
    ("network-config", "error", f"{PLACE_OF_NETWORK}7:5", seed("network-config", NETWORK + "    dhcp4: true\n"), seed("network-config", NETWORK)),
    ("final-newline", "info", f"{T}1:1", file("/etc/motd", "a"), file("/etc/motd", "a\n")),
    ("final-newline", "warning", f"{T}1:1", file("/etc/cron.d/a", "a"), file("/etc/cron.d/a", "a\n")),
    ("empty-output", "info", f"{T}1:1", text('{% if instance.name == "" %}a{% endif %}'), text('{% if instance.name != "" %}a{% endif %}')),
]  # fmt: skip

UNIT = "/etc/systemd/system/a.service"
DEBIAN = "properties: {os: Debian}\n"
USERS = "#cloud-config\nusers:\n- default\n- name: admin\n"


def unit(content: str, name: str = "a.service") -> AuthoredImage:
    return file(f"/etc/systemd/system/{name}", content, validate=True)


def sudoers(content: str) -> AuthoredImage:
    return file("/etc/sudoers.d/admin", content, validate=True)


def plan(content: str, path: str = PLAN) -> AuthoredImage:
    return file(path, "network:\n  version: 2\n" + content, validate=True)


def interfaces(content: str, os: str = "Debian") -> AuthoredImage:
    return file("/etc/network/interfaces", content, validate=True, more=f"properties: {{os: {os}}}\n")


def script(content: str, **fields) -> AuthoredImage:
    return file("/usr/local/bin/a", content, validate=True, **fields)


@pytest.mark.parametrize(
    ("line", "os", "shells"),
    [
        ("#!/bin/sh", "Debian", ["sh"]), ("#!/bin/sh -e", "Fedora", ["sh", "bash"]), ("#!/bin/bash", "Debian", ["bash"]),
        ("#! /usr/bin/env bash", "Fedora", ["bash"]), ("#!/usr/local/bin/dash", "Ubuntu", ["sh"]),
        ("#!/bin/zsh", "Debian", []), ("#!/bin/bashx", "Debian", []), ("#!/bin/sh\r", "Debian", []), ("sh", "Debian", []),
    ],
)  # fmt: skip
def test_the_first_line_and_image_os_choose_the_shells(line, os, shells, monkeypatch):
    asked = []
    monkeypatch.setattr(
        shell, "validated", lambda image, name, file, kind: asked.append((name, kind)) or [(1, "bad")]
    )
    found = audit(file("/usr/local/bin/a", f"{line}\nx\n", more=f"properties: {{os: {os}}}\n"), "authoring")
    assert asked == [(name, "script") for name in shells]
    assert len([each for each in found if each.check == "shell"]) == bool(shells)


#: the validator, id, level, place, image with the mistake, image without it
VALIDATED = [
    ("visudo", "sudoers", "error", f"{T}2:1", sudoers("root ALL=(ALL) ALL\nadmin ALL=(ALL ALL\n"), sudoers("root ALL=(ALL) ALL\nadmin ALL=(ALL) ALL\n")),
    ("visudo", "sudoers", "error", f"{T}1:1", sudoers("{{ instance.name }} ALL=(ALL) NOPASSWD /bin/true\n"), sudoers("{{ instance.name }} ALL=(ALL) NOPASSWD: /bin/true\n")),
    ("visudo", "sudoers", "error", f"{T}1:1", sudoers("Defaults env_rest\n"), sudoers("Defaults env_reset\n")),
    ("visudo", "sudoers", "error", f"{T}1:1", sudoers("admin ALL=(ALL) bin/true\n"), sudoers("ADMINS ALL=OTHER\n@include /etc/sudoers.local\n")),
    ("netplan", "netplan", "error", f"{T}4:5", plan("  ethernets:\n    eth0: {dhcp: true}\n"), plan("  ethernets:\n    eth0: {dhcp4: true}\n")),
    ("netplan", "netplan", "error", f"{T}5:7", plan("  ethernets:\n    eth0:\n      addresses: [10.0.0.5]\n"), plan("  ethernets:\n    eth0:\n      addresses: [10.0.0.5/24]\n")),
    ("netplan", "netplan", "error", f"{T}3:3", plan("  renderer: systemd\n"), plan("  renderer: networkd\n  bridges:\n    br0: {interfaces: [eth7]}\n")),
    ("netplan", "netplan", "error", f"{T}4:5", plan("  ethernets:\n    eth0: {dhcp4: perhaps}\n"), plan("  ethernets:\n    eth0: {dhcp4: yes}\n")),
    ("netplan", "netplan", "error", f"{T}1:1", plan("  nm-devices:\n    a: {renderer: NetworkManager}\n"), plan("  openvswitch: {}\n  bridges:\n    br0: {openvswitch: {}}\n")),
    ("systemd-analyze", "systemd-unit", "warning", f"{T}3:1", unit("[Service]\nExecStart=/bin/none\nExecStrt=/bin/a\n"), unit("[Unit]\nRequires=none.service\nAfter=none.service\n[Service]\nExecStart=/bin/none\n")),
    ("systemd-analyze", "systemd-unit", "error", f"{T}2:1", unit("[Service]\nType=demon\nExecStart=/bin/a\n"), unit("[Service]\nType=forking\nExecStart=/bin/a\n")),
    ("systemd-analyze", "systemd-unit", "error", f"{T}3:1", unit("[Service]\nExecStart=/bin/a\nRestartSec=5q\n"), unit("[Service]\nExecStart=/bin/a\nRestartSec=5s\nUser=none\nMemoryLimit=1G\nPIDFile=/var/run/a\n")),
    ("systemd-analyze", "systemd-unit", "error", f"{T}1:1", unit("[Service]\nExecStop=\n"), unit("[Service]\nExecStart=-/bin/a\n")),
    ("systemd-analyze", "systemd-unit", "error", f"{T}2:1", unit("[Timer]\nOnCalendar=dayly\nOnBootSec=1\n", "a.timer"), unit("[Timer]\nOnCalendar=daily\n", "a.timer")),
    ("systemd-analyze", "systemd-unit", "error", f"{T}1:1", unit("[Mount]\nWhere=/srv\nWhat=/dev/a\n", "data.mount"), unit("[Mount]\nWhere=/data\nWhat=/dev/a\n", "data.mount")),
    ("ifquery", "interfaces", "error", f"{T}2:1", interfaces("auto eth0\niface eth0 inet dhcpp\n"), interfaces("auto eth0\niface eth0 inet dhcp\n")),
    ("ifquery", "interfaces", "error", f"{T}1:1", interfaces("ifac eth0 inet dhcp\n"), interfaces("ifac eth0 inet dhcp\n", "Alpine")),
    ("ifquery", "interfaces", "error", f"{T}3:3", interfaces("iface eth0 inet static\n  address 10.0.0.5/24\n  gateway\n"), interfaces("source /etc/network/interfaces.d/*\niface eth0 inherits eth1\n")),
    ("sh", "shell", "error", f"{T}3:1", script("#!/bin/sh\nif true\nfi\n"), script("#!/bin/sh\nif true; then :; fi\n")),
    ("sh", "shell", "error", f"{T}2:1", script("#!/bin/sh\necho {{ instance.name }})\n"), script("#!/usr/bin/python3\necho {{ instance.name }})\n")),
    ("sh", "shell", "error", f"{T}2:1", script("#!/bin/sh\ncat <(true)\n", more=DEBIAN), script("#!/bin/sh\ncat <(true)\n", more="properties: {os: Fedora}\n")),
    ("bash", "shell", "error", f"{T}2:1", script("#!/usr/bin/env bash\ndone\n"), script("#!/usr/bin/env bash\nfunction a { cat <(true); }\nshopt -s extglob\nls !(a)\n")),
    ("cloud-init's schemas", "cloud-config", "warning", "image/templates/user-data:2:1", seed("user-data", "#cloud-config\npakages: [git]\n", validate=True), seed("user-data", "#cloud-config\npackages: [git]\n", validate=True)),
    ("cloud-init's schemas", "cloud-config", "warning", "image/templates/user-data:5:3", seed("user-data", USERS + "  lock-password: false\n", validate=True), seed("user-data", USERS + "  lock-passwd: false\n", validate=True)),
    ("cloud-init's schemas", "cloud-config", "warning", "image/templates/user-data:2:1", seed("user-data", "#cloud-config\npackages: git\n", validate=True), seed("user-data", "#!/bin/sh\npackages: git\n", validate=True)),
    ("cloud-init's schemas", "network-config", "warning", f"{PLACE_OF_NETWORK}5:3", seed("network-config", NETWORK.replace("  subnets", "  subnet"), validate=True), seed("network-config", NETWORK, validate=True)),
    ("cloud-init's schemas", "cloud-config", "error", "image/templates/user-data:3:1", seed("user-data", "#cloud-config\npackages: [git]\n---\na: b\n", validate=True), seed("user-data", "#cloud-config\n---\npackages: [git]\n", validate=True)),
    ("cloud-init's schemas", "network-config", "warning", f"{PLACE_OF_NETWORK}4:3", seed("network-config", "version: 1\nconfig:\n- type: physical\n  name: a-name-with-16-chars\n", validate=True), seed("network-config", NETWORK.replace("dhcp", "loopback"), validate=True)),
    ("cloud-init's schemas", "network-config", "warning", f"{PLACE_OF_NETWORK}3:3", seed("network-config", "version: 2\nethernets:\n  eth0: {dhcp4: perhaps}\n", validate=True), seed("network-config", "version: 2\nethernets:\n  eth0: {dhcp4: true}\n", validate=True)),
]  # fmt: skip


def name(case) -> str:
    return f"{case[0]}-{CASES.index(case)}"


@pytest.mark.parametrize(("id", "level", "place", "wrong", "right"), CASES, ids=list(map(name, CASES)))
def test_mistake_is_found_until_the_text_is_corrected(id, level, place, wrong, right):
    assert (level, id, place) in findings(wrong)
    assert id not in {found[1] for found in findings(right)}


@pytest.mark.slow
@pytest.mark.parametrize(("id", "level", "place", "wrong", "right"), CASES, ids=list(map(name, CASES)))
def test_a_mistake_causes_at_most_one_finding_of_level_error(id, level, place, wrong, right):
    errors = {found[1] for found in findings(wrong) if found[0] == "error"}
    assert errors <= {id}


TEXTS = Path(__file__).with_name("mistakes.txt")


def test_the_finding_about_each_example_mistake_has_the_recorded_text(update):
    found = [each for case in CASES for each in audit(case[3], "authoring") if each.check == case[0]]
    blocks = [
        f"{each.check} {each.severity.level} {each.place}\n  {each.message}\n"
        + (f"  hint: {each.hint}\n" if each.hint else "")
        for each in found
    ]
    if update:
        TEXTS.write_text("".join(dict.fromkeys(blocks)))
    assert "".join(dict.fromkeys(blocks)) == TEXTS.read_text()


@cache
def installed(validator: str) -> bool:
    """Return whether the validator is installed. In continuous integration, fail if it is missing."""
    from templater.validators.runner import Runner

    return not {"missing", "off"} & set(Runner().ask(validator, "user-data", b"{}"))


@pytest.mark.parametrize(
    ("validator", "id", "level", "place", "wrong", "right"),
    [
        pytest.param(*case, id=f"{case[1]}-{number}", marks=pytest.mark.slow if number % 12 else ())
        for number, case in enumerate(VALIDATED)
    ],
)
def test_validator_finds_a_mistake_at_the_right_position(validator, id, level, place, wrong, right):
    if not installed(validator):
        pytest.skip(f"NOT RUN: {validator} is not installed, or cannot be confined")
    found = findings(wrong)
    assert (level, id, place) in found
    assert {check for severity, check, _ in found if severity == "error"} <= {id}
    assert not wrong.validators.notes
    (message,) = {each.message for each in audit(wrong, "authoring") if each.check == id}
    assert message.endswith(f"({validator})") or (validator == "sh" and message.endswith("(bash)"))
    assert id not in {check for _, check, _ in findings(right)}
    assert not right.validators.notes


@pytest.mark.parametrize(
    ("id", "template", "hint"),
    [
        ("rename", "", "template.when: [create, copy, rename]"),
        ("rename", "template: {when: [create, copy]}", "template.when: [create, copy, rename]"),
        ("copy", "template: {when: [create]}", "template.when: [create, copy]"),
        ("copy", "template: {when: [rename, create]}", "template.when: [create, copy, rename]"),
    ],
)
def test_hint_about_missing_triggers_mentions_every_trigger(id, template, hint):
    entry = "- {generator: hostname, path: /etc/hostname, %s}"
    (found,) = [each for each in audit(build(entry % template), "authoring") if each.check == id]
    assert found.hint == f"set {hint}"
    followed = build(entry % (hint.replace("template.when: ", "template: {when: ") + "}"))
    assert id not in {check for _, check, _ in findings(followed)}


def test_every_check_has_an_example_mistake():
    ids = {case[0] for case in CASES} | {case[1] for case in VALIDATED}
    assert {check.id for check in all_checks("authoring")} == ids | {"unused-ignore"}


DHCP = "  ethernets:\n    eth0:\n      dhcp4: %s\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [
        '{{ config_get("user.dhcp4", "true") }}',
        '{{ config_get("user.dhcp4", "")|default:"true" }}',
        '{% if config_get("user.dhcp4", "") %}{{ config_get("user.dhcp4", "") }}{% else %}true{% endif %}',
        'true\n      mtu: {{ config_get("user.mtu", "1500") }}',
        'true\n      link-local: [{{ config_get("user.family", "ipv4") }}]',
        'true\n      addresses: [{{ config_get("user.net", "10.0.0.5/24") }}]',
    ],
)
def test_an_example_value_causes_no_finding_if_netplan_rejects_it(value):
    if not installed("netplan"):
        pytest.skip("NOT RUN: netplan is not installed, or cannot be confined")
    assert {found[0] for found in findings(plan(DHCP % value))} <= {"info"}


@pytest.mark.slow
@pytest.mark.parametrize(("key", "meant"), [("ipv4", "dhcp4"), ("adresses", "addresses")])
def test_netplan_message_about_unknown_key_suggests_the_right_key(key, meant):
    if not installed("netplan"):
        pytest.skip("NOT RUN: netplan is not installed, or cannot be confined")
    (found,) = audit(plan(f"  ethernets:\n    eth0:\n      {key}: true\n"), "authoring")
    assert found.message.endswith(f": unknown key '{key}': did you mean '{meant}'? (netplan)")


@pytest.mark.parametrize(
    "fields",
    [
        {"more": "properties: {os: nixos}\n"},
        {"more": "properties: {os: OpenWrt}\n"},
        {"names": ["rootfs/usr/lib/x86_64-linux-gnu/libnss_myhostname.so.2"]},
    ],
)
def test_hosts_file_is_optional_if_the_hostname_is_resolved(fields):
    rule = "/etc/hostname: {when: [create], template: t}"
    assert "no-hosts" in {found[1] for found in findings(image(rule))}
    assert "no-hosts" not in {found[1] for found in findings(image(rule, **fields))}


@pytest.mark.parametrize(
    ("condition", "hosts"),
    [
        ('trigger|lower == "copy"', "incus"),
        ('"a" + "b" != "ab"', "incus,lxd"),
        ('"a" + "b" == "ab"', "lxd,incus"),
        ('instance.type == "virtual-machine"', "incus"),
        ('config_get("user.a", "") == ""', "incus"),
        ('config_get("user.a", "") != ""', "incus"),
    ],
)
def test_mistake_is_found_even_for_only_one_trigger(condition, hosts):
    template = f"{{% if {condition} %}}bad name{{% else %}}127.0.0.1 a{{% endif %}}\n"
    rule = "/etc/hosts: {when: [create, copy, start], template: t}"
    assert ("error", "hosts") in {found[:2] for found in findings(image(rule, t=template, hosts=hosts))}
    if "," in hosts:
        first = image(rule, t=template, hosts=hosts.partition(",")[0])
        assert "hosts" not in {found[1] for found in findings(first)}


@pytest.mark.parametrize(
    ("id", "path", "template"),
    [
        ("final-newline", "/etc/motd", "{{ trigger }}"),
        ("json", "/etc/a.json", "{{ trigger }}\n"),
        ("missing-property", "/etc/motd", "{{ properties.a }}{{ properties.a }}\n"),
        ("config-key", "/etc/motd", '{{ config_get("color", "") }}{{ config_get("color", "") }}\n'),
    ],
)
def test_mistake_for_several_triggers_and_hosts_is_one_finding(id, path, template):
    rule = f"{path}: {{when: [create, copy, start], template: t}}"
    found = [check for _, check, _ in findings(image(rule, t=template, hosts="incus,lxd"))]
    assert found.count(id) == 1


def test_template_error_is_one_finding_even_for_two_rules():
    rules = [f"/etc/{name}: {{when: [create, start], template: t}}" for name in "ab"]
    found = [check for _, check, _ in findings(image(*rules, t='{{ config_get("user.a") }}\n'))]
    assert found.count("render") == 1


def test_mistake_in_a_default_value_has_a_position():
    """Many images keep the default user-data in ``properties``."""
    rule = "/etc/hosts: {when: [create], template: t, properties: {default: 'bad name'}}"
    template = '{{ config_get("user.hosts", properties.default) }}\n'
    assert ("error", "hosts", f"{M}4:68") in findings(image(rule, t=template))
    twice = rule.replace("}}", ", other: 'bad name'}}")
    assert ("error", "hosts", f"{M}4:42") in findings(image(twice, t=template))


def test_mistake_is_found_if_an_example_value_reveals_it():
    template = (
        '{% if config_get("user.a", "") %}127.0.0.1 a\nlocalhost {{ config_get("user.a", "") }}\n{% endif %}'
    )
    assert ("error", "hosts", f"{T}2:1") in findings(file("/etc/hosts", template))


@pytest.mark.parametrize("path", ["/etc/hosts", "/etc/fstab", "/etc/resolv.conf"])
def test_an_example_value_as_a_whole_line_causes_no_warning(path):
    template = '# more\n{{ config_get("user.more", "") }}\n'
    assert {found[0] for found in findings(file(path, template))} <= {"info"}


def test_finding_mentions_the_key_of_its_example_value():
    image = file(
        "/etc/hosts", '{% if config_get("user.a", "") %}{{ config_get("user.a", "") }} web1\n{% endif %}'
    )
    (found,) = [each for each in audit(image, "authoring") if each.check == "hosts"]
    assert (found.severity.level, found.message) == (
        "info",
        "'/etc/hosts', line 1: if 'user.a' is 'value': 'value' is not an IP address",
    )


VALUE = 'config_get("user.a", "")'


def with_validator(path: str, template: str, mistakes) -> AuthoredImage:
    """Return an image with one file. The mistakes of its text ``text`` are ``mistakes(text)``."""
    validators = SimpleNamespace(mistakes=lambda id, name, text, target: mistakes(text))
    return replace(file(path, template), validators=validators)


def first_only(text: str) -> list[tuple[int, str]]:
    """Return at most one mistake.

    The mistake is in line 2 if the text begins with "value", or else in line 1 if line 1 is not empty.
    """
    return [] if text.startswith("\n") else [(2 if text.startswith("value") else 1, "wrong")]


@pytest.mark.parametrize(
    ("template", "mistakes", "level"),
    [
        # with other values, the file is empty, which the validator accepts
        (
            f'{{% if {VALUE} == "value" %}}name\n{{% endif %}}',
            lambda text: [(1, "wrong")] if text else [],
            "info",
        ),
        # with other values, the same line is not a mistake
        (f"{{{{ {VALUE} }}}}\nname\n", lambda text: [(2, "wrong")] if "value" in text else [], "info"),
        # with other values, the validator does not look at this line, because it reports an earlier line
        (f"{{{{ {VALUE} }}}}\nname\n", first_only, "error"),
    ],
)
def test_finding_is_info_if_another_example_value_is_valid(template, mistakes, level):
    image = with_validator("/etc/sudoers.d/a", template, mistakes)
    assert [found[0] for found in findings(image) if found[1] == "sudoers"] == [level]


@pytest.mark.parametrize(("largest", "is_found"), [(9, True), (8, False)])
def test_a_file_is_checked_up_to_a_maximum_length(largest, is_found, monkeypatch):
    monkeypatch.setattr("templater.checks.mistakes_in_files.LARGEST", largest)
    assert ("hosts" in {found[1] for found in findings(file("/etc/hosts", "bad name\n"))}) == is_found


@pytest.mark.parametrize("text", ["null\n", "~\n", "---\n", "# nothing\n"])
def test_an_empty_yaml_document_is_accepted_in_place_of_a_mapping(text):
    assert "netplan" not in {found[1] for found in findings(file(PLAN, text))}


def test_too_deeply_nested_yaml_file_gives_a_finding():
    image = file(PLAN, "network:\n  version: 2\n  a: " + "[" * 70 + "]" * 70 + "\n")
    messages = [found.message for found in audit(image, "authoring") if found.check == "netplan"]
    assert messages == [f"'{PLAN}', line 1: nested more than 64 levels deep"]


@pytest.mark.parametrize(
    "text", ["#cloud-boothook\n", "#PART-handler\n", "\n#!/bin/sh\n", "\x1f\x8b\x08", "# nothing\n", " \n"]
)
def test_accepted_user_data_is_not_reported_as_ignored(text):
    found = audit(seed("user-data", text), "authoring")
    assert not [each for each in found if each.check == "first-line" and "ignores" in each.message]


def test_one_value_as_user_data_needs_no_first_line():
    template = '{{ config_get("user.first_boot", "") }}\n'
    assert "first-line" not in {found[1] for found in findings(seed("user-data", template))}


DNS = "/etc/motd: {when: [create], template: t, properties: {dns1: a}}"


@pytest.mark.parametrize(
    ("id", "image", "hint"),
    [
        ("missing-property", image("/a: {when: [create], template: t, properties: {default: a}}", t="{{ properties.defualt }}\n"), "did you mean 'default'?"),
        ("unread-property", image("/a: {when: [create], template: t, properties: {default: a}}", t="{{ properties.defualt }}\n"), "fix the spelling of 'properties.defualt' in the template"),
        ("unread-property", image("/a: {when: [create], template: t, properties: {default: a}}"), "remove the property"),
        ("missing-property", image(DNS, t="{{ properties.dns1 }}{{ properties.dns2 }}\n"), "add 'properties: {dns2: …}' to the rule in metadata.yaml"),
        ("mode", rule("when: [create], template: t, mode: 384"), 'write mode: "0600"'),
        ("mode", rule("when: [create], template: t, mode: 420"), 'write mode: "0644"'),
        ("mode", rule("when: [create], template: t, mode: u=rw"), "write the mode in octal, for example 0644"),
        ("missing-template", rule("when: [create], template: hosts.tp", templates={"hosts.tpl": "a\n"}), "did you mean 'hosts.tpl'?"),
        ("missing-template", rule("when: [create], template: host.tpl", templates={"hosts.tpl": "a\n"}), "did you mean 'hosts.tpl'?"),
        ("missing-template", rule("when: [create], template: host.tpl"), "put the template into the folder 'templates', next to metadata.yaml"),
        ("missing-template", image("/a: {when: [create], template: t}", "/b: {when: [create], tempalte: t}"), "the key 'tempalte' is misspelled: write 'template'"),
        ("refused-link", rule("when: [create], template: t", "/etc/a", names=[a_folder("rootfs/etc/a")]), "use the path of a file as the target"),
        ("refused-link", rule("when: [create], template: t", "/etc/a", names=[a_link("rootfs/etc/a", "/b")]), "use the path of the link's target in the rule, or make the link relative"),
        ("unknown-variable", text('{{ config_get(user.role, "") }}'), 'a text needs quotes: write "user.role"'),
        ("unknown-variable", text('{{ config_get("user.role", web) }}'), 'a text needs quotes: write "web"'),
        ("unknown-variable", text('{{ config_get("user.role", instnace) }}'), "did you mean 'instance'?"),
        ("unknown-variable", text('{{ web }}{{ config_get("user.role", web) }}'), ""),
        ("config-dots", text("{{ config.user.a }}"), 'dots are part of a configuration key: write config_get("user.a", "")'),
    ],
)  # fmt: skip
def test_the_hint_about_a_mistake_mentions_the_correction(id, image, hint):
    assert {found.hint for found in audit(image, "authoring") if found.check == id} == {hint}


def test_render_error_from_an_example_value_is_only_info():
    image = text('{% if config_get("user.n", "") == "value" %}{{ config_get("user.n") }}{% endif %}')
    assert [found[0] for found in findings(image) if found[1] == "render"] == ["info"]


def test_an_instance_from_the_command_line_replaces_the_built_in_instances():
    template = '{% if config_get("user.a", "") == "b" %}bad name{% else %}web1{% endif %}\n'
    given = Instance("web1", config={"user.a": "b"})
    assert ("error", "hostname") in {
        found[:2] for found in findings(file("/etc/hostname", template, instances=[given]))
    }
    assert ("error", "hostname") not in {found[:2] for found in findings(file("/etc/hostname", template))}


def test_finding_can_quote_a_value_from_the_command_line():
    given = Instance("web1", config={"user.password": "hunter2"})
    template = '{{ config_get("user.password", "") }} web1\n'
    found = audit(file("/etc/hosts", template, instances=[given]), "authoring")
    assert any("'hunter2' is not an IP address" in each.message for each in found)


READ = 'config_get("user.note", "")'


@pytest.mark.parametrize(
    ("path", "line"),
    [("/etc/a.yaml", "note: %s"), ("/etc/a.json", '{"note": %s}'), ("/etc/a.toml", "note = %s")],
)
def test_the_file_is_correct_after_following_the_hint_about_quotes(path, line):
    unquoted = file(path, line % f'"{{{{ {READ} }}}}"' + "\n")
    (finding,) = audit(unquoted, "authoring")
    assert finding.severity.level == "info"
    assert finding.message.partition(": ")[2].startswith("a value with quotes or colons breaks the file: ")
    assert finding.hint.startswith('write {{ …|stringformat:"%q" }} without quotes')
    quoted = file(path, line % f'{{{{ {READ}|stringformat:"%q" }}}}' + "\n")
    assert not audit(quoted, "authoring")


@pytest.mark.parametrize(
    ("id", "image"),
    [
        ("netplan", file(PLAN, f"network: {{version: {{{{ {READ} }}}}}}\n")),
        ("meta-data", seed("meta-data", f"instance-id: {{{{ {READ} }}}}\n")),
        ("network-config", seed("network-config", f"version: {{{{ {READ} }}}}\n")),
        ("cloud-config", seed("user-data", f"#cloud-config\nhostname: {{{{ {READ} }}}}\n")),
    ],
)
def test_unquoted_value_is_found_in_each_type_of_yaml(id, image):
    found = [each for each in audit(image, "authoring") if each.check == id]
    assert any(
        "a value with quotes or colons breaks the file: invalid YAML" in each.message for each in found
    )


def test_host_syntax_hint_suggests_a_loop_for_every_host():
    wrong = text('{{ devices.eth0["ipv4.address"] }}', hosts="incus,incus-debian")
    (found,) = (each for each in audit(wrong, "authoring") if each.check == "host-syntax")
    assert found.message.endswith("every start fails on incus-debian")
    assert found.hint.endswith(f"and LXD and incus-debian have v4: write {LOOP}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("user.ip", "10.0.0.5"), ("user.ipv4", "10.0.0.5"), ("user.address", "10.0.0.5"), ("user.gateway", "10.0.0.5"),
        ("user.port", "8080"), ("user.script", "value"), ("user.script_ip", "10.0.0.5"), ("user.ip.name", "value"),
        ("user.motd", "value"),
    ],
)  # fmt: skip
def test_format_of_an_example_value_fits_the_key_name(key, value):
    assert invented_value(key) == value


def test_text_is_located_only_if_it_occurs_exactly_once():
    source = Source("t", "one two one three")
    whole = source.span(0, len(source.text))
    found = _only("three", whole)
    assert (found.start, found.end) == (12, 17)
    assert _only("one", whole) is None
    assert _only("four", whole) is None
    assert _only("three", source.span(0, 12)) is None


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{{ properties.a }}", True),
        ("{{ properties.a }}{% for key in properties %}{{ key }}{% endfor %}", False),
        ("{{ properties.a }}{{ properties[trigger] }}", False),
    ],
)
def test_possibly_read_property_is_not_reported_as_unread(template, found):
    image = rule("when: [create], template: t, properties: {a: x, othr: y}", t=template + "\n")
    assert ("unread-property" in {check for _, check, _ in findings(image)}) == found


def of_checks(image: AuthoredImage, *ids: str) -> list[tuple[str, str, str]]:
    """The findings of these checks: id, place, message."""
    return [(each.check, each.place, each.message) for each in audit(image, "authoring") if each.check in ids]


def test_an_unreadable_template_gives_only_an_unreadable_finding():
    image_ = image(
        HOSTNAME, "/etc/b: {when: [create], template: u}", templates={"t": "x", "u": "{{ 1/0 }}\n"}
    )
    image_.templates["t"] = TemplateFile(Entry(FILE), None, LimitError("the template is too large"))
    assert of_checks(image_, "unreadable", "render") == [
        (
            "render",
            "image/templates/u:1:4",
            "'/etc/b' on create: runtime error: integer divide by zero",
        ),
        ("unreadable", "templates/t", "the template is too large"),
    ]


@pytest.mark.parametrize(
    ("more", "place", "message"),
    [
        ("properties: {os: a, os: b}\n", "3:21", "duplicate key 'os', first in line 3"),
        (
            "templates:\n  /etc/a: {when: [create], template: t}\n  /etc/a: {when: [start], template: t}\n",
            "5:3",
            "duplicate key '/etc/a', first in line 4",
        ),
        ("---\nexpiry_date: 1\n", "3:1", "a second document starts here"),
        ("properties: {date: 2024-01-01}\n", "3:20", "but yaml.v4 reads '2024-01-01' as a date"),
    ],
)
def test_metadata_is_unreadable_if_only_incus_7_rejects_it(more, place, message):
    """The expected errors are those in the recordings in tests/hosts and tests/metadata_cases."""
    scanned = an_image(FACTS + more, {"t": ""})
    for names in (["incus"], ["lxd", "incus", "incus-6.0"]):
        (found,) = of_checks(authored(scanned, tuple(HOSTS[name] for name in names), ()), "unreadable")
        assert found[1] == f"{M}{place}"
        assert message in found[2] and found[2].endswith(": no instance of the image starts on incus")
    assert not of_checks(authored(scanned, (HOSTS["lxd"], HOSTS["incus-6.0"]), ()), "unreadable")


def test_metadata_file_rejected_by_every_host_is_reported_once():
    error = MetadataError("invalid YAML")
    assert len(of_checks(text("a", errors=[error]), "unreadable")) == 1


def below_dev(*names: Name) -> ScannedImage:
    """An archive with the file rootfs/dev/a, which Incus skips, and with more members."""
    skipped = Name("rootfs/dev/a", Entry(FILE), skipped=True)
    return an_image(FACTS, names=[a_folder("rootfs/dev"), skipped, *names], packed=True)


NEEDS_SKIPPED = below_dev(Name("rootfs/b", Entry(FILE), hard_link="rootfs/dev/a"))
BELOW_SKIPPED = below_dev(Name("rootfs/dev/a/b", Entry(FILE), skipped=True))


def test_only_incus_refuses_a_hard_link_into_dev():
    """Incus passes ``--exclude=rootfs/dev/*`` to GNU tar. LXD does so only in a user namespace."""
    incus, lxd = HOSTS["incus"], HOSTS["lxd"]
    for hosts in ((incus,), (HOSTS["incus-debian"],), (lxd, incus)):
        assert of_checks(authored(NEEDS_SKIPPED, hosts, ()), "refused-member") == [
            (
                "refused-member",
                "rootfs/b",
                "'rootfs/b' is a hard link to 'rootfs/dev/a', which does not precede the link in the archive:"
                " Incus can't unpack it, because Incus skips the members below 'rootfs/dev'",
            )
        ]
    assert not of_checks(authored(NEEDS_SKIPPED, (lxd,), ()), "refused-member")


def test_only_lxd_refuses_a_member_below_a_file_in_dev():
    incus, lxd = HOSTS["incus"], HOSTS["lxd"]
    assert of_checks(authored(BELOW_SKIPPED, (incus, lxd), ()), "refused-member") == [
        ("refused-member", "rootfs/dev/a/b", "'rootfs/dev/a/b' is below a file: LXD can't unpack it")
    ]
    assert not of_checks(authored(BELOW_SKIPPED, (incus,), ()), "refused-member")


def test_only_lxd_refuses_members_below_a_link_in_dev():
    """Incus unpacks ``rootfs/./dev/b``, and makes the directory ``rootfs/dev/b`` for ``rootfs/./dev/b/c``."""
    kept = Name("rootfs/dev/b/c", Entry(FILE))
    link = Name("rootfs/dev/b", Entry(SYMLINK, target="/etc"), skipped=True)
    for names, hosts in (([kept], []), ([link, kept], ["lxd"]), ([kept, kept], [])):
        images = {name: authored(below_dev(*names), (HOSTS[name],), ()) for name in ("incus", "lxd")}
        assert [name for name, each in images.items() if of_checks(each, "refused-member")] == hosts


def test_archive_without_links_into_dev_is_not_examined_twice(monkeypatch):
    trees = []
    monkeypatch.setattr(unpack_refusals, "UnpackedTree", lambda: trees.append(1) or UnpackedTree())
    assert not of_checks(authored(below_dev(), (INCUS,), ()), "refused-member")
    assert len(trees) == 1


def test_an_incomplete_image_has_no_finding_about_missing_templates():
    assert of_checks(image(HOSTNAME, t=None), "missing-template")
    assert not of_checks(image(HOSTNAME, t=None, complete=False), "missing-template")


@pytest.mark.parametrize(
    ("path", "names", "message"),
    [
        ("/etc/l/x", (a_folder("rootfs/etc"), a_link("rootfs/etc/l", "l")), "too many symlinks at '/etc/l'"),
        ("/etc/f/x", (a_folder("rootfs/etc"), "rootfs/etc/f"), "'/etc/f' is a file, not a directory"),
    ],
)
def test_target_that_cannot_be_followed_is_a_refused_link(path, names, message):
    found = of_checks(image(f"{path}: {{when: [create], template: t}}", names=names), "refused-link")
    assert found == [("refused-link", "image/metadata.yaml:4:3", f"'{path}': {message}")]


@pytest.mark.parametrize(
    ("path", "names", "problem"),
    [
        ("/l/../x/../y", ("rootfs/l -> srv/deep", "rootfs/srv/x/"), None),
        ("/l/../x/../y", ("rootfs/l -> srv/deep", "rootfs/x/"), "'..' after '/srv/x', which does not exist"),
        ("/l/../y", ("rootfs/l -> /srv/deep",), "'..' after '/l', which leads out of the root filesystem"),
        ("/a/l/../y", ("rootfs/a/l -> ../srv",), None),
        ("/a/l/../../y", ("rootfs/a/l -> ../srv",), "'..' after '/', which leads out of the root filesystem"),
        ("/l/../y", ("rootfs/l -> l",), "'..' after '/l', which leads through too many links"),
        ("/l/f/../y", ("rootfs/l -> srv", "rootfs/srv/f"), "'..' after '/srv/f', which is a file"),
        ("/l/f/x/../../y", ("rootfs/l -> srv", "rootfs/srv/f"), "'..' after '/srv/f', which is a file"),
        ("/l/../y", ("rootfs/l -> none",), "'..' after '/none', which does not exist"),
        ("/l/../y", ("rootfs/l -> none/../srv",), "'..' after '/none', which does not exist"),
        ("/srv/n//y/", (), "a slash after '/srv/n/y', which does not exist"),
    ],
)
def test_name_after_a_link_is_resolved_at_its_target(path, names, problem):
    """The model of Incus 7 in ``templater.prediction`` gives the same results."""
    made = [a_folder(f"rootfs/{name}") for name in ("a", "srv", "srv/deep")]
    for name in names:
        link, _, target = name.partition(" -> ")
        made.append(a_link(link, target) if target else a_folder(name[:-1]) if name.endswith("/") else name)
    found = of_checks(
        image(f"{path}: {{when: [create], template: t}}", names=made, hosts="incus"), "refused-link"
    )
    message = f"'{path}' has {problem}: incus refuses this path"
    assert found == ([("refused-link", "image/metadata.yaml:4:3", message)] if problem else [])


def test_paths_of_all_rules_have_one_common_step_limit(monkeypatch):
    """For each ``..``, the check followed the whole path again, with a new limit."""
    monkeypatch.setattr(follow_links, "MAX_STEPS", 1000)
    names = (a_folder("rootfs/a"), a_link("rootfs/l", "a/../" * 300 + "a"))
    rules = [f"/l/../a/f{number}: {{when: [create], template: t}}" for number in range(4)]
    assert of_checks(image(rules[0], names=names), "refused-link") == []
    problem = "the paths of all rules together lead through too many directories and links"
    found = of_checks(image(*rules, names=names), "refused-link")
    assert [message for _, _, message in found] == [f"not checked completely: {problem}"]


def test_yaml_is_checked_only_up_to_an_event_limit(monkeypatch):
    wrong = file("/etc/a.yaml", "[1, 2, 3\n")
    assert of_checks(wrong, "yaml")
    monkeypatch.setattr("templater.checks.authoring.yaml.MAX_EVENTS", 5)  # the sixth event is the last number
    assert of_checks(wrong, "yaml")
    monkeypatch.setattr("templater.checks.authoring.yaml.MAX_EVENTS", 4)
    assert not of_checks(wrong, "yaml")


def test_exactly_the_checks_with_a_validator_are_marked_as_validated():
    """Without its validator, a check can miss a finding that the author ignores.

    So templater does not report that the ignore entry is unused.
    """
    marked = {check.id for check in all_checks("authoring") if check.validated}
    assert marked == {
        "cloud-config",
        "interfaces",
        "netplan",
        "network-config",
        "shell",
        "sudoers",
        "systemd-unit",
    }


def test_mode_is_corrected_only_if_its_meaning_is_unambiguous():
    read = {
        "420": "0644", "644": "0644", "0644": "0644", "493": "0755", "600": "0600", "4755": "04755",
        "4095": "07777", "7777": "07777", "rw-r--r--": "0644", "r--------": "0400",
        # more than four octal digits, two plausible readings, none, and other texts
        "4096": None, "10000": None, "99999": None, "100000": None, "511": None, "400": None, "000": None,
        "-w-------": None, "rw-rw-rwx": None, "rwsr-xr-x": None, "rw-r--r-": None, "u=rw": None, "": None,
    }  # fmt: skip
    fixes = {text: corrected_mode(text) for text in read}
    assert {text: fix and fix.fields["mode"] for text, fix in fixes.items()} == read


@pytest.mark.parametrize("key", KEYS)
def test_metadata_key_with_other_case_or_dashes_is_corrected(key):
    assert (
        corrected(key) == corrected(key.upper().replace("_", "-")) == corrected(f"{key[0]}q{key[1:]}") == key
    )
    assert corrected("nonsense") == ""


@pytest.mark.parametrize(
    ("mode", "readable"), [("0604", True), ("0644", True), ("0603", False), ("0640", False), ("x", True)]
)
def test_mode_decides_whether_all_users_can_read_a_file(mode, readable):
    found = image(f'/etc/a: {{when: [create], template: t, mode: "{mode}"}}')
    assert found.can_read(found.rules[0]) is readable


@pytest.mark.parametrize(
    ("kept", "given", "readable"), [(0o644, "0600", True), (0o604, "0640", True), (0o600, "0644", False)]
)
def test_an_existing_file_keeps_its_mode_when_a_rule_writes_it(kept, given, readable):
    secret = "{{ config_get('user.password', '') }}"
    rules = [
        f"{path}: {{when: [create], template: t, mode: '{given}'}}"
        for path in (f"{SEED}/user-data", "/etc/a")
    ]
    names = [Name(f"rootfs{path}", Entry(FILE, kept)) for path in (f"{SEED}/user-data", "/etc/a")]
    found = audit(image(*rules, templates={"t": secret}, names=names), "authoring")
    hint = "give the file in rootfs the mode 0600, because the daemon keeps the mode of an existing file"
    for check in ("readable-secret", "nocloud-readable"):
        assert [(each.hint, each.fix) for each in found if each.check == check] == [(hint, None)] * readable


def test_readable_seed_file_is_fixed_only_in_responsible_rule():
    rules = [
        f"{slash}{SEED}/user-data: {{when: [create], template: t, mode: '{mode}'}}"
        for slash, mode in (("", "0600"), ("/", "0644"))
    ]
    found = [each for each in audit(image(*rules), "authoring") if each.check == "nocloud-readable"]
    assert [each.fix and each.fix.fields for each in found] == [None, {"mode": "0600"}]


def test_image_is_rendered_once_if_templates_read_no_keys():
    assert [probe.config for probe in file("/etc/motd", "x").probes] == [{}]
    assert [probe.config for probe in file("/etc/motd", '{{ config_get("user.a", "") }}').probes] == [
        {},
        {"user.a": "value"},
    ]
    chosen = file("/etc/motd", '{{ config_get("user.a", "") }}', instances=(Instance("c2"),))
    assert [probe.name for probe in chosen.probes] == ["c2"] and chosen.awkward == ()


def test_equal_rendered_texts_count_only_once_towards_the_size_limit(monkeypatch):
    rules = [f"/etc/{name}: {{when: [create, start], template: {name}}}" for name in "ab"]
    monkeypatch.setattr("templater.checks.rendered_files.MOST_TEXT", 15)
    assert image(*rules, templates=dict.fromkeys("ab", "12345678\n")).files
    monkeypatch.setattr("templater.checks.rendered_files.MOST_TEXT", 18)
    assert image(*rules, templates={"a": "12345678\n", "b": "abcdefgh\n"}).files
    monkeypatch.setattr("templater.checks.rendered_files.MOST_TEXT", 17)
    assert not image(*rules, templates={"a": "12345678\n", "b": "abcdefgh\n"}).files


def test_the_findings_about_unused_ignore_comments_are_limited(monkeypatch):
    monkeypatch.setattr("templater.checks.authoring.unused_ignore.MAX_FINDINGS", 1)
    for module in ("ignores", "authoring.unused_ignore"):
        monkeypatch.setattr(f"templater.checks.{module}.MAX_COMMENTS", 3)
    found = judge(text("{# templater: ignore a b c d e #}x"), Configuration()).findings
    assert [(each.message, each.place) for each in found] == [
        ("'a' is not a check: the comment has no effect", T + "1:22"),
        ("2 more ignore comments have no effect", T + "1:24"),
        ("the ignore comments contain more than 3 ids: later ids have no effect", T + "1:28"),
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a=1b", ["a={{ x }}b"]), ("a=1", []), ("1b", []), ("a=b", ["a={{ x }}b"]), ("c 5 d", ["c {{ y }} d"]),
        ("e1f2g", ["e{{ x }}f{{ y }}g"]), ("e1g2f", []), ("e1fg", ["e{{ x }}f{{ y }}g"]), ("1", []), ("plain", []),
    ],
)  # fmt: skip
def test_rendered_line_is_traced_to_matching_template_lines(text, lines):
    source = Source("t", "plain\na={{ x }}b\n  c {{ y }} d  \n{{ z }}\ne{{ x }}f{{ y }}g")
    assert [span.text for span in _lines_that_give(source, text)] == lines


def test_shortened_rendered_text_keeps_its_last_character(monkeypatch):
    monkeypatch.setattr("templater.checks.rendered_files.LARGEST", 4)
    assert [kept_text(text) for text in (b"abcd", b"abc\n", b"abcde\n", b"abc\xff")] == [
        "abcd",
        "abc\n",
        "abcd\n",
        "abc\udcff",
    ]


def test_each_id_of_an_ignore_comment_has_its_own_span():
    source = Source("t", "x{# templater: ignore mode, rename #}{#- templater: ignore yaml -#}")
    spans = [comment.at.text for comment in _comments(source, "t")]
    assert spans == ["mode", "rename", "yaml"]


def test_an_ignore_entry_hides_only_findings_about_its_target():
    rules = [f"/etc/{name}: {{when: [create, copi], template: t}}" for name in ("a", "b")]
    at = Source("image/templater.toml", "x").span(0, 1)
    judged = judge(image(*rules), Configuration(ignores=(Ignore("unknown-when", "/etc/a", at),)))
    assert [each.rule.path for each in judged.findings] == ["/etc/b"]
    assert [each.rule.path for each in judged.suppressed] == ["/etc/a"]


@pytest.mark.parametrize(
    ("default", "value"),
    [("true", "false"), ("No", "yes"), ("ON", "off"), ("off", "on"), ("1.5", "1.5"), ("a", "value")],
)
def test_example_value_is_the_opposite_of_a_boolean_default(default, value):
    assert invented_value("user.x", default) == value


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc/network/interfaces.d/eth0", "interfaces"),
        ("/etc/systemd/system/a.service.d/x.conf", "unit"),
        ("/etc/systemd/system/service.d/x.conf", "unit"),
        ("/etc/systemd/system/a.slice.d/x.conf", "unit"),
        ("/etc/systemd/journald.conf.d/x.conf", "unit"),
        ("/usr/lib/systemd/ssh_config.d/x.conf", ""),
        ("/etc/systemd/system.conf", ""),
        ("/etc/systemd/network/a.network", "unit"),
        ("/etc/x.d/a.conf", ""),
        ("/etc/sudoers.d/a", "sudoers"),
        ("/etc/a.yml", "yaml"),
    ],
)
def test_the_checks_derive_the_file_type_from_the_target_path(path, kind):
    assert kind_of(path) == kind


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ('{{ config_get("user.a", "true") }}', "false"),
        ('{{ config["user.a"]|default:"7" }}', "7"),
        ('{{ config_get("user.a", "7")|upper }}', "7"),
        ('{{ config_get("user.a", "") }}{{ config_get("user.a", "8") }}', "8"),
        ('{{ config["user.a"]|default:path }}', "value"),
        ('{{ config["user.a"]|cut:"7" }}', "value"),
        ('{{ config["user.b"]|default:"7" }}{{ config["user.a"] }}', "value"),
    ],
)
def test_example_value_depends_on_literal_default_in_template(template, value):
    assert file("/etc/motd", template).value_of("user.a") == value


def test_finding_mentions_invented_values_without_a_configured_cause():
    image_ = file("/etc/a.json", '{{ config_get("user.a", "") }}\n')
    (probe,) = [each for each in image_.files if each.invented]
    nothing = replace(probe, instance=Instance("c1"))
    assert condition_text(image_, probe, 1) == "if 'user.a' is 'value'"
    assert condition_text(image_, nothing, 1) == "with invented values"


@pytest.mark.parametrize(("key", "value"), [("user.name", "value"), ("user.port", "8080")])
def test_finding_mentions_the_key_and_value_on_its_line(key, value):
    other = {"user.name": "user.port", "user.port": "user.name"}[key]
    template = f'10.0.0.1 {{{{ config_get("{other}", "") }}}}\n{{{{ config_get("{key}", "") }}}} b\n'
    said = [found.message for found in audit(file("/etc/hosts", template), "authoring")]
    assert f"'/etc/hosts', line 2: if '{key}' is '{value}': '{value}' is not an IP address" in said


def test_multiline_value_is_not_named_as_cause_of_mistake():
    image_ = file("/etc/a.json", '{{ config_get("user.a", "") }}\n')
    (probe,) = [each for each in image_.files if each.invented]
    several = replace(probe, instance=Instance("c1", config={"user.a": "one\ntwo"}))
    assert condition_text(image_, several, 1) == "with invented values"


def test_mistake_in_all_virtual_machines_is_found_despite_containers():
    condition = '{% if instance.type == "virtual-machine" or config_get("user.a", "") %}'
    for text, found in (
        (condition + "\n#!/bin/sh\n{% endif %}", ["first-line"]),
        (condition.replace("virtual-machine", "none") + "\n#!/bin/sh\n{% endif %}", []),
    ):
        checks = [each.check for each in audit(file("/usr/bin/a", text), "authoring")]
        assert [check for check in checks if check == "first-line"] == found


@pytest.mark.parametrize(
    ("field", "meant"),
    [
        ("index", "Counter"), ("index0", "Counter0"), ("revindex", "Revcounter"), ("revindex0", "Revcounter0"),
        ("first", "First"), ("last", "Last"), ("length", None),
    ],
)  # fmt: skip
def test_jinja_loop_field_is_corrected_to_equivalent_forloop_field(field, meant):
    text = f"{{% for k in devices sorted %}}{{{{ loop.{field} }}}}\n{{% endfor %}}"
    (found,) = [each for each in audit(file("/etc/motd", text), "authoring") if each.check == "jinja"]
    assert found.hint == f"write forloop.{meant or 'Counter'}"
    new = None if found.fix is None else [new for _, new in found.fix.edits]
    assert new == (None if meant is None else [f"forloop.{meant}"])
