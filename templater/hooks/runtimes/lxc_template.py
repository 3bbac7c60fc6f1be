"""The template script for ``lxc-create -t templater``, which makes a container from an image."""

from __future__ import annotations

import shlex
import sys
from os.path import join

from ...model.errors import UsageError
from ..install import Snippet, require_common, search_path

FOLDER = "/usr/share/lxc/templates"
FILE = "lxc-templater"
_SCRIPT = """\
#!/bin/sh
# lxc-create -n NAME -t templater -- IMAGE [ROOTFS] [-o KEY=VALUE]... [--keep WHAT]...
# Written by `templater hook install lxc-template`.
set -eu
umask 022
templater() {{ env PYTHONPATH={packages} {python} -P -m templater "$@"; }}
fail() {{ echo "lxc-templater: $*" >&2; exit 1; }}

name= path= rootfs= uid= gid=
sources= options=
quoted() {{ printf " '%s'" "$(printf %s "$1" | sed "s/'/'\\\\\\\\''/g")"; }}
while [ $# -gt 0 ]; do
  case $1 in
    --name=*) name=${{1#*=}} ;;
    --path=*) path=${{1#*=}} ;;
    --rootfs=*) rootfs=${{1#*=}} ;;
    --mapped-uid) uid=$2; shift ;;
    --mapped-gid) gid=$2; shift ;;
    -o) options="$options -c$(quoted "$2")"; shift ;;
    --keep) options="$options --keep$(quoted "$2")"; shift ;;
    -*) fail "unknown option '$1'; use -o KEY=VALUE or --keep WHAT" ;;
    *) sources="$sources$(quoted "$1")" ;;
  esac
  shift
done
[ -n "$name" ] && [ -n "$path" ] && [ -n "$rootfs" ] || fail "run it with lxc-create -t templater"
[ -n "$sources" ] || fail "give an image: lxc-create -n $name -t templater -- images:debian/13"

new=$path/.new
trap 'rm -rf "$new" "$path/.fetched"' EXIT
if [ -n "$uid" ]; then
  # This is the container's root, in a namespace in which the caller's own id follows the container's ids.
  export XDG_DATA_HOME="$path/.fetched" # the home directory is the caller's
  export PYTHONDONTWRITEBYTECODE=1      # compiled modules of the container's root must not run for the caller
  options="$options --idmap u:0:0:$uid --idmap g:0:0:$gid" # no file of the image may belong to the caller
fi
eval "templater unpack $sources \\"\\$new\\" --name \\"\\$name\\" $options"
if rmdir "$rootfs" 2>/dev/null; then
  mv "$new/rootfs" "$rootfs"
else
  cp -a "$new/rootfs/." "$rootfs" # a mounted file system
fi
mv "$new/metadata.yaml" "$new/instance.yaml" "$new/.templater" "$path"
[ ! -d "$new/templates" ] || mv "$new/templates" "$path"

{{
  echo "lxc.include = /usr/share/lxc/config/common.conf"
  [ -z "$uid" ] || echo "lxc.include = /usr/share/lxc/config/userns.conf"
  echo "lxc.uts.name = $name"
}} >>"$path/config"
templater hook install lxc "$name" -P "$(dirname "$path")" --write{words}
if [ -n "$uid" ]; then
  chown "$uid:$gid" "$path/config" # LXC reads it as the user that starts the container
  if ! grep -q '^lxc.hook.pre-start = lxc-usernsexec' "$path/config"; then # the host's root runs the hooks
    chown -R "$uid:$gid" "$path/metadata.yaml" "$path/instance.yaml" "$path/.templater"
    [ ! -d "$path/templates" ] || chown -R "$uid:$gid" "$path/templates"
  fi
fi
"""


def snippet(name: str, words: list[str], path: str) -> Snippet:
    """Return the script. ``words`` are the options of the hook that the script installs in each container."""
    if name:
        raise UsageError(f"unexpected name '{name}': the script is the same for all containers")
    require_common(words, "install the hook in each container: templater hook install lxc NAME")
    text = _SCRIPT.format(
        packages=shlex.quote(search_path()[0]),
        python=shlex.quote(sys.executable),
        words="".join(f" {shlex.quote(word)}" for word in words),
    )
    return Snippet(join(path or FOLDER, FILE), text, mode=0o755)
