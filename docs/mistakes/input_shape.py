"""An input of another shape than the program was compiled for."""

import numpy as np

import oflow as of

layer = of.nn.Linear(64, 10)
predict = of.compile(layer, of.spec((128, 64)))

# mistake
predict(np.zeros((1, 64), "float32"))
# fix
one = of.compile(layer, of.spec((1, 64)), state=predict)
one(np.zeros((1, 64), "float32"))
# both
