"""A small smooth network and its Nesterov step, worked out in NumPy (float64): what the train step is held against.

conv 3x3 (same, no bias) -> batch normalisation -> tanh -> 2x2 average pooling -> dense (no bias) -> softmax.
Tanh and averages, not ReLU and maxima: those turn a rounding error into another branch.
"""

import numpy as np

EPSILON = 1e-5
MOVING_MOMENTUM = 0.9


def patches(x):
    """(n, h, w, c) -> (n, h, w, 9 c): each pixel's 3x3 neighbourhood, zero outside."""
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    height, width = x.shape[1:3]
    return np.concatenate([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=-1)


def gradients(weights, x, labels, sample_weight):
    """(per-example losses, gradients of sum(sample_weight * loss), batch mean, unbiased batch variance)."""
    kernel, gamma, beta, dense = weights
    columns = patches(x)
    z = columns @ kernel.reshape(-1, kernel.shape[-1])
    mean, variance = z.mean((0, 1, 2)), z.var((0, 1, 2))
    count = z[..., 0].size
    deviation = np.sqrt(variance + EPSILON)
    normal = (z - mean) / deviation
    active = np.tanh(gamma * normal + beta)
    n, height, width, channels = active.shape
    pooled = active.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4)).reshape(n, -1)
    logits = pooled @ dense
    shifted = logits - logits.max(1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    losses = -log_probability[np.arange(n), labels]

    d_logits = np.exp(log_probability)
    d_logits[np.arange(n), labels] -= 1
    d_logits *= sample_weight[:, None]
    d_dense = pooled.T @ d_logits
    d_pooled = (d_logits @ dense.T).reshape(n, height // 2, 1, width // 2, 1, channels) / 4
    d_active = np.broadcast_to(d_pooled, (n, height // 2, 2, width // 2, 2, channels)).reshape(active.shape)
    d_scaled = d_active * (1 - active**2)
    d_gamma, d_beta = (d_scaled * normal).sum((0, 1, 2)), d_scaled.sum((0, 1, 2))
    d_z = gamma / deviation * (d_scaled - (d_beta + normal * d_gamma) / count)
    d_kernel = np.einsum("nhwp,nhwc->pc", columns, d_z).reshape(kernel.shape)
    return losses, [d_kernel, d_gamma, d_beta, d_dense], mean, variance * count / (count - 1)


class NumpyTrainer:
    """The weights, velocities and moving statistics, moved step by step."""

    def __init__(self, weights, l2=0.0, momentum=0.9):
        self.weights = [np.asarray(weight, np.float64) for weight in weights]
        self.velocities = [np.zeros_like(weight) for weight in self.weights]
        channels = self.weights[1].shape
        self.moving_mean, self.moving_variance = np.zeros(channels), np.ones(channels)
        self.l2, self.momentum = l2, momentum

    def gradients(self, x, labels, sample_weight=None):
        """(per-example losses, gradients of the weighted sum + l2 w); the moving statistics take their step."""
        sample_weight = np.ones(len(x)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        losses, grads, mean, variance = gradients(self.weights, np.asarray(x, np.float64), labels, sample_weight)
        self.moving_mean += (1 - MOVING_MOMENTUM) * (mean - self.moving_mean)
        self.moving_variance += (1 - MOVING_MOMENTUM) * (variance - self.moving_variance)
        return losses, [grad + self.l2 * weight for grad, weight in zip(grads, self.weights, strict=True)]

    def apply(self, grads, rate):
        """Nesterov momentum with the rate outside the velocity."""
        for i, grad in enumerate(grads):
            self.velocities[i] = self.momentum * self.velocities[i] + grad
            self.weights[i] = self.weights[i] - rate * (grad + self.momentum * self.velocities[i])

    def step(self, x, labels, rate, sample_weight=None):
        """One step; the per-example losses before it."""
        losses, grads = self.gradients(x, labels, sample_weight)
        self.apply(grads, rate)
        return losses
