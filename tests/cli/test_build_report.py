"""The output of `image build` about the image that it has built."""

import socket

import pytest

from templater.cli.packing import report
from templater.cli.run_command_line import main
from templater.image.build import Built


@pytest.mark.parametrize(
    ("count", "more"), [(1, ""), (5, ""), (6, " and 1 more"), (8, " and 3 more")], ids=["1", "5", "6", "8"]
)
def test_a_build_warning_mentions_at_most_five_files_with_lost_attributes(count, more, capfd):
    names = tuple(f"etc/{number}" for number in range(count))
    report(Built(("a.tar",), 5, "f" * 64, 3, names), as_json=False)
    first = ", ".join(names[:5])
    lost = "mksquashfs stores no ACLs, no attributes of the top directory, and no names with '=' or '%'"
    assert capfd.readouterr().err.startswith(f"warning: {lost}; removed attributes of: {first}{more}\n")


def test_a_build_without_lost_attributes_gives_no_warning(capfd):
    report(Built(("a.tar",), 5, "f" * 64, 3), as_json=False)
    assert "warning" not in capfd.readouterr().err


@pytest.mark.parametrize("command", [["publish"], ["image", "build"], ["image", "export"]])
def test_the_names_of_skipped_sockets_are_escaped(command, tmp_path, capfd):
    """A line break in the name of a socket made the rest of the name look like a second warning."""
    (tmp_path / "i/rootfs").mkdir(parents=True)
    (tmp_path / "i/metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/i/rootfs/a\nwarning: fake")
        output = [f"{tmp_path}/new.tar"] if command[-1] == "export" else ["-o", f"{tmp_path}/new.tar"]
        assert main([*command, f"{tmp_path}/i", *output]) == 0
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if "fake" in line] == ["warning: skipped a socket: a\\nwarning: fake"]
