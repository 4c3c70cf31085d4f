"""A real PgBouncer in front of the run's PostgreSQL, on a machine that has one."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from db.address import PostgresAddress, parse_database_url
from tests.support.ports import free_port, until_listening

PGBOUNCER: Final = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
needs_pgbouncer: Final = pytest.mark.skipif(not Path(PGBOUNCER).exists(), reason="pgbouncer is not installed")


@asynccontextmanager
async def pooled(url: str, mode: str) -> AsyncIterator[str]:
    """Run a PgBouncer in the block, and give the `DATABASE_URL` that leads through it.

    It is as Debian ships it, but for its port, its pools and who may use them; without a `mode` it knows no database.
    """
    address, port = parse_database_url(url), free_port()
    assert isinstance(address, PostgresAddress)
    # Not below pytest's own directory, which another user may not enter.
    with tempfile.TemporaryDirectory() as name:
        as_user = _configure(Path(name), address, mode, port)
        process = await asyncio.create_subprocess_exec(
            *(PGBOUNCER, "-q", *as_user, f"{name}/pgbouncer.ini"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

        try:
            await until_listening(process, port, lambda: "PgBouncer has ended")
            yield f"postgresql://{address.user}@127.0.0.1:{port}/{address.database}"
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def _configure(directory: Path, address: PostgresAddress, mode: str, port: int) -> tuple[str, ...]:
    """Write the files of a PgBouncer, and return the arguments that say as whom it runs."""
    [server] = address.servers
    directory.chmod(0o755)
    known = f"{address.database} = host={server.host} port={server.port} user={address.user}"
    (directory / "users.txt").write_text(f'"{address.user}" ""\n')
    (directory / "pgbouncer.ini").write_text(
        f"[databases]\n{known if mode else ''}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"unix_socket_dir =\nauth_type = trust\nauth_file = {directory}/users.txt\n"
        + (f"pool_mode = {mode}\n" if mode else "")
    )
    # It does not run as root, and the way to PostgreSQL's socket is open to PostgreSQL's own user alone.
    return ("-u", Path(server.host).owner()) if os.geteuid() == 0 else ()
