"""A cell of a schedule file that is no action."""

import oflow as of

# mistake
text = "0F0,F1,0B0,0B1"
# fix
text = "0F0,0F1,0B0,0B1"
# both

of.Schedule.from_csv(text)
