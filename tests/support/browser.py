"""The sandbox's page as its users have it: programs of their own, and a chat driven by clicks and keys."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.async_api import Locator, Page

WAIT_MS = 30_000
STOP_SECONDS = 20
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


@dataclass(frozen=True, slots=True)
class Program:
    """A running program; `said` is its output up to the line that was waited for."""

    process: subprocess.Popen[str]
    said: list[str]

    def address(self, before: str) -> str:
        """Give the address in the line that begins with some words."""
        found = next(_ADDRESS.search(line) for line in self.said if line.startswith(before))
        assert found is not None
        return found.group()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it in order: it exits with 0 and without a traceback."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate()
        assert self.process.returncode == 0, rest
        assert "Traceback" not in rest


@contextmanager
def running(module: str, options: Sequence[str], until: str) -> Iterator[Program]:
    """Run `python -m MODULE`, from the line on that begins with `until`; a test's end ends what still runs."""
    command = [sys.executable, "-u", "-m", module, *options]
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said: list[str] = []
            for line in process.stdout:
                said.append(line)
                if line.startswith(until):
                    break
            else:
                raise AssertionError(f"{module} ended: {''.join(said)}")
            yield Program(process, said)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


async def copied(page: Page, text: str) -> None:
    """Wait until a text is in the clipboard, which all tabs of a browser share."""
    await page.wait_for_function("async (text) => (await navigator.clipboard.readText()) === text", arg=text)


@dataclass(frozen=True, slots=True)
class Chat:
    """One person's pane."""

    page: Page
    name: str

    @property
    def pane(self) -> Locator:
        """Everything in the pane."""
        return self.page.get_by_role("region", name=f"{self.name}'s chat")

    async def choose(self) -> None:
        """Bring the pane into sight, which a phone does by the row of names."""
        choice = self.page.get_by_role("navigation", name="People").get_by_role("button", name=self.name)
        if await choice.is_visible():
            await choice.click()
        await self.pane.wait_for()

    def button(self, name: str | re.Pattern[str]) -> Locator:
        """Give the last button of a name."""
        return self.pane.get_by_role("button", name=name).last

    async def click(self, name: str | re.Pattern[str]) -> None:
        """Click the last button of a name."""
        await self.button(name).click()

    async def say(self, text: str) -> None:
        """Write a message."""
        await self.pane.get_by_label("Message", exact=True).fill(text)
        await self.pane.get_by_label("Message", exact=True).press("Enter")

    async def read(self, text: str | re.Pattern[str]) -> None:
        """Wait until a text is there."""
        await self.pane.get_by_text(text).last.wait_for()

    async def balance(self, amount: str) -> None:
        """Wait until the person has so many Stars."""
        await self.pane.get_by_title("My Stars and subscriptions").get_by_text(amount, exact=True).wait_for()
