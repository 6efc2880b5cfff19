"""`python -m davidnet_keras evaluate RUN`: how good a run's model is, class by class, and where it goes wrong."""

from davidnet_keras.cli.options import DATA_DIR, Parser
from davidnet_keras.kernels.environment import import_tensorflow
from davidnet_keras.runs.run_folder import RunFolder

DESCRIPTION = """Test a run's model: accuracy, a table of the classes, pictures of the confusion matrix and of the
worst mistakes."""


def main(argv):
    """Run the command; UserError for bad input."""
    parser = Parser("evaluate", argv, "RUN [flags]", DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="run folder, finished or not")
    parser.flag("data_dir", None, DATA_DIR, str | None, metavar="PATH")
    parser.flag("output", None, "folder to write; None: RUN/evaluation", str | None, metavar="FOLDER")
    options = parser.parse()
    RunFolder(options.run).read_recipe()  # a folder without a run is refused before TensorFlow takes its seconds
    import_tensorflow()
    from davidnet_keras.runs.evaluate import evaluate_run

    print(table(evaluate_run(options.run, options.data_dir, options.output)))


def table(result):
    """The result in words and columns."""
    width = max(len("class"), *(len(scored.name) for scored in result.per_class))
    lines = [f"{'class':{width}}  precision  recall       n"]
    for name, *shares, count in result.per_class:
        precision, recall = ("-" if share is None else f"{100 * share:.1f} %" for share in shares)
        lines.append(f"{name:{width}}  {precision:>9}  {recall:>6}  {count:6,}")
    n, right = result.confusion.sum(), result.confusion.trace()
    summary = f"Test accuracy {100 * result.accuracy:.2f} % ({right:,} of {n:,}), loss {result.loss:.4f}"
    return "\n".join([*lines, f"{summary}; pictures in {result.output}: confusion.png, mistakes.png"])
