"""The form of `watch --web` in which the user edits an instance: its name, type, keys and profiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ..model.hosts import HOSTS
from ..model.instance import CONTAINER, VIRTUAL_MACHINE
from ..model.unprintable_characters import printable_lines
from ..pongo2.dialect import DIALECTS
from ..pongo2.names_read import config_keys
from .html import Html, element

if TYPE_CHECKING:
    from ..model.instance import Instance
    from .distinct_results import Column

#: keys that a daemon sets, which the form shows folded
_DAEMON: Final = ("volatile.", "image.")
#: the maximum number of lines of a field
_ROWS: Final = 12
#: a value with more characters than this cannot be edited in the page
_LONGEST: Final = 200_000


def instance_form(
    given: Instance,
    shown: Instance,
    off: Iterable[str],
    read: Iterable[str],
    extra: Mapping[str, Iterable[str]],
) -> Html:
    """Return the form in which a user edits an instance.

    * ``given``: the instance as its files describe it
    * ``shown``: the edited instance, with all profiles
    * ``off``: the names of the profiles that the user has switched off
    * ``read``: the keys that templates read
    * ``extra``: the keys that the user has added without a value, by profile ("" for the instance)
    """
    read = sorted(read)
    types = [
        element("option", name.replace("-", " "), value=name, selected=shown.type == name)
        for name in (CONTAINER, VIRTUAL_MACHINE)
    ]
    fields = [
        _field("Name", element("input", id="name", value=shown.name, autocomplete="off", spellcheck="false")),
        _field("Type", element("select", *types, id="type")),
    ]
    keys = {**dict.fromkeys([*extra.get("", ()), *read], ""), **given.config, **shown.config}
    keys |= dict.fromkeys(given.config.keys() - shown.config.keys(), "")
    inherited = shown.expanded_config()
    rows: dict[str, list[Html]] = {"read": [], "other": [], "daemon": []}
    for key in sorted(keys):
        group = "read" if key in read else "daemon" if key.startswith(_DAEMON) else "other"
        rows[group].append(_key(key, "", keys[key], given.config, inherited.get(key)))
    children = [element("div", *fields, class_="fields")]
    if rows["read"]:
        children += [element("h3", "Keys that templates read"), *rows["read"]]
    children += [element("h3", "Other keys"), *rows["other"], _add("")]
    if rows["daemon"]:
        summary = element("summary", f"Keys that a daemon sets ({len(rows['daemon'])})")
        children.append(element("details", summary, *rows["daemon"], class_="daemon"))
    hidden = frozenset(off)
    originals = {profile.name: profile.config for profile in given.profiles}
    children.append(element("h3", "Profiles"))
    if not shown.profiles:
        children.append(element("p", "None. Later profiles override earlier ones.", class_="note"))
    for number, profile in enumerate(shown.profiles):
        original = originals.get(profile.name, {})
        names = {**dict.fromkeys(extra.get(profile.name, ()), ""), **original, **profile.config}
        names |= dict.fromkeys(original.keys() - profile.config.keys(), "")
        children.append(
            element(
                "fieldset",
                element("legend", *_profile_title(profile.name, number, profile.name not in hidden)),
                *(_key(key, profile.name, names[key], original, None) for key in sorted(names)),
                _add(profile.name),
                class_="off" if profile.name in hidden else None,
            )
        )
    children.append(_add_profile())
    children.append(element("datalist", *(element("option", value=key) for key in read), id="read-keys"))
    return element("div", *children)


def keys_of_templates(run: Column) -> set[str]:
    """Return the keys that the templates of a run read, without the keys of an invalid template."""
    dialect = DIALECTS[HOSTS[run.host].dialect]
    return {key for source in run.sources.values() for key in config_keys(source, dialect)}


def place_of(*names: str) -> str:
    """Return the HTML id of the form element with these ``names``, such as its kind, profile and key.

    The function ``placeOf`` of form.js returns the same id for the same names.
    """
    return ":".join(quote(name, safe="!'()*", errors="replace") for name in names)


def _profile_title(name: str, number: int, is_on: bool) -> Iterator[Html]:
    box = element("input", type="checkbox", data_apply=name, checked=is_on, id=place_of("apply", name))
    yield element("label", box, f" {name}")
    if number:
        yield element(
            "button", "↑", type="button", data_raise=name, id=place_of("raise", name),
            aria_label=f"Apply profile {name} earlier", title="Apply earlier",
        )  # fmt: skip


def _field(name: str, control: Html) -> Html:
    return element("label", element("span", name), control)


def _key(key: str, profile: str, value: str, given: Mapping[str, str], inherited: str | None) -> Html:
    """Return the field of a key. An empty field means that the key is not set, as in the daemons."""
    is_plain = printable_lines(value) == value and len(value) <= _LONGEST
    place = place_of("key", profile, key)
    words = "" if value == given.get(key, "") else "edited"
    rows = min(value.count("\n") + 1, _ROWS)
    hint = "not set" if inherited is None or value else "from a profile"
    # The parser drops a newline at the start of a text area.
    field = element(
        "textarea", f"\n{value[:_LONGEST]}", id=place, rows=str(rows), data_key=key, data_profile=profile,
        placeholder=hint, readonly=not is_plain, spellcheck="false", autocomplete="off",
    )  # fmt: skip
    label = element("label", element("code", key), for_=place)
    return element(
        "div",
        label,
        element("small", words if is_plain else "can't be edited on this page"),
        field,
        class_="key",
    )


def _add(profile: str) -> Html:
    place = place_of("add", profile)
    return element(
        "div",
        element(
            "input", id=place, list="read-keys", placeholder="user.example", data_add=profile,
            autocomplete="off", spellcheck="false",
            aria_label=f"New key of profile {profile}" if profile else "New key",
        ),
        element("button", "Add key", type="button", data_add_for=place),
        class_="add",
    )  # fmt: skip


def _add_profile() -> Html:
    field = element(
        "input", id="add-profile", placeholder="profile", data_add_profile=True, autocomplete="off",
        spellcheck="false", aria_label="New profile",
    )  # fmt: skip
    return element(
        "div",
        field,
        element("button", "Add profile", type="button", data_add_for="add-profile"),
        class_="add",
    )
