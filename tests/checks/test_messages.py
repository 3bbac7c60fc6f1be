"""The whole message of each observation of `audit` that other tests only count."""

import pytest

from templater.checks.run_checks import audit
from templater.checks.scanned_image import Name, Trailing
from templater.model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK, Entry
from tests.checks.builders import a_folder, a_link, a_special, an_image, rules

RULE = rules("/etc/a: {when: [create], template: t}")
QCOW2 = b"QFI\xfb\0\0\0\3" + (104).to_bytes(8, "big") + (5).to_bytes(4, "big") + bytes(84) + b"/base"


def at_target(*names):
    return an_image(RULE, names=names)


def hard_link(path, target):
    return Name(path, Entry(FILE), hard_link=target)


def mode(text):
    return an_image(rules(f"/etc/a: {{when: [create], template: t, mode: '{text}'}}"))


CASES = [
    ("target-kind", at_target(a_special("rootfs/etc/a", FIFO)), "high", "'/etc/a' is a fifo: the start waits forever for a reader", ""),
    ("target-kind", at_target(a_special("rootfs/etc/a", CHAR_DEVICE)), "high", "'/etc/a' is a char device: the daemon writes into it", ""),
    ("target-kind", at_target(a_special("rootfs/etc/a", BLOCK_DEVICE)), "high", "'/etc/a' is a block device: the daemon writes into it", ""),
    ("target-kind", at_target(a_special("rootfs/etc/a", SOCKET)), "high", "'/etc/a' is a socket: the daemon writes into it", ""),
    ("target-kind", at_target(a_special("rootfs/etc/a", DIRECTORY)), "medium", "'/etc/a' is a directory: the start fails", ""),
    ("target-kind", an_image(rules("/sys/a: {when: [create], template: t}")), "medium", "'/sys/a' is in a file system of the kernel: in a virtual machine, the agent writes to this file", ""),
    ("target-kind", an_image(rules("/sys/a: {when: [create], template: t}"), names=["rootfs/etc/hosts"]), "low", "'/sys/a' is hidden in a running container: another file system is mounted there", ""),
    ("target-through-link", at_target(a_link("rootfs/etc", "/x")), "medium", "'/etc/a' is reached through '/etc', an absolute symlink ('/x')", "use a relative link inside the root filesystem: it works in every release"),
    ("target-through-link", at_target(a_link("rootfs/etc", "../x")), "high", "'/etc/a' is reached through '/etc', a symlink that leaves the root filesystem ('../x')", "use a relative link inside the root filesystem: it works in every release"),
    ("member-name", an_image(names=["/a"]), "critical", "'/a' is absolute", ""),
    ("member-name", an_image(names=["a/../b"]), "critical", "'a/../b' contains '..'", ""),
    ("member-name", an_image(names=["a/.."]), "critical", "'a/..' contains '..'", ""),
    ("member-name", an_image(names=["a\\b"]), "medium", r"'a\b' contains a backslash", ""),
    ("member-name", an_image(names=["rootfs/a\x1b"]), "info", r"'rootfs/a\x1b' has unprintable characters", ""),
    ("member-name", an_image(names=["rootfs/" + "a/" * 500 + "b"]), "info", f"'{('rootfs/' + 'a/' * 500)[:100]}…' is more than 500 directories deep: `templater unpack` rejects it", ""),
    ("member-link", an_image(names=[a_link("rootfs/a", "/etc"), "rootfs/a/b"]), "critical", "'rootfs/a/b' is below the symlink 'rootfs/a' to '/etc'", ""),
    ("member-link", an_image(names=[hard_link("rootfs/a", "rootfs/b")]), "critical", "'rootfs/a' is a hard link to 'rootfs/b', a file that does not precede the link in the archive", ""),
    ("member-link", an_image(names=[a_link("rootfs/b", "c"), hard_link("rootfs/a", "rootfs/b")]), "high", "'rootfs/a' is a hard link to 'rootfs/b', a symlink", ""),
    ("member-link", an_image(names=["templates/t", hard_link("rootfs/a", "templates/t")]), "critical", "'rootfs/a' and 'templates/t' are the same file: the instance could write a file outside its root filesystem", ""),
    ("layout", an_image(names=[a_link("metadata.yaml", "/etc/passwd")]), "critical", "'metadata.yaml' is a symlink, not a file", ""),
    ("layout", an_image(names=["metadata.yaml", "metadata.yaml"]), "critical", "'metadata.yaml' occurs 2 times, first as a file: the daemons use the last copy", ""),
    ("layout", an_image(names=["README", "README"]), "high", "'README' occurs 2 times, first as a file: the daemons use the last copy", ""),
    ("layout", an_image(names=[a_link("x", "/dev/sda")]), "high", "'x' is a symlink to '/dev/sda': a daemon may open or follow it", "outside 'rootfs/', use only regular files and directories"),
    ("layout", an_image(names=[a_special("x", FIFO)]), "high", "'x' is a fifo: a daemon may open or follow it", "outside 'rootfs/', use only regular files and directories"),
    ("layout", an_image(names=["instance.yaml"]), "medium", "the image contains the file 'instance.yaml': in an instance directory, templater trusts a file of this name", "remove the file, unless you or `templater unpack` created it"),
    ("layout", an_image(names=[a_folder(".templater")]), "critical", "the image contains the directory '.templater': in an instance directory, templater trusts a directory of this name", "remove the directory, unless you or `templater unpack` created it"),
    ("layout", an_image(names=["backup.yaml"]), "high", "'backup.yaml' has the same name as a file that the daemons create and trust", ""),
    ("layout", an_image(names=[a_folder("state")]), "medium", "'state' has the same name as a directory that the daemons create and trust", ""),
    ("layout", an_image(names=["NEWS"]), "info", "'NEWS' does not belong in an image", ""),
    ("accounts", an_image(names=[a_link("rootfs/etc/passwd", "x")]), "low", "'/etc/passwd' is a symlink, so its accounts were not checked", ""),
    ("accounts", an_image(names=["rootfs/x", hard_link("rootfs/etc/passwd", "rootfs/x")]), "low", "'/etc/passwd' is a hard link, so its accounts were not checked", ""),
    ("accounts", an_image(names=[Name("rootfs/etc/shadow", Entry(FILE, 0o646))]), "high", "'/etc/shadow' has mode 0646: every user can write it", ""),
    ("accounts", an_image(names=[Name("rootfs/etc/shadow", Entry(FILE, 0o600, uid=7))]), "high", "'/etc/shadow' belongs to uid 7, not to root", ""),
    ("accounts", an_image(heads={"rootfs/etc/passwd": b"root:x:0:0\ntoor:x:00:0\nmod:x:4294967296:0\na:x:1:0\n"}), "high", "3 accounts have uid 0: root, toor, mod", "FreeBSD has the account 'toor'; on other systems, check why these accounts exist"),
    ("lookalike-name", an_image(templates={"host": "x", "h\u043est": "x"}), "medium", "'h\u043est' looks like 'host' (CYRILLIC SMALL LETTER O)", ""),
    ("lookalike-name", an_image(templates={"host": "x", "HOST": "x"}), "medium", "'HOST' looks like 'host' (another spelling)", ""),
    ("permissions", mode("0666"), "low", "mode '0666' lets every user in the instance write the file", ""),
    ("permissions", mode("04755"), "low", "the daemons drop setuid, setgid and sticky bits: mode '04755' gives 0755", ""),
    ("permissions", mode("4755"), "medium", "the daemons read mode '4755' as decimal, not octal: the file gets mode 0223", "write 0755"),
    ("python-names", an_image(RULE, {"t": "{{ a.__class__ }}"}), "medium", "'__class__' is part of attacks on Jinja2", ""),
    ("second-document", an_image("architecture: x86_64\ncreation_date: 1\n---\na: b\n"), "medium", "LXD, and Incus before 7, ignore everything after the first document: a second document starts here", "Incus 7 rejects the image: keep one document, and remove any '---' after it"),
    ("trailing-data", an_image(trailing=[Trailing("a.tar", 7, True)]), "high", "a second archive or compressed file follows the end marker of 'a.tar', at byte 7 of the decompressed archive", "no tool writes data after the end marker; a reader that ignores the marker may find other files"),
    ("trailing-data", an_image(trailing=[Trailing("a.tar", 7, False, "file")]), "medium", "data follows the end marker of 'a.tar', at byte 7 of the file", "no tool writes data after the end marker; a reader that ignores the marker may find other files"),
    ("autoescape", an_image(RULE, {"t": "{% endautoescape %}"}), "low", "this tag closes the autoescape block in which the daemons render the template", ""),
    ("disk-image", an_image(heads={"rootfs.img": b"raw"}), "high", "'rootfs.img' is not a qcow2 file: qemu-img may detect another format that refers to host files", ""),
    ("disk-image", an_image(heads={"rootfs.img": QCOW2}), "critical", "'rootfs.img' has the backing file '/base', which qemu-img reads on the host", ""),
    ("disk-image", an_image(heads={"rootfs.img": QCOW2[:8] + bytes(12) + QCOW2[20:72] + b"\0\0\0\0\0\0\0\4" + bytes(30)}), "critical", "'rootfs.img' stores its data in another file, which qemu-img reads on the host", ""),
    ("line-injection", an_image(RULE, {"t": 'a {{ config_get("user.a", "") }}'}), "info", "a line break in this value adds a line to the file", ""),
    ("runaway", an_image(RULE, {"t": "{% for a in x %}" * 5 + "{% endfor %}" * 5}), "medium", 'a daemon may work too long on this part, or fill its memory, for an instance with long texts', 'read the template, and preview it for an instance with long values'),
    ("runaway", an_image(RULE, {"t": "{% macro m0() %}{% endmacro %}" + "".join(f"{{% macro m{n + 1}() %}}{{{{ m{n}() }}}}{{% endmacro %}}" for n in range(25)) + "{{ m25() }}"}), "medium", "templater knows no limit for the daemon's work: calls of macros can be nested more than 20 deep", 'read the template, and preview it for an instance with long values'),
    ("runaway", an_image(RULE, {"t": "{{ config.a|make_list|join:config.a|make_list|join:config.a }}"}), "medium", "templater knows no limit for the daemon's work: the filter 'join' has an unusual argument", 'read the template, and preview it for an instance with long values'),
    ("runaway", an_image(RULE, {"t": "{% for d in devices %}{% set s = s|add:s %}{% endfor %}"}), "medium", "templater knows no limit for the daemon's work: each iteration of a loop can make a text several times longer", 'read the template, and preview it for an instance with long values'),
    ("runaway", an_image(RULE, {"t": "{% macro m() %}{{ s }}{{ s }}{% endmacro %}{% set s = config.a %}" + "{% set s = m() %}" * 4}), "medium", "templater knows no limit for the daemon's work: a variable has the name of a macro, or contains the output of a macro", 'read the template, and preview it for an instance with long values'),
    ("runaway", an_image(rules(*(f"/etc/{n}: {{when: [start], template: t}}" for n in range(110))), {"t": "{% for a in config.a %}{% for b in config.b %}{% endfor %}{% endfor %}"}), "medium", "all rules with the trigger 'start' together may be too much work for a daemon", 'use fewer rules, or fewer loops'),
    ("sensitive-target", an_image(rules("/etc/ld.so.preload: {when: [create], template: t}")), "high", "'/etc/ld.so.preload' is a file that loads libraries into every program: review its template", ''),
    ("sensitive-target", an_image(rules("/etc/doas.conf: {when: [create], template: t}")), "high", "'/etc/doas.conf' is a file that decides which users can become root: review its template", ''),
    ("sensitive-target", an_image(rules("/etc/passwd-: {when: [create], template: t}")), "high", "'/etc/passwd-' is a file with accounts and passwords: review its template", ''),
    ("sensitive-target", an_image(rules("/etc/pam.d/su: {when: [create], template: t}")), "medium", "'/etc/pam.d/su' is a file that decides how users log in: review its template", ''),
    ("sensitive-target", an_image(rules("/root/.ssh/authorized_keys: {when: [create], template: t}")), "medium", "'/root/.ssh/authorized_keys' is a file that lists the keys for logging in: review its template", ''),
    ("sensitive-target", an_image(rules("/etc/anacrontab: {when: [create], template: t}")), "medium", "'/etc/anacrontab' is a file that runs commands on a schedule: review its template", ''),
    ("sensitive-target", at_target(a_link("rootfs/etc/a", "shadow")), "high", "'/etc/a', which leads to '/etc/shadow', is a file with accounts and passwords: review its template", ''),
    ("template-file", an_image(RULE, {"t": Entry(SYMLINK, target="/x")}), "critical", "the template is a symlink to '/x'", ''),
    ("template-file", an_image(RULE, {"t": Entry(FIFO)}), "high", 'the template is a fifo: reading it may never end', ''),
    ("template-file", an_image(RULE, {"t": Entry(FILE, nlink=2)}), "low", 'the template has more than one hard link: the same file has another name on this file system', ''),
    ("template-file", an_image(RULE), "medium", "template 't' does not exist: the start fails", ''),
    ("target-through-link", an_image(rules("/" + "a/" * 500 + "b: {when: [create], template: t}")), "high", "'/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a…' leads through more than 64 directories, and the deepest ones were not checked for links", ''),
    ("target-through-link", at_target("rootfs/etc"), "medium", "'/etc/a': '/etc' is a file, not a directory", ''),
    ("target-through-link", at_target(a_link("rootfs/etc", "etc")), "medium", "'/etc/a': too many symlinks at '/etc'", ''),
    ("metadata", an_image(rules("/a: {template: h, when: [start], <<: {template: g}}")), "high", "'/a': Incus 7 reads a different rule for this path than earlier releases", "write the entry without '<<' and without repeated keys"),
    ("metadata", an_image("architecture: x\ncreation_date: 1\n"), "medium", "unknown architecture 'x': the daemons refuse to import the image", 'use a name such as x86_64, aarch64, armv7l, riscv64 or s390x'),
    ("metadata", an_image("creation_date: 1\n"), "medium", 'metadata.yaml has no architecture: the daemons refuse to import the image', "write the key at the top level, for example 'architecture: x86_64'"),
    ("metadata", an_image("architecture: x86_64\n"), "medium", 'metadata.yaml has no creation_date: the daemons refuse to import the image', "write the seconds since 1970 at the top level, for example 'creation_date: 1732752000'"),
    ("member-twice", an_image(names=["rootfs/a", "rootfs/a"]), "medium", "'rootfs/a' occurs twice in the root filesystem", ''),
    ("member-twice", an_image(names=["rootfs/a", "rootfs/a", "rootfs/b", "rootfs/b", "rootfs/b"]), "medium", "2 names occur twice in the root filesystem, for example 'rootfs/a'", ''),
    ("member-twice", an_image(names=[a_folder("rootfs/a"), a_folder("rootfs/a"), "rootfs/a"]), "medium", "'rootfs/a' occurs twice in the root filesystem", ''),
    ("disk-image", an_image(names=["rootfs/a"], heads={"rootfs.img": QCOW2}), "critical", "the image contains both 'rootfs.img' and files of a root filesystem: a daemon may pass 'rootfs.img' to qemu-img, although the root filesystem suggests a container image", ''),
    ("disk-image", an_image(names=["rootfs/a"], heads={"rootfs.img": QCOW2}), "critical", "'rootfs.img' has the backing file '/base', which qemu-img reads on the host", ''),
    ("disk-image", an_image(heads={"rootfs.img": QCOW2[:20]}), "critical", "'rootfs.img' has the backing file, which qemu-img reads on the host", ''),
    ("disk-image", an_image(heads={"rootfs.img": QCOW2[:20]}), "high", "'rootfs.img' is cut short: its qcow2 header is incomplete", ''),
    ("layout", an_image(names=["backup/index.yaml"]), "high", "the archive also contains a backup: `incus import` and `lxc import` read only 'backup/', which this audit does not check", ''),
    ("language", an_image(RULE, {"t": "{{ a|json }}"}), "medium", "unknown filter 'json'", 'pongo2 has no \'json\': stringformat:"%q" writes a text in double quotes'),
    ("language", an_image(RULE, {"t": "{{ a.b.c[0].d }}"}), "medium", 'this pongo2 release has no subscripts', 'a.b.c[0] needs pongo2 v6, and LXD and incus-debian have v4: write a.b.c.0'),
    ("language", an_image(RULE, {"t": "{{"}), "medium", 'expected either a number, string, keyword or identifier', ''),
    ("python-names", an_image(RULE, {"t": "{% a.x| attr %}"}), "medium", "'| attr' is part of attacks on Jinja2", ''),
    ("metadata", an_image(rules("~: {template: h, when: [start]}")), "high", "'': Incus 7 ignores this rule, but earlier releases apply it", "write the entry without '<<' and without repeated keys"),
    ("metadata", an_image(rules("~: {template: h, when: [start]}")), "low", 'the key is null: quote it if it is meant as text', ''),
    ("language", an_image(RULE, {"t": "{{ a.b[0] }}"}), "low", 'this pongo2 release has no subscripts (on LXD and incus-debian)', 'a.b[0] needs pongo2 v6, and LXD and incus-debian have v4: write a.b.0'),
    ("language", an_image(RULE, {"t": "{{ " + "(" * 1001 + "a"}), "high", 'more than 1000 nested brackets', ''),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "image", "severity", "message", "hint"),
    CASES,
    ids=[f"{case[0]}-{number}" for number, case in enumerate(CASES)],
)
def test_an_audit_finding_has_the_expected_severity_and_message_and_hint(
    check, image, severity, message, hint
):
    found = [
        (each.severity.name.lower(), each.message, each.hint) for each in audit(image) if each.check == check
    ]
    assert (severity, message, hint) in found
