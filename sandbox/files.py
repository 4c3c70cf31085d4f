"""Files that the bot has sent, kept whole, so that the page can show them and a test can read them."""

import struct
from dataclasses import dataclass
from pathlib import PurePosixPath
from random import Random

from sandbox.args import Args, Upload
from sandbox.errors import ControlError, bad_request
from sandbox.shapes import Json

_PNG = b"\x89PNG\r\n\x1a\n"
_OTHER_PICTURES = (b"\xff\xd8\xff", b"GIF8", b"RIFF")
_SIZE_UNKNOWN = (800, 600)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that the bot has sent, with Telegram's facts about it."""

    file_id: str
    upload: Upload

    def document(self) -> Json:
        """Return the file as the Bot API's Document."""
        return {"file_name": self.upload.name, "mime_type": self.upload.mime_type, **self._file()}

    def photo(self) -> list[Json]:
        """Return the file as the Bot API's photo: one PhotoSize; raises ApiError when it is no picture."""
        content = self.upload.content
        if content.startswith(_PNG):
            width, height = struct.unpack(">II", content[16:24])
        elif content.startswith(_OTHER_PICTURES):
            width, height = _SIZE_UNKNOWN
        else:
            raise bad_request("IMAGE_PROCESS_FAILED")
        return [{**self._file(), "width": width, "height": height}]

    @property
    def path(self) -> str:
        """Return the file's path for the bot, which has a name of the sandbox and not of the sender."""
        return f"files/{self.file_id}{PurePosixPath(self.upload.name).suffix}"

    def file(self) -> Json:
        """Return the file as the Bot API's File, of getFile."""
        return {**self._file(), "file_path": self.path}

    def _file(self) -> Json:
        size = len(self.upload.content)
        return {"file_id": self.file_id, "file_unique_id": self.file_id[-16:], "file_size": size}


class Files:
    """All files that the bot has sent, by file_id."""

    def __init__(self, random: Random) -> None:
        self.by_id: dict[str, StoredFile] = {}
        self._random = random

    def receive(self, args: Args, field: str) -> StoredFile:
        """Store the file that a Bot API call uploads or names; raises ApiError without one."""
        value = args.text(field)
        if not value and field not in args.files:
            raise bad_request(f"There is no {field} in the request")
        if value in self.by_id:
            return self.by_id[value]
        upload = args.files.get(value.removeprefix("attach://") if value else field)
        if upload is None:
            raise bad_request("Wrong file identifier/HTTP URL specified")
        if not upload.content:
            raise bad_request("File must be non-empty")
        stored = StoredFile(f"file{self._random.getrandbits(128):032x}", upload)
        self.by_id[stored.file_id] = stored
        return stored

    def for_bot(self, file_id: str) -> StoredFile:
        """Find a file for getFile; raises ApiError."""
        if not file_id:
            raise bad_request("file_id not specified")
        if file_id not in self.by_id:
            raise bad_request("Invalid file_id")
        return self.by_id[file_id]

    def at(self, path: str) -> StoredFile | None:
        """Find a file by the path that getFile returned."""
        found = self.by_id.get(PurePosixPath(path).stem)
        return found if found is not None and found.path == path else None

    def find(self, file_id: str) -> StoredFile:
        """Find a file for the control API; raises ControlError."""
        if file_id not in self.by_id:
            raise ControlError(f"there is no file {file_id}")
        return self.by_id[file_id]
