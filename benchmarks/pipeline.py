"""Time the input pipeline alone, and compare it with the reference notebook's.

    python benchmarks/pipeline.py            # 50,000 pictures per epoch, 8 epochs of ours, 2 of the reference's
    python benchmarks/pipeline.py --memory   # instead: how much ours adds to peak memory

Ours: uint8 batches of 512, every picture once per epoch in a new order, cropped and flipped (and with an 8x8 square
cut out). The reference's: float32 pictures padded and normalised beforehand, augmented one by one with `tf.image`,
shuffled, batched. Both include shuffling.
"""

import argparse
import time

from davidnet_keras import tune_tensorflow

tune_tensorflow()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from figures import Figure, peak_memory, show  # noqa: E402

from davidnet_keras import AlternatingFlip, Augmentation, Cutout, RandomCrop, RandomFlip  # noqa: E402
from davidnet_keras.data.aligned import aligned_empty  # noqa: E402
from davidnet_keras.data.pipeline import steps_per_epoch, train_dataset  # noqa: E402

BATCH_SIZE = 512


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50000, help="pictures in the data set (default: 50000)")
    parser.add_argument("--epochs", type=int, default=8, help="epochs timed (default: 8)")
    parser.add_argument("--memory", action="store_true", help="measure memory instead, of crop, flip and cutout")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    x = aligned_empty((arguments.images, 32, 32, 3), np.uint8)  # as `load_cifar10` makes it
    for picture in x:  # one at a time: a second copy of all would raise the peak before the measurement
        picture[:] = rng.integers(0, 256, picture.shape, np.uint8)
    y = rng.integers(0, 10, arguments.images)
    if arguments.memory:
        tf.constant(0)  # initialise TensorFlow before measuring
        before = peak_memory()
        dataset = train_dataset(x, y, BATCH_SIZE, Augmentation([RandomCrop(4), RandomFlip(), Cutout(8)]))
        epoch_rates(dataset, len(x), arguments.epochs)
        show(Figure("pipeline: memory beyond the arrays", "MB", [peak_memory() - before]))
        return
    for name, layers in {
        "crop, flip": [RandomCrop(4), RandomFlip()],
        "crop, alternating flip": [RandomCrop(4), AlternatingFlip()],
        "crop, flip, cutout": [RandomCrop(4), RandomFlip(), Cutout(8)],
    }.items():
        dataset = train_dataset(x, y, BATCH_SIZE, Augmentation(layers))
        show(Figure(f"pipeline, {name}", "images/s", epoch_rates(dataset, len(x), arguments.epochs)))
    reference = reference_dataset(x, y).repeat()
    show(
        Figure(
            "pipeline, reference notebook", "images/s", epoch_rates(reference, len(x), max(2, arguments.epochs // 4))
        )
    )


def epoch_rates(dataset, images, epochs):
    """Pictures per second in each epoch except the first, which warms up."""
    batches, rates = iter(dataset), []
    for _ in range(epochs + 1):
        begin = time.perf_counter()
        for _ in range(steps_per_epoch(images, BATCH_SIZE)):
            next(batches)
        rates.append(images / (time.perf_counter() - begin))
    return rates[1:]


def reference_dataset(x, y):
    """The notebook's pipeline: pad and normalise all pictures first, then augment each one separately."""
    padded = np.pad(x, [(0, 0), (4, 4), (4, 4), (0, 0)], mode="reflect").astype(np.float32)
    padded = (padded - x.mean((0, 1, 2))) / x.std((0, 1, 2))

    def change(image, label):
        return tf.image.random_flip_left_right(tf.image.random_crop(image, [32, 32, 3])), label

    dataset = tf.data.Dataset.from_tensor_slices((padded.astype(np.float32), y))
    return dataset.map(change).shuffle(len(x)).batch(BATCH_SIZE).prefetch(1)


if __name__ == "__main__":
    main()
