"""The flags of the command line, those of the recipe derived from `Recipe`; quick to import."""

import argparse
import contextlib
import dataclasses
import difflib
import os
import re
from pathlib import Path
from typing import Literal, get_args, get_origin

from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.recipe import RECIPES, Recipe

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
        self.argv = [re.sub("^--[^=]+", lambda name: name[0].replace("_", "-"), word) for word in argv]
        self._default_of, self._groups = {}, {None: self}
        self._negative_number_matcher = re.compile(r"-\.?\d")  # argparse's own takes -1e-3 for a flag
        self.add_argument("--help-all", action="help", help="show every flag")

    def flag(self, name, default, help, kind=str, group=None, advanced=False, metavar=None):
        """Add a flag of a kind: str, int, float, one of these `| None`, a `Literal`, or bool (--name and --no-name).

        The help lists it under `group`; an `advanced` one is shown by --help-all only.
        """
        self._default_of[name] = default
        if group not in self._groups:
            self._groups[group] = self.add_argument_group(group)
        hidden = advanced and "--help-all" not in self.argv
        text, _, otherwise = help.replace("%", "%%").partition("; None: ")  # what None stands for is the default
        shown = (
            argparse.SUPPRESS
            if hidden
            else f"{text} (default: {otherwise if default is None and otherwise else default})"
        )
        value = {"action": argparse.BooleanOptionalAction} if kind is bool else _value(kind, metavar)
        self._groups[group].add_argument("--" + name.replace("_", "-"), help=shown, **value)

    def parse(self):
        """The values as attributes, and the names of the flags that were given as `given`."""
        found, rest = self.parse_known_intermixed_args(self.argv)
        unknown = next((word.split("=")[0] for word in rest if word.startswith("-")), None)
        if unknown:
            flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
            self.error(f"There is no flag {unknown}; {suggestion(unknown, flags, f'see {self.prog} --help-all.')}")
        if rest:
            self.error(f"{rest[0]!r} is neither a flag nor the value of one; a command comes before its flags.")
        return argparse.Namespace(**self._default_of | vars(found), given=set(vars(found)))

    def error(self, message):
        """Print what is wrong in one sentence and exit with code 2."""
        message = re.sub(r"^argument (\S+): ", r"\1: ", message)
        message = re.sub(r"ignored explicit argument .*", "takes no value", message)
        message = message.replace("expected one argument", "its value is missing")
        self.exit(BAD_INPUT, f"davidnet_keras: {message[0].upper()}{message[1:]}{'' if message[-1] in '.?' else '.'}\n")


def _value(kind, metavar):
    """The arguments of `add_argument` for a value of this type."""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    optional = type(None) in get_args(kind)
    base = str if choices else get_args(kind)[0] if optional else kind
    name, noun = {int: ("INT", "a whole number"), float: ("NUMBER", "a number"), str: ("TEXT", "")}[base]

    def read(word):
        if choices and word not in choices:
            hint = suggestion(word, choices, f"choose {', '.join(choices)}.")
            raise argparse.ArgumentTypeError(f"there is no {word}; {hint}")
        try:
            return None if optional and word == "None" else base(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {noun}. Received: {word}") from None

    return {"type": read, "metavar": f"{{{','.join(choices)}}}" if choices else metavar or name}


def suggestion(word, known, otherwise):
    """Ask for the known word that was probably meant, by its initials, beginning or spelling; else `otherwise`."""
    plain, known = word.lstrip("-").lower(), {name.lstrip("-"): name for name in known}
    near = [name for name in known if "-" in name and plain == "".join(part[:1] for part in name.split("-"))]
    near += [name for name in known if plain and name.startswith(plain)]
    near += difflib.get_close_matches(plain, known, n=1, cutoff=0.7)
    return f"did you mean {known[near[0]]}?" if near else otherwise


def parse_recipe(parser, without=()):
    """Add a flag for the pictures and for every setting but some, and parse: (options, Recipe)."""
    names, labels = Literal[datasets.names()], Literal["fine", "coarse"]
    parser.flag("dataset", "cifar10", "pictures to learn; shapes is drawn, the others are downloaded", names, "data")
    parser.flag("labels", "fine", "of cifar100: 100 fine or 20 coarse classes", labels, "data", advanced=True)
    parser.flag("data_dir", None, DATA_DIR, str | None, "data", metavar="PATH")
    recipe = _default_recipe(parser.argv)
    names = tuple(dict.fromkeys([*RECIPES, recipe.name]))  # a run's recipe may have a name of its own
    parser.flag("recipe", recipe.name, "the settings to start from", Literal[names], "run")
    for item in dataclasses.fields(Recipe):
        if item.name not in ("name", *without):
            shown = {name: item.metadata[name] for name in ("help", "group", "advanced")}
            parser.flag(item.name, getattr(recipe, item.name), kind=item.type, **shown)
    options = parser.parse()
    options.dataset = datasets.with_labels(options.dataset, options.labels)
    return options, with_given(recipe, options)


def with_given(recipe, options):
    """The recipe with the settings that were given as flags."""
    names = options.given & {item.name for item in dataclasses.fields(Recipe)}
    settings = {name: getattr(options, name) for name in names}
    return dataclasses.replace(recipe, name=options.recipe if "recipe" in options.given else recipe.name, **settings)


def _default_recipe(argv):
    """The recipe whose values are the defaults of all other flags: that of the run to resume, or the one named."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--recipe", nargs="?")
    finder.add_argument("--resume", nargs="?")
    found = finder.parse_known_args(argv)[0]
    if found.resume:
        from davidnet_keras.runs.series_folder import RunFolder, SeriesFolder  # their lock takes long to import

        with contextlib.suppress(UserError):  # which opening the run raises again
            return (SeriesFolder if SeriesFolder.exists(found.resume) else RunFolder)(found.resume).read_recipe()[0]
    return RECIPES.get(found.recipe, RECIPES["davidnet"])  # the parser refuses an unknown name


def picture_path(name):
    """The path of a picture to write, with `~` for the home folder. UserError: such a picture cannot be drawn."""
    path = Path(os.path.expanduser(name))
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"The picture must end in .png, .svg or .pdf. Received: output={name!r}")
    return path


def write_picture(figure, path):
    """Write a figure whole or not at all, with the folders above it."""
    from davidnet_callbacks import atomic_write

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        figure.savefig(temporary)
