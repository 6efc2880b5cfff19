"""The errors that a user can mend."""


class UserError(ValueError):
    """Something that the user gave cannot be used; the message says what, and what to do. Exit code 2."""


class FolderInUse(UserError):
    """Another process has the run folder."""
