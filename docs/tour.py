"""A tour of oflow that runs: ``python docs/tour.py``. Every claim below is an assert.

1. Declare a model. 2. Annotate it. 3. Compile. 4. Look at what the passes did. 5. Prove. 6. Simulate. 7. Run. 8. Share the state.
"""

import numpy as np

import oflow as of

# 1. A model is a declaration: shapes, dtypes and init rules. Nothing is allocated.


class Classifier(of.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = of.nn.Linear(64, 256)
        self.down = of.nn.Linear(256, 10)

    def forward(self, x):
        return self.down(of.relu(self.up(x)))


# 2. Annotate: column split, then row split, on four devices (Megatron style). The rest will be inferred.

model = Classifier()
four = of.placement("cpu", [0, 1, 2, 3])
model.up.weight.to_global(four, of.S(0))
model.down.weight.to_global(four, of.S(1))


def loss(x, y):
    return of.cross_entropy(model(x), y)


# 3. Compile for inputs of fixed logical shape. The result is a program around a proved plan.

inputs = of.spec((128, 64), "float32", four, of.B), of.spec((128,), "int64", four, of.B)
step = of.compile(loss, *inputs, optimizer=of.optim.SGD(lr=0.5))

# 4. Every pass left its result. After inference the hidden layer is split and the second product is a partial sum.

inferred = step.passes["infer_sbp"]
products = [node for node in inferred.nodes if node.op == "matmul" and node.phase == "F"]
layouts = [inferred.values[node.outs[0]].layout.sbp[0] for node in products]
print("layouts of the two products:", layouts)
assert layouts == [of.S(1), of.P]

# 5. The proof comes from the plan alone.

proof = step.plan.check()
print(proof)
assert proof.deadlock_free
assert set(proof.arenas) == {"cpu:0", "cpu:1", "cpu:2", "cpu:3", "host:0"}

# A plan is data: it survives a round trip, and what is read is proved again.

assert of.Plan.from_json(step.plan.to_json()) == step.plan

# 6. Simulate on a machine model: no kernel runs, no parameter exists.

trace = step.plan.simulate(steps=3)
print(f"three simulated steps take {trace.seconds * 1e3:.2f} ms")

# 7. Run. The reference evaluates the logical graph node by node; the actors agree with it.

random = np.random.default_rng(0)
x = random.normal(size=(128, 64)).astype("float32")
y = random.integers(0, 10, 128)
reference = step.graph.evaluate(x, y)
losses = [float(value) for value in step.stream((x, y) for _ in range(20))]
print(f"loss {losses[0]:.4f} -> {losses[-1]:.4f}")
assert np.isclose(losses[0], reference, rtol=1e-5)
assert losses[-1] < losses[0]

# 8. A second program over the same parameters, in another layout: annotate anew, on one device.

model.to_global(of.placement("cpu", [0]), of.B)
predict = of.compile(lambda x: model(x), of.spec((128, 64)), state=step)
logits = predict(x)
assert logits.shape == (128, 10)
step.close()
predict.close()
