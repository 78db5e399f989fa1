"""The part of the plugin in the guest: collect the same tests as the host, and run those that the host requests.

    python -m pytest -p ksmlab.pytest_plugin.guest …

The host sends a setup frame first, then a "run" frame for each test, then "finish", and, after the guest's answer,
"end". The guest sends each report as soon as it is complete.
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

#: True in the guest; not set on the host.
IN_GUEST = pytest.StashKey[bool]()
#: Plugins that report to the user, or store data for the next run. They are unregistered in the guest.
HOST_PLUGINS = ("terminalreporter", "lfplugin", "nfplugin", "stepwiseplugin")
#: Options that only concern the pytest on the host, with their values in the guest.
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
    """Runs tests at the request of the host.

    Args:
        line: The connection to the host.
        setup: The setup frame: the files to collect, the name of the kernel, the path of the allow-list, and so on.
    """

    def __init__(self, line: Line, setup: Frame) -> None:
        self.line = line
        self.setup = setup
        self.finishing = False

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Unregister the plugins that only the host needs, and start to watch the kernel's log."""
        self.config = config
        for name in HOST_PLUGINS:
            if config.pluginmanager.has_plugin(name):
                config.pluginmanager.unregister(name=name)
        self.watch = Watch(self.setup)
        config.pluginmanager.register(self.watch, "vm-watch")
        if self.setup["keep"]:
            argv = [sys.executable, "-m", "ksmlab.vm.guest_shell", SHELL]
            # The shell outlives this pytest. Keep a reference to it, or Python warns that it still runs.
            self.shell = subprocess.Popen(argv, start_new_session=True)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Report to the host that a file could not be collected."""
        if report.failed:
            self.line.send({"is": "error", "text": report.longreprtext})

    def pytest_internalerror(self, excrepr: object) -> None:
        """Report to the host that pytest itself failed."""
        self.line.send({"is": "error", "text": str(excrepr)})

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests that the host requests, until the host sends "finish" or disconnects."""
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
        """After the last teardown, check the kernel's log again, and report the result to the host."""
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
        """Send a warning of a test to the host. The host issues warnings during collection itself."""
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
        """Send a report to the host."""
        config = self.config
        data = config.hook.pytest_report_to_serializable(config=config, report=report)
        frame = {"is": "report", "id": report.nodeid, "report": data}
        if self.setup["keep"]:
            frame["sections"] = {name: sections(name) for name in self.setup["objects"]}
        self.line.send(frame)


def sections(module: str, sysfs: Path = Path("/sys/module")) -> dict[str, str]:
    """Return the addresses of a module's sections by name; empty if the module is not loaded."""
    return {
        path.name: path.read_text().strip() for path in (sysfs / module / "sections").glob("[.]*")
    }


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Receive the setup frame from the host, and adapt the options of the host's command line.

    Raises:
        pytest.UsageError: The host has disconnected.
    """
    line = Line.open_port(REPORTS)
    setup = line.receive()
    if setup is None:
        raise pytest.UsageError("the host has disconnected before it sent the setup frame")
    for name, value in LOCAL_OPTIONS.items():
        if hasattr(config.option, name):
            setattr(config.option, name, value)
    config.option.kernel = [setup["kernel"]]
    config.args[:] = setup["files"]
    config.stash[IN_GUEST] = True
    config.pluginmanager.register(Guest(line, setup), "vm-guest")
