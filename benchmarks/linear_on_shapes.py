"""Measure the accuracy of multinomial logistic regression on the pixels of the embedded data set.

    python benchmarks/linear_on_shapes.py

Prints the accuracy of each setting, then the best on the test set, a choice that favours the linear model.
"""

import itertools

import numpy as np

from davidnet_keras import load_shapes

EPOCHS, BATCH_SIZE, MOMENTUM = 15, 100, 0.9
RATES, DECAYS = (1e-3, 1e-2), (0.0, 0.3, 3.0)


def standardized(x, mean, std):
    """Flatten pictures (N, 32, 32, 3) to rows (N, 3073) with a constant last column."""
    rows = ((x - mean) / std).reshape(len(x), -1)
    return np.c_[rows, np.ones(len(x))].astype(np.float32)


def train(inputs, labels, rate, decay, classes=10):
    """Train the weights (3073, classes) with a learning rate that decays linearly to 0."""
    rng = np.random.default_rng(0)
    weights = np.zeros((inputs.shape[1], classes), np.float32)
    velocity = np.zeros_like(weights)
    for epoch in range(EPOCHS):
        for batch in np.array_split(rng.permutation(len(inputs)), len(inputs) // BATCH_SIZE):
            scores = inputs[batch] @ weights
            likelihood = np.exp(scores - scores.max(axis=1, keepdims=True))
            error = likelihood / likelihood.sum(axis=1, keepdims=True) - np.eye(classes)[labels[batch]]
            gradient = inputs[batch].T @ error.astype(np.float32) / len(batch) + decay * weights
            velocity = MOMENTUM * velocity - rate * (1 - epoch / EPOCHS) * gradient
            weights = weights + velocity
    return weights


def main():
    (x_train, y_train), (x_test, y_test) = load_shapes()
    statistics = x_train.mean((0, 1, 2)), x_train.std((0, 1, 2))
    inputs, tests = standardized(x_train, *statistics), standardized(x_test, *statistics)
    best = 0.0
    for rate, decay in itertools.product(RATES, DECAYS):
        weights = train(inputs, y_train, rate, decay)
        seen, unseen = (
            (rows @ weights).argmax(axis=1) == labels for rows, labels in ((inputs, y_train), (tests, y_test))
        )
        print(f"rate {rate:g}, decay {decay:g}: train {seen.mean():.1%}, test {unseen.mean():.1%}", flush=True)
        best = max(best, unseen.mean())
    print(f"best test accuracy of a linear model: {best:.1%} ({len(x_train):,} training pictures)")


if __name__ == "__main__":
    main()
