"""A file that is no plan, or one that somebody edited."""

import oflow as of

text = of.compile(of.relu, of.spec((128, 64))).plan.to_json()

# mistake
text = text.replace('"slots":2', '"slots":1', 1)
# fix
# both

of.Plan.from_json(text)
