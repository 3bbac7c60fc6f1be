"""The table of `status`: what each file's row says."""

from types import SimpleNamespace

import pytest

from templater.instances.changed_by_hand import FileStatus
from templater.instances.record_of_written_files import WrittenFile, join_keys
from templater.model.errors import TemplateError
from templater.model.plan import CREATE, FAILED, KEEP, SKIP, UPDATE
from templater.reporting.status_table import columns_of, file_data, row, summary


def recorded(*keys):
    return WrittenFile("/a", "/a", "d", 0, 0, 0o644, "t.tpl", "e", join_keys(keys), size=0)


def planned(action, error=None):
    return SimpleNamespace(action=action, error=error)


READ = "the template's input has changed"


@pytest.mark.parametrize(
    ("fields", "cells"),
    [
        ({"by_hand": None}, ("unknown", "no rule", "")),
        ({"by_hand": False, "change": planned(KEEP)}, ("no", "no change", "")),
        ({"by_hand": True, "change": planned(SKIP), "differences": ("content", "mode")}, ("yes (content, mode)", "skips it", "")),
        ({"by_hand": True, "change": planned(UPDATE), "recorded": recorded("user.a")}, ("yes", "would update", "")),
        ({"by_hand": False, "change": planned(FAILED, TemplateError("broken"))}, ("no", "fails", "broken")),
        ({"by_hand": False, "change": planned(CREATE)}, ("no", "would create", "")),
        ({"by_hand": False, "change": planned(UPDATE), "recorded": recorded()}, ("no", "would update", READ)),
        ({"by_hand": None, "change": planned(UPDATE), "recorded": recorded("user.a", "user.b")}, ("unknown", "would update", f"{READ} (the template reads user.a, user.b)")),
        ({"by_hand": False, "change": planned(UPDATE), "recorded": recorded("user.a"), "template_changed": True}, ("no", "would update", "the template has changed")),
        ({"by_hand": False, "change": planned(KEEP), "recorded": recorded("user.a"), "template_changed": True}, ("no", "no change", "")),
    ],
)  # fmt: skip
def test_the_status_table_includes_effects_of_the_next_start(fields, cells):
    file = FileStatus(**{"path": "/a", "recorded": None, **fields})
    assert row(file) == ("/a", *cells)


def test_the_summary_contains_the_number_of_changes():
    files = [FileStatus("/a", None, True, change=planned(UPDATE)), FileStatus("/b", None, None), FileStatus("/c", None, True)]  # fmt: skip
    assert summary(files) == "3 files: 2 changed by hand, 1 would change at the next start"
    assert list(columns_of([])) == []
    assert len(list(columns_of(files))) == 4


def test_the_json_form_of_a_file_status_contains_the_recorded_values():
    data = file_data(FileStatus("/a", recorded("user.a"), True, ("mode",), planned(UPDATE), True))
    assert data == {
        "path": "/a", "changed_by_hand": True, "differences": ["mode"], "would_change": True, "action": "update",
        "template_changed": True, "recorded": {
            "real": "/a", "digest": "d", "uid": 0, "gid": 0, "mode": "0644", "template": "t.tpl",
            "template_digest": "e", "keys": ["user.a"],
        },
    }  # fmt: skip
    failed = file_data(FileStatus("/a", None, None, change=planned(FAILED, TemplateError("broken"))))
    assert (failed["recorded"], failed["would_change"], failed["error"]["message"]) == (None, None, "broken")
