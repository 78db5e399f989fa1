"""The pytest in the VM: it collects what the host collected, and runs what the host orders.

    python -m pytest -p ksmlab.pytest_plugin.guest …

The host sends the set-up first; then a line for each test; then "finish", and "end" when it has
heard how that went. Reports go back as they are made.
"""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ksmlab.pytest_plugin.watch import Watch
from ksmlab.pytest_plugin.wire import REPORTS, SHELL, Frame, Line

if TYPE_CHECKING:
    import warnings
    from collections.abc import Generator

#: Set in the guest only.
IN_GUEST = pytest.StashKey[bool]()
#: Those that talk to a person, or write down what the next run wants to know.
HOST_PLUGINS = ("terminalreporter", "lfplugin", "nfplugin", "stepwiseplugin")
#: Options that only mean something to the pytest that a person talks to, and what they are in the guest.
LOCAL_OPTIONS: dict[str, Any] = {
    "basetemp": None,
    "cacheclear": False,
    "cacheshow": None,
    "collectonly": False,
    "continue_on_collection_errors": False,
    "deselect": None,
    "dist": "no",
    "distload": False,
    "failedfirst": False,
    "keyword": "",
    "lf": False,
    "log_file": None,
    "looponfail": False,
    "markexpr": "",
    "maxfail": 0,
    "maxprocesses": None,
    "newfirst": False,
    "numprocesses": None,
    "setuponly": False,
    "setupplan": False,
    "setupshow": False,
    "stepwise": False,
    "stepwise_skip": False,
    "trace": False,
    "tx": [],
    "usepdb": False,
    "xmlpath": None,
}


class Guest:
    """Run tests as ordered.

    Args:
        line: To the host.
        setup: What it sent first: `files` to collect, the `kernel` that this is, and where the `allow`-list is.
    """

    def __init__(self, line: Line, setup: Frame) -> None:
        """Keep both."""
        self.line = line
        self.setup = setup
        self.finishing = False

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Leave talking to the host, and watch the kernel's log."""
        self.config = config
        for name in HOST_PLUGINS:
            if config.pluginmanager.has_plugin(name):
                config.pluginmanager.unregister(name=name)
        self.watch = Watch(self.setup)
        config.pluginmanager.register(self.watch, "vm-watch")
        if self.setup["keep"]:
            argv = [sys.executable, "-m", "ksmlab.vm.guest_shell", SHELL]
            # It outlives this pytest: without a name for it, Python would warn that it still runs.
            self.shell = subprocess.Popen(argv, start_new_session=True)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Pass on that a file could not be collected here, though it could on the host."""
        if report.failed:
            self.line.send({"is": "error", "text": report.longreprtext})

    def pytest_internalerror(self, excrepr: object) -> None:
        """Pass on that pytest itself failed."""
        self.line.send({"is": "error", "text": str(excrepr)})

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run what the host orders, until it says that this was all."""
        items = {item.nodeid: item for item in session.items}
        self.line.send({"is": "ready", "tests": list(items)})
        while (order := self.line.receive()) is not None and order["do"] == "run":
            item = items[order["id"]]
            following = items.get(order["next"])
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self.line.send({"is": "done", "id": item.nodeid})
        self.finishing = True
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> Generator[None]:
        """Look at the log a last time, when everything is torn down, and have the host hear of it before this ends."""
        trouble = ""
        try:
            return (yield)
        except BaseException:
            trouble = traceback.format_exc()
            raise
        finally:
            if self.finishing:
                trouble += self.watch.look()
                self.line.send({"is": "end", "status": int(exitstatus), "trouble": trouble})
                self.line.receive()

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str
    ) -> None:
        """Pass a test's warning on; what is warned of at collection, the host has seen itself."""
        if when == "runtest":
            self.line.send(
                {
                    "is": "warning",
                    "id": nodeid,
                    "category": warning_message.category.__name__,
                    "text": str(warning_message.message),
                    "filename": warning_message.filename,
                    "lineno": warning_message.lineno,
                }
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Pass a report on."""
        config = self.config
        data = config.hook.pytest_report_to_serializable(config=config, report=report)
        frame = {"is": "report", "id": report.nodeid, "report": data}
        if self.setup["keep"]:
            frame["sections"] = {name: sections(name) for name in self.setup["objects"]}
        self.line.send(frame)


def sections(module: str, sysfs: Path = Path("/sys/module")) -> dict[str, str]:
    """Give the addresses of a module's sections; nothing if it is not loaded."""
    return {
        path.name: path.read_text().strip() for path in (sysfs / module / "sections").glob("[.]*")
    }


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Ask the host what there is to do, and make its command line ours.

    Raises:
        pytest.UsageError: There is no host.
    """
    line = Line.open_port(REPORTS)
    setup = line.receive()
    if setup is None:
        raise pytest.UsageError("the host has hung up")
    for name, value in LOCAL_OPTIONS.items():
        if hasattr(config.option, name):
            setattr(config.option, name, value)
    config.option.kernel = [setup["kernel"]]
    config.args[:] = setup["files"]
    config.stash[IN_GUEST] = True
    config.pluginmanager.register(Guest(line, setup), "vm-guest")
