"""Show a picture in a running Jupyter notebook, and change it in place."""

import sys


class NotebookDisplay:
    """One picture in the output of the current cell; does nothing outside a notebook."""

    def __init__(self):
        self._handle = None

    @property
    def live(self):
        """Whether a Jupyter kernel is running this program."""
        # IPython is looked for, never imported: where it is not loaded there is no notebook.
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython else None
        return getattr(shell, "kernel", None) is not None

    def show(self, png, width):
        """Show a picture, in place of the one before.

        Args:
            png: bytes.
            width: in the notebook, in pixels.
        """
        from IPython.display import Image, display

        image = Image(data=png, format="png", width=width)
        if self._handle is None:
            self._handle = display(image, display_id=True)
        else:
            self._handle.update(image)
