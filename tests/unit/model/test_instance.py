"""What an instance blots out of texts that go into logs."""

import pytest

from templater.model.instance import Instance, Profile


@pytest.mark.parametrize(
    "key", ["user.db-password", "user.API_TOKEN", "user.my-secret", "cloud-init.user-data", "user.meta-data"]
)
def test_values_of_secret_keys_are_blotted_out(key):
    instance = Instance(config={key: "hunter22\n"})
    assert instance.redacted("got: 'hunter22'") == "got: '[redacted]'"


def test_a_profile_s_secrets_are_blotted_out_too():
    instance = Instance(profiles=(Profile("default", config={"user.password": "hunter22"}),))
    assert instance.redacted("hunter22") == "[redacted]"


def test_a_secret_within_a_longer_one_leaves_nothing_of_it():
    instance = Instance(config={"user.token": "abcd", "user.secret": "xxabcdxx"})
    assert instance.redacted("is xxabcdxx here") == "is [redacted] here"


def test_other_values_and_very_short_ones_are_left():
    instance = Instance(config={"user.site": "berlin", "user.password": "ab"})
    assert instance.redacted("ab berlin") == "ab berlin"
