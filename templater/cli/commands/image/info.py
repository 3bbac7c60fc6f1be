"""``templater image info``: describe an image."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ....limit_option import COMMAND, IMAGE, Given
from ....model.metadata import TRIGGERS
from ....model.unprintable_characters import printable
from ....reporting.columns import columns
from ... import options, output, terminal
from ...enforce_limits import guarded
from ...fetched_source import local_files
from ...read_in_sandbox import read_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.text import Text

HELP = """Show an image's format, properties and fingerprint.

The output also lists the rules, the templates and their sizes. SRC is a directory, a unified tarball, or a
split image's metadata tarball followed by its ROOTFS. SRC can also be a definition of distrobuilder or
lxd-imagebuilder, followed by the root filesystem (DIR or none) that its build unpacks. Archives are read
completely.
Properties that the daemons enforce are marked with '!'.

\b
Examples:
  templater image info image.tar.xz
  templater image info metadata.tar.xz rootfs.squashfs --json
"""


#: the title of a line, such as ``Format:``
_PAIR = re.compile(r"^[A-Z][A-Za-z ]*: +")


@click.command(help=HELP)
@options.source_argument
@options.rootfs_argument(required=False)
@options.parameter_option
@click.option("--vm", is_flag=True, help="If SRC is a definition: predict the build of a virtual machine.")
@options.limit_option(IMAGE, COMMAND)
@options.json_option
@guarded
def command(
    src: str, rootfs: str | None, parameters: tuple[str, ...], vm: bool, limits: Given, as_json: bool
) -> None:
    from ....definitions.choice import CONTAINER, VM, Choice
    from ....definitions.is_definition import is_definition
    from ....definitions.predicted_image import open_definition
    from ....image.describe import data, describe, describe_definition

    if rootfs is None:
        src, rootfs = local_files(src, whole=False)
    bounds = limits.for_images()
    choice = Choice(parameters, VM if vm else CONTAINER, rootfs)

    def built(src: str, rootfs: str | None) -> dict[str, object]:
        image = open_definition(src, choice, bounds)
        return data(describe_definition(src, image.read_metadata(), image.read_to_end(), image.notes))

    if is_definition(src):
        found = read_image(built, (src, None if rootfs == "none" else rootfs), limits)
    else:
        choice.refuse_parameters(src)
        found = read_image(
            lambda src, rootfs: data(describe(src, rootfs, bounds, squashfs=True)), (src, rootfs), limits
        )
    terminal.page()
    if as_json:
        output.write_json(found)
    elif terminal.has_layout():
        output.write_lines(styled_lines(lines(found), terminal.width()))
    else:
        output.write("\n".join(lines(found)) + "\n")
    for warning in found["warnings"]:
        output.say(f"{'note' if found['layout'] == 'definition' else 'warning'}: {warning}")


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the report about an image. ``found`` is the result of ``describe.data``."""
    yield from _pairs(_facts(found))
    if found["properties"]:
        yield ""
        yield "Properties:"
        yield from _properties(found)
    if found["rules"]:
        yield ""
        yield "Templates:"
        yield from _matrix(found)
    if found["unused"]:
        yield ""
        yield f"Used by no rule: {', '.join(map(printable, found['unused']))}"


def styled_lines(lines: Iterable[str], width: int) -> Iterator[Text]:
    """Yield the report of `image info`: bold titles, and a coloured mark for each trigger of a rule."""
    from rich.cells import cell_len
    from rich.text import Text

    from ...styled import wrapped

    table = -1  # the column where the marks of triggers begin if the table is too wide, or -1
    lines = list(lines)
    for number, line in enumerate(lines):
        if line == "Templates:":
            too_wide = max(map(cell_len, lines[number:])) > width
            table = len(lines[number + 1]) - len(lines[number + 1].lstrip()) if too_wide else -1
        shown = Text(printable(line))
        if pair := _PAIR.match(line):
            shown.stylize("bold", 0, pair.end())
            yield from wrapped(shown, width, hanging=pair.end())
        elif line.endswith(":") and not line.startswith(" "):
            yield Text(printable(line), "bold")
        else:
            if table > 0 and line.startswith("  "):
                if line[:table].strip():
                    yield Text(printable(line[:table].rstrip()), "bold")
                shown = Text(f"    {printable(line[table:])}")
            shown.highlight_regex(r"(?<= )x(?= )", "green")
            shown.highlight_regex(r"(?<= )\.(?= )", "dim")
            shown.highlight_regex(r"^ *! ", "yellow")
            yield shown


def _facts(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    kinds = {
        "metadata": "split image, metadata tarball only",
        "split": "split image",
        "unified": "unified image",
        "directory": "directory",
        "instance": "instance directory",
        "definition": "definition, which a build turns into an image",
    }
    yield "Format", kinds[found["layout"]]
    for file in found["files"]:
        yield "File", _file(file)
    yield "Root filesystem", found["rootfs"] or "none"
    yield "Fingerprint", found["fingerprint"] or _no_fingerprint(found["layout"])
    yield (
        "Architecture",
        printable(found["architecture"]) or "missing, so the daemons refuse to import the image",
    )
    yield "Created", date(found["creation_date"]) or "missing, so the daemons refuse to import the image"
    yield "Expires", date(found["expiry_date"]) or "never"


def _no_fingerprint(layout: str) -> str:
    if layout == "metadata":
        return "unknown without the root filesystem: templater image info METADATA ROOTFS"
    return "none: only a packed image has a fingerprint"


def _file(file: dict[str, Any]) -> str:
    packed = "" if file["compression"] == "none" else f", {file['compression']}"
    grown = "" if file["unpacked"] is None else f", {output.size(file['unpacked'])} unpacked"
    members = "" if file["members"] is None else f", {file['members']} members"
    return f"{printable(file['path'])} ({file['kind']}{packed}, {output.size(file['size'])}{grown}{members})"


def _properties(found: dict[str, Any]) -> Iterator[str]:
    properties = found["properties"]
    enforced = set(found["enforced"])
    marks = {name: "!" if name in enforced else " " for name in properties}
    return columns([(f"{marks[name]} {name}", value) for name, value in sorted(properties.items())])


#: maximum number of unknown triggers with a column of their own: an image can have thousands
_MOST_UNKNOWN = 8


def _matrix(found: dict[str, Any]) -> Iterator[str]:
    unknown = list(dict.fromkeys(t for rule in found["rules"] for t in rule["when"] if t not in TRIGGERS))
    triggers = [*TRIGGERS, *unknown[:_MOST_UNKNOWN]]
    rows = [["", *map(printable, triggers), "template", "size", ""]]
    for rule in found["rules"]:
        marks = ["x" if trigger in rule["when"] else "." for trigger in triggers]
        bytes_ = "missing" if rule["size"] is None else output.size(rule["size"])
        once = " ".join(_said(rule))
        rows.append([printable(rule["path"]), *marks, printable(rule["template"]) or "none", bytes_, once])
    for line in columns(rows):
        yield f"  {line}".rstrip()
    if len(unknown) > _MOST_UNKNOWN:
        yield f"  {len(unknown) - _MOST_UNKNOWN} more unknown triggers are not shown"


def _said(rule: dict[str, Any]) -> Iterator[str]:
    if rule["create_only"]:
        yield "create_only"
    for name in ("mode", "uid", "gid"):
        if value := rule[name]:
            yield f"{name}={printable(value)}"


def _pairs(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in pairs:
        yield f"{name + ':':<17}{value}"


def date(seconds: int | None) -> str:
    """Format a time. Return "" if the time is unknown, which means None or 0.

    If the time is out of range, return the number of seconds.
    """
    if not seconds:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
