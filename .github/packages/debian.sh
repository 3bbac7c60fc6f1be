#!/bin/bash
# Build and check a Debian package of this checkout, on Debian 13: .github/packages/debian.sh [FOLDER]
# It needs: debhelper dh-python pybuild-plugin-pyproject python3-all python3-hatchling python3-click python3-yaml lintian
set -euo pipefail
folder=$(realpath -m "${1:-dist}")
mkdir -p "$folder"
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
source=$scratch/image-templater
mkdir "$source"
# tar exits with 1 if a file is made beside it in this directory, for example by a test
{ tar -c --exclude-vcs --exclude-ignore=.gitignore --exclude=./.ci --exclude=./docs --exclude=./sample-images \
  --exclude=./tests . || [ $? = 1 ]; } | tar -x -C "$source"
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' templater/__init__.py)
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1580601600}  # hatchling's time
mkdir -p "$source/debian/source"
cd "$source/debian"
echo '3.0 (native)' > source/format

cat > changelog <<END
image-templater ($version) unstable; urgency=medium

  * Packaged by templater's own script. CHANGELOG.md lists the changes.

 -- templater maintainers <maintainers@example.org>  $(date -R -u -d "@$SOURCE_DATE_EPOCH")
END

cat > control <<END
Source: image-templater
Section: admin
Priority: optional
Maintainer: templater maintainers <maintainers@example.org>
Build-Depends: debhelper-compat (= 13), dh-sequence-python3, pybuild-plugin-pyproject, python3-all,
 python3-click, python3-hatchling, python3-yaml
Standards-Version: 4.7.2
Rules-Requires-Root: no

Package: image-templater
Architecture: all
Depends: python3 (>= 3.11~), \${python3:Depends}, \${misc:Depends}
Suggests: python3-aiohttp, python3-cryptography, python3-jsonschema, squashfs-tools, squashfs-tools-ng
Description: preview, test and apply the templates of LXD and Incus images
 Images of LXD and Incus carry templates, from which the daemon writes files
 such as /etc/hostname when a container is created, copied, renamed or started.
 templater shows these files, tests the templates, and writes the files into a
 root filesystem without a daemon. Hooks do the same for LXC, runc, crun, podman
 and systemd-nspawn.
 .
 The command is called templater. The suggested packages add the server of image
 trees (python3-aiohttp, python3-cryptography), the schemas of cloud-init for
 checks (python3-jsonschema), and squashfs images (the two others).
END

cat > copyright <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: templater

Files: *
Copyright: 2026 The templater authors
License: Apache-2.0
 On Debian systems, the full text of the Apache License 2.0 is in
 /usr/share/common-licenses/Apache-2.0.
END

# Debian 13 has pyzstd in place of backports.zstd, and templater accepts both
echo 'backports_zstd python3-pyzstd' > py3dist-overrides
# in a native package, debhelper would install a file CHANGELOG.md in place of Debian's own changelog
mv ../CHANGELOG.md release-notes.md
echo debian/release-notes.md > image-templater.docs

cat > rules <<'END'
#!/usr/bin/make -f
export PYBUILD_NAME = image-templater
%:
	dh $@ --buildsystem=pybuild

# the directory in which Debian's zsh looks for the completion scripts of packages
execute_after_dh_auto_install:
	cd debian/image-templater/usr/share/zsh && mv site-functions vendor-completions

# templater's own CI runs the tests, with the package installed as well
override_dh_auto_test:
END
chmod +x rules

cd ..
dpkg-buildpackage --build=binary --no-sign --jobs=1
cd "$scratch"
lintian --fail-on error,warning,info --tag-display-limit 0 ./*.changes
mv ./*.deb "$folder"
ls "$folder"/*.deb
