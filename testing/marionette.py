"""Selenium's commands over Marionette, the protocol that Firefox itself speaks.

Selenium reaches Firefox through geckodriver, which Debian does not package. Geckodriver does little more than this
module: Marionette has WebDriver's commands under its own names. A message is `LENGTH:JSON` on a socket, the JSON
`[0, id, command, parameters]` in one direction and `[1, id, error, result]` in the other.
"""

from __future__ import annotations

import json
import socket
from typing import Any, Final

from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.remote_connection import RemoteConnection

NAMES: Final = {
    Command.NEW_SESSION: "WebDriver:NewSession",
    Command.QUIT: "Marionette:Quit",
    Command.GET: "WebDriver:Navigate",
    Command.REFRESH: "WebDriver:Refresh",
    Command.GET_TITLE: "WebDriver:GetTitle",
    Command.FIND_ELEMENT: "WebDriver:FindElement",
    Command.FIND_ELEMENTS: "WebDriver:FindElements",
    Command.FIND_CHILD_ELEMENT: "WebDriver:FindElement",
    Command.FIND_CHILD_ELEMENTS: "WebDriver:FindElements",
    Command.W3C_GET_ACTIVE_ELEMENT: "WebDriver:GetActiveElement",
    Command.CLICK_ELEMENT: "WebDriver:ElementClick",
    Command.CLEAR_ELEMENT: "WebDriver:ElementClear",
    Command.SEND_KEYS_TO_ELEMENT: "WebDriver:ElementSendKeys",
    Command.GET_ELEMENT_TEXT: "WebDriver:GetElementText",
    Command.GET_ELEMENT_TAG_NAME: "WebDriver:GetElementTagName",
    Command.GET_ELEMENT_RECT: "WebDriver:GetElementRect",
    Command.GET_ELEMENT_ATTRIBUTE: "WebDriver:GetElementAttribute",
    Command.GET_ELEMENT_VALUE_OF_CSS_PROPERTY: "WebDriver:GetElementCSSValue",
    Command.IS_ELEMENT_ENABLED: "WebDriver:IsElementEnabled",
    Command.IS_ELEMENT_SELECTED: "WebDriver:IsElementSelected",
    Command.W3C_EXECUTE_SCRIPT: "WebDriver:ExecuteScript",
    Command.W3C_EXECUTE_SCRIPT_ASYNC: "WebDriver:ExecuteAsyncScript",
    Command.W3C_ACTIONS: "WebDriver:PerformActions",
    Command.W3C_CLEAR_ACTIONS: "WebDriver:ReleaseActions",
    Command.SET_TIMEOUTS: "WebDriver:SetTimeouts",
    Command.NEW_WINDOW: "WebDriver:NewWindow",
    Command.SWITCH_TO_WINDOW: "WebDriver:SwitchToWindow",
    Command.W3C_GET_CURRENT_WINDOW_HANDLE: "WebDriver:GetWindowHandle",
    Command.CLOSE: "WebDriver:CloseWindow",
    Command.SCREENSHOT: "WebDriver:TakeScreenshot",
    Command.PRINT_PAGE: "WebDriver:Print",
    "chromeContext": "Marionette:SetContext",
}

ADDRESS: Final = "http://127.0.0.1"
"""Selenium wants one; nothing is sent there."""


class MarionetteConnection(RemoteConnection):
    """What Selenium sends its commands through.

    Args:
        port: Where Firefox listens on loopback.
        timeout: Longest wait for an answer, in seconds.
    """

    def __init__(self, port: int, timeout: float) -> None:
        super().__init__(client_config=ClientConfig(remote_server_addr=ADDRESS))
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._stream = self._socket.makefile("rb")
        self._count = 0
        self._receive()  # a greeting

    def execute(self, command: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a command and return its answer as Selenium expects it: a value, or a status with the error."""
        name = NAMES[command]
        params = {key: value for key, value in (params or {}).items() if key != "sessionId"}  # there is only one
        if command == Command.QUIT:
            params = {"flags": ["eForceQuit"]}
        elif command == Command.NEW_SESSION:
            params = params["capabilities"]["alwaysMatch"] | {"webSocketUrl": True}
        elif command in (Command.FIND_CHILD_ELEMENT, Command.FIND_CHILD_ELEMENTS):
            params = params | {"element": params["id"]}
        elif command == Command.SCREENSHOT:
            params = {"full": False}
        self._count += 1
        message = json.dumps([0, self._count, name, params]).encode()
        self._socket.sendall(b"%d:%b" % (len(message), message))
        _, _, error, result = self._receive()
        if error:
            return {"status": 500, "value": json.dumps({"value": error})}
        return {"value": result["value"] if isinstance(result, dict) and result.keys() == {"value"} else result}

    def close(self) -> None:
        """Close the socket."""
        self._stream.close()
        self._socket.close()

    def _receive(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            length += self._stream.read(1) or b":"
        if length == b":":
            raise ConnectionError("Firefox has ended")
        return json.loads(self._stream.read(int(length[:-1])))
