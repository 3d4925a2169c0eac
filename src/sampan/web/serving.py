"""What we use of aiohttp's server: connections, requests, answers and WebSockets.

`aiohttp.web` would load its applications, routes and files as well, of which nothing here has any use.
"""

from aiohttp.web_exceptions import HTTPException, HTTPRequestEntityTooLarge
from aiohttp.web_protocol import RequestHandler, RequestPayloadError
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse
from aiohttp.web_server import Server
from aiohttp.web_ws import WebSocketResponse

__all__ = [
    "BaseRequest",
    "HTTPException",
    "HTTPRequestEntityTooLarge",
    "RequestHandler",
    "RequestPayloadError",
    "Server",
    "StreamResponse",
    "WebSocketResponse",
]
