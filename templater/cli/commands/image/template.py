"""``templater image template``: list, show, create, edit and delete an image's templates."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ....model.errors import InputError, RefusedError, TemplaterError, UsageError, reason
from ....model.file_names import METADATA
from ....model.metadata import TRIGGERS
from ....model.unprintable_characters import printable
from ....rootfs.trusted_paths import open_file
from ... import completers, options, output
from ...enforce_limits import guarded_alone
from ...output import size
from ...save_image_edits import metadata_of, open_once, rootfs_option, save
from ...text_editor import in_editor

if TYPE_CHECKING:
    from ....model.metadata import Metadata, Rule

HELP = """List, show, create, edit and delete an image's templates.

The commands also change the templates' rules in metadata.yaml.

SRC is a directory or a tarball. In a tarball, the commands change only templates and metadata.yaml.
"""

name_argument = click.argument("name", metavar="TEMPLATE", shell_complete=completers.templates)
from_option = click.option(
    "--from",
    "file",
    metavar="FILE",
    help="File with the text of the template.",
    shell_complete=completers.files,
)


@click.group(help=HELP)
def command() -> None:
    pass


def rule_options(function: Any) -> Any:
    """Add the options for all fields of a rule except path and template."""
    return options.decorate(
        click.option(
            "--when",
            multiple=True,
            metavar="TRIGGER,…",
            help=f"{', '.join(TRIGGERS)}.",
            shell_complete=completers.list_of(TRIGGERS),
        ),
        click.option(
            "--create-only/--no-create-only", default=None, help="Do not overwrite an existing file."
        ),
        click.option("--mode", metavar="MODE", help="Permissions of a new file, e.g. 0644."),
        click.option("--uid", metavar="N", help="Owner of a new file."),
        click.option("--gid", metavar="N", help="Group of a new file."),
    )(function)


@command.command("list", help="List the templates, their sizes and targets.")
@options.source_argument
@options.json_option
@guarded_alone
def list_(src: str, as_json: bool) -> None:
    from ....image.open_image import open_image

    image = open_image(src)
    files = image.read_to_end()
    rules: dict[str, list[dict[str, Any]]] = {}
    for rule in _metadata(src).rules:
        rules.setdefault(rule.template, []).append(_rule_data(rule))
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "size": file.entry.size if file.entry is not None else 0,
            "rules": rules.get(name, []),
        }
        for name, file in sorted(files.items())
    ]
    if as_json:
        output.write_json(rows)
        return
    for row in rows:
        where = "; ".join(map(_rule_text, row["rules"]))
        output.write(f"{printable(row['name'])}  {size(row['size'])}  {where or 'no rule'}\n")


def _rule_data(rule: Rule) -> dict[str, Any]:
    """Return a rule with the field names of metadata.yaml. Fields without a value are empty."""
    return {
        "path": rule.path,
        "when": list(rule.when),
        "create_only": rule.create_only,
        "mode": rule.mode,
        "uid": rule.uid,
        "gid": rule.gid,
    }


def _rule_text(rule: dict[str, Any]) -> str:
    facts = [", ".join(map(printable, rule["when"]))]
    if rule["create_only"]:
        facts.append("create_only")
    facts += [f"{name} {printable(rule[name])}" for name in ("mode", "uid", "gid") if rule[name]]
    return f"{printable(rule['path'])} ({'; '.join(facts)})"


@command.command(help="Print a template.")
@options.source_argument
@name_argument
@guarded_alone
def show(src: str, name: str) -> None:
    output.write(_read(src, name).decode("utf-8", "surrogateescape"))


@command.command(
    help="""Create a template and the rule that uses it.

The text comes from --from FILE, from standard input, or from an editor.

\b
Example:
  templater image template create ./image motd.tpl /etc/motd --when start
"""
)
@options.source_argument
@name_argument
@click.argument("path", metavar="PATH")
@from_option
@rule_options
@rootfs_option
@options.json_option
@guarded_alone
def create(
    src: str,
    name: str,
    path: str,
    file: str | None,
    rootfs: str | None,
    as_json: bool,
    **fields: Any,
) -> None:
    from ....image.metadata_edit import NewRule, add_rule
    from ....image.open_image import open_image
    from ....planning.follow_links import clean

    if not path.strip("/"):
        raise UsageError(f"invalid file path '{path}'", hint="PATH is the file to write, such as /etc/motd")
    clean(path)  # if no host accepts the path, report that now, and not at the first start
    answer = open_image(src).read_templates([name])[name]
    if answer.error is not None:
        raise answer.error
    if answer.entry is not None:
        raise UsageError(
            f"the template '{printable(name)}' exists already",
            hint="to change it, run: templater image template edit",
        )
    when = _triggers(fields["when"])
    if not when:
        raise UsageError(
            "a rule without --when never runs", hint=f"for example: --when {','.join(TRIGGERS[:3])}"
        )
    rule = NewRule(
        path,
        name,
        when,
        bool(fields["create_only"]),
        fields["uid"] or "",
        fields["gid"] or "",
        fields["mode"] or "",
    )
    _check(rule.uid, rule.gid, rule.mode)
    src = open_once(src)
    source = add_rule(metadata_of(src), rule)
    data = _text(b"", file)
    _warn(src, name, data)
    save(src, {METADATA: source.data}, {f"templates/{name}": data}, rootfs=rootfs, as_json=as_json)


@command.command(
    help="""Change a template's text, or its rules.

Options such as --when change the template's rules, but not the text. Without these options, the new text
comes from --from FILE, from standard input, or from an editor.
"""
)
@options.source_argument
@name_argument
@from_option
@click.option(
    "--path",
    metavar="PATH",
    help="Change only the rule for this target path.",
    shell_complete=completers.paths,
)
@rule_options
@rootfs_option
@options.json_option
@guarded_alone
def edit(
    src: str,
    name: str,
    file: str | None,
    path: str | None,
    rootfs: str | None,
    as_json: bool,
    **fields: Any,
) -> None:
    src = open_once(src)
    before = _read(src, name)
    changes: dict[str, bytes | None] = {}
    wanted = _fields(fields)
    if wanted:
        changes[METADATA] = _changed_rules(src, name, path, wanted)
    if file is not None or not wanted:
        text = _text(before, file)
        _warn(src, name, text)
        changes[f"templates/{name}"] = text
    if changes.get(f"templates/{name}", b"") == before and not wanted:
        output.say("nothing changed")
        return
    save(src, changes, rootfs=rootfs, as_json=as_json)


@command.command(help="Delete a template and the rules that use it.")
@options.source_argument
@name_argument
@click.option("--force", is_flag=True, help="Delete the template even if several rules use it.")
@rootfs_option
@options.json_option
@guarded_alone
def delete(src: str, name: str, force: bool, rootfs: str | None, as_json: bool) -> None:
    from ....image.metadata_edit import refuse_many, remove_rule
    from ....image.yaml_positions import one_account

    src = open_once(src)
    _read(src, name)
    source = metadata_of(src)
    paths = [rule.path for rule in _metadata(src).rules if rule.template == name]
    if len(paths) > 1 and not force:
        raise RefusedError(
            f"{len(paths)} rules use '{printable(name)}': {', '.join(map(printable, paths))}",
            hint="add --force to delete the template and all its rules",
        )
    refuse_many(source, len(paths))
    changes: dict[str, bytes | None] = {f"templates/{name}": None}
    with one_account():
        for path in dict.fromkeys(paths):
            source = remove_rule(source, path)
            changes[METADATA] = source.data
    save(src, changes, rootfs=rootfs, as_json=as_json)


def _metadata(src: str) -> Metadata:
    from ....parsing.metadata_yaml import read_metadata

    return read_metadata(metadata_of(src))


def _read(src: str, name: str) -> bytes:
    from ....image.open_image import open_image

    answer = open_image(src).read_templates([name])[name]
    if answer.error is not None:
        raise answer.error
    if answer.data is None:
        raise InputError(
            f"'{src}' has no template '{printable(name)}'",
            hint=f"to list the templates, run: templater image template list {src}",
        )
    return answer.data


def _changed_rules(src: str, name: str, path: str | None, fields: dict[str, Any]) -> bytes:
    from ....image.metadata_edit import change_rule, refuse_many
    from ....image.yaml_positions import one_account

    source = metadata_of(src)
    paths = [
        rule.path for rule in _metadata(src).rules if rule.template == name and path in (None, rule.path)
    ]
    if not paths:
        raise UsageError(f"no rule uses '{printable(name)}'" + (f" for '{printable(path)}'" if path else ""))
    refuse_many(source, len(paths) * len(fields))
    with one_account():
        for each in dict.fromkeys(paths):
            source = change_rule(source, each, fields)
    return source.data


def _fields(options_: dict[str, Any]) -> dict[str, Any]:
    fields = {
        name: options_[name] for name in ("create_only", "mode", "uid", "gid") if options_[name] is not None
    }
    when = _triggers(options_["when"])
    if when:
        fields["when"] = when
    _check(fields.get("uid", ""), fields.get("gid", ""), fields.get("mode", ""))
    return fields


def _triggers(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words in the values of an option. Raises UsageError if a word is not a trigger."""
    triggers = tuple(part for value in values for part in value.split(",") if part)
    for trigger in triggers:
        if trigger not in TRIGGERS:
            raise UsageError(f"unknown trigger '{trigger}'", hint=f"use one of {', '.join(TRIGGERS)}")
    return triggers


def _check(uid: str, gid: str, mode: str) -> None:
    for what, value in (("uid", uid), ("gid", gid)):
        if value and not (value.isascii() and value.isdigit() and len(value) < 11 and int(value) < 2**32 - 1):
            raise UsageError(f"'{value}' is not a {what}")
    octal = set(mode) <= set("01234567")
    if octal and len(mode) == 4 and mode[0] != "0":
        raise UsageError(
            f"the daemons read mode '{mode}' as decimal, because it has four digits and no leading 0",
            hint="a rule can set permissions such as 0755, but not the setuid, setgid or sticky bit",
        )
    if mode and not (octal and len(mode) in (3, 4)):
        raise UsageError(f"invalid mode '{printable(mode)}'", hint="use three octal digits, e.g. 0644")


def _warn(src: str, name: str, data: bytes) -> None:
    """Warn if the daemons can't compile the template, because then a start would fail."""
    from ....model.hosts import INCUS
    from ....model.source import Source
    from ....pongo2 import compile
    from ....pongo2.dialect import DIALECTS

    try:
        compile(Source(f"{src}/templates/{name}", data), DIALECTS[INCUS.dialect])
    except TemplaterError as error:
        output.say(f"warning: {error.explain()}")


def _text(before: bytes, file: str | None) -> bytes:
    if file is not None:
        try:
            with open(open_file(file), "rb") as source:
                return source.read()
        except OSError as error:
            raise InputError(f"'{file}' can't be read: {reason(error)}") from error
    if not sys.stdin.isatty():
        data = sys.stdin.buffer.read()
        if not data:
            raise UsageError("standard input is empty", hint="use --from /dev/null for an empty template")
        return data
    edited = in_editor(before, ".tpl")
    if edited is None:
        raise UsageError("the editor saved nothing: the image is unchanged")
    return edited
