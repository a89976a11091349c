"""A function under controls: it is called again whenever its reader moves one; needs a kernel."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any
from unittest import mock

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .._page import Displayed, escape


def interact(function: Callable[..., Any], **controls: Any) -> Live:
    """Call a function again whenever its reader moves a control; needs a kernel.

    Args:
        function: draws something; takes the controls' values by name.
        controls: as :func:`ipywidgets.interact` takes them: ``(low, high, step)``, a list, a widget.

    Returns:
        An object that a notebook displays; on the static page it is one line that says how to use it.
    """
    return Live(function, controls)


class Live(Displayed):
    """A function under controls; made by :func:`interact`."""

    def __init__(self, function: Callable[..., Any], controls: dict[str, Any]) -> None:
        self.function, self.controls = function, controls

    def __repr__(self) -> str:
        return f"<live explorer: {', '.join(self.controls)}>"

    def html(self) -> str:
        """One line: without a kernel there is nothing to call, and the page says so without a box."""
        names = ", ".join(escape(name.replace("_", " ")) for name in self.controls)
        return (
            f'<p class="s-live-note"><small>Run this notebook to try other settings of {names}: '
            "Start here says how.</small></p>"
        )

    def widget(self) -> Any:
        """The function under ipywidgets' controls, called once so that there is something to see."""
        import ipywidgets

        controls = {
            name: ipywidgets.interactive.widget_from_abbrev(control)
            for name, control in self.controls.items()
        }
        for name, control in controls.items():
            if control is None:
                raise ValueError(
                    f"{name}={self.controls[name]!r} is not something that a control can be made from"
                )
            control.description = control.description or name.replace("_", " ")
            control.style = {"description_width": "initial"}
            if hasattr(control, "continuous_update"):
                control.continuous_update = False  # a model runs at each step: wait until the slider rests
        result = ipywidgets.VBox()

        def run(_: Any = None) -> None:
            result.children = _captured(
                self.function, {name: control.value for name, control in controls.items()}
            )

        for control in controls.values():
            control.observe(run, "value")
        run()
        return ipywidgets.VBox([*controls.values(), result])


def _captured(function: Callable[..., Any], values: dict[str, Any]) -> list[Any]:
    """What a call prints and draws, as widgets. An error is shown where its reader looks, not in a log."""
    import ipywidgets

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), plt.ioff():
        before = set(plt.get_fignums())
        with mock.patch.object(plt, "show", lambda *_, **__: None):
            try:
                function(**values)
            except Exception as error:
                print(f"{type(error).__name__}: {error}")
        drawn = [plt.figure(number) for number in plt.get_fignums() if number not in before]
    text = [ipywidgets.HTML(f"<pre>{escape(printed.getvalue())}</pre>")] if printed.getvalue() else []
    return text + [_picture(figure) for figure in drawn]


def _picture(figure: Figure) -> Any:
    """A matplotlib figure as a widget; it is closed, so that it is not shown twice."""
    import ipywidgets

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches=None)
    plt.close(figure)
    layout = {"width": f"{figure.bbox.width:.0f}px", "max_width": "100%"}
    return ipywidgets.Image(value=buffer.getvalue(), format="png", layout=layout)
