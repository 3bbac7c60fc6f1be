"""A template writes a password, a token or a key into a file that every user of the instance can read.

A rule without `mode` gives a new file the mode 0644. Set the mode in each rule that writes the file:

    mode: 0600

* The daemon keeps the mode of an existing file. If the root filesystem contains the file, give this file the
  mode 0600.
* In a definition, no field sets the mode of a rule. Create the file by an entry with the generator `dump`.
* LXD ignores the mode of a rule: on LXD, every user can read a new file.
* In a virtual machine, the agent of LXD 6.8 and later always sets the mode 0644.

Conditions that print different texts can also reveal a secret. The check ignores a condition that tests only
whether the secret is set. The check reports other conditions in these cases:

* A condition compares the secret with a variable, or with a value that a loop sets.
* The templates of the image contain more than eight different conditions about the secret.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..maps_and_computed_keys import COMPUTED
from ..rule_hints import hint_of_mode
from ..secret_conditions import Tests
from ..security.secrets import TESTED, secrets_of

#: a key whose name contains one of these words is not a secret
PUBLIC = ("public", "pubkey", "pub-key", "authorized", "fingerprint", "url", "file", "path", "ttl", "name")


@check("readable-secret", "warning", "a secret in a file that every user can read")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    tests: Tests = {}
    for template in image.parsed:
        readable = [rule for rule in template.rules if image.can_read(rule)]
        for key in secrets_of(template.source, tests) if readable else ():
            if (
                key.kind != COMPUTED
                and not any(word in key.value.lower() for word in PUBLIC)
                and "." in key.value
            ):
                verb = "revealed by conditions in" if key.kind == TESTED else "written to"
                yield Observation(
                    f"'{printable(key.value)}' is {verb} '{printable(readable[0].path)}',"
                    f" which every user can read (mode {image.file_mode(readable[0]):04o})",
                    template.source.span(key.start, key.end),
                    hint_of_mode(image, readable[0]),
                    rule=readable[0],
                )
