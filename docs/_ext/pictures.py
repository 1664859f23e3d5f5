"""Pictures of `oflow.view` inside a page, in the colours of the page's own theme."""

from __future__ import annotations

import re

from oflow.view import style

STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)


def picture(svg: str, words: str, fitting: bool = False) -> str:
    """An SVG above `words`, in a box that scrolls; fitting: as narrow as the page. Its rules are in the site's style sheet."""
    drawn = "\n".join(filter(None, STYLE.sub("", svg).splitlines()))
    kind = "picture fitting" if fitting else "picture"
    return f'\n<figure class="{kind}"><div>\n{drawn}\n</div><figcaption>{words}</figcaption></figure>\n'


def css() -> str:
    """The rules of all pictures: dark where the page is, not only where the system is."""
    light, dark = style.css().split("@media (prefers-color-scheme:dark)")
    rules = dark.strip()[1:-1]
    return (
        f'{light}\nbody[data-theme="dark"] {{{rules}}}\n'
        f'@media (prefers-color-scheme: dark) {{ body:not([data-theme="light"]) {{{rules}}} }}\n'
    )
