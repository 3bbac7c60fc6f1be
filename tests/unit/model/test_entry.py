"""The files of an image's folder of templates."""

from templater.model.entry import FILE, SYMLINK, Entry, Resolved, TemplateFile, parents_below


def test_all_source_objects_of_a_template_file_share_one_decoded_text():
    """A decoded text can need four times the memory of its bytes."""
    file = TemplateFile(data="\U0001f600".encode() + b"\xff")
    one, other = file.source("one"), file.source("other")
    assert (one.name, other.name) == ("one", "other")
    assert one.text is other.text
    assert one.text == "\U0001f600\udcff"


def test_a_template_file_returns_one_source_object_for_each_requested_name():
    """The source stores the numbers of its lines."""
    file = TemplateFile(data=b"a\nb")
    one = file.source("one")
    assert file.source("one") is one
    assert file.source("other") is not one


def test_the_decoded_text_is_freed_with_its_last_source():
    file = TemplateFile(data=b"a b")
    assert file.source("one").text == "a b"
    assert file._source() is None
    assert file.source("other").text == "a b"


def test_a_resolved_path_gives_its_missing_parents():
    found = Resolved("/a/b/c/d")
    assert (found.missing, found.dangling) == ((), False)
    found.depth = 1
    assert found.missing == ("/a/b", "/a/b/c")
    found.named = Entry(SYMLINK)
    assert found.dangling is True
    found.entry = Entry(FILE)
    assert found.dangling is False
    found.named, found.entry = Entry(FILE), None
    assert found.dangling is False


def test_the_parents_of_a_path_begin_with_the_outermost():
    assert list(parents_below("/a/b/c", 0)) == ["/a", "/a/b"]
    assert (
        list(parents_below("/a/b/c", 2)) == list(parents_below("/a", 0)) == list(parents_below("/", 0)) == []
    )
