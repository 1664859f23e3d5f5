"""The page: a template, style sheets, scripts and the data in one text that loads nothing from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

PLACES = ("<!--oflow:title-->", "<!--oflow:css-->", "<!--oflow:js-->", "<!--oflow:data-->")


def page(data: Mapping[str, Any]) -> str:
    """The report as HTML text. ``static/manifest.txt`` names the style sheets and scripts, in the order in which they are joined."""
    static = files("oflow.view.report") / "static"
    names = [line.strip() for line in (static / "manifest.txt").read_text().splitlines()]
    names = [name for name in names if name and not name.startswith("#")]

    def joined(suffix: str, tag: str) -> str:
        texts = [(static / name).read_text() for name in names if name.endswith(suffix)]
        return "\n".join(f"<{tag}>\n{text}</{tag}>" for text in texts)

    parts = dict(zip(PLACES, (
        escape(str(data["meta"]["title"])), joined(".css", "style"), joined(".js", "script"),
        f'<script type="application/json" id="oflow-data">{json_text(data)}</script>',
    ), strict=True))  # fmt: skip
    template = (static / "report.html").read_text()
    for place in PLACES:  # cut, not replaced one after the other: what is put in may hold the words of a place
        assert template.count(place) == 1, place
    return _filled(template, parts)


def _filled(template: str, parts: Mapping[str, str]) -> str:
    ends = sorted((template.index(place), place) for place in parts)
    made, at = [], 0
    for start, place in ends:
        made += [template[at:start], parts[place]]
        at = start + len(place)
    return "".join([*made, template[at:]])


def json_text(data: Mapping[str, Any]) -> str:
    """JSON that no HTML parser takes for markup."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
