"""Time DavidNet's train step or inference in PyTorch on the CPU, in each memory layout and precision.

    python benchmarks/torch_step.py --batch-size 512 --dropout 0.05

Needs PyTorch (`pip install torch`). The step is SGD with Nesterov momentum and weight decay on a summed loss; the
pictures are normalised floats in memory.
"""

import argparse
import itertools
import time

import torch
from figures import Figure, peak_memory, show
from torch import nn
from torch.nn import functional

LAYOUTS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}


class ConvBN(nn.Sequential):
    """3x3 convolution, dropout, batch normalisation, ReLU."""

    def __init__(self, inputs, outputs, dropout):
        middle = [nn.Dropout(dropout)] if dropout else []
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        super().__init__(convolution, *middle, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """x + two ConvBN of x."""

    def __init__(self, channels, dropout):
        super().__init__()
        self.layers = nn.Sequential(ConvBN(channels, channels, dropout), ConvBN(channels, channels, dropout))

    def forward(self, x):
        return x + self.layers(x)


def davidnet(dropout):
    return nn.Sequential(
        ConvBN(3, 64, dropout),
        ConvBN(64, 128, dropout),
        nn.MaxPool2d(2),
        Residual(128, dropout),
        ConvBN(128, 256, dropout),
        nn.MaxPool2d(2),
        ConvBN(256, 512, dropout),
        nn.MaxPool2d(2),
        Residual(512, dropout),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(512, 10, bias=False),
    )


def rates(batch_size, dropout, layout, bfloat16, steps):
    """Pictures per second in each of `steps` train steps, after a warm-up step."""
    network = davidnet(dropout).to(memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-5, momentum=0.9, nesterov=True, weight_decay=0.256)
    x = torch.randn(batch_size, 3, 32, 32).contiguous(memory_format=layout)
    y = torch.randint(0, 10, (batch_size,))
    found = []
    for _ in range(steps + 1):
        begin = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = network(x)
        functional.cross_entropy(0.125 * logits.float(), y, reduction="sum").backward()
        optimizer.step()
        found.append(batch_size / (time.perf_counter() - begin))
    return found[1:]


@torch.inference_mode()
def inference_rates(batch_size, layout, bfloat16, steps):
    """Pictures per second of inference in each of `steps` batches, after a warm-up batch."""
    network = davidnet(0).to(memory_format=layout).eval()
    x = torch.randn(batch_size, 3, 32, 32).contiguous(memory_format=layout)
    found = []
    for _ in range(steps + 1):
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            network(x)
        found.append(batch_size / (time.perf_counter() - begin))
    return found[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=512, help="pictures per step (default: 512)")
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after a warm-up step (default: 3)")
    parser.add_argument("--dropout", type=float, default=0.05, help="dropout rate (default: 0.05)")
    parser.add_argument(
        "--bfloat16", action="store_true", help="also time autocast, on a CPU with bfloat16 instructions"
    )
    parser.add_argument("--layout", choices=LAYOUTS, help="memory layout (default: each in turn)")
    parser.add_argument("--inference", action="store_true", help="time inference instead of training")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    arguments = parser.parse_args()
    layouts = [arguments.layout] if arguments.layout else LAYOUTS
    for layout, bfloat16 in itertools.product(layouts, (False, True) if arguments.bfloat16 else (False,)):
        kind = "inference" if arguments.inference else f"dropout {arguments.dropout}"
        name = f"PyTorch {torch.__version__}, {kind}, {layout}{', bfloat16' if bfloat16 else ''}"
        if arguments.inference:
            values = inference_rates(arguments.batch_size, LAYOUTS[layout], bfloat16, arguments.steps)
        else:
            values = rates(arguments.batch_size, arguments.dropout, LAYOUTS[layout], bfloat16, arguments.steps)
        show(Figure(name, "images/s", values))
        show(Figure(f"{name}: peak memory", "MB", [peak_memory()]))  # of this mode and earlier ones


if __name__ == "__main__":
    main()
