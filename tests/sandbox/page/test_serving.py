"""The page over plain HTTP: its visitors, and its ports."""

import socket

import pytest
from aiohttp import ClientSession

from sandbox.page.serving import listening_socket
from tests.support.browser import Program


async def test_a_foreign_name_for_this_machine_is_refused(sandbox_program: Program) -> None:
    url = sandbox_program.address("Chat page")
    async with ClientSession() as http:
        async with http.get(url) as page:
            assert page.status == 200
        async with http.get(url, headers={"Host": "rebound.example.com"}) as page:
            assert page.status == 400
        async with http.get(f"{url}/files/picture/unknown") as page:
            assert page.status == 404


def test_the_next_free_port_is_taken_and_no_other() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            listening_socket("127.0.0.1", port)
        with listening_socket("127.0.0.1", port, tries=20) as found:
            assert port < found.getsockname()[1] < port + 20
