"""A schedule file in which ranks wait for each other."""

import oflow as of

# mistake
text = """0F0,0B0,0F1,0B1
1F1,1B1,1F0,1B0"""
# fix
text = """0F0,0F1,0B0,0B1
1F0,1B0,1F1,1B1"""
# both

of.Schedule.from_csv(text).replay(of.Times())
