"""Server that does nothing: the load generator's rate against it is the generator's own limit.

python -m benchmarks.serving.stub PORT
"""

import asyncio
import re
import sys
from typing import Final

_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_BODY: Final = b'{"predictions": [{"label": "a", "score": 1.0}]}'
_ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


class _Stub(asyncio.Protocol):
    """Answers a request when all its bytes have come, without keeping them."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._left == 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            length = _LENGTH.search(self._head[:end]) if end >= 0 else None
            if length is None:
                return
            self._left = end + 4 + int(length[1]) - len(self._head)
            self._head = b""
        else:
            self._left -= len(data)
        if self._left == 0:
            self._transport.write(_ANSWER)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Stub, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
