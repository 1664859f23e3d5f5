"""A machine that nobody described."""

import oflow as of

# mistake
of.compile(of.relu, of.spec((128, 64)), machine="h200")
# fix
of.compile(of.relu, of.spec((128, 64)), machine="h100")
# both
