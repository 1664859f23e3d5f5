"""User code -> logical graph: modules that declare parameters, capture that traces a function, optimizers, batches."""
