"""The flags of the command line, those of the recipe derived from `Recipe`; quick to import."""

import argparse
import dataclasses
import difflib
import re
from pathlib import Path
from typing import Literal, get_args, get_origin

from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.recipe import RECIPES, Recipe
from davidnet_keras.runs.run_folder import RunFolder
from davidnet_keras.runs.series_folder import SeriesFolder

PROGRAM = "python -m davidnet_keras"
BAD_INPUT = 2  # exit code
DATA_DIR = "folder, .tar.gz or .tar with CIFAR; None: Keras's cache, filled by a download"


class Parser(argparse.ArgumentParser):
    """The flags of one command ("": training), with text above and below them; a refusal is one sentence and code 2."""

    def __init__(self, command, argv, usage, description, examples=""):
        program = f"{PROGRAM} {command}".rstrip()
        super().__init__(
            prog=program,
            usage=f"{program} {usage}",
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,  # so that `parse` knows which flags were given
        )
        self._argv, self._default_of, self._titled = [_spelled(word) for word in argv], {}, {}
        self._show_all = "--help-all" in argv
        self._negative_number_matcher = re.compile(r"-\.?\d")  # argparse's own takes -1e-3 for a flag

    def flag(self, name, default, help, kind=str, group=None, advanced=False, metavar=None):
        """Add a flag of a kind: str, int, float, one of these `| None`, a `Literal`, or bool (--name and --no-name).

        The help lists it under `group`; an `advanced` one is shown by --help-all only.
        """
        self._default_of[name] = default
        if group and group not in self._titled:
            self._titled[group] = self.add_argument_group(group)
        shown = help.replace("%", "%%") + f" (default: {default})"
        value = {"action": argparse.BooleanOptionalAction} if kind is bool else _value(kind, metavar)
        (self._titled[group] if group else self).add_argument(
            "--" + name.replace("_", "-"), help=argparse.SUPPRESS if advanced and not self._show_all else shown, **value
        )

    def parse(self):
        """The values as attributes, and the names of the flags that were given as `given`."""
        found, rest = self.parse_known_intermixed_args(self._argv)
        if rest:
            self.error(self._unknown(next((word for word in rest if word.startswith("-")), rest[0])))
        given = vars(found)
        return argparse.Namespace(**self._default_of | given, given=set(given))

    def error(self, message):
        """Print what is wrong in one sentence and exit with code 2."""
        message = re.sub(r"^argument (\S+): ", r"\1: ", message)
        message = re.sub(r"ignored explicit argument .*", "takes no value", message)
        message = message.replace("expected one argument", "its value is missing")
        self.exit(BAD_INPUT, f"davidnet_keras: {message[0].upper()}{message[1:]}{'' if message[-1] in '.?' else '.'}\n")

    def _unknown(self, word):
        if not word.startswith("-"):
            return f"{word!r} is neither a flag nor the value of one; a command comes before its flags."
        name = word.split("=")[0]
        near = nearest(name, [flag for flag in self._option_string_actions if flag.startswith("--")])
        return f"There is no flag {name}" + (f"; did you mean {near}?" if near else f"; see {self.prog} --help-all.")


def _spelled(word):
    """A flag with hyphens for underscores; any other word as it is."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word


def _value(kind, metavar):
    """The arguments of `add_argument` for a value of this type."""
    if get_origin(kind) is Literal:
        return {"type": lambda word: _choice(word, get_args(kind)), "metavar": "{" + ",".join(get_args(kind)) + "}"}
    optional = type(None) in get_args(kind)
    base = get_args(kind)[0] if optional else kind
    shown, noun = {int: ("INT", "a whole number"), float: ("NUMBER", "a number"), str: ("TEXT", "")}[base]

    def read(word):
        try:
            return None if optional and word == "None" else base(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {noun}. Received: {word}") from None

    return {"type": read, "metavar": metavar or shown}


def _choice(word, choices):
    if word in choices:
        return word
    near = nearest(word, choices)
    hint = f"did you mean {near}?" if near else f"choose {', '.join(choices)}."
    raise argparse.ArgumentTypeError(f"there is no {word}; {hint}")


def nearest(word, known):
    """The one of the known words that was probably meant, by its initials, beginning or spelling; None if none."""
    plain = word.lstrip("-").lower()
    for name in known:
        parts = name.lstrip("-").split("-")
        if len(parts) > 1 and plain == "".join(part[:1] for part in parts):
            return name
    plainly = {name.lstrip("-"): name for name in known}
    near = [name for name in plainly if plain and name.startswith(plain)]
    near = near or difflib.get_close_matches(plain, plainly, n=1, cutoff=0.7)
    return plainly[near[0]] if near else None


def add_data(parser):
    """Add the flags that say where the pictures come from."""
    names = Literal[datasets.names()]
    parser.flag("dataset", "cifar10", "pictures to learn; shapes is drawn, the others are downloaded", names, "data")
    parser.flag("labels", "fine", "of cifar100: 100 fine or 20 coarse classes", Literal["fine", "coarse"], "data", True)
    parser.flag("data_dir", None, DATA_DIR, str | None, "data", metavar="PATH")


def add_recipe(parser, recipe, without=()):
    """Add a flag for every setting but some, with this recipe's values as the defaults."""
    names = tuple(dict.fromkeys([*RECIPES, recipe.name]))  # a run's recipe may have a name of its own
    parser.flag("recipe", recipe.name, "the settings to start from", Literal[names], "run")
    for item in dataclasses.fields(Recipe):
        if item.name not in ("name", *without):
            shown = {name: item.metadata[name] for name in ("help", "group", "advanced")}
            parser.flag(item.name, getattr(recipe, item.name), kind=item.type, **shown)


def with_given(recipe, options):
    """The recipe with the settings that were given as flags."""
    names = options.given & {item.name for item in dataclasses.fields(Recipe)}
    settings = {name: getattr(options, name) for name in names}
    return dataclasses.replace(recipe, name=options.recipe if "recipe" in options.given else recipe.name, **settings)


def default_recipe(argv):
    """The recipe whose values are the defaults of all other flags: that of the run to resume, or the one named."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--recipe", nargs="?")
    finder.add_argument("--resume", nargs="?")
    found = finder.parse_known_args(argv)[0]
    named = RECIPES.get(found.recipe, RECIPES["davidnet"])  # an unknown name is refused by the parser
    return (found.resume and _begun_recipe(found.resume)) or named


def _begun_recipe(run_dir):
    """The recipe of a run or a series; None where there is none, which is refused when the run is opened."""
    try:
        return (SeriesFolder if SeriesFolder.exists(run_dir) else RunFolder)(run_dir).read_recipe()[0]
    except UserError:
        return None


def check_picture(path):
    """UserError for the name of a figure that cannot be drawn."""
    if Path(path).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"The picture must end in .png, .svg or .pdf. Received: output={path!r}")
