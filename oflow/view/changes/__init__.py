"""What changed between two plans: as data (`differences`), and in words (`changes_text`).

    matching   which rows of two plans are the same, by name, role and stage, not by number
    change     the changes as data                        plans   of whole plans, section by section
    rows       of actors, registers, orders               words   a screen of text
    passes     what one pass changed of a graph or plan, as a unified diff
"""

from __future__ import annotations

from oflow.view.changes.change import Change, Field, PlanChanges
from oflow.view.changes.passes import PassChanges, pass_changes
from oflow.view.changes.plans import differences
from oflow.view.changes.words import changes_text

__all__ = ["Change", "Field", "PassChanges", "PlanChanges", "changes_text", "differences", "pass_changes"]
