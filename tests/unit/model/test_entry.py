"""The files of an image's folder of templates."""

from templater.model.entry import TemplateFile


def test_all_sources_of_one_template_file_share_its_decoded_text():
    """A decoded text can need four times the memory of its bytes."""
    file = TemplateFile(data="\U0001f600".encode() + b"\xff")
    one, other = file.source("one"), file.source("other")
    assert (one.name, other.name) == ("one", "other")
    assert one.text is other.text
    assert one.text == "\U0001f600\udcff"


def test_a_template_file_frees_the_decoded_text_after_its_last_source_is_deleted():
    file = TemplateFile(data=b"a b")
    assert file.source("one").text == "a b"
    assert file._source() is None
    assert file.source("other").text == "a b"
