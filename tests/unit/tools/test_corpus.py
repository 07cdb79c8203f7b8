"""The demo's corpus: which text of a help page counts, and that the split depends on the text alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import corpus

PAGE = """<html><head><title>제목은 본문이 아니므로 들어가지 않아야 합니다</title>
<script>var x = "스크립트";</script></head><body>
<nav>메뉴 메뉴 메뉴 메뉴 메뉴 메뉴 메뉴 메뉴 메뉴</nav>
<h1>짧은 제목</h1>
<p>현재 문서의 모든 <b>변경 내용</b>을 저장하고 대화 상자를 닫습니다 &amp; 끝.</p>
<p>This paragraph is English only and does not belong to a Korean corpus.</p>
<div>표 안의 글도<br>나누어진 두 문단으로 들어가야 하므로 충분히 길게 씁니다.</div></body></html>"""


def test_paragraphs_are_visible_korean_text_only() -> None:
    assert corpus.paragraphs_of(PAGE) == [
        "현재 문서의 모든 변경 내용을 저장하고 대화 상자를 닫습니다 & 끝.",
        "나누어진 두 문단으로 들어가야 하므로 충분히 길게 씁니다.",
    ]


def test_a_repeated_paragraph_counts_once_and_an_empty_page_makes_no_document(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        (tmp_path / name).write_text(PAGE, encoding="utf-8")
    documents = list(corpus.documents(tmp_path))
    assert len(documents) == 1
    assert documents[0].startswith("현재 문서의")


@pytest.mark.parametrize(
    ("text", "korean"), [("한국어 문장", True), ("English", False), ("12 + 3", False), ("표 abcdefgh", False)]
)
def test_is_korean(text: str, korean: bool) -> None:
    assert corpus.is_korean(text) is korean


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "train.txt"
    corpus.write(target, ["하나"])
    with pytest.raises(TypeError):
        corpus.write(target, ["둘", 3])  # type: ignore[list-item]
    assert target.read_text(encoding="utf-8") == "하나\n"
