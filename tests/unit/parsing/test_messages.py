"""The message, the position and the hint of each mistake in metadata.yaml, instances, profiles and names."""

import pytest

from templater.model.errors import RefusedError, TemplaterError, UsageError
from templater.model.instance_name import require_name
from templater.model.source import Source
from templater.parsing import yaml_nodes
from templater.parsing.file_kind import HEAD, describe, hint_for, recognise
from templater.parsing.instance_description import overridden, read_instance, read_profile
from templater.parsing.metadata_yaml import read_metadata
from templater.simulation.simulated_instance import Life

#: the text, the position, the message, the hint
INSTANCES = [
    ("- 1\n", "1:3", "0: an instance must be a mapping, not text", ""),
    ("a", "1:1", "an instance must be a mapping, not text", ""),
    ("templates: {}\n", "1:1", "this is an image's metadata.yaml, not an instance", "pass the image as SRC"),
    ("creation_date: 1\n", "1:1", "this is an image's metadata.yaml, not an instance", "pass the image as SRC"),
    ("used_by: []\nname: a\n", "1:1", "this is a profile, not an instance", "pass a profile with -p"),
    ("services: {}\n", "1:1", "this looks like a Compose file: none of the keys belongs to an instance: 'services'", "pass the output of `incus config show NAME` or `incus list -f json`"),
    ("apiVersion: v1\n", "1:1", "this looks like a Kubernetes object: none of the keys belongs to an instance: 'apiVersion'", "pass the output of `incus config show NAME` or `incus list -f json`"),
    ("network: {}\n", "1:1", "this looks like a netplan file: none of the keys belongs to an instance: 'network'", "pass the output of `incus config show NAME` or `incus list -f json`"),
    ("packages: []\n", "1:1", "this looks like cloud-init user-data: none of the keys belongs to an instance: 'packages'", "pass the output of `incus config show NAME` or `incus list -f json`"),
    ("a: 1\nb: 2\nc: 3\nd: 4\ne: 5\n", "1:1", "none of the keys belongs to an instance: 'a', 'b', 'c', 'd', 'e'", "pass the output of `incus config show NAME` or `incus list -f json`"),
    ("a: 1\nb: 2\nc: 3\nd: 4\ne: 5\nf: 6\n", "1:1", "none of the keys belongs to an instance: 'a', 'b', 'c', 'd', 'e' and 1 more", "pass the output of `incus config show NAME` or `incus list -f json`"),
    ("nmae: web\n", "1:1", "none of the keys belongs to an instance: 'nmae'; did you mean 'name'?", "pass the output of `incus config show NAME` or `incus list -f json`"),
    ("config: a\n", "1:9", "config: must be a mapping of keys, not text", ""),
    ("config: []\n", "1:9", "config: must be a mapping of keys, not a list", ""),
    ("config: {a: []}\n", "1:13", "config.a: must be text, not a list", "start a text of several lines with '|'"),
    ("config: {a: {}}\n", "1:13", "config.a: must be text, not a mapping", "start a text of several lines with '|'"),
    ("devices: []\n", "1:10", "devices: must be a mapping of devices, not a list", ""),
    ("devices: {a: 1}\n", "1:14", "devices.a: must be a mapping of keys, not text", ""),
    ("devices: {a: {b: []}}\n", "1:18", "devices.a.b: must be text, not a list", "start a text of several lines with '|'"),
    ("profiles: a\n", "1:11", "profiles: must be a list of profiles, not text", ""),
    ("profiles: {}\n", "1:11", "profiles: must be a list of profiles, not a mapping", ""),
    ("profiles: [[]]\n", "1:12", "profiles.0: must be text, not a list", "start a text of several lines with '|'"),
    ("profiles: [default]\nname: a\n", "1:11", "profiles: the contents of 'default' were not given", "give the profiles with -p, or add --expanded if `config show --expanded` printed the description; `incus list NAME -f json` prints an instance with its profiles expanded"),
    ("name: []\n", "1:7", "name: must be text, not a list", "start a text of several lines with '|'"),
    ("type: vmm\nname: a\n", "1:7", "type: unknown instance type 'vmm'", "use the type container or virtual-machine"),
    ("instance: {name: a}\nprofiles: 1\n", "2:11", "profiles: must be a list of profiles, not text", ""),
    ("instance: {name: a}\nprofiles: [1]\n", "2:12", "profiles.0: a profile must be a mapping, not text", ""),
    ("instance: {name: a}\nprofiles: [{templates: {}}]\n", "2:12", "profiles.0: this is an image's metadata.yaml, not a profile", "pass the image as SRC"),
    ("container: {name: a}\nprofiles: [{name: []}]\n", "2:19", "profiles.0.name: must be text, not a list", "start a text of several lines with '|'"),
    ("backend: dir\npool: a\n", "1:1", "this index.yaml comes from an old release and does not describe the instance", "pass the backup itself as SRC, or its backup.yaml with -i"),
    ("{", "1:2", "not JSON: expecting property name enclosed in double quotes", ""),
    ('{"a": ]}', "1:7", "not JSON: expecting value", ""),
    ('[{"name": "a"}, {"name": "b"}]', "1:1", "the file describes 2 instances", "append #NAME to the file name to select one of 'a', 'b'"),
    ("name: a\nephemeral: [1]\n", "2:12", "ephemeral: must be text, not a list", "start a text of several lines with '|'"),
]  # fmt: skip

#: the text, the position, the message, the hint
PROFILES = [
    ("- 1\n", "1:1", "a profile must be a mapping, not a list", ""),
    ("templates: {}\n", "1:1", "this is an image's metadata.yaml, not a profile", "pass the image as SRC"),
    ("creation_date: 1\n", "1:1", "this is an image's metadata.yaml, not a profile", "pass the image as SRC"),
    ("config: 1\n", "1:9", "config: must be a mapping of keys, not text", ""),
    ("name: []\n", "1:7", "name: must be text, not a list", "start a text of several lines with '|'"),
    ("devices: {a: [b]}\n", "1:14", "devices.a: must be a mapping of keys, not a list", ""),
]  # fmt: skip

#: the text, the position, the message, the hint, the notes, and the error texts of yaml.v2 and yaml.v4
METADATA = [
    ("- a\n", "1:1", "metadata.yaml must be a mapping", "", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into api.ImageMetadata", "yaml: construct errors: line 1: cannot construct !!seq into api.ImageMetadata"),
    ("a", "1:1", "metadata.yaml must be a mapping", "", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `a` into api.ImageMetadata", "yaml: construct errors: line 1: cannot construct !!str `a` into api.ImageMetadata"),
    ("templates: []\n", "1:12", "'templates' must be a mapping", "", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into map[string]*api.ImageMetadataTemplate", "yaml: construct errors: line 1: cannot construct !!seq into map[string]*api.ImageMetadataTemplate"),
    ("templates: {/a: []}\n", "1:17", "the rule for '/a' must be a mapping", "write 'template:' and 'when:' under the path", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into api.ImageMetadataTemplate", "yaml: construct errors: line 1: cannot construct !!seq into api.ImageMetadataTemplate"),
    ("templates: {/a: b}\n", "1:17", "the rule for '/a' must be a mapping", "write 'template:' and 'when:' under the path", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `b` into api.ImageMetadataTemplate", "yaml: construct errors: line 1: cannot construct !!str `b` into api.ImageMetadataTemplate"),
    ("templates: {/a: {when: start}}\n", "1:24", "'when' must be a list", "write the value as [start]", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `start` into []string", "yaml: construct errors: line 1: cannot construct !!str `start` into []string"),
    ("templates: {/a: {when: {}}}\n", "1:24", "'when' must be a list", "write the value as […]", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!map into []string", "yaml: construct errors: line 1: cannot construct !!map into []string"),
    ("templates: {/a: {when: [[]]}}\n", "1:25", "an item of 'when' must be text, not a sequence", "write a single text; quote it if it begins with '[' or '{'", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into string", "yaml: construct errors: line 1: cannot construct !!seq into string"),
    ("templates: {/a: {template: []}}\n", "1:28", "'template' must be text, not a sequence", "write a single text; quote it if it begins with '[' or '{'", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into string", "yaml: construct errors: line 1: cannot construct !!seq into string"),
    ("templates: {/a: {template: {}}}\n", "1:28", "'template' must be text, not a mapping", "write a single text; quote it if it begins with '[' or '{'", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!map into string", "yaml: construct errors: line 1: cannot construct !!map into string"),
    ("templates: {/a: {create_only: 'yes'}}\n", "1:31", "'create_only' must be true or false", "write true or false, without quotes", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `yes` into bool", None),
    ("templates: {/a: {create_only: 1}}\n", "1:31", "'create_only' must be true or false", "write true or false, without quotes", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!int `1` into bool", "yaml: construct errors: line 1: cannot construct !!int `1` into bool"),
    ("templates: {/a: {properties: []}}\n", "1:30", "'properties' must be a mapping", "", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into map[string]string", "yaml: construct errors: line 1: cannot construct !!seq into map[string]string"),
    ("templates: {/a: {properties: {a: []}}}\n", "1:34", "property 'a' must be text, not a sequence", "write a single text; quote it if it begins with '[' or '{'", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into string", "yaml: construct errors: line 1: cannot construct !!seq into string"),
    ("templates: {/a: {mode: []}}\n", "1:24", "'mode' must be text, not a sequence", "write a single text; quote it if it begins with '[' or '{'", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into string", "yaml: construct errors: line 1: cannot construct !!seq into string"),
    ("templates: {[a]: {}}\n", "1:13", "a key must be text, not a sequence", "write a single text; quote it if it begins with '[' or '{'", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into string", "yaml: construct errors: line 1: cannot construct !!seq into string"),
    ("templates: {/a: {<<: b}}\n", "1:22", "'<<' needs a mapping or a list of mappings", "write an alias: '<<: *name'", "", "yaml: map merge requires map or sequence of maps as the value", "yaml: map merge requires map or sequence of maps as the value"),
    ("x: &x [{a: b}]\nproperties: {<<: *x}\n", "2:14", "'<<' needs a mapping or a list of mappings", "write the list itself, not an alias of it", "", "yaml: map merge requires map or sequence of maps as the value", "yaml: map merge requires map or sequence of maps as the value"),
    ("architecture: []\n", "1:15", "'architecture' must be text, not a sequence", "write a single text; quote it if it begins with '[' or '{'", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into string", "yaml: construct errors: line 1: cannot construct !!seq into string"),
    ("creation_date: a\n", "1:16", "'creation_date' must be a number", "write seconds since 1970-01-01, as 'date +%s' prints them", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `a` into int64", "yaml: construct errors: line 1: cannot construct !!str `a` into int64"),
    ("creation_date: 9223372036854775808\n", "1:16", "'creation_date' must be a number", "write seconds since 1970-01-01, as 'date +%s' prints them", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!int `9223372...` into int64", "yaml: construct errors: line 1: cannot construct !!int `9223372...` into int64"),
    ("creation_date: true\n", "1:16", "'creation_date' must be a number", "write seconds since 1970-01-01, as 'date +%s' prints them", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!bool `true` into int64", "yaml: construct errors: line 1: cannot construct !!bool `true` into int64"),
    ("expiry_date: [1]\n", "1:14", "'expiry_date' must be a number", "write seconds since 1970-01-01, as 'date +%s' prints them", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into int64", "yaml: construct errors: line 1: cannot construct !!seq into int64"),
    ("properties: a\n", "1:13", "'properties' must be a mapping", "", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `a` into map[string]string", "yaml: construct errors: line 1: cannot construct !!str `a` into map[string]string"),
    ("properties: {a: [b]}\n", "1:17", "property 'a' must be text, not a sequence", "write a single text; quote it if it begins with '[' or '{'", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into string", "yaml: construct errors: line 1: cannot construct !!seq into string"),
    ("properties: {a: !!int b}\n", "1:17", "'b' does not match its tag '!!int'", "remove the tag '!!int'", "", "yaml: cannot decode !!str `b` as a !!int", "yaml: cannot construct !!str `b` as a !!int"),
    ("properties: {a: !!float b}\n", "1:17", "'b' does not match its tag '!!float'", "remove the tag '!!float'", "", "yaml: cannot decode !!str `b` as a !!float", "yaml: cannot construct !!str `b` as a !!float"),
    ("properties: {a: !!python/name:os b}\n", "1:17", "tag '!!python/name:os' is not allowed", "remove the tag: the value does not need it", "", "", ""),
    ("properties: {a: *b}\n", "1:17", "unknown anchor 'b'", "define an anchor with '&'", "", "yaml: unknown anchor 'b' referenced", "yaml: unknown anchor 'b' referenced"),
    ("x: &a 1\nproperties: {a: *b}\n", "2:17", "unknown anchor 'b'", "define an anchor with '&'; known anchors: a", "", "yaml: unknown anchor 'b' referenced", "yaml: unknown anchor 'b' referenced"),
    ("properties: &a {a: *a}\n", "1:20", "anchor 'a' contains itself", "", "", "", ""),
    ('properties: {a: "\\/"}\n', "1:18", "unknown escape '\\/'", "", "", "yaml: found unknown escape character", "go-yaml load error in scanner (while scanning a quoted scalar) at L1.C17-C18: found unknown escape character"),
    ("properties:\n\ta: b\n", "2:1", "invalid YAML: found character that cannot start any token, while scanning for the next token", "indent with spaces: YAML does not allow a tab here", "", "yaml: line 2: found character that cannot start any token", "go-yaml load error in scanner (while scanning for the next token) at L2.C1: found character that cannot start any token"),
    ("a: @b\n", "1:4", "invalid YAML: found character that cannot start any token, while scanning for the next token", "quote the value", "", "yaml: found character that cannot start any token", "go-yaml load error in scanner (while scanning for the next token) at L1.C4: found character that cannot start any token"),
    ("a: `b\n", "1:4", "invalid YAML: found character that cannot start any token, while scanning for the next token", "quote the value", "", "yaml: found character that cannot start any token", "go-yaml load error in scanner (while scanning for the next token) at L1.C4: found character that cannot start any token"),
    ("a: %b\n", "1:4", "invalid YAML: found character that cannot start any token, while scanning for the next token", "quote the value", "", "yaml: found character that cannot start any token", "go-yaml load error in scanner (while scanning for the next token) at L1.C4: found character that cannot start any token"),
    ("a: [b\n", "2:1", "invalid YAML: did not find expected ',' or ']', while parsing a flow sequence", "", "the element with the error begins in line 1", "yaml: line 1: did not find expected ',' or ']'", "go-yaml load error in parser (while parsing a flow sequence) at L2.C1: did not find expected ',' or ']'"),
    ("a: {b\n", "2:1", "invalid YAML: did not find expected ',' or '}', while parsing a flow mapping", "", "the element with the error begins in line 1", "yaml: line 1: did not find expected ',' or '}'", "go-yaml load error in parser (while parsing a flow mapping) at L2.C1: did not find expected ',' or '}'"),
    ("a: 'b\n", "2:1", "invalid YAML: found unexpected end of stream, while scanning a quoted scalar", "", "the element with the error begins in line 1", "yaml: line 2: found unexpected end of stream", "go-yaml load error in scanner (while scanning a quoted scalar) at L2.C1: found unexpected end of stream"),
    ('a: "b\n', "2:1", "invalid YAML: found unexpected end of stream, while scanning a quoted scalar", "", "the element with the error begins in line 1", "yaml: line 2: found unexpected end of stream", "go-yaml load error in scanner (while scanning a quoted scalar) at L2.C1: found unexpected end of stream"),
    ("a: b: c\n", "1:5", "invalid YAML: mapping values are not allowed in this context", "", "", "yaml: mapping values are not allowed in this context", "go-yaml load error in scanner at L1.C5: mapping values are not allowed in this context"),
    ("a\nb: c\n", "2:2", "invalid YAML: mapping values are not allowed in this context", "", "", "yaml: line 2: mapping values are not allowed in this context", "go-yaml load error in scanner at L2.C2: mapping values are not allowed in this context"),
    ("- a\nb: c\n", "2:1", "invalid YAML: did not find expected '-' indicator, while parsing a block collection", "", "the element with the error begins in line 1", "yaml: line 1: did not find expected '-' indicator", "go-yaml load error in parser (while parsing a block collection) at L2.C1: did not find expected '-' indicator"),
    ("a: |x\n", "1:5", "invalid YAML: did not find expected comment or line break, while scanning a block scalar", "", "", "yaml: did not find expected comment or line break", "go-yaml load error in scanner (while scanning a block scalar) at L1.C5: did not find expected comment or line break"),
    ("a: \x07\n", "1:4", "control character U+0007 is not allowed in YAML", "write the character as an escape sequence inside double quotes", "", "", ""),
    ("%YAML 1.2\n---\na: b\n", "1:1", "the daemons read only YAML 1.1", "", "", "yaml: found incompatible YAML document", "go-yaml load error in parser at L1.C1: found incompatible YAML document"),
    ("a: b\n---\nc: d\n", "2:1", "a second document starts here", "Incus 7 requires exactly one document; older hosts read only the first document", "", None, "yaml: construct errors: <unknown position>: yaml: expected single document, found multiple"),
    ("", "1:1", "the file contains no YAML document", "Incus 7 requires exactly one document; older hosts read only the first document", "", None, "yaml: construct errors: <unknown position>: yaml: no documents in stream"),
    ("# a\n", "1:1", "the file contains no YAML document", "Incus 7 requires exactly one document; older hosts read only the first document", "", None, "yaml: construct errors: <unknown position>: yaml: no documents in stream"),
    ("a: b\na: c\n", "2:1", "duplicate key 'a', first in line 1", "remove one of the keys: Incus 7 rejects the file, and older releases use the last value", "", None, 'yaml: construct errors: line 2: mapping key "a" already defined at line 1'),
    ("templates: {/a: {when: [2001-01-01]}}\n", "1:25", "an item of 'when' must be text, but yaml.v4 reads '2001-01-01' as a date", 'quote the value: "2001-01-01"', "", None, "yaml: construct errors: line 1: cannot construct !!timestamp `2001-01-01` into string"),
    ("creation_date: 1.5\n", "1:16", "'creation_date' must be a number", "write seconds since 1970-01-01, as 'date +%s' prints them", "", None, "yaml: construct errors: line 1: cannot construct !!float `1.5` into int64"),
    ("? [a]\n: b\n", "1:3", "a key must be text, not a sequence", "write a single text; quote it if it begins with '[' or '{'", "", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into string", "yaml: construct errors: line 1: cannot construct !!seq into string"),
    ("[" * 70, "1:65", "nested more than 64 levels deep", "", "", "", ""),
    ("a: \udcff\n", "1:4", "invalid UTF-8: byte 0xff", "save the file as UTF-8", "", "", ""),
    ("\udcff\udcfea", "1:1", "invalid UTF-16 at byte 3 of 3", "save the file as UTF-8", "", "", ""),
    ("a: &b\n  - &b c\n*c\n", "4:1", "invalid YAML: could not find expected ':', while scanning a simple key", "", "the element with the error begins in line 3", "yaml: line 4: could not find expected ':'", "go-yaml load error in scanner (while scanning a simple key) at L4.C1: could not find expected ':'"),
    ("&a &b c\n", "1:4", "invalid YAML: did not find expected <document start>", "", "", None, "go-yaml load error in parser at L1.C4: did not find expected <document start>"),
    ("a: !!str !!int b\n", "1:10", "invalid YAML: did not find expected key, while parsing a block mapping", "", "", "yaml: did not find expected key", "go-yaml load error in parser (while parsing a block mapping) at L1.C10: did not find expected key"),
    ("a: -\n - b\n", "1:4", "invalid YAML: block sequence entries are not allowed in this context", "", "", "yaml: block sequence entries are not allowed in this context", "go-yaml load error in scanner at L1.C4: block sequence entries are not allowed in this context"),
    ("a:\n  b: c\n d: e\n", "3:2", "invalid YAML: did not find expected key, while parsing a block mapping", "", "the element with the error begins in line 1", "yaml: line 2: did not find expected key", "go-yaml load error in parser (while parsing a block mapping) at L3.C2: did not find expected key"),
    ("a: 'b' c\n", "1:8", "invalid YAML: did not find expected key, while parsing a block mapping", "", "", "yaml: did not find expected key", "go-yaml load error in parser (while parsing a block mapping) at L1.C8: did not find expected key"),
    ("a: [b, c: d: e]\n", "1:12", "invalid YAML: did not find expected ',' or ']', while parsing a flow sequence", "", "", "yaml: did not find expected ',' or ']'", "go-yaml load error in parser (while parsing a flow sequence) at L1.C12: did not find expected ',' or ']'"),
    ("a: {b: c\nd: e\n", "2:2", "invalid YAML: did not find expected ',' or '}', while parsing a flow mapping", "", "the element with the error begins in line 1", "yaml: line 1: did not find expected ',' or '}'", "go-yaml load error in parser (while parsing a flow mapping) at L2.C2: did not find expected ',' or '}'"),
    ("'a': b\n  c: d\n", "2:4", "invalid YAML: mapping values are not allowed in this context", "", "", "yaml: line 2: mapping values are not allowed in this context", "go-yaml load error in scanner at L2.C4: mapping values are not allowed in this context"),
    ("---\n...\n---\n", "3:1", "a second document starts here", "Incus 7 requires exactly one document; older hosts read only the first document", "", None, "yaml: construct errors: <unknown position>: yaml: expected single document, found multiple"),
    ("a: b\n...\nc: d\n", "3:1", "invalid YAML: did not find expected <document start>", "", "", None, "go-yaml load error in parser at L3.C1: did not find expected <document start>"),
    ("a: ? b\n", "1:4", "invalid YAML: mapping keys are not allowed in this context", "", "", "yaml: mapping keys are not allowed in this context", "go-yaml load error in scanner at L1.C4: mapping keys are not allowed in this context"),
    ("a: ,\n", "1:4", "invalid YAML: did not find expected node content, while parsing a block node", "", "", "yaml: did not find expected node content", "go-yaml load error in parser (while parsing a block node) at L1.C4: did not find expected node content"),
    ("a: ]\n", "1:4", "invalid YAML: did not find expected node content, while parsing a block node", "", "", "yaml: did not find expected node content", "go-yaml load error in parser (while parsing a block node) at L1.C4: did not find expected node content"),
    ("a: }\n", "1:4", "invalid YAML: did not find expected node content, while parsing a block node", "", "", "yaml: did not find expected node content", "go-yaml load error in parser (while parsing a block node) at L1.C4: did not find expected node content"),
    ("k" * 1100 + ": b\n", "1:1101", "invalid YAML: mapping values are not allowed in this context", "", "", "yaml: mapping values are not allowed in this context", None),
]  # fmt: skip

NAMES = [
    ("", {}, "the name is empty"),
    (".", {}, "a name can't be '.' or '..', or contain '/'"),
    ("..", {}, "a name can't be '.' or '..', or contain '/'"),
    ("a/b", {}, "a name can't be '.' or '..', or contain '/'"),
    ("a\x1b", {}, "a name can't contain invisible characters"),
    (" a", {}, "a name can't contain invisible characters"),
    ("a" * 256, {}, "a name can't be longer than 255 bytes"),
    ("é" * 128, {}, "a name can't be longer than 255 bytes"),
    ("a b", {"typed": True}, "a name can't contain white space"),
    ("-a", {"typed": True}, "a name can't begin with '-'"),
    ("a" * 64, {"daemon": True}, "LXD and Incus allow 1 to 63 characters"),
    ("a_b", {"daemon": True}, "LXD and Incus allow letters, digits and '-'"),
    ("é", {"daemon": True}, "LXD and Incus allow letters, digits and '-'"),
    ("-a", {"daemon": True}, "LXD and Incus refuse '-' at the start and at the end"),
    ("a-", {"daemon": True}, "LXD and Incus refuse '-' at the start and at the end"),
    ("12", {"daemon": True}, "LXD and Incus refuse names that consist of digits only"),
]
VALID_NAMES = [
    ("a" * 255, {}), ("é" * 127, {}), ("a b", {}), ("-a", {}), ("a_b", {"typed": True}), ("a" * 63, {"daemon": True}),
    ("1-a", {"daemon": True}),
]  # fmt: skip
ARCHIVE = "an image is a directory or a tar archive: plain, gzip, bzip2, xz, lzma, zstd or lz4"
SPLIT = "this may be the root filesystem of a split image; pass the image's metadata tarball instead"
ZIP = "some builders wrap the image in a zip file; unpack it first"
#: the first bytes of a file, what the file is, the hint
KINDS = [
    (b"", "is empty", "the download may be incomplete"),
    (b"\x80\0", "is not a tar archive or any other known file type", ARCHIVE),
    (b"a: b\n", "is a text file", "pass the directory or tarball that contains metadata.yaml; pass an instance description with -i"),
    (b"a\x08", "is not a tar archive or any other known file type", ARCHIVE),
    (b"a\x0e", "is not a tar archive or any other known file type", ARCHIVE),
    (b"a\x1f", "is not a tar archive or any other known file type", ARCHIVE),
    (b"\x1f\x8b", "is a gzip file", ARCHIVE),
    (bytes(257) + b"ustar", "is a tar file", ARCHIVE),
    (bytes(512), "is a tar file", ARCHIVE),
    (bytes(511), "is not a tar archive or any other known file type", ARCHIVE),
    (b"hsqs", "is a squashfs file", SPLIT),
    (b"QFI\xfb", "is a qcow2 file", "this is a virtual machine's disk; pass the image's metadata tarball instead"),
    (b"KDMV", "is a vmdk file", ARCHIVE),
    (b"vhdxfile", "is a vhdx file", ARCHIVE),
    (b"conectix", "is a vhd file", ARCHIVE),
    (b"PK\x03\x04", "is a zip file", ZIP),
    (b"PK\x05\x06", "is a zip file", ZIP),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z file", ARCHIVE),
    (b"Rar!", "is a rar file", ARCHIVE),
    (b"070701", "is a cpio file", ARCHIVE),
    (b"070707", "is a cpio file", ARCHIVE),
    (b"!<arch>\n", "is an ar file", ARCHIVE),
    (b"\xed\xab\xee\xdb", "is a rpm file", ARCHIVE),
    (b"\x02\x21\x4c\x18", "is a legacy lz4 file", "compress the archive again with a current lz4, which writes the frame format"),
    (b"LZIP", "is a lzip file", ARCHIVE),
    (b"\x89LZO", "is a lzop file", ARCHIVE),
    (b"\x1f\x9d", "is a compress (.Z) file", ARCHIVE),
    (b"sqsh", "is a big-endian squashfs file", ARCHIVE),
    (b"\x7fELF", "is an ELF file", ARCHIVE),
    (bytes(0x8001) + b"CD001", "is an ISO 9660 file", ARCHIVE),
    (bytes(1024) + b"\xe2\xe1\xf5\xe0", "is an erofs file", ARCHIVE),
    (bytes(1080) + b"\x53\xef", "is an ext2/3/4 file", ARCHIVE),
]  # fmt: skip


def ids(cases):
    return [f"{case[0][:40]!r}-{number}" for number, case in enumerate(cases)]


def error_of(function, *arguments, **options):
    with pytest.raises(TemplaterError) as caught:
        function(*arguments, **options)
    return caught.value


@pytest.mark.parametrize(("text", "place", "message", "hint"), INSTANCES, ids=ids(INSTANCES))
def test_the_error_about_a_description_has_position_and_hint(text, place, message, hint):
    error = error_of(read_instance, Source("f", text))
    assert (str(error), error.hint) == (f"f:{place}: {message}", hint)


@pytest.mark.parametrize(("text", "place", "message", "hint"), PROFILES, ids=ids(PROFILES))
def test_the_error_about_a_profile_has_position_and_hint(text, place, message, hint):
    error = error_of(read_profile, Source("f", text))
    assert (str(error), error.hint) == (f"f:{place}: {message}", hint)


@pytest.mark.parametrize("libyaml", [True, False], ids=["libyaml", "without libyaml"])
@pytest.mark.parametrize(
    ("text", "place", "message", "hint", "note", "v2", "v4"), METADATA, ids=ids(METADATA)
)
def test_errors_about_metadata_yaml_have_position_and_go_text(
    text, place, message, hint, note, v2, v4, libyaml, monkeypatch
):
    if not libyaml:
        monkeypatch.setattr(yaml_nodes, "HAS_LIBYAML", False)
    for rules, words in (("v2", v2), ("v4", v4)):
        if words is not None:
            error = error_of(read_metadata, Source("f", text), yaml=rules)
            assert (str(error), error.hint, "".join(error.notes)) == (f"f:{place}: {message}", hint, note)
            assert (getattr(error, "yaml_error", None) or "") == words


@pytest.mark.parametrize(("name", "rules", "problem"), NAMES, ids=ids(NAMES))
def test_the_error_says_why_an_instance_name_is_invalid(name, rules, problem):
    error = error_of(require_name, name, **rules)
    assert isinstance(error, RefusedError)
    assert error.message.startswith("invalid instance name '")
    assert error.message.endswith(f"': {problem}")
    assert error.hint == "for example: web1"


@pytest.mark.parametrize(("name", "rules"), VALID_NAMES, ids=ids(VALID_NAMES))
def test_the_longest_and_the_oddest_valid_names_are_accepted(name, rules):
    require_name(name, **rules)


@pytest.mark.parametrize(("head", "description", "hint"), KINDS, ids=ids(KINDS))
def test_each_kind_of_non_image_file_gets_a_hint(head, description, hint):
    kind = recognise(head[:HEAD])
    assert (describe(kind), hint_for(kind)) == (description, hint)


@pytest.mark.parametrize(
    ("operation", "verb"),
    [("renamed", "renamed"), ("rebuilt", "rebuilt"), ("published", "published"), ("refreshed", "refreshed")],
)
def test_operations_for_stopped_instances_refuse_a_running_instance(operation, verb):
    error = error_of(getattr(Life(running=True), operation))
    assert isinstance(error, UsageError)
    assert (error.message, error.hint) == (f"a running instance can't be {verb}", "stop the instance first")


def test_a_stopped_instance_cannot_be_stopped():
    assert error_of(Life().stopped).message == "a stopped instance can't be stopped"


def test_a_non_string_value_is_refused_with_a_hint():
    instance = read_instance(Source("f", "name: a\n"))
    error = error_of(overridden, instance, config={"user.a": True}, devices={})
    assert error.message == "config: the value of 'user.a' is True, not a string"
    assert error.hint == "the daemons store strings: write 'true' or '1'"
    error = error_of(overridden, instance, config={}, devices={"eth0": {"mtu": "9"}})
    assert error.message == "device 'eth0' has no type, and no profile defines it"
    assert error.hint == "set a type, for example -d eth0,type=nic,network=incusbr0"


def test_profiles_of_an_expanded_description_are_refused_with_a_hint():
    description, profile = Source("f", "name: a\nprofiles: [d]\n"), Source("d", "name: d\n")
    error = error_of(read_instance, description, profiles=[profile], expanded=True)
    assert error.message == "profiles can't be applied to a description that is already expanded"
    assert error.hint == "`incus list NAME -f json` prints an instance with its profiles expanded"


def test_a_description_may_list_ten_thousand_profiles_and_not_more():
    names = ", ".join(["a"] * 10_000)
    profile = Source("a", "name: a\n")
    assert read_instance(Source("f", f"name: b\nprofiles: [{names}]\n"), profiles=[profile]).name == "b"
    error = error_of(read_instance, Source("f", f"name: b\nprofiles: [{names}, a]\n"), profiles=[profile])
    assert error.message == "the description lists more than 10000 profiles"
