"""A caller that hangs up takes its work along."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class CancelOnHangUp:
    """Cancels a request when its caller closes the connection before the answer.

    Neither Starlette nor the server does: an endpoint that has read its body would finish its work, and hold its
    permits and its place on the model server, for nobody. The watch begins when the body is complete; before that the
    endpoint meets the disconnect itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and watch its connection meanwhile."""
        request = asyncio.current_task()
        if scope["type"] != "http" or request is None:
            await self.app(scope, receive, send)
            return
        watcher: asyncio.Task[None] | None = None
        gone = False

        async def watch(request: asyncio.Task[object]) -> None:
            nonlocal gone
            if (await receive())["type"] == "http.disconnect":
                gone = True
                request.cancel()

        async def receive_and_watch() -> Message:
            nonlocal watcher
            message = await receive()
            if watcher is None and message["type"] == "http.request" and not message.get("more_body", False):
                watcher = asyncio.create_task(watch(request))
            return message

        async def send_unwatched(message: Message) -> None:
            # Once the answer is written the server reports a disconnect as well.
            if watcher is not None and message["type"] == "http.response.body" and not message.get("more_body", False):
                watcher.cancel()
            await send(message)

        try:
            await self.app(scope, receive_and_watch, send_unwatched)
        except asyncio.CancelledError:
            # Someone else may have cancelled it too, such as a server that is stopping; then it stays cancelled.
            if not gone or request.uncancel() > 0:
                raise
        finally:
            if watcher is not None:
                watcher.cancel()
