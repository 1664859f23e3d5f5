"""The page: a template, style sheets, scripts and the data in one text that loads nothing from anywhere."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

PLAIN = 2_000_000
"""Characters of JSON up to which it is written as it is."""
PLACES = ("<!--oflow:title-->", "<!--oflow:css-->", "<!--oflow:js-->", "<!--oflow:data-->")


def page(data: Mapping[str, Any]) -> str:
    """The report as HTML text. ``static/manifest.txt`` names the style sheets and scripts, in the order in which they are joined."""
    static = files("oflow.view.report") / "static"
    names = [line.strip() for line in (static / "manifest.txt").read_text().splitlines()]
    names = [name for name in names if name and not name.startswith("#")]

    def texts(suffix: str, vendored: bool) -> list[str]:
        return [_text(static, name) for name in names if name.endswith(suffix) and name.startswith("vendor/") == vendored]

    styles = "\n".join([*texts(".css", True), *texts(".css", False)])
    scripts = [f"<script>\n{text}</script>" for text in texts(".js", True)]
    scripts.append(f'<script type="module">\n{joined(texts(".js", False))}</script>')
    parts = dict(zip(PLACES, (
        escape(str(data["meta"]["title"])), f"<style>\n{styles}</style>", "\n".join(scripts),
        data_tag(data),
    ), strict=True))  # fmt: skip
    template = (static / "report.html").read_text()
    for place in PLACES:  # cut, not replaced one after the other: what is put in may hold the words of a place
        assert template.count(place) == 1, place
    return _filled(template, parts)


def _text(static: Traversable, name: str) -> str:
    """A file of the page; one from elsewhere with its licence before it."""
    text = (static / name).read_text()
    if not name.startswith("vendor/"):
        return text
    licence = (static / f"{name.partition('.')[0]}.LICENSE").read_text()
    return f"/*! {name}\n\n{licence.strip()}\n*/\n{text}"


def joined(modules: Iterable[str]) -> str:
    """One module of several that import only from one another: a browser loads no module from a local file, so they share one scope."""
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", text)) for text in modules)


_IMPORT = re.compile(r'^import\s[^;]*?from "\./\w+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const|let|function|class)", re.MULTILINE)


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


def data_tag(data: Mapping[str, Any]) -> str:
    """The element that holds the data: JSON as it is, or where that is long, compressed, to a tenth and less."""
    text = json_text(data)
    if len(text) <= PLAIN:
        return f'<script type="application/json" id="oflow-data">{text}</script>'
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return f'<script type="application/gzip" id="oflow-data">{packed}</script>'
