"""Captions before they are tokenised: as the text encoder of DeepFloyd IF expects them.

IF's T5 only ever read lower-case captions, so `lowered` is the least that must be done. `clean_caption` is what IF does
by default: its training captions came from the web, and this takes out what the web puts in. A plain sentence in lower
case passes both as it is.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.parser import HTMLParser
from urllib.parse import unquote_plus

_DOMAIN = r"[a-zA-Z0-9.\-]+[.](?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b/?(?!@)"
_FILE = "(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)"
_DASHES = (
    r"\-\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c\u3030\u30a0"
    r"\ufe31\ufe32\ufe58\ufe63\uff0d"
)

# The order matters: a later rule sees what the earlier ones left.
_LINKS = [
    (r"<person>", "person"),
    *((rf"\b(?:{scheme}:(?:/{{1,3}}|[a-zA-Z0-9%])|{_DOMAIN})", "") for scheme in ("https?", "www")),
]
_SIGNS = [
    (r"@\w+\b", ""),  # @nickname
    (r"[\u31c0-\u9fff]+", ""),  # CJK: strokes, letters, months, hexagrams, ideographs
    (rf"[{_DASHES}]+", "-"),  # every dash is one dash
    (r"[`´«»“”¨]", '"'),
    (r"[‘’]", "'"),
    (r"&quot;?|&amp", ""),
    (r"\d{1,3}(?:\.\d{1,3}){3}", " "),  # an IP address
    (r"\d:\d\d\s+$", ""),  # an article's number
    (r"\\n", " "),
    (r"#\d{1,3}\b", ""),
    (r"#\d{5,}\b", ""),
    (r"\b\d{6,}\b", ""),
    (rf"\S+\.{_FILE}", ""),  # a file's name
    (r"[\"']{2,}", '"'),
    (r"\.{2,}", " "),
    (r"[#®•©™&@·º½¾¿¡§~)(\]\[}{|\\/*]+", " "),
    (r"\s+\.\s+", " "),
]
_JUNK = [
    (r"\b[a-zA-Z]{1,3}\d{3,15}\b", ""),  # jc6640
    (r"\b[a-zA-Z]+\d+[a-zA-Z]+\b", ""),  # jc6640vc
    (r"\b\d+[a-zA-Z]+\d+\b", ""),  # 6640vc231
    (r"(?:worldwide\s+)?(?:free\s+)?shipping", ""),
    (r"(?:free\s)?download(?:\sfree)?", ""),
    (r"\bclick\b\s(?:for|on)\s\w+", ""),
    (rf"\b{_FILE}(?:\simages?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b", " "),  # j2d1a2a
    (r"\b\d+\.?\d*[xх×]\d+\.?\d*\b", ""),  # 1920x1080, with a Latin or a Cyrillic x
    (r"\b\s+:\s+", ": "),
    (r"(\D[,./])\b", r"\1 "),  # a space after a comma
    (r"\s+", " "),
    (r"^[\"']([\w\W]+)[\"']$", r"\1"),  # a caption that is one quotation loses its quotation marks
    (r"^['_,\-:;]", ""),
    (r"['_,\-:+]$", ""),
    (r"^\.\S+$", ""),
]


def lowered(caption: str) -> str:
    """Lower case, and no space at either end."""
    return caption.lower().strip()


def clean_caption(caption: str) -> str:
    """What DeepFloyd IF makes of a caption: no links, file names or markup, one kind of dash and of quotation mark.

    As IF does, twice over: what one pass uncovers, the next takes out. With the packages ftfy and beautifulsoup4 it is
    IF's own result to the letter; without them mangled encodings stay, and Python's own parser removes the markup.
    """
    return _clean_once(_clean_once(caption))


def _clean_once(caption: str) -> str:
    caption = _apply(_LINKS, unquote_plus(caption).strip().lower())
    caption = _apply(_SIGNS, _without_markup()(caption))
    if len(re.findall(r"[-_]", caption)) > 3:  # this-is-my-cute-cat
        caption = re.sub(r"[-_]", " ", caption)
    caption = html.unescape(html.unescape(_mended()(caption)))
    return _apply(_JUNK, caption).strip()


def _apply(rules: list[tuple[str, str]], caption: str) -> str:
    for pattern, replacement in rules:
        caption = re.sub(pattern, replacement, caption)
    return caption


def _without_markup() -> Callable[[str], str]:
    try:
        from bs4 import BeautifulSoup
    except ImportError:
        return _Plain.text
    return lambda caption: BeautifulSoup(caption, features="html.parser").text


def _mended() -> Callable[[str], str]:
    """ftfy's repair of text that was decoded wrongly, "schÃ¶n" → "schön"; nothing without ftfy."""
    try:
        from ftfy import fix_text
    except ImportError:
        return str
    return fix_text


class _Plain(HTMLParser):
    """The text between the tags."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    @classmethod
    def text(cls, caption: str) -> str:
        parser = cls()
        parser.feed(caption)
        parser.close()
        return "".join(parser.parts)
