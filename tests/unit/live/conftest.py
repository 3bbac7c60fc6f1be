"""Recorded daemons for the tests of this folder."""

from tests.recorded_daemon import incus, lxd  # noqa: F401
