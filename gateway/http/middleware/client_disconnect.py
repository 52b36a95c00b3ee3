"""Stop working for a client that has disconnected."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.server.connection import connection_of


class CancelOnDisconnect:
    """Cancels a request when its client closes the connection before the answer.

    Neither Starlette nor uvicorn does this. The endpoint would finish its work and hold its permits for nobody. The
    watch starts when the body is complete; before that, the endpoint itself notices the disconnect.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and watch its connection."""
        connection = connection_of(scope)
        request = asyncio.current_task()
        if connection is None or request is None:
            await self.app(scope, receive, send)
            return
        gone = watching = False

        def cancel() -> None:
            nonlocal gone
            gone = True
            request.cancel()

        async def receive_and_watch() -> Message:
            nonlocal watching
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                connection.watch(cancel)
                watching = True
            return message

        def unwatch() -> None:
            nonlocal watching
            if watching:  # not the next request on this connection
                connection.watch(None)
                watching = False

        async def send_unwatched(message: Message) -> None:
            # After the last piece of the answer, the client may close the connection.
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                unwatch()
            await send(message)

        try:
            await self.app(scope, receive_and_watch, send_unwatched)
        except asyncio.CancelledError:
            # If something else has cancelled it too, such as a shutdown, it stays cancelled.
            if not gone or request.uncancel() > 0:
                raise
        finally:
            unwatch()
