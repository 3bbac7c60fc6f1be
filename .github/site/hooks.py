"""The parts of the documentation site that are not files of docs/. MkDocs calls the functions `on_…`.

The navigation is the list of pages in docs/README.md. The pages of the commands come from the program's help,
and the page of the Python API from docstrings. The style and the script of this folder are added to the site.
"""

import html
import inspect
import posixpath
import re
import textwrap
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from templater.cli.run_command_line import command as templater

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
#: files outside docs/ that are pages of the site
OUTSIDE = {
    "README.md": "overview.md", ".github/SECURITY.md": "security-policy.md", "CHANGELOG.md": "changelog.md",
    "tests/attacks/README.md": "attacks.md",
}  # fmt: skip
LINK = re.compile(r"^\* \[(.+?)\]\(([\w/-]+\.md)\)", re.M)
#: what docs/README.md says under the headings of the navigation
SECTION = re.compile(r"^(##+) (.+)\n((?:(?!^##).*\n?)*)", re.M)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config["nav"] = navigation((ROOT / "docs/README.md").read_text("utf-8"))
    config["mdx_configs"]["pymdownx.superfences"] = {
        "custom_fences": [{"name": "console", "class": "console", "format": console}]
    }
    return config


def navigation(index: str) -> list[Any]:
    """Return the entries of the navigation: the list of pages in docs/README.md, and the generated pages."""
    nav: list[Any] = [{"Home": ["README.md", {"Overview": "overview.md"}]}]
    for level, title, text in SECTION.findall(index):
        entries: list[Any] = [{name: with_checks(page)} for name, page in LINK.findall(text)]
        if title == "Reference":
            commands = [{name: page_of(name)} for name, _ in commands_of(templater)]
            entries.insert(0, {"Commands": ["commands/README.md", *commands]})
            entries.append({"Python API, names": "python.md"})
        if len(level) == 2:
            nav.append({title: entries})
        else:
            (parent,) = nav[-1].values()
            parent.append({title: entries})
    nav[-1]["Explanation"] += [
        {"Attacks that the tests try": "attacks.md"},
        {"Report a vulnerability": "security-policy.md"},
        {"Changes": "changelog.md"},
    ]
    return nav


def with_checks(page: str) -> Any:
    """Return a page, or the list of checks with the pages of all checks."""
    if page != "checks/README.md":
        return page
    return [page, *(f"checks/{path.name}" for path in sorted(ROOT.glob("docs/checks/[a-z]*.md")))]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path, name in OUTSIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    for asset in HERE.glob("*.[cj]s*"):
        files.append(File.generated(config, f"assets/{asset.name}", abs_src_path=str(asset)))
    for name, text in {**command_pages(), "python.md": python_page()}.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    own = page.file.src_uri
    path = next((path for path, name in OUTSIDE.items() if name == own), f"docs/{own}")

    def link(match: re.Match[str]) -> str:
        """Return a link to the page of the site, instead of one to the file of the repository."""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[2]))
        name = OUTSIDE.get(target) or target.removeprefix("docs/")
        return match[1] + posixpath.relpath(name, posixpath.dirname(own) or ".")

    if page.file.generated_by is None or path in OUTSIDE:
        markdown = re.sub(r'(\]\(|src=")(?!\w+:|#)([^)#"]+)', link, markdown)
    return markdown.replace("\n```console live\n", "\n```console\n")


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Remove the backslash before a bar in a table, which GitHub needs and Python-Markdown keeps in code."""
    return re.sub(r"<td.*?</td>", lambda cell: cell[0].replace("\\|", "|"), content, flags=re.S)


def console(source: str, language: str, css_class: str, options: Any, md: Any, **more: Any) -> str:
    """Return a terminal session as HTML. The button that copies takes only the commands from it."""
    shown, output = [], True
    for line in source.split("\n"):
        if line.startswith("$ ") or (line.startswith("> ") and not output):
            shown.append(f'<span class="gp">{html.escape(line[:2])}</span>{html.escape(line[2:])}')
            output = False
        else:
            shown.append(f'<span class="go">{html.escape(line)}</span>')
            output = True
    lines = "".join(f"<span>{line}\n</span>" for line in shown)
    return f'<div class="highlight {css_class}"><pre><span></span><code>{lines}</code></pre></div>'


def page_of(name: str) -> str:
    return f"commands/{name.replace(' ', '-')}.md"


def commands_of(group: click.Group, prefix: str = "") -> list[tuple[str, click.Command]]:
    """Return all commands below a group, with their names: `image build`."""
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        if command.hidden:
            continue
        found.append((f"{prefix}{name}", command))
        if isinstance(command, click.Group):
            found += commands_of(command, f"{prefix}{name} ")
    return found


def command_pages() -> dict[str, str]:
    """Return a page for each command, and one that lists them."""
    found = commands_of(templater)
    rows = [f"| [`{name}`]({page_of(name)[9:]}) | {cell(first_line(command))} |\n" for name, command in found]
    index = (
        "# Commands\n\nThese pages contain the same text as `--help`.\n\n"
        f"| command | |\n|---|---|\n{''.join(rows)}\n{help_of(templater, 'templater')}"
    )
    return {
        "commands/README.md": index,
        **{
            page_of(name): f"# templater {name}\n\n{help_of(command, f'templater {name}')}"
            for name, command in found
        },
    }


def help_of(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name)
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    text = f"```text\n{usage}\n```\n\n{prose(inspect.cleandoc(command.help or ''))}\n\n"
    text += "## Options\n\n| option | |\n|---|---|\n"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record:
            text += f"| `{escape_bar(record[0])}` | {cell(record[1])} |\n"
    return text


def prose(help_text: str) -> str:
    """Return a help text as Markdown. The paragraphs that click does not wrap are code."""
    parts = []
    for paragraph in help_text.split("\n\n"):
        before, marker, block = paragraph.partition("\b\n")
        if marker:
            first, _, rest = block.partition("\n")
            title, block = ("", block) if first.startswith(" ") else (f"{first}\n\n", rest)
            parts.append(f"{title}```text\n{textwrap.dedent(block)}\n```")
        else:
            parts.append(markup(before))
    return "\n\n".join(parts)


def markup(text: str) -> str:
    """Escape what Markdown would read as markup, outside of `code`."""
    return re.sub(r"(`[^`]*`)|([\\*_<>\[\]{}])", lambda found: found[1] or f"\\{found[2]}", text)


def cell(text: str) -> str:
    return escape_bar(markup(" ".join(text.split())))


def escape_bar(text: str) -> str:
    return text.replace("|", "\\|")


def first_line(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ")


def python_page() -> str:
    import templater as package

    names = "".join(f"::: templater.{name}\n\n" for name in package.__all__)
    return (
        "# Python API, names\n\nAll public names, from their docstrings. [The Python API](api.md) shows how"
        f" to use them.\n\n{names}"
    )
