"""What is known about the merged keys of an instance whose profiles are known only in part."""

import json

import pytest

from templater.model.instance import EXPANDED_PROFILE, Profile
from templater.model.source import Source
from templater.parsing.instance_description import read_instance

OWN = {"name": "a", "config": {"user.a": "1"}, "devices": {}, "profiles": ["p", "q"]}
MERGED = {
    "expanded_config": {"user.a": "1", "user.b": "2"},
    "expanded_devices": {"root": {"type": "disk", "path": "/", "pool": "d"}},
}
P, Q = Profile("p", {"user.b": "2"}, {}), Profile("q", {}, {})


@pytest.mark.parametrize(
    ("description", "options", "profiles", "facts"),
    [
        ({**OWN, **MERGED}, {}, [], (("p", "q"), {"user.a"}, set())),
        (OWN, {"expanded": True}, [], (("p", "q"), None, None)),
        ({**OWN, **MERGED}, {"profiles": (Q,)}, [EXPANDED_PROFILE, "q"], (("p",), {"user.a"}, set())),
        ({**OWN, **MERGED}, {"profiles": (P, Q)}, ["p", "q"], None),
        (OWN, {"profiles": (P, Q)}, ["p", "q"], None),
        ({**OWN, "profiles": []}, {}, [], None),
    ],
)
def test_merged_keys_are_attributed_only_to_profiles_with_unknown_contents(
    description, options, profiles, facts
):
    instance = read_instance(Source("i", json.dumps(description)), **options)
    assert [profile.name for profile in instance.profiles] == profiles
    found = instance.expanded
    assert (None if found is None else (found.profiles, found.config, found.devices)) == facts
