"""Clients that come all at once are taken several at a time, however long the turns of the event loop are."""

import asyncio
import socket

import uvloop

from service.api.listening import handles

CLIENTS = 32


def test_a_turn_of_the_loop_takes_several_connections() -> None:
    async def turns_to_take(sockets: list[socket.socket]) -> int:
        loop, taken = asyncio.get_running_loop(), list[object]()

        class Count(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                taken.append(transport)

        servers = [await loop.create_server(Count, sock=each) for each in sockets]
        clients = [socket.create_connection(sockets[0].getsockname()) for _ in range(CLIENTS)]
        turns = 0
        while len(taken) < CLIENTS:
            await asyncio.sleep(0)
            turns += 1
            assert turns < 100 * CLIENTS
        for server in servers:
            server.close()
        for client in clients:
            client.close()
        return turns

    one = uvloop.run(turns_to_take([socket.create_server(("127.0.0.1", 0))]))
    several = uvloop.run(turns_to_take(handles(socket.create_server(("127.0.0.1", 0)))))
    assert one >= CLIENTS
    assert several <= one / 3
