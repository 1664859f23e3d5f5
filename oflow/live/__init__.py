"""What a running job says of itself: figures as data, pure functions that make them, and one place that draws.

    figures     Reading, Mark -> Progress, PhaseProgress: rate, time left, busy shares
    phases      long jobs name what they are at; whoever draws asks how far they are, so that no loop ever reports
    follow      results of a program, counted while they pass
    lines       the figures in words
    bar         a bar on a terminal (rich)
    screen      a bar, lines, JSON or nothing
"""

from oflow.live.figures import Mark, PhaseProgress, Progress, Reading
from oflow.live.follow import Following, followed, length
from oflow.live.phases import Job, phase
from oflow.live.screen import Form, form, shown

__all__ = [
    "Following", "Form", "Job", "Mark", "PhaseProgress", "Progress", "Reading", "followed", "form", "length", "phase", "shown",
]  # fmt: skip
