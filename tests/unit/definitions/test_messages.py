"""The message, the position and the hint of each mistake in a definition, and the notes about a build."""

import pytest

from templater.definitions.choice import Choice
from templater.definitions.predicted_image import build
from templater.model.errors import TemplaterError
from templater.model.source import Source

H = "image: {distribution: debian}\n"
N = "image: {distribution: debian, architecture: x86_64, serial: s}\n"

#: the definition, the position, the message, the hint, the notes
MISTAKES = [
    ("a: b\n", "1:1", "unknown key 'a' in the definition", "known keys: image, source, targets, files, packages, actions, mappings, environment, simplestream", ()),
    ("image: {}\n", "1:8", "image.distribution is missing", "every definition needs this field, for example: image: {distribution: debian}", ()),
    ("image: {distribution: debian, release: []}\n", "1:40", "'image.release' must be text, not a sequence", "", ()),
    ("name: web1\nconfig: {}\n", "1:1", "unknown key 'name' in the definition", "known keys: image, source, targets, files, packages, actions, mappings, environment, simplestream", ("also: d.yaml:2:1: unknown key 'config' in the definition",)),
    ("config: {user.a: b}\nprofiles: [default]\narchitecture: x86_64\n", "1:1", "unknown key 'config' in the definition", "this looks like an instance description: give an image as SRC, and this file with -i", ("also: d.yaml:2:1: unknown key 'profiles' in the definition", "also: d.yaml:3:1: unknown key 'architecture' in the definition")),
    ("properties: {os: a}\ntemplates: {}\n", "1:1", "unknown key 'properties' in the definition", "this looks like the metadata.yaml of an image: give the image's directory as SRC", ("also: d.yaml:2:1: unknown key 'templates' in the definition",)),
    ("image: {distribution: debian, properties: {os: a}}\n", "1:31", "unknown key 'properties' in 'image'", "a build sets the properties of the image from other keys of the definition", ()),
    (H + "files: {}\n", "2:8", "'files' must be a list, not a mapping", "", ()),
    (H + "files: [1]\n", "2:9", "'files.0' must be a mapping, not a scalar", "", ()),
    (H + "files: [{generator: none}]\n", "2:21", "unknown generator 'none'", "known generators: dump, copy, template, hostname, hosts, remove, cloud-init, incus-agent, lxd-agent, fstab", ()),
    (H + "files: [{generator: tempalte}]\n", "2:21", "unknown generator 'tempalte'", "did you mean 'template'?", ()),
    (H + "files: [{}]\n", "2:9", "the entry has no generator", "known generators: dump, copy, template, hostname, hosts, remove, cloud-init, incus-agent, lxd-agent, fstab", ()),
    (H + "files: [{generator: template, name: a/b, path: /a}]\n", "2:37", "the template name 'a/b' contains a '/', so the build fails", "give a name without a '/': it becomes the name of a file in the image's templates folder", ()),
    (H + "files: [{generator: dump, path: /a, mode: rwx}]\n", "2:43", "the mode 'rwx' is not an octal number, so the build fails", "", ()),
    (H + "files: [{generator: dump, path: /a, mode: '9'}]\n", "2:43", "the mode '9' is not an octal number, so the build fails", "", ()),
    (H + "files: [{generator: dump, path: /a, uid: root}]\n", "2:42", "the uid 'root' is not a number, so the build fails", "give a number: the documentation allows a name, but the build does not look up names", ()),
    (H + "files: [{generator: cloud-init, name: none}]\n", "2:39", "unknown cloud-init file 'none', so the build fails", "known names: user-data, meta-data, vendor-data, network-config", ()),
    (H + "files: [{generator: cloud-init}]\n", "2:21", "unknown cloud-init file '', so the build fails", "known names: user-data, meta-data, vendor-data, network-config", ()),
    (H + "files: [{generator: hostname}]\n", "2:21", "target path '' is the root directory itself", "", ()),
    (H + "files: [{generator: hosts}]\n", "2:21", "target path '' is the root directory itself", "", ()),
    (H + "files: [{generator: remove}]\n", "2:21", "target path '' is the root directory itself", "", ()),
    (H + "files: [{generator: hostname, path: /etc/hostname, types: container}]\n", "2:59", "'files.0.types' must be a list, not a scalar", "write the value as [container]", ()),
    (H + "files: [{generator: hostname, path: /etc/hostname, types: [vms]}]\n", "2:60", "invalid filter type 'vms'", "write container, vm or both", ()),
    (H + "files: [{generator: hostname, path: /etc/hostname, template: {properties: [a]}}]\n", "2:75", "'files.0.template.properties' must be a mapping, not a sequence", "", ()),
    (H + "files: [{generator: hostname, path: /etc/hostname, none: a}]\n", "2:52", "unknown key 'none' in 'files.0'", "known keys: releases, architectures, variants, types, generator, path, content, name, mode, gid, uid, source, template, templated, pongo", ()),
    (H + "files: [{generator: hostname, path: /etc/hostname, mode: [a]}]\n", "2:58", "'files.0.mode' must be text, not a sequence", "", ()),
    (H + "mappings: {architecture_map: none}\n", "2:30", "unknown architecture map 'none'", "known maps: alpinelinux, altlinux, archlinux, centos, debian, funtoo, gentoo, openwrt, plamolinux, slackware, voidlinux", ()),
    (H + "mappings: {architecture_map: debian}\nimage: {distribution: debian, architecture: x}\n", "3:1", "duplicate key 'image', first in line 1", "", ()),
    ("image: {distribution: debian, architecture: x86_64}\nmappings: {architectures: {x86_64: []}}\n", "2:36", "'mappings.architectures.x86_64' must be text, not a sequence", "", ()),
    ("image: {distribution: debian, name: '{{ a|b }}'}\n", "1:43", "image.name can't be rendered, so the build fails: unknown filter 'b'", "", ()),
    ("image: {distribution: debian, description: '{{ image.description }}'}\n", "1:45", "image.description can't be rendered, so the build fails: the text still contains '{{' or '{%' after it was rendered 20 times", "the text refers to itself, or prints a field that refers to itself: distrobuilder never finishes this build", ()),
    ('image: {distribution: debian, name: \'{{ "{{" }}{{ 1 }}\'}\n', "1:38", "image.name can't be rendered, so the build fails: '}}' expected", "", ()),
    ("image: {distribution: debian, serial: '{{'}\n", "1:8", "image.description can't be rendered, so the build fails: expected either a number, string, keyword or identifier", "", ()),
    (H + "targets: []\n", "2:10", "'targets' must be a mapping, not a sequence", "", ()),
    (H + "packages: a\n", "2:11", "'packages' must be a mapping, not a scalar", "", ()),
    (H + "environment: []\n", "2:14", "'environment' must be a mapping, not a sequence", "", ()),
    ("- a\n", "1:1", "the definition must be a mapping, not a sequence", "a definition is a YAML mapping with the keys image, source and files", ()),
    ("a", "1:1", "the definition must be a mapping, not a scalar", "a definition is a YAML mapping with the keys image, source and files", ()),
    ("", "1:1", "image.distribution is missing", "every definition needs this field, for example: image: {distribution: debian}", ()),
    ("image: a\n", "1:8", "'image' must be a mapping, not a scalar", "", ()),
]  # fmt: skip

#: the definition and the notes
NOTES = [
    ("", ()),
    ("files: [{generator: dump, path: /a, pongo: true, content: '{{ a|b }}'}]\n", ("d.yaml:2:65: unknown filter 'b': the build only warns, and uses the content without rendering it",)),
    ("files: [{generator: lxd-agent}]\n", ("this definition is for lxd-imagebuilder: distrobuilder refuses the generator 'lxd-agent'",)),
    ("files: [{generator: hostname, path: /etc/hostname}]\n", ("assuming that '/etc/hostname' exists in the root filesystem (see --rootfs DIR|none)",)),
    ("files: [{generator: fstab, releases: [a]}]\n", ("image.release is empty, so no entry with 'releases' matches (see -o image.release=…)",)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "message", "hint", "notes"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_gives_a_message_with_position_and_hint(text, place, message, hint, notes):
    with pytest.raises(TemplaterError) as caught:
        build(Source("d.yaml", text), Choice())
    assert str(caught.value) == f"d.yaml:{place}: {message}"
    assert (caught.value.hint, caught.value.notes) == (hint, notes)


@pytest.mark.parametrize(("text", "notes"), NOTES, ids=range(len(NOTES)))
def test_a_build_has_notes_about_assumptions_and_ignored_mistakes(text, notes):
    assert build(Source("d.yaml", N + text), Choice()).notes == notes
