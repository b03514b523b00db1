"""aioquic as a server and as a client: called, and doing, as the programs of tests/peers (see its crate kit)."""
import argparse
import asyncio
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    ProtocolNegotiated,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import QuicErrorCode
from aioquic.tls import CipherSuite

PATIENCE = 60
RESET_CODE, STOP_CODE, CLOSE_CODE, LEAVE_CODE = 5, 6, 9, 7
SIZES = (0, 1, 1_200, 65_537, 3_000_000)
STREAMS = 200


def say(line):
    print(line, flush=True)


def pattern(size):
    return bytes(i % 251 for i in range(size))


class Server(QuicConnectionProtocol):
    """Echoes, or does what a stream asks for with its first bytes."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.parts, self.peer = {}, None

    def datagram_received(self, data, addr):
        if self.peer not in (None, addr):
            say(f"migrated to {addr[0]}:{addr[1]}")
        self.peer = addr
        super().datagram_received(data, addr)

    def quic_event_received(self, event):
        quic = self._quic
        if isinstance(event, DatagramFrameReceived):
            quic.send_datagram_frame(event.data)
        elif isinstance(event, StreamReset):
            quic.reset_stream(event.stream_id, event.error_code)
        elif isinstance(event, StreamDataReceived):
            self.stream(quic, event)
        elif isinstance(event, ConnectionTerminated):
            say(f"closed: {event.error_code} {event.reason_phrase}")
        self.transmit()

    def stream(self, quic, event):
        at, first = event.stream_id, event.stream_id not in self.parts
        if at % 4 == 2:
            self.parts[at] = self.parts.get(at, b"") + event.data
            if event.end_stream:
                back = quic.get_next_available_stream_id(is_unidirectional=True)
                quic.send_stream_data(back, self.parts[at], True)
        elif first and event.data == b"!reset":
            quic.reset_stream(at, RESET_CODE)
        elif first and event.data == b"!stop":
            quic.stop_stream(at, STOP_CODE)
            quic.send_stream_data(at, b"", True)
        elif first and event.data == b"!close":
            quic.close(error_code=CLOSE_CODE, reason_phrase="as asked")
        else:
            if first and event.data == b"!update":
                quic.request_key_update()
            self.parts[at] = b""
            quic.send_stream_data(at, event.data, event.end_stream)


async def listen(args, host, port):
    configuration = QuicConfiguration(
        is_client=False, alpn_protocols=["echo"], max_datagram_frame_size=65_536
    )
    configuration.load_cert_chain(args.cert, args.key)
    tickets = {}
    server = await serve(
        host,
        port,
        configuration=configuration,
        create_protocol=Server,
        retry=args.retry,
        session_ticket_handler=lambda ticket: tickets.setdefault(ticket.ticket, ticket),
        session_ticket_fetcher=lambda label: tickets.pop(label, None),
    )
    if args.retry:
        make = server._retry.create_token
        server._retry.create_token = lambda **what: (say("retry"), make(**what))[1]
    host, port = server._transport.get_extra_info("sockname")[:2]
    say(f"listening on {host}:{port}")
    await asyncio.Future()


class Client(QuicConnectionProtocol):
    """What comes apart from the answers on the streams that it opened is in a queue."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.came, self.parts, self.server = asyncio.Queue(), {}, None

    def datagram_received(self, data, addr):
        self.server = addr
        super().datagram_received(data, addr)

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived) and event.stream_id % 4 == 3:
            whole = self.parts.get(event.stream_id, b"") + event.data
            self.parts[event.stream_id] = whole
            if event.end_stream:
                self.came.put_nowait(whole)
        elif isinstance(event, (DatagramFrameReceived, StreamReset, StopSendingReceived)):
            self.came.put_nowait(event)
        elif isinstance(event, ProtocolNegotiated):
            assert event.alpn_protocol == "echo", event
        elif isinstance(event, ConnectionTerminated) and event.error_code:
            print(event, file=sys.stderr)
        super().quic_event_received(event)


async def in_time(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE)


async def echo(client, body):
    reader, writer = await client.create_stream()
    writer.write(body)
    writer.write_eof()
    assert await in_time(reader.read()) == body, len(body)


async def handshake(client):
    await echo(client, b"hello")


async def transfer(client):
    for size in SIZES:
        await echo(client, pattern(size))


async def multiplexing(client):
    await asyncio.gather(*(echo(client, b"%d" % i * 100) for i in range(STREAMS)))


async def unidirectional(client):
    _, writer = await client.create_stream(is_unidirectional=True)
    writer.write(b"one way")
    writer.write_eof()
    assert await in_time(client.came.get()) == b"one way"


async def datagram(client):
    client._quic.send_datagram_frame(b"a datagram")
    client.transmit()
    assert (await in_time(client.came.get())).data == b"a datagram"


async def keyupdate(client):
    for _ in range(3):
        # RFC 9001 §6.1: not before the last one was acknowledged, of which aioquic does not take care.
        await in_time(client.ping())
        client.request_key_update()
        await echo(client, b"with other keys")


async def connectionid(client):
    client.change_connection_id()
    await echo(client, b"under another name")


def probe_when_possible(quic, probe=QuicConnection._probe_preferred_address):
    # aioquic forgets the address where it has no connection id to spare when the handshake is confirmed.
    if quic._peer_cid_available:
        probe(quic)


QuicConnection._probe_preferred_address = probe_when_possible


async def connectionmigration(client):
    # It goes to the address that the server prefers of itself, once it has an answer from there.
    old, rounds = client.server, 0
    while client.server == old:
        await echo(client, b"from here")
        await asyncio.sleep(0.02)
        rounds += 1
        if rounds % 50 == 0:
            # It asks once, and what it asked or was answered may be lost.
            for path in client._quic._network_paths[1:]:
                path.local_challenge_sent = False
    await echo(client, b"and from there")
    say(f"answered from {client.server[0].removeprefix('::ffff:')}:{client.server[1]}")


async def rebind(client, host):
    await echo(client, b"from here")
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: client, local_addr=(host, 0))
    client._transport, old = transport, client._transport
    await echo(client, b"and from there")
    old.close()


async def reset(client):
    reader, writer = await client.create_stream()
    writer.write(b"a part")
    assert await in_time(reader.readexactly(6)) == b"a part"
    client._quic.reset_stream(writer.get_extra_info("stream_id"), RESET_CODE)
    client.transmit()
    event = await in_time(client.came.get())
    assert isinstance(event, StreamReset) and event.error_code == RESET_CODE, event
    reader, writer = await client.create_stream()
    writer.write(b"a part")
    assert await in_time(reader.readexactly(6)) == b"a part"
    client._quic.stop_stream(writer.get_extra_info("stream_id"), STOP_CODE)
    client.transmit()
    stopped = [await in_time(client.came.get()) for _ in range(2)]
    kinds = sorted((type(event).__name__, event.error_code) for event in stopped)
    assert kinds == [("StopSendingReceived", STOP_CODE), ("StreamReset", STOP_CODE)], kinds


async def close(client):
    await echo(client, b"hello")
    client._quic.close(error_code=LEAVE_CODE, reason_phrase="enough")
    client.transmit()


CASES = {
    "handshake": handshake,
    "chacha20": handshake,
    "versionnegotiation": handshake,
    "transfer": transfer,
    "multiplexing": multiplexing,
    "unidirectional": unidirectional,
    "datagram": datagram,
    "keyupdate": keyupdate,
    "connectionid": connectionid,
    "connectionmigration": connectionmigration,
    "rebind-port": lambda client: rebind(client, "::"),
    "rebind-addr": lambda client: rebind(client, "::ffff:127.0.0.2"),
    "reset": reset,
    "close": close,
}


async def again(case, host, port, configuration):
    tickets = []
    async with connect(
        host,
        port,
        configuration=configuration,
        create_protocol=Client,
        session_ticket_handler=tickets.append,
    ) as client:
        await echo(client, b"hello")
    configuration.session_ticket = tickets[-1]
    is_early = case == "zerortt"
    async with connect(
        host,
        port,
        configuration=configuration,
        create_protocol=Client,
        wait_connected=not is_early,
    ) as client:
        await echo(client, b"early")
        assert client._quic.tls.session_resumed, "resumed"
        assert client._quic.tls.early_data_accepted or not is_early, "early data is taken"


async def run(case, host, port, ca):
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=["echo"],
        max_datagram_frame_size=65_536,
        server_name="localhost",
        cafile=ca,
    )
    if case == "chacha20":
        configuration.cipher_suites = [CipherSuite.CHACHA20_POLY1305_SHA256]
    if case == "versionnegotiation":
        # A version that nobody has: the server says what it has.
        configuration.original_version = 0x1A2A3A4A
        configuration.supported_versions = [0x1A2A3A4A, 1]
    if case in ("resumption", "zerortt"):
        return await in_time(again(case, host, port, configuration))
    async with connect(
        host, port, configuration=configuration, create_protocol=Client
    ) as client:
        await in_time(client.wait_connected())
        await CASES[case](client)
        if case == "versionnegotiation":
            assert client._quic._version_negotiated_incompatible, "a version packet came"


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("server", "client"))
    parser.add_argument("addr")
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--ca")
    parser.add_argument("--retry", action="store_true")
    args = parser.parse_intermixed_args()
    host, port = args.addr.rsplit(":", 1)
    if args.role == "server":
        await listen(args, host, int(port))
    for case in args.cases:
        await run(case, host, int(port), args.ca)
        say(case)


asyncio.run(main())
