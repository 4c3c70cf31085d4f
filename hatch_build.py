"""Compiles the texts of the chats into the wheel, because git keeps their sources alone (a build hook of hatchling)."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledTexts(BuildHookInterface):  # type: ignore[type-arg] # hatchling reads the class, and needs no argument of it
    """Puts a compiled file beside each source of texts in the wheel, and leaves the checkout as it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile each .po file into a folder of this build, and name its place in the wheel."""
        del version
        # Kept until the build ends: hatchling reads the files after this.
        self._folder = TemporaryDirectory()
        root = Path(self.root)
        for number, source in enumerate(sorted(root.glob("bot/locales/*/LC_MESSAGES/*.po"))):
            compiled = Path(self._folder.name) / f"{number}.mo"
            with source.open("rb") as texts, compiled.open("wb") as file:
                write_mo(file, read_po(texts))
            build_data["force_include"][str(compiled)] = str(source.relative_to(root).with_suffix(".mo"))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Take the folder away."""
        del version, build_data, artifact_path
        self._folder.cleanup()
