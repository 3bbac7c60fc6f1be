"""A template writes a password, a token or a key into a file that every user of the instance can read.

A rule without `mode` gives the file the mode 0644, with which every user can read the file. Set the mode in
the rule:

    mode: 0600

LXD ignores the mode of a rule. On LXD, every user can still read the file.

The daemon keeps the mode of an existing file. If the root filesystem contains the file, give this file the
mode 0600. If several rules write the file, set the mode in each rule.

In a definition, no field sets the mode of a rule. Use an entry with the generator `dump` to create the file
with the right mode.

In a virtual machine, the agent of LXD 6.8 and later sets the mode of every file to 0644. No mode in the image
can change that.

A template can also reveal a secret without printing the secret: conditions about the secret can print
different texts. The check reports conditions in these cases:

* A condition compares the secret with a variable, or with a value that a loop sets.
* The templates of the image contain more than eight different conditions about the secret.

The check ignores a condition that tests only whether the secret is set.
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
