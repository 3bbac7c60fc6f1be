"""Parts of the page of `watch --web` that the recorded pages do not contain."""

import pytest

from templater.web.watch_page import PageView, finding_list


@pytest.mark.parametrize(("findings", "said"), [(None, "check did not run."), ([], "check found nothing.")])
def test_the_page_says_why_it_has_no_findings(findings, said):
    page = PageView(None, (), (), {}, "", findings=findings)
    assert str(finding_list(page)) == f'<p class="note">{said}</p>'
