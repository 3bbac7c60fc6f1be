"""A user's edits of an instance in the page of `watch --web`, and functions that apply these edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...model.errors import UsageError
from ...model.instance import CONTAINER, VIRTUAL_MACHINE, Profile
from ...model.instance_name import require_name

if TYPE_CHECKING:
    from ...model.instance import Instance


@dataclass(frozen=True, slots=True)
class ProfileEdit:
    """A profile with its edited keys. ``is_on`` tells whether the instance uses the profile."""

    name: str
    is_on: bool
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Edits:
    """Edits of one instance. A key with an empty value is removed from the instance.

    ``profiles`` is None if no profile was edited.
    """

    name: str | None = None
    type: str | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    profiles: Sequence[ProfileEdit] | None = None

    def apply(self, instance: Instance, *, with_unused: bool = False) -> Instance:
        """Return the edited instance. If ``with_unused`` is true, keep the profiles that are switched off.

        Raises RefusedError if the name is invalid.
        """
        if self.name is not None:
            require_name(self.name, typed=True)
        known = {profile.name: profile for profile in instance.profiles}
        profiles = instance.profiles
        if self.profiles is not None:
            profiles = tuple(
                Profile(
                    edit.name,
                    _merged(known[edit.name].config if edit.name in known else {}, edit.config),
                    known[edit.name].devices if edit.name in known else {},
                )
                for edit in self.profiles
                if edit.is_on or with_unused
            )
        return instance.replace(
            name=instance.name if self.name is None else self.name,
            type=self.type or instance.type,
            config=_merged(instance.config, self.config),
            profiles=profiles,
        )

    @property
    def unused_profiles(self) -> frozenset[str]:
        return frozenset(edit.name for edit in self.profiles or () if not edit.is_on)

    @property
    def empty_keys(self) -> dict[str, list[str]]:
        """The configuration keys that the user has set to an empty value.

        Each edited profile has a list of keys by its name. The name "" stands for the instance itself.
        """
        found = {"": [key for key, value in self.config.items() if not value]}
        for edit in self.profiles or ():
            found[edit.name] = [key for key, value in edit.config.items() if not value]
        return found


def _merged(config: Mapping[str, str], edited: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in {**config, **edited}.items() if value or key not in edited}


def parse_edits(data: Any) -> Edits:
    """Read edits from the page's JSON. Raises UsageError if the JSON does not have the expected form."""
    given = expect(data, dict)
    kind = given.get("type")
    if kind not in (None, CONTAINER, VIRTUAL_MACHINE):
        raise UsageError("invalid instance type")
    name, profiles = given.get("name"), given.get("profiles")
    if profiles is not None:
        profiles = [_profile(each) for each in expect(profiles, list)]
        if len({profile.name for profile in profiles}) != len(profiles):
            raise UsageError("two profiles have the same name")
    return Edits(None if name is None else expect(name, str), kind, texts(given.get("config", {})), profiles)


def _profile(data: Any) -> ProfileEdit:
    given = expect(data, dict)
    return ProfileEdit(
        expect(given.get("name"), str), expect(given.get("on", True), bool), texts(given.get("config", {}))
    )


def texts(data: Any) -> dict[str, str]:
    return {expect(key, str): expect(value, str) for key, value in expect(data, dict).items() if key}


def expect(value: Any, kind: type) -> Any:
    """Return a value of the page's JSON. Raises UsageError unless its type is ``kind``."""
    if not isinstance(value, kind):
        raise UsageError(f"the page sent {type(value).__name__} instead of {kind.__name__}")
    return value
