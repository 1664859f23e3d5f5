"""``oflow explain FILE --after PASS --diff``: what a pass changed, line by line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from oflow.graph import Graph
from oflow.plan import Plan
from oflow.view.changes import pass_changes

STYLES = {"+": "green", "-": "red", "@": "cyan"}


def explain_pass(passes: Mapping[str, Graph | Plan], name: str, as_json: bool) -> None:
    """Print the counts before and after, and a unified diff; in colours on a terminal."""
    found = pass_changes(passes, name)
    if as_json:
        facts = {"after": name, "previous": found.previous, "counts": {"before": dict(found.before), "after": dict(found.after)}}
        print(json.dumps(facts | {"added": found.added, "removed": found.removed, "lines": list(found.lines)}))
        return
    if not sys.stdout.isatty():
        print("\n".join([found.summary(), *found.lines]))
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(found.summary(), "bold"))
    for line in found.lines:
        console.print(Text(line, STYLES.get(line[:1], "")))
