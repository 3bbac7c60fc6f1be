"""The expected results of edits of metadata.yaml, computed without the editor.

Positions come from PyYAML's Python parser, while the editor uses libyaml. Blocks are edited as lines, while
the editor works on characters. ``Beyond`` is raised for texts whose lines can have several meanings: aliases,
merge keys, repeated keys, and mappings that begin in the middle of a line.
"""

import json
import re
from functools import lru_cache

import yaml

LINE = re.compile("[^\n\r\x85\u2028\u2029]*(?:\r\n|[\n\r\x85\u2028\u2029]|\\Z)")
ENDING = re.compile("(?:\r\n|[\n\r\x85\u2028\u2029])\\Z")
NULLS = ("", "~", "null", "Null", "NULL")


KINDS = {
    yaml.ScalarEvent: "scalar",
    yaml.MappingStartEvent: "mapping",
    yaml.SequenceStartEvent: "sequence",
    yaml.AliasEvent: "alias",
}


class Beyond(Exception):
    """Raised for a text whose lines can have several meanings."""


class Node:
    def __init__(self, event):
        self.kind = KINDS[type(event)]
        self.anchored = self.kind != "alias" and event.anchor is not None
        self.start, self.end = event.start_mark, event.end_mark
        self.style = getattr(event, "style", None)
        self.flow = bool(getattr(event, "flow_style", False))
        self.text = getattr(event, "value", None)
        self.tag = getattr(event, "tag", None)
        self.children = []

    @property
    def pairs(self):
        return (
            list(zip(self.children[::2], self.children[1::2], strict=True)) if self.kind == "mapping" else []
        )

    @property
    def null(self):
        return self.kind == "scalar" and self.text in NULLS and not self.style and not self.tag

    def last_line(self, lines):
        """Return the number of the last line that contains a part of the node."""
        if self.children and not self.flow:
            return max(child.last_line(lines) for child in self.children[-2:])
        if self.style not in ("|", ">"):
            return self.end.line
        last = self.end.line - (self.end.column == 0 or not lines[self.end.line].strip())
        keeps = "+" in lines[self.start.line][self.start.column :].split("#")[0]
        while not keeps and not lines[last].strip():
            last -= 1
        return last


def lines_of(text):
    return [line for line in LINE.findall(text) if line]


def ending_of(lines, at=None):
    for line in ([lines[at]] if at is not None else []) + lines:
        found = ENDING.search(line)
        if found:
            return found[0]
    return "\n"


@lru_cache(maxsize=8)
def document(text):
    """The mapping of the first document, parsed once for all edits of a text. No test changes the mapping."""
    # PyYAML's parser refuses tabs where libyaml and Go take them for blanks
    events = yaml.parse(text.replace("\t", " "), Loader=yaml.SafeLoader)
    try:
        root = node(events, skip(events))
    except yaml.YAMLError as error:
        raise Beyond(f"PyYAML: {error}") from error
    if root is None or not root.pairs:
        raise Beyond("no mapping")
    return root


def skip(events):
    for event in events:
        if isinstance(event, yaml.StreamEndEvent):
            return None
        if isinstance(event, yaml.NodeEvent):
            return event
    return None


def node(events, event):
    if event is None:
        return None
    made = Node(event)
    if made.kind in ("scalar", "alias"):
        return made
    for inner in events:
        if isinstance(inner, yaml.CollectionEndEvent):
            made.end = inner.end_mark
            break
        made.children.append(node(events, inner))
    return made


def find(text, names):
    """Return the existing nodes on the path as (mapping, key, value)."""
    found = []
    at = document(text)
    for index, name in enumerate(names):
        known(at, last=index == len(names) - 1)
        pair = next((pair for pair in at.pairs if pair[0].text == name), None)
        if pair is None:
            break
        if at.anchored:
            raise Beyond("shared")
        if "<<" in [key.text for key, _ in at.pairs]:
            raise Beyond("merged")
        found.append((at, *pair))
        at = pair[1]
        if at.kind == "alias" and len(found) < len(names):
            raise Beyond("shared")
    return found


def known(mapping, last):
    """Raise Beyond unless every name has exactly one pair.

    Also raise it for a merged mapping, unless the name is the ``last`` of the path.
    """
    names = [key.text for key, _ in mapping.pairs]
    if len(set(names)) < len(names) or None in names or any(key.null for key, _ in mapping.pairs):
        raise Beyond("a key that comes twice, is null, or is no text")
    if "<<" in names and not last:
        raise Beyond("merged")


def alone(node):
    """Raise Beyond if a part of the node has an anchor, because an alias elsewhere may use it."""
    if node.anchored:
        raise Beyond("shared")
    for child in node.children:
        alone(child)


def before_on_line(text, node):
    """Return the text before a node in its line. A byte order mark is a character, but not a column."""
    return text[node.start.index - node.start.column : node.start.index]


def plain_pair(text, mapping, key):
    """Raise Beyond unless the pair begins its line with its key and a colon."""
    if mapping.flow:
        return
    if before_on_line(text, key).strip(" ") or not re.match(r"[ \t]*:", text[key.end.index :]):
        raise Beyond("a key that does not begin its line")


def quoted_like(old, value):
    if value.isdigit():
        return value
    if old[:1] == "'":
        return f"'{value}'"
    return f'"{value}"' if old[:1] == '"' else value


def replaced(text, names, value):
    """``value`` is a number, or a word that needs no quotes and gets those of the old one."""
    found = find(text, names)
    if len(found) < len(names):
        return inserted(text, names, value)
    for mapping, key, _ in found:
        plain_pair(text, mapping, key)
    mapping, key, old = found[-1]
    alone(old)
    if isinstance(value, tuple):
        if old.kind == "sequence" and not old.flow:
            return relisted(text, old, value)
        quoted = mapping.flow and text[mapping.pairs[0][0].start.index] == '"'
        kept = {item.text: text[item.start.index : item.end.index] for item in old.children}
        value = f"[{', '.join(kept.get(item) or spelled(item, quoted) for item in value)}]"
    start = old.start.index
    end = start + len(text[start : old.end.index].rstrip()) if old.style in ("|", ">") else old.end.index
    if start < end:
        quoted = value if value[0] == "[" else quoted_like(text[start:end], value)
        return text[:start] + quoted + text[end:]
    if not re.match(r"\s*:", text[key.end.index :]):
        raise Beyond("a key without a colon")
    colon = text.index(":", key.end.index) + 1
    return text[:colon] + " " + value + text[colon:]


def relisted(text, old, items):
    """Return the lines of the remaining items, and similar lines for new items."""
    lines = lines_of(text)
    firsts = [item.start.line for item in old.children]
    column = lines[firsts[0]].index("-")
    last = old.last_line(lines)
    kept = {
        item.text: "".join(lines[first:end])
        for item, first, end in zip(old.children, firsts, [*firsts[1:], last + 1], strict=True)
    }
    end = ending_of(lines, firsts[0])
    new = [kept.get(item) or f"{' ' * column}- {item}{end}" for item in items]
    return "".join([*lines[: firsts[0]], *new, *lines[last + 1 :]])


def inserted(text, names, value):
    """``value`` is a word, or the fields of a rule as (name, spelling) with lists as tuples."""
    found = find(text, names[:-1])
    for mapping, key, _ in found:
        plain_pair(text, mapping, key)
    missing = names[len(found) :]
    find(text, names)
    holder = found[-1][2] if found else document(text)
    if found and holder.null:
        return filled(text, found[-1], missing, value)
    if holder.kind != "mapping" or holder.anchored:
        raise Beyond("not a mapping")
    if holder.flow:
        return in_brackets(text, holder, missing, value)
    lines = lines_of(text)
    first = holder.pairs[0][0]
    plain_pair(text, holder, first)
    at = max(holder.pairs[-1][0].end.line, holder.pairs[-1][1].last_line(lines))
    return with_lines(lines, at + 1, block(text, first.start.column, missing, value))


def with_lines(lines, at, new):
    end = ending_of(lines, at - 1)
    before, behind = lines[:at], lines[at:]
    if before and not ENDING.search(before[-1]):
        return "".join(before) + end + end.join(new)
    return "".join([*before, *(line + end for line in new), *behind])


def filled(text, place, missing, value):
    mapping, key, null = place
    start, end = null.start.index, null.end.index
    if mapping.flow:
        raise Beyond("nothing in brackets")
    text = text[:start].rstrip(" \t") + text[end:] if start < end else text
    lines = lines_of(text)
    column = key.start.column + step(text)
    return with_lines(lines, key.start.line + 1, block(text, column, missing, value))


def blocks(text):
    for key, value in document(text).pairs:
        if not value.flow and value.pairs:
            yield key, value


def step(text):
    for key, value in blocks(text):
        return value.pairs[0][0].start.column - key.start.column
    return 2


def rules(text):
    for key, value in blocks(text):
        if key.text == "templates":
            yield from (rule for rule in value.pairs if rule[1].pairs and not rule[1].flow)


def block(text, column, names, value):
    lead = " " * column
    if len(names) > 1:
        inner = step(text) if not column else rule_step(text)
        return [f"{lead}{word(names[0])}:", *block(text, column + inner, names[1:], value)]
    if isinstance(value, str):
        return [f"{lead}{word(names[0])}: {value}"]
    if isinstance(value, tuple):
        return listed(names[0], value, lead, list_offset(text))
    inner = " " * (column + rule_step(text))
    lines = [f"{lead}{word(names[0])}:"]
    for name, spelling in value:
        if isinstance(spelling, str):
            lines.append(f"{inner}{name}: {spelling}")
        else:
            lines += listed(name, spelling, inner, list_offset(text))
    return lines


def listed(name, items, lead, offset):
    if offset is None:
        return [f"{lead}{name}: [{', '.join(items)}]"]
    return [f"{lead}{name}:", *(f"{lead}{' ' * offset}- {item}" for item in items)]


def rule_step(text):
    for key, rule in rules(text):
        return rule.pairs[0][0].start.column - key.start.column
    return step(text)


def list_offset(text):
    for _, rule in rules(text):
        for key, value in rule.pairs:
            if key.text == "when" and value.kind == "sequence" and value.children:
                if value.flow:
                    return None
                line = lines_of(text)[value.children[0].start.line]
                return line.index("-") - key.start.column
    return 2


def word(name):
    return name if re.fullmatch(r"[\w/.]+", name) else json.dumps(name, ensure_ascii=False)


def in_brackets(text, holder, missing, value):
    quoted = bool(holder.pairs) and text[holder.pairs[0][0].start.index] == '"'
    new = flow(missing, value, quoted)
    if not holder.pairs:
        at = holder.start.index + 1
        return text[:at] + new + text[at:]
    first, last = holder.pairs[0][0], max(holder.pairs[-1], key=lambda each: each.end.index)
    at = last.end.index
    comma = re.compile(r"(?:\s|(?<=\s)#.*+)*+,").match(text, at, holder.end.index - 1)
    lead = before_on_line(text, first)
    alone = not lead.strip() and first.start.line > holder.start.line
    gap = ending_of(lines_of(text), first.start.line - 1) + lead if alone else " "
    if comma:
        return text[: comma.end()] + gap + new + "," + text[comma.end() :]
    return text[:at] + ("," if text[at - 1] != ":" else " ,") + gap + new + text[at:]


def flow(names, value, quoted):
    if len(names) > 1:
        return f"{spelled(names[0], quoted)}: {{{flow(names[1:], value, quoted)}}}"
    if isinstance(value, str):
        return f"{spelled(names[0], quoted)}: {spelled(value, quoted)}"
    if isinstance(value, tuple):
        return f"{spelled(names[0], quoted)}: [{', '.join(spelled(item, quoted) for item in value)}]"
    fields = []
    for name, spelling in value:
        if isinstance(spelling, str):
            spelling = spelled(spelling, quoted and spelling != "true")
        else:
            spelling = f"[{', '.join(spelled(item, quoted) for item in spelling)}]"
        fields.append(f"{spelled(name, quoted)}: {spelling}")
    return f"{spelled(names[0], quoted)}: {{{', '.join(fields)}}}"


def spelled(value, quoted):
    value = value or '""'
    return f'"{value}"' if quoted and value[:1] != '"' and not value.isdigit() else value


def removed(text, names):
    found = find(text, names)
    if len(found) < len(names):
        raise Beyond("merged")
    for mapping, key, _ in found:
        plain_pair(text, mapping, key)
    mapping, key, value = found[-1]
    alone(key)
    alone(value)
    if mapping.flow:
        return out_of_brackets(text, mapping, key, value)
    lines = lines_of(text)
    last = max(key.end.line, value.last_line(lines))
    return "".join(lines[: key.start.line] + lines[last + 1 :])


def out_of_brackets(text, mapping, key, value):
    start, end = key.start.index, max(key.end.index, value.end.index)
    comma = re.compile(r"(?:\s|(?<=\s)#.*+)*+,").match(text, end, mapping.end.index - 1)
    if key is mapping.children[-2]:
        before = re.sub(r"\s*\Z", "", text[:start])
        return before + text[comma.end() :] if comma else re.sub(r",\Z", "", before) + text[end:]
    return text[:start] + re.sub(r"\A[ \t]*(?:(?:\r\n|[\r\n])[ \t]*)?", "", text[comma.end() :])
