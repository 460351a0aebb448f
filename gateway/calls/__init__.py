"""Every tool call: admit, perform, settle. Nothing else speaks to a tool.

Admit decides and makes the *before* durable; perform sends, outside of any transaction; settle redacts, stores the result
and makes the *after* durable before anybody sees it. A call that has started goes on when its caller goes away, and
whoever asks again with the same id gets its outcome and never a second performance.
"""

from gateway.calls.tool_gateway import ToolGateway

__all__ = ["ToolGateway"]
