"""New directories below a setgid directory inherit its bit, as in Incus 6.0.4 (incus_cases_2, n41)."""

from templater import DirectoryRootfs, Instance, apply, open_image, plan


def test_new_parents_below_a_setgid_directory_inherit_the_setgid_bit(tmp_path):
    image = tmp_path / "image"
    (image / "templates").mkdir(parents=True)
    (image / "templates/a.tpl").write_text("x\n")
    (image / "metadata.yaml").write_text(
        "templates:\n  /srv/sg/new/deep/a: {when: [start], template: a.tpl}\n"
        "  /srv/plain/new/a: {when: [start], template: a.tpl}\n"
    )
    root = tmp_path / "rootfs"
    (root / "srv/sg").mkdir(parents=True)
    (root / "srv/plain").mkdir()
    (root / "srv/sg").chmod(0o2755)
    with DirectoryRootfs(str(root)) as rootfs:
        apply(
            plan(open_image(image), Instance("c1"), triggers=("start",), rootfs=rootfs, host="none"), rootfs
        )
    modes = {str(path.relative_to(root)): path.stat().st_mode & 0o7777 for path in root.rglob("*")}
    assert modes["srv/sg/new"] == modes["srv/sg/new/deep"] == 0o2755
    assert modes["srv/plain/new"] == 0o755
    assert modes["srv/sg/new/deep/a"] == 0o644
