"""What changed between two plans: as data (`differences`), and in words (`changes_text`).

    matching   which rows of two plans are the same, by name, role and stage, not by number
    plans      the changes, section by section            words   a screen of text
    passes     what one pass changed of a graph or plan, as a unified diff
"""

from __future__ import annotations

from oflow.view.changes.passes import PassChanges, pass_changes
from oflow.view.changes.plans import Change, Field, PlanChanges, differences
from oflow.view.changes.words import changes_text

__all__ = ["Change", "Field", "PassChanges", "PlanChanges", "changes_text", "differences", "pass_changes"]
