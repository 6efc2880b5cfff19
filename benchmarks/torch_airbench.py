"""airbench94 in PyTorch on the CPU, on the same pictures: what `--recipe fast` is compared with.

    python benchmarks/torch_airbench.py --data-dir DIR              # 9.9 epochs, then the test set with six views
    python benchmarks/torch_airbench.py --data-dir DIR --steps 5    # time 5 steps and stop
    python benchmarks/torch_airbench.py --data-dir DIR --dtype bfloat16    # faster on a CPU with bfloat16

Written from the description in "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv:2404.00498), with the constants
from the author's program. It draws random crops for a whole epoch at once, too. Needs torch (`pip install torch`).
"""

import argparse
import json
import math
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from davidnet_keras import load_cifar10

BATCH_SIZE, EPOCHS = 1024, 9.9
MOMENTUM, BIAS_SCALE = 0.85, 64
PER_STEP = 1024 * (
    1 + 1 / (1 - MOMENTUM)
)  # how much Nesterov momentum amplifies a constant gradient, for 1,024 pictures
LEARNING_RATE, WEIGHT_DECAY = 11.5 / PER_STEP, 0.0153 * BATCH_SIZE / PER_STEP
SMOOTHING, WHITEN_EPOCHS = 0.2, 3
WIDTHS = (64, 256, 256)


class Block(nn.Module):
    """Convolution, 2x2 max pooling, norm, GELU; convolution, norm, GELU."""

    def __init__(self, inputs, filters):
        super().__init__()
        self.first = nn.Conv2d(inputs, filters, 3, padding=1, bias=False)
        self.second = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(filters, eps=1e-12, momentum=0.4) for _ in range(2))
        for conv in (self.first, self.second):
            nn.init.dirac_(conv.weight.data[: conv.in_channels])
        for norm in self.norms:
            norm.weight.requires_grad = False

    def forward(self, x):
        x = functional.gelu(self.norms[0](functional.max_pool2d(self.first(x), 2)))
        return functional.gelu(self.norms[1](self.second(x)))


class Airbench(nn.Module):
    """The network: whitened patches, three blocks, global max pooling, a linear layer."""

    def __init__(self):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad = False
        self.blocks = nn.Sequential(*(Block(*sizes) for sizes in zip((24, *WIDTHS[:-1]), WIDTHS, strict=True)))
        self.head = nn.Linear(WIDTHS[-1], 10, bias=False)
        nn.init.zeros_(self.whiten.bias)

    def adapt(self, images):
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
        variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        kernel = (directions / torch.sqrt(variances + 5e-4)).T.reshape(12, 3, 2, 2)
        self.whiten.weight.data[:] = torch.cat((kernel, -kernel))

    def forward(self, x):
        x = self.blocks(functional.gelu(self.whiten(x)))
        return self.head(x.amax((2, 3))) / 9


def cropped(images, shift):
    """Shift each picture by up to `shift` pixels in each direction, reflected at the border."""
    padded = functional.pad(images, (shift,) * 4, "reflect")
    moves = torch.randint(0, 2 * shift + 1, (len(images), 2))
    out = torch.empty_like(images)
    side = images.shape[-1]
    for down in range(2 * shift + 1):
        for right in range(2 * shift + 1):
            chosen = (moves[:, 0] == down) & (moves[:, 1] == right)
            out[chosen] = padded[chosen, :, down : down + side, right : right + side]
    return out


def triangle(step, steps):
    """The learning rate as a fraction of its peak: 0.2 at the start, 1 after 23 % of the steps, 0.07 at the end."""
    peak = int(0.23 * steps)
    return float(np.interp(step, [0, peak, steps], [0.2, 1.0, 0.07]))


class Training:
    """The network, its optimizer and Lookahead's slow weights."""

    def __init__(self, steps, dtype, channels_last):
        self.steps, self.dtype, self.done = steps, dtype, 0
        self.model = Airbench().to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        trained = [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]
        groups = [
            ([weight for name, weight in trained if "norms" in name], LEARNING_RATE * BIAS_SCALE),
            ([weight for name, weight in trained if "norms" not in name], LEARNING_RATE),
        ]
        self.optimizer = torch.optim.SGD(
            [{"params": params, "lr": lr, "weight_decay": WEIGHT_DECAY / lr} for params, lr in groups],
            momentum=MOMENTUM,
            nesterov=True,
        )
        self.rate = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: triangle(step, steps))
        self.slow = {name: value.clone() for name, value in self.model.state_dict().items()}

    def step(self, images, labels):
        with torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):
            logits = self.model(images)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=SMOOTHING, reduction="sum")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.rate.step()
        self.done += 1
        if self.done == self.steps:
            self.pull(1.0)
        elif self.done % 5 == 0:
            self.pull(0.95**5 * (self.done / self.steps) ** 3)

    def pull(self, decay):
        """Move the slow weights towards the fast ones, then copy them to the fast ones."""
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                value.copy_(self.slow[name].lerp_(value, 1 - decay))

    @torch.no_grad()
    def logits(self, images, views):
        self.model.eval()
        shifted = functional.pad(images, (1,) * 4, "reflect")
        chosen = [(images, 0.5), (shifted[..., :-2, :-2], 0.25), (shifted[..., 2:, 2:], 0.25)]
        total = 0
        with torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):
            for view, weight in chosen if views == 6 else [(images, 1.0)]:
                both = [view, view.flip(-1)] if views == 6 else [view]
                total = total + weight * sum(self.model(one).float() for one in both) / len(both)
        return total


def prepared(images, mean, std, channels_last):
    """uint8 (n, 32, 32, 3) -> float32 (n, 3, 32, 32), normalised."""
    images = torch.from_numpy((images.astype(np.float32) - mean) / std).permute(0, 3, 1, 2)
    return images if channels_last else images.contiguous()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="where CIFAR-10 is, as for python -m davidnet_keras")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=float, default=EPOCHS)
    parser.add_argument("--steps", type=int, help="time this many steps of the first epoch, then stop")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default="float32", help="bfloat16 uses autocast (default: float32)"
    )
    parser.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    (x_train, y_train), (x_test, y_test) = load_cifar10(options.data_dir)
    mean, std = x_train.mean((0, 1, 2), dtype=np.float64), x_train.std((0, 1, 2), dtype=np.float64)
    mean, std = mean.astype(np.float32), std.astype(np.float32)
    began = time.perf_counter()
    images, labels = prepared(x_train, mean, std, options.channels_last), torch.from_numpy(y_train)
    an_epoch = len(images) // BATCH_SIZE
    training = Training(math.ceil(options.epochs * an_epoch), getattr(torch, options.dtype), options.channels_last)
    training.model.adapt(images[:5000])
    mirrored = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(-1), images)
    times = []
    for epoch in range(math.ceil(options.epochs)):
        training.model.train()
        training.model.whiten.bias.requires_grad = epoch < WHITEN_EPOCHS
        pictures = cropped(mirrored, 2)
        pictures = pictures.flip(-1) if epoch % 2 else pictures
        for chosen in torch.randperm(len(images)).split(BATCH_SIZE)[:an_epoch]:
            if training.done == training.steps:
                break
            started = time.perf_counter()
            training.step(pictures[chosen], labels[chosen])
            times.append(time.perf_counter() - started)
            if options.steps and len(times) > options.steps:
                rates = [BATCH_SIZE / seconds for seconds in times[1:]]
                print(json.dumps({"name": "airbench94 in PyTorch", "unit": "images/s", "values": rates}))
                return
        print(f"epoch {epoch + 1}: {time.perf_counter() - began:.0f} s", flush=True)
    trained = time.perf_counter() - began
    test_images, truth = prepared(x_test, mean, std, options.channels_last), torch.from_numpy(y_test)
    report = {"seed": options.seed, "epochs": options.epochs, "dtype": options.dtype, "training_seconds": trained}
    for views in (1, 6):
        began = time.perf_counter()
        right = sum(
            (training.logits(some, views).argmax(1) == answers).sum().item()
            for some, answers in zip(test_images.split(1000), truth.split(1000), strict=True)
        )
        report[f"accuracy_{views}"] = right / len(truth)
        report[f"evaluation_seconds_{views}"] = time.perf_counter() - began
    print(json.dumps(report))


if __name__ == "__main__":
    main()
