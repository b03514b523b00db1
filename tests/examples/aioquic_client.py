"""Talks to quic_echo with aioquic: PORT. Prints a line for everything that came back as it should."""
import asyncio
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import DatagramFrameReceived, StreamDataReceived
from aioquic.tls import CipherSuite

PATIENCE = 60


class Client(QuicConnectionProtocol):
    """What the server opens or sends without a stream comes into a queue."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.came = asyncio.Queue()
        self.parts = {}

    def quic_event_received(self, event):
        if isinstance(event, DatagramFrameReceived):
            self.came.put_nowait(event.data)
        elif isinstance(event, StreamDataReceived) and event.stream_id % 4 == 3:
            whole = self.parts.get(event.stream_id, b"") + event.data
            self.parts[event.stream_id] = whole
            if event.end_stream:
                self.came.put_nowait(whole)
        else:
            super().quic_event_received(event)


async def in_time(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE)


async def echo(client, body):
    reader, writer = await client.create_stream()
    writer.write(body)
    writer.write_eof()
    assert await in_time(reader.read()) == body, len(body)


async def talk(port, configuration, more):
    async with connect(
        "127.0.0.1", port, configuration=configuration, create_protocol=Client
    ) as client:
        await in_time(client.wait_connected())
        await more(client)


async def everything(client):
    for size in (0, 1, 1_200, 65_537, 3_000_000):
        await echo(client, bytes(i % 251 for i in range(size)))
    print("transfer")
    await asyncio.gather(*(echo(client, b"%d" % i * 100) for i in range(200)))
    print("multiplexing")
    _, writer = await client.create_stream(is_unidirectional=True)
    writer.write(b"one way")
    writer.write_eof()
    assert await in_time(client.came.get()) == b"one way"
    print("unidirectional")
    client._quic.send_datagram_frame(b"a datagram")
    client.transmit()
    assert await in_time(client.came.get()) == b"a datagram"
    print("datagram")
    client.request_key_update()
    await echo(client, b"with other keys")
    print("keyupdate")
    client.change_connection_id()
    await echo(client, b"under another name")
    print("connection id")


async def other_port(client):
    await echo(client, b"from here")
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: client, local_addr=("::", 0))
    client._transport, old = transport, client._transport
    await echo(client, b"and from there")
    old.close()
    print("rebind-port")


async def again(port):
    tickets, tokens = [], []
    configuration = configured()

    async def first():
        async with connect(
            "127.0.0.1",
            port,
            configuration=configuration,
            create_protocol=Client,
            session_ticket_handler=tickets.append,
            token_handler=tokens.append,
        ) as client:
            await in_time(client.wait_connected())
            assert not client._quic.tls.session_resumed
            await echo(client, b"who are you")
            while not tickets or not tokens:
                await in_time(client.ping())

    async def resumed(client):
        await echo(client, b"again")
        assert client._quic.tls.session_resumed

    await first()
    # Each ticket is good once.
    configuration.session_ticket = tickets.pop()
    await talk(port, configuration, resumed)
    print("resumption")
    configuration.session_ticket = None
    await first()
    configuration.session_ticket = tickets.pop()
    # It sends nothing early again after a retry: the token spares it one.
    configuration.token = tokens.pop()
    async with connect(
        "127.0.0.1",
        port,
        configuration=configuration,
        create_protocol=Client,
        wait_connected=False,
    ) as client:
        reader, writer = await client.create_stream()
        writer.write(b"early")
        writer.write_eof()
        assert not client._quic.tls.session_resumed, "it was sent before anything came"
        assert await in_time(reader.read()) == b"early"
        assert client._quic.tls.early_data_accepted
    print("zerortt")


def configured(**more):
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["echo"], max_datagram_frame_size=65_536, **more
    )
    configuration.verify_mode = ssl.CERT_NONE
    return configuration


async def main(port):
    await talk(port, configured(), everything)
    chacha = configured(cipher_suites=[CipherSuite.CHACHA20_POLY1305_SHA256])
    await talk(port, chacha, lambda client: echo(client, b"chacha"))
    print("chacha20")
    await talk(port, configured(), other_port)
    await again(port)


asyncio.run(main(int(sys.argv[1])))
